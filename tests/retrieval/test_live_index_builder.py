"""The index that a thread makes while the writer goes on: all rows in one cell, so that every list is still exact."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval import live_index
from graphrec.retrieval.index_builder import Built, Plan
from graphrec.retrieval.live_index import LiveIndex
from tests.retrieval.test_live_index import STEPS, Mirror, check, new_index, step, units


class Gate:
    """Lets builds begin and be done, as often as `open` says; `made` is set when one has only to be handed in."""

    def __init__(self) -> None:
        self.before, self.after, self.made = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def open(self, begin: int, end: int) -> None:
        for side, times in ((self.before, begin), (self.after, end)):
            for _ in range(times):
                side.release()

    def close(self) -> None:
        while self.before.acquire(blocking=False) or self.after.acquire(blocking=False):
            pass


@pytest.fixture(autouse=True)
def _one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_index, "cells_for", lambda n_items: 1)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()

    class Slow(Plan):
        def __call__(self) -> Built:
            assert gate.before.acquire(timeout=30)
            built = super().__call__()
            gate.made.set()
            assert gate.after.acquire(timeout=30)
            return built

    monkeypatch.setattr(live_index, "Plan", Slow)
    yield gate
    gate.open(100, 100)


def filled(gate: Gate, n: int = 80) -> tuple[LiveIndex, Mirror, np.random.Generator]:
    rng = np.random.default_rng(0)
    mirror = Mirror.of(n, rng)
    gate.open(1, 1)
    index = new_index(mirror, flat_items=20)
    index.wait()
    gate.made.clear()
    assert index.view.shown.cells == 1
    return index, mirror, rng


def jump(index: LiveIndex, mirror: Mirror, numbers: list[int], rng: np.random.Generator) -> None:
    some = np.array(numbers, np.int32)
    mirror.vectors[some] = units(len(some), rng)
    index.write(some, mirror.vectors[some], mirror.biases[some])


@given(
    steps=st.lists(
        st.tuples(st.sampled_from((*STEPS[:-2], "merge", "rebuild", "wait")), st.integers(0, 2), st.integers(0, 2)),
        max_size=12,
    ),
    seed=st.integers(0, 10**6),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_list_is_right_before_during_and_after_a_build(
    gate: Gate, steps: list[tuple[str, int, int]], seed: int
) -> None:
    """Builds that take any number of steps to begin and to be done; the views taken on the way stay what they were."""
    index, mirror, _ = filled(gate)
    rng = np.random.default_rng(seed)
    views = []
    for name, begin, end in [*steps, ("wait", 0, 0)]:
        waits = name in ("merge", "rebuild", "wait")
        gate.open(*((100, 100) if waits else (begin, end)))
        if name == "wait":
            index.wait()
        else:
            step(name, index, mirror, rng)
        if waits:
            gate.close()
        views.append((index.view, mirror.copy()))
        check(index.view, mirror, rng, 4, proved=False)
        shown = np.flatnonzero(~index.view.hidden[: len(index.view.shown)])
        once = np.concatenate([shown, index.view.overlay])
        np.testing.assert_array_equal(np.sort(once), np.flatnonzero(~mirror.removed))
    for view, then in views:
        check(view, then, rng, 4, proved=False)


def test_the_writer_goes_on_while_an_index_is_made(gate: Gate) -> None:
    index, mirror, rng = filled(gate)
    before = index.view.shown
    jump(index, mirror, list(range(12)), rng)
    assert index.view.shown is before
    jump(index, mirror, [3, 20], rng)
    mirror.biases[50] += 1
    index.write_biases(mirror.biases)
    index.remove(np.array([5, 30], np.int32))
    mirror.removed[[5, 30]] = True
    index.restore(np.array([5], np.int32))
    mirror.removed[5] = False
    step("add", index, mirror, rng)
    assert index.view.shown is before
    check(index.view, mirror, rng, proved=False)
    gate.open(1, 1)
    index.wait()
    assert index.view.shown is not before
    # Number 3 jumped after the view that the new index was made from, and those beyond it came later.
    assert {3, 20} <= set(index.view.overlay.tolist()) <= {3, 20, 50, *range(80, len(index))}
    check(index.view, mirror, rng, proved=False)


def test_a_new_index_is_put_in_place_by_the_next_step(gate: Gate) -> None:
    index, mirror, rng = filled(gate)
    jump(index, mirror, list(range(12)), rng)
    gate.open(1, 1)
    assert index._building is not None
    index._building.result()
    assert len(index.view.overlay) == 12
    jump(index, mirror, [30], rng)
    assert index.view.overlay.tolist() == [30]
    check(index.view, mirror, rng, proved=False)


def test_a_build_does_not_hold_what_is_overwritten_meanwhile(gate: Gate) -> None:
    index, mirror, rng = filled(gate)
    jump(index, mirror, list(range(12)), rng)
    begun = weakref.ref(index.view)
    jump(index, mirror, [30], rng)
    assert begun() is not None
    gate.open(1, 0)
    assert gate.made.wait(30)
    assert begun() is None
    gate.open(0, 1)
    index.wait()
    check(index.view, mirror, rng, proved=False)


def test_a_build_that_fails_says_so_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    index, mirror, rng = filled(gate)

    def fails(*arguments: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(type(index.view.shown), "successor", fails)
    jump(index, mirror, list(range(12)), rng)
    gate.open(1, 1)
    with pytest.raises(MemoryError, match="no room"):
        index.wait()
    monkeypatch.undo()
    jump(index, mirror, [2], rng)
    index.wait()
    assert len(index.view.overlay) == 0
    check(index.view, mirror, rng, proved=False)


def test_too_many_new_items_have_the_cells_made_anew(gate: Gate) -> None:
    index, _, rng = filled(gate, 400)
    gate.open(100, 100)
    cells = index._built
    for _ in range(3):
        new = Mirror.of(30, rng)
        index.add(new.vectors, new.biases)
        index.wait()
    assert index._built > cells


def test_cells_that_find_too_little_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured by the thread that merges, on the newest queries; nobody asks for it."""
    monkeypatch.setattr(live_index, "cells_for", lambda n_items: 40)
    rng = np.random.default_rng(1)
    clusters = units(40, rng)
    vectors = unit_rows(np.repeat(clusters, 50, axis=0) + 0.01 * units(2000, rng))
    mirror = Mirror(vectors, np.zeros(2000, np.float32), np.zeros(2000, np.bool_))
    index = new_index(mirror, flat_items=100, merge_rows=300)
    index.wait()
    index.search(np.column_stack([10 * clusters, np.ones(40, np.float32)]), 20)
    index.rebuild()  # each query finds all in one cell
    assert index.recall() == 1
    replaced: list[tuple[bool, float]] = []
    replace = index._replace

    def watched(built: Built) -> None:
        assert built.recall is not None
        replaced.append((built.anew, built.recall))
        replace(built)

    monkeypatch.setattr(index, "_replace", watched)
    for start in range(0, 2000, 400):  # now rows go anywhere
        some = np.arange(start, start + 400, dtype=np.int32)
        index.write(some, units(400, rng), mirror.biases[some])
        index.wait()
    kinds, found = zip(*replaced, strict=True)
    first = kinds.index(True)
    assert found[first - 1] < 0.99
    assert found[first] > found[first - 1]
    assert not index.rebuild_due
