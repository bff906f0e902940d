"""What the service did lately: a point a second for ten minutes, and a point a minute for a day, in memory only."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECOND, MINUTE = 1.0, 60.0
_SECONDS, _MINUTES = 600, 1_440  # points kept
_MOST_TIMES = 20_000  # of one point, from which quantiles are taken


@dataclass(frozen=True)
class Standing:
    """How things stand at one moment; counts are since the start of the service.

    offset: of the log in the answers. lists, certified: answered, and of them proved. asked, hits, popular: next events
    asked for, and how many of them graphrec and the recently popular items had named (`prequential`).
    """

    offset: int
    lists: int
    certified: int
    asked: int
    hits: int
    popular: int
    backlog: int
    held_back: float
    epsilon: float
    overlay: int


@dataclass(frozen=True)
class Point:
    """A second or a minute that ended `at`, seconds since 1970; what nothing is known of is None.

    events, questions: a second. p50, p99: seconds of a question, waiting included. freshness: the longest time from a
    commit to being in the answers. certified: share of the lists. hit, popular: shares of the `asked` next events.
    """

    at: float
    events: float
    questions: float
    p50: float | None
    p99: float | None
    freshness: float | None
    certified: float | None
    asked: int
    hit: float | None
    popular: float | None
    backlog: int
    held_back: float
    epsilon: float
    overlay: int


class _Gathering:
    """One kind of point: what has come since the last one."""

    def __init__(self, period: float, most: int) -> None:
        self.period = period
        self.points: deque[Point] = deque(maxlen=most)
        self._times: deque[float] = deque(maxlen=_MOST_TIMES)
        self._freshness: float | None = None
        self._questions = 0
        self._at: float | None = None
        self._before: Standing | None = None

    def answered(self, seconds: float) -> None:
        self._questions += 1
        self._times.append(seconds)

    def fresh(self, seconds: float) -> None:
        self._freshness = max(seconds, self._freshness or 0.0)

    def end(self, at: float, now: Standing) -> None:
        """Close the point if its time has come; the first call only begins one."""
        before, began = self._before, self._at
        if began is not None and before is not None and at - began < self.period:
            return
        if before is not None and began is not None:
            self.points.append(self._point(at, max(at - began, 1e-9), before, now))
        self._times.clear()
        self._freshness, self._questions, self._at, self._before = None, 0, at, now

    def _point(self, at: float, span: float, before: Standing, now: Standing) -> Point:
        times = np.array(self._times)
        p50, p99 = np.quantile(times, (0.5, 0.99)).tolist() if len(times) else (None, None)
        lists, asked = now.lists - before.lists, now.asked - before.asked
        return Point(
            at=round(at, 3),
            events=max(now.offset - before.offset, 0) / span,
            questions=self._questions / span,
            p50=p50,
            p99=p99,
            freshness=self._freshness,
            certified=(now.certified - before.certified) / lists if lists > 0 else None,
            asked=asked,
            hit=(now.hits - before.hits) / asked if asked > 0 else None,
            popular=(now.popular - before.popular) / asked if asked > 0 else None,
            backlog=now.backlog,
            held_back=now.held_back if math.isfinite(now.held_back) else -1.0,  # JSON knows no infinity
            epsilon=now.epsilon,
            overlay=now.overlay,
        )


class LiveSeries:
    """The points, and while the context lasts a thread that makes one a second from `standing()`."""

    def __init__(self, standing: Callable[[], Standing], clock: Callable[[], float] = time.time) -> None:
        self._standing, self._clock = standing, clock
        self._lock = threading.Lock()
        self._kinds = {"seconds": _Gathering(SECOND, _SECONDS), "minutes": _Gathering(MINUTE, _MINUTES)}
        self._stop = threading.Event()
        self._thread = Thread(target=self._run, name="graphrec live figures", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def answered(self, seconds: float) -> None:
        """A question was answered in so many seconds."""
        with self._lock:
            for kind in self._kinds.values():
                kind.answered(seconds)

    def fresh(self, seconds: float) -> None:
        """A commit is in the answers after so many seconds."""
        with self._lock:
            for kind in self._kinds.values():
                kind.fresh(seconds)

    def look(self) -> None:
        """End the points whose time has come."""
        at, now = self._clock(), self._standing()
        with self._lock:
            for kind in self._kinds.values():
                kind.end(at, now)

    def since(self, kind: str, moment: float) -> list[dict[str, Any]]:
        """The points, "seconds" or "minutes", that ended after a moment, oldest first."""
        with self._lock:
            points: Sequence[Point] = tuple(self._kinds[kind].points)
        return [asdict(point) for point in points if point.at > moment]

    def _run(self) -> None:
        self.look()
        while not self._stop.wait(SECOND):
            self.look()
