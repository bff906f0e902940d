"""A contender that learns on: from what is new alone, as the product would; and the two that never do."""

from __future__ import annotations

import numpy as np
import pytest
from quick_updates import CONFIG, NO_TEXTS, nothing

from graphrec.errors import NotTrainedError
from graphrec.evaluation import updated_graphrec
from graphrec.evaluation.updated_graphrec import StaleGraphrec, UpdatedGraphrec


@pytest.fixture(scope="module")
def base(log) -> UpdatedGraphrec:
    return UpdatedGraphrec(CONFIG, NO_TEXTS, nothing).fit(log.take(slice(600)))


def test_each_fit_learns_from_what_is_new(base, log, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    own = updated_graphrec.continued

    def continued(parent, old, new, *rest):
        learned.append((len(old), new.timestamps[0], len(new)))
        return own(parent, old, new, *rest)

    monkeypatch.setattr(updated_graphrec, "continued", continued)
    model = base.fit(log.take(slice(700))).fit(log.take(slice(800))).refit(log.take(slice(800, None)))
    assert learned == [
        (600, log.timestamps[600], 100),
        (700, log.timestamps[700], 100),
        (800, log.timestamps[800], 100),
    ]
    lists = model.recommend(np.arange(60, dtype=np.int32), 5)
    assert lists.shape == (60, 5)
    seen = set(zip(log.users.tolist(), log.items.tolist(), strict=True))
    assert not any((user, item) in seen for user in range(60) for item in lists[user].tolist())


def test_a_fit_leaves_what_it_was_called_on_as_it_was(base, log) -> None:
    asked = np.arange(60, dtype=np.int32)
    before, trained = base.recommend(asked, 5), base.trained
    base.fit(log)
    assert base.trained is trained
    np.testing.assert_array_equal(base.recommend(asked, 5), before)


def test_refreshed_only_knows_what_is_new_under_old_weights(base, log) -> None:
    refreshed = UpdatedGraphrec(CONFIG, NO_TEXTS, nothing, base.trained, log.take(slice(600)), learns=False).fit(log)
    assert refreshed.trained is base.trained
    asked = np.arange(60, dtype=np.int32)
    assert not np.array_equal(refreshed.recommend(asked, 5), base.recommend(asked, 5))


def test_stale_knows_nothing_new_but_hides_it(base, log) -> None:
    """Its list is the old one without what the user has had since."""
    start = StaleGraphrec(CONFIG, NO_TEXTS, nothing, base.trained, log.take(slice(600))).serving()
    stale = start.fit(log)
    asked = np.arange(60, dtype=np.int32)
    old, now = start.recommend(asked, 10), stale.recommend(asked, 10)
    had = set(zip(log.users.tolist(), log.items.tolist(), strict=True))
    shorter = 0
    for user in range(60):
        expected = [item for item in old[user].tolist() if (user, item) not in had]
        shorter += len(expected) < 10
        assert now[user, : len(expected)].tolist() == expected or set(expected) <= set(now[user].tolist())
        assert not any((user, item) in had for item in now[user].tolist())
    assert shorter > 20


def test_there_is_nothing_to_go_on_from_before_the_first_fit(log) -> None:
    with pytest.raises(NotTrainedError):
        UpdatedGraphrec(CONFIG, NO_TEXTS, nothing).refit(log)
    with pytest.raises(NotTrainedError):
        StaleGraphrec(CONFIG, NO_TEXTS, nothing).serving()
