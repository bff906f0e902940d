"""What a reader sees of the index: rows as they were at one moment, whatever is written afterwards.

A view is fixed once made, and readers take it without a lock. Its FAISS index shows most rows a little stale; rows that
moved too far for that are in the overlay, which is scored by the exact rows. A search takes more than it needs from the
stale rows, orders all of it by the exact ones, and then certifies its list.

The certificate. Let a row be (v, b), a query (q, c), their score q·v + c b. Every row that the index shows as
(scale v', b') obeys scale |v - v'| + (b - b' - shift) <= 0 and b' + shift - b <= slack (index_lag.py), so with c >= 0
its score is at most

    q·v' + |q| |v - v'| + c b  <=  q·v' + c (b' + shift) + (|q| - c scale) |v - v'|        (Cauchy-Schwarz)

where |v - v'| <= slack / scale, so that the last term is none for queries of the length that the index is made for.
With c < 0 it is at most q·v' + c (b' + shift) + (|q| - c scale) slack / scale. No row that the index has not returned
has a larger stale part than the last it has. If the k-th exact score is not below that, no row is missing from the
list: it is the list of all exact rows, up to ties. Where the index has a sketch, every row has such a bound of its own,
and all rows whose bound is not below the k-th exact score are ordered. The term `c shift` is common to all rows, so it
moves no order: a change that all rows share costs nothing. Rounding is bounded too, by (d + 2) 2^-23
(|q| |v| + |c| |b'|), twice the bound of one inner product in float32.

The exact rows are the writer's arrays, which it goes on writing into. Before it does, it leaves what it overwrites with
the view (`replaced`), and a reader looks there after it has read: so it sees the rows of its view, all of one moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphrec.retrieval.largest import between, kth_largest, largest
from graphrec.retrieval.row_products import row_products

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from graphrec.retrieval.vector_index import VectorIndex

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_FIRST = 100  # stale rows that are ordered at first, or 2 k; then twice as many, until the list is certified
_FETCH, _PLACES = 400, 5  # that there are in all, or 5 k: enough for nearly every list, and a scan would cost more
_FETCH_SHARE = 16  # but of few items, no more than one in so many
_SAMPLE = 16  # one bound in so many is looked at to guess which rows are the best
_FEW_QUERIES = 8  # up to which a look at the sketch for each costs less than a scan for all
_ROUNDING = 2.0**-23  # twice the unit of float32


class Found(NamedTuple):
    """Answers to m queries, best first; fewer than k items leave numbers of -1 and scores of -inf.

    certified: whether the list is proved to be the k best of all items. ordered: how many of the stale rows it took;
    the number of items where all exact rows were looked at.
    """

    scores: Float32  # (m, k), exact
    numbers: Int32  # (m, k)
    certified: Mask  # (m,)
    ordered: Int32  # (m,)


@dataclass(frozen=True, eq=False)
class Overwritten:
    """What the step from a view to `successor` overwrites: exact rows by number, sorted, and whose biases they were."""

    numbers: Int32
    vectors: Float32
    biases: Float32
    array: Float32  # the writer's array that `biases` are of
    successor: IndexView

    def found(self, numbers: Int32) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of some numbers are among these, and where they are here."""
        if not len(self.numbers):
            nowhere = np.zeros(0, np.intp)
            return nowhere, nowhere
        places = np.searchsorted(self.numbers, numbers).clip(max=len(self.numbers) - 1)
        same = np.flatnonzero(self.numbers[places] == numbers)
        return same, places[same]


@dataclass(eq=False)
class IndexView:
    """One moment of a LiveIndex; every attribute but `replaced` is as it was made.

    shown: the FAISS index of rows (v', b'). vectors, biases: the writer's arrays, float32 (>= n, d) and (>= n,).
    overlay: numbers scored by their exact rows. hidden: those and the removed, which `shown` must not answer with.
    scale, slack, shift: of the certificate. length, bias_length: no exact or stale vector is longer, no exact bias
    larger.
    """

    shown: VectorIndex
    vectors: Float32
    biases: Float32
    n_items: int
    overlay: Int32
    hidden: Mask  # (n_items,)
    removed: Mask  # (n_items,)
    scale: float = 1.0
    slack: float = 0.0
    shift: float = 0.0
    length: float = 0.0
    bias_length: float = 0.0
    version: int = 0
    replaced: Overwritten | None = None

    def changed(self, **changes: Any) -> IndexView:
        """The next moment: as this one but for some attributes."""
        successor = object.__new__(IndexView)
        successor.__dict__ = self.__dict__ | {"version": self.version + 1, "replaced": None} | changes
        return successor

    def take(self, numbers: Int32) -> tuple[Float32, Float32]:
        """Exact vectors (n, d) and biases (n,) of some items, as they were at this moment."""
        vectors, biases = self.vectors[numbers], self.biases[numbers]
        for change in self._later():
            same, places = change.found(numbers)
            vectors[same] = change.vectors[places]
            if change.array is self.biases:
                biases[same] = change.biases[places]
        return vectors, biases

    def search(self, queries: Float32, k: int, exclude: Int32 | None = None, fetch: int = 0) -> Found:
        """Best k items of each query (m, d + 1) = (q, c), none of the item numbers in `exclude`.

        fetch: stale rows to ask the index for; 0 = by k, or as many as it takes where there is a sketch. A scan costs
        nearly the same whatever it returns, so they are asked for at once, and ordered by exact rows a hundred first,
        then twice as many, until the list is certified. Where all do not suffice, every exact row is looked at, or,
        where the index visits some cells only, twice as many are asked for.
        """
        k = min(k, max(self.n_items, 1))
        barred = self._barred(exclude)
        hidden, overlay = self.hidden | barred, self.overlay[~barred[self.overlay]]
        found = Found(
            np.full((len(queries), k), -np.inf, np.float32),
            np.full((len(queries), k), -1, np.int32),
            np.zeros(len(queries), np.bool_),
            np.zeros(len(queries), np.int32),
        )
        asked = self.asked(queries)
        by_sketch = self.shown.sketched and not fetch and len(queries) <= _FEW_QUERIES
        fetch = fetch or max(2 * k, _FIRST, min(max(_FETCH, _PLACES * k), len(self.shown) // _FETCH_SHARE))
        every, stale = (asked, asked) if by_sketch else self.shown.search(asked, fetch, hidden)
        for place, query in enumerate(queries):
            if by_sketch:
                upper = self.shown.upper(asked[place], hidden)
                scores, numbers, ordered, complete = self._under(query, k, overlay, upper)
            else:
                scores, numbers, ordered, complete = self._ordered(query, k, overlay, every[place], stale[place])
            if not complete and not self.shown.cells:
                scores, numbers = self.scan(query, k, exclude)
                ordered, complete = self.n_items, True
            wider = fetch
            while not complete and wider < len(self.shown):
                wider *= 2
                more, further = self.shown.search(asked[place : place + 1], wider, hidden)
                scores, numbers, ordered, complete = self._ordered(query, k, overlay, more[0], further[0])
            found.scores[place, : len(scores)] = scores
            found.numbers[place, : len(numbers)] = numbers
            found.certified[place] = complete and not self.shown.cells
            found.ordered[place] = ordered
        return found

    def asked(self, queries: Float32) -> Float32:
        """Queries as `shown` is asked them: the length of their vectors is in its rows."""
        asked = queries.astype(np.float32)
        asked[:, :-1] /= np.float32(self.scale)
        return asked

    def scan(self, query: Float32, k: int, exclude: Int32 | None = None) -> tuple[Float32, Int32]:
        """Scores and numbers of the k best of all items by their exact rows, best first: the slow way of `search`."""
        n = self.n_items
        scores, biases = self.vectors[:n] @ query[:-1], self.biases[:n].copy()
        for change in self._later():
            known = change.numbers < n
            scores[change.numbers[known]] = change.vectors[known] @ query[:-1]
            if change.array is self.biases:
                biases[change.numbers[known]] = change.biases[known]
        scores += query[-1] * biases
        scores[self._barred(exclude)] = -np.inf
        best = largest(scores, k)
        best = best[scores[best] > -np.inf]
        return scores[best], best

    def bound(self, query: Float32) -> float:
        """How far an exact score can lie above the stale one, in units of the score."""
        q, c = float(np.linalg.norm(query[:-1])), float(query[-1])
        rounding = (
            (len(query) + 1)
            * _ROUNDING
            * (q * self.length + abs(c) * (self.bias_length + abs(self.shift) + self.slack))
        )
        return max(q - c * self.scale, 0.0) * self.slack / self.scale + rounding

    def _ordered(
        self, query: Float32, k: int, overlay: Int32, stale_scores: Float32, stale: Int32
    ) -> tuple[Float32, Int32, int, bool]:
        """The k best of the overlay and what the index returned, by their exact rows: scores and numbers.

        How many of what it returned that took, and whether no other row that the index looked at can belong among them.
        """
        returned = stale[stale >= 0]
        allowance = query[-1] * self.shift + self.bound(query)
        numbers = np.concatenate([overlay, returned[: max(_FIRST, 2 * k)]])
        scores = self._scores(query, numbers)
        while True:
            ordered = len(numbers) - len(overlay)
            best = largest(scores, k)
            if ordered == len(returned) and (len(returned) < len(stale) or len(stale) >= len(self.shown)):
                complete = True
            else:
                complete = len(best) == k and bool(scores[best[-1]] >= stale_scores[ordered - 1] + allowance)
            if complete or ordered == len(returned):
                return scores[best], numbers[best], ordered, complete
            more = returned[ordered : 2 * ordered]
            numbers = np.concatenate([numbers, more])
            scores = np.concatenate([scores, self._scores(query, more)])

    def _under(self, query: Float32, k: int, overlay: Int32, upper: Float32) -> tuple[Float32, Int32, int, bool]:
        """As `_ordered`, by bounds of the scores of all stale rows, (len(shown),), -inf for the hidden.

        The rows with the highest bounds say what a place on the list takes; whoever cannot have that is left out.
        """
        lowest, above = np.finfo(np.float32).min, np.float32(np.inf)
        likely = max(kth_largest(upper[::_SAMPLE], max(2 * k // _SAMPLE, 1)), lowest)
        numbers = np.concatenate([overlay, between(upper, likely, above)])
        scores = self._scores(query, numbers)
        if len(numbers) >= k:
            allowance = query[-1] * self.shift + self.bound(query)
            lowest = max(np.nextafter(np.float32(kth_largest(scores, k) - allowance), -above), lowest)
        more = between(upper, lowest, likely)
        numbers = np.concatenate([numbers, more])
        scores = np.concatenate([scores, self._scores(query, more)])
        order = np.argsort(numbers)  # of equal scores the lower number comes first, as in a scan
        best = order[largest(scores[order], k)]
        return scores[best], numbers[best], len(numbers) - len(overlay), True

    def _scores(self, query: Float32, numbers: Int32) -> Float32:
        """Exact scores of some items."""
        scores: Float32 = row_products(self.vectors, numbers, query[:-1])
        biases = self.biases[numbers]
        for change in self._later():
            same, places = change.found(numbers)
            scores[same] = change.vectors[places] @ query[:-1]
            if change.array is self.biases:
                biases[same] = change.biases[places]
        scores += query[-1] * biases
        return scores

    def _barred(self, exclude: Int32 | None) -> Mask:
        """Which items must not be answered with."""
        if exclude is None or not len(exclude):
            return self.removed
        barred = self.removed.copy()
        barred[exclude[exclude < self.n_items]] = True
        return barred

    def _later(self) -> Iterator[Overwritten]:
        """What was overwritten after this moment, newest first, so that the oldest has the last word.

        To be asked for after reading: the writer leaves it here before it overwrites anything.
        """
        changes, change = [], self.replaced
        while change is not None:
            changes.append(change)
            change = change.successor.replaced
        return reversed(changes)
