"""Numbers chosen on validation: worlds whose answer is known, and the fast way against the literal one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from graphrec.config import Config
from graphrec.embedding.spectral import SpectralBasis, normalised, spectral_basis
from graphrec.events.interactions import Interactions
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.retrieval.retriever import DAY, FILTER, Retriever
from graphrec.training import choosing
from graphrec.training.choosing import HALF_LIVES, choose, choose_filter, choose_half_life
from graphrec.training.time_cuts import decayed_edges, new_pairs

START = 1_700_000_000_000_000
NOBODY = np.zeros(0, np.int32)


def nothing(*step: object) -> None:
    """No progress is shown."""


def daily(popularity: NDArray[np.float64], events: int, n_users: int) -> tuple[Interactions, Interactions]:
    """A log of so many events a day, items by the day's popularity (days, n_items): all but a tenth, and the newest."""
    rng = np.random.default_rng(0)
    days, n_items = popularity.shape
    items = np.concatenate([rng.choice(n_items, events, p=row / row.sum()) for row in popularity]).astype(np.int32)
    users = rng.integers(0, n_users, days * events).astype(np.int32)
    times = START + np.sort(rng.integers(0, days * DAY, days * events))
    log = Interactions(users, items, times, np.ones(len(users)), n_users, n_items)
    cut = int(0.9 * len(log))
    return log.take(slice(cut)), log.take(slice(cut, None))


def test_where_yesterday_decides_the_half_life_is_short() -> None:
    """Thirty items are wanted each day, ten of which are new."""
    popularity = np.zeros((60, 620))
    for day, row in enumerate(popularity):
        row[10 * day : 10 * day + 30] = 1
    assert choose_half_life(*daily(popularity, 200, 100)) <= 2


def test_where_nothing_changes_the_half_life_is_the_longest() -> None:
    """The same items are wanted for two years, but few a day: whoever forgets sees only chance."""
    popularity = np.tile(1 / (1 + np.arange(300.0)) ** 0.5, (730, 1))
    assert choose_half_life(*daily(popularity, 8, 200)) == np.inf


def test_where_fashions_last_a_season_the_half_life_is_weeks() -> None:
    days, items = np.arange(365.0)[:, None], np.arange(600)
    height = 1 / (1 + items * 7919 % 600) ** 0.7
    popularity = height * np.exp(-(((days - items / 600 * 365) / 60) ** 2) / 2)
    assert 7 <= choose_half_life(*daily(popularity, 8, 300)) <= 30


def test_without_a_hit_the_half_life_is_the_default() -> None:
    strangers = Interactions(NOBODY, NOBODY, np.zeros(0, np.int64), np.zeros(0), 4, 3)
    one = Interactions(np.array([1], np.int32), np.array([2], np.int32), np.array([START]), np.ones(1), 4, 3)
    for newest in (strangers, one):
        assert choose_half_life(strangers, newest) == Choices().popularity_half_life_days
    assert Choices().popularity_half_life_days in HALF_LIVES


Question = tuple[Interactions, SpectralBasis, Interactions, NDArray[np.int32], NDArray[np.int32]]


@pytest.fixture
def question(world) -> Question:
    """The world's first 600 events, their basis, the events after them, and the new pairs in those."""
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    items = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    log = Interactions(users, items, times, np.ones(len(users)), 60, 40)
    base, newest = log.take(slice(600)), log.take(slice(600, None))
    return base, basis_of(base), newest, *new_pairs(newest, decayed_edges(base, np.inf))


def basis_of(log: Interactions) -> SpectralBasis:
    pairs = csr_matrix((np.ones(len(log)), (log.users, log.items)), shape=(log.n_users, log.n_items))
    pairs.data[:] = 1
    return spectral_basis(normalised(pairs), 10)


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> list[FilterShape]:
    """A grid of 24 points, far apart."""
    values = {
        "SEED_EXPONENTS": (0.2, 0.9),
        "TARGET_EXPONENTS": (0.1, 0.5, 1.0),
        "SLOPES": (1.0, 4.0),
        "LIFTS": (0.0, 2.0),
    }
    for name, some in values.items():
        monkeypatch.setattr(choosing, name, some)
    seeds, *others = values.values()
    monkeypatch.setattr(choosing, "_GRID", tuple(product(*others)))
    return [FilterShape(*point) for point in product(seeds, *others)]


def literal_quality(question: Question, shape: FilterShape, asked: NDArray[np.int32]) -> float:
    """Sum of recall@20 and NDCG@20 of what the retriever's filter offers each user."""
    base, basis, _, users, items = question
    retriever = Retriever(Config(), None, choices=Choices(filter=shape), basis=(basis.items, basis.values))
    retriever.add_items(np.zeros((base.n_items, 0), np.float32))
    retriever.load(base.users, base.items, base.weights, base.timestamps)
    total = 0.0
    for user in asked.tolist():
        wanted = set(items[users == user].tolist())
        found = retriever.candidates(user, retriever.seen(user))
        offered = np.flatnonzero(found.sources & FILTER)
        offered = offered[np.argsort(-found.filtered[offered], kind="stable")][:20]
        hits = np.array([item in wanted for item in found.numbers[offered].tolist()])
        gains = 1 / np.log2(np.arange(20) + 2)
        total += hits.sum() / len(wanted) + (hits * gains[: len(hits)]).sum() / gains[: len(wanted)].sum()
    return total


def test_the_filter_is_the_best_of_a_literal_evaluation(question: Question, grid: list[FilterShape]) -> None:
    base, basis, _, users, items = question
    quality = {shape: literal_quality(question, shape, np.unique(users)) for shape in grid}
    ordered = sorted(quality.values())
    assert ordered[-1] > ordered[0] + 1  # there is something to choose
    told: list[tuple[int, int]] = []
    chosen = choose_filter(base, basis, users, items, Config(), lambda *step: told.append(step))
    assert quality[chosen] == pytest.approx(ordered[-1], abs=1e-6)
    assert told[-1] == (2 * len(np.unique(users)),) * 2


@pytest.mark.parametrize("chunk", [7, 256])
def test_every_point_of_the_grid_is_judged_as_served(
    question: Question, grid: list[FilterShape], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only the best one; users are judged a few at a time."""
    monkeypatch.setattr(choosing, "_CHUNK", chunk)
    met = []
    recall_and_ndcg = choosing._recall_and_ndcg
    monkeypatch.setattr(
        choosing, "_recall_and_ndcg", lambda *arguments: (met.append(recall_and_ndcg(*arguments)), met[-1])[1]
    )
    base, basis, _, users, items = question
    choose_filter(base, basis, users, items, Config(), nothing)
    chunks = -(-len(np.unique(users)) // chunk)
    judged = np.array(met).reshape(2, chunks, 12).sum(axis=1).ravel()
    expected = [literal_quality(question, shape, np.unique(users)) for shape in grid]
    np.testing.assert_allclose(judged, expected, atol=0.02)  # equal scores may change places


def test_few_users_choose_the_start_and_many_the_rest(
    question: Question, grid: list[FilterShape], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_FEW_USERS", 10)
    base, basis, _, users, items = question
    few, everybody = choosing._sample(np.unique(users), 10), np.unique(users)
    assert len(few) == 10
    by_few = {shape: literal_quality(question, shape, few) for shape in grid}
    start = max(by_few, key=lambda shape: by_few[shape]).seed_exponent
    by_many = {shape: literal_quality(question, shape, everybody) for shape in grid if shape.seed_exponent == start}
    told: list[tuple[int, int]] = []
    chosen = choose_filter(base, basis, users, items, Config(), lambda *step: told.append(step))
    assert chosen.seed_exponent == start
    assert by_many[chosen] == pytest.approx(max(by_many.values()), abs=1e-6)
    assert told[-1] == (20 + len(everybody),) * 2


def test_recall_and_ndcg_by_hand() -> None:
    scores = np.zeros((2, 30), np.float32)
    scores[:, :3] = [[3, 2, 1], [1, 3, 2]]
    labels = np.zeros((2, 30), bool)
    labels[0, [0, 2]] = labels[1, 0] = True
    first = 2 / 4 + (1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2 + 1 / np.log2(5))  # of four wanted, two in the pool
    second = 1 + 1 / 2
    found = choosing._recall_and_ndcg(scores, labels, np.array([4, 1], np.int32))
    assert found == pytest.approx(first + second)


def test_without_anybody_to_ask_the_filter_is_the_default(question: Question) -> None:
    base, basis, *_ = question
    assert choose_filter(base, basis, NOBODY, NOBODY, Config(), nothing) == FilterShape()
    lonely = Interactions(np.array([0], np.int32), np.array([0], np.int32), np.array([START]), np.ones(1), 1, 2)
    users, items = np.array([0], np.int32), np.array([1], np.int32)
    assert choose_filter(lonely, basis_of(lonely), users, items, Config(), nothing) == FilterShape()


def test_fixed_numbers_are_kept_and_the_rest_is_chosen(question: Question, grid: list[FilterShape]) -> None:
    free = choose(*question, Config(), nothing)
    assert free.filter in grid
    fixed = Config(filter={"slope": 2.5, "lift": 0.1}, retrieval={"popularity_half_life_days": 3})
    found = choose(*question, fixed, nothing)
    assert found == free.under(fixed)
    assert found.filter.seed_exponent == free.filter.seed_exponent
    assert (found.popularity_half_life_days, found.filter.slope, found.filter.lift) == (3, 2.5, 0.1)


def test_what_is_fixed_is_not_asked_for(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("choose_filter", "choose_half_life"):
        monkeypatch.setattr(choosing, name, lambda *arguments: pytest.fail("asked"))
    settings = {"seed_exponent": 0.1, "target_exponent": 0.2, "slope": 3.5, "lift": 0.4}
    config = Config(filter=settings, retrieval={"popularity_half_life_days": 1})
    assert choose(*question, config, nothing) == Choices(1, FilterShape(**settings))
