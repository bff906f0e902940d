from __future__ import annotations

import numpy as np
import pytest

from graphrec.evaluation.setting_choice import best_setting
from graphrec.events.interactions import Interactions


class Always:
    """Recommends one item to everybody, whatever it was shown."""

    def __init__(self, item: int) -> None:
        self.item = item

    def recommend(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> np.ndarray:
        lists = np.full((len(users), k), -1, np.int32)
        lists[:, 0] = self.item
        return lists


def log(times: np.ndarray) -> Interactions:
    """Twenty users have item 0; the last two of them take item 3."""
    users = np.append(np.arange(20), [18, 19]).astype(np.int32)
    items = np.append(np.zeros(20), [3, 3]).astype(np.int32)
    return Interactions(users, items, times, np.ones(22), 20, 5)


def test_what_comes_next_decides_and_is_not_shown() -> None:
    shown = []

    def fitted(item: int, events: Interactions) -> Always:
        shown.append(events)
        return Always(item)

    assert best_setting(fitted, (1, 3, 2), log(np.arange(22)), default=1) == 3
    assert len(shown) == 3
    assert all(len(events) == 19 and 3 not in events.items for events in shown)
    assert best_setting(fitted, (1, 2, 4), log(np.arange(22)), default=2) == 1  # equal ones: the first


@pytest.mark.parametrize(("bound", "expected"), [(3, [0, 4, 8]), (5, [0, 2, 4, 6, 8]), (10, list(range(10)))])
def test_a_bounded_number_of_users_is_asked(bound: int, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Listening(Always):
        def recommend(self, users: np.ndarray, k: int, exclude_seen: bool = True) -> np.ndarray:
            asked.append(users.tolist())
            return super().recommend(users, k)

    monkeypatch.setattr("graphrec.evaluation.setting_choice.ASKED", bound)
    users, items = np.tile(np.arange(10), 10), np.repeat([0, 1], [90, 10])  # the newest tenth: everybody takes item 1
    events = Interactions(users.astype(np.int32), items.astype(np.int32), np.arange(100), np.ones(100), 10, 2)
    assert best_setting(lambda item, _: Listening(item), (0, 1), events, default=0) == 1
    assert asked == [expected, expected]


def test_without_a_choice_nothing_is_tried() -> None:
    def fitted(item: int, events: Interactions) -> Always:
        raise AssertionError

    assert best_setting(fitted, (1, 3), log(np.zeros(22, np.int64)), default=7) == 7
    assert best_setting(fitted, (4,), log(np.arange(22)), default=7) == 4
