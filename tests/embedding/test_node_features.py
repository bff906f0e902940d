from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import FeatureMap, unit_rows
from graphrec.errors import GenerationError

ITEMS, COORDINATES, TEXT = 4000, 6, 10
PULL = 3.0  # of the common direction that all texts share


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def planted(pull: float = PULL) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates that are a linear map of what tells texts apart, and texts with a large common direction."""
    own = random(ITEMS, TEXT) * np.linspace(1, 0.1, TEXT, dtype=np.float32)
    own -= own.mean(axis=0)
    own[:, 0] = 0
    common = np.zeros(TEXT, np.float32)
    common[0] = pull
    return own @ random(TEXT, COORDINATES, seed=1), own + common


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    return (unit_rows(left) * unit_rows(right)).sum(axis=1)


def test_unit_rows_keep_zero_rows() -> None:
    matrix = np.array([[3, 4], [0, 0], [0, -2]], np.float32)
    np.testing.assert_allclose(unit_rows(matrix), [[0.6, 0.8], [0, 0], [0, -1]])
    assert unit_rows(np.zeros((3, 0), np.float32)).shape == (3, 0)


def test_the_ridge_recovers_a_planted_map() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates[:-500], texts[:-500], 4)
    assert cosines(learned.estimated(texts[-500:])[:, :COORDINATES], coordinates[-500:]).min() > 0.95


def test_centring_matters() -> None:
    coordinates, texts = planted()
    centred = FeatureMap.fit(coordinates, texts, 1)
    np.testing.assert_allclose(centred.text_mean, texts.mean(axis=0), atol=1e-4)
    assert abs(centred.text_directions[0, 0]) < 1e-3  # the common direction is no principal one
    # Features do not know how far away from the origin the texts lie.
    near = FeatureMap.fit(*planted(pull=0.5), 1)
    np.testing.assert_allclose(
        centred.features(coordinates, texts), near.features(coordinates, planted(pull=0.5)[1]), atol=1e-4
    )


def test_coordinates_are_taken_as_they_are_and_the_unknown_ones_from_the_text() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates, texts, 4)
    some = coordinates[:3].copy()
    some[1] = 0
    features = learned.features(some, texts[:3])
    assert (features.shape, features.dtype) == ((3, learned.dimensions), np.float32)
    np.testing.assert_allclose(features[[0, 2], :COORDINATES], unit_rows(coordinates[[0, 2]]), atol=1e-6)
    np.testing.assert_allclose(features[1], learned.estimated(texts[1:2])[0], atol=1e-6)
    assert np.linalg.norm(features[1, :COORDINATES]) == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.norm(features[:, COORDINATES:], axis=1), 0.5, rtol=1e-5)


def test_of_more_coordinates_the_first_count() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates[:, :4], texts, 3)
    assert learned.dimensions == 7
    np.testing.assert_array_equal(
        learned.features(coordinates, texts), learned.features(coordinates[:, :4].copy(), texts)
    )


def test_the_directions_are_the_principal_ones() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates, texts, 4)
    centred = unit_rows(texts - texts.mean(axis=0))
    exact = np.linalg.svd(centred.astype(np.float64), full_matrices=False)[2][:4]
    np.testing.assert_allclose(np.abs(exact @ learned.text_directions), np.eye(4), atol=1e-3)
    largest = np.abs(learned.text_directions).argmax(axis=0)
    assert (learned.text_directions[largest, np.arange(4)] > 0).all()


def test_an_item_without_a_text() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates, texts, 4)
    features = learned.features(np.vstack([coordinates[:1], 0 * coordinates[:1]]), np.zeros((2, TEXT), np.float32))
    np.testing.assert_allclose(features[0, :COORDINATES], unit_rows(coordinates[:1])[0])
    assert not features[0, COORDINATES:].any()
    assert not features[1].any()


def test_items_without_text_or_coordinates_teach_nothing() -> None:
    coordinates, texts = planted()
    learned = FeatureMap.fit(coordinates, texts, 4)
    blank = np.zeros((2, TEXT), np.float32)
    more = FeatureMap.fit(
        np.vstack([coordinates, random(2, COORDINATES), 0 * coordinates[:2]]),
        np.vstack([texts, blank, 100 * random(2, TEXT)]),
        4,
    )
    for name, array in learned.arrays().items():
        np.testing.assert_array_equal(more.arrays()[name], array)


@pytest.mark.parametrize("width", [0, TEXT])
def test_a_catalogue_without_texts(width: int) -> None:
    coordinates, texts = random(5, COORDINATES), np.zeros((5, width), np.float32)
    learned = FeatureMap.fit(coordinates, texts, 4)
    assert learned.dimensions == COORDINATES
    np.testing.assert_allclose(learned.features(coordinates, texts), unit_rows(coordinates))
    assert learned.estimated(texts).tolist() == np.zeros((5, COORDINATES)).tolist()
    assert learned.features(coordinates[:0], texts[:0]).shape == (0, COORDINATES)


@pytest.mark.parametrize(("wanted", "got"), [(0, 0), (4, 4), (99, TEXT)])
def test_directions_asked_for(wanted: int, got: int) -> None:
    learned = FeatureMap.fit(*planted(), wanted)
    assert learned.dimensions == COORDINATES + got


def test_a_model_survives_its_arrays() -> None:
    features = FeatureMap.fit(*planted(), 4)
    rng = np.random.default_rng(0)
    shapes = {
        "user_neighbour1": (8, features.dimensions),
        "user_bias1": (8,),
        "item_root1": (8, features.dimensions),
        "item_bias1": (8,),
        **dict.fromkeys(("user_neighbour2", "user_root2", "item_neighbour2", "item_root2"), (3, 8)),
        **dict.fromkeys(("user_bias2", "item_bias2"), (3,)),
    }
    sage = SageWeights(**{name: rng.random(shape, np.float32) for name, shape in shapes.items()})
    assert (sage.input_dimensions, sage.hidden_dimensions, sage.dimensions) == (features.dimensions, 8, 3)
    model = EmbeddingModel(features, sage, 10.0, 0.5)
    again = EmbeddingModel.from_arrays(model.arrays())
    assert (again.scale, again.popularity_weight) == (10.0, 0.5)
    assert again.arrays().keys() == model.arrays().keys()
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
        assert again.arrays()[name].dtype == np.float32


def test_incomplete_weights_are_refused() -> None:
    with pytest.raises(GenerationError, match="user_bias1"):
        SageWeights.from_arrays({"user_neighbour1": np.zeros((1, 1), np.float32)})
