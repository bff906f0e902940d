"""What a trigger decides on: how far the world has moved since the live generation was made.

All of it is computed from the log and the generation when it is asked for, so that a process that has just started
knows as much as one that has been running: the generation's own state is opened a second time, at its offset, and the
events since are played to it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.ranking.ranker import head_for, ranked
from graphrec.training.batch_checks import divergence

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from graphrec.events.part_of_log import PartOfLog
    from graphrec.events.store import EventStore
    from graphrec.live_state import LiveState
    from graphrec.operation_settings import TriggerSettings

    Bools = NDArray[np.bool_]

K = 20
_REFERENCE = 200_000  # events before the generation whose kinds say what is usual
_LEAST_BATCH, _BATCHES = 50, 100  # events followed between two rounds of questions, at least; rounds at most


@dataclass(frozen=True)
class Quality:
    """hit@20 of the model, asked for next events just before it followed them: right after publication, and lately.

    window: answers in each of the two. z: of the difference of the two shares, positive = it has become worse.
    """

    at_first: float
    lately: float
    window: int
    z: float


@dataclass(frozen=True)
class Facts:
    """Where the live generation stands. Drifts are None where there is nothing to measure them by.

    generation: None before the first training. made: when it was made; trained: when the newest one from scratch was;
    attempted: when a model was last made, published or not; tried: how many of the new events one had that was not
    published. kinds_drift: Jensen-Shannon divergence in bits of the kinds
    since and before. vector_move: mean of 1 - cosine of the item vectors then and now.
    """

    generation: int | None
    events: int
    new_events: int
    made: datetime | None = None
    trained: datetime | None = None
    attempted: datetime | None = None
    tried: int = 0
    kinds_drift: float | None = None
    vector_move: float | None = None
    quality: Quality | None = None


def kinds_drift(store: EventStore, absorbed: int) -> float | None:
    """Divergence of the kinds of the events after an offset from those before, in bits; None if a side is empty."""
    n = len(store.kinds())
    before, after = np.zeros(n), np.zeros(n)
    for chunk in store.scan(max(absorbed - _REFERENCE, 0), absorbed):
        before += np.bincount(chunk.kinds, minlength=n)
    for chunk in store.scan(absorbed):
        after += np.bincount(chunk.kinds, minlength=n)
    if not before.sum() or not after.sum():
        return None
    return divergence(before / before.sum(), after / after.sum())


def vector_move(then: LiveState, now: LiveState) -> float | None:
    """Mean of 1 - cosine between the vectors of the items that a state had and those it has now; None without any."""
    old, new = then.retriever.propagation, now.retriever.propagation
    if old is None or new is None or not old.n_items:
        return None
    with now.turns.reading():
        moved = new.item_vectors[: old.n_items].copy()
    cosines = np.einsum("nd,nd->n", unit_rows(old.item_vectors), unit_rows(moved))
    known = old.item_vectors.any(axis=1)
    return float(1 - cosines[known].mean()) if known.any() else None


def next_event_hits(state: LiveState, part: PartOfLog, store: EventStore, questions: int, seed: int = 0) -> Bools:
    """Play the events that a state has not seen to it, and tell which of some were among its first 20 just before.

    Bool (n,), n <= `questions`, in the order of the log. A question is a positive event of a user with a history about
    an item new to that user; the state has seen everything up to the batch that it stands in. `part` of the store is
    what the state follows, and is moved on with it.
    """
    absorbed, end = state.offset, store.offset
    batch = max(_LEAST_BATCH, (end - absorbed) // _BATCHES)
    each = max(questions * batch // max(end - absorbed, 1), 1)
    rng, weights, hits = np.random.default_rng(seed), state.kind_weights(), []
    retriever, learned = state.retriever, state.learned
    for events in store.scan(absorbed, end, chunk=batch):
        asked = 0
        for place in rng.permutation(len(events.users)).tolist():
            user, item = int(events.users[place]), int(events.items[place])
            if asked == each or weights[events.kinds[place]] <= 0 or not retriever.has_history(user):
                continue
            seen = retriever.seen(user)
            if item in seen:
                continue
            head = None if learned is None else head_for(retriever, user, learned.ranker, learned.session_ranker)
            candidates, best, _ = ranked(retriever, head, user, seen, K)
            hits.append(item in candidates.numbers[best])
            asked += 1
        part.until = int(events.offsets[-1])
        state.refresh()
    return np.array(hits[:questions], np.bool_)


def quality(hits: Bools, window: int) -> Quality | None:
    """The newest `window` answers beside the first ones after publication, by a z-test of two shares.

    None for fewer than two windows.
    """
    if len(hits) < 2 * window:
        return None
    first, last = float(hits[:window].mean()), float(hits[-window:].mean())
    pooled = (first + last) / 2
    error = (2 * pooled * (1 - pooled) / window) ** 0.5
    return Quality(first, last, window, (first - last) / error if error else 0.0)


def measured(
    facts: Facts, now: LiveState, then: LiveState, part: PartOfLog, store: EventStore, settings: TriggerSettings
) -> tuple[float | None, float | None, Quality | None]:
    """Drift of kinds, move of vectors and quality since `then`, the generation's own state, which follows `part`."""
    if not facts.new_events:
        return None, None, None
    drift, move = kinds_drift(store, then.offset), vector_move(then, now)
    return drift, move, quality(next_event_hits(then, part, store, settings.questions), settings.quality_window)
