"""What happened: events and items, the tables they come from, and the log that keeps them."""
