"""A model on adapted texts: the adapter first, then all texts encoded anew, then everything else fitted to them.

The plain text model stays where held-out items are found no better by the adapted one. Otherwise the gate compares the
two models, as it does with every candidate.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import InputError
from graphrec.live_state import LiveState
from graphrec.training.text_adapter import adapt, co_interactions
from graphrec.training.trainer import fit, log_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphrec.events.store import EventStore
    from graphrec.live_state import Encode

    Progress = Callable[[str, int, int], None]

_MINUTE = 60_000_000  # microseconds


def train_adapted(
    state: LiveState, store: EventStore, encode: Encode, progress: Progress
) -> tuple[LiveState, dict[str, Any]]:
    """Train an adapter of the plain text model, and then as `train` does, on everything a state knows.

    Texts are found in the cache under the name of the adapted model, or encoded. Raises InputError where held-out items
    are found no better, or too few were chosen together to tell.
    """
    known, config = state.known(), state.config
    log, texts = log_between(state, store, known, 0, known.offset), state.item_texts(known.n_items)
    started = time.process_time()
    pairs = co_interactions(
        log,
        np.array([bool(text.strip()) for text in texts]),
        int(config.adapter.session_minutes * _MINUTE),
        config.training.seed,
    )
    found = adapt(
        TextEncoder(config.text),
        texts,
        pairs,
        config.adapter,
        config.training.seed,
        lambda done, total: progress("text adapter", done, total),
    )
    if found.update is None:
        raise InputError(
            "the text model stays as it is: adapted, it finds partners of held-out items no better",
            expected=f"a mean reciprocal rank above {found.before:.3f}",
            got=f"{found.after:.3f} at best",
        )
    adapted = time.process_time()
    vectors = encode(texts, found.update).astype(config.generations.texts)
    encoded = time.process_time()
    trained = fit(log, vectors.astype(np.float32), config, progress)
    learned = trained.learned(vectors, known.offset, found.update)
    renewed = LiveState.derived(config, store, encode, learned, known.catalogue_offset, progress)
    seconds = {"text adapter": adapted - started, "texts": encoded - adapted, **trained.seconds}
    ranks = {"before": found.before, "after": found.after, "steps": found.steps}
    return renewed, {"cpu_seconds": seconds, "text_adapter": ranks}
