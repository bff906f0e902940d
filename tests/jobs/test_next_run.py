"""No slot is run for twice, missed ones are made up for once, and jitter stays within its bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from graphrec.jobs.expressions import Every, EveryEvents, Schedule, parsed
from graphrec.jobs.next_run import Jitter, Past, next_run

START = datetime(2024, 5, 1, 12, 0, 7, tzinfo=UTC)
SCHEDULES = [parsed("rebuild", text, UTC) for text in ("0 * * * *", "*/10 * * * *", "30 14 * * *", "every 25 minutes")]
JITTERS = [0.0, 60.0, 3_600.0]


def runs_of(schedule: Schedule, pauses: list[int], jitter: Jitter) -> list[tuple[datetime, datetime]]:
    """Slot and beginning of every run, when the plan is looked at after each pause, seconds."""
    now, started, runs = START, None, []
    for pause in pauses:
        now += timedelta(seconds=pause)
        found = next_run("rebuild", schedule, Past(START, started), now, 0, jitter)
        assert found.slot is not None
        assert found.at is not None
        if found.is_due(now):
            runs.append((found.slot, now))
            started = now
        else:
            assert found.at > now
    return runs


pauses_of = st.lists(st.integers(1, 20_000), min_size=1, max_size=60)


@given(st.sampled_from(SCHEDULES), pauses_of, st.sampled_from(JITTERS), st.text(max_size=3))
def test_no_slot_is_run_for_twice_nor_before_its_time(schedule, pauses, seconds, key):
    runs = runs_of(schedule, pauses, Jitter(seconds, key))
    slots = [slot for slot, _ in runs]
    assert slots == sorted(set(slots))
    for slot, began in runs:
        assert START < slot <= began
        assert schedule.latest(began, START) == slot  # the newest: what was missed before it is not made up for


@given(st.sampled_from(SCHEDULES), st.integers(1, 10**6), st.sampled_from(JITTERS))
def test_however_many_slots_were_missed_one_run_makes_up_for_them(schedule, away, seconds):
    jitter = Jitter(seconds, "shop")
    slot = schedule.latest(START + timedelta(seconds=away), START)
    looks = [away, *[1] * 5]
    expected = 0
    if slot is not None:
        at = next_run("rebuild", schedule, Past(START), START + timedelta(seconds=away), 0, jitter).at
        expected = int(at <= START + timedelta(seconds=away + 5))
    following = schedule.following(START + timedelta(seconds=away), START)
    if following > START + timedelta(seconds=away + 5):
        assert len(runs_of(schedule, looks, jitter)) == expected


@given(st.sampled_from(SCHEDULES), st.sampled_from(JITTERS), st.text(max_size=3), st.integers(0, 10**6))
def test_jitter_stays_within_its_bounds_and_is_the_same_for_a_slot(schedule, seconds, key, later):
    now = START + timedelta(seconds=later)
    found, again = (next_run("rebuild", schedule, Past(START, now), now, 0, Jitter(seconds, key)) for _ in range(2))
    assert found == again
    gap = schedule.following(found.slot, START) - found.slot
    assert timedelta(0) <= found.at - found.slot <= min(timedelta(seconds=seconds), gap / 2)
    assert seconds or found.at == found.slot
    for moment in (found.slot, found.at):  # also once the slot has come
        assert next_run("rebuild", schedule, Past(START, now), moment, 0, Jitter(seconds, key)).at == found.at


def test_workspaces_and_slots_begin_at_different_times():
    hourly, jitter = SCHEDULES[0], [Jitter(600, f"shop {number}") for number in range(20)]
    assert len({next_run("rebuild", hourly, Past(START), START, 0, each).at for each in jitter}) == 20
    days = [START + timedelta(days=day) for day in range(20)]
    delays = {(found := next_run("rebuild", hourly, Past(START), day, 0, jitter[0])).at - found.slot for day in days}
    assert len(delays) > 10


@given(st.sampled_from(JITTERS))
def test_jitter_longer_than_the_period_starves_nothing(seconds):
    schedule = Every(timedelta(minutes=10))
    assert len(runs_of(schedule, [120] * 60, Jitter(seconds, "shop"))) >= 11  # two hours


@given(every=st.integers(1, 1000), arrivals=st.lists(st.integers(0, 3000), max_size=40))
def test_counts_run_once_whenever_so_many_events_have_come(every, arrivals):
    offset = absorbed = runs = 0
    for new in arrivals:
        offset += new
        found = next_run("update", EveryEvents(every), Past(START, absorbed=absorbed), START, offset)
        assert found.is_due(START) == (offset - absorbed >= every)
        if found.is_due(START):
            assert f"{offset - absorbed} new events" in found.reason
            absorbed, runs = offset, runs + 1
    assert runs <= offset // every
    assert offset - absorbed < every


def test_a_late_run_says_so():
    found = next_run("rebuild", SCHEDULES[2], Past(START), START + timedelta(hours=5), 0)
    assert found.is_due(START + timedelta(hours=5))
    assert found.reason == '"30 14 * * *" at 2024-05-01 14:30:00, 2:30:07 late'


def test_a_schedule_begins_when_it_is_first_seen():
    found = next_run("rebuild", SCHEDULES[2], Past(START), START, 0)
    assert found.slot == datetime(2024, 5, 1, 14, 30, tzinfo=UTC)
    assert not found.is_due(START)
