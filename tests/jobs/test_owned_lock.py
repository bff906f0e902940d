"""One holder at a time, whose name and heartbeat others can see, and whose death frees the place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from graphrec.jobs import owned_lock
from graphrec.jobs.owned_lock import OwnedLock

HOLD = """
import sys, time
from pathlib import Path
from graphrec.jobs.owned_lock import OwnedLock
assert OwnedLock(Path(sys.argv[1]), "running").acquire("train", "r1")
print("held", flush=True)
time.sleep(60)
"""


def test_one_holds_it_and_others_see_who(tmp_path: Path) -> None:
    first, second = OwnedLock(tmp_path / "jobs", "running"), OwnedLock(tmp_path / "jobs", "running")
    assert second.owner() is None
    assert first.acquire("train")
    assert not second.acquire("rebuild")
    owner = second.owner()
    assert owner is not None
    assert (owner.task, owner.pid, owner.state) == ("train", os.getpid(), "working")
    first.note("rebuild", "r7")
    assert (second.owner().task, second.owner().run) == ("rebuild", "r7")
    first.release()
    assert second.owner() is None
    assert second.acquire("rebuild")
    second.release()


def test_looking_never_keeps_anybody_out(tmp_path: Path) -> None:
    place, done = OwnedLock(tmp_path, "running"), threading.Event()
    assert place.acquire("first")
    (tmp_path / "left.json").write_bytes((tmp_path / "running.json").read_bytes())
    place.release()
    (tmp_path / "left.json").replace(tmp_path / "running.json")  # as after a death: every look tries the lock

    def look() -> None:
        while not done.is_set():
            OwnedLock(tmp_path, "running").owner()

    looking = threading.Thread(target=look)
    looking.start()
    taken = 0
    for _ in range(30):
        if place.acquire("again"):
            taken += 1
            place.release()
            (tmp_path / "running.json").write_text('{"pid": 1, "host": "", "task": "", "since": "", "run": ""}')
    done.set()
    looking.join()
    assert taken == 30


def test_a_killed_holder_is_gone_and_another_takes_over(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            place = OwnedLock(tmp_path, "running")
            assert not place.acquire("rebuild")
            assert (place.owner().pid, place.owner().state) == (process.pid, "working")
        finally:
            process.kill()
    left = place.owner()
    assert (left.pid, left.task, left.run, left.state) == (process.pid, "train", "r1", "gone")
    assert "gone, last heard of" in str(left)
    assert place.acquire("rebuild")
    assert (place.owner().pid, place.owner().state) == (os.getpid(), "working")
    place.release()


def test_a_heart_that_beats_no_more_is_told(tmp_path: Path, monkeypatch) -> None:
    place = OwnedLock(tmp_path, "running")
    monkeypatch.setattr(owned_lock, "BEAT", 0.01)
    assert place.acquire("train")
    os.utime(tmp_path / "running.json", (0, 0))
    deadline = time.monotonic() + 10
    while place.owner().beat > 5:  # it beats
        assert time.monotonic() < deadline
        time.sleep(0.01)
    place._stop.set()
    place._beating.join()
    os.utime(tmp_path / "running.json", (time.time() - 60,) * 2)
    assert place.owner().state == "silent"
    place.release()


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", '{"pid": 1}', '{"nobody": 1}'):
        (tmp_path / "running.json").write_text(text)
        assert OwnedLock(tmp_path, "running").owner() is None
