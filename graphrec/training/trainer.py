"""Training from scratch: closed form, then GraphSAGE, then the ranking head, all in the order of time.

The head must see features that have not absorbed the events it predicts, so embeddings are fitted twice: on the log
without its newest slice, for the head to learn on, and on the whole log, for serving.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.node_features import FeatureMap
from graphrec.embedding.spectral import SpectralBasis, normalised, spectral_basis
from graphrec.errors import InputError
from graphrec.events.interactions import Interactions
from graphrec.learned import Learned
from graphrec.live_state import LiveState
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.retriever import DAY, Retriever
from graphrec.training.choosing import choose
from graphrec.training.cold_trainer import train_cold
from graphrec.training.ranker_trainer import train_rankers
from graphrec.training.sage_trainer import Embedded, train_embedding
from graphrec.training.time_cuts import decayed_edges, new_pairs, positive_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.embedding_model import EmbeddingModel
    from graphrec.embedding.low_rank import LowRankUpdate
    from graphrec.embedding.moments import Moments
    from graphrec.events.event import EventColumns
    from graphrec.events.store import EventStore
    from graphrec.live_state import Encode, Known
    from graphrec.ranking.ranker import Ranker
    from graphrec.retrieval.cold_items import ColdModel

    Float32 = NDArray[np.float32]
    Texts = NDArray[np.float16 | np.float32]
    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trained:
    """Everything a generation needs that was learned.

    basis: of the log; an item that was never in a positive event has a zero row in it.
    """

    model: EmbeddingModel
    basis: SpectralBasis
    choices: Choices
    ranker: Ranker | None = None
    session_ranker: Ranker | None = None
    cold: ColdModel | None = None
    moments: Moments | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def learned(self, texts: Texts, until: int, adapter: LowRankUpdate | None = None) -> Learned:
        """The same for a generation.

        Args:
            texts: text vectors of the items (n_items, t).
            until: where its part of the log ends.
            adapter: of the text model that the vectors are of; None = the plain one.
        """
        return Learned(
            self.model,
            self.ranker,
            self.session_ranker,
            self.choices,
            texts,
            self.basis.items,
            self.basis.users,
            self.basis.values,
            self.cold,
            self.moments,
            until,
            adapter,
        )

    @classmethod
    def of(cls, learned: Learned) -> Trained:
        """What `learned` was made of."""
        return cls(
            learned.model,
            SpectralBasis(learned.basis_users, learned.basis_items, learned.basis_values),
            learned.choices,
            learned.ranker,
            learned.session_ranker,
            learned.cold,
            learned.moments,
        )


def train(state: LiveState, store: EventStore, encode: Encode, progress: Progress) -> tuple[LiveState, dict[str, Any]]:
    """Train on everything a state knows; returns the new state, derived from the log's first event on, and metrics.

    The state may be asked, and follow the log, all the while.

    Raises InputError when the log is empty.
    """
    known, adapter = state.known(), state.adapter if state.config.text.adapter else None
    log = log_between(state, store, known, 0, known.offset)
    texts = state.all_text_vectors(known.n_items, adapted=adapter is not None).astype(state.config.generations.texts)
    trained = fit(log, texts.astype(np.float32), state.config, progress)  # learned from what will be asked
    learned = trained.learned(texts, known.offset, adapter)
    renewed = LiveState.derived(state.config, store, encode, learned, known.catalogue_offset, progress)
    return renewed, {
        "cpu_seconds": trained.seconds,
        "ranking_head": trained.ranker is not None,
        "session_head": trained.session_ranker is not None,
    }


def log_of(state: LiveState, store: EventStore) -> Interactions:
    """Every event that a state has absorbed, in the order of time; raises InputError when there is none."""
    known = state.known()
    return log_between(state, store, known, 0, known.offset)


def log_between(state: LiveState, store: EventStore, known: Known, after: int, until: int) -> Interactions:
    """The events with offsets from `after` + 1 to `until`, of the nodes known then; as `log_of` otherwise."""
    log = store.stretch(after, until)
    if not len(log):
        raise InputError("there is nothing to learn from", got="an empty log", way_out="graphrec ingest first")
    return interactions_of(log, state, store, known).by_time()


def interactions_of(log: EventColumns, state: LiveState, store: EventStore, known: Known) -> Interactions:
    """Events of a store as they count in a state, of the nodes known then, in the order of arrival."""
    weights, names = state.kind_weights()[log.kinds], tuple(store.kinds())
    return Interactions(log.users, log.items, log.timestamps, weights, known.n_users, known.n_items, log.kinds, names)


def fit(log: Interactions, texts: Float32, config: Config, progress: Progress) -> Trained:
    """Train on a log with the items' text vectors (n_items, t); `progress(stage, done, total)` is told of each step."""
    started = time.process_time()
    cut = int((1 - config.training.slice_share) * len(log))
    base, newest = log.take(slice(cut)), log.take(slice(cut, None))
    ranker, session_ranker, choices, chosen = None, None, Choices().under(config), started
    if len(base):
        basis = basis_of(base, config)
        users, items = new_pairs(newest, decayed_edges(base, config.graph.half_life_days * DAY))
        choices = choose(base, basis, newest, users, items, config, progress)
        chosen = time.process_time()
        model, _ = embed(
            base, basis, texts, config, choices, lambda done, all_: progress("embedding, base", done, all_)
        )
        retriever = retriever_of(base, Trained(model, basis, choices), texts, config)
        ranker, session_ranker = train_rankers(retriever, newest, config.training.ranker_seeds, progress)
    ranked = time.process_time()
    basis = basis_of(log, config)
    model, moments = embed(
        log, basis, texts, config, choices, lambda done, all_: progress("embedding, whole log", done, all_)
    )
    embedded = time.process_time()
    cold = train_cold(log, model.features.centred(texts), config.training.seed)
    seconds = {
        "choices": chosen - started,
        "base and ranking heads": ranked - chosen,
        "whole log": embedded - ranked,
        "cold items": time.process_time() - embedded,
    }
    return Trained(model, basis, choices, ranker, session_ranker, cold, moments, seconds)


def retriever_of(log: Interactions, trained: Trained, texts: Float32, config: Config) -> Retriever:
    """The state of retrieval at the end of a log under what was learned from it; text vectors (n_items, t)."""
    model, basis = trained.model, trained.basis
    retriever = Retriever(config, model, choices=trained.choices, basis=(basis.items, basis.values))
    retriever.add_items(model.features.features(basis.items, texts), model.features.centred(texts))
    retriever.load(log.users, log.items, log.weights, log.timestamps)
    return retriever


def basis_of(log: Interactions, config: Config) -> SpectralBasis:
    """The spectral basis that both the graph filter and GraphSAGE start from."""
    dimensions = max(
        config.embedding.sized(log.n_items).spectral_dimensions, config.filter.sized(log.n_items).dimensions
    )
    return spectral_basis(normalised(positive_pairs(log)), dimensions, seed=config.training.seed)


def embed(
    log: Interactions,
    basis: SpectralBasis,
    texts: Float32,
    config: Config,
    choices: Choices,
    progress: Callable[[int, int], None],
) -> Embedded:
    """Train GraphSAGE on a log, with its basis and the items' text vectors (n_items, t) as inputs."""
    coordinates = basis.items[:, : config.embedding.sized(log.n_items).spectral_dimensions]
    feature_map = FeatureMap.fit(coordinates, texts, config.embedding.text_dimensions)
    return train_embedding(log, coordinates, texts, feature_map, config, choices, progress)
