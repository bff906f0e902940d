from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.evaluation.metrics import ItemSets
from graphrec.evaluation.protocols import Split, global_time_split
from graphrec.evaluation.slices import COLD, score_slices, short_head, slices
from graphrec.events.interactions import Interactions


def world(seed: int, n: int = 300) -> Split:
    rng = np.random.default_rng(seed)
    data = Interactions(
        rng.integers(0, 30, n).astype(np.int32),
        np.minimum(rng.zipf(1.4, n) - 1, 39).astype(np.int32),
        np.arange(n),
        rng.choice([1.0, 5.0, -5.0], n),
        n_users=30,
        n_items=40,
        kinds=rng.integers(0, 2, n).astype(np.int16),
        kind_names=("view", "purchase"),
    )
    return global_time_split(data, 0.3)


@given(seed=st.integers(0, 1000))
def test_slices_are_what_they_say(seed: int) -> None:
    split = world(seed)
    wanted = split.train.positive()
    users = np.repeat(split.test_users, split.relevant.sizes).tolist()
    pairs = list(zip(users, split.relevant.items.tolist(), strict=True))
    events_of_user = [(wanted.users == user).sum() for user in range(30)]
    events_of_item = [(wanted.items == item).sum() for item in range(40)]
    found = slices(split)
    assert found["cold users"].tolist() == [events_of_user[user] < COLD for user, _ in pairs]
    assert found["cold items"].tolist() == [events_of_item[item] < COLD for _, item in pairs]
    head: set[int] = set()
    for item in sorted(range(40), key=lambda item: (-events_of_item[item], item)):
        if sum(events_of_item[each] for each in head) >= 0.8 * sum(events_of_item):
            break
        head.add(item)
    assert found["tail items"].tolist() == [item not in head for _, item in pairs]


def test_the_short_head_reaches_four_fifths() -> None:
    assert short_head(np.array([1, 60, 0, 20, 19])).tolist() == [False, True, False, True, False]
    assert short_head(np.array([1, 60, 0, 19, 20])).tolist() == [False, True, False, False, True]
    assert short_head(np.array([1, 60, 0, 20, 20])).tolist() == [False, True, False, True, True]
    assert not short_head(np.zeros(3, np.int64)).any()


def test_kinds_of_one_wish_both_count() -> None:
    history = Interactions(*columns([(0, 0, 0)]), 2, 4, np.array([0], np.int16), ("view", "purchase"))
    events = [(0, 1, 5), (0, 1, 6), (0, 2, 6), (1, 3, 7), (0, 0, 8)]
    codes = np.array([0, 1, 0, 1, 1], np.int16)
    split = Split.of(history, Interactions(*columns(events), 2, 4, codes, ("view", "purchase")))
    assert split.relevant.items.tolist() == [1, 2, 3]
    assert {name: marked.tolist() for name, marked in split.kinds.items()} == {
        "view": [True, True, False],
        "purchase": [True, False, True],
    }
    lists = np.array([[1, 3], [3, 0]], np.int32)
    scored = score_slices(lists, split, 2, np.random.default_rng(0))
    assert scored["by view"].metrics["recall@2"] == 0.5
    assert scored["by purchase"].metrics["recall@2"] == 1.0
    assert (scored["by purchase"].users, scored["by purchase"].relevant) == (2, 2)
    assert scored["by view"].users == 1


def test_one_kind_makes_no_slice() -> None:
    history = Interactions(*columns([(0, 0, 0)]), 2, 4)
    same = np.zeros(2, np.int16)
    for kinds, names in ((None, ()), (same, ("view", "purchase"))):
        later = Interactions(*columns([(0, 1, 5), (1, 2, 6)]), 2, 4, kinds, names)
        assert not Split.of(history, later).kinds


def columns(events: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
    users, items, times = (np.array(column) for column in zip(*events, strict=True))
    return users.astype(np.int32), items.astype(np.int32), times, np.ones(len(events))


def test_an_empty_slice_is_left_out() -> None:
    split = Split(
        Interactions(*columns([(0, item, 0) for item in range(5)] * 5), 1, 6),
        np.array([0], np.int32),
        ItemSets(np.array([0, 1]), np.array([4], np.int32)),
    )
    assert "cold items" not in score_slices(np.array([[5]], np.int32), split, 1, np.random.default_rng(0))


@pytest.mark.filterwarnings("ignore")  # ranx and what it imports warn
def test_slices_agree_with_ranx() -> None:
    import ranx

    split = world(1)
    rng = np.random.default_rng(0)
    lists = np.array([rng.permutation(40)[:8] for _ in split.test_users], np.int32)
    scored = score_slices(lists, split, 8, rng)
    assert {"cold users", "cold items", "tail items", "by view", "by purchase"} <= set(scored)
    rows = np.repeat(np.arange(len(lists)), split.relevant.sizes)
    for name, marked in slices(split).items():
        qrels: dict[str, dict[str, int]] = {}
        for row, item in zip(rows[marked].tolist(), split.relevant.items[marked].tolist(), strict=True):
            qrels.setdefault(f"u{row:03}", {})[str(item)] = 1
        run = {user: {str(item): 9.0 - rank for rank, item in enumerate(lists[int(user[1:])])} for user in qrels}
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), ["recall@8", "ndcg@8"])
        assert scored[name].metrics == pytest.approx({metric: float(theirs[metric]) for metric in theirs})
        assert scored[name].users == len(qrels)
