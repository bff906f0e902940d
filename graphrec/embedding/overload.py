"""How exact the item vectors must be while events pile up: a pure function of how many wait."""

from __future__ import annotations

# From so many waiting events on, users may hold back this share of a median message. Exact updates take about 100,000
# events a second on one core, so the first step is a fifth of a second behind.
STEPS = ((20_000, 0.02), (100_000, 0.05), (500_000, 0.1))


def tolerance(backlog: int, message_length: float, steps: tuple[tuple[int, float], ...] = STEPS) -> float:
    """`Propagation.epsilon` for a backlog of so many events: 0, exact, below the first of the rising steps.

    message_length: that of the propagation, the unit of the shares. When the backlog is gone, `Propagation.drain` sends
    what was held back.
    """
    return max((share for least, share in steps if backlog >= least), default=0.0) * message_length
