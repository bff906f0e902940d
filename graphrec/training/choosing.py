"""Numbers chosen on validation: what happened in the newest slice of a log, asked of the log before it.

The grids are small and everything on them is in closed form, so a choice costs seconds. Where there are many users,
many are asked: with 6,000 the standard error of recall is larger than what tells two good settings apart.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from graphrec.config import Config, FilterSettings
from graphrec.embedding.spectral import ITEM_EXPONENT
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape, plateau
from graphrec.retrieval.largest import largest
from graphrec.retrieval.retriever import DAY, Retriever
from graphrec.training.time_cuts import decayed_edges, log_popularity, new_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.embedding.spectral import SpectralBasis
    from graphrec.events.interactions import Interactions

    Bools = NDArray[np.bool_]
    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]

HALF_LIVES = (1.0, 2.0, 4.0, 7.0, 14.0, 30.0, 90.0, np.inf)  # days
SEED_EXPONENTS = (0.5, 0.6, 0.7, 0.8)
TARGET_EXPONENTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SLOPES = (1.5, 2.0, 3.0, 4.0, 6.0)
LIFTS = (0.0, 0.2, 0.5)

_K = 20
_BLOCKS = 5  # of the newest slice: popularity is always fresh when it is asked
_POPULARITY_USERS = 2_000  # of a block
_POPULAR = 500  # items that the popular list of a user is looked for in
_FEW_USERS, _MOST_USERS = 2_000, 15_000
_POOL = 400
_CHUNK = 256
_GRID = tuple(product(TARGET_EXPONENTS, SLOPES, LIFTS))


def choose(
    base: Interactions,
    basis: SpectralBasis,
    newest: Interactions,
    users: Int32,
    items: Int32,
    config: Config,
    progress: Callable[[str, int, int], None],
) -> Choices:
    """All that the settings leave open, on pairs (users, items) of the newest slice; `basis` is of `base`."""
    choices = Choices()
    if config.retrieval.popularity_half_life_days == "auto":
        choices = replace(choices, popularity_half_life_days=choose_half_life(base, newest))
    if config.filter.is_open:
        shape = choose_filter(
            base, basis, users, items, config, lambda done, steps: progress("graph filter", done, steps)
        )
        choices = replace(choices, filter=shape)
    return choices.under(config)


def choose_half_life(base: Interactions, newest: Interactions) -> float:
    """Half-life in days whose popularity alone has the best NDCG@20 on what came next, block after block.

    The default where none finds anything.
    """
    gains = np.zeros(len(HALF_LIVES))
    log, positions = base, np.array_split(np.arange(len(newest)), _BLOCKS)
    for block in (newest.take(part) for part in positions if len(part)):
        history = decayed_edges(log, np.inf)
        users, items = new_pairs(block, history)
        asked = _sample(np.unique(users), _POPULARITY_USERS)
        wanted = _pairs(users, items, history.shape)[asked]
        for place, days in enumerate(HALF_LIVES):
            order = largest(log_popularity(log, days * DAY), _POPULAR)
            unseen = ~_dense(history[asked], order)
            ranks = np.cumsum(unseen, axis=1)
            hits = _dense(wanted, order) & unseen & (ranks <= _K)
            gains[place] += float((hits / np.log2(np.maximum(ranks, 1) + 1)).sum() / max(len(asked), 1))
        log = log.joined(block)
    return HALF_LIVES[int(np.argmax(gains))] if gains.any() else Choices().popularity_half_life_days


def choose_filter(
    base: Interactions,
    basis: SpectralBasis,
    users: Int32,
    items: Int32,
    config: Config,
    progress: Callable[[int, int], None],
) -> FilterShape:
    """The filter with the best recall@20 + NDCG@20 on pairs (users, items) that came after `base`.

    `basis` is of `base`. A few users choose how it starts, many all the rest. The default where none finds anything.
    """
    wanted = _pairs(users, items, (base.n_users, base.n_items))
    everybody = np.unique(users)
    if not len(everybody):
        return FilterShape()
    few, many = _sample(everybody, _FEW_USERS), _sample(everybody, _MOST_USERS)
    steps = len(SEED_EXPONENTS) * len(few) + (len(many) if len(many) > len(few) else 0)
    free = config.model_copy(update={"filter": FilterSettings()})
    done = 0

    def best(seed_exponent: float, asked: Int32) -> tuple[float, FilterShape]:
        nonlocal done
        shape = FilterShape(seed_exponent=seed_exponent)
        retriever = filter_of(base, Choices(filter=shape), basis, free)
        quality = np.zeros(len(_GRID))
        for start in range(0, len(asked), _CHUNK):
            chunk = asked[start : start + _CHUNK]
            quality += _quality(retriever, basis, chunk, wanted[chunk])
            done += len(chunk)
            progress(done, steps)
        target, slope, lift = _GRID[int(np.argmax(quality))]
        return float(quality.max()), replace(shape, target_exponent=target, slope=slope, lift=lift)

    quality, chosen = max((best(exponent, few) for exponent in SEED_EXPONENTS), key=lambda found: found[0])
    if not quality:
        return FilterShape()
    return best(chosen.seed_exponent, many)[1] if len(many) > len(few) else chosen


def filter_of(log: Interactions, choices: Choices, basis: SpectralBasis, config: Config) -> Retriever:
    """The state of retrieval by the graph filter alone at the end of a log."""
    retriever = Retriever(config, None, choices=choices, basis=(basis.items, basis.values))
    retriever.add_items(np.zeros((log.n_items, 0), np.float32))
    retriever.load(log.users, log.items, log.weights, log.timestamps)
    return retriever


def _quality(retriever: Retriever, basis: SpectralBasis, asked: Int32, wanted: csr_matrix) -> Float64:
    """Sum over users of recall and NDCG at each point of the grid, float64 (len(_GRID),)."""
    frequencies = (basis.values / np.float32(retriever.filter.largest)) ** 2
    responses = np.stack([frequencies, np.ones_like(frequencies), *(plateau(frequencies, slope) for slope in SLOPES)])
    degrees = retriever.graph.arrays.item_length
    shape = retriever.filter.shape
    pools = np.zeros((len(asked), _POOL), np.int32)
    parts = np.zeros((len(asked), _POOL, 1 + len(responses)), np.float32)
    for row, user in enumerate(asked.tolist()):
        seeds, weights = retriever.speaking(user)
        walk = retriever.filter.walk(retriever.graph.arrays, user, seeds, weights)
        walk[retriever.seen(user)] = 0
        pool = largest(walk, _POOL)
        pools[row, : len(pool)] = pool
        taste = retriever.filter.coordinates(seeds, weights, degrees[seeds])
        undo = np.maximum(degrees[pool], 1) ** (shape.target_exponent - ITEM_EXPONENT) / retriever.filter.largest**2
        parts[row, : len(pool), 0] = walk[pool] * undo
        parts[row, : len(pool), 1:] = basis.items[pool] @ (responses * taste).T
        parts[row, : len(pool)] *= (walk[pool] > 0)[:, None]
    sizes = np.diff(wanted.indptr)
    labels = np.stack([_dense(wanted[row], pools[row])[0] for row in range(len(asked))])
    labels &= parts[:, :, 0] > 0
    sparse, low, flat = (parts[:, :, part] for part in range(3))
    held = np.maximum(degrees[pools], 1).astype(np.float32)
    totals = []
    for target in TARGET_EXPONENTS:
        factor = held ** np.float32(ITEM_EXPONENT - target)
        for place, slope in enumerate(SLOPES):
            for lift in LIFTS:
                scores = np.float32(slope) * (sparse - low) + parts[:, :, 3 + place] + np.float32(lift) * flat
                scores = np.where(sparse > 0, scores * factor, -np.inf)
                totals.append(_recall_and_ndcg(scores, labels, sizes))
    return np.array(totals)


def _recall_and_ndcg(scores: Float32, labels: Bools, sizes: NDArray[np.int32]) -> float:
    """Sum over rows of recall@20 + NDCG@20; `sizes` counts what each row wants, in its pool or not."""
    best = np.argpartition(-scores, _K, axis=1)[:, :_K]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
    hits = np.take_along_axis(labels, best, 1)
    discounts = 1 / np.log2(np.arange(2, _K + 2))
    ideal = np.cumsum(discounts)[np.minimum(sizes, _K) - 1]
    return float((hits.sum(axis=1) / sizes + (hits * discounts).sum(axis=1) / ideal).sum())


def _sample(numbers: Int32, most: int) -> Int32:
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(0).choice(numbers, most, replace=False))


def _pairs(users: Int32, items: Int32, shape: tuple[int, int]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(users), np.bool_), (users, items)), shape=shape)


def _dense(rows: csr_matrix, columns: Int32) -> Bools:
    """Which of some columns the rows have, bool (n, len(columns))."""
    found: Bools = rows[:, columns].toarray() != 0
    return found
