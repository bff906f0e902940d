"""Why an item is on the list: the paths of the graph that lead to it, counted, not guessed.

A path is (user, item it had, another user, recommended item). Grouped by the item it had they read as a sentence:
"you had X, and so did n others who chose this".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.retrieval.sources import witnesses

if TYPE_CHECKING:
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
    counts = retriever.recent.counts()
    rank = int((counts > counts[item]).sum()) + 1
    if not retriever.has_history(user):
        return Evidence((), float(counts[item]), rank)
    items, weights, _ = retriever.graph.user_row(user)
    kept = (weights > 0) & (items != item)
    items, weights = items[kept], weights[kept]
    arrays = retriever.graph.arrays
    found = witnesses(arrays, user, items, item)
    # The share of an item's users who came to this one, shrunk so that one witness of one is no proof; their number
    # alone would name what everybody has.
    strength = weights * found / (arrays.item_length[items] + _PRIOR_USERS)
    total = float(strength.sum())
    best = np.argsort(-strength, kind="stable")[:limit]
    paths = tuple(
        Path(int(items[position]), int(found[position]), float(strength[position]) / total)
        for position in best
        if strength[position] > 0
    )
    return Evidence(paths, float(counts[item]), rank)
