"""Ranking metrics of recommended lists: one number a user first, means after.

A list is a row of `recommended`, int32 (n, k), best item first, padded with -1 at the end. What a user really wanted is
a row of an `ItemSets`. Every relevance is 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from graphrec.errors import InputError

Floats = NDArray[np.float64]
Lists = NDArray[np.int32]

PER_USER = ("recall", "ndcg", "hit_rate", "mrr", "precision")


@dataclass(frozen=True, eq=False)
class ItemSets:
    """A set of items for every row, in CSR form: row r is `items[indptr[r]:indptr[r + 1]]`, ascending and distinct.

    indptr int64 (n + 1,), items int32 (nnz,). Raises InputError where a row is unsorted, repeats an item or names a
    negative one.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]

    def __post_init__(self) -> None:
        shaped = len(self.indptr) > 0 and self.indptr[0] == 0 and self.indptr[-1] == len(self.items)
        if not shaped or (np.diff(self.indptr) < 0).any():
            raise InputError("the row pointers do not fit the items", expected="0 ≤ … ≤ number of items, ascending")
        if len(self.items) and (self.items.min() < 0 or (np.diff(self.keys(self.span)) <= 0).any()):
            raise InputError("a row is not a set", expected="item numbers ≥ 0, ascending and distinct in every row")

    @classmethod
    def from_pairs(cls, rows: NDArray[np.int32], items: NDArray[np.int32], n_rows: int) -> Self:
        """Collect (row, item) pairs in any order, repeats merged."""
        span = int(items.max(initial=-1)) + 1
        keys = np.sort(rows.astype(np.int64) * span + items)
        return cls.from_keys(keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]], n_rows, span)

    @classmethod
    def from_keys(cls, keys: NDArray[np.int64], n_rows: int, span: int) -> Self:
        """Undo `keys(span)`."""
        rows, items = np.divmod(keys, max(span, 1))
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=indptr[1:])
        return cls(indptr, items.astype(np.int32))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of items of every row, int64 (n,)."""
        return np.diff(self.indptr)

    @property
    def span(self) -> int:
        """The largest item number plus one."""
        return int(self.items.max(initial=-1)) + 1

    def keys(self, span: int) -> NDArray[np.int64]:
        """Every pair as the one number row · span + item, ascending, int64 (nnz,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.sizes) * span + self.items

    def minus(self, other: ItemSets) -> ItemSets:
        """Take away from every row the items that the same row of `other` has."""
        span = max(self.span, other.span)
        keys = self.keys(span)
        return ItemSets.from_keys(keys[~np.isin(keys, other.keys(span))], len(self), span)

    def where(self, kept: NDArray[np.bool_]) -> ItemSets:
        """Keep the marked ones of `items`, bool (nnz,); the rows stay, some perhaps without an item."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return ItemSets(before[self.indptr], self.items[kept])

    def nonempty(self) -> tuple[NDArray[np.int32], ItemSets]:
        """Drop the rows without an item; returns the numbers of the others, int32, and their sets in that order."""
        rows = np.flatnonzero(self.sizes)
        return rows.astype(np.int32), ItemSets(self.indptr[np.append(rows, len(self))], self.items)


def hits(recommended: Lists, relevant: ItemSets) -> NDArray[np.bool_]:
    """Mark the recommended items that are relevant, bool (n, k).

    Raises InputError where the shapes do not fit, a user has nothing relevant or a list repeats an item: recall would
    be undefined, or could pass 1.
    """
    if recommended.ndim != 2 or len(recommended) != len(relevant):
        raise InputError(
            "lists and relevant sets do not fit",
            expected=f"({len(relevant)}, k) lists",
            got=f"shape {recommended.shape}",
        )
    if (relevant.sizes == 0).any():
        raise InputError(
            "a user without a relevant item cannot be scored", way_out="leave these users out, as Split does"
        )
    ordered = np.sort(recommended, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise InputError("a list names the same item twice", expected="distinct items, then -1")
    span = max(relevant.span, int(recommended.max(initial=-1)) + 1)
    keys = relevant.keys(span)
    asked = np.arange(len(relevant), dtype=np.int64)[:, None] * span + recommended
    places = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    found: NDArray[np.bool_] = (recommended >= 0) & (keys[places] == asked if len(keys) else False)
    return found


@dataclass(frozen=True, eq=False)
class Scores:
    """The five metrics of every user, float64 (n,) each, of lists cut at k."""

    k: int
    recall: Floats
    ndcg: Floats
    hit_rate: Floats
    mrr: Floats
    precision: Floats

    def matrix(self) -> Floats:
        """Columns in the order of PER_USER, float64 (n, 5)."""
        return np.column_stack([getattr(self, name) for name in PER_USER])


def score(recommended: Lists, relevant: ItemSets, k: int) -> Scores:
    """Score the first k items of every list; a list shorter than k counts as misses after its end.

    recall = hits / number of relevant items (He et al., LightGCN, SIGIR 2020); ndcg = binary DCG / DCG of min(k, number
    of relevant items) hits in front (Järvelin & Kekäläinen, TOIS 2002); hit_rate = any hit; mrr = 1 / rank of the first
    hit, 0 without one (Voorhees, TREC-8 1999); precision = hits / k. Raises InputError as `hits` does, and for k < 1.
    """
    if k < 1:
        raise InputError("lists need a length", expected="k ≥ 1", got=str(k))
    found = hits(recommended[:, :k], relevant)
    width = found.shape[1]
    total = found.sum(axis=1)
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)[np.minimum(relevant.sizes, k) - 1]
    any_hit = total > 0
    first = found.argmax(axis=1) if width else np.zeros(len(found), np.int64)
    return Scores(
        k=k,
        recall=total / relevant.sizes,
        ndcg=found @ discounts[:width] / ideal,
        hit_rate=any_hit.astype(np.float64),
        mrr=np.where(any_hit, 1.0 / (first + 1.0), 0.0),
        precision=total / k,
    )


def exposure(recommended: Lists, n_items: int) -> NDArray[np.int64]:
    """How many lists name each item, int64 (n_items,)."""
    return np.bincount(recommended[recommended >= 0], minlength=n_items)


def coverage(recommended: Lists, n_items: int) -> float:
    """Share of the catalogue that at least one list names (Ge et al., RecSys 2010)."""
    return float(np.count_nonzero(exposure(recommended, n_items)) / max(n_items, 1))


def novelty(recommended: Lists, popularity: NDArray[np.int64] | Floats) -> float:
    """Mean self-information -log2 p of the recommended items, in bits (Zhou et al., PNAS 2010).

    p is the item's share of all popularity counts (n_items,), each raised by one so that a new item stays finite.
    """
    shares = (popularity + 1.0) / (popularity + 1.0).sum()
    shown = recommended[recommended >= 0]
    return float(-np.log2(shares[shown]).mean()) if len(shown) else 0.0


def gini(recommended: Lists, n_items: int) -> float:
    """Inequality of the items' exposure (Fleder & Hosanagar 2009): 0 = all alike, near 1 = a few fill every list."""
    counts = np.sort(exposure(recommended, n_items)).astype(np.float64)
    if counts.sum() == 0:
        return 0.0
    return float((2 * np.arange(1, n_items + 1) - n_items - 1) @ counts / (n_items * counts.sum()))


def bootstrap_interval(
    values: Floats, rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 1000
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of the mean over users (Efron & Tibshirani 1993): low and high, (m,) each.

    values float64 (n, m): a row a user, a column a metric; the columns share their resamples.
    """
    n = len(values)
    means = np.empty((resamples, values.shape[1]))
    for row in means:
        row[:] = np.bincount(rng.integers(n, size=n), minlength=n) @ values / n
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, (tail, 1.0 - tail), axis=0)
    return low, high
