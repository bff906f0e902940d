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
from graphrec.retrieval.retriever import DAY, POPULARITY_FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.config import Config

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class TimedLog:
    """Events in the order of time (ties in the order of the log), with the weights of their kinds."""

    users: Int32
    items: Int32
    timestamps: Int64
    weights: Float64
    n_users: int
    n_items: int

    @classmethod
    def of(
        cls, users: Int32, items: Int32, timestamps: Int64, weights: Float64, n_users: int, n_items: int
    ) -> TimedLog:
        """Sort the columns of a log by time."""
        order = np.argsort(timestamps, kind="stable")
        return cls(users[order], items[order], timestamps[order], weights[order], n_users, n_items)

    def __len__(self) -> int:
        return len(self.users)

    def part(self, first: int, last: int) -> TimedLog:
        """Events `first` to `last` (exclusive), the same nodes."""
        where = slice(first, last)
        return TimedLog(
            self.users[where],
            self.items[where],
            self.timestamps[where],
            self.weights[where],
            self.n_users,
            self.n_items,
        )

    def edges(self, half_life: float) -> csr_matrix:
        """Effective decayed weights, sparse float64 (n_users, n_items); pairs that sum to nothing keep a zero."""
        from scipy.sparse import coo_matrix

        latest = self.timestamps[-1] if len(self) else 0
        decayed = self.weights * np.exp2((self.timestamps - latest) / half_life)
        matrix = coo_matrix((decayed, (self.users, self.items)), shape=(self.n_users, self.n_items)).tocsr()
        np.maximum(matrix.data, 0, out=matrix.data)
        return matrix

    def new_pairs(self, history: csr_matrix) -> tuple[Int32, Int32]:
        """Distinct positive pairs of users who have a history, without the pairs they had in it."""
        positive = self.weights > 0
        keys = np.unique(self.users[positive].astype(np.int64) * self.n_items + self.items[positive])
        rows = np.repeat(np.arange(self.n_users, dtype=np.int64), np.diff(history.indptr))
        keys = np.setdiff1d(keys, rows * self.n_items + history.indices, assume_unique=False)
        users, items = keys // self.n_items, keys % self.n_items
        known = np.asarray(history.sum(axis=1)).ravel()[users] > 0
        return users[known].astype(np.int32), items[known].astype(np.int32)

    def popularity(self, half_life: float) -> Float32:
        """log(decayed positive events + floor) of each item at the end of this log."""
        popularity = Popularity(half_life)
        popularity.grow(self.n_items)
        positive = self.weights > 0
        popularity.add(self.items[positive], self.timestamps[positive])
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


def time_cut(log: TimedLog, moment: int, until: int, config: Config) -> TimeCut:
    """Cut after `moment` events; targets are the events from there to `until`."""
    history = log.part(0, moment)
    edges = history.edges(config.graph.half_life_days * DAY)
    users, items = log.part(moment, until).new_pairs(edges)
    return TimeCut(
        row_mean(edges),
        row_mean(edges.T.tocsr()),
        history.popularity(config.retrieval.popularity_half_life_days * DAY),
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
