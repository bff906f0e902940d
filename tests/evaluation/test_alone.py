"""Parts of graphrec alone: the promises of a recommender, and that each part is the one that serves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.config import Config, FilterSettings
from graphrec.embedding.node_features import unit_rows
from graphrec.errors import NotTrainedError
from graphrec.evaluation import alone
from graphrec.evaluation.alone import FilterAlone, SageAlone
from graphrec.evaluation.protocols import global_time_split
from graphrec.evaluation.report import evaluate
from graphrec.events.interactions import Interactions
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.retrieval.retriever import POPULARITY_FLOOR
from graphrec.training.choosing import choose_filter, filter_of
from graphrec.training.time_cuts import decayed_edges, new_pairs
from graphrec.training.trainer import basis_of

N_USERS, N_ITEMS = 61, 40
STRANGER = 60  # without any event
EVERYBODY = np.arange(N_USERS, dtype=np.int32)
NOTHING = np.zeros(0, np.int32)
TEXTS = np.zeros((N_ITEMS, 0), np.float32)

CONFIG = Config(
    embedding={"spectral_dimensions": 8, "text_dimensions": 4, "hidden_dimensions": 16, "dimensions": 8},
    filter={"dimensions": 12},
    training={"steps": 5, "batch_size": 64, "slice_share": 0.2},
)
SHAPE = FilterShape(seed_exponent=0.4, target_exponent=0.3, slope=2.0, lift=0.1)
FIXED = CONFIG.model_copy(
    update={
        "filter": FilterSettings(dimensions=12, seed_exponent=0.4, target_exponent=0.3, slope=2.0, lift=0.1),
    }
)

Make = Callable[[], FilterAlone | SageAlone]

ALL: dict[str, Make] = {
    "filter, its shape given": lambda: FilterAlone(FIXED, silent),
    "filter, its shape chosen": lambda: FilterAlone(CONFIG, silent),
    "GraphSAGE": lambda: SageAlone(CONFIG, TEXTS, silent),
    "GraphSAGE, some users strangers": lambda: SageAlone(CONFIG, TEXTS, silent, EVERYBODY[:7]),
}
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture
def log(world) -> Interactions:
    """The world's events and a user without any, not in the order of time."""
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    items = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    whole = Interactions(users, items, times, np.ones(len(users)), N_USERS, N_ITEMS)
    return whole.take(np.random.default_rng(0).permutation(len(whole)))


def seen_by(log: Interactions, user: int) -> set[int]:
    return set(log.items[log.users == user].tolist())


@every
@pytest.mark.parametrize("k", [1, 6, 2 * N_ITEMS])
def test_lists_are_distinct_unseen_and_padded(make: Make, log: Interactions, k: int) -> None:
    lists = make().fit(log).recommend(EVERYBODY, k)
    assert (lists.shape, lists.dtype) == ((N_USERS, k), np.int32)
    for user, row in zip(EVERYBODY.tolist(), lists, strict=True):
        length = int((row >= 0).sum())
        assert (row[length:] == -1).all()
        assert len(set(row[:length].tolist())) == length
        assert set(row[:length].tolist()) <= set(range(N_ITEMS)) - seen_by(log, user)
        assert 0 < length <= N_ITEMS - len(seen_by(log, user))
        if k == 1:
            assert length == 1


@every
def test_seen_items_come_back_when_asked(make: Make, log: Interactions) -> None:
    lists = make().fit(log).recommend(EVERYBODY, N_ITEMS, False)
    for user in range(STRANGER):
        assert seen_by(log, user) <= set(lists[user].tolist())


@every
def test_fitting_leaves_the_unfitted_alone(make: Make, log: Interactions) -> None:
    part = make()
    with pytest.raises(NotTrainedError):
        part.recommend(EVERYBODY, 3)
    first = part.fit(log)
    lists = first.recommend(EVERYBODY, 6)
    second = part.fit(log.by_time().take(slice(400)))
    assert (second.recommend(EVERYBODY, 6) != lists).any()
    np.testing.assert_array_equal(first.recommend(EVERYBODY, 6), lists)
    np.testing.assert_array_equal(part.fit(log).recommend(EVERYBODY, 6), lists)
    with pytest.raises(NotTrainedError):
        part.recommend(EVERYBODY, 3)


@every
def test_an_answer_does_not_depend_on_who_else_is_asked(make: Make, log: Interactions) -> None:
    fitted = make().fit(log)
    some = np.array([7, 2, 2, STRANGER], np.int32)
    np.testing.assert_array_equal(fitted.recommend(some, 6), fitted.recommend(EVERYBODY, 6)[some])
    assert fitted.recommend(NOTHING, 6).shape == (0, 6)


@every
def test_a_user_without_history_gets_what_is_popular(make: Make, log: Interactions) -> None:
    fitted = make().fit(log)
    assert fitted._retriever is not None
    expected = fitted._retriever.popular(6, NOTHING)
    np.testing.assert_array_equal(fitted.recommend(EVERYBODY[[STRANGER]], 6)[0], expected)


@every
def test_taste_is_found(make: Make, log: Interactions) -> None:
    """Nine of ten wanted items are of the user's own group: so must most of a list be."""
    lists = make().fit(log).recommend(EVERYBODY[:STRANGER], 5)
    assert (lists % 2 == EVERYBODY[:STRANGER, None] % 2).mean() > 0.8


@every
def test_progress_is_told_and_the_result_names_the_part(make: Make, log: Interactions) -> None:
    told: list[tuple[str, int, int]] = []
    part = make()
    part._progress = lambda *step: told.append(step)
    split = global_time_split(log, 0.2)
    result, fitted, _ = evaluate(part, split, 10, np.random.default_rng(0))
    assert result.name == fitted.name == part.name
    assert result.settings == fitted.settings
    asked = len(split.test_users)
    assert [step for step in told if step[0] == "lists"] == [("lists", done, asked) for done in range(1, asked + 1)]
    assert result.fit_cpu_seconds is not None
    assert result.cpu_seconds is not None
    assert 0 <= result.fit_cpu_seconds <= result.cpu_seconds


def filter_lists(log: Interactions, shape: FilterShape, config: Config, k: int) -> list[NDArray[np.int32]]:
    """What the live filter says under a shape."""
    retriever = filter_of(log, Choices(filter=shape), basis_of(log, config), config)
    return [retriever.filtered(user, k, retriever.seen(user)) for user in range(N_USERS)]


def test_the_filter_has_the_shape_that_is_given(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "choose_filter", None)  # there is nothing to choose
    fitted = FilterAlone(FIXED, silent).fit(log)
    assert fitted.settings == {"seed_exponent": 0.4, "target_exponent": 0.3, "slope": 2.0, "lift": 0.1}
    for row, expected in zip(fitted.recommend(EVERYBODY, 8), filter_lists(log.by_time(), SHAPE, FIXED, 8), strict=True):
        assert row[row >= 0].tolist() == expected.tolist()


def test_the_filter_has_the_shape_that_the_newest_slice_chooses(log: Interactions) -> None:
    """The newest fifth chooses, without a look at anything later; all of the log serves."""
    ordered = log.by_time()
    base, newest = ordered.take(slice(720)), ordered.take(slice(720, None))
    pairs = new_pairs(newest, decayed_edges(base, np.inf))
    shape = choose_filter(base, basis_of(base, CONFIG), *pairs, CONFIG, lambda done, steps: None)
    assert shape != FilterShape()
    fitted = FilterAlone(CONFIG, silent).fit(log)
    assert fitted.settings == vars(shape)
    for row, expected in zip(fitted.recommend(EVERYBODY, 8), filter_lists(ordered, shape, CONFIG, 8), strict=True):
        assert row[row >= 0].tolist() == expected.tolist()


def test_one_given_number_leaves_the_others_to_be_chosen(log: Interactions) -> None:
    some = CONFIG.model_copy(update={"filter": FilterSettings(dimensions=12, slope=7.0)})
    fitted = FilterAlone(some, silent).fit(log)
    free = FilterAlone(CONFIG, silent).fit(log)
    assert fitted.settings == {**free.settings, "slope": 7.0}


def test_graphsage_lists_run_down_the_score_that_was_trained(log: Interactions) -> None:
    fitted = SageAlone(CONFIG, TEXTS, silent).fit(log)
    retriever = fitted._retriever
    assert retriever is not None
    assert retriever.propagation is not None
    assert retriever.model is not None
    popularity = retriever.model.popularity_weight * retriever.recent.log_scores(POPULARITY_FLOOR)
    items = unit_rows(retriever.propagation.item_vectors)
    lists = fitted.recommend(EVERYBODY[:STRANGER], 8)
    for user, row in enumerate(lists):
        vector = unit_rows(retriever.propagation.user_vector(retriever.graph, user)[None])[0]
        scores = retriever.model.scale * items @ vector + popularity
        scores[list(seen_by(log, user))] = -np.inf
        np.testing.assert_allclose(scores[row], np.sort(scores)[::-1][:8], atol=1e-4)


def test_training_does_not_see_strangers_and_serving_does(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: list[Interactions] = []
    embed, basis = alone.embed, alone.basis_of
    monkeypatch.setattr(alone, "embed", lambda given, *rest: logs.append(given) or embed(given, *rest))
    monkeypatch.setattr(alone, "basis_of", lambda given, config: logs.append(given) or basis(given, config))
    strangers = np.array([3, 8, 59], np.int32)
    fitted = SageAlone(CONFIG, TEXTS, silent, strangers).fit(log)
    assert len(logs) == 2
    for given in logs:
        assert set(given.users.tolist()) == set(log.users.tolist()) - set(strangers.tolist())
        assert (given.n_users, given.n_items) == (N_USERS, N_ITEMS)  # numbers stay
        assert len(given) == int((~np.isin(log.users, strangers)).sum())
        assert (np.diff(given.timestamps) >= 0).all()
    assert fitted._retriever is not None
    for user in strangers.tolist():
        assert set(fitted._retriever.seen(user).tolist()) == seen_by(log, user)
        assert fitted._retriever.query(user) is not None
    lists = fitted.recommend(strangers, 5)
    assert (lists != fitted.recommend(EVERYBODY[[STRANGER]], 5)).any(axis=1).all()
    assert (lists % 2 == strangers[:, None] % 2).mean() > 0.6  # their own items say what they like
