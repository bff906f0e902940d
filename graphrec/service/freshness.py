"""Read your own writes: whoever posted an event waits until the answers know it, for as long as the caller allows."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphrec.recommender import Recommender

_MOST_COMMITS = 1_000  # that are watched at a time


class Freshness:
    """Whom to tell when the answers have reached an offset of the log and a version of the catalogue.

    `seconds(s)` is called with the time from a commit to its being in the answers.
    """

    def __init__(self, recommender: Recommender, seconds: Callable[[float], None]) -> None:
        self._recommender, self._seconds = recommender, seconds
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._commits: list[tuple[int, float]] = []

    def committed(self, offset: int, at: float) -> None:
        """A post ended at this offset, at a time of `time.perf_counter`."""
        with self._lock:
            self._commits = [*self._commits[-_MOST_COMMITS:], (offset, at)]

    def advanced(self) -> None:
        """The answers may know more: called by the follower after each round."""
        if not (self._waiting or self._commits):
            return
        now = time.perf_counter()
        with self._lock:
            reached = [waiter for waiter in self._waiting if self._knows(waiter[0], waiter[1])]
            self._waiting = [waiter for waiter in self._waiting if waiter not in reached]
            seen = [at for offset, at in self._commits if offset <= self._recommender.offset]
            self._commits = [commit for commit in self._commits if commit[0] > self._recommender.offset]
        for at in seen:
            self._seconds(now - at)
        for _, _, loop, event in reached:
            with suppress(RuntimeError):  # a loop that has ended meanwhile
                loop.call_soon_threadsafe(event.set)

    async def reached(self, offset: int, catalogue_offset: int, patience: float) -> bool:
        """Wait so many seconds at most; whether the answers know both."""
        waiter = offset, catalogue_offset, asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if self._knows(offset, catalogue_offset):
                return True
            self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter[-1].wait(), patience)
        except TimeoutError:
            with self._lock, suppress(ValueError):
                self._waiting.remove(waiter)
            return self._knows(offset, catalogue_offset)
        return True

    def _knows(self, offset: int, catalogue_offset: int) -> bool:
        return self._recommender.offset >= offset and self._recommender.catalogue_offset >= catalogue_offset
