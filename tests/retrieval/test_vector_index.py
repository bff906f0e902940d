from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.errors import DependencyError, GenerationError
from graphrec.retrieval.vector_index import VectorIndex, cells_for, import_faiss, share_found

Float32 = NDArray[np.float32]


def random(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.gpu)], ids=["cpu", "gpu"])
def on_gpu(request: pytest.FixtureRequest) -> bool:
    if request.param and not import_faiss().get_num_gpus():
        pytest.skip("this FAISS is without GPUs")
    return bool(request.param)


each_kind = pytest.mark.parametrize("cells", [0, 1], ids=["flat", "one cell"])  # one cell holds every row: exact too


def by_brute_force(rows: Float32, queries: Float32, k: int, hidden: NDArray[np.bool_]) -> tuple[Float32, Float32]:
    scores = queries @ rows.T
    scores[:, hidden] = -np.inf
    numbers = np.argsort(-scores, axis=1)[:, :k]
    best = np.take_along_axis(scores, numbers, 1)
    return best, np.where(np.isinf(best), -1, numbers)


def check(index: VectorIndex, rows: Float32, k: int = 3) -> None:
    """The index holds these rows, and finds the best of them, hidden or not."""
    assert len(index) == len(rows)
    np.testing.assert_array_equal(index.take(np.arange(len(rows), dtype=np.int32)[::-1]), rows[::-1])
    queries = random(3, rows.shape[1], seed=100)
    for hidden in (np.zeros(len(rows), np.bool_), np.arange(len(rows)) % 3 == 0):
        scores, numbers = index.search(queries, k, hidden)
        expected_scores, expected = by_brute_force(rows, queries, min(k, len(rows)), hidden)
        assert numbers.dtype == np.int32
        np.testing.assert_array_equal(numbers, expected)
        np.testing.assert_allclose(scores[numbers >= 0], expected_scores[numbers >= 0], rtol=1e-5, atol=1e-6)


@each_kind
@given(n=st.integers(1, 40), k=st.integers(1, 60), seed=st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_brute_force(on_gpu: bool, cells: int, n: int, k: int, seed: int) -> None:
    rows = random(n, 5, seed=seed)
    check(VectorIndex.of(rows, cells=cells, on_gpu=on_gpu), rows, k)


@each_kind
def test_hidden_items_may_outnumber_the_others(on_gpu: bool, cells: int) -> None:
    rows = random(3000, 5)
    index = VectorIndex.of(rows, cells=cells, on_gpu=on_gpu)
    hidden = np.arange(3010) >= 4
    numbers = index.search(random(2, 5, seed=1), 6, hidden)[1]
    assert [sorted(row) for row in numbers.tolist()] == [[-1, -1, 0, 1, 2, 3]] * 2


@each_kind
def test_rows_are_added_and_changed(on_gpu: bool, cells: int) -> None:
    rows = random(30, 4)
    index = VectorIndex.of(rows[:20], cells=cells, on_gpu=on_gpu)
    check(index, rows[:20])
    index.add(rows[20:])
    check(index, rows)
    rows[[7, 3, 29]] = random(3, 4, seed=5)
    index.change(np.array([7, 3, 29], np.int32), rows[[7, 3, 29]])
    check(index, rows)
    index.change(np.zeros(0, np.int32), rows[:0])
    check(index, rows)


@each_kind
def test_a_copy_changes_alone(on_gpu: bool, cells: int) -> None:
    rows = random(30, 4)
    index = VectorIndex.of(rows, cells=cells, on_gpu=on_gpu)
    copy = index.copy()
    copy.change(np.array([4], np.int32), np.ones((1, 4), np.float32))
    copy.add(rows[:5])
    check(index, rows)
    changed = np.concatenate([rows, rows[:5]])
    changed[4] = 1
    np.testing.assert_array_equal(copy.take(np.arange(35, dtype=np.int32)), changed)


@each_kind
@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=10), seed=st.integers(0, 99)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_successors_have_the_rows_of_those_before_them(
    on_gpu: bool, cells: int, steps: list[tuple[int, int, bool]], seed: int
) -> None:
    """Whether somebody goes on holding an index or nobody does, and then its storage is written again."""
    rng = np.random.default_rng(seed)
    rows = random(30, 4, seed=seed)
    index = VectorIndex.of(rows, cells=cells, on_gpu=on_gpu)
    held = []
    for changes, additions, hold in steps:
        if hold:
            held.append((index, rows))
        numbers = np.sort(rng.choice(len(rows), changes, replace=False))
        numbers = np.concatenate([numbers, np.arange(len(rows), len(rows) + additions)]).astype(np.int32)
        new = random(len(numbers), 4, seed=int(rng.integers(10**6)))
        rows = np.concatenate([rows, new[changes:]])
        rows[numbers] = new
        index = index.successor(numbers, new)
        check(index, rows)
    for earlier, then in held:
        check(earlier, then)


def test_two_storages_take_turns() -> None:
    index, one = VectorIndex.of(random(30, 4)), np.zeros(1, np.int32)
    seen = set()
    for step in range(6):
        index = index.successor(one, random(1, 4, seed=step))
        seen.add(index.flat.ctypes.data)
    assert len(seen) == 2
    held = index
    for step in range(2):
        index = index.successor(one, random(1, 4, seed=step))
    assert index.flat.ctypes.data != held.flat.ctypes.data


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A GPU made of CPU, and what was brought to it, and how."""
    faiss, done = import_faiss(), []

    class Resources:
        def setTempMemory(self, size: int) -> None:  # noqa: N802
            done.append(f"{size >> 20} MiB")

    class Copy:
        def __init__(self, index: Any) -> None:
            self.copyFrom(index)
            done[-1] = "new"

        def copyFrom(self, index: Any) -> None:  # noqa: N802
            self.index = faiss.clone_index(index)
            self.__dict__.pop("nlist", None)
            if hasattr(index, "nlist"):
                self.nlist = index.nlist
            done.append("again")

        def search(self, queries: Float32, k: int) -> Any:
            done.append("search")
            return self.index.search(queries, k)

    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda resources, device, index: Copy(index), raising=False)
    return done


@each_kind
def test_a_gpu_holds_one_copy_that_follows(uploads: list[str], cells: int) -> None:
    rows, asked, one = random(30, 4), random(2, 4, seed=1), np.array([7], np.int32)
    first = VectorIndex.of(rows, cells=cells, queries=asked, on_gpu=True)
    for _ in range(3):
        first.search(asked, 3)
    assert uploads == ["256 MiB", "new", "search", "search", "search"]
    uploads.clear()
    changed = rows.copy()
    changed[7] = 9
    second = first.successor(one, changed[one])
    assert uploads == []  # nobody has searched it yet
    check(first, rows)
    assert set(uploads) == {"search"}
    uploads.clear()
    check(second, changed)
    assert uploads.count("again") == 1
    uploads.clear()
    check(first, rows)  # by the CPU: the copy has gone on
    assert uploads == []


def test_rows_of_any_layout_are_taken() -> None:
    rows = np.asfortranarray(random(6, 4).astype(np.float64))
    check(VectorIndex.of(rows), rows.astype(np.float32))  # type: ignore[arg-type]


def test_an_empty_index_finds_nothing() -> None:
    index = VectorIndex(3)
    assert (len(index), index.dimensions, index.cells) == (0, 3, 0)
    assert index.take(np.zeros(0, np.int32)).shape == (0, 3)
    assert index.search(random(2, 3), 5)[1].tolist() == [[-1], [-1]]


def test_cells_find_nearly_all_at_a_part_of_the_work(on_gpu: bool) -> None:
    """Forty clusters in eighty cells: a search visits as many cells as its recall takes, and then finds moved rows."""
    rows = np.repeat(random(40, 16), 50, axis=0) + 0.3 * random(2000, 16, seed=1)
    index = VectorIndex.of(rows, cells=80, on_gpu=on_gpu)
    queries, nobody = rows[::7] + 0.1 * random(286, 16, seed=2), np.zeros(2000, np.bool_)
    for _ in range(2):
        scores, numbers = index.search(queries, 20)
        np.testing.assert_allclose(scores, np.take_along_axis(queries @ rows.T, numbers, 1), rtol=1e-4)
        assert 0.95 < share_found(scores, by_brute_force(rows, queries, 20, nobody)[0]) <= 1
        assert (np.diff(scores, axis=1) <= 0).all()
        moved = np.arange(0, 2000, 3, dtype=np.int32)
        rows[moved] = rows[moved[::-1]]
        index.change(moved, rows[moved])


def test_queries_say_how_many_cells_are_worth_visiting() -> None:
    rows = random(2000, 16)  # without clusters the best lie anywhere
    few = VectorIndex.of(rows, cells=40, queries=5 * rows[:50])
    many = VectorIndex.of(rows, cells=40, queries=random(50, 16, seed=3))
    best = by_brute_force(rows, queries := random(200, 16, seed=4), 20, np.zeros(2000, np.bool_))[0]
    assert share_found(many.search(queries, 20)[0], best) > 0.97
    assert share_found(many.search(queries, 20)[0], best) >= share_found(few.search(queries, 20)[0], best)


def test_a_share_counts_equals_as_found() -> None:
    best = np.array([[5, 3, 3], [2, 1, 0]], np.float32)
    assert share_found(best, best) == 1
    assert share_found(np.array([[5, 3, 2], [2, 1, 0]], np.float32), best) == pytest.approx(5 / 6)
    assert share_found(best[:0], best[:0]) == 1


def test_more_items_take_more_cells() -> None:
    assert cells_for(250_000) == 2000
    assert cells_for(1_000_000) == 4000


@each_kind
def test_a_file_keeps_everything(tmp_path: Path, cells: int) -> None:
    rows = random(9, 4)
    VectorIndex.of(rows, cells=cells).write(tmp_path / "index")
    again = VectorIndex.read(tmp_path / "index")
    assert (again.dimensions, again.cells) == (4, cells)
    check(again, rows)
    again.add(random(1, 4, seed=1))
    check(again, np.concatenate([rows, random(1, 4, seed=1)]))


@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index"
    VectorIndex.of(random(9, 4)).write(path)
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
