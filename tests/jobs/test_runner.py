"""What is due runs, one at a time, is written down, and harms nothing when it fails."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graphrec.errors import ConfigError, InputError
from graphrec.generation import Generations
from graphrec.jobs.history import ABANDONED, DONE, FAILED, RUNNING, SKIPPED, History
from graphrec.jobs.owned_lock import OwnedLock
from graphrec.jobs.runner import JobRunner, history_of
from graphrec.jobs.work import Done
from graphrec.operation_settings import ScheduleSettings
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace

START = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


class Jobs(dict):
    """Jobs that only note that they ran."""

    def __init__(self, *names: str) -> None:
        super().__init__({name: self.job(name) for name in names})
        self.ran: list[str] = []

    def job(self, name: str):
        def work(workspace, open_recommender) -> Done:
            self.ran.append(name)
            return Done(generation=len(self.ran), note="done")

        return work


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "empty")


def runner_of(workspace: Workspace, clock: Clock, jobs: dict, **schedule: object) -> JobRunner:
    return JobRunner(workspace, nullcontext, ScheduleSettings(**schedule), jobs=jobs, clock=clock)


def test_a_missed_slot_is_run_for_once_and_written_down(empty: Workspace, clock: Clock) -> None:
    jobs = Jobs("rebuild")
    with runner_of(empty, clock, jobs, rebuild="0 3 * * *") as runner:
        assert runner.run_due() is None  # its first look: nothing was missed yet
        clock.forward(days=4)
        run = runner.run_due()
        assert (run.outcome, run.generation, run.note) == (DONE, 1, "done")
        assert run.scheduled_for == "2024-05-05T03:00:00+00:00"
        assert "9:00:00 late" in run.reason
        assert runner.run_due() is None
        assert jobs.ran == ["rebuild"]
        clock.forward(days=1)
        assert runner.run_due().outcome == DONE
    runs, owner = history_of(empty.directory)
    assert [each.scheduled_for[:10] for each in runs] == ["2024-05-05", "2024-05-06"]
    assert all(each.ended and each.pid == os.getpid() for each in runs)
    assert owner is None


def test_what_is_known_outlives_the_process(empty: Workspace, clock: Clock) -> None:
    """As cron calls it: another process every time."""
    jobs = Jobs("rebuild")
    for _ in range(3 * 24):
        with runner_of(empty, clock, jobs, rebuild="0 3 * * *") as runner:
            runner.run_due()
        clock.forward(hours=1)
    assert len(jobs.ran) == 3


def test_a_count_is_due_by_a_clock_that_goes_on(shop: Path) -> None:
    with JobRunner(
        Workspace(shop), nullcontext, ScheduleSettings(rebuild="every event"), jobs=Jobs("rebuild")
    ) as runner:
        assert runner.run_due() is None
        (shop / "generations").rename(shop / "elsewhere")
        assert runner.run_due().reason == "700 new events, due every 1 events"


def test_only_looking_changes_nothing(empty: Workspace, clock: Clock) -> None:
    with runner_of(empty, clock, Jobs("rebuild"), rebuild="0 3 * * *") as runner:
        (entry,) = runner.plan(clock.now, remember=False)
    assert entry.at == datetime(2024, 5, 2, 3, tzinfo=UTC)
    assert not (empty.directory / "jobs").exists()


def test_times_are_those_of_the_zone(empty: Workspace, clock: Clock) -> None:
    with runner_of(empty, clock, Jobs("rebuild"), rebuild="0 3 * * *", time_zone="Asia/Kolkata") as runner:
        assert runner.plan(clock.now)[0].at == datetime(2024, 5, 1, 21, 30, tzinfo=UTC)


def test_a_stronger_job_does_the_work_of_a_weaker_one(empty: Workspace, clock: Clock) -> None:
    jobs = Jobs("train", "rebuild", "snapshot", "prune")
    hourly = dict.fromkeys(jobs, "0 * * * *")
    with runner_of(empty, clock, jobs, **hourly) as runner:
        runner.run_due()
        clock.forward(hours=1)
        while runner.run_due():
            pass
        assert jobs.ran == ["train", "prune"]
        clock.forward(hours=1)
        runner.run_due(but=["train"])
        assert jobs.ran[2:] == ["rebuild"]
        assert runner.run_due().job == "train"  # the weaker one does not do the stronger's


def test_counts_start_from_the_newest_generation_whoever_made_it(shop: Path, world, clock: Clock) -> None:
    jobs = Jobs("rebuild", "train")
    with runner_of(Workspace(shop), clock, jobs, rebuild="every 100 events") as runner:
        assert runner.run_due() is None  # trained at event 700
        assert "0 new events, due every 100 events, 100 to come" in runner.plan(clock.now)[0].reason
        with Recommender.open(shop) as recommender:
            recommender.ingest(world.events[700:790])
            assert runner.run_due() is None
            recommender.ingest(world.events[790:850])
            run = runner.run_due()
            assert (run.job, run.offset, run.scheduled_for) == ("rebuild", 850, None)
            assert run.reason == "150 new events, due every 100 events"
            assert runner.run_due() is None
            recommender.ingest(world.events[850:])
            recommender.rebuild()  # by hand
        assert "0 new events" in runner.plan(clock.now)[0].reason


def test_a_failing_job_leaves_the_live_generation_and_has_its_next_slot(
    shop: Path, world, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise InputError("the disk is away", expected="a disk", got="none")

    monkeypatch.setattr("graphrec.training.trainer.train", fails)
    workspace = Workspace(shop)
    with Recommender.open(shop) as recommender:
        digest, answer = recommender.state_digest(), recommender.recommend("u1", 5).ids()
        settings = ScheduleSettings(train="every hour", snapshot="every hour")
        with JobRunner(workspace, lambda: nullcontext(recommender), settings, clock=clock) as runner:
            runner.run_due()
            clock.forward(hours=1)
            failed = runner.run_due()
            assert (failed.job, failed.outcome, failed.generation) == ("train", FAILED, None)
            assert "the disk is away" in failed.error
            assert "expected: a disk" in failed.error
            assert recommender.state_digest() == digest
            assert recommender.recommend("u1", 5).ids() == answer
            assert Generations(shop).numbers() == [1]
            assert runner.run_due() is None  # its slot has been
            clock.forward(hours=1)
            assert runner.run_due().outcome == FAILED
            monkeypatch.undo()
            clock.forward(hours=1)
            done = runner.run_due()
            assert (done.outcome, done.generation, recommender.generation) == (DONE, 2, 2)


def test_a_job_that_finds_its_place_taken_stays_due(shop: Path, clock: Clock) -> None:
    with runner_of(Workspace(shop), clock, None, prune="every hour") as runner:
        runner.run_due()
        clock.forward(hours=1)
        with Generations(shop).making():
            run = runner.run_due()
            assert run.outcome == SKIPPED
            assert "another process" in run.error
        assert runner.run_due().outcome == DONE
        assert runner.run_due() is None


def test_what_ends_the_process_abandons_the_job_which_is_tried_once_more(empty: Workspace, clock: Clock) -> None:
    attempts = []

    def interrupted(workspace, open_recommender) -> Done:
        attempts.append(clock.now)
        raise KeyboardInterrupt

    with runner_of(empty, clock, {"rebuild": interrupted}, rebuild="0 3 * * *") as runner:
        runner.run_due()
        clock.forward(days=1)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                runner.run_due()
            assert runner.running() is None
        assert runner.run_due() is None
        clock.forward(days=1)
        with pytest.raises(KeyboardInterrupt):
            runner.run_due()
    runs, _ = history_of(empty.directory)
    assert {(each.outcome, each.error) for each in runs} == {(ABANDONED, "stopped by KeyboardInterrupt")}
    assert len(attempts) == 3


def test_of_many_that_look_at_once_one_runs_it(empty: Workspace, clock: Clock) -> None:
    jobs = Jobs("rebuild")
    work = jobs["rebuild"]

    def slow(workspace, open_recommender) -> Done:
        time.sleep(0.05)
        return work(workspace, open_recommender)

    jobs["rebuild"] = slow
    runners = [runner_of(empty, clock, jobs, rebuild="every hour") for _ in range(4)]
    runners[0].run_due()
    for count in range(1, 4):
        clock.forward(hours=1)
        threads = [threading.Thread(target=runner.run_due) for runner in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(jobs.ran) == count
    for runner in runners:
        runner.close()
    assert [run.outcome for run in history_of(empty.directory)[0]] == [DONE] * 3


def test_a_job_that_somebody_asks_for_runs_without_a_schedule(empty: Workspace, clock: Clock) -> None:
    jobs = Jobs("rebuild")
    with runner_of(empty, clock, jobs) as runner, runner_of(empty, clock, jobs) as other:
        run = runner.run_now("rebuild")
        assert (run.outcome, run.reason, run.scheduled_for) == (DONE, "somebody asked for it", None)
        assert [kept.id for kept in history_of(empty.directory)[0]] == [run.id]
        jobs["rebuild"] = lambda workspace, open_recommender: Done(note=str(other.run_now("rebuild")))
        assert runner.run_now("rebuild").note == "None"  # another was at one
        assert other.running() is None


def test_a_running_job_can_be_seen(empty: Workspace, clock: Clock) -> None:
    seen = []

    def look(workspace, open_recommender) -> Done:
        seen.append(history_of(empty.directory))
        return Done()

    with runner_of(empty, clock, {"rebuild": look}, rebuild="every hour") as runner:
        runner.run_due()
        clock.forward(hours=1)
        runner.run_due()
    ((run,), owner) = seen[0]
    assert (run.outcome, run.ended) == ("running", None)
    assert (owner.task, owner.run, owner.state) == ("rebuild", run.id, "working")


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({"rebuild": "noon"}, "every 6 hours"),
        ({"rebuild": "0 3 * * *", "time_zone": "Mars"}, "time zone"),
        ({"update": "every 10 events"}, "this version has no job update"),
    ],
)
def test_a_bad_schedule_is_refused_at_the_start(empty: Workspace, clock: Clock, schedule, told) -> None:
    with pytest.raises(ConfigError, match=told):
        runner_of(empty, clock, Jobs("rebuild"), **schedule)


def test_learn_does_what_the_trigger_calls_for_and_else_nothing(shop: Path, clock: Clock, world) -> None:
    settings = shop / "graphrec.toml"
    settings.write_text(
        f"{settings.read_text()}\n[trigger]\nevents = 150\nmin_hours = 0\n[schedule]\nlearn = 'every hour'\n"
    )

    def hour(runner: JobRunner) -> tuple[str, int | None, str]:
        clock.forward(hours=1)
        run = runner.run_due()
        return run.outcome, run.generation, run.note

    with (
        Recommender.open(shop) as recommender,
        JobRunner(Workspace(shop), lambda: nullcontext(recommender), clock=clock) as runner,
    ):
        runner.run_due()
        recommender.ingest(world.events[700:800])
        assert hour(runner) == (DONE, None, "nothing calls for it")
        recommender.ingest(world.events[800:])
        outcome, generation, note = hour(runner)
        assert (outcome, generation, Generations(shop).manifest(2).made_by) == (DONE, 2, "update")
        assert note == "hold, update: 200 new events, due every 150"
        assert hour(runner) == (DONE, None, "nothing calls for it")  # held, and nothing has come since


def test_settings_come_from_the_file(empty: Workspace, clock: Clock) -> None:
    (empty.directory / "graphrec.toml").write_text('[schedule]\nprune = "0 4 * * *"\njitter_seconds = 60\n')
    with JobRunner(Workspace(empty.directory), nullcontext, jobs=Jobs("prune"), clock=clock) as runner:
        (entry,) = runner.plan(clock.now)
    assert entry.job == "prune"
    assert 0 < (entry.at - entry.slot).total_seconds() < 60


@pytest.fixture
def untidy(shop: Path) -> Path:
    old = time.time() - 100 * 86_400
    (shop / "quarantine").mkdir(exist_ok=True)
    for name in ("old.jsonl", "new.jsonl"):
        (shop / "quarantine" / name).write_text("")
    (shop / "backup-old").mkdir()
    (shop / "backup-new").mkdir()
    (shop / "generations" / "writing-000009-1").mkdir()
    for path in (shop / "quarantine" / "old.jsonl", shop / "backup-old"):
        os.utime(path, (old, old))
    return shop


@pytest.mark.parametrize(("days", "left"), [(90, ["new.jsonl"]), (0, ["new.jsonl", "old.jsonl"])])
def test_prune_deletes_what_nobody_needs(untidy: Path, clock: Clock, days: int, left: list[str]) -> None:
    (untidy / "graphrec.toml").write_text(
        f"{(untidy / 'graphrec.toml').read_text()}[generations]\nkeep = 1\n"
        f'[schedule]\nprune = "every hour"\nquarantine_days = {days}\n'
    )
    with Recommender.open(untidy) as recommender:
        digest = recommender.state_digest()
        generations = Generations(untidy)
        (untidy / "generations" / "000002").mkdir()  # an older one would do as well: not live, beyond `keep`
        with JobRunner(Workspace(untidy), nullcontext, clock=clock) as runner:
            runner.run_due()
            clock.forward(hours=1)
            run = runner.run_due()
        assert run.outcome == DONE
        assert generations.current() == 1
        assert sorted(path.name for path in (untidy / "quarantine").iterdir()) == left
        assert not (untidy / "backup-old").exists()
        assert (untidy / "backup-new").exists()
        assert not (untidy / "generations" / "writing-000009-1").exists()
        recommender.refresh()
        assert recommender.state_digest() == digest


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_that_begins_or_ends_while_somebody_looks_was_not_abandoned(
    empty: Workspace, clock: Clock, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    jobs = Jobs("rebuild")
    with runner_of(empty, clock, jobs, rebuild="every hour") as runner:
        runner.run_now("rebuild")
    file = empty.directory / "jobs" / "jobs.jsonl"
    begun, ended = file.read_text().splitlines(keepends=True)
    file.write_text(begun if ends else "")

    def nobody(place: OwnedLock) -> None:
        with file.open("a") as log:
            log.write(ended if ends else begun)

    monkeypatch.setattr(OwnedLock, "owner", nobody)
    assert [run.outcome for run in history_of(empty.directory)[0]] == [DONE if ends else RUNNING]
    file.write_text(begun)
    monkeypatch.setattr(OwnedLock, "owner", lambda place: None)
    assert [run.outcome for run in history_of(empty.directory)[0]] == [ABANDONED]


def test_a_crash_shows_as_abandoned_and_is_closed_by_who_runs_next(empty: Workspace, clock: Clock) -> None:
    jobs = Jobs("rebuild")
    with runner_of(empty, clock, jobs, rebuild="every hour") as runner:
        runner.run_due()
        clock.forward(hours=1)
        runner.run_due()
    folder = empty.directory / "jobs"
    rows = [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]
    (folder / "jobs.jsonl").write_text(json.dumps(rows[0]) + "\n")  # the process died at it
    assert [run.outcome for run in history_of(empty.directory)[0]] == [ABANDONED]
    with runner_of(empty, clock, jobs, rebuild="every hour") as runner:
        assert runner.run_due().outcome == DONE  # once more, for the same slot
    assert [run.outcome for run in History(folder).runs()] == [ABANDONED, DONE]
    assert jobs.ran == ["rebuild", "rebuild"]
