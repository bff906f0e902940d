"""Of several processes one runs the jobs; when it is killed another goes on, and nothing is run twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from graphrec.events.event import table_of
from graphrec.follower import Follower
from graphrec.jobs import scheduler as scheduler_module
from graphrec.jobs.history import DONE, SKIPPED
from graphrec.jobs.runner import JobRunner, history_of
from graphrec.jobs.scheduler import JobScheduler
from graphrec.jobs.work import Done
from graphrec.operation_settings import ScheduleSettings
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace

ONE_OF_MANY = """
import os, sys
from contextlib import nullcontext
from graphrec.operation_settings import ScheduleSettings
from graphrec.jobs.runner import JobRunner
from graphrec.jobs.scheduler import JobScheduler
from graphrec.jobs.work import Done
from graphrec.workspace import Workspace
settings = ScheduleSettings(rebuild="every 1 second")
work = {"rebuild": lambda workspace, open_recommender: Done()}
with JobRunner(Workspace(sys.argv[1]), nullcontext, settings, jobs=work) as runner:
    scheduler = JobScheduler(runner, interval=0.1, tell=lambda run: print(os.getpid(), flush=True))
    print("ready", flush=True)
    scheduler.run()
"""


def until(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_when_the_elected_process_is_killed_another_goes_on(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop").directory
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", ONE_OF_MANY, str(shop)]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    by_pid = {process.pid: process for process in processes}
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        until(lambda: len(history_of(shop)[0]) >= 2)
        first = {run.pid for run in history_of(shop)[0]}
        assert len(first) == 1  # one of the two ran everything
        killed = by_pid.pop(first.pop())
        killed.kill()
        killed.wait()
        before = len(history_of(shop)[0])
        until(lambda: len(history_of(shop)[0]) >= before + 2)
        (other,) = by_pid.values()
        runs, _ = history_of(shop)
        assert {run.pid for run in runs[-2:]} == {other.pid}
        slots = [run.scheduled_for for run in runs if run.outcome == DONE]
        assert len(set(slots)) == len(slots)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("word_encoder")
def test_jobs_run_beside_questions_and_a_follower(shop: Path, world) -> None:
    workspace, answers, told = Workspace(shop), [], []
    with Recommender.open(shop) as recommender, workspace.open_store() as elsewhere:
        settings = ScheduleSettings(rebuild="every 100 events")
        runner = JobRunner(workspace, lambda: nullcontext(recommender), settings)
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                answers.append(recommender.recommend("u1", 3).generation)

        asking = threading.Thread(target=ask)
        with runner, Follower(recommender), JobScheduler(runner, interval=0.02, tell=told.append) as scheduler:
            asking.start()
            try:
                until(lambda: scheduler.leading)
                assert scheduler.leader().pid == os.getpid()
                elsewhere.append(table_of(world.events[700:]))
                until(lambda: told and recommender.offset == 900 and answers[-1] == 2)
            finally:
                done.set()
                asking.join()
        assert not scheduler.leading
        assert scheduler.leader() is None
        assert [(run.job, run.outcome, run.generation) for run in told] == [("rebuild", DONE, 2)]
        assert sorted(answers) == answers
        assert set(answers) == {1, 2}


def test_a_job_whose_place_is_taken_waits_and_an_error_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "_AFTER_SKIPPING", 3)
    workspace, asked = Workspace.create(tmp_path / "shop"), []

    class Runner:
        def __init__(self) -> None:
            self.workspace = workspace

        def run_due(self, but) -> object:
            asked.append(set(but))
            if len(asked) == 1:
                raise OSError("the disk is full")
            if len(asked) == 2:
                return type("Run", (), {"job": "rebuild", "outcome": SKIPPED})
            return None

    with JobScheduler(Runner(), interval=0.001):
        until(lambda: len(asked) > 6)
    assert asked[:6] == [set(), set(), {"rebuild"}, {"rebuild"}, set(), set()]


def test_stopping_lets_a_job_end_or_leaves_it_behind(tmp_path: Path) -> None:
    workspace, began, release = Workspace.create(tmp_path / "shop"), threading.Event(), threading.Event()

    def slow(workspace, open_recommender) -> Done:
        began.set()
        assert release.wait(20)
        return Done()

    with JobRunner(
        workspace, nullcontext, ScheduleSettings(rebuild="every 1 second"), jobs={"rebuild": slow}
    ) as runner:
        scheduler = JobScheduler(runner, interval=0.01)
        scheduler.__enter__()
        assert began.wait(20)
        scheduler.stop(patience=0.01)
        assert history_of(workspace.directory)[0][-1].outcome == "running"
        release.set()
        scheduler.stop()
        assert [run.outcome for run in history_of(workspace.directory)[0]] == [DONE]
