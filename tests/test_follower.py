"""The writer thread: what anybody stores is in the answers soon, what can wait is done when nothing waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphrec import follower as follower_module
from graphrec import live_state
from graphrec.errors import StoreError
from graphrec.events.event import Event, Item, table_of
from graphrec.follower import Follower
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of milliseconds instead of a second."""
    monkeypatch.setattr(follower_module, "_AFTER_ERROR", 0.01)
    monkeypatch.setattr(follower_module, "_SCRUB_EVERY", 0.0)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def vectors(recommender: Recommender) -> np.ndarray:
    return recommender.item_vectors()[1]


def test_what_another_store_brings_in_is_followed(shop: Path, world) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        with Follower(recommender) as follower:
            elsewhere.upsert_items([Item("i99", "a pot", "red garden pot"), Item("i3", "pot", "blue coffee mug")])
            elsewhere.append(table_of(world.events[700:]))
            elsewhere.append(table_of([Event("new", "i99", timestamp=world.events[-1].timestamp)]))
            until(lambda: recommender.offset == elsewhere.offset and recommender.held_back == 0)
            assert recommender.recommend("new", k=3).personal
            assert follower.followed.events == recommender.offset - 700
            assert follower.followed.error is None
            assert recommender.search("red garden pot")[0].item == "i99"
        followed, digest = vectors(recommender), recommender.state_digest()
    with Recommender.open(shop) as recommender:  # at once
        assert recommender.state_digest() == digest
        np.testing.assert_allclose(vectors(recommender), followed, atol=1e-5)


def test_it_ends_with_its_context(shop: Path, world) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        before = threading.active_count()
        with Follower(recommender):
            assert threading.active_count() > before
        assert threading.active_count() == before
        elsewhere.append(table_of(world.events[700:]))
        assert recommender.offset == 700
        assert recommender.refresh() == 200


@pytest.mark.usefixtures("quick")
def test_under_a_backlog_users_hold_messages_back_and_send_them_when_idle(
    shop: Path, world, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_state, "held_back", lambda backlog: 0.2 if backlog > 100 else 0.0)
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        elsewhere.append(table_of(world.events[700:]))
        assert recommender.refresh(patient=True) == 200
        assert recommender.held_back > 0
        lagging = vectors(recommender)
        with Follower(recommender):
            until(lambda: recommender.held_back == 0)
        assert not np.allclose(vectors(recommender), lagging, atol=1e-4)
        exact = vectors(recommender)
    with Recommender.open(shop) as recommender:
        np.testing.assert_allclose(vectors(recommender), exact, atol=1e-5)


def test_an_impatient_refresh_is_exact_whatever_was_held_back(
    shop: Path, world, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_state, "held_back", lambda backlog: 0.2)
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        elsewhere.append(table_of(world.events[700:]))
        recommender.refresh(patient=True)
        assert recommender.held_back > 0
        recommender.refresh()
        assert recommender.held_back == 0


@pytest.mark.usefixtures("quick")
def test_damaged_sums_are_found_and_repaired(shop: Path) -> None:
    with Recommender.open(shop) as recommender:
        propagation = recommender.retriever.propagation
        assert propagation is not None
        right = vectors(recommender)
        propagation._items["sum2"][3] += 5
        propagation._items["vector"][3] += 1
        with Follower(recommender) as follower:
            until(lambda: follower.followed.repaired)
            assert follower.followed.checked > 0
            assert follower.followed.drift > 1e-5
        np.testing.assert_allclose(vectors(recommender), right, atol=1e-5)
        assert np.allclose(recommender.retriever.vectors(np.array([3], np.int32)), right[3], atol=1e-5)


@pytest.mark.usefixtures("quick")
def test_an_error_leaves_the_answers_and_is_tried_again(shop: Path, world, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        refresh, failures = recommender.refresh, iter([StoreError("the disk is away"), ValueError("a surprise")])

        def failing(*, patient: bool = False) -> int:
            for failure in failures:
                raise failure
            return refresh(patient=patient)

        monkeypatch.setattr(recommender, "refresh", failing)
        elsewhere.append(table_of(world.events[700:]))
        with Follower(recommender) as follower:
            assert len(recommender.recommend("u1", k=3)) == 3
            until(lambda: recommender.offset == 900)
            until(lambda: follower.followed.error is None)


def test_questions_run_beside_it_and_see_whole_slices(shop: Path, world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events come in pairs, to both of two users: whoever asks sees as many of one as of the other."""
    monkeypatch.setattr(live_state, "_SLICE", 2)
    last = world.events[-1].timestamp
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        elsewhere.append(table_of([Event(user, "i0", timestamp=last) for user in ("a", "b")]))
        recommender.refresh()
        faults, answers, done = [], [0], threading.Event()

        def ask() -> None:
            while not done.is_set():
                with recommender.reading() as state:
                    seen = [len(state.retriever.seen(state.users.number(user))) for user in ("a", "b")]
                    time.sleep(0)
                    again = [len(state.retriever.seen(state.users.number(user))) for user in ("a", "b")]
                if seen[0] != seen[1] or seen != again:
                    faults.append((seen, again))
                recommender.recommend("a", k=3)
                answers[0] += 1

        readers = [threading.Thread(target=ask) for _ in range(3)]
        for reader in readers:
            reader.start()
        with Follower(recommender, interval=0.0):
            for number in range(1, 40):
                pair = [Event(user, f"i{number}", timestamp=last + number) for user in ("a", "b")]
                elsewhere.append(table_of(pair))
            until(lambda: recommender.offset == elsewhere.offset)
        done.set()
        for reader in readers:
            reader.join()
        assert faults == []
        assert answers[0] > 0


def test_answers_go_on_while_a_generation_is_made(shop: Path, world, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        rebuilt, inside, release = type(recommender._state).rebuilt, threading.Event(), threading.Event()

        def slow(state, progress=None):
            made = rebuilt(state, progress)
            inside.set()
            assert release.wait(20)
            return made

        monkeypatch.setattr(type(recommender._state), "rebuilt", slow)
        with Follower(recommender):
            job = threading.Thread(target=recommender.rebuild)
            job.start()
            assert inside.wait(20)
            elsewhere.append(table_of(world.events[700:]))
            until(lambda: recommender.offset == 900)  # followed, and asked, beside the job
            assert recommender.recommend("u1", k=3).generation == 1
            release.set()
            job.join(20)
            assert recommender.generation == 2
            assert recommender.offset == 900
            assert recommender.recommend("u1", k=3).generation == 2


def test_a_look_at_a_store_without_news_reads_no_events(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recommender.open(shop) as recommender:
        read: list[int] = []
        monkeypatch.setattr(recommender.store, "read", lambda after, *_: read.append(after))
        assert recommender.refresh(patient=True) == 0
        assert read == []


def test_what_is_held_back_is_sent_in_several_short_turns(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, left = [], [3.0, 2.0, 1.0, 0.0]
    with Recommender.open(shop) as recommender:
        monkeypatch.setattr(recommender, "drain", turns.append)
        monkeypatch.setattr(type(recommender), "held_back", property(lambda _: left[min(len(turns), 4) - 1]))
        follower = Follower(recommender)
        follower._round()
        assert turns == [follower_module._VISITS] * 4  # until nothing is left
        turns.clear()
        follower.wake()
        follower._round()
        assert len(turns) == 1  # no more beside news
