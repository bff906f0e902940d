"""What every recommender under evaluation promises, checked on all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import InputError, NotTrainedError
from graphrec.evaluation import baselines
from graphrec.evaluation.baselines import DAY, ItemKNN, LinearFilter, MostPopular, RecentlyPopular, Recommender
from graphrec.evaluation.ease import EASE
from graphrec.evaluation.gf_cf import GFCF
from graphrec.evaluation.ials import IALS
from graphrec.events.interactions import Interactions

Make = Callable[[], Recommender]

ALL = {
    "most popular": MostPopular,
    "recently popular": lambda: RecentlyPopular(half_life_days=7.0),
    "recently popular, chosen half-life": RecentlyPopular,
    "item kNN": ItemKNN,
    "item kNN, 4 neighbours": lambda: ItemKNN(neighbours=4),
    "item kNN, all neighbours": lambda: ItemKNN(neighbours=None),
    "linear filter": LinearFilter,
    "EASE": EASE,
    "EASE, hardly regularised": lambda: EASE(regularisation=1.0),
    "GF-CF": GFCF,
    "GF-CF, 2 dimensions": lambda: GFCF(dimensions=2),
    "iALS": lambda: IALS(factors=8),
    "iALS, given settings": lambda: IALS(1.0, 5.0),
}
PERSONALISED = {name: make for name, make in ALL.items() if "popular" not in name}

N_USERS, N_ITEMS = 12, 15
EVENTS = st.lists(
    st.tuples(
        st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 20), st.sampled_from([1.0, 5.0, -5.0])
    ),
    max_size=80,
)
EVERYONE = np.arange(N_USERS, dtype=np.int32)

every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)
personalised = pytest.mark.parametrize("make", PERSONALISED.values(), ids=PERSONALISED)


def world(events, n_users: int = N_USERS, n_items: int = N_ITEMS) -> Interactions:
    columns = list(zip(*events, strict=True)) if events else [[], [], [], []]
    return Interactions(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int32),
        np.array(columns[2], np.int64) * DAY,
        np.array(columns[3], np.float64),
        n_users,
        n_items,
    )


def random_world(seed: int, size: int = 90) -> Interactions:
    rng = np.random.default_rng(seed)
    popular = np.minimum(rng.zipf(1.5, size) - 1, N_ITEMS - 1)
    users = rng.integers(0, N_USERS - 1, size)  # the last user has no history
    weights = rng.choice([1.0, 5.0, -5.0], size, p=[0.5, 0.4, 0.1])
    return world(list(zip(users, popular, rng.integers(0, 20, size), weights, strict=True)))


@every
@given(events=EVENTS, k=st.integers(1, 2 * N_ITEMS))
def test_lists_are_full_distinct_and_unseen(make: Make, events, k: int):
    data = world(events)
    lists = make().fit(data).recommend(EVERYONE, k)
    assert lists.shape == (N_USERS, k)
    assert lists.dtype == np.int32
    for user, row in enumerate(lists):
        seen = set(data.items[data.users == user].tolist())
        length = min(k, N_ITEMS - len(seen))
        assert (row[length:] == -1).all()
        listed = set(row[:length].tolist())
        assert len(listed) == length
        assert listed <= set(range(N_ITEMS)) - seen


@every
def test_seen_items_may_come_back_when_asked(make: Make):
    data = random_world(0)
    lists = make().fit(data).recommend(EVERYONE, N_ITEMS, False)
    assert (np.sort(lists, axis=1) == np.arange(N_ITEMS)).all()


@every
def test_two_runs_agree_and_leave_the_unfitted_alone(make: Make):
    recommender = make()
    first = recommender.fit(random_world(0))
    lists = first.recommend(EVERYONE, 6)
    second = recommender.fit(random_world(1))
    assert second is not first
    assert (second.recommend(EVERYONE, 6) != lists).any()
    np.testing.assert_array_equal(first.recommend(EVERYONE, 6), lists)
    np.testing.assert_array_equal(recommender.fit(random_world(0)).recommend(EVERYONE, 6), lists)
    with pytest.raises(NotTrainedError):
        recommender.recommend(EVERYONE, 6)


@every
def test_the_order_of_events_does_not_matter(make: Make):
    data = random_world(2)
    lists = make().fit(data).recommend(EVERYONE, N_ITEMS)
    for seed in range(5):
        shuffled = data.take(np.random.default_rng(seed).permutation(len(data)))
        np.testing.assert_array_equal(make().fit(shuffled).recommend(EVERYONE, N_ITEMS), lists)


@every
def test_an_answer_does_not_depend_on_who_else_is_asked(make: Make, monkeypatch):
    fitted = make().fit(random_world(3))
    lists = fitted.recommend(EVERYONE, 6)
    some = np.array([7, 2, 2, N_USERS - 1], np.int32)
    np.testing.assert_array_equal(fitted.recommend(some, 6), lists[some])
    assert fitted.recommend(some[:0], 6).shape == (0, 6)
    monkeypatch.setattr(baselines, "BLOCK_CELLS", 2 * N_ITEMS)
    np.testing.assert_array_equal(make().fit(random_world(3)).recommend(EVERYONE, 6), lists)


@every
def test_a_user_without_history_gets_what_is_popular(make: Make):
    events = [(user, item, 19, 1.0) for user, item in [(0, 4), (1, 4), (2, 4), (0, 2), (1, 2), (3, 9)]]
    lists = make().fit(world(events)).recommend(np.array([N_USERS - 1], np.int32), 4)
    assert lists[0].tolist() == [4, 2, 9, 0]  # then those nobody had, by number


@every
def test_negative_events_teach_nothing_but_are_seen(make: Make):
    events = [(0, 1, 5, 1.0), (1, 1, 5, 1.0), (1, 2, 5, 1.0)]
    regrets = [(user, 3, 5, -5.0) for user in range(5)]
    fitted = make().fit(world([*events, *regrets]))
    assert fitted.recommend(np.array([0], np.int32), N_ITEMS)[0].tolist() == [2, 0, *range(4, N_ITEMS), -1, -1]


@every
def test_impossible_questions_are_refused(make: Make):
    fitted = make().fit(random_world(0))
    for users, k in ([N_USERS], 3), ([-1], 3), ([0], 0):
        with pytest.raises(InputError):
            fitted.recommend(np.array(users, np.int32), k)


def two_tastes(*, with_edges: bool) -> Interactions:
    """Users 0-4 take items 0-4, users 5-11 the more popular items 5-9; user 0 has only items 0 and 1 yet."""
    events = [(user, item, 5, 1.0) for user in range(5, 12) for item in range(5, 10)]
    if with_edges:
        events += [(user, item, 5, 1.0) for user in range(1, 5) for item in range(5)]
    return world([*events, (0, 0, 5, 1.0), (0, 1, 5, 1.0)])


@personalised
def test_a_taste_shared_over_the_graph_comes_first(make: Make):
    fitted = make().fit(two_tastes(with_edges=True))
    assert fitted.recommend(EVERYONE[:1], 3)[0].tolist() == [2, 3, 4]
    alone = make().fit(two_tastes(with_edges=False))
    assert alone.recommend(EVERYONE[:1], 3)[0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("make", [MostPopular, lambda: RecentlyPopular(7.0)])
def test_popularity_is_not_personal(make: Make):
    assert make().fit(two_tastes(with_edges=True)).recommend(EVERYONE[:1], 3)[0].tolist() == [5, 6, 7]


def in_order_of(lists: np.ndarray, expected: np.ndarray, seen: np.ndarray, atol: float = 1e-12) -> None:
    """The scored part of every list runs down the expected scores of the unseen items, with nothing left out."""
    for user, row in enumerate(lists):
        best = np.sort(np.where(seen[user], 0.0, expected[user]))[::-1]
        listed = row[row >= 0]
        np.testing.assert_allclose(expected[user, listed], best[: len(listed)], atol=atol)


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_the_dense_formulas(seed: int):
    data = random_world(seed)
    seen, R = np.zeros((N_USERS, N_ITEMS), bool), np.zeros((N_USERS, N_ITEMS))
    seen[data.users, data.items] = True
    wanted = data.positive()
    R[wanted.users, wanted.items] = 1.0
    per_user, per_item = np.maximum(R.sum(axis=1), 1), np.maximum(R.sum(axis=0), 1)
    smooth = R / np.sqrt(np.outer(per_user, per_item))
    in_order_of(LinearFilter().fit(data).recommend(EVERYONE, 5), R @ smooth.T @ smooth, seen)
    low_pass = np.linalg.svd(smooth)[2][:3]
    passed = R / np.sqrt(per_item) @ low_pass.T @ low_pass * np.sqrt(per_item)
    both = R @ smooth.T @ smooth + 0.3 * passed
    in_order_of(GFCF(dimensions=3).fit(data).recommend(EVERYONE, 5), both, seen, atol=1e-5)
    cosine = R.T @ R / np.sqrt(np.outer(per_item, per_item))
    np.fill_diagonal(cosine, 0.0)
    in_order_of(ItemKNN(None).fit(data).recommend(EVERYONE, 5), R @ cosine, seen)
    in_order_of(ItemKNN(None).fit(data).recommend(EVERYONE, 5, False), R @ cosine, np.zeros_like(seen))
    in_order_of(ItemKNN(N_ITEMS).fit(data).recommend(EVERYONE, 5), R @ cosine, seen)
    nearest = np.zeros_like(cosine)
    for item in range(N_ITEMS):
        kept = np.argsort(-np.round(cosine[:, item], 12), kind="stable")[:3]
        nearest[kept, item] = cosine[kept, item]
    in_order_of(ItemKNN(3).fit(data).recommend(EVERYONE, 5), R @ nearest, seen)


def test_recent_events_count_more_the_shorter_the_half_life():
    # after 10 days, 4 old events of item 2 against 2 new ones of item 1: level at a half-life of 10
    events = [(user, 2, 0, 1.0) for user in range(4)] + [(4, 1, 10, 1.0), (5, 1, 10, 1.0)]
    for half_life, first in (1.0, 1), (9.9, 1), (10.0, 1), (10.1, 2), (np.inf, 2):
        assert RecentlyPopular(half_life).fit(world(events)).recommend(EVERYONE[-1:], 1) == [[first]]


def test_the_half_life_is_chosen_on_the_newest_events():
    fashion = [(user % 12, day // 2, day, 1.0) for day in range(20) for user in range(12)]
    fitted = RecentlyPopular().fit(world([(user, item, min(day, 20), 1.0) for user, item, day, _ in fashion]))
    assert fitted.chosen_half_life_days in baselines.HALF_LIVES
    timeless = RecentlyPopular().fit(world([(user, item, 0, 1.0) for user, item, _, _ in fashion]))
    assert timeless.chosen_half_life_days == np.inf
    assert timeless.settings == {"half_life_days": None}  # JSON knows no infinity


@pytest.mark.parametrize(("bought", "chosen"), [(1, 1.0), (0, 3.0)])
def test_the_half_life_fits_what_is_bought_next(bought: int, chosen: float):
    # item 0 has 120 old events, item 1 has 20 recent ones: only a half-life under three days puts item 1 first
    old = [(user, 0, day, 1.0) for day in range(15) for user in range(8)]
    recent = [(8, 1, 16, 1.0), (9, 1, 16, 1.0)] * 10
    following = [(10, bought, 20, 1.0), (11, bought, 20, 1.0)] * 8
    assert RecentlyPopular().fit(world(old + recent + following)).chosen_half_life_days == chosen


def test_equal_decayed_counts_are_equal_to_the_last_bit():
    rng = np.random.default_rng(0)
    events = [(0, item, day, 1.0) for item in range(N_ITEMS) for day in rng.permutation(21)]
    lists = RecentlyPopular(7.0).fit(world(events)).recommend(EVERYONE[-1:], N_ITEMS)
    assert lists[0].tolist() == list(range(N_ITEMS))


@pytest.mark.parametrize(
    "setting", [lambda: RecentlyPopular(0.0), lambda: RecentlyPopular(np.nan), lambda: ItemKNN(0), lambda: GFCF(0)]
)
def test_settings_are_checked(setting):
    with pytest.raises(InputError):
        setting()
