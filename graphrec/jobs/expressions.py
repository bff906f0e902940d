"""When a job runs, as people write it: "0 3 * * *", "every 6 hours", "every 50000 events".

Cron expressions are read by cronsim, which follows Debian's cron to the letter: Sunday is 0, a day of the month and one
of the week are joined by "or", and a job of the night on which clocks change runs once. APScheduler's trigger counts
days of the week from Monday and joins by "and".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from graphrec.errors import ConfigError

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_EVERY = re.compile(r"every\s+(?:(\d+)\s+)?(event|second|minute|hour|day|week)s?", re.IGNORECASE)
_EXPECTED = '"0 3 * * *" (minute, hour, day, month, day of the week), "every 6 hours" or "every 50000 events"'


@dataclass(frozen=True)
class Cron:
    """At the moments that a cron expression names, in a time zone."""

    text: str
    zone: tzinfo

    def latest(self, now: datetime, since: datetime) -> datetime | None:
        """The newest moment that is not after `now`, None where that is not after `since`."""
        second = (now + timedelta(seconds=1)).replace(microsecond=0)
        found = next(CronSim(self.text, second.astimezone(self.zone), reverse=True), None)
        return None if found is None or found <= since else found.astimezone(UTC)

    def following(self, now: datetime, since: datetime) -> datetime | None:
        """The first moment after `now`, None where there is none."""
        found = next(CronSim(self.text, max(now, since).astimezone(self.zone)), None)
        return None if found is None else found.astimezone(UTC)

    def __str__(self) -> str:
        return f'"{self.text}"'


@dataclass(frozen=True)
class Every:
    """So long after the schedule began, and again and again."""

    period: timedelta

    def latest(self, now: datetime, since: datetime) -> datetime | None:
        """The newest moment that is not after `now`, None where that is not after `since`."""
        times = (now - since) // self.period
        return since + times * self.period if times > 0 else None

    def following(self, now: datetime, since: datetime) -> datetime | None:
        """The first moment after `now`."""
        return since + (max((now - since) // self.period, 0) + 1) * self.period

    def __str__(self) -> str:
        return f"every {self.period}"


@dataclass(frozen=True)
class EveryEvents:
    """When so many events have come since the job last looked at the log."""

    events: int

    def __str__(self) -> str:
        return f"every {self.events} events"


Schedule = Cron | Every | EveryEvents


def parsed(job: str, text: str, zone: tzinfo) -> Schedule:
    """Read an expression; raises ConfigError with examples of right ones."""
    words = text.strip()
    every = _EVERY.fullmatch(words)
    if every is not None and int(every[1] or 1) > 0:
        number, unit = int(every[1] or 1), every[2].lower()
        return EveryEvents(number) if unit == "event" else Every(timedelta(seconds=number * _SECONDS[unit]))
    problem = ""
    if len(words.split()) == 5:
        try:
            CronSim(words, datetime(2024, 1, 1, tzinfo=UTC))
            return Cron(" ".join(words.split()), zone)
        except CronSimError as error:
            problem = f" ({error})"
    raise ConfigError(
        f"when to {job} is not understood",
        expected=_EXPECTED,
        got=f"{text!r}{problem}",
        way_out="an empty text = never",
    )


def time_zone(name: str) -> tzinfo:
    """The zone of a name; raises ConfigError for one that nobody knows."""
    if name.upper() == "UTC":
        return UTC  # also where the system has no zones installed
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ConfigError(
            "the time zone is not known",
            expected='"UTC" or "Europe/Amsterdam"',
            got=repr(name),
            way_out="[schedule] time_zone in graphrec.toml, or the package tzdata where the system has no zones",
        ) from None
