"""Runs are remembered from their beginning on, and which of them settle what they were for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graphrec.jobs import history as history_module
from graphrec.jobs.history import ABANDONED, DONE, FAILED, RUNNING, SKIPPED, History, Run, last_counted

START = datetime(2024, 5, 1, 3, tzinfo=UTC)


def run(number: int, outcome: str, job: str = "rebuild", slot: int | None = None) -> Run:
    day = START + timedelta(days=number if slot is None else slot)
    started = START + timedelta(days=number, minutes=1)
    return Run(f"r{number}", job, "", day.isoformat(), started.isoformat(), 100 * number, 1, "here", outcome)


def test_a_run_without_an_end_was_abandoned_unless_somebody_is_at_it(tmp_path: Path) -> None:
    history = History(tmp_path)
    first, second = run(1, RUNNING), run(2, RUNNING)
    history.note(first)
    history.note(replace(first, outcome=DONE, seconds=2.0, generation=7))
    history.note(second)
    assert [(each.outcome, each.generation) for each in history.runs(())] == [(DONE, 7), (RUNNING, None)]
    assert [each.outcome for each in history.runs()] == [DONE, ABANDONED]
    assert "before the job did" in history.runs()[1].error
    history.close_abandoned()
    history.close_abandoned()
    assert [each.outcome for each in history.runs(())] == [DONE, ABANDONED]
    assert len((tmp_path / "jobs.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("outcomes", "slots", "counted"),
    [
        ([DONE], [0], 0),
        ([FAILED], [0], 0),
        ([DONE, FAILED], [0, 1], 1),
        ([DONE, SKIPPED], [0, 1], 0),
        ([SKIPPED], [0], None),
        ([ABANDONED], [0], None),
        ([DONE, ABANDONED], [0, 1], 0),
        ([ABANDONED, ABANDONED], [0, 0], 1),  # tried once more, and no more
        ([ABANDONED, ABANDONED], [0, 1], None),  # another slot: a first attempt
        ([ABANDONED, SKIPPED, ABANDONED], [0, 0, 0], 2),
        ([ABANDONED, DONE], [0, 0], 1),
    ],
)
def test_which_run_settles_its_slot(outcomes, slots, counted) -> None:
    runs = [run(number, outcome, slot=slots[number]) for number, outcome in enumerate(outcomes)]
    found = last_counted(runs, ["rebuild"])
    assert found == (None if counted is None else runs[counted])
    assert last_counted(runs, ["train"]) is None


def test_any_of_several_jobs_may_settle_it() -> None:
    runs = [run(0, DONE), run(1, DONE, "train"), run(2, ABANDONED)]
    assert last_counted(runs, ["train", "rebuild"]) == runs[1]


def test_rows_that_are_no_runs_are_passed_over(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.note(run(1, DONE))
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write('7\n{"id": "r2"}\n{"id": "r3", "of another version": 1}\n{"id": "r4", "job": "reb\n')
    history.note(run(5, RUNNING))
    history.close_abandoned()
    assert [(each.id, each.outcome) for each in history.runs()] == [("r1", DONE), ("r5", ABANDONED)]


def test_the_oldest_are_forgotten_when_there_are_very_many(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(history_module, "_MOST_BYTES", 20_000)
    history = History(tmp_path)
    for number in range(300):
        history.note(run(number, RUNNING))
        history.note(run(number, DONE))
    kept = history.runs()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert [each.id for each in kept] == [f"r{number}" for number in range(300 - len(kept), 300)]
    assert len(kept) > 10
    assert {each.outcome for each in kept} == {DONE}
