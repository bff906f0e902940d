"""Jobs that keep a workspace good: when each is due, who runs it, what came of it."""
