"""Shadow mode: the live generation answers, and what a held one would have answered is written beside it.

    shop = ShadowedRecommender.open("shop")
    shop.shadow(7)
    shop.recommend("17850")         # of the live generation; generation 7's list goes to shadow/lists.jsonl
    shop.overlap()

The candidate is a workspace of its own, opened at its generation: it follows the log like any other, and nothing it
does can change or fail a live answer.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphrec.bounded_log import BoundedLog
from graphrec.errors import GraphrecError
from graphrec.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from graphrec.answers import Recommendations

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overlap:
    """How alike the lists of the live generation and a candidate are.

    lists: compared. shared: mean share of the live list that the candidate names too. same_first, identical: shares of
    lists. failed: questions that the candidate could not answer.
    """

    candidate: int
    lists: int
    shared: float
    same_first: float
    identical: float
    failed: int


class ShadowedRecommender(Recommender):
    """A recommender with, perhaps, a second generation in its shadow."""

    _candidate: Recommender | None = None

    def shadow(self, generation: int | None) -> None:
        """Ask this generation too from now on, None = no more; raises GenerationError when it is not there."""
        opened = None if generation is None else Recommender.open(self.workspace.directory, generation=generation)
        before, self._candidate = self._candidate, opened
        if before is not None:
            before.close()

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        include_seen: bool = False,
        exclude: Sequence[str] = (),
        session: Sequence[str | tuple[str, str]] = (),
        reasons: bool = True,
    ) -> Recommendations:
        """Answer from the live generation, and note what the candidate answers."""
        shown = super().recommend(user, k, include_seen=include_seen, exclude=exclude, session=session, reasons=reasons)
        if self._candidate is not None:
            row: dict[str, Any] = {"at": time.time(), "user": user, "k": k, "offset": shown.offset}
            row |= {"live": {"generation": shown.generation, "items": shown.ids()}}
            try:
                self._candidate.refresh()
                other = self._candidate.recommend(user, k, include_seen=include_seen, exclude=exclude, reasons=False)
                row["candidate"] = {"generation": other.generation, "items": other.ids(), "offset": other.offset}
            except GraphrecError as error:
                row["candidate"] = {"generation": self._candidate.generation, "error": str(error)}
            try:
                shadow_log(self.workspace.directory).append(row)
            except OSError as error:
                _log.warning("a list of the shadow is not written: %s", error)
        return shown

    def overlap(self) -> list[Overlap]:
        """Summarise what has been noted, a row a candidate."""
        return overlaps(shadow_log(self.workspace.directory).rows())

    def close(self) -> None:
        """Close both."""
        self.shadow(None)
        super().close()


def shadow_log(directory: Path) -> BoundedLog:
    """The lists of a workspace's shadow; of about 16 MiB the oldest go."""
    return BoundedLog(directory / "shadow" / "lists.jsonl")


def overlaps(rows: Iterable[dict[str, Any]]) -> list[Overlap]:
    """Compare noted lists, a row a candidate, by generation."""
    found: dict[int, list[tuple[float, bool, bool]]] = {}
    failed: dict[int, int] = {}
    for row in rows:
        candidate = row["candidate"]["generation"]
        live, other = row["live"]["items"], row["candidate"].get("items")
        figures = found.setdefault(candidate, [])
        if other is None:
            failed[candidate] = failed.get(candidate, 0) + 1
        else:
            shared = len(set(live) & set(other)) / max(len(live), len(other), 1)
            figures.append((shared if live or other else 1.0, live[:1] == other[:1], live == other))
    summaries = []
    for candidate, figures in sorted(found.items()):
        n = max(len(figures), 1)
        shared, first, identical = (sum(row[place] for row in figures) / n for place in range(3))
        summaries.append(Overlap(candidate, len(figures), shared, first, identical, failed.get(candidate, 0)))
    return summaries
