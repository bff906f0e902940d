"""The jobs of a service: its scheduler, for what is due, and a thread for what somebody asks for now."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from graphrec.errors import BusyError
from graphrec.jobs.runner import JobRunner, history_of
from graphrec.jobs.scheduler import JobScheduler
from graphrec.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from graphrec.recommender import Recommender

PATIENCE = 10.0  # seconds that a job has to end in when the service does
_SHOWN = 50  # newest runs
_TURN = threading.Lock()  # one model in the making at a time in a process: each takes the memory of a second state


class Jobs:
    """The jobs of one workspace, run on the recommender that answers; `scheduled` = also those of `[schedule]`.

    Raises ConfigError for a schedule that is not understood.
    """

    def __init__(self, recommender: Recommender, *, scheduled: bool) -> None:
        self._workspace = recommender.workspace
        self._lock = threading.Lock()
        self._stack = ExitStack()
        due, self._asked = (
            self._stack.enter_context(JobRunner(recommender.workspace, lambda: _in_turn(recommender))) for _ in range(2)
        )
        self._scheduler = JobScheduler(due)
        self._scheduled = scheduled and bool(due.schedules)
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        if self._scheduled:
            self._scheduler.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._scheduler.stop(PATIENCE)
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._stack.close()

    def now(self) -> datetime:
        """The time by the clock of the jobs."""
        return self._asked.now()

    def begin(self, job: str) -> bool:
        """Have a job run now, in a thread; False where one runs already, in this process or another."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            owner = self._asked.running()
            if owner is not None and owner.state != "gone":
                return False
            self._thread = Thread(target=self._asked.run_now, args=(job,), name=f"graphrec {job}", daemon=True)
            self._thread.start()
        return True

    def report(self) -> dict[str, Any]:
        """What runs, what has run, and what comes next."""
        runs, owner = history_of(self._workspace.directory)
        now, leader = self._asked.now(), self._scheduler.leader()
        return {
            "schedule": [entry.to_dict(now) for entry in self._asked.plan(now, remember=False)],
            "running": None if owner is None else owner.to_dict(),
            "leader": None if leader is None else leader.to_dict(),
            "runs": [run.to_dict() for run in reversed(runs[-_SHOWN:])],
        }


@contextmanager
def _in_turn(recommender: Recommender) -> Iterator[Recommender]:
    """The recommender, once no other tenant of this process makes a model; raises BusyError: the job stays due."""
    if not _TURN.acquire(blocking=False):
        raise BusyError("a job of another tenant is running")
    try:
        yield recommender
    finally:
        _TURN.release()
