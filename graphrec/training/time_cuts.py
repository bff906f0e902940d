"""Training questions in the order of time: the graph before a moment, and what its users did next.

A model that aggregates over edges must not be asked for edges it aggregates over: it would learn to read them off. So
the log is cut at several moments, messages flow only along edges before the cut, and the targets are the next new pairs
after it, which is exactly what serving asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.retrieval.popularity import Popularity
from graphrec.retrieval.retriever import POPULARITY_FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.events.interactions import Interactions

    Int32 = NDArray[np.int32]
    Float32 = NDArray[np.float32]


def decayed_edges(log: Interactions, half_life: float) -> csr_matrix:
    """Effective decayed weights, sparse float64 (n_users, n_items); pairs that sum to nothing keep a zero.

    `log` in the order of time; `half_life` in microseconds, infinity = no decay.
    """
    from scipy.sparse import coo_matrix

    latest = log.timestamps[-1] if len(log) else 0
    decayed = log.weights * np.exp2((log.timestamps - latest) / half_life)
    matrix = coo_matrix((decayed, (log.users, log.items)), shape=(log.n_users, log.n_items)).tocsr()
    np.maximum(matrix.data, 0, out=matrix.data)
    return matrix


def positive_pairs(log: Interactions) -> csr_matrix:
    """Who still has what, sparse (n_users, n_items) of ones; `log` in the order of time."""
    pairs = decayed_edges(log, np.inf)
    pairs.eliminate_zeros()
    pairs.data[:] = 1
    return pairs


def new_pairs(log: Interactions, history: csr_matrix) -> tuple[Int32, Int32]:
    """Distinct positive pairs of users who have a history, without the pairs they had in it."""
    positive = log.weights > 0
    keys = np.unique(log.users[positive].astype(np.int64) * log.n_items + log.items[positive])
    rows = np.repeat(np.arange(log.n_users, dtype=np.int64), np.diff(history.indptr))
    keys = np.setdiff1d(keys, rows * log.n_items + history.indices, assume_unique=False)
    users, items = keys // log.n_items, keys % log.n_items
    known = np.asarray(history.sum(axis=1)).ravel()[users] > 0
    return users[known].astype(np.int32), items[known].astype(np.int32)


def log_popularity(log: Interactions, half_life: float) -> Float32:
    """log(decayed positive events + floor) of each item at the end of a log."""
    popularity = Popularity(half_life)
    popularity.grow(log.n_items)
    positive = log.weights > 0
    popularity.add(log.items[positive], log.timestamps[positive])
    return popularity.log_scores(POPULARITY_FLOOR).astype(np.float32)


@dataclass(frozen=True)
class TimeCut:
    """One moment: mean operators of the graph before it, and the pairs that came next.

    user_mean: row-stochastic (n_users, n_items); item_mean: row-stochastic (n_items, n_users).
    """

    user_mean: csr_matrix
    item_mean: csr_matrix
    log_popularity: Float32
    target_users: Int32
    target_items: Int32


def time_cut(log: Interactions, moment: int, until: int, half_life: float, popularity_half_life: float) -> TimeCut:
    """Cut a log in the order of time after `moment` events; targets are the events from there to `until`.

    Half-lives of edges and popularity in microseconds.
    """
    return cut_before(log.take(slice(moment)), log.take(slice(moment, until)), half_life, popularity_half_life)


def cut_before(
    history: Interactions, following: Interactions, half_life: float, popularity_half_life: float
) -> TimeCut:
    """The moment after a history, with some of the events that followed as targets; half-lives as of `time_cut`."""
    edges = decayed_edges(history, half_life)
    users, items = new_pairs(following, edges)
    return TimeCut(
        row_mean(edges),
        row_mean(edges.T.tocsr()),
        log_popularity(history, popularity_half_life),
        users,
        items,
    )


def row_mean(edges: csr_matrix) -> csr_matrix:
    """Divide each row by its sum; a row without weight stays zero. float32."""
    from scipy.sparse import diags

    sums = np.asarray(edges.sum(axis=1)).ravel()
    inverse = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    mean = (diags(inverse) @ edges).tocsr().astype(np.float32)
    mean.eliminate_zeros()
    return mean
