"""What an optimiser remembers survives a file, and turns with the coordinates that the network reads."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.moments import Moments
from graphrec.embedding.spectral import cholesky_qr
from graphrec.errors import GenerationError

SHAPES = ((6, 5), (6,), (6, 5), (6,), (4, 6), (4, 6), (4,), (4, 6), (4, 6), (4,))


def weights(seed: int) -> SageWeights:
    rng = np.random.default_rng(seed)
    return SageWeights(*(rng.standard_normal(shape).astype(np.float32) for shape in SHAPES))


@pytest.fixture
def rotation() -> np.ndarray:
    return cholesky_qr(np.random.default_rng(9).standard_normal((3, 3)).astype(np.float32))


def test_a_file_gives_back_what_was_written() -> None:
    moments = Moments(weights(0), weights(1), 70)
    read = Moments.from_arrays(moments.arrays())
    assert read.steps == 70
    for field in fields(SageWeights):
        for part in ("first", "second"):
            np.testing.assert_array_equal(
                getattr(getattr(read, part), field.name), getattr(getattr(moments, part), field.name)
            )
    arrays = moments.arrays()
    del arrays["second.item_root2"]
    with pytest.raises(GenerationError, match="incomplete"):
        Moments.from_arrays(arrays)


def test_turned_weights_read_turned_coordinates_as_before(rotation: np.ndarray) -> None:
    network = weights(0)
    old = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32)
    new = np.hstack([old[:, :3] @ rotation.T, old[:, 3:]])  # old = new @ rotation; texts stay
    turned = network.turned(rotation)
    for name in ("item_root1", "user_neighbour1"):
        np.testing.assert_allclose(new @ getattr(turned, name).T, old @ getattr(network, name).T, atol=1e-5)
        assert not np.allclose(new @ getattr(network, name).T, old @ getattr(network, name).T, atol=0.1)
    np.testing.assert_array_equal(turned.item_root2, network.item_root2)


def test_moments_turn_as_means_and_variances_do(rotation: np.ndarray) -> None:
    """Gradients that do not correlate: the turned moments are the moments of the turned gradients."""
    rng = np.random.default_rng(2)
    lengths = np.array([0.5, 1, 2, 1, 1], np.float32)
    gradients = 0.3 + lengths * rng.standard_normal((40_000, 6, 5)).astype(np.float32)
    centred = gradients - gradients.mean(axis=0)
    first, second = weights(0), weights(1)
    moments = Moments(
        SageWeights(**{**first.arrays(), "item_root1": gradients.mean(axis=0)}),
        SageWeights(**{**second.arrays(), "item_root1": (centred**2).mean(axis=0)}),
        1,
    ).turned(rotation)
    mixed = gradients.copy()
    mixed[..., :3] = gradients[..., :3] @ rotation.T
    np.testing.assert_allclose(moments.first.item_root1, mixed.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(moments.second.item_root1, mixed.var(axis=0), rtol=0.1)
    np.testing.assert_array_equal(moments.second.item_root2, second.item_root2)
