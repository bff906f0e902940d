"""The live state behind an answer: graph, popularity, propagation and index, kept in step with the log.

Everything here is derived from the event log and a model, speaks node numbers, and can be thrown away. `apply` is the
whole way of an event, `candidates` the first half of the way of a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.embedding.running_sums import FADED
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import GraphFilter
from graphrec.retrieval.largest import largest, largest_positive
from graphrec.retrieval.live_index import LiveIndex
from graphrec.retrieval.popularity import Popularity
from graphrec.retrieval.row_products import half_rows
from graphrec.retrieval.taste import recency_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.embedding_model import EmbeddingModel

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]

DAY = 86_400_000_000  # microseconds
POPULARITY_FLOOR = 0.1  # events: keeps the logarithm of an item nobody touched finite
LONG_POPULARITY = 6.0  # half-life of the slower popularity, in those of the recent one

SAGE, FILTER, POPULAR, TASTE = 1, 2, 4, 8
SOURCES = {SAGE: "graphsage", FILTER: "graph filter", POPULAR: "popular", TASTE: "recent taste"}
_POOL, _LEAST_POOL = 2, 400  # the walk names this many times as many items as the filter may offer, or so many


@dataclass(frozen=True)
class Candidates:
    """What retrieval offers one user: columns of equal length, one row a candidate, and two facts of the user.

    user: its number. norm: length of its coordinates in the basis of the filter, 0 without a history.
    numbers: item numbers, int32. sources: which sources offered it, a sum of SAGE, FILTER, POPULAR and TASTE.
    cosine: of the GraphSAGE vectors; walk: two-hop score; shared: the same with witnesses who share their weight out;
    filtered: filter score; score: the retrieval score; taste: two-hop score from the newest items. float32.
    certified: whether the items of the GraphSAGE index are proved to be the best of all.
    """

    user: int
    norm: float
    numbers: Int32
    sources: NDArray[np.uint8]
    cosine: Float32
    walk: Float32
    shared: Float32
    filtered: Float32
    score: Float32
    taste: Float32
    certified: bool = True


class Retriever:
    """Derived state of one log under one embedding model (none: graph and popularity only). One writer.

    choices: what training chose, or its defaults. basis: right vectors V (n_items, k) and singular values (k,) that the
    graph filter is exact on; none leaves it its walk.
    """

    def __init__(
        self,
        config: Config,
        model: EmbeddingModel | None,
        graph: InteractionGraph | None = None,
        choices: Choices | None = None,
        basis: tuple[Float32, Float32] | None = None,
    ) -> None:
        self.settings = config.retrieval
        self.model = model
        self.choices = (Choices() if choices is None else choices).under(config)
        vectors, values = (np.zeros((0, 0), np.float32), np.zeros(0, np.float32)) if basis is None else basis
        self.filter = GraphFilter(vectors, values, self.choices.filter)
        self.graph = InteractionGraph(config.graph.half_life_days * DAY) if graph is None else graph
        half_life = self.choices.popularity_half_life_days * DAY
        self.recent = Popularity(half_life)
        self.lasting = Popularity(half_life * LONG_POPULARITY)
        self.propagation = None if model is None else Propagation(model.sage)
        self.index = None if model is None else LiveIndex(model.sage.dimensions, config.index, model.scale)
        self.n_items = 0
        # Half precision: half the room, and a cosine to three digits is enough to rank by.
        self._texts = np.zeros((0, 0), np.float16)
        self._clock = 0

    def add_items(self, features: Float32, texts: Float32 | NDArray[np.float16] | None = None) -> None:
        """Append item numbers with their features, float32 (n, d_in); without a model only their number counts.

        texts: centred text vectors of length one, float32 (n, t), zero rows = no text; None = there are no texts.
        """
        self.n_items += len(features)
        if texts is not None:
            known = (
                self._texts if self._texts.size else np.zeros((self.n_items - len(texts), texts.shape[1]), np.float16)
            )
            self._texts = np.vstack([known, texts.astype(np.float16)])
        self.graph.grow(self.graph.n_users, self.n_items)
        self.recent.grow(self.n_items)
        self.lasting.grow(self.n_items)
        if self.propagation is not None and self.index is not None:
            self.propagation.add_items(features)
            new = np.arange(len(self.index), self.propagation.n_items, dtype=np.int32)
            self.index.add(unit_rows(self.propagation.item_vectors[new]), self._biases(new))

    def change_items(self, numbers: Int32, features: Float32, texts: Float32 | None = None) -> None:
        """Give known items other features and texts.

        Their own vectors move at once; the other items of their users wait for `drain`, or for the users' next event.
        """
        if self.propagation is not None:
            if texts is not None:
                self._texts[numbers] = texts
            self._index_rows(self.propagation.change_items(self.graph, numbers, features))

    def drain(self, visits: int | None = None) -> None:
        """Have users send what they hold back from their items, the most first, walking so many edges, all if None."""
        if self.propagation is not None:
            self._index_rows(self.propagation.drain(self.graph, visits))

    def show(self, numbers: Int32) -> None:
        """Bring the index up to items whose vectors somebody else has moved: a scrubber that repaired sums."""
        self._index_rows(numbers)

    def load(self, users: Int32, items: Int32, weights: Float64, timestamps: Int64) -> None:
        """Take many events in at once and form everything anew; arguments as of `apply`."""
        self.absorb(users, items, weights, timestamps)
        self.settle()

    def apply(self, users: Int32, items: Int32, weights: Float64, timestamps: Int64) -> None:
        """Take events in: graph, then propagation, then index. Costs what the events touch.

        Args:
            users, items: node numbers, int32 (n,); items must have been added before.
            weights: of the events' kinds, float64 (n,).
            timestamps: microseconds, int64 (n,).
        """
        if self.propagation is None:
            self.absorb(users, items, weights, timestamps)
            return
        self.grow_users(int(users.max(initial=-1)) + 1)
        touched = self.propagation.follow(self.graph, users, items, weights, timestamps)
        self._count(items, weights, timestamps)
        self._index_rows(touched)

    def absorb(self, users: Int32, items: Int32, weights: Float64, timestamps: Int64) -> None:
        """Take events into graph and popularity only; `settle` must follow."""
        self.grow_users(int(users.max(initial=-1)) + 1)
        self.graph.add(users, items, weights, timestamps)
        self._count(items, weights, timestamps)

    def _count(self, items: Int32, weights: Float64, timestamps: Int64) -> None:
        positive = weights > 0
        for popularity in (self.recent, self.lasting):
            popularity.add(items[positive], timestamps[positive])

    def grow_users(self, n_users: int) -> None:
        """Know so many users; a new one has no history."""
        self.graph.grow(n_users, self.graph.n_items)
        if self.propagation is not None:
            self.propagation.grow_users(self.graph.n_users)

    def settle(self) -> None:
        """Form propagation and index anew from the graph: after bulk loading."""
        if self.propagation is not None:
            self.propagation.recompute(self.graph)
            self._index_rows(np.arange(self.propagation.n_items, dtype=np.int32))
            if self.index is not None:
                self.index.wait()
                if self.index.rebuild_due:
                    self.index.rebuild()

    def query(self, user: int) -> Float32 | None:
        """The user's index query `[scale unit(h2_u), 1]`, float32 (d + 1,); None without a model or a history."""
        if self.propagation is None or self.model is None or not self.has_history(user):
            return None
        vector = unit_rows(self.propagation.user_vector(self.graph, user)[None])[0]
        return np.append(self.model.scale * vector, np.float32(1)).astype(np.float32)

    def has_history(self, user: int) -> bool:
        """Whether any event still speaks for this user: not taken back, and not faded away."""
        return user < self.graph.n_users and bool((self.graph.user_row(user)[1] > FADED).any())

    def seen(self, user: int) -> Int32:
        """Items the user has any edge with, int32."""
        return self.graph.user_row(user)[0] if user < self.graph.n_users else np.zeros(0, np.int32)

    def idle(self, user: int) -> int:
        """From a user's newest event to the newest of all, microseconds; 0 for a user without any."""
        times = self.graph.user_row(user)[2] if user < self.graph.n_users else np.zeros(0, np.int64)
        return max(self.recent.newest - int(times.max()), 0) if len(times) else 0

    def popular(self, k: int, exclude: Int32) -> Int32:
        """The k recently most popular items that had an event at all, best first, int32."""
        counts = self.recent.counts()
        counts[exclude] = 0
        return largest_positive(counts, k)

    def filtered(self, user: int, k: int, exclude: Int32) -> Int32:
        """The k items with the best filter scores, best first, int32; recently popular ones without a history."""
        if not self.has_history(user):
            return self.popular(k, exclude)
        items, weights = self.speaking(user)
        coordinates = self.filter.coordinates(items, weights, self.graph.arrays.item_length[items])
        walk = self.filter.walk(self.graph.arrays, user, items, weights)
        walk[exclude] = 0
        return self._filtered(walk, coordinates, k)

    def _filtered(self, walk: Float32, coordinates: Float32, k: int) -> Int32:
        pool = largest_positive(walk, max(_POOL * k, _LEAST_POOL))
        scores = self.filter.scores(pool, walk[pool], coordinates, self.graph.arrays.item_length[pool])
        return pool[largest(scores, k)]

    def nearest(self, user: int, k: int, exclude: Int32) -> Int32:
        """The k items with the best GraphSAGE scores, best first, int32; recently popular ones without a history."""
        query = self.query(user)
        if query is None or self.index is None:
            return self.popular(k, exclude)
        found: Int32 = self.index.search(query[None], k, exclude).numbers[0]
        return found[found >= 0]

    def candidates(self, user: int, exclude: Int32, at_least: int = 0) -> Candidates:
        """Union of all sources for one user, without the excluded item numbers; best retrieval score first.

        Each source offers as many as its setting says, or `at_least` where a longer list is wanted.
        """
        offers = {POPULAR: self.popular(max(self.settings.popular, at_least), exclude)}
        degrees = self.graph.arrays.item_length
        walks = np.zeros((0, 0), np.float32)
        query, certified = self.query(user), True
        items, weights = self.speaking(user)
        coordinates = self.filter.coordinates(items, weights, degrees[items])
        if len(items):
            newest = recency_weights(len(items))
            walks = self.filter.walks(self.graph.arrays, user, items, weights, newest)
            walks[exclude] = 0
            offers[FILTER] = self._filtered(walks[:, 0], coordinates, max(self.settings.filter, at_least))
            offers[TASTE] = largest_positive(walks[:, 2], max(self.settings.taste, at_least))
        if query is not None and self.index is not None:
            nearest = self.index.search(query[None], max(self.settings.sage, at_least), exclude)
            found, certified = nearest.numbers[0], bool(nearest.certified[0])
            offers[SAGE] = found[found >= 0]
        sources = np.zeros(self.graph.n_items, np.uint8)
        for source, offered in offers.items():
            sources[offered] |= source
        together = np.sort(np.concatenate(list(offers.values())))
        numbers = together[np.diff(together, prepend=-1) > 0]
        cosine = np.zeros(len(numbers), np.float32)
        score = self.recent.log_scores(POPULARITY_FLOOR, numbers).astype(np.float32)
        if query is not None and self.index is not None and self.model is not None:
            vectors, biases = self.index.view.take(numbers)
            taken = vectors @ query[:-1]
            score = taken + query[-1] * biases
            cosine = taken / np.float32(self.model.scale)
        order = np.argsort(-score, kind="stable")
        numbers = numbers[order]
        columns = walks[numbers].T.copy() if len(walks) else np.zeros((4, len(numbers)), np.float32)
        walked, shared, taste, _ = columns
        filtered = self.filter.scores(numbers, walked, coordinates, degrees[numbers])
        return Candidates(
            user=user,
            norm=float(np.linalg.norm(coordinates)),
            numbers=numbers,
            sources=sources[numbers],
            cosine=cosine[order],
            walk=walked,
            shared=shared,
            filtered=filtered,
            score=score[order],
            taste=taste,
            certified=certified,
        )

    def vectors(self, numbers: Int32) -> Float32:
        """GraphSAGE vectors of length one of some items, float32 (n, d); d = 0 without a model."""
        if self.index is None:
            return np.zeros((len(numbers), 0), np.float32)
        return self.index.view.take(numbers)[0]

    def texts(self, numbers: Int32) -> Float32:
        """Centred text vectors of some items, float32 (n, t); t = 0 where there are none."""
        if not self._texts.size:
            return np.zeros((len(numbers), 0), np.float32)
        return half_rows(self._texts, numbers)

    def speaking(self, user: int) -> tuple[Int32, Float32]:
        """The user's items that speak for it, newest first, and their weights of sum one; empty without a history."""
        if not self.has_history(user):
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        items, weights, times = self.graph.user_row(user)
        positive = np.flatnonzero(weights > FADED)
        # Of one time stamp, the later in the row is the newer: a row keeps the order in which its items came.
        newest = positive[np.argsort(times[positive], kind="stable")[::-1][: self.settings.history]]
        return items[newest], weights[newest] / weights[newest].sum()

    def _index_rows(self, numbers: Int32) -> None:
        """Rewrite index rows: those that moved, and all popularities when their clock has ticked."""
        if self.index is None or self.propagation is None:
            return
        if self.recent.clock != self._clock:
            self._clock = self.recent.clock
            self.index.write_biases(self._biases(np.arange(len(self.index), dtype=np.int32)))
        numbers = np.sort(numbers)
        self.index.follow(numbers, self.propagation.item_vectors, self._biases(numbers))

    def _biases(self, numbers: Int32) -> Float32:
        """Weighted log popularity of items, float32 (n,)."""
        weight = 0.0 if self.model is None else self.model.popularity_weight
        return (weight * self.recent.log_scores(POPULARITY_FLOOR, numbers)).astype(np.float32)
