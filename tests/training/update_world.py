"""The tiny world for updates: its log by node number, coordinates, something trained, and how well that expects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphrec.config import Config
from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.node_features import FeatureMap, unit_rows
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.events.interactions import Interactions
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.retriever import DAY
from graphrec.training.sage_trainer import train_embedding
from graphrec.training.time_cuts import positive_pairs
from graphrec.training.trainer import Trained, basis_of

CONFIG = Config(
    embedding={"spectral_dimensions": 8, "text_dimensions": 0, "hidden_dimensions": 16, "dimensions": 8},
    filter={"dimensions": 12},
    retrieval={"sage": 10, "filter": 10, "popular": 5, "taste": 5},
    training={"steps": 40, "batch_size": 128, "slice_share": 0.2, "ranker_seeds": 2},
    update={"steps": 30, "batch_size": 128, "learning_rate": 1e-2, "dropout": 0.0},
)
HALF_LIVES = CONFIG.graph.half_life_days * DAY, Choices().popularity_half_life_days * DAY
NO_TEXTS = np.zeros((40, 0), np.float32)


def nothing(*step: object) -> None:
    """No progress is shown."""


def log_of(world, swapped: int | None = None) -> Interactions:
    """User n, item n; from the position `swapped` on, everybody has the other group's taste."""
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    items = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    log = Interactions(users, items, times, np.ones(len(users)), 60, 40).by_time()
    if swapped is None:
        return log
    return replace(log, items=np.where(np.arange(len(log)) < swapped, log.items, log.items ^ 1))


def inputs_of(log: Interactions) -> np.ndarray:
    """Eight spectral coordinates of the items, rows of length one."""
    return unit_rows(spectral_basis(normalised(positive_pairs(log)), 8).items)


def trained_on(log: Interactions, config: Config = CONFIG) -> Trained:
    """GraphSAGE alone."""
    basis = basis_of(log, config)
    coordinates = basis.items[:, :8]
    feature_map = FeatureMap.fit(coordinates, NO_TEXTS, 0)
    model, moments = train_embedding(log, coordinates, NO_TEXTS, feature_map, config, Choices(), nothing)
    return Trained(model, basis, Choices(), moments=moments)


def updating(**settings: object) -> Config:
    """The settings with some of those of an update changed."""
    return CONFIG.model_copy(update={"update": CONFIG.update.model_copy(update=settings)})


def loss_of(model: EmbeddingModel, coordinates: np.ndarray, history: Interactions, following: Interactions) -> float:
    """Cross entropy of what followed a history among all items."""
    import torch

    from graphrec.training.sage_trainer import DeviceCut, SageNetwork
    from graphrec.training.time_cuts import cut_before

    cut = DeviceCut(cut_before(history, following, *HALF_LIVES), torch.device("cpu"))
    network = SageNetwork.of(model.sage)
    features = torch.from_numpy(model.features.features(coordinates, NO_TEXTS))
    with torch.no_grad():
        around = network.surroundings(features, cut.user_mean, cut.item_mean)
        users = network.users(around, cut.target_users)
        items = network.items(around, torch.arange(len(features)))
        scores = model.scale * users @ items.T + model.popularity_weight * cut.log_popularity
        return -float(scores.log_softmax(1)[torch.arange(len(users)), cut.target_items].mean())
