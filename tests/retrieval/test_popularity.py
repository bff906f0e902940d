from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.retrieval.popularity import Popularity

DAY = 86_400_000_000
HALF_LIFE = 7.0 * DAY
N_ITEMS = 6

moments = st.integers(1, 60 * DAY) | st.integers(1, 20_000).map(lambda days: days * DAY)
logs = st.lists(st.tuples(st.integers(0, N_ITEMS - 1), moments), min_size=1, max_size=60)


def counted(log: list[tuple[int, int]], cuts: list[int] | None = None, half_life: float = HALF_LIFE) -> Popularity:
    popularity = Popularity(half_life)
    popularity.grow(N_ITEMS)
    edges = sorted({0, len(log), *(cut for cut in cuts or [] if cut < len(log))})
    for start, end in pairwise(edges):
        part = log[start:end]
        popularity.add(np.array([item for item, _ in part], np.int32), np.array([time for _, time in part], np.int64))
    return popularity


def slowly(log: list[tuple[int, int]], now: float, half_life: float = HALF_LIFE) -> list[float]:
    """Each event weighs half for every half-life of its age."""
    return [math.fsum(0.5 ** ((now - time) / half_life) for i, time in log if i == item) for item in range(N_ITEMS)]


@given(log=logs, cuts=st.lists(st.integers(0, 60)), half_life=st.sampled_from([HALF_LIFE, 0.5 * DAY, 3000.0 * DAY]))
def test_equals_the_slow_count(log: list[tuple[int, int]], cuts: list[int], half_life: float) -> None:
    popularity = counted(log, cuts, half_life)
    newest = max(time for _, time in log)
    assert popularity.newest == newest
    np.testing.assert_allclose(popularity.counts(), slowly(log, newest, half_life), rtol=1e-9, atol=1e-60)
    tick = popularity.clock * half_life / 16
    assert newest - half_life / 16 < tick <= newest
    expected = np.log(np.array(slowly(log, tick, half_life)) + 0.1)
    np.testing.assert_allclose(popularity.log_scores(0.1), expected, rtol=1e-9, atol=1e-9)
    some = np.array([4, 0, 4], np.int32)
    np.testing.assert_array_equal(popularity.log_scores(0.1, some), popularity.log_scores(0.1)[some])
    for item in range(N_ITEMS):
        times = [time for i, time in log if i == item]
        assert popularity.first[item] == min(times, default=0)
        assert popularity.last[item] == max(times, default=0)


@given(log=logs, order=st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(log: list[tuple[int, int]], order: object) -> None:
    shuffled = log.copy()
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = counted(log), counted(shuffled, [1, 5, 6])
    np.testing.assert_allclose(other.counts(), one.counts(), rtol=1e-9, atol=1e-60)
    np.testing.assert_array_equal(other.first, one.first)
    np.testing.assert_array_equal(other.last, one.last)
    assert (other.newest, other.clock) == (one.newest, one.clock)


def test_a_count_halves_in_a_half_life() -> None:
    popularity = counted([(0, DAY), (0, DAY), (1, 8 * DAY)])
    assert popularity.counts().tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("half_lives", [250, 260, 600, 1500, 30_000])
def test_counts_survive_any_gap(half_lives: int) -> None:
    now = 10 * DAY + half_lives * 7 * DAY
    popularity = counted([(0, 10 * DAY), (1, now)], [1])
    assert popularity.counts()[1] == pytest.approx(1)
    assert popularity.counts()[0] == pytest.approx(0.5**half_lives, abs=1e-70)
    late = counted([(1, now), (0, 10 * DAY), (2, now)], [1, 2])  # the old event arrives last
    np.testing.assert_allclose(late.counts()[:3], [0, 1, 1], atol=1e-70)
    assert np.isfinite(late.log_scores(0.1)).all()


def test_only_items_with_new_events_change_between_two_ticks() -> None:
    popularity = counted([(0, 70 * DAY), (1, 71 * DAY)])
    before, clock = popularity.log_scores(0.1), popularity.clock
    grid = 7 * DAY // 16
    within = (clock + 1) * 7 * DAY // 16 - 1
    popularity.add(np.array([2], np.int32), np.array([within]))
    assert popularity.clock == clock
    np.testing.assert_array_equal(np.flatnonzero(popularity.log_scores(0.1) != before), [2])
    popularity.add(np.array([2], np.int32), np.array([within + grid]))
    assert popularity.clock == clock + 1
    assert (popularity.log_scores(0.1)[:2] < before[:2]).all()


def test_without_events() -> None:
    popularity = Popularity(HALF_LIFE)
    assert popularity.counts().tolist() == []
    popularity.grow(3)
    popularity.add(np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert popularity.counts().tolist() == [0, 0, 0]
    np.testing.assert_allclose(popularity.log_scores(0.1), np.log(0.1))
    popularity.grow(2)
    assert len(popularity.first) == len(popularity.last) == len(popularity.counts()) == 3


def test_a_new_item_starts_at_nothing() -> None:
    popularity = counted([(0, DAY)])
    popularity.grow(N_ITEMS + 1)
    popularity.add(np.array([N_ITEMS], np.int32), np.array([DAY]))
    assert popularity.counts()[[0, 1, N_ITEMS]].tolist() == [1, 0, 1]


def everything(popularity: Popularity) -> list[NDArray[np.generic]]:
    return [popularity.counts(), popularity.first, popularity.last, popularity.log_scores(0.1)]


@given(log=logs, more=logs)
def test_a_restored_state_goes_on_as_if_nothing_had_happened(
    log: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    whole = counted(log)
    restored = Popularity(HALF_LIFE)
    restored.restore({name: array.copy() for name, array in whole.state().items()})
    columns = np.array([item for item, _ in more], np.int32), np.array([time for _, time in more], np.int64)
    for popularity in (whole, restored):
        popularity.add(*columns)
    for one, other in zip(everything(whole), everything(restored), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_restored_state_owns_its_arrays() -> None:
    state = counted([(0, DAY)]).state()
    for array in state.values():
        array.flags.writeable = False  # as arrays mapped from a file are
    restored = Popularity(HALF_LIFE)
    restored.restore(state)
    restored.add(np.array([0], np.int32), np.array([DAY]))
    assert restored.counts()[0] == 2
