"""Old questions: the answer depends on what was learned, never on what is known, and forgetting shows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from graphrec.config import Config
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.spectral import SpectralBasis, cholesky_qr
from graphrec.evaluation.backward_transfer import Panel, transfer
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
    before, after = panel.quality(trained), panel.quality(turned)
    assert {name: values.mean() for name, values in after.items()} == pytest.approx(
        {name: values.mean() for name, values in before.items()}, abs=0.02
    )
    change, error = transfer(before, after)
    assert abs(change) < 0.05
    assert error < 0.05


def test_forgetting_shows(log, trained) -> None:
    panel = Panel(log, NO_TEXTS, CONFIG)
    rng = np.random.default_rng(0)
    noise = {
        field.name: rng.standard_normal(getattr(trained.model.sage, field.name).shape).astype(np.float32)
        for field in fields(SageWeights)
    }
    lost = replace(trained, model=replace(trained.model, sage=SageWeights(**noise), popularity_weight=0.0))
    kept = replace(trained, model=replace(trained.model, popularity_weight=0.0))
    change, error = transfer(panel.quality(kept), panel.quality(lost))
    assert change < -0.2
    assert change + 2 * error < 0


def test_a_change_is_relative_and_its_error_is_over_questions() -> None:
    before = {"recall": np.array([0.5, 0.0, 1.0, 0.5]), "ndcg": np.array([0.2, 0.2, 0.4, 0.8])}
    after = {"recall": np.array([0.5, 0.0, 0.5, 0.5]), "ndcg": np.array([0.2, 0.2, 0.4, 0.8])}
    change, error = transfer(before, after)
    assert change == pytest.approx((-0.25 + 0.0) / 2)
    assert error == pytest.approx(np.array([0, 0, -0.5, 0]).std() / 2)
    assert transfer(before, before) == (0, 0)
