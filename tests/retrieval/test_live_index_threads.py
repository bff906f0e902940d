"""Readers see whole moments: one thread writes the index, three read it, and no row is torn or of another batch.

Batch t gives every row of group t % GROUPS the value t in all its columns. In one view, then, a row has one value, a
group has one value, and the values of all groups are GROUPS successive numbers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.config import IndexSettings
from graphrec.retrieval import live_index, vector_index
from graphrec.retrieval.index_view import IndexView
from graphrec.retrieval.live_index import LiveIndex

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
GROUPS, GROUP, DIMENSIONS = 20, 100, 16
STEP = 2.0**-10  # a batch moves a row by 20 steps of this times 4 = sqrt(DIMENSIONS): it takes a few to go too far
MEMBERS = np.arange(GROUPS * GROUP, dtype=np.int32).reshape(GROUPS, GROUP)


class Unprotected(LiveIndex):
    """Writes in place and leaves nothing for readers who are still at the old moment."""

    def _publish(self, successor: IndexView, replaced: Any = None, write: Any = None) -> None:
        if write is not None:
            write(successor.vectors, successor.biases)
        self._view = successor


@pytest.fixture(autouse=True)
def _every_index_has_a_sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "_SKETCHED", 0)


@pytest.fixture(autouse=True)
def _often_interrupted() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def filled(kind: type[LiveIndex], **settings: int) -> LiveIndex:
    index = kind(DIMENSIONS, IndexSettings(tolerance=0.2, merge_rows=300, **settings))  # type: ignore[arg-type]
    values = np.repeat(np.arange(GROUPS, dtype=np.float32) * STEP, GROUP)
    index.add(np.repeat(values[:, None], DIMENSIONS, 1), values)
    return index


def write(index: LiveIndex, batches: int) -> None:
    for batch in range(GROUPS, GROUPS + batches):
        values = np.full(GROUP, batch * STEP, np.float32)
        index.write(MEMBERS[batch % GROUPS], np.repeat(values[:, None], DIMENSIONS, 1), values)
        if batch % 50 == 0:
            index.write_biases(index.rows[:, -1])
        if batch % 70 == 0:
            index.remove(MEMBERS[0, :1])
            index.restore(MEMBERS[0, :1])


def faults(view: IndexView, rng: np.random.Generator) -> list[str]:
    """What is wrong with one moment, looked at twice with a pause between."""
    found = []
    order = rng.permutation(GROUPS)
    halves = []
    for half in (order[: GROUPS // 2], order[GROUPS // 2 :]):
        vectors, biases = view.take(MEMBERS[half].ravel())
        halves.append(np.column_stack([vectors, biases]).reshape(len(half), GROUP, DIMENSIONS + 1))
        time.sleep(0.0005)
    rows = np.concatenate(halves) / STEP
    if (rows != rows[:, :, :1]).any():
        found.append("torn row")
    if (rows != rows[:, :1, :1]).any():
        found.append("mixed batch")
    if len(set(np.round(rows[:, 0, 0]).tolist())) != GROUPS or np.ptp(rows[:, 0, 0]) != GROUPS - 1:
        found.append("mixed moments")
    query = rng.standard_normal((1, DIMENSIONS + 1)).astype(np.float32)
    for fetch in (100, 0):  # by a scan, and by the sketch
        answer = view.search(query, 50, MEMBERS[order[0]], fetch)
        if not np.allclose(answer.scores[0], view.scan(query[0], 50, MEMBERS[order[0]])[0], atol=1e-4):
            found.append("wrong list")
    return found


def read_while_written(index: LiveIndex, batches: int) -> tuple[list[str], list[int]]:
    """All faults that three readers meet, and how many moments each has looked at."""
    done, found, looks = threading.Event(), [], [0, 0, 0]

    def read(reader: int) -> None:
        rng = np.random.default_rng(reader)
        while not done.is_set() or not looks[reader]:
            found.extend(faults(index.view, rng))
            looks[reader] += 1

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(3)]
    for reader in readers:
        reader.start()
    try:
        write(index, batches)
    finally:
        done.set()
        for reader in readers:
            reader.join()
    return found, looks


def test_no_reader_sees_a_moment_that_never_was() -> None:
    index = filled(LiveIndex)
    shown = index.view.shown
    found, looks = read_while_written(index, 400)
    assert found == []
    assert min(looks) > 0
    assert index.view.shown is not shown  # the FAISS index was swapped under them


def test_nor_where_another_thread_makes_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_index, "cells_for", lambda n_items: 1)  # one cell holds every row: exact too
    index = filled(LiveIndex, flat_items=100)
    index.wait()
    shown = index.view.shown
    found, looks = read_while_written(index, 400)
    assert found == []
    assert min(looks) > 0
    assert index.view.shown is not shown


def test_this_check_sees_unprotected_writes() -> None:
    found, _ = read_while_written(filled(Unprotected), 400)
    assert "mixed moments" in found


@pytest.mark.slow
def test_no_reader_sees_a_moment_that_never_was_for_long() -> None:
    index = filled(LiveIndex)
    found, looks = read_while_written(index, 20_000)
    assert found == []
    assert sum(looks) > 1000
