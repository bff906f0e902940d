"""Test, then learn: whether posted events were among the lists just before the answers knew them.

At most one event a second is asked for, when nothing else waits, in a thread of the pool; it counts if the list knew
nothing of the post, the user has a history and the item is new to the user (as in `graphrec.training.drift`). Beside it
stands what the recently popular items would have had.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphrec.recommender import Recommender

K = 20
EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Score:
    """Next events asked for, and how many were among the first 20 of graphrec and of the recently popular items."""

    asked: int = 0
    hits: int = 0
    popular: int = 0


class Prequential:
    """The score of one service since its start."""

    def __init__(self, recommender: Recommender) -> None:
        self.score = Score()
        self._recommender = recommender
        self._next = 0.0

    def pick(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, str, int] | None:
        """User, item and the log offset before the post, of the one event to ask for; None for none this time."""
        now = time.monotonic()
        if now < self._next or not rows:
            return None
        row = rows[int(now * 1e3) % len(rows)]
        user, item = row.get("user"), row.get("item")
        if not (isinstance(user, str) and isinstance(item, str)):
            return None
        self._next = now + EVERY
        return user, item, self._recommender.offset

    def ask(self, user: str, item: str, offset: int) -> None:
        """Ask for one event; it counts only where the list knows the log up to that offset and no further."""
        shop = self._recommender
        with shop.reading() as state:
            row, number = state.users.number(user), state.items.number(item)
            if row is None or number is None or not state.retriever.has_history(row):
                return
            seen = state.retriever.seen(row)
            known = state.items.keys(seen)
        if number in seen:
            return
        popular = shop.trending(K, exclude=known).ids()
        found = shop.recommend(user, K, reasons=False)
        if found.offset != offset:  # so none of what was asked before it knew more either
            return
        so_far = self.score
        self.score = replace(
            so_far,
            asked=so_far.asked + 1,
            hits=so_far.hits + (item in found.ids()),
            popular=so_far.popular + (item in popular),
        )
