from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import InputError
from graphrec.evaluation.protocols import (
    Split,
    from_files,
    global_time_split,
    popularity,
    prequential_blocks,
    prequential_splits,
)
from graphrec.events.interactions import Interactions

EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 12), st.sampled_from([1.0, 5.0, -5.0])), min_size=2
)


def interactions(events: list[tuple[int, int, int, float]], n_users: int = 5, n_items: int = 7) -> Interactions:
    users, items, timestamps, weights = zip(*events, strict=True) if events else ((), (), (), ())
    return Interactions(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.array(timestamps, np.int64),
        np.array(weights, np.float64),
        n_users,
        n_items,
    )


def rows(found: Interactions) -> list[tuple[int, int, int, float]]:
    return list(
        zip(found.users.tolist(), found.items.tolist(), found.timestamps.tolist(), found.weights.tolist(), strict=True)
    )


def wanted(split: Split) -> dict[int, list[int]]:
    sets = np.split(split.relevant.items, split.relevant.indptr[1:-1]) if len(split.test_users) else []
    return {int(user): items.tolist() for user, items in zip(split.test_users, sets, strict=True)}


def test_the_newest_share_is_asked():
    events = [(0, i, i, 1.0) for i in range(7)] + [(1, 0, 7, 1.0), (2, 1, 8, 1.0), (1, 3, 9, 1.0)]
    split = global_time_split(interactions(events), 0.2)
    assert rows(split.train) == events[:8]
    assert wanted(split) == {1: [3], 2: [1]}
    assert global_time_split(interactions(events), 0.1).train.timestamps.max() == 8


def test_a_share_is_not_spoilt_by_rounding():
    events = [(0, i % 7, i, 1.0) for i in range(10)]
    assert len(global_time_split(interactions(events), 0.9).train) == 1


def test_events_of_one_time_stamp_keep_their_order():
    times = np.random.default_rng(0).integers(0, 3, 500)
    ordered = interactions([(0, 0, time, float(place)) for place, time in enumerate(times)]).by_time()
    assert rows(ordered) == sorted(rows(ordered), key=lambda event: (event[2], event[3]))


def test_ties_at_the_cut_all_go_to_test():
    events = [(0, 0, 0, 1.0), (0, 1, 5, 1.0), (1, 1, 5, 1.0), (2, 1, 5, 1.0), (3, 1, 9, 1.0)]
    split = global_time_split(interactions(events), 0.4)
    assert rows(split.train) == events[:1]
    assert sorted(wanted(split)) == [0, 1, 2, 3]


def test_what_was_seen_is_not_asked_unless_wanted():
    events = [(0, 0, 0, 1.0), (0, 1, 1, -5.0), (1, 0, 2, 1.0), (0, 0, 8, 1.0), (0, 1, 8, 1.0), (0, 2, 9, 1.0)]
    data = interactions(events)
    assert wanted(global_time_split(data, 0.5)) == {0: [2]}
    both = global_time_split(data, 0.5, include_seen=True)
    assert wanted(both) == {0: [0, 1, 2]}
    assert both.include_seen


def test_only_positive_events_are_asked_but_all_are_history():
    events = [(0, 0, 0, -5.0), (0, 2, 1, 1.0), (0, 3, 8, -5.0), (0, 4, 9, 1.0)]
    split = global_time_split(interactions(events), 0.5)
    assert rows(split.train) == events[:2]
    assert wanted(split) == {0: [4]}


@given(events=EVENTS, share=st.floats(0.05, 0.95))
def test_no_time_stamp_is_on_both_sides(events, share):
    data = interactions(events)
    try:
        split = global_time_split(data, share)
    except InputError:
        return
    later = sorted(event for event in rows(data) if event[2] > split.train.timestamps.max())
    assert sorted(rows(split.train) + later) == sorted(rows(data))
    assert len(later) >= np.floor(share * len(data) + 1e-6)
    asked = {(user, item) for user, items in wanted(split).items() for item in items}
    had = {(user, item) for user, item, _, _ in rows(split.train)}
    assert asked == {(user, item) for user, item, _, weight in later if weight > 0} - had
    assert all(wanted(split).values())


@given(events=EVENTS, seed=st.integers(0, 99))
def test_the_order_of_the_input_does_not_move_the_split(events, seed):
    shuffled = [events[i] for i in np.random.default_rng(seed).permutation(len(events))]
    try:
        split = global_time_split(interactions(events), 0.3)
    except InputError:
        with pytest.raises(InputError):
            global_time_split(interactions(shuffled), 0.3)
        return
    other = global_time_split(interactions(shuffled), 0.3)
    assert wanted(split) == wanted(other)
    assert sorted(rows(split.train)) == sorted(rows(other.train))


@given(events=EVENTS, base=st.floats(0.1, 0.9), blocks=st.integers(1, 5))
def test_blocks_tile_the_time_after_the_base(events, base, blocks):
    data = interactions(events)
    try:
        pairs = list(prequential_blocks(data, base, blocks))
    except InputError:
        return
    assert 1 <= len(pairs) <= blocks
    seen = rows(pairs[0][0])
    for history, block in pairs:
        assert len(block) > 0
        assert history.timestamps.max() < block.timestamps.min()
        assert rows(history) == seen
        seen = seen + rows(block)
    assert seen == rows(data.by_time())


def test_blocks_are_of_equal_size_without_ties():
    pairs = list(prequential_blocks(interactions([(0, 0, t, 1.0) for t in range(100)]), 0.6, 4))
    assert [(len(history), len(block)) for history, block in pairs] == [(60, 10), (70, 10), (80, 10), (90, 10)]


@given(events=EVENTS, base=st.floats(0.2, 0.9), blocks=st.integers(1, 4), delay=st.integers(0, 6), seen=st.booleans())
def test_a_block_is_asked_for_before_it_is_learnt(events, base, blocks, delay, seen):
    data = interactions(events)
    try:
        splits = prequential_splits(data, base, blocks, label_delay=delay, include_seen=seen)
    except InputError:
        return
    by_moment = {
        int(block.timestamps[0]): (history, block) for history, block in prequential_blocks(data, base, blocks)
    }
    assert {split.begins for split in splits} <= set(by_moment)
    for split in splits:
        history, block = by_moment[split.begins]
        assert rows(split.train) == [event for event in rows(history) if split.begins - event[2] >= delay]
        had = set() if seen else {(user, item) for user, item, _, _ in rows(history)}
        asked = {(user, item) for user, items in wanted(split).items() for item in items}
        assert asked == {(user, item) for user, item, _, weight in rows(block) if weight > 0} - had


def test_what_cannot_be_cut_into_blocks_is_refused():
    data = interactions([(0, item, item, 1.0) for item in range(7)])
    with pytest.raises(InputError, match="delay"):
        prequential_splits(data, 0.5, 2, label_delay=-1)
    with pytest.raises(InputError, match="nothing is known"):
        prequential_splits(data, 0.5, 2, label_delay=100)
    with pytest.raises(InputError, match="no block asks"):
        prequential_splits(interactions([(0, 0, time, 1.0) for time in range(9)]), 0.5, 2)


def test_a_block_that_ties_swallow_is_left_out():
    events = [(0, 0, 0, 1.0)] * 4 + [(0, 0, 1, 1.0)] * 6
    pairs = list(prequential_blocks(interactions(events), 0.5, 3))
    assert [(len(history), len(block)) for history, block in pairs] == [(4, 6)]


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    data = interactions([(0, 0, 0, 1.0), (0, 1, 1, 1.0)])
    with pytest.raises(InputError, match="share"):
        global_time_split(data, share)
    with pytest.raises(InputError, match="cannot be cut"):
        list(prequential_blocks(data, share, 2))


@pytest.mark.parametrize(
    "events",
    [[], [(0, 0, 3, 1.0), (0, 1, 3, 1.0)], [(0, 0, 0, 1.0), (0, 0, 1, 1.0)], [(0, 0, 0, 1.0), (0, 1, 1, -1.0)]],
    ids=["no events", "one time stamp", "nothing new", "nothing positive"],
)
def test_what_cannot_be_split_is_refused(events):
    with pytest.raises(InputError, match="split"):
        global_time_split(interactions(events), 0.5)


@pytest.mark.parametrize("events", [[(5, 0, 0, 1.0)], [(0, 7, 0, 1.0)], [(-1, 0, 0, 1.0)], [(0, 0, 0, np.nan)]])
def test_interactions_check_their_columns(events):
    with pytest.raises(InputError):
        interactions(events)


def test_kinds_stay_with_their_events():
    data = interactions([(0, 0, 3, 1.0), (1, 1, 2, -1.0), (2, 2, 1, 1.0)])
    kinds = np.array([0, 1, 1], np.int16)
    typed = replace(data, kinds=kinds, kind_names=("view", "return"))
    assert typed.by_time().kinds.tolist() == [1, 1, 0]
    assert typed.positive().kinds.tolist() == [0, 1]
    assert typed.positive().kind_names == ("view", "return")
    assert data.by_time().kinds is None
    with pytest.raises(InputError, match="kind number"):
        replace(data, kinds=kinds, kind_names=("view",))
    with pytest.raises(InputError, match="length"):
        replace(data, kinds=kinds[:2], kind_names=("view", "return"))


def test_interactions_of_different_lengths_are_refused():
    empty = interactions([])
    with pytest.raises(InputError, match="length"):
        Interactions(np.zeros(1, np.int32), empty.items, empty.timestamps, empty.weights, 1, 1)


def test_popularity_counts_users_with_a_positive_event():
    events = [(0, 1, 0, 1.0), (0, 1, 1, 1.0), (1, 1, 2, 1.0), (2, 1, 3, -5.0), (2, 3, 4, 1.0)]
    assert popularity(interactions(events)).tolist() == [0, 2, 0, 1, 0, 0, 0]


def test_files_of_the_lightgcn_form(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1 2\n1 2 3\n2 5\n\n")
    (tmp_path / "test.txt").write_text("0 3\n1 \n2 4 0 4\n")
    split = from_files(tmp_path / "train.txt", tmp_path / "test.txt")
    assert (split.train.n_users, split.train.n_items) == (3, 6)
    assert split.train.users.tolist() == [0, 0, 0, 1, 1, 2]
    assert split.train.items.tolist() == [0, 1, 2, 2, 3, 5]
    assert wanted(split) == {0: [3], 2: [0, 4]}


@pytest.mark.parametrize("line", ["0 x", "0 -1", "1.5 2", "0 4000000000"])
def test_a_line_that_is_not_numbers_is_named(tmp_path, line):
    (tmp_path / "train.txt").write_text(f"0 1\n{line}\n")
    with pytest.raises(InputError, match=r"train.txt, line 2"):
        from_files(tmp_path / "train.txt", tmp_path / "train.txt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.txt cannot be read"):
        from_files(tmp_path / "none.txt", tmp_path / "none.txt")
