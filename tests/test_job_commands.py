"""`graphrec schedule`, `jobs`, `snapshot`, `backup` and `restore`, as a person or cron calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import GenerationError
from graphrec.events.event import table_of
from graphrec.generation import Generations
from graphrec.jobs.runner import history_of
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace

runner = CliRunner()


def run(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def printed(*arguments: object, code: int = 0):
    return json.loads(run(*arguments, "--json", code=code))


@pytest.fixture
def busy(shop: Path, world) -> Path:
    """Two hundred events have come since it was trained."""
    with Workspace(shop).open_store() as store:
        store.append(table_of(world.events[700:]))
    return shop


def test_what_is_due_runs_once_and_is_listed(busy: Path) -> None:
    assert run("jobs", busy).startswith("Nothing has run yet")
    often = ("schedule", busy, "--once", "--quiet", "--snapshot", "every 150 events")
    (ran,) = printed(*often)["runs"]
    assert (ran["job"], ran["outcome"], ran["generation"], ran["offset"]) == ("snapshot", "done", 2, 900)
    assert ran["reason"] == "200 new events, due every 150 events"
    assert ran["seconds"] > 0
    assert ran["cpu_seconds"] > 0
    assert Generations(busy).current() == 2
    assert printed(*often) == {"runs": [], "owner": None}
    assert "Nothing is due." in run(*often)
    (listed,) = printed("jobs", busy)["runs"]
    assert listed == ran
    line = run("jobs", busy)
    assert "snapshot  done in " in line
    assert "generation 2  [200 new events, due every 150 events]" in line


def test_a_dry_run_says_when_and_why_and_changes_nothing(busy: Path) -> None:
    (busy / "graphrec.toml").write_text(
        f'{(busy / "graphrec.toml").read_text()}[schedule]\nrebuild = "0 3 * * *"\nsnapshot = "every 500 events"\n'
    )
    asked = ("schedule", busy, "--dry-run", "--snapshot", "every 150 events")  # an option beats the file
    plan = {entry["job"]: entry for entry in printed(*asked)["plan"]}
    assert list(plan) == ["rebuild", "snapshot"]
    assert plan["snapshot"]["due"]
    assert plan["snapshot"]["reason"] == "200 new events, due every 150 events"
    assert not plan["rebuild"]["due"]
    assert plan["rebuild"]["at"].endswith("T03:00:00+00:00")
    elsewhere = {entry["job"]: entry for entry in printed(*asked, "--time-zone", "Asia/Tokyo")["plan"]}
    assert elsewhere["rebuild"]["at"].endswith("T18:00:00+00:00")
    later = {entry["job"]: entry for entry in printed(*asked, "--jitter", 600)["plan"]}
    assert later["rebuild"]["scheduled_for"] == plan["rebuild"]["at"] < later["rebuild"]["at"]
    assert not {entry["job"]: entry for entry in printed(*asked[:3])["plan"]}["snapshot"]["due"]
    text = run(*asked)
    assert "snapshot  now" in text
    assert "200 new events" in text
    assert not (busy / "jobs").exists()
    assert Generations(busy).numbers() == [1]


def test_a_job_that_fails_has_an_exit_code_and_is_explained(busy: Path, monkeypatch, capsys) -> None:
    def fails(self) -> None:
        raise GenerationError("the disk is full", got="no room")

    monkeypatch.setattr(Recommender, "snapshot", fails)
    arguments = ["schedule", str(busy), "--once", "--quiet", "--snapshot", "every 150 events"]
    assert printed(*arguments, code=1)["runs"][0]["outcome"] == "failed"
    assert printed(*arguments)["runs"] == []  # until there are 150 more
    (busy / "jobs" / "jobs.jsonl").unlink()
    monkeypatch.setattr(sys, "argv", ["graphrec", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "snapshot failed; the live generation is as it was" in (told := capsys.readouterr().err)
    assert "the disk is full" in told
    assert Generations(busy).numbers() == [1]


@pytest.mark.parametrize("option", ["--rebuild=every now and then", "--update=every 0 events", "--time-zone=Mars"])
def test_what_cannot_be_scheduled_is_explained(shop: Path, option: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["graphrec", "schedule", str(shop), "--once", "--rebuild=0 3 * * *", option])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "expected: " in capsys.readouterr().err


def test_sigterm_ends_it_between_jobs(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop").directory
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "graphrec.cli", "schedule", str(shop), "--prune", "every 1 second", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            first = json.loads(process.stdout.readline())
            assert (first["job"], first["outcome"], first["pid"]) == ("prune", "done", process.pid)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    runs, owner = history_of(shop)
    assert {run.outcome for run in runs} == {"done"}
    assert owner is None
    assert not (shop / "jobs" / "scheduler.json").exists()


STUCK = """
import sys
from graphrec import cli
from graphrec.recommender import Recommender
import time
def snapshot(self):
    print("working", flush=True)
    time.sleep(60)
Recommender.snapshot = snapshot
sys.argv = ["graphrec", "schedule", sys.argv[1], "--quiet", "--json", "--snapshot", "every event"]
cli.main()
"""


def test_a_second_signal_abandons_the_job(busy: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(busy)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "working\n"
            found = printed("jobs", busy)
            assert (found["owner"]["pid"], found["owner"]["task"]) == (process.pid, "snapshot")
            assert found["runs"][-1]["outcome"] == "running"
            assert printed("status", busy)["job"]["state"] == "working"
            assert f"scheduler: runs the jobs by process {process.pid}" in run("schedule", busy, "--dry-run")
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "abandoned" in json.loads(told)["error"]["problem"]
    runs, owner = history_of(busy)
    assert [run.outcome for run in runs] == ["abandoned"]
    assert owner is None


def test_snapshot(busy: Path) -> None:
    assert "Generation 2 is live: 900 events" in run("snapshot", busy, "--quiet")
    found = printed("status", busy)
    assert (found["generation_offset"], found["events_since"]) == (900, 200)  # nothing was learned


def test_backup_and_restore(shop: Path, tmp_path: Path) -> None:
    made = printed("backup", shop, tmp_path / "copy.tar.gz")
    assert (made["offset"], made["generation"]) == (700, 1)
    assert "generation 1 and the log up to 700" in run("restore", tmp_path / "copy.tar.gz", tmp_path / "again")
    assert printed("status", tmp_path / "again")["events"] == 700
    answers = [printed("recommend", place, "u1")["items"] for place in (shop, tmp_path / "again")]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["graphrec.cron", "graphrec-schedule.service"])
def test_the_examples_for_cron_and_systemd_are_commands_that_run(tmp_path: Path, name: str) -> None:
    Workspace.create(tmp_path / "srv" / "shop")
    text = (Path(__file__).parents[1] / "deploy" / name).read_text(encoding="utf-8")
    commands = [line.partition("/.venv/bin/graphrec ")[2] for line in text.splitlines() if "bin/graphrec" in line]
    assert commands
    for command in commands:
        run(*command.replace("/srv", str(tmp_path / "srv")).split())
