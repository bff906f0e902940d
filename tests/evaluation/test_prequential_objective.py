"""What settings are judged by: the older log only, and differences with honest intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quick_updates import CONFIG, NO_TEXTS, nothing

from graphrec.evaluation import prequential_objective
from graphrec.evaluation.metrics import score
from graphrec.evaluation.prequential_objective import Objective
from graphrec.evaluation.updated_graphrec import UpdatedGraphrec


@pytest.fixture(scope="module")
def objective(log) -> Objective:
    return Objective.of(log, NO_TEXTS, blocks=2)


def test_the_newest_tenth_is_never_read(log, objective) -> None:
    poisoned = replace(log, users=log.users.copy(), items=log.items.copy(), weights=log.weights.copy())
    poisoned.users[810:], poisoned.items[810:], poisoned.weights[810:] = 3, 39, 1e6
    other = Objective.of(poisoned, NO_TEXTS, blocks=2)
    assert other.fingerprint == objective.fingerprint
    for one, two in zip(objective.blocks(CONFIG, nothing), other.blocks(CONFIG, nothing), strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_older_event_the_texts_and_the_question_change_the_fingerprint(log, objective) -> None:
    changed = replace(log, items=log.items.copy())
    changed.items[5] = (changed.items[5] + 1) % 40
    others = [
        Objective.of(changed, NO_TEXTS, blocks=2),
        Objective.of(log, np.ones((40, 1), np.float32), blocks=2),
        Objective.of(log, NO_TEXTS, "recall", blocks=2),
        Objective.of(log, NO_TEXTS, blocks=3),
        Objective.of(log, NO_TEXTS, blocks=2, base_share=0.5),
    ]
    assert len({objective.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_blocks_are_those_of_a_model_that_learns_on(objective) -> None:
    found = list(objective.blocks(CONFIG, nothing))
    model = UpdatedGraphrec(CONFIG, NO_TEXTS, nothing)
    for scores, split in zip(found, objective.splits, strict=True):
        model = model.fit(split.train)
        np.testing.assert_array_equal(scores, score(model.recommend(split.test_users, 20), split.relevant, 20).ndcg)


def test_of_many_users_every_so_many_are_asked(log, objective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prequential_objective, "ASKED", 10)
    for few, all_of_them in zip(Objective.of(log, NO_TEXTS, blocks=2).splits, objective.splits, strict=True):
        assert 5 <= len(few.test_users) <= 10
        kept = {
            user: all_of_them.relevant.items[slice(*all_of_them.relevant.indptr[row : row + 2])].tolist()
            for row, user in enumerate(all_of_them.test_users.tolist())
        }
        for row, user in enumerate(few.test_users.tolist()):
            assert few.relevant.items[slice(*few.relevant.indptr[row : row + 2])].tolist() == kept[user]


def test_the_gain_is_the_difference_of_the_values(objective) -> None:
    rng = np.random.default_rng(0)
    one = [rng.random(len(split.test_users)) for split in objective.splits]
    other = [rng.random(len(split.test_users)) for split in objective.splits]
    gain = objective.gain(one, other)
    assert gain.mean == pytest.approx(np.mean([a.mean() - b.mean() for a, b in zip(one, other, strict=True)]))
    assert gain.low < gain.mean < gain.high
    wider = objective.gain(one, other, comparisons=20)
    assert wider.high - wider.low > 1.3 * (gain.high - gain.low)


def test_equal_scores_are_no_gain_and_a_common_rise_is_one(objective) -> None:
    rng = np.random.default_rng(0)
    scores = [rng.random(len(split.test_users)) for split in objective.splits]
    same = objective.gain(scores, scores)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert not same.beyond_noise
    assert objective.gain([block + 0.5 + 0.1 * rng.random(len(block)) for block in scores], scores).beyond_noise


def test_the_interval_covers_nineteen_times_of_twenty(objective) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        tastes = rng.normal(0, 1, 60)  # a user's difference is alike in both blocks: blocks are no further evidence
        scores = [0.1 + tastes[split.test_users] for split in objective.splits]
        gain = objective.gain(scores, [np.zeros(len(split.test_users)) for split in objective.splits])
        covered += gain.low <= 0.1 <= gain.high
    assert 0.90 <= covered / 400 <= 0.985
