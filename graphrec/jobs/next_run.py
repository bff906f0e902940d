"""When a job runs next, and why: a pure function of its schedule, its past, the log and the clock.

A moment (slot) that a schedule names is done with as soon as a run of the job has begun after it. So however many slots
were missed, one run makes up for them, and none is run for twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from graphrec.jobs.expressions import EveryEvents, Schedule

_LATE = timedelta(minutes=1)  # from here on the reason says so


@dataclass(frozen=True)
class Past:
    """since: when the schedule was first seen. started: of the last run that counts. absorbed: events it knew of."""

    since: datetime
    started: datetime | None = None
    absorbed: int = 0


@dataclass(frozen=True)
class Jitter:
    """Up to so many seconds after a slot, by its own and the workspace's name: workspaces do not all begin at once."""

    seconds: float = 0.0
    key: str = ""

    def delay(self, job: str, slot: datetime, gap: timedelta) -> timedelta:
        """The same for the same slot, and less than half the gap to the next one, so that no slot overtakes another."""
        digest = hashlib.sha256(f"{self.key}\n{job}\n{slot.isoformat()}".encode()).digest()
        share = int.from_bytes(digest[:6]) / 2**48
        return share * min(timedelta(seconds=self.seconds), gap / 2)


@dataclass(frozen=True)
class NextRun:
    """at: when it is to begin, None = when events have come. slot: the moment it is for, None = it is for events."""

    job: str
    at: datetime | None
    reason: str
    slot: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is to begin now."""
        return self.at is not None and self.at <= now

    def to_dict(self, now: datetime) -> dict[str, Any]:
        """Plain data for JSON."""
        slot, at = (None if moment is None else moment.isoformat(timespec="seconds") for moment in (self.slot, self.at))
        return {"job": self.job, "due": self.is_due(now), "at": at, "scheduled_for": slot, "reason": self.reason}


def next_run(
    job: str, schedule: Schedule, past: Past, now: datetime, offset: int, jitter: Jitter = Jitter()
) -> NextRun:
    """The run that is due, or else the one that comes next; all moments have a time zone."""
    if isinstance(schedule, EveryEvents):
        new = offset - past.absorbed
        if new >= schedule.events:
            return NextRun(job, now, f"{new} new events, due {schedule}")
        return NextRun(job, None, f"{new} new events, due {schedule}, {schedule.events - new} to come")
    done = past.since if past.started is None else max(past.since, past.started)
    slot, following = schedule.latest(now, past.since), schedule.following(now, past.since)
    if slot is None or slot <= done:
        slot = following
        following = None if slot is None else schedule.following(slot, past.since)
    if slot is None:
        return NextRun(job, None, f"{schedule} names no moment that comes")
    gap = timedelta.max if following is None else following - slot
    at = slot + jitter.delay(job, slot, gap)
    late = f", {_rounded(now - at)} late" if now - at > _LATE else ""
    return NextRun(job, at, f"{schedule} at {slot:%Y-%m-%d %H:%M:%S}{late}", slot)


def _rounded(span: timedelta) -> timedelta:
    return timedelta(seconds=round(span.total_seconds()))
