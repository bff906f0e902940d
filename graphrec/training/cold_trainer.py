"""Cold items, fitted in closed form on items that are held out as if nobody had chosen them yet.

A tenth of the warm items loses all its events; the CF vectors of the others, kernel, power and weights are formed
without them, and the choice is what finds them again for their users. One tenth is a small sample of tastes, so this is
done twice and the mean decides. Then everything is formed once more on all items.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.retrieval.cold_items import ColdModel, affinity, hubs, kernel, standardised
from graphrec.training.time_cuts import positive_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.events.interactions import Interactions

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

DIMENSIONS = 256  # of the CF vectors: the rarer tastes are where text tells items apart

_BENDS = (0.5, 0.75, 1.0)
_RIDGES = (0.3, 1.0)
_POWERS = (2.0, 4.0, 7.0)
_BLENDS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
_FOLDS = 2
_HELD_OUT, _MOST_HELD_OUT, _FEWEST_HELD_OUT = 0.1, 600, 20
_MOST_LANDMARKS = 5_000
_MOST_USERS = 3_000
_DEPTH = 20  # of the lists compared
_FEWEST_EVENTS = 5  # of an item that may be held out


class Choice(NamedTuple):
    """What closed forms leave open; `bend`, `power` and `blend` as of ColdModel."""

    bend: float
    ridge: float
    power: float
    blend: float


def train_cold(log: Interactions, texts: Float32, seed: int) -> ColdModel | None:
    """Fit on a log and the items' centred text vectors of length one, (n_items, t), zero rows = no text.

    None where there are too few items with a text and with events to say anything.
    """
    pairs = positive_pairs(log)
    rng = np.random.default_rng(seed)
    degrees = np.bincount(pairs.indices, minlength=log.n_items)
    warm = np.flatnonzero((degrees > 0) & texts.any(axis=1))
    candidates = warm[degrees[warm] >= _FEWEST_EVENTS]
    held_out = min(int(_HELD_OUT * len(candidates)), _MOST_HELD_OUT)
    if held_out < _FEWEST_HELD_OUT:
        return None
    folds = np.sort(rng.permutation(candidates)[: _FOLDS * held_out].reshape(_FOLDS, held_out), axis=1)
    tables, popularities = zip(*(_recalls(pairs, warm, cold, texts, seed) for cold in folds), strict=True)
    means = {choice: float(np.mean([table[choice] for table in tables])) for choice in tables[0]}
    choice = max(means, key=means.__getitem__)
    strong = means[choice] > float(np.mean(popularities))
    vectors = cf_vectors(pairs, seed)
    landmarks = _landmarks(warm, rng)
    weights = kernel_ridge(texts[warm], texts[landmarks], vectors[warm], choice.bend, choice.ridge)
    return ColdModel(texts[landmarks], weights, vectors, choice.bend, choice.power, choice.blend, strong)


def without(pairs: csr_matrix, items: Int64) -> csr_matrix:
    """The matrix with the columns of some items emptied."""
    kept = ~np.isin(pairs.indices, items)
    rest = pairs.copy()
    rest.data = rest.data * kept
    rest.eliminate_zeros()
    return rest


def cf_vectors(pairs: csr_matrix, seed: int) -> Float32:
    """Spectral coordinates of length one of all items, float32 (n_items, DIMENSIONS); zero rows without events."""
    basis = spectral_basis(normalised(pairs), DIMENSIONS, seed=seed)
    return unit_rows(basis.items * np.sqrt(basis.values))


def kernel_ridge(texts: Float32, landmarks: Float32, vectors: Float32, bend: float, ridge: float) -> Float32:
    """Weights (m, d) that map kernel(text, landmarks) to vectors (n, d); texts (n, t), landmarks (m, t).

    With the texts as landmarks this is (K + ridge I)^-1 Z, otherwise its Nyström form
    (C'C + ridge K)^-1 C'Z, C = kernel(texts, landmarks), K = kernel(landmarks, landmarks).
    """
    between = kernel(landmarks @ landmarks.T, bend)
    if texts is landmarks or np.array_equal(texts, landmarks):
        return np.linalg.solve(between + np.float32(ridge) * np.eye(len(between), dtype=np.float32), vectors)
    across = kernel(texts @ landmarks.T, bend).astype(np.float64)
    square = across.T @ across + ridge * between
    square[np.diag_indices_from(square)] += 1e-6 * np.trace(square) / len(square)
    weights: Float32 = np.linalg.solve(square, across.T @ vectors).astype(np.float32)
    return weights


def neighbour_scores(
    chosen: csr_matrix, cosines: Float32, warm_hubs: Float32, cold_hubs: Float32, power: float
) -> Float32:
    """Neighbours' scores (u, c) of users with the items `chosen` (u, w) and cosines (w, c) of warm and cold texts."""
    scores: Float32 = np.asarray(chosen @ (affinity(cosines, power) / np.outer(warm_hubs, cold_hubs)))
    return scores


def recall(scores: Float32, wanted: NDArray[np.bool_], depth: int = _DEPTH) -> float:
    """Mean share of the wanted among the first `depth` of c items, fewer of few; (u, c) each, a row wants something."""
    if not len(scores):  # nobody had two items
        return 0.0
    depth = min(depth, -(-scores.shape[1] // 5))
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    return float((np.take_along_axis(wanted, best, axis=1).sum(axis=1) / wanted.sum(axis=1)).mean())


def _recalls(
    pairs: csr_matrix, warm: Int64, cold: Int64, texts: Float32, seed: int
) -> tuple[dict[Choice, float], float]:
    """Recall of held-out items `cold` by each choice, fitted without them; and by the popularity they had."""
    rng = np.random.default_rng(seed)
    warm, rest = np.setdiff1d(warm, cold), without(pairs, cold)
    users = np.intersect1d(np.flatnonzero(np.diff(rest.indptr)), np.unique(pairs[:, cold].nonzero()[0]))
    if len(users) > _MOST_USERS:
        users = np.sort(rng.choice(users, _MOST_USERS, replace=False))
    wanted = pairs[users][:, cold].toarray() > 0
    chosen = rest[users][:, warm]
    vectors = cf_vectors(rest, seed)
    profiles = unit_rows(np.asarray(rest[users] @ vectors))
    landmarks = texts[_landmarks(warm, rng)]
    cosines = texts[warm] @ texts[cold].T
    by_vector = {}
    for bend, ridge in product(_BENDS, _RIDGES):
        weights = kernel_ridge(texts[warm], landmarks, vectors[warm], bend, ridge)
        expected = unit_rows(kernel(texts[cold] @ landmarks.T, bend) @ weights)
        by_vector[bend, ridge] = standardised(profiles @ expected.T)
    table = {}
    for power in _POWERS:
        roots = hubs(texts[warm], landmarks, power), hubs(texts[cold], landmarks, power)
        near = standardised(neighbour_scores(chosen, cosines, *roots, power))
        for (bend, ridge), vector in by_vector.items():
            for blend in _BLENDS:
                total = near + np.float32(blend) * vector
                table[Choice(bend, ridge, power, blend)] = recall(total, wanted)
    degrees = np.bincount(pairs.indices, minlength=pairs.shape[1])[cold].astype(np.float32)
    return table, recall(np.broadcast_to(degrees, wanted.shape), wanted)


def _landmarks(warm: Int64, rng: np.random.Generator) -> Int64:
    return warm if len(warm) <= _MOST_LANDMARKS else np.sort(rng.choice(warm, _MOST_LANDMARKS, replace=False))
