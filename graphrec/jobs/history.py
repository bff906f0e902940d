"""What jobs have run, and what came of each.

A run is a row when it begins and a row when it ends. One that has no end, and that nobody is at, was abandoned.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from graphrec.bounded_log import BoundedLog

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

RUNNING, DONE, FAILED, ABANDONED, SKIPPED = "running", "done", "failed", "abandoned", "skipped"
_MOST_BYTES = 1 << 20  # about a thousand runs


@dataclass(frozen=True)
class Run:
    """One run of a job; moments are ISO texts in UTC.

    scheduled_for: the slot it was for, None = for events. offset: of the log when it began. cpu_seconds: of the whole
    process meanwhile. outcome: "skipped" = another process made a generation just then; it stays due.
    """

    id: str
    job: str
    reason: str
    scheduled_for: str | None
    started: str
    offset: int
    pid: int
    host: str
    outcome: str = RUNNING
    ended: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    generation: int | None = None
    note: str = ""
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @property
    def begun(self) -> datetime:
        """When it started."""
        return datetime.fromisoformat(self.started)


class History:
    """The runs of one workspace; the oldest are forgotten when there are very many."""

    def __init__(self, folder: Path) -> None:
        self._log = BoundedLog(folder / "jobs.jsonl", _MOST_BYTES)

    def note(self, run: Run) -> None:
        """Write a run down, at its beginning and at its end."""
        self._log.append(asdict(run))

    def runs(self, abandoned: Collection[str] | None = None) -> list[Run]:
        """Every run, oldest first; `abandoned` are those of the ones without an end that nobody is at, None = all."""
        return [
            _given_up(run) if run.outcome == RUNNING and (abandoned is None or run.id in abandoned) else run
            for run in self._newest()
        ]

    def unended(self) -> set[str]:
        """Runs without an end."""
        return {run.id for run in self._newest() if run.outcome == RUNNING}

    def close_abandoned(self) -> None:
        """Write the end of every run that has none; for the one process that may run jobs, when it runs none."""
        for run in self._newest():
            if run.outcome == RUNNING:
                self.note(_given_up(run))

    def _newest(self) -> list[Run]:
        """What is known of every run, oldest first."""
        found = {run.id: run for run in self._rows()}  # the end of a run comes after its beginning
        return sorted(found.values(), key=lambda run: run.begun)

    def _rows(self) -> Iterator[Run]:
        for row in self._log.rows():
            with suppress(TypeError):  # torn by a crash, or of another version
                yield Run(**row)


def _given_up(run: Run) -> Run:
    return replace(run, outcome=ABANDONED, error="the process ended before the job did")


def last_counted(runs: Sequence[Run], jobs: Collection[str]) -> Run | None:
    """The newest run of any of some jobs that settles what it was for.

    One that was skipped does not, and one that was abandoned only if it was the second in a row for the same: so a job
    that kills its process is tried once more, and not for ever.
    """
    of_jobs = [run for run in runs if run.job in jobs and run.outcome != SKIPPED]
    for place in range(len(of_jobs) - 1, -1, -1):
        run = of_jobs[place]
        before = next((other for other in reversed(of_jobs[:place]) if other.job == run.job), None)
        again = before is not None and before.outcome == ABANDONED and before.scheduled_for == run.scheduled_for
        if run.outcome != ABANDONED or again:
            return run
    return None
