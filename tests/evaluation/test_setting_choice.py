from __future__ import annotations

import numpy as np

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


def test_without_a_choice_nothing_is_tried() -> None:
    def fitted(item: int, events: Interactions) -> Always:
        raise AssertionError

    assert best_setting(fitted, (1, 3), log(np.zeros(22, np.int64)), default=7) == 7
    assert best_setting(fitted, (4,), log(np.arange(22)), default=7) == 4
