"""An update: what was learned learns on, from the events that came since, at a small part of the cost of training.

What is chosen on validation stays. The spectral basis is moved to the present matrix by one power iteration from where
it was, GraphSAGE takes a few steps on new and replayed events (`sage_updater`), the map from texts follows the basis,
and the ranking heads learn from lists that the live state would have made before the new events (`ranker_updater`).
The basis turns as it moves; everything that reads it is turned along, so that no step is spent on finding it again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.spectral import SpectralBasis, drift, known_rows, normalised, spectral_basis, turn
from graphrec.errors import InputError, NotTrainedError
from graphrec.live_state import LiveState
from graphrec.retrieval.retriever import DAY
from graphrec.training.cold_trainer import DIMENSIONS, cf_vectors
from graphrec.training.ranker_updater import update_rankers
from graphrec.training.sage_updater import update_sage
from graphrec.training.time_cuts import positive_pairs
from graphrec.training.trainer import Trained, log_between, retriever_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.events.store import EventStore
    from graphrec.live_state import Encode
    from graphrec.retrieval.cold_items import ColdModel

    Float32 = NDArray[np.float32]
    Progress = Callable[[str, int, int], None]


def update(state: LiveState, store: EventStore, encode: Encode, progress: Progress) -> tuple[LiveState, dict[str, Any]]:
    """Learn from the events of a state that its weights have not learned from; it may follow the log all the while.

    Returns a second state, derived from the log's first event on, and metrics. Raises NotTrainedError without weights
    to go on from, InputError where there is no such event.
    """
    if state.learned is None:
        raise NotTrainedError("there is no model to update", way_out="graphrec train")
    known, since = state.known(), state.learned.until
    if not 0 < since < known.offset:
        raise InputError(
            "there is nothing new to learn from",
            expected=f"events after the offset {since} that the model has learned up to",
            got=f"a log that ends at {known.offset}",
            way_out="graphrec ingest first",
        )
    old = log_between(state, store, known, 0, since)
    new = log_between(state, store, known, since, known.offset)
    updated = continued(Trained.of(state.learned), old, new, known.texts.astype(np.float32), state.config, progress)
    learned = updated.learned(known.texts, known.offset, state.adapter)
    renewed = LiveState.derived(state.config, store, encode, learned, known.catalogue_offset, progress)
    return renewed, {
        "cpu_seconds": updated.seconds,
        "events": len(new),
        "ranking_head": updated.ranker is not None,
        "session_head": updated.session_ranker is not None,
    }


def continued(
    parent: Trained, old: Interactions, new: Interactions, texts: Float32, config: Config, progress: Progress
) -> Trained:
    """What `parent`, learned from `old`, has become after `new` events; both in the order of time, of the same nodes.

    texts: text vectors of all items (n_items, t), as wide as those of the parent.
    """
    settings = config.update
    started = time.process_time()
    parent = _for_all(parent, old.n_users, old.n_items)
    retriever = retriever_of(old, parent, texts, config)
    rankers = parent.ranker, parent.session_ranker
    ranker, session_ranker = update_rankers(retriever, new, rankers, config.training.ranker_seeds, settings, progress)
    ranked = time.process_time()
    updated = replace(parent, ranker=ranker, session_ranker=session_ranker)
    log = old.joined(new)
    if settings.freeze == "all":
        updated = rebased(updated, positive_pairs(log), texts, config)
    based = time.process_time()
    if settings.freeze != "head" and settings.steps:
        updated = _learn_on(updated, old, new, texts, config, progress)
    return replace(
        updated,
        seconds={
            "ranking heads": ranked - started,
            "closed forms": based - ranked,
            "GraphSAGE": time.process_time() - based,
        },
    )


def rebased(parent: Trained, pairs: csr_matrix, texts: Float32, config: Config) -> Trained:
    """The same for the basis of a later matrix (n_users, n_items) of who has what, moved there where it has drifted."""
    matrix = normalised(pairs)
    basis = parent.basis
    if config.update.basis_tolerance and drift(matrix, basis) < config.update.basis_tolerance:
        return parent
    moved = spectral_basis(matrix, len(basis.values), iterations=1, start=basis.items, seed=config.training.seed)
    model = parent.model
    k = model.features.text_to_coordinates.shape[1]
    both = basis.items.any(axis=1) & moved.items.any(axis=1)
    rotation = turn(unit_rows(moved.items[both, :k]), unit_rows(basis.items[both, :k]))
    features = model.features.refitted(moved.items[:, :k], texts) if texts.any() else model.features
    return replace(
        parent,
        model=replace(model, features=features, sage=model.sage.turned(rotation)),
        basis=moved,
        moments=None if parent.moments is None else parent.moments.turned(rotation),
        cold=None if parent.cold is None else _cold(parent.cold, moved, pairs, config.training.seed),
    )


def _cold(cold: ColdModel, basis: SpectralBasis, pairs: csr_matrix, seed: int) -> ColdModel:
    """With CF vectors of the present matrix, turned to where the map from texts expects them."""
    wide = basis.items.shape[1] >= DIMENSIONS
    vectors = unit_rows((basis.items * np.sqrt(basis.values))[:, :DIMENSIONS]) if wide else cf_vectors(pairs, seed)
    old = known_rows(cold.vectors, np.arange(len(vectors)))
    both = old.any(axis=1) & vectors.any(axis=1)
    return replace(cold, vectors=vectors @ turn(vectors[both], old[both]))


def _learn_on(
    parent: Trained, old: Interactions, new: Interactions, texts: Float32, config: Config, progress: Progress
) -> Trained:
    model = parent.model
    inputs = model.features.features(parent.basis.items, texts), model.features.estimated(texts)
    half_lives = config.graph.half_life_days * DAY, parent.choices.popularity_half_life_days * DAY
    sage, moments = update_sage(
        model.sage,
        parent.moments,
        old,
        new,
        inputs,
        (model.scale, model.popularity_weight),
        config,
        half_lives,
        lambda done, total: progress("embedding, new events", done, total),
    )
    return replace(parent, model=replace(model, sage=sage), moments=moments)


def _for_all(parent: Trained, n_users: int, n_items: int) -> Trained:
    """With a zero row in the basis for each node that came later."""
    basis = SpectralBasis(
        known_rows(parent.basis.users, np.arange(n_users)),
        known_rows(parent.basis.items, np.arange(n_items)),
        parent.basis.values,
    )
    return replace(parent, basis=basis)
