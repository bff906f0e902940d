"""Everything one service holds while it runs: the recommender, its threads, and what is counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar

from graphrec.bounded_log import BoundedLog
from graphrec.errors import GraphrecError
from graphrec.follower import Follower
from graphrec.service.freshness import Freshness
from graphrec.service.group_commit import GroupCommit
from graphrec.service.impressions import Impressions
from graphrec.service.jobs import Jobs
from graphrec.service.keys import Keys
from graphrec.service.limits import RateLimit
from graphrec.service.live import LiveSeries, Standing
from graphrec.service.metrics import Metrics
from graphrec.service.prequential import Prequential
from graphrec.service.pseudonyms import Pseudonyms
from graphrec.threads import inherited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from graphrec.operation_settings import ServeSettings
    from graphrec.recommender import Recommender
    from graphrec.service.impressions import Rates


Answer = TypeVar("Answer")
_LOOK = 0.025  # seconds between two looks at the store for what other processes wrote; our own posts wake the follower
_RATES_AGE = 5.0  # seconds that click rates are kept before they are counted again

DRIFT = "drift.jsonl"
_DRIFT_BYTES = 1 << 18  # about a thousand measurements

_log = logging.getLogger(__name__)


class BusyError(GraphrecError):
    """So many questions wait that another would only wait too."""


class Running:
    """A service without its routes: `with Running(recommender, settings)` starts the threads and ends them.

    What was acknowledged is durable and in the answers' log when the context is left; the recommender stays open.
    labels: of every metric.
    """

    def __init__(self, recommender: Recommender, settings: ServeSettings, labels: Mapping[str, str] = {}) -> None:
        directory = recommender.workspace.directory
        self.recommender, self.settings = recommender, settings
        self.keys = Keys(directory)
        self.rate = RateLimit(settings.rate)
        self.pseudonyms = Pseudonyms(directory, at_the_door=settings.pseudonyms)
        self.metrics = Metrics(labels)
        self.started = time.time()
        self.live = LiveSeries(self._standing)
        self.prequential = Prequential(recommender)
        self.freshness = Freshness(recommender, self._fresh)
        self.follower = Follower(recommender, _LOOK, self.freshness.advanced)
        self.commit = GroupCommit(recommender.store, recommender.workspace.config.events, self._committed)
        self.impressions = Impressions(directory, settings.impression_days) if settings.impressions else None
        self.metrics.watch(recommender, self.follower, self.backlog, lambda: self.commit.waiting, self.dropped)
        self.jobs = Jobs(recommender, scheduled=settings.schedule)
        self.drift = BoundedLog(directory / DRIFT, _DRIFT_BYTES)
        self.measuring = threading.Lock()
        self._pool = ThreadPoolExecutor(settings.threads, "graphrec answers", initializer=inherited())
        # a thread of its own, so that a long import holds no question up
        self._catalogue = ThreadPoolExecutor(1, "graphrec catalogue", initializer=inherited())
        self._asked = 0
        self._rates: tuple[float, list[Rates]] = (0.0, [])
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._pool)
        self._stack.enter_context(self._catalogue)
        self._stack.enter_context(self.follower)
        if self.impressions is not None:
            self._stack.enter_context(self.impressions)
        self._stack.enter_context(self.commit)
        self._stack.enter_context(self.live)
        self._stack.enter_context(self.jobs)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    async def ask(self, question: Callable[[], Answer]) -> tuple[Answer, float, float]:
        """Have a thread answer: the answer, and the seconds it waited and took; raises BusyError."""
        if self._asked >= self.settings.waiting + self.settings.threads:
            raise BusyError("too many questions wait", got=str(self._asked), way_out="ask later, or of another replica")
        self._asked += 1
        asked = time.perf_counter()

        def timed() -> tuple[Answer, float, float]:
            started = time.perf_counter()
            answer = question()
            ended = time.perf_counter()
            self.live.answered(ended - asked)
            return answer, started - asked, ended - started

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        finally:
            self._asked -= 1

    async def change(self, write: Callable[[], Answer]) -> Answer:
        """Have the catalogue's thread write, one change after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._catalogue, write)

    def test(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Ask for one of some events before they are written, if no question waits; nobody waits for it."""
        picked = None if self._asked else self.prequential.pick(rows)
        if picked is not None:
            self._pool.submit(self._tested, *picked)

    async def seen(self, offset: int, *, catalogue_offset: int = 0, wait: bool) -> bool:
        """Whether the answers know the log and the catalogue up to there, after waiting if that is wanted."""
        self.follower.wake()
        patience = self.settings.wait_seconds if wait else 0.0
        return await self.freshness.reached(offset, catalogue_offset, patience)

    def backlog(self) -> int:
        """Events of the log that the answers do not know yet."""
        return max(self.recommender.store.offset - self.recommender.offset, 0)

    def dropped(self) -> int:
        """Lists and outcomes that were not kept."""
        return 0 if self.impressions is None else self.impressions.dropped

    def rates(self) -> list[Rates]:
        """How shown lists did, counted at most every few seconds."""
        if self.impressions is None:
            return []
        at, rates = self._rates
        if time.monotonic() - at > _RATES_AGE or not at:
            rates = self.impressions.rates()
            self._rates = time.monotonic(), rates
        return rates

    def _tested(self, user: str, item: str, offset: int) -> None:
        try:
            self.prequential.ask(user, item, offset)
        except GraphrecError as error:
            _log.warning("testing on a new event: %s", error.problem)

    def _fresh(self, seconds: float) -> None:
        self.metrics.freshness.observe(seconds)
        self.live.fresh(seconds)

    def _standing(self) -> Standing:
        counted = self.metrics.lists_answered()
        index, score = self.recommender.retriever.index, self.prequential.score
        propagation = self.recommender.retriever.propagation
        return Standing(
            offset=self.recommender.offset,
            lists=counted.get("true", 0) + counted.get("false", 0),
            certified=counted.get("true", 0),
            asked=score.asked,
            hits=score.hits,
            popular=score.popular,
            backlog=self.backlog(),
            held_back=self.follower.followed.held_back,
            epsilon=0.0 if propagation is None else float(propagation.epsilon),
            overlay=0 if index is None else len(index.view.overlay),
        )

    def _committed(self, offset: int, seconds: float) -> None:
        self.metrics.commits.observe(seconds)
        self.freshness.committed(offset, time.perf_counter())
        self.follower.wake()
