"""Why an item is on the list: the paths of the graph that lead to it, counted, not guessed.

A path is (user, item it had, another user, recommended item). Grouped by the item it had they read as a sentence:
"you had X, and so did n others who chose this".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from graphrec.retrieval.sources import witnesses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.retrieval.retriever import Retriever

_PRIOR_USERS = 20


@dataclass(frozen=True)
class Path:
    """Through which of the user's items (`seed`, a number) how many other users (`witnesses`) reach the item."""

    seed: int
    witnesses: int
    share: float  # of the evidence of all paths


@dataclass(frozen=True)
class Evidence:
    """What speaks for an item: paths through the user's items, strongest first, and recent events."""

    paths: tuple[Path, ...]
    recent_events: float  # decayed count
    popularity_rank: int  # 1 = the item with most recent events


def evidence(retriever: Retriever, user: int, item: int, limit: int = 3) -> Evidence:
    """Collect the evidence for one pair of node numbers."""
    return evidence_of(retriever, user, np.array([item], np.int32), limit)[0]


def evidence_of(retriever: Retriever, user: int, targets: NDArray[np.int32], limit: int = 3) -> list[Evidence]:
    """Collect the evidence for one user and each of some items: their witnesses are many of them the same."""
    counts = retriever.recent.counts()
    ranks = _ranks(counts, targets).tolist()
    recent = counts[targets].tolist()
    if not retriever.has_history(user):
        return [Evidence((), *standing) for standing in zip(recent, ranks, strict=True)]
    items, weights, _ = retriever.graph.user_row(user)
    items, weights = items[weights > 0], weights[weights > 0]
    arrays = retriever.graph.arrays
    found = witnesses(arrays, user, items, targets)
    # The share of an item's users who came to this one, shrunk so that one witness of one is no proof; their number
    # alone would name what everybody has. An item is no reason for itself.
    strengths = weights * found * (items != targets[:, None]) / (arrays.item_length[items] + _PRIOR_USERS)
    order = np.argsort(-strengths, axis=1, kind="stable")[:, :limit]
    totals = strengths.sum(axis=1)
    return [
        Evidence(_paths(items, found[row], strengths[row], order[row], float(totals[row])), recent[row], ranks[row])
        for row in range(len(targets))
    ]


@njit(cache=True, nogil=True)
def _ranks(counts, items):  # type: ignore[no-untyped-def]
    """Places of some items among all by falling count, from 1, int64 (len(items),)."""
    own = counts[items]
    order = np.argsort(own)
    ascending = own[order]
    above = np.zeros(len(items) + 1, np.int64)  # items whose count is above so many of these
    least = ascending[0] if len(items) else np.inf
    for count in counts:
        if count > least:  # hardly any is, as a rule
            above[np.searchsorted(ascending, count)] += 1
    ranks = np.empty(len(items), np.int64)
    rank = 1
    for place in range(len(items) - 1, -1, -1):
        rank += above[place + 1]
        ranks[order[place]] = rank
    return ranks


def _paths(
    items: NDArray[np.int32],
    found: NDArray[np.int32],
    strengths: NDArray[np.floating],
    best: NDArray[np.intp],
    total: float,
) -> tuple[Path, ...]:
    return tuple(
        Path(int(items[place]), int(found[place]), float(strengths[place]) / total)
        for place in best
        if strengths[place] > 0
    )
