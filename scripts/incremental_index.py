"""How the vector index follows the vectors: what is written, and what its lists are worth.

Its lists are compared with a scan of exact rows, ties counted, and so are those of two indexes that cost less: one that
is never written, and one whose popularities are followed but whose vectors are not. Only what is above them is gained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval.retriever import POPULARITY_FLOOR, Retriever

if TYPE_CHECKING:
    from incremental_worlds import Tail
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

BATCH = 1_000
K = 20
ROUNDING = 1e-6  # of the largest score: two sums of the same numbers
ASKED = 500  # users whose lists are compared
ORDERED = (100, 200, 400)  # stale rows whose exact rows a search looks at


def follow_index(retriever: Retriever, tail: Tail, batches: int, rng: np.random.Generator) -> dict[str, Any]:
    """The index beside exact rows, and beside an index that is never written: lists of users seen in these events."""
    assert retriever.index is not None
    assert retriever.propagation is not None
    retriever.settle()
    frozen, n_edges = exact_rows(retriever), retriever.graph.n_edges
    written = retriever.index.writes
    events, moved = 0, 0
    for _ in range(batches):
        before = retriever.propagation.item_vectors.copy()
        retriever.apply(*(batch := tail.next(BATCH)))
        moved += int((retriever.propagation.item_vectors != before).any(axis=1).sum())
        events += len(batch[0])
    users = np.unique(tail.newest(batches * BATCH).users)
    users = rng.choice(users, min(ASKED, len(users)), replace=False)
    queries = np.array([retriever.query(int(user)) for user in users])
    exact = exact_rows(retriever)
    half_frozen = np.hstack([frozen[:, :-1], exact[:, -1:]])
    found = retriever.index.search(queries, K)
    written = retriever.index.writes - written
    return {
        "events": events,
        "growth": retriever.graph.n_edges / n_edges - 1,
        "moved_rows_per_event": moved / events,
        "written_rows_per_event": written / events,
        "writes_saved": moved / max(written, 1),
        "overlap": overlap(found.numbers, queries, exact),
        "overlap_never_written": overlap(best(queries, frozen), queries, exact),
        "overlap_vectors_never_written": overlap(best(queries, half_frozen), queries, exact),
        "certified": float(np.mean(found.certified)),
        "certified_by_rows_ordered": {
            str(rows): float(np.mean(found.certified & (found.ordered <= rows))) for rows in ORDERED
        },
    }


def exact_rows(retriever: Retriever) -> Float32:
    """What every index row should hold now, float32 (n_items, d + 1)."""
    assert retriever.propagation is not None
    assert retriever.model is not None
    popularity = retriever.model.popularity_weight * retriever.recent.log_scores(POPULARITY_FLOOR)
    return np.hstack([unit_rows(retriever.propagation.item_vectors), popularity[:, None].astype(np.float32)])


def best(queries: Float32, rows: Float32) -> NDArray[np.int64]:
    """The K rows with the largest inner products, in any order, query by query."""
    return np.array([np.argpartition(-(rows @ query), K)[:K] for query in queries])


def overlap(found: NDArray[Any], queries: Float32, rows: Float32) -> float:
    """Mean share of K items each that belong to the K best of these rows, whatever the order of ties."""
    shares = []
    for numbers, query in zip(found, queries, strict=True):
        scores = rows @ query
        shares.append((scores[numbers] >= np.partition(scores, -K)[-K] - ROUNDING * np.abs(scores).max()).mean())
    return float(np.mean(shares))
