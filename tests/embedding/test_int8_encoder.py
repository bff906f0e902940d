"""Text vectors by int8 and bfloat16 matrices: close to the exact, told from them, refused if they are not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graphrec.config import Config, TextSettings
from graphrec.embedding import int8_model
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import DependencyError, ModelError
from graphrec.learned import text_model

COLOURS, THINGS = (
    ("red", "blue", "green", "white"),
    ("tea cup", "bicycle lamp", "garden chair", "paper lantern", "clock"),
)
TEXTS = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
INT8 = TextSettings(precision="int8")


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    return TextEncoder(TextSettings(), device="cpu").encode(TEXTS)


@pytest.fixture(scope="module")
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def encoder(cache_home: Path) -> TextEncoder:
    encoder = TextEncoder(INT8)
    encoder.encode(["mug"])
    return encoder


def test_int8_vectors_are_close_to_the_exact_ones(encoder: TextEncoder, exact: np.ndarray) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = (vectors * exact).sum(axis=1)
    assert cosines.min() > 0.97
    assert cosines.max() < 0.99999  # it is another arithmetic


def test_the_nearest_by_int8_are_the_nearest(encoder: TextEncoder, exact: np.ndarray) -> None:
    def neighbours(vectors: np.ndarray) -> np.ndarray:
        return np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, 1:4]

    pairs = zip(neighbours(encoder.encode(TEXTS)), neighbours(exact), strict=True)
    assert np.mean([len(set(one) & set(other)) / 3 for one, other in pairs]) > 0.9


def test_what_stands_beside_a_text_moves_its_vector_little(encoder: TextEncoder) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert (alone * encoder.encode(TEXTS)).sum(axis=1).min() > 0.97


def test_empty_and_long_texts(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["", "a tea cup " * 500])
    assert not vectors[0].any()
    assert np.linalg.norm(vectors[1]) == pytest.approx(1, abs=1e-5)


def test_the_file_is_made_once_and_nothing_else_is_left(
    encoder: TextEncoder, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [path.name for path in (cache_home / "graphrec").iterdir()] == [f"{encoder.identity}.onnx"]
    second = TextEncoder(INT8)
    monkeypatch.setattr(second, "_model", lambda *_: pytest.fail("the exact weights are not needed"))
    np.testing.assert_array_equal(second.encode(TEXTS[:3]), encoder.encode(TEXTS[:3]))


def test_a_model_that_lost_its_meaning_is_not_kept(
    cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(int8_model, "LEAST_COSINE", 0.999999)
    with pytest.raises(ModelError, match="cosine") as caught:
        TextEncoder(INT8).encode(["mug"])
    assert "float32" in str(caught.value)
    assert list((tmp_path / "graphrec").iterdir()) == []


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"graphrec\[onnx\]"):
        TextEncoder(INT8).encode(["mug"])


def test_int8_is_for_the_cpu() -> None:
    with pytest.raises(ModelError, match="int8 runs on the CPU"):
        TextEncoder(INT8, device="cuda").encode(["mug"])


def test_bfloat16_vectors_are_closer_still(exact: np.ndarray) -> None:
    vectors = TextEncoder(TextSettings(precision="bfloat16"), device="cpu").encode(TEXTS)
    assert vectors.dtype == np.float32
    assert 0.999 < (vectors * exact).sum(axis=1).min() < 0.9999999


def test_each_precision_has_its_own_name(tmp_path: Path) -> None:
    settings = [TextSettings(), TextSettings(precision="bfloat16"), INT8]
    assert len({TextEncoder(one).identity for one in settings}) == 3
    assert len({text_model(Config(text=one)) for one in settings}) == 3


def test_the_cache_keeps_precisions_apart(encoder: TextEncoder, exact: np.ndarray, tmp_path: Path) -> None:
    cache = TextCache(tmp_path)
    encode_cached(TextEncoder(TextSettings(), device="cpu"), cache, TEXTS)
    vectors, encoded = encode_cached(encoder, cache, TEXTS)
    assert encoded == len(TEXTS)
    assert np.abs(vectors - exact).max() > 1e-3
    assert len(cache) == 2 * len(TEXTS)
