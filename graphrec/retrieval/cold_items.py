"""Items that hardly anybody has chosen yet, found by their texts alone and shown in reserved places of a list.

Two closed forms score a cold item c for a user, on text vectors of length one around their mean (cosines below):

    neighbours   sum of a(j, c) / sqrt(h_j h_c) over the user's items j;  a = max(cos, 0)^power,  h_j = sum_l a(j, l)
    vector       cosine of the mean CF vector of the user's items and the CF vector that kernel ridge expects of c

Each is standardised over the cold items of one user, and they are added. The first knows what is close in meaning, the
second what is liked together; on held-out items neither is as good as both. h keeps texts of which the catalogue is
full from being near to everything (Radovanović et al. 2010 on hubs).

The landmarks l are texts of warm items: all of them, or a sample (Williams & Seeger 2001) of a large catalogue.
"""

from __future__ import annotations

import threading
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from graphrec.config import ColdSettings
    from graphrec.retrieval.retriever import Retriever

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]

TEXT = 128  # beside the sources of retrieval: in its place for its text
TEXT_SOURCE = "new, by its text"

_LEAST = 1e-6  # affinity of a text that is like no other, and spread of scores that are all the same


@dataclass(frozen=True)
class ColdModel:
    """The closed forms, fitted; t = length of a text vector, d = of a CF vector.

    strong: whether texts put held-out items in a better order than their popularity would have.
    """

    landmarks: Float32  # (m, t), rows of length one
    weights: Float32  # (m, d), of kernel ridge, dual
    vectors: Float32  # (n, d), CF vectors of length one by item number; zero rows = not in the graph at training
    bend: float  # of the kernel
    power: float  # of the affinity
    blend: float  # weight of the vector's score beside the neighbours'
    strong: bool

    def expected(self, texts: Float32) -> Float32:
        """CF vectors of length one that texts (n, t) let expect, float32 (n, d); zero rows for missing texts."""
        return unit_rows(kernel(texts @ self.landmarks.T, self.bend) @ self.weights)

    def hubs(self, texts: Float32) -> Float32:
        """Root of the affinity to all landmarks together, float32 (n,)."""
        return hubs(texts, self.landmarks, self.power)

    def arrays(self) -> dict[str, Float32]:
        """All but the items' vectors by name, for a file."""
        settings = np.array([self.bend, self.power, self.blend, self.strong], np.float32)
        return {"landmarks": self.landmarks, "weights": self.weights, "settings": settings}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32], vectors: Float32) -> ColdModel:
        """Read what `arrays` wrote, with the items' vectors (n, d); raises KeyError where a part is missing."""
        bend, power, blend, strong = (float(value) for value in arrays["settings"])
        return cls(arrays["landmarks"], arrays["weights"], vectors, bend, power, blend, bool(strong))


def kernel(cosines: Float32, bend: float) -> Float32:
    """(1 - bend) cos + bend max(cos, 0)^2: from one global map (bend 0) to one that looks at what is near (1)."""
    near = np.maximum(cosines, 0)
    mixed: Float32 = np.float32(1 - bend) * cosines + np.float32(bend) * near * near
    return mixed


def affinity(cosines: Float32, power: float) -> Float32:
    """max(cos, 0)^power for a whole power, by multiplying: a sixth of the time of numpy's power."""
    near = np.maximum(cosines, 0)
    product: Float32 = near.copy()
    for _ in range(int(power) - 1):
        product *= near
    return product


def hubs(texts: Float32, landmarks: Float32, power: float) -> Float32:
    """Root of the affinity of texts (n, t) to all landmarks (m, t) together, float32 (n,)."""
    sums: Float32 = affinity(texts @ landmarks.T, power).sum(axis=1)
    roots: Float32 = np.sqrt(sums + np.float32(_LEAST))
    return roots


def standardised(scores: Float32) -> Float32:
    """Scores (n, c) with mean 0 and deviation 1 in each row; a row of equal scores becomes zeros."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread: Float32 = centred / np.maximum(centred.std(axis=1, keepdims=True), np.float32(_LEAST))
    return spread


class ColdItems:
    """The cold items of a live state: those with a text that fewer than `leave_after` users have touched so far.

    What an item's text says is worked out when the item is first asked for; an item leaves as its events come.
    """

    def __init__(self, model: ColdModel, retriever: Retriever, settings: ColdSettings) -> None:
        self.model = model
        self._retriever = retriever
        self._leave_after = settings.leave_after
        self._places: frozenset[int] = frozenset(settings.slots if model.strong or not settings.auto else ())
        self._turn = threading.Lock()  # readers find out side by side
        self._known = np.zeros(0, bool)
        self._described = np.zeros(0, bool)
        self._hubs = np.zeros(0, np.float32)
        self._expected = np.zeros((0, model.weights.shape[1]), np.float32)

    def forget(self, numbers: Int32) -> None:
        """Texts have changed: read them again when they are needed."""
        self._known[numbers[numbers < len(self._known)]] = False

    def seen_by(self, retriever: Retriever) -> ColdItems:
        """The same, as another view of the live state knows the users (`graphrec.retrieval.session`)."""
        other = copy(self)
        other._retriever = retriever
        return other

    def is_cold(self, item: int) -> bool:
        """Whether the item has a text and hardly any users yet."""
        few = self._retriever.graph.arrays.item_length[item] < self._leave_after
        return bool(few and self._read(np.array([item], np.int32))[0])

    def numbers(self, exclude: Int32) -> Int32:
        """All cold items but the excluded, int32."""
        lengths = self._retriever.graph.arrays.item_length[: self._retriever.graph.n_items]
        few = lengths < self._leave_after
        few[exclude] = False
        numbers = np.flatnonzero(few).astype(np.int32)
        return numbers[self._read(numbers)]

    def scores(self, user: int, numbers: Int32) -> Float32:
        """How well described items suit a user's newest items, float32 (len(numbers),); zeros without a history."""
        self._read(numbers)
        items = self._retriever.speaking(user)[0]
        items = items[self._read(items) | self._has_vector(items)]
        if not len(items) or not len(numbers):
            return np.zeros(len(numbers), np.float32)
        profile = unit_rows(self._vectors(items).sum(axis=0, keepdims=True))
        by_vector = profile @ self._expected[numbers].T
        by_neighbours = self._affinities(items, numbers).sum(axis=0, keepdims=True)
        total = standardised(by_neighbours) + np.float32(self.model.blend) * standardised(by_vector)
        scores: Float32 = total[0]
        return scores

    def nearest(self, user: int, item: int) -> int | None:
        """The user's item whose text is nearest to a described one's; None where there is none."""
        items = self._retriever.speaking(user)[0]
        items = items[self._read(items) & (items != item)]
        if not len(items):
            return None
        one = np.array([item], np.int32)
        self._read(one)
        near = self._affinities(items, one)[:, 0]
        return int(items[near.argmax()]) if near.max() > 0 else None

    def into_places(
        self, user: int, exclude: Int32, k: int, numbers: Int32, sources: NDArray[np.uint8], scores: Float32
    ) -> tuple[Int32, NDArray[np.uint8], Float32]:
        """Put a user's best cold items into the reserved places of a list of up to k; columns in, columns out.

        Those on the list already stay where they are and leave as many places to the others. One that is put in has
        the score of the place above it, so that scores fall along the list. Without a history, cold items or reserved
        places the list stays as it is.
        """
        wanted = sum(place <= k for place in self._places)
        if not wanted or not self._retriever.has_history(user):
            return numbers, sources, scores
        cold = self.numbers(np.union1d(exclude, self._retriever.seen(user)))
        listed = np.isin(cold, numbers)
        cold, wanted = cold[~listed], max(wanted - int(listed.sum()), 0)
        cold = cold[np.argsort(-self.scores(user, cold), kind="stable")[:wanted]]
        order = interleaved(len(numbers), len(cold), self._places, k)
        above = np.maximum.accumulate(np.where(order < len(numbers), order, 0)) if len(numbers) else None
        return (
            np.append(numbers, cold)[order].astype(np.int32),
            np.append(sources, np.full(len(cold), TEXT))[order].astype(np.uint8),
            np.zeros(len(order), np.float32) if above is None else scores[above],
        )

    def _affinities(self, items: Int32, cold: Int32) -> Float32:
        """float32 (len(items), len(cold)), divided by both roots of affinities to all; zero rows without a text."""
        cosines = self._retriever.texts(items) @ self._retriever.texts(cold).T
        return affinity(cosines, self.model.power) / np.outer(self._hubs[items], self._hubs[cold])

    def _has_vector(self, items: Int32) -> NDArray[np.bool_]:
        known = items < len(self.model.vectors)
        known[known] = self.model.vectors[items[known]].any(axis=1)
        return known

    def _vectors(self, items: Int32) -> Float32:
        """CF vectors (len(items), d): of training, else as the text lets expect."""
        vectors = self._expected[items]
        known = self._has_vector(items)
        vectors[known] = self.model.vectors[items[known]]
        return vectors

    def _read(self, numbers: Int32) -> NDArray[np.bool_]:
        """Which items have a text; works out what the texts of those met for the first time say."""
        with self._turn:
            more = self._retriever.n_items - len(self._known)
            if more > 0:
                self._known = np.append(self._known, np.zeros(more, bool))
                self._described = np.append(self._described, np.zeros(more, bool))
                self._hubs = np.append(self._hubs, np.ones(more, np.float32))
                self._expected = np.vstack([self._expected, np.zeros((more, self._expected.shape[1]), np.float32)])
            new = numbers[~self._known[numbers]]
            if len(new):
                texts = self._retriever.texts(new)
                self._described[new] = texts.any(axis=1)
                self._hubs[new] = self.model.hubs(texts)
                self._expected[new] = self.model.expected(texts)
                self._known[new] = True
            return self._described[numbers]


def interleaved(listed: int, cold: int, places: frozenset[int], k: int) -> NDArray[np.int64]:
    """The order of a list of up to k: numbers below `listed` are its own items, the next `cold` ones are put in.

    Cold items come at the reserved `places` (1 = the first), all others keep their order; a list that ends before a
    reserved place gets its cold items at its end.
    """
    order: list[int] = []
    own, put = 0, listed
    for place in range(1, k + 1):
        if put < listed + cold and (place in places or own == listed):
            order.append(put)
            put += 1
        elif own < listed:
            order.append(own)
            own += 1
    return np.array(order, np.int64)
