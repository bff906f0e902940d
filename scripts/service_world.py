"""Workspaces that bench_service serves: the sample, and made-up logs, with a generation of the usual sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.node_features import FeatureMap
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.evaluation.synthetic import SyntheticEvents
from graphrec.events.datasets import online_retail
from graphrec.events.event import EventTable
from graphrec.generation import Generations
from graphrec.learned import Learned
from graphrec.live_state import LiveState
from graphrec.ranking.pair_features import NAMES
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.choices import Choices
from graphrec.training.sage_trainer import SageNetwork
from graphrec.training.time_cuts import positive_pairs
from graphrec.training.trainer import log_of
from graphrec.workspace import Workspace, ingest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.embedding.low_rank import LowRankUpdate
    from graphrec.events.interactions import Interactions
    from graphrec.events.store import EventStore

    Float32 = NDArray[np.float32]

HEAD = (3, 64, 32)  # heads, and units of their layers, as training makes them
GOWALLA = (29_858, 40_981)  # users and items


def make(directory: Path, data: Path, events: int, width: int) -> None:
    """A workspace of the sample (events = 0), or of so many made-up events among the users and items of Gowalla.

    width: of spectral coordinates and vectors; 0 = what training would take for the size of the catalogue.
    """
    workspace = Workspace.create(directory)
    cache, encoder = TextCache(directory), TextEncoder(workspace.config.text)

    def encode(texts: Sequence[str], adapter: LowRankUpdate | None = None) -> Float32:
        assert adapter is None  # nothing here adapts the text model
        return encode_cached(encoder, cache, texts)[0]

    with workspace.open_store() as store:
        if events:
            for chunk in SyntheticEvents(*GOWALLA, events, communities=64).chunks():
                append(store, chunk)
        else:
            sample = online_retail(data)
            ingest(workspace, store, sample.events, items=sample.items)
        state = LiveState(workspace.config, store, encode)
        state.refresh()
        learned = untrained(state, store, width)
        state = LiveState(workspace.config, store, encode, learned, catalogue_offset=state.catalogue.offset)
        state.refresh()
        state.publish(Generations(directory), "train", None, {})


def append(store: EventStore, chunk: Interactions) -> None:
    """Write made-up events."""
    users, items = (
        pa.array(np.char.add(side, numbers.astype("U"))) for side, numbers in (("u", chunk.users), ("i", chunk.items))
    )
    kinds = pa.array(["view"] * len(chunk), pa.string())
    store.append(EventTable(users, items, kinds, chunk.timestamps, chunk.weights))


def untrained(state: LiveState, store: EventStore, width: int) -> Learned:
    """What training would leave: coordinates of the log, the weights that it begins with, and heads of noise.

    They cost what trained ones cost, and answer worse.
    """
    rng, config, n_items = np.random.default_rng(0), state.config, len(state.items)
    texts = state.all_text_vectors()
    width = width or config.embedding.sized(n_items).spectral_dimensions
    basis = spectral_basis(normalised(positive_pairs(log_of(state, store))), width)
    features = FeatureMap.fit(basis.items, texts, config.embedding.text_dimensions)
    network = SageNetwork(features.dimensions, 2 * width, width)
    network.start_as_identity(torch.Generator().manual_seed(0))
    training = config.training
    model = EmbeddingModel(features, network.weights(), 1 / training.temperature, training.popularity_weight)
    heads, first, second = HEAD

    def noise(*shape: int) -> Float32:
        return rng.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)

    n = len(NAMES)
    layers = noise(heads, first, n), noise(heads, first), noise(heads, second, first), noise(heads, second)
    ranker = Ranker(np.zeros(n, np.float32), np.ones(n, np.float32), *layers, noise(heads, second))
    return Learned(model, ranker, ranker, Choices(), texts, basis.items, basis.users, basis.values)
