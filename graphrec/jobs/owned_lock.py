"""A place that one process of many holds, and a record of who it is and whether its heart still beats.

The operating system frees the place when its holder dies, however it dies; the record then stays, and tells who it was.
A heartbeat tells apart a process that works and one that hangs.

    NAME.lock   held (flock) by the one
    NAME.json   pid, host, task, since; its modification time is the last beat
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path

BEAT = 2.0  # seconds
SILENT_AFTER = 15.0  # seconds without a beat
_PATIENCE = 0.3  # seconds: whoever only looks whether the place is held has left it by then


@dataclass(frozen=True)
class Owner:
    """Who holds a place, or held it last.

    state: "working"; "silent" = it holds the place, but its heart has not beaten for long; "gone" = it died. beat:
    seconds since its heart last beat.
    """

    pid: int
    host: str
    task: str
    since: str
    run: str
    beat: float
    state: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        last = "" if self.state == "working" else f", last heard of {self.beat:.0f} s ago"
        return f"{self.task} by process {self.pid} on {self.host} since {self.since} ({self.state}{last})"


class OwnedLock:
    """One place of a name in a folder, which it makes; not shared between threads."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._record = folder / f"{name}.json"
        self._path = folder / f"{name}.lock"
        self._lock = FileLock(self._path, thread_local=False)
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self, task: str, run: str = "") -> bool:
        """Take the place and note who has it; False where another holds it."""
        self._folder.mkdir(exist_ok=True)
        try:
            self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            return False
        try:
            self.note(task, run)
            self._stop.clear()
            self._beating = threading.Thread(target=self._beat, name="graphrec heartbeat", daemon=True)
            self._beating.start()
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Leave the place, and no record."""
        if self._beating is None:
            return
        self._stop.set()
        self._beating.join()
        self._beating = None
        self._record.unlink(missing_ok=True)
        self._lock.release()

    def owner(self) -> Owner | None:
        """Who holds the place, or died there; None where it is free and was left in order."""
        try:
            beat = max(time.time() - self._record.stat().st_mtime, 0.0)
            noted = json.loads(self._record.read_text(encoding="utf-8"))
            state = "gone" if not self._is_held() else "working" if beat < SILENT_AFTER else "silent"
            if state == "gone" and not self._record.exists():  # left meanwhile
                return None
            return Owner(**noted, beat=beat, state=state)
        except (OSError, ValueError, TypeError):
            return None

    def _is_held(self) -> bool:
        looking = FileLock(self._path, thread_local=False)
        try:
            looking.acquire(timeout=0)
        except Timeout:
            return True
        looking.release()
        return False

    def note(self, task: str, run: str = "") -> None:
        """Write down what the holder does; for the holder."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        noted = {"pid": os.getpid(), "host": socket.gethostname(), "task": task, "since": since, "run": run}
        temporary = self._record.with_suffix(".new")  # only the holder writes one
        temporary.write_text(json.dumps(noted), encoding="utf-8")
        temporary.replace(self._record)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):
                os.utime(self._record)
