"""One process of many runs the jobs of a workspace: whoever holds the place, until it ends or dies.

Every process that serves a workspace may have one of these; the others try for the place every `interval`, so when the
one is killed another goes on within seconds. What its jobs publish reaches every process by `Recommender.refresh`.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Self

from graphrec.jobs.owned_lock import OwnedLock, Owner
from graphrec.jobs.runner import FOLDER
from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphrec.jobs.history import Run
    from graphrec.jobs.runner import JobRunner

INTERVAL = 2.0  # seconds between two looks at clock and log
_AFTER_SKIPPING = 30  # looks until a job that found its place taken is tried again

_log = logging.getLogger(__name__)


class JobScheduler:
    """Runs what is due for as long as the context lasts, in a thread; or `run()` in the caller's.

    A long-lived process gives the runner its own open recommender (`lambda: nullcontext(recommender)`), which then
    answers from what a job made without opening it again. `tell` hears of every run that has ended.
    """

    def __init__(
        self, runner: JobRunner, interval: float = INTERVAL, tell: Callable[[Run], None] = lambda run: None
    ) -> None:
        self.leading = False
        self._runner = runner
        self._interval = interval
        self._tell = tell
        self._place = OwnedLock(runner.workspace.directory / FOLDER, "scheduler")
        self._stop = threading.Event()
        self._skipped: dict[str, int] = {}
        self._thread = Thread(target=self.run, name="graphrec scheduler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self, patience: float | None = None) -> None:
        """Begin no other job, and wait for the one it is at, at most so many seconds.

        The end of the process abandons it then; nothing is lost by that.
        """
        self.end()
        if self._thread.is_alive():
            self._thread.join(patience)

    def end(self) -> None:
        """Begin no other job; waits for nothing, so a signal handler may call it."""
        self._stop.set()

    def leader(self) -> Owner | None:
        """The process that runs the jobs, or died at it."""
        return self._place.owner()

    def run(self) -> None:
        """Wait for the place, then run what is due, until `end`."""
        try:
            while not self._stop.is_set():
                ran = None
                try:
                    if self.leading or self._place.acquire("runs the jobs"):
                        self.leading = True
                        ran = self._look()
                except Exception:  # a full disk, say: the thread must not end silently
                    _log.exception("looking what is due")
                if ran is None:
                    self._stop.wait(self._interval)
        finally:
            self.leading = False
            self._place.release()

    def _look(self) -> Run | None:
        self._skipped = {job: looks - 1 for job, looks in self._skipped.items() if looks > 1}
        ran = self._runner.run_due(but=self._skipped)
        if ran is not None:
            if ran.outcome == "skipped":
                self._skipped[ran.job] = _AFTER_SKIPPING
            self._tell(ran)
        return ran
