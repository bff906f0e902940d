"""How exact the item vectors must be while events pile up: a pure function of how many wait."""

from __future__ import annotations

# From so many waiting events on, users may hold back this share of a median message. Exact updates take about 100,000
# events a second on one core, so the first step is a fifth of a second behind.
STEPS = ((20_000, 0.02), (100_000, 0.05), (500_000, 0.1))


def held_back(backlog: int, steps: tuple[tuple[int, float], ...] = STEPS) -> float:
    """Which share of a median message users may hold back: 0, exact, below the first of the rising steps.

    `Propagation.epsilon` is that share of `Propagation.message_length`. When the backlog is gone, `Propagation.drain`
    sends what was held back.
    """
    return max((share for least, share in steps if backlog >= least), default=0.0)
