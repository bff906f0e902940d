"""Runs jobs of one workspace: looks what is due, one at a time across all processes, and writes down what came of it.

Whether a job is due is looked at again once the place is held, so that of several processes one runs it. A job that
fails leaves the live generation as it is (`Generations.publish`), and has its next try at its next slot.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from graphrec.errors import BusyError, ConfigError, GenerationError, GraphrecError
from graphrec.generation import Generations
from graphrec.jobs.expressions import EveryEvents, Schedule, parsed, time_zone
from graphrec.jobs.history import ABANDONED, DONE, FAILED, SKIPPED, History, Run, last_counted
from graphrec.jobs.next_run import Jitter, NextRun, Past, next_run
from graphrec.jobs.owned_lock import OwnedLock, Owner
from graphrec.jobs.work import JOBS, all_jobs, covering

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from graphrec.jobs.work import Job, OpenRecommender
    from graphrec.operation_settings import ScheduleSettings
    from graphrec.workspace import Workspace

FOLDER = "jobs"
_SINCE = "since.json"

_log = logging.getLogger(__name__)


class JobRunner:
    """The jobs of a workspace by its `[schedule]`, or by other settings; a context manager that closes its store.

    Raises ConfigError for an expression that is not understood and for a job that this version does not have.
    """

    def __init__(
        self,
        workspace: Workspace,
        open_recommender: OpenRecommender,
        settings: ScheduleSettings | None = None,
        *,
        jobs: Mapping[str, Job] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        settings = workspace.config.schedule if settings is None else settings
        self.workspace = workspace
        self._open_recommender = open_recommender
        self._jobs = all_jobs() if jobs is None else jobs
        self._clock = clock
        self.schedules = _schedules(settings, self._jobs)
        self._jitter = Jitter(settings.jitter_seconds, str(workspace.directory.resolve()))
        self._folder = workspace.directory / FOLDER
        self._history = History(self._folder)
        self._place = OwnedLock(self._folder, "running")
        self._generations = Generations(workspace.directory)
        self._made: tuple[list[int], dict[str, int]] = [], {}
        self._store = workspace.open_store()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def now(self) -> datetime:
        """The time by this runner's clock."""
        return self._clock()

    def plan(self, now: datetime, *, remember: bool = True) -> list[NextRun]:
        """The next run of every job that has a schedule, the strongest job first.

        A schedule that is seen for the first time begins now, which is remembered unless somebody only looks.
        """
        offset = self._store.offset
        since, runs = self._since(now, remember=remember), self._history.runs()
        plan = []
        for job, schedule in self.schedules.items():
            last = last_counted(runs, covering(job))
            past = Past(since[_named(job, schedule)], None if last is None else last.begun)
            if isinstance(schedule, EveryEvents):
                made = max((self._absorbed().get(other, 0) for other in covering(job)), default=0)
                past = replace(past, absorbed=max(made, 0 if last is None else last.offset))
            plan.append(next_run(job, schedule, past, now, offset, self._jitter))
        return plan

    def run_due(self, but: Collection[str] = ()) -> Run | None:
        """Run the strongest job that is due, other than some; None where none is, or another process is at one.

        What ends the process (KeyboardInterrupt, SystemExit) abandons the job, and is raised again.
        """
        if self._first_due(but) is None or not self._place.acquire("looking what is due"):
            return None
        try:
            self._history.close_abandoned()
            due = self._first_due(but)
            return None if due is None else self._run(due)
        finally:
            self._place.release()

    def run_now(self, job: str) -> Run | None:
        """Run a job, scheduled or not, because somebody asks; None where another process or thread is at one."""
        if not self._place.acquire(job):
            return None
        try:
            self._history.close_abandoned()
            return self._run(NextRun(job, self._clock(), "somebody asked for it"))
        finally:
            self._place.release()

    def running(self) -> Owner | None:
        """Who runs a job now, or died at one."""
        return self._place.owner()

    def _first_due(self, but: Collection[str]) -> NextRun | None:
        now = self._clock()
        return next((entry for entry in self.plan(now) if entry.is_due(now) and entry.job not in but), None)

    def _run(self, due: NextRun) -> Run:
        run = Run(
            id=uuid.uuid4().hex[:12],
            job=due.job,
            reason=due.reason,
            scheduled_for=None if due.slot is None else due.slot.isoformat(),
            started=self._clock().isoformat(),
            offset=self._store.offset,
            pid=os.getpid(),
            host=socket.gethostname(),
        )
        self._place.note(due.job, run.id)  # before the row: a run that nobody is at counts as abandoned
        self._history.note(run)
        started, cpu = time.perf_counter(), time.process_time()
        try:
            done = self._jobs[due.job](self.workspace, self._open_recommender)
            run = replace(run, outcome=DONE, generation=done.generation, note=done.note)
        except BusyError as error:
            run = replace(run, outcome=SKIPPED, error=error.problem)
        except Exception as error:
            expected = isinstance(error, GraphrecError)
            told = str(error) if expected else f"{type(error).__name__}: {error}"
            _log.error("the job %s failed: %s", due.job, told, exc_info=not expected)
            run = replace(run, outcome=FAILED, error=told)
        except BaseException as error:
            run = replace(run, outcome=ABANDONED, error=f"stopped by {type(error).__name__}")
            raise
        finally:
            run = replace(
                run,
                ended=self._clock().isoformat(),
                seconds=time.perf_counter() - started,
                cpu_seconds=time.process_time() - cpu,
            )
            self._history.note(run)
        return run

    def _since(self, now: datetime, *, remember: bool) -> dict[str, datetime]:
        """When each schedule was first seen by any process."""
        path = self._folder / _SINCE
        known: dict[str, str] = {}
        with suppress(OSError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
        names = [_named(job, schedule) for job, schedule in self.schedules.items()]
        new = {name: now.isoformat() for name in names if name not in known}
        if new and remember:
            self._folder.mkdir(exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(known | new, indent=1), encoding="utf-8")
            temporary.replace(path)
        return {name: datetime.fromisoformat(moment) for name, moment in (known | new).items()}

    def _absorbed(self) -> dict[str, int]:
        """Offset of the newest generation that each job has made, whoever asked for it."""
        numbers = self._generations.numbers()
        if numbers != self._made[0]:
            offsets: dict[str, int] = {}
            for number in numbers:
                with suppress(GenerationError):
                    manifest = self._generations.manifest(number)
                    offsets[manifest.made_by] = max(manifest.offset, offsets.get(manifest.made_by, 0))
            self._made = numbers, offsets
        return self._made[1]


def history_of(directory: Path) -> tuple[list[Run], Owner | None]:
    """The runs of a workspace, oldest first, and who is at a job, or died there."""
    history = History(directory / FOLDER)
    unended = history.unended()  # before the owner: a run that begins meanwhile is nobody's who has left
    owner = OwnedLock(directory / FOLDER, "running").owner()
    at_work = set() if owner is None or owner.state == "gone" else {owner.run}
    return history.runs(unended - at_work), owner


def _named(job: str, schedule: Schedule) -> str:
    return f"{job}: {schedule}"


def _schedules(settings: ScheduleSettings, jobs: Mapping[str, Job]) -> dict[str, Schedule]:
    """What is scheduled, the strongest job first."""
    zone, found = time_zone(settings.time_zone), {}
    for job in JOBS:
        text = getattr(settings, job)
        if not text.strip():
            continue
        if job not in jobs:
            raise ConfigError(f"this version has no job {job}", expected=", ".join(jobs), got=f"{job} = {text!r}")
        found[job] = parsed(job, text, zone)
    return found
