"""Old questions: the answer depends on what was learned, never on what is known, and forgetting shows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from graphrec.config import Config
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.spectral import SpectralBasis, cholesky_qr
from graphrec.evaluation.backward_transfer import Panel
from graphrec.training.trainer import Trained, fit

CONFIG = Config(
    embedding={"spectral_dimensions": 8, "text_dimensions": 0, "hidden_dimensions": 16, "dimensions": 8},
    filter={"dimensions": 12},
    retrieval={"sage": 8, "filter": 1, "popular": 1, "taste": 1},
    training={"steps": 60, "batch_size": 128, "slice_share": 0.2, "ranker_seeds": 1},
)
NO_TEXTS = np.zeros((40, 0), np.float32)


@pytest.fixture(scope="module")
def trained(log) -> Trained:
    return replace(fit(log, NO_TEXTS, CONFIG, lambda *step: None), ranker=None, session_ranker=None)


def test_what_knows_more_but_has_learned_the_same_answers_the_same(log, trained) -> None:
    """The basis has turned, and the network with it: nothing is forgotten, and nothing gained."""
    panel = Panel(log, NO_TEXTS, CONFIG)
    rotation = cholesky_qr(np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32))
    basis = trained.basis
    items = basis.items.copy()
    items[:, :8] = items[:, :8] @ rotation.T
    turned = replace(
        trained,
        basis=SpectralBasis(basis.users, items, basis.values),
        model=replace(trained.model, sage=trained.model.sage.turned(rotation)),
    )
    assert panel.quality(turned) == pytest.approx(panel.quality(trained), abs=0.02)


def test_forgetting_shows(log, trained) -> None:
    panel = Panel(log, NO_TEXTS, CONFIG)
    rng = np.random.default_rng(0)
    noise = {
        field.name: rng.standard_normal(getattr(trained.model.sage, field.name).shape).astype(np.float32)
        for field in fields(SageWeights)
    }
    lost = replace(trained, model=replace(trained.model, sage=SageWeights(**noise), popularity_weight=0.0))
    kept = replace(trained, model=replace(trained.model, popularity_weight=0.0))
    assert panel.quality(lost)["ndcg@20"] < 0.8 * panel.quality(kept)["ndcg@20"]
