"""How well items that nobody has chosen yet are found by their texts.

Protocol: 15 % of the items with at least five users lose all their events; everything is learned from the others; each
user who had some of them is asked to find them among all of them. Beside the recommender's form stand its two parts,
the plain cosine of the centred texts (to the mean of the texts of the user's items), the popularity that the items
really had (which nobody can know beforehand) and chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.errors import InputError
from graphrec.evaluation.metrics import ItemSets, score
from graphrec.evaluation.protocols import item_sets
from graphrec.retrieval.cold_items import standardised
from graphrec.training.cold_trainer import neighbour_scores, train_cold

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.events.interactions import Interactions

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]

_SHARE = 0.15
_FEWEST_USERS = 5


@dataclass(frozen=True)
class ColdRow:
    """One way to order the cold items, scored on all users who wanted some of them."""

    name: str
    recall: float
    ndcg: float


def cold_split(log: Interactions, seed: int) -> tuple[Interactions, Int64]:
    """Take the events of some items away: what is left of a log, and the numbers of those items, ascending."""
    wanted = log.positive()
    users = np.bincount(item_sets(wanted).items, minlength=log.n_items)
    candidates = np.flatnonzero(users >= _FEWEST_USERS)
    count = int(_SHARE * len(candidates))
    if count == 0:
        raise InputError(
            "too few items to hold some out",
            expected=f"{int(np.ceil(1 / _SHARE))} with {_FEWEST_USERS} users",
            got=str(len(candidates)),
        )
    cold = np.sort(np.random.default_rng(seed).choice(candidates, count, replace=False))
    return log.take(~np.isin(log.items, cold)), cold


def evaluate_cold_items(log: Interactions, texts: Float32, seed: int, k: int = 20) -> list[ColdRow]:
    """Hold items out by `seed` and find them again by their text vectors, float32 (n_items, t), zero rows = no text.

    Raises InputError where there are too few items.
    """
    rest, cold = cold_split(log, seed)
    warm_sets = item_sets(rest.positive())
    had = np.zeros(log.n_items, bool)
    had[warm_sets.items] = True
    had &= texts.any(axis=1)
    centred = _centred(texts, had) if had.any() else texts
    model = train_cold(rest, centred, seed)
    if model is None:
        raise InputError("too few items with texts and events to learn from", got=str(int(had.sum())))

    asked, relevant = _asked(log, cold, warm_sets)
    chosen = _matrix(warm_sets, log.n_items)[asked]
    warm = np.flatnonzero(had)
    cosines = centred[warm] @ centred[cold].T
    raw = np.asarray(chosen[:, warm] @ cosines)
    neighbours = standardised(
        neighbour_scores(chosen[:, warm], cosines, model.hubs(centred[warm]), model.hubs(centred[cold]), model.power)
    )
    vector = standardised(unit_rows(np.asarray(chosen @ model.vectors)) @ model.expected(centred[cold]).T)
    popularity = np.bincount(item_sets(log.positive()).items, minlength=log.n_items)[cold]
    orders = {
        "graphrec": neighbours + np.float32(model.blend) * vector,
        "neighbours in meaning": neighbours,
        "expected CF vector": vector,
        "centred cosine": raw,
        "their later popularity": np.broadcast_to(popularity.astype(np.float32), raw.shape),
        "chance": np.random.default_rng(seed).random(raw.shape, np.float32),
    }
    return [_row(name, scores, relevant, k) for name, scores in orders.items()]


def _row(name: str, scores: Float32, relevant: ItemSets, k: int) -> ColdRow:
    lists = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
    found = score(lists, relevant, k)
    return ColdRow(name, float(found.recall.mean()), float(found.ndcg.mean()))


def _asked(log: Interactions, cold: Int64, warm_sets: ItemSets) -> tuple[NDArray[np.int32], ItemSets]:
    """The users who wanted cold items and have some history left, and which (as positions in `cold`)."""
    wanted = log.positive()
    wanted = wanted.take(np.isin(wanted.items, cold) & (warm_sets.sizes > 0)[wanted.users])
    return ItemSets.from_pairs(
        wanted.users, np.searchsorted(cold, wanted.items).astype(np.int32), log.n_users
    ).nonempty()


def _matrix(sets: ItemSets, n_items: int) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(sets.items), np.float32), sets.items, sets.indptr), shape=(len(sets), n_items))


def _centred(texts: Float32, around: NDArray[np.bool_]) -> Float32:
    """Length one around the mean of some of them; a missing text stays zero."""
    described = np.asarray(texts.any(axis=1))
    return unit_rows(np.where(described[:, None], texts - texts[around].mean(axis=0), np.float32(0)))
