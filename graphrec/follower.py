"""The writer thread: keeps an open workspace up with its store while other threads ask.

Events that anybody stores, this process or another, are followed within milliseconds, in turns short enough that no
question waits for long (`graphrec.turns`). While very many wait, users may hold back what is below a bound
(`graphrec.embedding.overload`). When nothing waits, the thread does what can: it sends what is held back, and forms
sums anew, a few at a time (`graphrec.embedding.scrubber`).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphrec.embedding.scrubber import Scrubbed
    from graphrec.recommender import Recommender

INTERVAL = 0.01  # seconds between two looks at the store
_VISITS = 2_000  # edges walked in one idle turn: about three milliseconds for the widest vectors
_IDLE_TURNS = 10  # in one round, for what is held back
_SCRUB_EVERY = 0.1  # seconds
_AFTER_ERROR = 1.0  # seconds until the next attempt

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Followed:
    """What the thread has done so far, and how things stand.

    events: applied. behind: seconds that the last round with events took from its look at the store to their being in
    every answer. held_back: the largest message any user holds back, a length; 0 = everything is exact. checked: nodes
    whose sums were formed anew. drift: the largest relative difference they showed. repaired: nodes beyond the
    tolerance. error: what kept the last round from its end.
    """

    events: int = 0
    behind: float = 0.0
    held_back: float = 0.0
    checked: int = 0
    drift: float = 0.0
    repaired: int = 0
    error: str | None = None


class Follower:
    """One thread that writes, for as long as the context lasts.

    `with Follower(recommender): ...`; everything that `recommender` answers inside is at most about `interval` behind
    the store. An error is logged, and tried again after a second: the answers stay as they were. `advanced` is called
    in the thread after each round.
    """

    def __init__(
        self, recommender: Recommender, interval: float = INTERVAL, advanced: Callable[[], None] | None = None
    ) -> None:
        self.interval = interval
        self._advanced = advanced
        self.followed = Followed()
        self._recommender = recommender
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._scrubbed = time.monotonic()
        self._thread = Thread(target=self._run, name="graphrec follower", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread after the round it is in."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """Have it look at the store now: for whoever has just written there."""
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            pause = self.interval
            try:
                self._round()
            except Exception as error:  # whatever it is: the thread must not end silently, nor the answers with it
                _log.exception("following the store")
                self.followed = replace(self.followed, error=f"{type(error).__name__}: {error}")
                pause = _AFTER_ERROR
            self._wake.wait(pause)
            self._wake.clear()

    def _round(self) -> None:
        """Follow what is new; where nothing is, do what has waited for that."""
        started, so_far = time.perf_counter(), self.followed
        events = self._recommender.refresh(patient=True)
        if events:
            so_far = replace(so_far, events=so_far.events + events, behind=time.perf_counter() - started)
        else:
            for _ in range(_IDLE_TURNS):
                self._recommender.drain(_VISITS)
                if not self._recommender.held_back or self._wake.is_set():
                    break
            if time.monotonic() - self._scrubbed > _SCRUB_EVERY:
                self._scrubbed = time.monotonic()
                so_far = _with(so_far, self._recommender.scrub(_VISITS))
        self.followed = replace(so_far, held_back=self._recommender.held_back, error=None)
        if self._advanced is not None:
            self._advanced()


def _with(so_far: Followed, found: Scrubbed | None) -> Followed:
    if found is None:
        return so_far
    return replace(
        so_far,
        checked=so_far.checked + found.users + found.items,
        drift=max(so_far.drift, found.drift),
        repaired=so_far.repaired + len(found.repaired_users) + len(found.repaired_items),
    )
