"""Training from scratch: closed form, then GraphSAGE, then the ranking head, all in the order of time.

The head must see features that have not absorbed the events it predicts, so embeddings are fitted twice: on the log
without its newest slice, for the head to learn on, and on the whole log, for serving.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.node_features import FeatureMap
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.errors import InputError
from graphrec.events.interactions import Interactions
from graphrec.live_state import Learned, LiveState
from graphrec.retrieval.retriever import DAY, Retriever
from graphrec.training.ranker_trainer import train_ranker
from graphrec.training.sage_trainer import train_embedding
from graphrec.training.time_cuts import decayed_edges, new_pairs, positive_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.embedding_model import EmbeddingModel
    from graphrec.embedding.spectral import SpectralBasis
    from graphrec.events.store import EventStore
    from graphrec.live_state import Encode
    from graphrec.ranking.ranker import Ranker

    Float32 = NDArray[np.float32]
    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trained:
    """Everything a generation needs that was learned.

    coordinates: of the items at the end of the log, float32 (n_items, k); zero rows = never in a positive event.
    """

    model: EmbeddingModel
    basis: SpectralBasis
    coordinates: Float32
    ranker: Ranker | None
    seconds: dict[str, float]


def train(state: LiveState, store: EventStore, encode: Encode, progress: Progress) -> tuple[LiveState, dict[str, Any]]:
    """Train on everything a state knows; returns the new state, derived from the log's first event on, and metrics.

    Raises InputError when the log is empty.
    """
    log, texts = log_of(state, store), state.all_text_vectors()
    trained = fit(log, texts, state.config, progress)
    learned = Learned(
        trained.model, trained.ranker, texts, trained.coordinates, trained.basis.users, trained.basis.values
    )
    renewed = LiveState(state.config, store, encode, learned, catalogue_offset=state.catalogue.offset)
    renewed.refresh(progress)
    return renewed, {"cpu_seconds": trained.seconds, "ranking_head": trained.ranker is not None}


def log_of(state: LiveState, store: EventStore) -> Interactions:
    """Every event that a state has absorbed, in the order of time; raises InputError when there is none."""
    chunks = list(store.scan(0, state.offset))
    if not chunks:
        raise InputError("there is nothing to learn from", got="an empty log", way_out="graphrec ingest first")
    users, items, kinds, times = (
        np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("users", "items", "kinds", "timestamps")
    )
    weights = state.kind_weights()[kinds]
    return Interactions(users, items, times, weights, len(state.users), len(state.items)).by_time()


def fit(log: Interactions, texts: Float32, config: Config, progress: Progress) -> Trained:
    """Train on a log with the items' text vectors (n_items, t); `progress(stage, done, total)` is told of each step."""
    started = time.process_time()
    cut = int((1 - config.training.slice_share) * len(log))
    base, newest = log.take(slice(cut)), log.take(slice(cut, None))
    ranker = None
    if len(base):
        model, _, coordinates = _embed(base, texts, config, lambda done, all_: progress("embedding, base", done, all_))
        retriever = retriever_of(base, model, coordinates, texts, config)
        users, items = new_pairs(newest, decayed_edges(base, config.graph.half_life_days * DAY))
        ranker = train_ranker(
            retriever,
            users,
            items,
            config.training.ranker_seeds,
            lambda done, all_: progress("ranking head", done, all_),
        )
    ranked = time.process_time()
    model, basis, coordinates = _embed(
        log, texts, config, lambda done, all_: progress("embedding, whole log", done, all_)
    )
    ended = time.process_time()
    return Trained(
        model, basis, coordinates, ranker, {"base and ranking head": ranked - started, "whole log": ended - ranked}
    )


def retriever_of(
    log: Interactions, model: EmbeddingModel, coordinates: Float32, texts: Float32, config: Config
) -> Retriever:
    """The state of retrieval at the end of a log; coordinates (n_items, k) and text vectors (n_items, t)."""
    retriever = Retriever(config, model)
    retriever.add_items(model.features.features(coordinates, texts), model.features.centred(texts))
    retriever.load(log.users, log.items, log.weights, log.timestamps)
    return retriever


def _embed(
    log: Interactions, texts: Float32, config: Config, progress: Callable[[int, int], None]
) -> tuple[EmbeddingModel, SpectralBasis, Float32]:
    basis = spectral_basis(
        normalised(positive_pairs(log)),
        config.embedding.sized(log.n_items).spectral_dimensions,
        seed=config.training.seed,
    )
    coordinates = basis.coordinates()
    feature_map = FeatureMap.fit(coordinates, texts, config.embedding.text_dimensions)
    return train_embedding(log, coordinates, texts, feature_map, config, progress), basis, coordinates
