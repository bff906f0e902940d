from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import InputError
from graphrec.evaluation.synthetic import DAY, SyntheticEvents
from graphrec.events.interactions import Interactions

RECIPE = SyntheticEvents(n_users=2_000, n_items=1_500, n_events=150_000, communities=10, seed=3)
MINUTE = 60_000_000


def whole(recipe: SyntheticEvents, size: int = 1_000_000) -> Interactions:
    first, *rest = recipe.chunks(size)
    for chunk in rest:
        first = first.joined(chunk)
    return first


def assert_equal(one: Interactions, other: Interactions) -> None:
    for name in ("users", "items", "timestamps", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.fixture(scope="module")
def log() -> Interactions:
    return whole(RECIPE)


@given(
    n_events=st.integers(1, 140_000),
    size=st.integers(997, 200_000),
    communities=st.integers(1, 40),
    session_events=st.floats(1, 50),
)
def test_the_size_of_a_chunk_does_not_matter(n_events: int, size: int, communities: int, session_events: float) -> None:
    recipe = SyntheticEvents(60, 40, n_events, communities=communities, session_events=session_events)
    sizes = [len(chunk) for chunk in recipe.chunks(size)]
    assert all(found == size for found in sizes[:-1])
    assert sum(sizes) == n_events
    assert_equal(whole(recipe, size), whole(recipe))


def test_the_seed_decides(log: Interactions) -> None:
    assert_equal(log, whole(replace(RECIPE)))
    other = whole(replace(RECIPE, seed=4))
    assert (log.users != other.users).mean() > 0.9
    assert (log.items != other.items).mean() > 0.9


def test_events_are_in_the_order_of_time_and_fill_it(log: Interactions) -> None:
    assert (np.diff(log.timestamps) >= 0).all()
    first, last = int(log.timestamps[0]), int(log.timestamps[-1])
    assert RECIPE.start <= first < RECIPE.start + DAY
    assert RECIPE.start + (RECIPE.days - 1) * DAY < last < RECIPE.start + RECIPE.days * DAY
    per_tenth = np.histogram(log.timestamps, bins=10)[0]
    assert per_tenth.min() > 0.9 * len(log) / 10


@pytest.mark.parametrize(("side", "exponent"), [("user", 0.5), ("item", 1.0), ("item", 0.3)])
def test_degrees_follow_the_power_law(side: str, exponent: float) -> None:
    recipe = replace(RECIPE, fashion_share=0.0, communities=1, **{f"{side}_exponent": exponent})
    log = whole(recipe)
    numbers, size = (log.users, log.n_users) if side == "user" else (log.items, log.n_items)
    events = np.sort(np.bincount(numbers, minlength=size))[::-1]
    ranks = np.arange(10, size // 2)
    slope = np.polyfit(np.log(ranks), np.log(events[ranks]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.08)


def test_tails_are_heavy(log: Interactions) -> None:
    for numbers, size, share in ((log.users, log.n_users, 0.2), (log.items, log.n_items, 0.4)):
        events = np.sort(np.bincount(numbers, minlength=size))[::-1]
        assert events[: size // 20].sum() > share * len(log)
        assert events[0] > 8 * events.mean()


@pytest.mark.parametrize("loyalty", [0.0, 0.8, 1.0])
def test_users_keep_to_their_community(loyalty: float) -> None:
    recipe = replace(RECIPE, loyalty=loyalty, fashion_share=0.0)
    log = whole(recipe)
    same = (recipe.user_communities[log.users] == recipe.item_communities[log.items]).mean()
    assert same == pytest.approx(loyalty + (1 - loyalty) / recipe.communities, abs=0.01)
    for communities in (recipe.user_communities, recipe.item_communities):
        assert np.ptp(np.bincount(communities, minlength=recipe.communities)) <= 1


def favourites(log: Interactions, weeks_later: int) -> float:
    """Share of a week's events that go to the favourite of the fashion of some weeks before; median of the weeks."""
    week = ((log.timestamps - RECIPE.start) // round(RECIPE.fashion_days * DAY)).astype(np.int64)
    shares = [
        (log.items[week == number + weeks_later] == RECIPE.fashions[number, 0]).mean()
        for number in range(len(RECIPE.fashions) - weeks_later)
    ]
    return float(np.median(shares))


def test_a_fashion_is_a_burst_of_its_week(log: Interactions) -> None:
    assert len(RECIPE.fashions) == 53
    in_fashion = favourites(log, 0)
    assert in_fashion == pytest.approx(RECIPE.fashion_share * np.log(2) / np.log(21), rel=0.2)
    assert favourites(log, 10) < in_fashion / 20
    assert favourites(whole(replace(RECIPE, fashion_share=0.0)), 0) < in_fashion / 20


@pytest.mark.parametrize("mean", [1.0, 4.0, 30.0])
def test_sessions_are_of_one_user_within_minutes(mean: float) -> None:
    recipe = replace(RECIPE, session_events=mean, days=3650.0, n_users=50_000)
    log = whole(recipe)
    order = np.lexsort((log.timestamps, log.users))
    users, times = log.users[order], log.timestamps[order]
    begins = np.ones(len(log), np.bool_)
    begins[1:] = (users[1:] != users[:-1]) | (np.diff(times) > 15 * MINUTE)
    assert len(log) / begins.sum() == pytest.approx(mean, rel=0.1)
    within = np.diff(times)[~begins[1:]]
    if mean > 1:
        assert within.mean() == pytest.approx(MINUTE, rel=0.1)


def test_memory_is_bounded_by_a_chunk() -> None:
    recipe = replace(RECIPE, n_events=1_000_000)
    for _ in replace(recipe, n_events=1).chunks():  # imports, and the numbers of the nodes
        pass
    peaks = []
    for n_events in (200_000, 1_000_000):
        tracemalloc.start()
        for _ in replace(recipe, n_events=n_events).chunks(50_000):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_no_events_are_no_chunks() -> None:
    assert list(replace(RECIPE, n_events=0).chunks()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("communities", 0),
        ("n_users", 9),
        ("n_items", 9),
        ("n_events", -1),
        ("user_exponent", -0.1),
        ("item_exponent", float("nan")),
        ("loyalty", 1.1),
        ("fashion_share", -0.1),
        ("session_events", 0.5),
        ("days", 0.0),
        ("fashion_days", 0.0),
    ],
)
def test_a_number_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InputError) as found:
        replace(RECIPE, **{name: value})
    assert name in str(found.value)


def test_a_chunk_of_nothing() -> None:
    with pytest.raises(InputError, match="at least one event"):
        list(RECIPE.chunks(0))
