from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.errors import InputError
from graphrec.evaluation.metrics import (
    PER_USER,
    ItemSets,
    bootstrap_interval,
    coverage,
    exposure,
    gini,
    novelty,
    score,
)


def sets(*rows: list[int]) -> ItemSets:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int32)
    return ItemSets.from_pairs(users, np.array([item for row in rows for item in row], np.int32), len(rows))


def lists(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int32)


def random_world(seed: int, n: int = 12, k: int = 6, n_items: int = 15) -> tuple[np.ndarray, ItemSets]:
    rng = np.random.default_rng(seed)
    recommended = np.array([rng.permutation(n_items)[:k] for _ in range(n)], np.int32)
    for row, length in enumerate(rng.integers(0, k + 1, n)):
        recommended[row, length:] = -1
    wanted = [rng.permutation(n_items)[: rng.integers(1, n_items)].tolist() for _ in range(n)]
    return recommended, sets(*wanted)


def test_a_case_computed_by_hand():
    # user 0 wants {1, 2, 7} and is shown 9, 2, 1: hits at ranks 2 and 3; user 1 wants {3} and is shown nothing of it
    scores = score(lists([9, 2, 1, 8], [4, 5, -1, -1]), sets([1, 2, 7], [3]), k=4)
    np.testing.assert_allclose(scores.recall, [2 / 3, 0])
    gain = 1 / np.log2(3) + 1 / np.log2(4)
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose(scores.ndcg, [gain / ideal, 0])
    np.testing.assert_allclose(scores.hit_rate, [1, 0])
    np.testing.assert_allclose(scores.mrr, [1 / 2, 0])
    np.testing.assert_allclose(scores.precision, [2 / 4, 0])


def test_lists_are_cut_at_k_and_the_ideal_too():
    scores = score(lists([1, 2, 3]), sets([1, 3]), k=1)
    assert scores.matrix().tolist() == [[0.5, 1.0, 1.0, 1.0, 1.0]]


def test_k_beyond_the_list_counts_as_misses():
    scores = score(lists([1, 2]), sets([1, 2, 3]), k=4)
    assert scores.precision.tolist() == [0.5]
    assert scores.ndcg[0] == pytest.approx((1 + 1 / np.log2(3)) / (1 + 1 / np.log2(3) + 0.5))


@pytest.mark.filterwarnings("ignore")  # ranx and what it imports warn
def test_agrees_with_ranx():
    import ranx

    recommended, relevant = random_world(0, n=300, k=8)
    wanted = np.split(relevant.items, relevant.indptr[1:-1])
    qrels = {f"u{user:03}": dict.fromkeys(map(str, items), 1) for user, items in enumerate(wanted)}
    run = {
        f"u{user:03}": {str(item): float(9 - rank) for rank, item in enumerate(row) if item >= 0} or {"none": 1.0}
        for user, row in enumerate(recommended)
    }
    for k in (1, 5, 8, 10):
        names = [f"{name}@{k}" for name in PER_USER]
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), names, return_mean=False)
        ours = score(recommended, relevant, k).matrix()
        np.testing.assert_allclose(ours, np.column_stack([theirs[name] for name in names]), atol=1e-12)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 9))
def test_metrics_keep_their_bounds_and_relations(seed: int, k: int):
    recommended, relevant = random_world(seed)
    scores = score(recommended, relevant, k)
    matrix = scores.matrix()
    assert ((matrix >= 0) & (matrix <= 1 + 1e-12)).all()
    np.testing.assert_allclose(scores.recall * relevant.sizes, scores.precision * k)
    np.testing.assert_array_equal(scores.hit_rate, (scores.recall > 0).astype(float))
    assert (scores.mrr <= scores.hit_rate).all()


@given(seed=st.integers(0, 10_000))
def test_a_perfect_list_has_ndcg_one(seed: int):
    _, relevant = random_world(seed)
    perfect = np.full((len(relevant), 6), -1, np.int32)
    for row in range(len(relevant)):
        wanted = relevant.items[relevant.indptr[row] : relevant.indptr[row + 1]][:6]
        perfect[row, : len(wanted)] = wanted
    np.testing.assert_allclose(score(perfect, relevant, 6).ndcg, 1.0)


def test_users_do_not_mix():
    recommended, relevant = random_world(3)
    together = score(recommended, relevant, 6).matrix()
    for row in range(len(relevant)):
        own = relevant.items[relevant.indptr[row] : relevant.indptr[row + 1]].tolist()
        np.testing.assert_array_equal(score(recommended[[row]], sets(own), 6).matrix()[0], together[row])


@pytest.mark.parametrize(
    ("recommended", "relevant", "k", "problem"),
    [
        (lists([1, 1]), sets([1]), 2, "same item twice"),
        (lists([1, 2]), sets([1], [2]), 2, "do not fit"),
        (lists([1], [2]), sets([1], []), 1, "without a relevant item"),
        (lists([1]), sets([1]), 0, "length"),
    ],
)
def test_what_cannot_be_scored_is_refused(recommended, relevant, k, problem):
    with pytest.raises(InputError, match=problem):
        score(recommended, relevant, k)


def test_no_users_and_empty_lists():
    assert score(np.empty((0, 3), np.int32), sets(), 3).matrix().shape == (0, 5)
    assert score(np.full((1, 3), -1, np.int32), sets([4]), 3).matrix().tolist() == [[0.0] * 5]
    assert score(np.empty((1, 0), np.int32), sets([4]), 3).matrix().tolist() == [[0.0] * 5]


@pytest.mark.parametrize(
    ("indptr", "items"),
    [([0, 2], [1, 1]), ([0, 2], [2, 1]), ([0, 1], [-1]), ([0, 3], [1, 2]), ([0, 2, 1], [1]), ([], []), ([1, 1], [0])],
)
def test_item_sets_refuse_what_is_not_a_set(indptr, items):
    with pytest.raises(InputError):
        ItemSets(np.array(indptr, np.int64), np.array(items, np.int32))


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)))


def item_sets_of(pairs: list[tuple[int, int]]) -> ItemSets:
    columns = np.array(pairs, np.int32).reshape(-1, 2)
    return ItemSets.from_pairs(columns[:, 0], columns[:, 1], 5)


def python_sets(found: ItemSets) -> list[set[int]]:
    return [set(found.items[a:b].tolist()) for a, b in zip(found.indptr, found.indptr[1:], strict=False)]


@given(left=PAIRS, right=PAIRS)
def test_item_sets_behave_like_sets(left, right):
    a, b = item_sets_of(left), item_sets_of(right)
    expected = [{i for u, i in left if u == user} for user in range(5)]
    without = [{i for u, i in left if u == user} - {i for u, i in right if u == user} for user in range(5)]
    assert python_sets(a) == expected
    assert python_sets(a.minus(b)) == without
    rows, kept = a.nonempty()
    assert rows.tolist() == [user for user in range(5) if expected[user]]
    assert python_sets(kept) == [row for row in expected if row]


def test_list_level_metrics_by_hand():
    shown = lists([0, 1], [0, -1])
    assert exposure(shown, 4).tolist() == [2, 1, 0, 0]
    assert coverage(shown, 4) == 0.5
    # smoothed counts 4, 2, 1, 1: shares 1/2, 1/4; the items shown are 0, 1, 0
    assert novelty(shown, np.array([3, 1, 0, 0])) == pytest.approx((1 + 2 + 1) / 3)
    # Lorenz: half the mean absolute difference over the mean of (2, 1, 0, 0)
    counts = np.array([2, 1, 0, 0])
    assert gini(shown, 4) == pytest.approx(np.abs(counts[:, None] - counts).mean() / (2 * counts.mean()))
    assert gini(lists([0, 1], [2, 3]), 4) == 0.0
    assert (gini(lists([-1]), 4), novelty(lists([-1]), np.ones(4)), coverage(lists([-1]), 4)) == (0.0, 0.0, 0.0)


def test_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal([1.0, 5.0], [1.0, 0.1], (400, 2))
    low, high = bootstrap_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std(axis=0) / np.sqrt(400)
    np.testing.assert_allclose(high - low, 2 * half, rtol=0.12)
    np.testing.assert_allclose((low + high) / 2, values.mean(axis=0), atol=half.max() / 5)
    again = bootstrap_interval(values, np.random.default_rng(1))
    np.testing.assert_array_equal((low, high), again)
    narrow = bootstrap_interval(values, np.random.default_rng(1), confidence=0.5)
    assert ((narrow[0] > low) & (narrow[1] < high)).all()


@settings(max_examples=20)
@given(value=st.floats(0, 1), n=st.integers(1, 20))
def test_bootstrap_of_a_constant_is_the_constant(value: float, n: int):
    low, high = bootstrap_interval(np.full((n, 1), value), np.random.default_rng(0), resamples=20)
    np.testing.assert_allclose([low[0], high[0]], value, atol=1e-12)
