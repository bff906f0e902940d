"""The workspace that bench_open opens: made-up events through the real store, and a generation of the usual sizes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.node_features import FeatureMap, unit_rows
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.evaluation.synthetic import SyntheticEvents
from graphrec.events.event import EventTable, Item
from graphrec.generation import Generations
from graphrec.learned import Learned
from graphrec.live_state import LiveState
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.cold_items import ColdModel
from graphrec.training.sage_trainer import SageNetwork
from graphrec.training.time_cuts import positive_pairs
from graphrec.training.trainer import log_of
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.low_rank import LowRankUpdate
    from graphrec.events.interactions import Interactions
    from graphrec.events.store import EventStore

    Float32 = NDArray[np.float32]

KIND = "view"
TEXT_WIDTH = 384  # of the default text model
LANDMARKS = 5_000  # of the texts of cold items, as many as training keeps
WORDS = ("red", "blue", "large", "small", "garden", "kitchen", "flower", "coffee", "pot", "mug", "lamp", "box")


def recipe(events: int) -> SyntheticEvents:
    """So many events, in the proportions of bench_incremental's synthetic worlds."""
    items = max(events * 85 // 5000, 2)
    return SyntheticEvents(max(events * 85 // 3500, 2), items, events, communities=min(max(items // 500, 1), 64))


def make(directory: Path, events: int, tail: int) -> dict[str, float]:
    """Create a workspace with a catalogue, `events` events, a generation that has absorbed them, and `tail` more."""
    made = recipe(events + tail)
    workspace = Workspace.create(directory)
    with workspace.open_store() as store:
        seconds = {"catalogue": timed(lambda: store.upsert_items(catalogue(made.n_items)))}
        done, later, seconds["append"] = 0, [], 0.0
        for chunk in made.chunks():
            rest = chunk.take(slice(max(events - done, 0), None))
            seconds["append"] += append(store, chunk.take(slice(max(events - done, 0))))
            later += [rest] if len(rest) else []
            done += len(chunk)
        state = LiveState(workspace.config, store, no_texts)
        state.refresh()
        learned = untrained(state, store, workspace.config)
        state = LiveState(workspace.config, store, no_texts, learned, catalogue_offset=state.catalogue.offset)
        seconds["replay"] = timed(state.refresh)
        generations = Generations(directory)
        state.publish(generations, "train", None, {})
        seconds["tail"] = sum(append(store, chunk) for chunk in later)
    return seconds


def catalogue(n_items: int) -> Iterator[Item]:
    """Titles of three words and a number, and a text about as long as a shop's."""
    for number in range(n_items):
        words = [WORDS[(number // step) % len(WORDS)] for step in (1, 7, 49)]
        title = " ".join(words)
        yield Item(f"i{number}", f"{title} {number}", f"{title} number {number}, for {words[-1]} and {words[0]}")


def append(store: EventStore, chunk: Interactions) -> float:
    """Write events; the seconds it took."""
    users, items = (
        pa.array(np.char.add(side, numbers.astype("U"))) for side, numbers in (("u", chunk.users), ("i", chunk.items))
    )
    kinds = pa.array([KIND] * len(chunk), pa.string())
    table = EventTable(users, items, kinds, chunk.timestamps, chunk.weights)
    return timed(lambda: store.append(table))


def untrained(state: LiveState, store: EventStore, config: Config, width: int = 64) -> Learned:
    """What training would leave: spectral coordinates of the log, weights that it begins with, texts at random."""
    rng, n_items = np.random.default_rng(0), len(state.items)
    basis = spectral_basis(normalised(positive_pairs(log_of(state, store))), width)
    texts = unit_rows(rng.standard_normal((n_items, TEXT_WIDTH), np.float32))
    features = FeatureMap.fit(basis.items, texts, config.embedding.text_dimensions)
    network = SageNetwork(features.dimensions, 2 * width, width)
    network.start_as_identity(torch.Generator().manual_seed(0))
    training = config.training
    model = EmbeddingModel(features, network.weights(), 1 / training.temperature, training.popularity_weight)
    landmarks = features.centred(texts[rng.choice(n_items, min(LANDMARKS, n_items), replace=False)])
    weights = rng.standard_normal((len(landmarks), width), np.float32)
    cold = ColdModel(landmarks, weights, unit_rows(basis.items), 0.5, 3.0, 1.0, strong=True)
    return Learned(model, None, None, Choices(), texts, basis.items, basis.users, basis.values, cold)


def timed(call: Callable[[], Any]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def no_texts(texts: Sequence[str], adapter: LowRankUpdate | None = None) -> Float32:
    """Stands in for the text encoder, which nothing here asks."""
    raise AssertionError(f"{len(texts)} texts are new")
