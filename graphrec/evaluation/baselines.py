"""What graphrec has to beat, all behind one interface.

A list is filled by the method's own positive scores first, equal ones by item number, and where these end by
popularity: so a user without history gets the most popular items, and a list is shorter than k only when the catalogue
ends. Sums run over distinct pairs in a fixed order, so that two runs agree to the last bit.
"""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numba import njit

from graphrec.errors import InputError, NotTrainedError
from graphrec.evaluation.metrics import ItemSets
from graphrec.evaluation.protocols import item_sets, popularity
from graphrec.evaluation.setting_choice import best_setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from graphrec.evaluation.metrics import Floats, Lists
    from graphrec.events.interactions import Interactions

DAY = 86_400_000_000  # microseconds
HALF_LIVES = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, np.inf)  # days
BLOCK_CELLS = 1 << 23  # a block of scores holds at most this many cells, about 100 MB


class Recommender(Protocol):
    """Anything that can be evaluated: learns from interactions, answers with lists."""

    name: str
    settings: Mapping[str, float | None]  # what it works with, given or chosen on the training events, for the record

    def fit(self, interactions: Interactions) -> Self:
        """Return a new, fitted object with the same settings; this one stays as it is."""

    def recommend(self, users: NDArray[np.int32], k: int, exclude_seen: bool = True) -> Lists:
        """Recommend k items to each user, best first: int32 (len(users), k), padded with -1."""


class Baseline:
    """Fitting, masking and filling; a method adds what it learns and how it scores."""

    name: str
    settings: Mapping[str, float | None] = MappingProxyType({})
    _seen: ItemSets | None = None
    _fallback: NDArray[np.int32]  # every item, the most popular first

    def fit(self, interactions: Interactions) -> Self:
        """Return a new, fitted object; an event of any weight makes an item seen, only positive ones teach."""
        fitted = copy.copy(self)
        fitted._seen = item_sets(interactions)
        fitted._fallback = _descending(popularity(interactions))
        fitted._learn(interactions.positive())
        return fitted

    def _learn(self, wanted: Interactions) -> None:
        """Learn from the positive events."""

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        """Score the items for some users, sparse (len(users), n_items); this one has no opinion of its own."""
        from scipy.sparse import csr_array

        return csr_array((len(users), len(self._fallback)))

    def recommend(self, users: NDArray[np.int32], k: int, exclude_seen: bool = True) -> Lists:
        """Recommend k items to each user; raises NotTrainedError before `fit`, InputError for unknown numbers."""
        if self._seen is None:
            raise NotTrainedError(
                f"{self.name} has learnt nothing yet", way_out="call fit first and use what it returns"
            )
        n_users, n_items = len(self._seen), len(self._fallback)
        if k < 1 or (len(users) and not 0 <= users.min() <= users.max() < n_users):
            raise InputError("lists cannot be made", expected=f"k ≥ 1 and user numbers 0 … {n_users - 1}")
        mask = self._seen if exclude_seen else ItemSets(np.zeros(n_users + 1, np.int64), np.empty(0, np.int32))
        lists = np.full((len(users), k), -1, np.int32)
        rows = max(1, BLOCK_CELLS // max(n_users, n_items, 1))
        for start in range(0, len(users), rows):
            block = users[start : start + rows]
            best, _ = _best(self._scores(block), block, mask, self._fallback, min(k, n_items))
            lists[start : start + rows, : best.shape[1]] = best
        return lists


class MostPopular(Baseline):
    """The items that most users wanted."""

    name = "most popular"


class RecentlyPopular(Baseline):
    """The items with the largest event count when each event's weight halves every `half_life_days`.

    None chooses the half-life of HALF_LIVES with the best ndcg@20 on the newest tenth of the training events; without
    time stamps to cut there, nothing decays. `chosen_half_life_days` of the fitted object says which it is.
    """

    name = "recently popular"

    def __init__(self, half_life_days: float | None = None) -> None:
        if half_life_days is not None and not half_life_days > 0:
            raise InputError("the half-life is not a time", expected="days > 0", got=str(half_life_days))
        self.half_life_days = half_life_days

    def _learn(self, wanted: Interactions) -> None:
        days = HALF_LIVES if self.half_life_days is None else (self.half_life_days,)
        self.chosen_half_life_days = best_setting(
            lambda half_life, events: RecentlyPopular(half_life).fit(events), days, wanted, default=np.inf
        )
        endless = np.isinf(self.chosen_half_life_days)
        self.settings = {"half_life_days": None if endless else self.chosen_half_life_days}
        # in time order the terms that may change places are equal, so the sum does not depend on the order of events
        ordered = wanted.by_time()
        newest = ordered.timestamps[-1] if len(ordered) else 0
        decayed = np.exp2((ordered.timestamps - newest) / (self.chosen_half_life_days * DAY))
        self._fallback = _descending(np.bincount(ordered.items, decayed, self._fallback.size))


class LinearFilter(Baseline):
    """The linear part of GF-CF (Shen et al., CIKM 2021): r_u R̃ᵀR̃ with R̃ = D_U^-1/2 R D_I^-1/2, R binary.

    R̃ᵀR̃ is never formed: two sparse products a block of users.
    """

    name = "linear filter"

    def _learn(self, wanted: Interactions) -> None:
        self._matrix = binary(wanted)
        self._smooth = _scaled(self._matrix, rows=True)
        self._spread = self._smooth.T.tocsr()

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        return self._matrix[users] @ self._spread @ self._smooth


class ItemKNN(Baseline):
    """Item-based nearest neighbours with cosine similarity (Sarwar et al., WWW 2001), R binary.

    An item's score is the sum of its similarities to the user's items among its own `neighbours` most similar ones;
    None keeps all of them.
    """

    name = "item kNN"

    def __init__(self, neighbours: int | None = 100) -> None:
        if neighbours is not None and neighbours < 1:
            raise InputError(
                "the number of neighbours is too small", expected="≥ 1, or None for all", got=str(neighbours)
            )
        self.neighbours = neighbours

    def _learn(self, wanted: Interactions) -> None:
        self._matrix = binary(wanted)
        self._unit = _scaled(self._matrix, rows=False)
        self._spread = self._unit.T.tocsr()
        if self.neighbours is not None:
            self._similar = self._nearest(min(self.neighbours, self._unit.shape[1]))

    def _scores(self, users: NDArray[np.int32]) -> csr_array:
        own = self._matrix[users]
        if self.neighbours is not None:
            return own @ self._similar
        return own @ self._spread @ self._unit - own  # an item is no neighbour of itself

    def _nearest(self, neighbours: int) -> csr_array:
        """Similarities (n_items, n_items): column i holds those of item i to its nearest neighbours."""
        from scipy.sparse import csr_array

        n_users, n_items = self._unit.shape
        itself = ItemSets(np.arange(n_items + 1), np.arange(n_items, dtype=np.int32))
        rows = max(1, BLOCK_CELLS // max(n_users, n_items, 1))
        counts, columns, similarities = [], [np.empty(0, np.int32)], [np.empty(0)]
        for start in range(0, n_items, rows):
            block = np.arange(start, min(start + rows, n_items), dtype=np.int32)
            found, values = _best(self._spread[block] @ self._unit, block, itself, itself.items[:0], neighbours)
            counts.append((found >= 0).sum(axis=1))
            columns.append(found[found >= 0])
            similarities.append(values[found >= 0])
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))]) if counts else np.zeros(1, np.int64)
        nearest = csr_array((np.concatenate(similarities), np.concatenate(columns), indptr), shape=(n_items, n_items))
        return nearest.T.tocsr()


def binary(wanted: Interactions) -> csr_array:
    """Distinct pairs as a matrix of ones, float64 (n_users, n_items), columns ascending."""
    from scipy.sparse import csr_array

    pairs = item_sets(wanted)
    return csr_array((np.ones(len(pairs.items)), pairs.items, pairs.indptr), shape=(wanted.n_users, wanted.n_items))


def rows_of(scores: Floats | NDArray[np.float32]) -> csr_array:
    """Dense scores (n, n_items) as the sparse matrix that `_scores` returns, without a copy of them."""
    from scipy.sparse import csr_array

    n, n_items = scores.shape
    columns = np.tile(np.arange(n_items, dtype=np.int32), n)
    return csr_array((scores.ravel(), columns, np.arange(n + 1) * n_items), shape=scores.shape)


def _scaled(matrix: csr_array, *, rows: bool) -> csr_array:
    """Divide every column, and every row if asked, by the square root of its number of ones."""
    per_row = np.diff(matrix.indptr)
    per_column = np.bincount(matrix.indices, minlength=matrix.shape[1])
    scaled = matrix.copy()
    scaled.data /= np.sqrt(per_column[matrix.indices])
    if rows:
        scaled.data /= np.sqrt(np.repeat(per_row, per_row))
    return scaled


def _descending(values: Floats | NDArray[np.int64]) -> NDArray[np.int32]:
    """Item numbers by falling value, equal ones by number."""
    return np.argsort(-values, kind="stable").astype(np.int32)


def _best(
    scores: csr_array, rows: NDArray[np.int32], mask: ItemSets, fallback: NDArray[np.int32], k: int
) -> tuple[Lists, Floats]:
    """Pick the k best items of every row of `scores`; the row's mask is that of the number in `rows`."""
    lists, values = _best_of_rows(
        scores.indptr, scores.indices, scores.data, rows, mask.indptr, mask.items, fallback, scores.shape[1], k
    )
    return lists, values


@njit(cache=True, nogil=True)
def _best_of_rows(  # type: ignore[no-untyped-def]
    indptr, items, scores, rows, mask_indptr, mask_items, fallback, n_items, k
):
    """Fill each list with the k largest positive scores outside the row's mask, then with `fallback` in its order."""
    lists = np.full((len(rows), k), np.int32(-1), np.int32)
    values = np.zeros((len(rows), k))
    taken = np.full(n_items, -1, np.int64)
    for row in range(len(rows)):
        chosen, value = lists[row], values[row]
        for p in range(mask_indptr[rows[row]], mask_indptr[rows[row] + 1]):
            taken[mask_items[p]] = row
        size = 0
        for p in range(indptr[row], indptr[row + 1]):
            item, gain = items[p], scores[p]
            if gain <= 0 or taken[item] == row:
                continue
            if size < k:
                size += 1
            elif gain < value[k - 1] or (gain == value[k - 1] and item > chosen[k - 1]):
                continue
            place = size - 1
            while place > 0 and (gain > value[place - 1] or (gain == value[place - 1] and item < chosen[place - 1])):
                value[place], chosen[place] = value[place - 1], chosen[place - 1]
                place -= 1
            value[place], chosen[place] = gain, item
        if size < k:
            for place in range(size):
                taken[chosen[place]] = row
            for item in fallback:
                if size == k:
                    break
                if taken[item] != row:
                    chosen[size] = item
                    size += 1
    return lists, values
