"""What people may write for when a job runs, and the moments it names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import ConfigError
from graphrec.jobs.expressions import Cron, Every, EveryEvents, parsed, time_zone

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
AMSTERDAM = time_zone("Europe/Amsterdam")
CRONS = ["0 3 * * *", "*/7 * * * *", "30 2 * * *", "15 */5 1,15 * *", "0 4 * * 0", "0 0 1 1 *", "59 23 L * *"]


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("0 3 * * *", Cron("0 3 * * *", UTC)),
        ("  0  3 * * SUN ", Cron("0 3 * * SUN", UTC)),
        ("every 6 hours", Every(timedelta(hours=6))),
        ("every minute", Every(timedelta(minutes=1))),
        ("Every 1 Week", Every(timedelta(days=7))),
        ("every 50000 events", EveryEvents(50_000)),
    ],
)
def test_what_is_understood(text, schedule):
    assert parsed("rebuild", text, UTC) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "0 3 * *",
        "0 3 * * * *",
        "61 3 * * *",
        "0 3 30 2 *",
        "every 0 hours",
        "every 5 purchases",
        "5 hours",
    ],
)
def test_what_is_not_understood_is_told_with_an_example_of_what_is(text):
    with pytest.raises(ConfigError, match=r"when to rebuild[\s\S]*0 3 \* \* \*[\s\S]*every 50000 events"):
        parsed("rebuild", text, UTC)


def test_a_time_zone_nobody_knows():
    with pytest.raises(ConfigError, match="Europe/Amsterdam"):
        time_zone("Europe/Atlantis")
    with pytest.raises(ConfigError, match="time zone"):
        time_zone("../etc/passwd")


def test_sunday_is_0_and_days_are_joined_by_or():
    sundays = parsed("train", "0 0 * * 0", UTC)
    assert isinstance(sundays, Cron)
    assert sundays.following(EPOCH, EPOCH) == datetime(2024, 1, 7, tzinfo=UTC)
    either = parsed("train", "0 0 3 * 0", UTC)
    assert isinstance(either, Cron)
    assert either.following(EPOCH, EPOCH) == datetime(2024, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("start", [datetime(2024, 3, 29, tzinfo=UTC), datetime(2024, 10, 25, tzinfo=UTC)])
def test_a_night_whose_clocks_change_has_one_run(start):
    nightly = Cron("30 2 * * *", AMSTERDAM)
    forward, moment = [], start
    while (moment := nightly.following(moment, start)) < start + timedelta(days=5):
        forward.append(moment)
    assert len({moment.astimezone(AMSTERDAM).date() for moment in forward}) == len(forward) == 5
    seen = {nightly.latest(start + timedelta(minutes=10 * step), start) for step in range(6 * 24 * 5)}
    assert seen - {None} == set(forward)


@given(
    text=st.sampled_from(CRONS),
    zone=st.sampled_from([UTC, AMSTERDAM, time_zone("Asia/Kolkata")]),
    seconds=st.integers(0, 3 * 366 * 86_400),
    millis=st.integers(0, 999),
)
def test_a_moment_lies_between_the_latest_slot_and_the_following(text, zone, seconds, millis):
    cron, now = Cron(text, zone), EPOCH + timedelta(seconds=seconds, milliseconds=millis)
    latest, following = cron.latest(now, datetime.min.replace(tzinfo=UTC)), cron.following(now, EPOCH)
    assert latest <= now < following
    assert cron.following(latest, EPOCH - timedelta(days=800)) == following  # nothing in between
    assert cron.latest(following, EPOCH) == following
    assert cron.latest(now, now) is None


@given(period=st.integers(1, 10**6), seconds=st.integers(0, 10**8))
def test_periods_are_counted_from_the_beginning_of_the_schedule(period, seconds):
    every, now = Every(timedelta(seconds=period)), EPOCH + timedelta(seconds=seconds)
    following = every.following(now, EPOCH)
    assert now < following <= now + every.period
    assert (following - EPOCH) % every.period == timedelta(0)
    assert every.latest(now, EPOCH) == (following - every.period if seconds >= period else None)
