"""Cold items: the closed forms against sums written out, who is cold and until when, and the reserved places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.config import ColdSettings, Config
from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval.cold_items import TEXT, ColdItems, ColdModel, interleaved, kernel, standardised
from graphrec.retrieval.retriever import Retriever

DAY = 86_400_000_000
NOTHING = np.zeros(0, np.int32)
WARM, COLD = 30, 10


def texts_of(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Texts of two groups, float32 (n, 6), length one and exact in half precision, as the retriever keeps them."""
    towards = np.where(groups == 0, 1.0, -1.0)[:, None] * np.eye(6)[0]
    texts = unit_rows((towards + 0.4 * rng.standard_normal((len(groups), 6))).astype(np.float32))
    return texts.astype(np.float16).astype(np.float32)


def world(seed: int = 0, settings: ColdSettings | None = None) -> tuple[ColdItems, Retriever, np.ndarray]:
    """20 users of two tastes and 30 warm items; 10 more items have nothing but a text. Even numbers are one group."""
    rng = np.random.default_rng(seed)
    retriever = Retriever(Config(), None)
    texts = texts_of(np.arange(WARM + COLD) % 2, rng)
    retriever.add_items(np.zeros((WARM + COLD, 0), np.float32), texts)
    users, items = np.nonzero(rng.random((20, WARM)) < 0.6)
    mine = users % 2 == items % 2
    users, items = users[mine].astype(np.int32), items[mine].astype(np.int32)
    retriever.load(users, items, np.ones(len(users)), np.arange(1, len(users) + 1) * DAY)
    vectors = np.zeros((WARM + COLD, 3), np.float32)
    vectors[:WARM] = unit_rows(rng.standard_normal((WARM, 3), np.float32))
    weights = rng.standard_normal((WARM, 3), np.float32)
    model = ColdModel(texts[:WARM], weights, vectors, bend=0.5, power=4.0, blend=1.5, strong=True)
    return ColdItems(model, retriever, settings or ColdSettings(leave_after=2)), retriever, texts


@given(st.integers(0, 1000), st.integers(0, 19))
def test_scores_are_the_sums_of_the_formula(seed: int, user: int) -> None:
    cold, retriever, texts = world(seed)
    model, items = cold.model, retriever.speaking(user)[0]
    numbers = np.arange(WARM, WARM + COLD, dtype=np.int32)
    got = cold.scores(user, numbers)
    if not len(items):
        assert not got.any()
        return
    near, vector = np.zeros(COLD), np.zeros(COLD)

    def a(one: int, other: int) -> float:
        return max(float(texts[one] @ texts[other]), 0.0) ** 4

    profile = model.vectors[items].sum(axis=0)
    for place, number in enumerate(numbers):
        hub = sum(a(number, landmark) for landmark in range(WARM)) + 1e-6
        for item in items:
            near[place] += a(item, number) / np.sqrt(hub * (sum(a(item, other) for other in range(WARM)) + 1e-6))
        cosines = texts[number] @ texts[:WARM].T
        expected = (0.5 * cosines + 0.5 * np.maximum(cosines, 0) ** 2) @ model.weights
        vector[place] = profile @ expected / np.linalg.norm(profile) / np.linalg.norm(expected)
    wanted = (near - near.mean()) / near.std() + 1.5 * (vector - vector.mean()) / vector.std()
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_the_text_tells_whom_an_item_suits() -> None:
    cold, _, _ = world()
    cold.model = replace(cold.model, blend=0.0)
    for user in range(20):
        numbers = cold.numbers(NOTHING)
        best = numbers[np.argsort(-cold.scores(user, numbers))]
        assert set(best[: COLD // 2] % 2) == {user % 2}


def test_an_item_of_no_vector_speaks_by_its_text() -> None:
    cold, retriever, _ = world()
    newcomer = 20
    retriever.load(np.array([newcomer], np.int32), np.array([WARM], np.int32), np.ones(1), np.array([999 * DAY]))
    assert not cold.model.vectors[WARM].any()
    numbers = cold.numbers(np.array([WARM], np.int32))
    by_vector = cold.model.expected(retriever.texts(np.array([WARM]))) @ cold.model.expected(retriever.texts(numbers)).T
    cold.model = replace(cold.model, blend=1e6)
    np.testing.assert_allclose(cold.scores(newcomer, numbers) / 1e6, standardised(by_vector)[0], atol=1e-3)


def test_an_item_is_cold_until_enough_users_have_touched_it() -> None:
    cold, retriever, _ = world(settings=ColdSettings(leave_after=2))
    assert WARM in cold.numbers(NOTHING)
    assert cold.is_cold(WARM)
    one = np.array([WARM], np.int32)
    assert WARM not in cold.numbers(one)
    for _ in range(3):  # the same user again and again is one user
        retriever.apply(np.array([3], np.int32), one, np.ones(1), np.array([900 * DAY]))
        assert cold.is_cold(WARM)
    retriever.apply(np.array([4], np.int32), one, np.ones(1), np.array([901 * DAY]))
    assert not cold.is_cold(WARM)
    assert WARM not in cold.numbers(NOTHING)


def test_items_without_a_text_are_never_put_in() -> None:
    cold, retriever, texts = world()
    retriever.add_items(np.zeros((2, 0), np.float32), np.vstack([np.zeros((1, 6)), texts[:1]]).astype(np.float32))
    assert WARM + COLD not in cold.numbers(NOTHING)
    assert WARM + COLD + 1 in cold.numbers(NOTHING)  # the moment it is added
    assert cold.scores(0, np.array([WARM + COLD + 1], np.int32)).shape == (1,)


def test_a_changed_text_is_read_again() -> None:
    cold, retriever, texts = world()
    number = np.array([WARM], np.int32)
    before = cold.scores(0, cold.numbers(NOTHING))
    retriever._texts[WARM] = texts[1]
    cold.forget(number)
    after = cold.scores(0, cold.numbers(NOTHING))
    fresh = ColdItems(cold.model, retriever, ColdSettings(leave_after=2))
    np.testing.assert_allclose(after, fresh.scores(0, fresh.numbers(NOTHING)), atol=1e-6)
    assert np.abs(after - before).max() > 0.01


@given(st.integers(0, 25), st.integers(0, 4), st.sets(st.integers(1, 30), max_size=5), st.integers(1, 25))
def test_cold_items_stand_in_their_places(listed: int, cold: int, places: set[int], k: int) -> None:
    order = interleaved(listed, cold, frozenset(places), k)
    own, put = order[order < listed], order[order >= listed]
    assert len(order) == min(k, listed + cold)
    assert own.tolist() == list(range(len(own)))
    assert put.tolist() == list(range(listed, listed + len(put)))
    if len(own) < listed:  # the list did not end early
        reserved = [place for place in sorted(places) if place <= k][:cold]
        assert (np.flatnonzero(order >= listed) + 1).tolist() == reserved


def listed(cold: ColdItems, user: int, k: int, exclude: np.ndarray = NOTHING) -> tuple[np.ndarray, ...]:
    own = np.arange(20, dtype=np.int32)[:k]
    return cold.into_places(user, exclude, k, own, np.ones(len(own), np.uint8), np.linspace(2, 1, len(own)))


def test_a_list_names_everything_once_and_nothing_excluded() -> None:
    cold, _, _ = world(settings=ColdSettings(slots=(2, 5), leave_after=2))
    numbers, sources, scores = listed(cold, 0, 10)
    assert (np.flatnonzero(sources == TEXT) + 1).tolist() == [2, 5]
    assert numbers[sources != TEXT].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert len(set(numbers)) == 10
    assert (np.diff(scores) <= 0).all()
    assert scores[1] == scores[0]
    hidden = numbers[sources == TEXT]
    again, sources, _ = listed(cold, 0, 10, hidden)
    assert not set(hidden) & set(again)
    assert (sources == TEXT).sum() == 2
    assert (listed(cold, 0, 4)[1] == TEXT).sum() == 1  # fewer for a shorter list
    own = cold.numbers(NOTHING)[:5]
    numbers, sources, _ = cold.into_places(0, NOTHING, 5, own, np.ones(5, np.uint8), np.ones(5))
    assert len(set(numbers)) == 5


def test_what_the_user_has_is_not_put_in_even_if_seen_items_may_be_shown() -> None:
    cold, retriever, _ = world(settings=ColdSettings(slots=(1, 2, 3, 4, 5), leave_after=5))
    retriever.apply(np.array([0], np.int32), np.array([WARM], np.int32), np.ones(1), np.array([900 * DAY]))
    assert WARM in cold.numbers(NOTHING)
    assert WARM not in listed(cold, 0, 20)[0]


@pytest.mark.parametrize(
    ("slots", "auto", "strong", "places"),
    [((), True, True, 0), ((3,), True, True, 1), ((3,), True, False, 0), ((3,), False, False, 1)],
)
def test_places_are_reserved_where_texts_are_strong(
    slots: tuple[int, ...], auto: bool, strong: bool, places: int
) -> None:
    cold, retriever, _ = world()
    settings = ColdSettings(slots=slots, auto=auto, leave_after=2)
    cold = ColdItems(replace(cold.model, strong=strong), retriever, settings)
    assert (listed(cold, 0, 10)[1] == TEXT).sum() == places


def test_nobody_without_a_history_gets_them() -> None:
    cold, _, _ = world(settings=ColdSettings(slots=(1,), leave_after=2))
    assert listed(cold, 77, 5)[0].tolist() == [0, 1, 2, 3, 4]


def test_the_reason_is_the_item_of_the_nearest_text() -> None:
    cold, retriever, texts = world()
    items = retriever.speaking(0)[0]
    retriever._texts[WARM] = texts[items[2]]
    assert cold.nearest(0, WARM) == items[2]
    assert cold.nearest(77, WARM) is None


def test_a_model_is_read_as_it_was_written() -> None:
    model = world()[0].model
    read = ColdModel.from_arrays(model.arrays(), model.vectors)
    assert (read.bend, read.power, read.blend, read.strong) == (0.5, 4.0, 1.5, True)
    np.testing.assert_array_equal(read.weights, model.weights)
    assert not replace(model, strong=False).from_arrays(replace(model, strong=False).arrays(), model.vectors).strong


def test_the_kernel_goes_from_linear_to_local() -> None:
    cosines = np.array([[-0.5, 0.0, 0.5]], np.float32)
    assert kernel(cosines, 0.0).tolist() == [[-0.5, 0.0, 0.5]]
    assert kernel(cosines, 1.0).tolist() == [[0.0, 0.0, 0.25]]
    assert kernel(cosines, 0.5).tolist() == [[-0.25, 0.0, 0.375]]


def test_cold_items_that_are_listed_anyway_leave_fewer_places() -> None:
    cold, _, _ = world(settings=ColdSettings(slots=(2, 5), leave_after=2))
    for already, put in ((0, 2), (1, 1), (3, 0)):
        own = np.append(cold.numbers(NOTHING)[:already], np.arange(10)).astype(np.int32)
        sources = cold.into_places(0, NOTHING, 10, own, np.ones(len(own), np.uint8), np.ones(len(own)))[1]
        assert (sources == TEXT).sum() == put
