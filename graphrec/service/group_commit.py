"""Group commit: events of many requests in one durable transaction.

One thread takes what waits, judges it by the rules of files (`graphrec.events.validation`), appends it and tells every
caller what became of its own rows. A post alone is written at once; where one follows another, the thread first waits
five milliseconds for company, which costs the cores, and so the questions, less than a transaction each.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.errors import StoreError
from graphrec.events.raw_rows import object_rows
from graphrec.events.validation import validate
from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphrec.config import EventSettings
    from graphrec.events.quarantine import Rejection
    from graphrec.events.store import EventStore

FIELDS = ("user", "item", "kind", "timestamp", "value", "event_id")
COMPANY = 0.005  # seconds a group waits for more
_BUSY = 0.02  # seconds after a commit in which more are expected
_GROUP_ROWS = 5_000  # beyond it nothing is waited for
_MOST_WAITING = 100_000  # rows; more are refused at once

Row = dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A row that was not taken: its place in the post, from 1, the first bad field, and what was wrong with it."""

    row: int
    field: str
    expected: str
    got: str


@dataclass(frozen=True)
class Taken:
    """What became of one post; read = accepted + duplicates + len(rejected).

    new: places, from 0, of the accepted rows. repeated: places, from 1, of those known already. offset: of the log once
    all of it is in.
    """

    read: int
    accepted: int
    duplicates: int
    rejected: tuple[Rejected, ...]
    repeated: tuple[int, ...]
    new: tuple[int, ...]
    offset: int


class GroupCommit:
    """The writer thread of a service, for as long as the context lasts; what was submitted before the end is written.

    `committed(offset, seconds)` is called after each transaction, in the thread: where the log ends, and what it took.
    """

    def __init__(self, store: EventStore, settings: EventSettings, committed: Callable[[int, float], None]) -> None:
        self._store, self._settings, self._committed = store, settings, committed
        self._queue: queue.SimpleQueue[tuple[Sequence[Row], Future[Taken]] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._last = 0.0
        self._thread = Thread(target=self._run, name="graphrec group commit", daemon=True)

    def __enter__(self) -> GroupCommit:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._queue.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return self._waiting

    def submit(self, rows: Sequence[Row]) -> Future[Taken]:
        """Have rows appended: objects with the fields of an event. The future holds Taken, or the StoreError.

        Raises StoreError where too many rows wait already.
        """
        with self._lock:
            if self._waiting + len(rows) > _MOST_WAITING:
                raise StoreError(
                    "too many events wait to be written", got=str(self._waiting), way_out="post them later"
                )
            self._waiting += len(rows)
        taken: Future[Taken] = Future()
        self._queue.put((rows, taken))
        return taken

    def _run(self) -> None:
        ending = False
        while not ending:
            post = self._queue.get()
            posts = [] if post is None else [post]
            if post is not None and time.monotonic() - self._last < _BUSY and len(post[0]) < _GROUP_ROWS:
                time.sleep(COMPANY)
            while post is not None and sum(len(rows) for rows, _ in posts) < _GROUP_ROWS and not self._queue.empty():
                post = self._queue.get()
                if post is not None:
                    posts.append(post)
            ending = post is None
            if posts:
                self._commit(posts)
                self._last = time.monotonic()

    def _commit(self, posts: list[tuple[Sequence[Row], Future[Taken]]]) -> None:
        started = time.perf_counter()
        together = [row for rows, _ in posts for row in rows]
        try:
            outcomes = self._append(together, [len(rows) for rows, _ in posts])
        except Exception as error:  # nothing of it is acknowledged, and the thread goes on
            for _, taken in posts:
                taken.set_exception(error)
        else:
            self._committed(outcomes[0].offset, time.perf_counter() - started)
            for (_, taken), outcome in zip(posts, outcomes, strict=True):
                taken.set_result(outcome)
        finally:
            with self._lock:
                self._waiting -= len(together)

    def _append(self, rows: list[Row], lengths: Sequence[int]) -> list[Taken]:
        names = {name: name for name in FIELDS if name != "kind" or any("kind" in row for row in rows)}
        if "kind" in names:  # a row without one has the default, like a table without the column
            rows = [row if "kind" in row else {**row, "kind": self._settings.default_kind} for row in rows]
        raw = object_rows("post", np.arange(len(rows), dtype=np.int64), rows, names, [], 0)
        table, rejections = validate(raw, self._settings, time.time())
        appended, fresh = self._store.append_each(table)
        new = np.zeros(len(rows), np.bool_)
        good = np.ones(len(rows), np.bool_)
        good[[rejection.line for rejection in rejections]] = False
        new[np.flatnonzero(good)] = fresh
        outcomes, first = [], 0
        for length in lengths:
            mine = slice(first, first + length)
            rejected = tuple(_rejected(found, first) for found in rejections if first <= found.line < first + length)
            accepted = int(new[mine].sum())
            repeated = np.flatnonzero(good[mine] & ~new[mine]) + 1
            outcomes.append(
                Taken(
                    read=length,
                    accepted=accepted,
                    duplicates=len(repeated),
                    rejected=rejected,
                    repeated=tuple(repeated.tolist()),
                    new=tuple(np.flatnonzero(new[mine]).tolist()),
                    offset=appended.offset,
                )
            )
            first += length
        return outcomes


def _rejected(found: Rejection, first: int) -> Rejected:
    return Rejected(found.line - first + 1, found.field, found.expected, found.got)
