from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.config import Config, GraphSettings, RetrievalSettings
from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.node_features import FeatureMap, unit_rows
from graphrec.embedding.spectral import ITEM_EXPONENT, USER_EXPONENT
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.retrieval.retriever import DAY, FILTER, POPULAR, POPULARITY_FLOOR, SAGE, TASTE, Candidates, Retriever

INPUTS, HIDDEN, OUTPUTS = 5, 8, 4
N_USERS, N_ITEMS = 6, 12
NOTHING = np.zeros(0, np.int32)

Event = tuple[int, int, float, float]  # user, item, weight, days


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


BASIS = random(N_ITEMS - 2, 3), np.array([1, 0.6, 0.3], np.float32)  # the last two items came later


def new_model() -> EmbeddingModel:
    first, second, bias1, bias2 = (HIDDEN, INPUTS), (OUTPUTS, HIDDEN), (HIDDEN,), (OUTPUTS,)
    shapes = [first, bias1, first, bias1, second, second, bias2, second, second, bias2]
    sage = SageWeights(*(random(*shape, seed=seed) for seed, shape in enumerate(shapes)))
    features = FeatureMap(*(np.zeros(shape, np.float32) for shape in ((0,), (0, 0), (0, INPUTS))))
    return EmbeddingModel(features, sage, scale=7.0, popularity_weight=0.6)


def new_retriever(n_items: int = N_ITEMS, *, trained: bool = True, **settings: float) -> Retriever:
    retrieval = RetrievalSettings(**settings)  # type: ignore[arg-type]
    config = Config(graph=GraphSettings(half_life_days=2), retrieval=retrieval)
    retriever = Retriever(config, new_model() if trained else None, basis=BASIS)
    retriever.add_items(features(n_items))
    return retriever


def features(n_items: int) -> NDArray[np.float32]:
    return unit_rows(random(n_items, INPUTS))


def columns(log: list[Event]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    users, items, weights, days = (np.array([event[column] for event in log]) for column in range(4))
    return users.astype(np.int32), items.astype(np.int32), weights.astype(np.float64), (days * DAY).astype(np.int64)


def check_rows(retriever: Retriever) -> None:
    """The index holds what it is said to hold: unit vectors, and the popularity at the clock's time."""
    assert retriever.index is not None
    assert retriever.propagation is not None
    rows = retriever.index.rows
    np.testing.assert_allclose(rows[:, :-1], unit_rows(retriever.propagation.item_vectors), atol=1e-6)
    np.testing.assert_allclose(rows[:, -1], 0.6 * retriever.recent.log_scores(POPULARITY_FLOOR), atol=1e-6)


def same(one: Candidates, other: Candidates) -> None:
    first, second = np.argsort(one.numbers), np.argsort(other.numbers)
    for name in ("numbers", "sources"):
        np.testing.assert_array_equal(getattr(one, name)[first], getattr(other, name)[second])
    assert one.norm == pytest.approx(other.norm, abs=1e-5)
    for name in ("cosine", "walk", "shared", "filtered", "score", "taste"):
        np.testing.assert_allclose(getattr(one, name)[first], getattr(other, name)[second], atol=1e-5 * 7)


def offered_by_filter(
    numbers: NDArray[np.int32], walk: NDArray[np.float32], filtered: NDArray[np.float32], pool: int
) -> NDArray[np.int32]:
    """What the walk reaches best, in the order of the filter."""
    walked = np.argsort(-walk, kind="stable")[: min(pool, np.count_nonzero(walk))]
    return numbers[walked[np.argsort(-filtered[walked], kind="stable")]]


logs = st.lists(
    st.tuples(
        st.integers(0, N_USERS - 1),
        st.integers(0, N_ITEMS - 1),
        st.sampled_from([1.0, 3.0, 5.0, -5.0, 0.0]),
        st.floats(1, 30) | st.sampled_from([100.0, 400.0]),
    ),
    min_size=1,
    max_size=30,
)


@given(log=logs, size=st.integers(1, 10))
def test_one_by_one_equals_all_at_once(log: list[Event], size: int) -> None:
    followed, loaded, late = new_retriever(), new_retriever(), new_retriever(3)
    for start in range(0, len(log), size):
        followed.apply(*columns(log[start : start + size]))
        check_rows(followed)
    loaded.load(*columns(log))
    check_rows(loaded)
    for event in log:  # its items come when they are named
        if event[1] >= late.n_items:
            late.add_items(features(N_ITEMS)[late.n_items : event[1] + 1])
            check_rows(late)
        late.apply(*columns([event]))
    late.add_items(features(N_ITEMS)[late.n_items :])
    check_rows(late)
    for retriever in (followed, late):
        assert retriever.propagation is not None
        assert loaded.propagation is not None
        np.testing.assert_allclose(retriever.propagation.item_vectors, loaded.propagation.item_vectors, atol=1e-5)
        for user in range(N_USERS + 1):
            same(retriever.candidates(user, NOTHING), loaded.candidates(user, NOTHING))
            np.testing.assert_array_equal(retriever.seen(user), loaded.seen(user))


@pytest.fixture
def retriever() -> Retriever:
    """Users 0, 1 and 2 share items; 3 has one item alone; 4 has returned everything; items 8 to 11 have no events."""
    retriever = new_retriever()
    log = [(0, 0, 1, 1), (0, 1, 5, 2), (1, 1, 1, 2), (1, 2, 3, 3), (1, 3, 1, 3), (2, 0, 1, 3), (2, 4, 3, 4)]
    log += [(3, 5, 1, 4), (4, 6, 5, 4), (4, 6, -5, 5), (2, 7, 1, 5), (1, 7, 1, 6)]
    retriever.apply(*columns([(user, item, float(weight), float(days)) for user, item, weight, days in log]))
    return retriever


def test_the_score_is_the_one_that_was_trained(retriever: Retriever) -> None:
    assert retriever.propagation is not None
    user = unit_rows(retriever.propagation.user_vector(retriever.graph, 0)[None])[0]
    cosines = unit_rows(retriever.propagation.item_vectors) @ user
    scores = 7.0 * cosines + 0.6 * retriever.recent.log_scores(POPULARITY_FLOOR)
    found = retriever.candidates(0, NOTHING)
    assert sorted(found.numbers.tolist()) == list(range(N_ITEMS))
    np.testing.assert_allclose(found.score, scores[found.numbers], atol=1e-5)
    np.testing.assert_allclose(found.cosine, cosines[found.numbers], atol=1e-5)
    assert (np.diff(found.score) <= 0).all()
    assert found.user == 0
    floats = (found.cosine, found.walk, found.shared, found.filtered, found.score, found.taste)
    assert {array.dtype for array in floats} == {np.dtype(np.float32)}


def test_each_source_offers_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphrec.retrieval.retriever._LEAST_POOL", 1)
    settings = {"sage": 3, "filter": 2, "popular": 2, "taste": 1}
    retriever = new_retriever(**settings)
    rng = np.random.default_rng(0)
    log = [(int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS)), 1.0, float(rng.uniform(1, 9))) for _ in range(40)]
    retriever.apply(*columns(log))
    unlimited = new_retriever()
    unlimited.apply(*columns(log))
    for user in range(N_USERS):
        exclude = retriever.seen(user)
        all_of_them, found = unlimited.candidates(user, exclude), retriever.candidates(user, exclude)
        assert not set(exclude.tolist()) & set(all_of_them.numbers.tolist())
        assert len(all_of_them.numbers) == N_ITEMS - len(exclude)
        by_number = np.argsort(all_of_them.numbers)  # which decides between equals
        numbers, score, walk, filtered, taste = (
            getattr(all_of_them, name)[by_number] for name in ("numbers", "score", "walk", "filtered", "taste")
        )
        expected = {
            SAGE: numbers[np.argsort(-score, kind="stable")],
            FILTER: offered_by_filter(numbers, walk, filtered, 2 * settings["filter"]),
            TASTE: numbers[np.argsort(-taste, kind="stable")][: np.count_nonzero(taste)],
            POPULAR: numbers[np.argsort(-retriever.recent.counts()[numbers], kind="stable")],
        }
        for source, limit in zip((SAGE, FILTER, POPULAR, TASTE), settings.values(), strict=True):
            offered = set(found.numbers[(found.sources & source) > 0].tolist())
            assert offered == set(expected[source][:limit].tolist())
        assert (found.sources > 0).all()


def busy(**settings: float) -> Retriever:
    """Forty events of six users."""
    retriever = new_retriever(**settings)
    rng = np.random.default_rng(0)
    log = [(int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS)), 1.0, float(rng.uniform(1, 9))) for _ in range(40)]
    retriever.apply(*columns(log))
    return retriever


@pytest.mark.parametrize("k", [1, 3, 2 * N_ITEMS])
def test_each_source_alone_is_what_it_offers_to_the_union(k: int) -> None:
    retriever, limited = busy(), busy(sage=k, filter=k)
    for user in range(N_USERS):
        exclude = retriever.seen(user)
        every, found = retriever.candidates(user, exclude), limited.candidates(user, exclude)
        for alone, source, scores in (
            (retriever.nearest(user, k, exclude), SAGE, every.score),
            (retriever.filtered(user, k, exclude), FILTER, every.filtered),
        ):
            assert alone.dtype == np.int32
            assert len(set(alone.tolist())) == len(alone) <= k
            assert set(alone.tolist()) == set(found.numbers[(found.sources & source) > 0].tolist())
            score_of = dict(zip(every.numbers.tolist(), scores.tolist(), strict=True))
            assert (np.diff([score_of[item] for item in alone.tolist()]) <= 1e-5).all()  # best first


def test_the_nearest_have_the_best_scores_that_were_trained() -> None:
    retriever = busy()
    assert retriever.propagation is not None
    for user in range(N_USERS):
        vector = unit_rows(retriever.propagation.user_vector(retriever.graph, user)[None])[0]
        cosines = unit_rows(retriever.propagation.item_vectors) @ vector
        scores = 7.0 * cosines + 0.6 * retriever.recent.log_scores(POPULARITY_FLOOR)
        exclude = retriever.seen(user)
        scores[exclude] = -np.inf
        expected = np.argsort(-scores, kind="stable")[: N_ITEMS - len(exclude)]
        assert retriever.nearest(user, 4, exclude).tolist() == expected[:4].tolist()
        assert retriever.nearest(user, 2 * N_ITEMS, exclude).tolist() == expected.tolist()
        assert sorted(retriever.nearest(user, N_ITEMS, NOTHING).tolist()) == list(range(N_ITEMS))


def test_the_filtered_have_the_best_scores_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every matrix of graph_filter's docstring, dense; then only what the walk reaches best is put in order."""
    retriever = busy()
    shape, (vectors, values) = retriever.filter.shape, BASIS
    vectors, values = np.vstack([vectors, np.zeros((2, 3))]), values.astype(np.float64)
    R = np.zeros((N_USERS, N_ITEMS))
    for user in range(N_USERS):
        R[user, retriever.seen(user)] = 1
    users, items = np.maximum(R.sum(axis=1), 1), np.maximum(R.sum(axis=0), 1)
    f = (values / values[0]) ** 2
    response = 0.5 - np.sign(1 - 2 * f) * np.abs(1 - 2 * f) ** shape.slope / 2 + shape.lift - shape.slope * f
    for user in range(N_USERS):
        exclude, own = retriever.seen(user), np.zeros(N_ITEMS)
        own[retriever.speaking(user)[0]] = retriever.speaking(user)[1]
        others = np.delete(np.arange(N_USERS), user)  # a user is no witness for itself
        start = items**-shape.seed_exponent * own
        walk = items**-shape.target_exponent * (
            R[others].T @ (users[others] ** (-2 * USER_EXPONENT) * (R[others] @ start))
        )
        dense = vectors @ (response * (vectors.T @ (items ** (ITEM_EXPONENT - shape.seed_exponent) * own)))
        scores = shape.slope / values[0] ** 2 * walk + items ** (ITEM_EXPONENT - shape.target_exponent) * dense
        reached = np.setdiff1d(np.flatnonzero(walk > 1e-12), exclude)
        expected = reached[np.argsort(-scores[reached], kind="stable")].tolist()
        assert len(expected) > 3
        assert retriever.filtered(user, 2 * N_ITEMS, exclude).tolist() == expected
        assert retriever.filtered(user, 2, exclude).tolist() == expected[:2]
        with monkeypatch.context() as small:
            small.setattr("graphrec.retrieval.retriever._LEAST_POOL", 1)
            pool = set(reached[np.argsort(-walk[reached], kind="stable")][:2].tolist())
            assert retriever.filtered(user, 1, exclude).tolist() == [item for item in expected if item in pool][:1]


def test_a_shared_walk_and_the_norm_of_the_coordinates_are_those_of_the_formula() -> None:
    """A log without repeats or returns, so that R is all there is; the last two items have no row in the basis."""
    retriever = busy()
    R = np.zeros((N_USERS, N_ITEMS))
    for user in range(N_USERS):
        R[user, retriever.seen(user)] = 1
    users, items = np.maximum(R.sum(axis=1), 1), np.maximum(R.sum(axis=0), 1)
    shape, vectors = retriever.filter.shape, np.vstack([BASIS[0], np.zeros((2, 3))])
    for user in range(N_USERS):
        own, others = np.zeros(N_ITEMS), np.delete(np.arange(N_USERS), user)
        own[retriever.speaking(user)[0]] = retriever.speaking(user)[1]
        reached = R[others] @ (items**-shape.seed_exponent * own)
        shared = items**-shape.target_exponent * (R[others].T @ (reached / users[others]))
        found = retriever.candidates(user, retriever.seen(user))
        assert 0 < len(found.numbers) < N_ITEMS
        np.testing.assert_allclose(found.shared, shared[found.numbers], rtol=1e-5)
        assert (found.walk >= found.shared).all()
        coordinates = vectors.T @ (items ** (ITEM_EXPONENT - shape.seed_exponent) * own)
        assert found.norm == pytest.approx(np.linalg.norm(coordinates), rel=1e-5)


@pytest.mark.parametrize("user", [4, N_USERS, 10**6])
def test_without_a_history_each_source_alone_says_what_is_popular(retriever: Retriever, user: int) -> None:
    exclude = np.array([7], np.int32)
    for alone in (retriever.nearest, retriever.filtered):
        assert alone(user, 3, exclude).tolist() == retriever.popular(3, exclude).tolist()
        assert 7 not in alone(user, 99, exclude).tolist()


def test_without_a_model_the_nearest_are_the_popular_and_the_filter_still_works() -> None:
    retriever = new_retriever(trained=False)
    retriever.load(*columns([(0, 0, 1.0, 1.0), (1, 0, 1.0, 1.0), (1, 1, 1.0, 2.0), (2, 5, 1.0, 9.0)]))
    assert retriever.nearest(0, 2, retriever.seen(0)).tolist() == [5, 1]
    assert retriever.filtered(0, 2, retriever.seen(0)).tolist() == [1]


def test_a_walk_leads_where_the_graph_leads(retriever: Retriever) -> None:
    found = retriever.candidates(0, retriever.seen(0))
    assert set(found.numbers[(found.sources & FILTER) > 0].tolist()) == {2, 3, 4, 7}
    assert (found.walk > 0).tolist() == ((found.sources & FILTER) > 0).tolist()


@pytest.mark.parametrize("user", [N_USERS, 10**6])
def test_an_unknown_user_gets_the_popular(retriever: Retriever, user: int) -> None:
    assert retriever.query(user) is None
    assert not retriever.has_history(user)
    assert retriever.seen(user).tolist() == []
    found = retriever.candidates(user, np.array([0], np.int32))
    assert set(found.sources.tolist()) == {POPULAR}
    assert sorted(found.numbers.tolist()) == [1, 2, 3, 4, 5, 6, 7]
    assert found.numbers[0] == 7
    assert not found.cosine.any()
    assert not found.walk.any()
    assert not found.shared.any()
    assert found.norm == 0
    np.testing.assert_allclose(found.score, retriever.recent.log_scores(POPULARITY_FLOOR, found.numbers), rtol=1e-5)


def test_a_returned_purchase_no_longer_speaks_for_the_user(retriever: Retriever) -> None:
    assert retriever.query(4) is None
    assert retriever.seen(4).tolist() == [6]
    assert set(retriever.candidates(4, NOTHING).sources.tolist()) == {POPULAR}
    retriever.apply(*columns([(4, 6, 1.0, 7.0)]))
    assert retriever.query(4) is not None
    returned = new_retriever()
    kept = new_retriever()
    kept.apply(*columns([(0, 0, 1.0, 1.0), (1, 1, 1.0, 1.0)]))
    returned.apply(*columns([(0, 0, 1.0, 1.0), (1, 1, 1.0, 1.0), (0, 1, 5.0, 1.0), (0, 1, -5.0, 1.0)]))
    np.testing.assert_allclose(returned.query(0), kept.query(0), atol=1e-5)
    assert not returned.candidates(0, NOTHING).walk.any()


def test_popular_items_had_an_event(retriever: Retriever) -> None:
    everything = retriever.popular(100, NOTHING).tolist()
    assert everything[0] == 7
    assert sorted(everything) == list(range(8))
    assert retriever.popular(3, np.array([7, everything[1]], np.int32)).tolist() == everything[2:5]


def test_an_event_without_weight_is_not_popular() -> None:
    retriever = new_retriever()
    retriever.apply(*columns([(0, 1, 1.0, 1.0), (0, 2, 0.0, 1.0), (0, 3, -5.0, 1.0)]))
    assert retriever.popular(9, NOTHING).tolist() == [1]


def test_popular_ties_go_by_number() -> None:
    retriever = new_retriever()
    retriever.apply(*columns([(0, item, 1.0, 1.0) for item in (5, 3, 9, 1)]))
    assert retriever.popular(3, NOTHING).tolist() == [1, 3, 5]


def test_the_walk_starts_from_the_newest_items_the_user_kept() -> None:
    # The neighbours 1, 2 and 3 lead from items 0, 1 and 2 to items 10, 11 and 9.
    shared = [(1, 0, 1, 1), (1, 10, 1, 1), (2, 1, 1, 1), (2, 11, 1, 1), (3, 2, 1, 1), (3, 9, 1, 1)]
    own = [(0, 0, 1, 2), (0, 1, 1, 3), (0, 2, 1, 4), (0, 2, -5, 5)]
    retriever = new_retriever(history=1)
    retriever.apply(*columns([(user, item, float(weight), float(days)) for user, item, weight, days in shared + own]))
    found = retriever.candidates(0, retriever.seen(0))
    assert found.numbers[found.walk > 0].tolist() == [11]
    assert found.walk.max() == pytest.approx(
        2 ** -FilterShape().seed_exponent * 2 ** (-2 * USER_EXPONENT)
    )  # of a user whose weights add up to one


def test_the_clock_moves_every_popularity(retriever: Retriever) -> None:
    assert retriever.index is not None
    before = retriever.index.rows.copy()
    retriever.apply(*columns([(3, 5, 1.0, 40.0)]))
    after = retriever.index.rows
    assert (after[:5, -1] < before[:5, -1]).all()
    np.testing.assert_array_equal(after[:5, :-1], before[:5, :-1])
    check_rows(retriever)


def test_an_event_rewrites_the_rows_it_touches_and_no_other(retriever: Retriever) -> None:
    assert retriever.index is not None
    marked = np.full((N_ITEMS, OUTPUTS), 99, np.float32)
    retriever.index.write(np.arange(N_ITEMS, dtype=np.int32), marked, np.full(N_ITEMS, 99, np.float32))
    retriever.apply(*columns([(3, 8, 1.0, 6.0)]))
    assert np.flatnonzero((retriever.index.rows != 99).any(axis=1)).tolist() == [5, 8]


def test_a_user_fades_away_with_the_last_event(retriever: Retriever) -> None:
    for day in (60.0, 120.0, 180.0, 240.0):
        assert retriever.has_history(3)
        retriever.apply(*columns([(0, 9, 1.0, day)]))
    assert not retriever.has_history(3)
    assert retriever.query(3) is None
    assert retriever.seen(3).tolist() == [5]


def test_other_features_move_the_index(retriever: Retriever) -> None:
    changed = features(N_ITEMS)
    changed[[1, 5]] = unit_rows(random(2, INPUTS, seed=9))
    retriever.change_items(np.array([1, 5], np.int32), changed[[1, 5]])
    check_rows(retriever)
    retriever.drain()
    check_rows(retriever)
    assert retriever.propagation is not None
    anew = Retriever(Config(graph=GraphSettings(half_life_days=2)), retriever.model, retriever.graph)
    anew.add_items(changed)
    anew.settle()
    assert anew.propagation is not None
    np.testing.assert_allclose(retriever.propagation.item_vectors, anew.propagation.item_vectors, atol=1e-5)


def test_a_snapshot_stands_in_for_its_part_of_the_log(retriever: Retriever) -> None:
    half_life = 2.0 * DAY
    graph = InteractionGraph.from_state(retriever.graph.state(), half_life)
    restored = Retriever(Config(graph=GraphSettings(half_life_days=2)), retriever.model, graph, basis=BASIS)
    restored.add_items(features(N_ITEMS))
    restored.recent.restore(retriever.recent.state())
    restored.lasting.restore(retriever.lasting.state())
    restored.settle()
    check_rows(restored)
    for each in (retriever, restored):
        each.apply(*columns([(3, 8, 1.0, 6.0), (6, 0, 1.0, 20.0)]))
    check_rows(restored)
    for user in range(N_USERS + 2):
        same(restored.candidates(user, NOTHING), retriever.candidates(user, NOTHING))


def test_without_a_model_graph_and_popularity_answer() -> None:
    retriever = new_retriever(trained=False)
    retriever.load(*columns([(0, 0, 1.0, 1.0), (1, 0, 1.0, 1.0), (1, 1, 1.0, 2.0)]))
    retriever.change_items(np.array([0], np.int32), features(1))
    assert retriever.query(0) is None
    assert retriever.index is None
    found = retriever.candidates(0, retriever.seen(0))
    assert found.numbers.tolist() == [1]
    assert found.sources.tolist() == [FILTER | POPULAR | TASTE]


@pytest.mark.parametrize("trained", [True, False])
def test_an_empty_state_has_nothing_to_offer(trained: bool) -> None:
    retriever = new_retriever(0, trained=trained)
    retriever.apply(*columns([]))
    retriever.settle()
    assert len(retriever.candidates(0, NOTHING).numbers) == 0
    assert retriever.popular(5, NOTHING).tolist() == []
    retriever.grow_users(1)
    assert len(retriever.candidates(0, NOTHING).numbers) == 0
