"""The ranking head learns what decides, from lists; and says so when there is too little to learn from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from graphrec.config import Config, RetrievalSettings
from graphrec.events.interactions import Interactions
from graphrec.ranking.pair_features import NAMES
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.retriever import Candidates, Retriever
from graphrec.training import ranker_trainer
from graphrec.training.ranker_trainer import Lists, train_rankers

PLANTED = NAMES.index("item_idle_days")
WIDTH = 12


def nothing(*step: object) -> None:
    """No progress is shown."""


def returning(
    retriever: Retriever, users: np.ndarray, items: np.ndarray, seeds: int, progress=nothing
) -> Ranker | None:
    """The head for users who come back, from pairs that come one after the other."""
    m = len(users)
    newest = Interactions(users, items, np.arange(m), np.ones(m), 1000, 1000)
    head, in_sessions = train_rankers(retriever, newest, seeds, progress)
    assert in_sessions is None
    return head


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, Retriever]:
    """A retriever whose users each have twelve candidates with random features, one of which decides."""
    features = np.random.default_rng(0).standard_normal((200, WIDTH, len(NAMES))).astype(np.float32)
    features[..., PLANTED] *= 50  # on another scale than all others
    numbers = np.arange(WIDTH, dtype=np.int32)
    empty = np.zeros(WIDTH, np.float32)
    retriever = SimpleNamespace(
        settings=RetrievalSettings(session_minutes=0),
        has_history=lambda user: False,
        seen=lambda user: np.zeros(0, np.int32),
        candidates=lambda user, exclude: Candidates(user, 0.0, numbers, empty.astype(np.uint8), *[empty] * 6),
    )
    monkeypatch.setattr(ranker_trainer, "pair_features", lambda _, candidates: features[candidates.user])
    return features, retriever  # type: ignore[return-value]


def best_items(features: np.ndarray) -> np.ndarray:
    return features[..., PLANTED].argmax(1).astype(np.int32)


def test_a_planted_feature_is_learned(planted) -> None:
    features, retriever = planted
    users = np.arange(150, dtype=np.int32)
    told = []
    ranker = returning(retriever, users, best_items(features)[:150], 2, lambda *step: told.append(step))
    assert ranker is not None
    assert told[:150] == [("ranking lists", done, 150) for done in range(1, 151)]
    assert told[150:] == [("ranking head", 1, 2), ("ranking head", 2, 2)]
    assert ranker.weight1.shape[0] == 2
    found = np.array([ranker.scores(features[user]).argmax() for user in range(150, 200)])
    assert (found == best_items(features)[150:]).mean() > 0.6
    np.testing.assert_allclose(ranker.deviation[PLANTED], 50, rtol=0.1)
    assert not np.array_equal(ranker.weight1[0], ranker.weight1[1])


def test_a_head_that_orders_no_better_than_retrieval_is_none(planted) -> None:
    """What decides is no feature at all, or retrieval's own score, which no head can beat."""
    features, retriever = planted
    users = np.arange(200, dtype=np.int32)
    chance = np.random.default_rng(1).integers(0, WIDTH, 200).astype(np.int32)
    assert returning(retriever, users, chance, 2, nothing) is None
    by_score = features[..., NAMES.index("score")].argmax(1).astype(np.int32)
    assert returning(retriever, users, by_score, 2, nothing) is None


def test_the_same_lists_give_the_same_head_and_the_callers_numbers_stay(planted) -> None:
    features, retriever = planted
    users = np.arange(150, dtype=np.int32)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = returning(retriever, users, best_items(features)[:150], 1, nothing)
    assert torch.equal(torch.get_rng_state(), before)
    order = np.random.default_rng(0).permutation(150)
    torch.manual_seed(6)
    two = returning(retriever, users[order], best_items(features)[:150][order], 1, nothing)
    assert one is not None
    assert two is not None
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])


@pytest.mark.parametrize(("hits", "learned"), [(19, False), (20, True)])
def test_too_few_lists_are_nothing_to_learn_from(
    planted, hits: int, learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranker_trainer, "_is_positive", lambda gains: True)  # so few cannot tell
    features, retriever = planted
    users = np.arange(90, dtype=np.int32)
    items = best_items(features)[:90]
    items[hits:] = 999  # not among the candidates
    assert (returning(retriever, users, items, 3) is not None) == learned


def test_heads_that_help_on_few_of_their_lists_are_none() -> None:
    assert ranker_trainer._is_positive(torch.tensor([0.2, 0.1, 0.3, -0.1]))
    assert not ranker_trainer._is_positive(torch.tensor([0.2, -0.1, 0.1, -0.15]))
    assert not ranker_trainer._is_positive(torch.tensor([-0.2, -0.1]))


def test_nobody_at_all(planted) -> None:
    empty = np.zeros(0, np.int32)
    assert returning(planted[1], empty, empty, 1, nothing) is None


def test_a_user_with_several_hits_is_one_list(planted) -> None:
    features, retriever = planted
    users = np.repeat(np.arange(25, dtype=np.int32), 3)
    items = np.tile(np.array([4, 1, 999], np.int32), 25)
    block = Interactions(users, items, np.arange(75), np.ones(75), 25, 1000)
    lists = ranker_trainer.lists_of_users(retriever, block, nothing, 1_000)
    assert len(lists) == 25
    for user, (found, labels) in enumerate(lists):
        assert labels.astype(int).tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        np.testing.assert_array_equal(found, features[user])


def followed(monkeypatch: pytest.MonkeyPatch, m: int) -> tuple[Interactions, list[tuple[int, int]], Retriever]:
    """A log of `m` events, a retriever that only counts what it has taken in, and what it was asked at which count.

    The item that comes is the candidate with the largest planted feature; user 0 is never in a session.
    """
    rng = np.random.default_rng(0)
    features = rng.standard_normal((m, WIDTH, len(NAMES))).astype(np.float32)
    users = rng.integers(0, 5, m).astype(np.int32)
    log = Interactions(users, best_items(features), np.arange(m), np.where(np.arange(m) % 7, 1.0, -1.0), 5, WIDTH)
    numbers, empty = np.arange(WIDTH, dtype=np.int32), np.zeros(WIDTH, np.float32)
    taken_in: list[int] = []
    asked: list[tuple[int, int]] = []

    def candidates(user: int, exclude: object) -> Candidates:
        asked.append((user, len(taken_in)))
        return Candidates(user, 0.0, numbers, empty.astype(np.uint8), *[empty] * 6)

    retriever = SimpleNamespace(
        seen=lambda user: np.zeros(0, np.int32),
        candidates=candidates,
        settings=Config().retrieval,
        has_history=lambda user: user > 0,
        idle=lambda user: 0,
        apply=lambda users, items, weights, timestamps: taken_in.extend(timestamps.tolist()),
    )
    monkeypatch.setattr(ranker_trainer, "pair_features", lambda *_: features[len(taken_in)])
    return log, asked, retriever  # type: ignore[return-value]


@pytest.mark.parametrize("most", [1000, 200])
def test_the_session_head_is_asked_just_before_each_event(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(ranker_trainer, "_MOST_SESSION_EVENTS", most)
    log, asked, retriever = followed(monkeypatch, 500)
    monkeypatch.setattr(ranker_trainer, "lists_of_users", lambda *_: [])
    _, head = train_rankers(retriever, log, 1, nothing)
    assert head is not None
    assert 50 < len(asked) <= most
    assert all(log.users[position] == user > 0 and log.weights[position] > 0 for user, position in asked)
    possible = [(int(user), at) for at, user in enumerate(log.users) if user > 0 and log.weights[at] > 0]
    assert asked == (possible if most > 500 else sorted(set(asked) & set(possible), key=lambda pair: pair[1]))
    assert most < 500 or head.deviation[PLANTED] == pytest.approx(1, rel=0.1)


def test_without_sessions_there_is_no_session_head(monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked, retriever = followed(monkeypatch, 100)
    monkeypatch.setattr(ranker_trainer, "lists_of_users", lambda *_: [])
    retriever.idle = lambda user: 30 * 60_000_000  # type: ignore[method-assign]
    assert train_rankers(retriever, log, 1, nothing) == (None, None)
    assert asked == []


class Fixed(torch.nn.Module):
    """Scores are the first feature."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[..., :1]


def lists_of(scores: list[list[float]], labels: list[list[float]]) -> Lists:
    """NaN scores are padding."""
    matrix = torch.tensor(scores)
    return Lists(matrix.nan_to_num(7.0)[..., None], torch.tensor(labels), ~matrix.isnan())


def test_the_loss_of_three_candidates_by_hand() -> None:
    scores = np.array([1.0, 2.0, 0.5])
    shares = np.exp(scores) / np.exp(scores).sum()
    one = lists_of([[1.0, 2.0, 0.5]], [[0, 1, 0]])
    assert float(ranker_trainer.listwise(Fixed(), one)) == pytest.approx(-np.log(shares[1]), rel=1e-6)
    two = lists_of([[1.0, 2.0, 0.5]], [[1, 1, 0]])
    expected = -(np.log(shares[0]) + np.log(shares[1])) / np.sqrt(2)
    assert float(ranker_trainer.listwise(Fixed(), two)) == pytest.approx(expected, rel=1e-6)
    padded = lists_of([[1.0, 2.0, 0.5, np.nan], [3.0, 0.0, np.nan, np.nan]], [[0, 1, 0, 0], [1, 0, 0, 0]])
    other = np.log1p(np.exp(-3.0))
    assert float(ranker_trainer.listwise(Fixed(), padded)) == pytest.approx((-np.log(shares[1]) + other) / 2, rel=1e-6)


def test_padding_has_no_gradient() -> None:
    lists = lists_of([[1.0, 2.0, np.nan], [0.0, np.nan, np.nan]], [[0, 1, 0], [1, 0, 0]])
    lists.features.requires_grad_()
    ranker_trainer.listwise(Fixed(), lists).backward()  # type: ignore[no-untyped-call]
    gradient = lists.features.grad[..., 0]
    assert gradient.isfinite().all()
    assert (gradient[~lists.real] == 0).all()
    assert (gradient[0, :2] != 0).all()


def test_ndcg_by_hand() -> None:
    lists = lists_of([[1.0, 2.0, 0.5], [1.0, 2.0, np.nan]], [[1, 0, 1], [0, 1, 0]])
    first = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    scores = ranker_trainer.list_scores(Fixed(), lists)
    assert scores.tolist() == [[1.0, 2.0, 0.5], [1.0, 2.0, -np.inf]]
    assert ranker_trainer.ndcg(scores, lists).tolist() == pytest.approx([first, 1], rel=1e-6)
    assert ranker_trainer.ndcg(scores, lists, k=1).tolist() == [0, 1]


def test_real_candidates_without_what_was_seen(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a graph: no list holds an item the user has, and labels are the pairs asked for."""
    retriever = Retriever(Config(), None)
    retriever.add_items(np.zeros((40, 0), np.float32))
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    items = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    retriever.load(users[:600], items[:600], np.ones(600), times[:600])
    seen_before = set(zip(users[:600].tolist(), items[:600].tolist(), strict=True))
    new = np.array([pair not in seen_before for pair in zip(users[600:].tolist(), items[600:].tolist(), strict=True)])
    candidates, offered = retriever.candidates, []

    def noting(user: int, exclude: np.ndarray) -> Candidates:
        offered.append(candidates(user, exclude))
        return offered[-1]

    monkeypatch.setattr(retriever, "candidates", noting)
    newest = Interactions(users[600:], items[600:], times[600:], np.ones(len(users) - 600), 1000, 40)
    lists = ranker_trainer.lists_of_users(retriever, newest, nothing, 1_000)
    assert not seen_before & {(each.user, item) for each in offered for item in each.numbers.tolist()}
    wanted = len(set(zip(users[600:][new].tolist(), items[600:][new].tolist(), strict=True)))
    assert 0.9 * wanted < sum(int(labels.sum()) for _, labels in lists) <= wanted
