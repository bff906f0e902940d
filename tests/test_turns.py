from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from graphrec.turns import Turns


@pytest.fixture
def _often_interrupted() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def hold(turn: AbstractContextManager[None]) -> tuple[threading.Event, threading.Thread]:
    """A thread that holds a turn, once this returns, until the event is set."""
    held, release = threading.Event(), threading.Event()

    def run() -> None:
        with turn:
            held.set()
            release.wait(10)

    thread = in_thread(run)
    assert held.wait(10)
    return release, thread


def took(turn: AbstractContextManager[None]) -> threading.Event:
    """Set when another thread has had the turn."""
    done = threading.Event()

    def run() -> None:
        with turn:
            done.set()

    in_thread(run)
    return done


def test_readers_share() -> None:
    turns = Turns()
    release, thread = hold(turns.reading())
    assert took(turns.reading()).wait(10)
    release.set()
    thread.join(10)


@pytest.mark.parametrize("first", ["reading", "writing"])
def test_the_writer_is_alone(first: str) -> None:
    turns = Turns(patience=60)
    release, _ = hold(getattr(turns, first)())
    others = [took(turns.writing())]
    if first == "writing":
        others.append(took(turns.reading()))
    assert not any(other.wait(0.05) for other in others)
    release.set()
    assert all(other.wait(10) for other in others)


def test_readers_pass_a_patient_writer_and_wait_for_an_impatient_one() -> None:
    for patience, passes in ((60.0, True), (0.0, False)):
        turns = Turns(patience)
        release, _ = hold(turns.reading())
        writer = took(turns.writing())
        time.sleep(0.05)  # the writer is waiting now
        assert took(turns.reading()).wait(0.2) is passes
        assert not writer.is_set()
        release.set()
        assert writer.wait(10)


def test_turns_nest() -> None:
    turns = Turns(patience=0)
    with turns.writing(), turns.writing(), turns.reading():
        pass
    with turns.reading():
        waiting = took(turns.writing())
        time.sleep(0.02)
        with turns.reading():  # though a writer waits, or it would wait for us, and we for it
            assert not waiting.is_set()
    assert waiting.wait(10)


def test_a_reader_cannot_become_the_writer() -> None:
    turns = Turns()
    with turns.reading(), pytest.raises(RuntimeError, match="reader"), turns.writing():
        pass
    with turns.writing():  # nothing is left behind
        pass


def test_a_turn_ends_with_an_exception() -> None:
    turns = Turns()
    for turn in (turns.reading, turns.writing):
        with pytest.raises(ZeroDivisionError), turn():
            raise ZeroDivisionError
    assert took(turns.writing()).wait(10)


def mixed_sights(reading: Callable[[], AbstractContextManager[None]], turns: Turns) -> int:
    """How often three readers see two cells differ that a writer always changes together."""
    cells, done, mixed = [0, 0], threading.Event(), [0]

    def read() -> None:
        while not done.is_set():
            with reading():
                first = cells[0]
                time.sleep(0)
                mixed[0] += first != cells[1]

    readers = [in_thread(read) for _ in range(3)]
    for number in range(300):
        with turns.writing():
            cells[0] = number
            time.sleep(1e-5)
            cells[1] = number
    done.set()
    for reader in readers:
        reader.join(10)
    return mixed[0]


@pytest.mark.usefixtures("_often_interrupted")
def test_nobody_sees_half_a_change() -> None:
    turns = Turns(patience=0.001)
    assert mixed_sights(turns.reading, turns) == 0


@pytest.mark.usefixtures("_often_interrupted")
def test_this_check_sees_readers_who_take_no_turn() -> None:
    assert mixed_sights(nullcontext, Turns()) > 0
