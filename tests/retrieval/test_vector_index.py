from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.errors import DependencyError, GenerationError
from graphrec.retrieval.vector_index import VectorIndex, import_faiss

Float32 = NDArray[np.float32]


def random(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def index_of(rows: Float32) -> VectorIndex:
    index = VectorIndex(rows.shape[1])
    index.add(rows)
    return index


def by_brute_force(rows: Float32, queries: Float32, k: int, exclude: list[int]) -> tuple[Float32, NDArray[np.int64]]:
    scores = queries @ rows.T
    scores[:, [number for number in exclude if number < len(rows)]] = -np.inf
    numbers = np.argsort(-scores, axis=1)[:, :k]
    best = np.take_along_axis(scores, numbers, 1)
    return best, np.where(np.isinf(best), -1, numbers)


@given(
    n=st.integers(1, 40),
    k=st.integers(1, 60),
    exclude=st.lists(st.integers(0, 50), max_size=45),
    seed=st.integers(0, 9),
)
def test_equals_brute_force(n: int, k: int, exclude: list[int], seed: int) -> None:
    rows, queries = random(n, 5, seed=seed), random(3, 5, seed=seed + 100)
    scores, numbers = index_of(rows).search(queries, k, np.array(exclude, np.int32))
    expected_scores, expected = by_brute_force(rows, queries, k, exclude)
    assert numbers.dtype == np.int32
    np.testing.assert_array_equal(numbers, expected)
    found = numbers >= 0
    np.testing.assert_allclose(scores[found], expected_scores[found], rtol=1e-5, atol=1e-6)


def test_rows_are_rewritten_in_place() -> None:
    rows = random(30, 4)
    index = index_of(rows[:20])
    index.add(rows[20:])
    assert (len(index), index.dimensions) == (30, 4)
    np.testing.assert_array_equal(index.rows, rows)
    index.rows[7] = [100, 0, 0, 0]
    scores, numbers = index.search(np.array([[1, 0, 0, 0]], np.float32), 1)
    assert (numbers.tolist(), scores.tolist()) == ([[7]], [[100.0]])
    index.rows[[7, 3], -1] = 50
    assert set(index.search(np.array([[0, 0, 0, 1]], np.float32), 2)[1][0].tolist()) == {3, 7}


def test_rows_of_any_layout_are_taken() -> None:
    rows = np.asfortranarray(random(6, 4).astype(np.float64))
    index = index_of(rows)  # type: ignore[arg-type]
    np.testing.assert_allclose(index.rows, rows, rtol=1e-6)
    np.testing.assert_array_equal(index.search(rows[::2], 1)[1], by_brute_force(rows, rows[::2], 1, [])[1])  # type: ignore[arg-type]


def test_an_empty_index_finds_nothing() -> None:
    index = VectorIndex(3)
    assert len(index) == 0
    assert index.rows.shape == (0, 3)
    assert index.search(random(2, 3), 5)[1].tolist() == [[-1], [-1]]


def test_a_file_keeps_everything(tmp_path: Path) -> None:
    index = index_of(random(9, 4))
    index.write(tmp_path / "index")
    again = VectorIndex.read(tmp_path / "index")
    assert (len(again), again.dimensions) == (9, 4)
    np.testing.assert_array_equal(again.rows, index.rows)
    again.add(random(1, 4))
    assert again.search(random(1, 4), 1)[1].shape == (1, 1)


@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index"
    index_of(random(9, 4)).write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(GenerationError, match="not a FAISS index"):
        VectorIndex.read(path)


def test_another_file_or_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("user,item\n" * 50)
    for name in ("text", "missing"):
        with pytest.raises(GenerationError, match=name):
            VectorIndex.read(tmp_path / name)


def test_an_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    faiss = import_faiss()
    faiss.write_index(faiss.IndexFlatL2(4), str(tmp_path / "index"))
    with pytest.raises(GenerationError, match="IndexFlatL2"):
        VectorIndex.read(tmp_path / "index")


def test_two_faiss_packages_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("faiss-cpu", "faiss-gpu"):
            return "1.11.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(DependencyError, match="faiss-cpu, faiss-gpu") as caught:
        VectorIndex(3)
    assert caught.value.way_out is not None
    assert caught.value.way_out.startswith("pip uninstall faiss-cpu faiss-gpu")


def test_a_missing_faiss_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DependencyError, match=r"graphrec\[cpu\]"):
        VectorIndex(3)
