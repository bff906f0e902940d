from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.retrieval.text_search import TextSearch


def texts(n: int = 20, width: int = 6) -> NDArray[np.float32]:
    """Vectors with a large common direction; every third item has no text."""
    vectors = np.random.default_rng(0).standard_normal((n, width)).astype(np.float32)
    vectors[:, 0] += 10
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[::3] = 0
    return vectors


def cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_best_first_by_centred_cosine() -> None:
    vectors = texts()
    described = np.flatnonzero(vectors.any(axis=1))
    mean = vectors[described].mean(axis=0)
    query = np.random.default_rng(1).standard_normal(6).astype(np.float32)
    expected = sorted(described, key=lambda number: -cosine(query - mean, vectors[number] - mean))[:5]
    numbers, cosines = TextSearch(vectors).search(query, 5)
    assert numbers.tolist() == expected
    np.testing.assert_allclose(cosines, [cosine(query - mean, vectors[n] - mean) for n in expected], rtol=1e-4)
    raw = sorted(described, key=lambda number: -cosine(query, vectors[number]))[:5]
    assert raw != expected  # so centring decides


def test_an_item_finds_itself() -> None:
    vectors = texts()
    search = TextSearch(vectors)
    for number in np.flatnonzero(vectors.any(axis=1)):
        numbers, cosines = search.search(vectors[number], 1)
        assert numbers.tolist() == [number]
        assert cosines[0] == pytest.approx(1, abs=1e-4)


def test_fewer_items_than_asked_for() -> None:
    vectors = texts()
    search = TextSearch(vectors)
    numbers, _ = search.search(vectors[1], 100)
    assert len(search) == len(numbers) == 13
    assert sorted(numbers.tolist()) == np.flatnonzero(vectors.any(axis=1)).tolist()


@pytest.mark.parametrize("shape", [(0, 6), (4, 6), (4, 0), (0, 0)])
def test_without_texts(shape: tuple[int, int]) -> None:
    search = TextSearch(np.zeros(shape, np.float32))
    numbers, cosines = search.search(np.ones(shape[1], np.float32), 3)
    assert (len(search), len(numbers), len(cosines)) == (0, 0, 0)


def test_a_single_text_is_found() -> None:
    vectors = np.zeros((3, 4), np.float32)
    vectors[2] = 1
    assert TextSearch(vectors).search(np.ones(4, np.float32), 2)[0].tolist() == [2]
