"""Batches of events as an attacker, a broken client or a bot would send them; to see what the gate does.

Each takes a batch that is as it should be and a strength between 0 and 1, and returns the batch as it would have
arrived: of the same or a greater length, in the order of time, about the same nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from graphrec.events.interactions import Interactions

    Poison = Callable[[Interactions, float, np.random.Generator], Interactions]


def shuffled(batch: Interactions, strength: float, rng: np.random.Generator) -> Interactions:
    """Items of `strength` of the events are dealt among their users anew: labels without a meaning."""
    hit = np.flatnonzero(rng.random(len(batch)) < strength)
    items = batch.items.copy()
    items[hit] = items[rng.permutation(hit)]
    return replace(batch, items=items)


def flipped(batch: Interactions, strength: float, rng: np.random.Generator) -> Interactions:
    """The sign of `strength` of the events is turned: what was taken counts as given back and the other way round."""
    hit = rng.random(len(batch)) < strength
    weights = np.where(hit, -batch.weights, batch.weights)
    if batch.kinds is None:
        return replace(batch, weights=weights)
    kinds = batch.kinds.copy()
    for sign in (1, -1):
        other = batch.kinds[np.sign(batch.weights) == -sign]
        if len(other):
            kinds[hit & (np.sign(batch.weights) == sign)] = np.bincount(other).argmax()
    return replace(batch, weights=weights, kinds=kinds)


def flooded(batch: Interactions, strength: float, rng: np.random.Generator) -> Interactions:
    """One item that few want comes `strength` times as often as all others together, from the batch's own users."""
    target = _unpopular(batch, rng)
    n = int(strength * len(batch))
    return _with(batch, rng.choice(np.unique(batch.users), n), np.full(n, target, np.int32), rng)


def bot(batch: Interactions, strength: float, rng: np.random.Generator) -> Interactions:
    """One user takes items at random, `strength` times as many as all others together."""
    n = int(strength * len(batch))
    return _with(batch, np.full(n, rng.choice(batch.users), np.int32), rng.integers(batch.n_items, size=n), rng)


def pushed(batch: Interactions, strength: float, rng: np.random.Generator) -> Interactions:
    """A push attack in disguise (Mobasher et al. 2007): made-up accounts take popular items, and all take one target.

    The accounts are users that the batch does not hold otherwise; one in five of their events is the target.
    """
    n = int(strength * len(batch))
    free = np.setdiff1d(np.arange(batch.n_users), batch.users)
    accounts = rng.choice(free if len(free) else batch.users, max(n // 10, 1))
    items = rng.choice(batch.items, n)
    items[rng.random(n) < 0.2] = _unpopular(batch, rng)
    return _with(batch, rng.choice(accounts, n), items, rng)


POISONS: Mapping[str, Poison] = {
    "shuffled": shuffled,
    "flipped": flipped,
    "flooded": flooded,
    "bot": bot,
    "pushed": pushed,
}


def _unpopular(batch: Interactions, rng: np.random.Generator) -> int:
    counts = np.bincount(batch.items, minlength=batch.n_items)
    return int(rng.choice(np.flatnonzero(counts <= np.quantile(counts, 0.5))))


def _with(
    batch: Interactions, users: NDArray[np.integer], items: NDArray[np.integer], rng: np.random.Generator
) -> Interactions:
    """The batch and some events of its commonest positive kind, at moments of its own."""
    positive = np.flatnonzero(batch.weights > 0)
    like = rng.choice(positive, len(users))
    made = replace(batch.take(like), users=users.astype(np.int32), items=items.astype(np.int32))
    joined = replace(
        batch,
        users=np.concatenate([batch.users, made.users]),
        items=np.concatenate([batch.items, made.items]),
        timestamps=np.concatenate([batch.timestamps, made.timestamps]),
        weights=np.concatenate([batch.weights, made.weights]),
        kinds=None if batch.kinds is None or made.kinds is None else np.concatenate([batch.kinds, made.kinds]),
    )
    return joined.by_time()
