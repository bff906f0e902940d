"""What was shown, and what came of it: the feedback loop.

Every list that a service answers has an impression id, which goes back with a click, a cart or a purchase. Lists and
outcomes are kept in `impressions.db`, beside the log and not in it: they say how the models did, and answers are not
derived from them. They are written behind the answers, some at a time, so a crash loses those of the last moments, and
under too much load some are dropped and counted. The events they come with are in the log, durably, before anything is
acknowledged.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from graphrec.notes import IMPRESSIONS
from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

UNTRAINED = 0  # instead of the number of a generation
_EVERY = 0.2  # seconds between two transactions
_MOST_WAITING = 50_000  # lists and outcomes; more are dropped
_DAY = 86_400.0
_PRUNE_EVERY = 3_600.0  # seconds

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lists (id TEXT PRIMARY KEY, at REAL NOT NULL, question TEXT NOT NULL, user TEXT,
    generation INTEGER NOT NULL, offset INTEGER NOT NULL, items TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lists_by_time ON lists (at);
CREATE TABLE IF NOT EXISTS outcomes (list TEXT NOT NULL, item TEXT NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (list, item, kind)) WITHOUT ROWID;
"""
_TOTALS = "SELECT generation, question, count(*) FROM lists GROUP BY 1, 2 ORDER BY 1, 2"
_CHOSEN = """
SELECT lists.generation, lists.question, outcomes.kind, count(DISTINCT outcomes.list)
FROM outcomes JOIN lists ON lists.id = outcomes.list GROUP BY 1, 2, 3
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """A list that somebody was shown."""

    id: str
    at: float  # unix seconds
    question: str  # recommend, similar, search or trending
    user: str | None
    generation: int | None
    offset: int
    items: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """An item of a list was chosen, and how: the kind of the event."""

    list: str
    item: str
    kind: str
    at: float  # unix seconds


@dataclass(frozen=True)
class Rates:
    """How the lists of one generation did. ctr, cvr: share of lists with a click; with a purchase."""

    generation: int
    question: str
    lists: int
    chosen: dict[str, int]  # kind -> lists with such an event
    ctr: float
    cvr: float


class Impressions:
    """Lists and outcomes of a workspace, written by a thread of its own for as long as the context lasts.

    days: how long they are kept.
    """

    def __init__(self, directory: Path, days: float) -> None:
        self.dropped = 0
        self._days = days
        self._waiting: deque[Shown | Outcome] = deque()
        self._recent: dict[str, Shown] = {}  # not written yet
        self._lock = threading.Lock()  # of the connection
        self._stop = threading.Event()
        self._pruned = 0.0
        self._connection = sqlite3.connect(directory / IMPRESSIONS, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA busy_timeout = 10000")
        self._connection.executescript(_SCHEMA)
        self._thread = Thread(target=self._run, name="graphrec impressions", daemon=True)

    def __enter__(self) -> Impressions:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()

    def show(self, shown: Shown) -> None:
        """Note a list."""
        if self._add(shown):
            self._recent[shown.id] = shown

    def choose(self, outcomes: Iterable[Outcome]) -> None:
        """Note what came of lists; the same again changes nothing."""
        for outcome in outcomes:
            self._add(outcome)

    def find(self, list_id: str) -> Shown | None:
        """The list with this id, None if it is not kept."""
        found = self._recent.get(list_id)
        if found is not None:
            return found
        with self._lock:
            row = self._connection.execute(
                "SELECT id, at, question, user, generation, offset, items FROM lists WHERE id = ?", (list_id,)
            ).fetchone()
        if row is None:
            return None
        known_id, at, question, user, generation, offset, items = row
        return Shown(known_id, at, question, user, generation or None, offset, tuple(msgspec.json.decode(items)))

    def rates(self) -> list[Rates]:
        """How the lists did, by generation and question; writes what waits first."""
        self.write()
        with self._lock:
            totals = self._connection.execute(_TOTALS).fetchall()
            outcomes = self._connection.execute(_CHOSEN).fetchall()
        chosen: dict[tuple[int, str], dict[str, int]] = {}
        for generation, question, kind, lists in outcomes:
            chosen.setdefault((generation, question), {})[kind] = lists
        found = []
        for generation, question, lists in totals:
            kinds = chosen.get((generation, question), {})
            ctr, cvr = (kinds.get(kind, 0) / lists for kind in ("click", "purchase"))
            found.append(Rates(generation, question, lists, kinds, ctr, cvr))
        return found

    def write(self) -> None:
        """Bring what waits into the file; what cannot be written is dropped and counted."""
        with self._lock:
            some = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if not some:
                return
            lists = [one for one in some if isinstance(one, Shown)]
            outcomes = [(one.list, one.item, one.kind, one.at) for one in some if isinstance(one, Outcome)]
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(
                    "INSERT OR IGNORE INTO lists VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, lists)
                )
                self._connection.executemany("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?, ?)", outcomes)
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self.dropped += len(some)
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                for shown in lists:
                    self._recent.pop(shown.id, None)

    def _add(self, one: Shown | Outcome) -> bool:
        if len(self._waiting) >= _MOST_WAITING:
            self.dropped += 1
            return False
        self._waiting.append(one)
        return True

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            try:
                self.write()
                if time.monotonic() - self._pruned > _PRUNE_EVERY or not self._pruned:
                    self._pruned = time.monotonic()
                    self._prune(time.time() - self._days * _DAY)
            except sqlite3.Error:
                _log.exception("writing impressions")
        self.write()

    def _prune(self, before: float) -> None:
        with self._lock:
            self._connection.execute(
                "DELETE FROM outcomes WHERE list IN (SELECT id FROM lists WHERE at < ?)", (before,)
            )
            self._connection.execute("DELETE FROM lists WHERE at < ?", (before,))


def _row(shown: Shown) -> Sequence[Any]:
    items = msgspec.json.encode(shown.items).decode()
    return shown.id, shown.at, shown.question, shown.user, shown.generation or UNTRAINED, shown.offset, items
