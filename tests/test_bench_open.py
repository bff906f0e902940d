"""scripts/bench_open on a small workspace: it opens what it has made, and no stage is counted twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from bench_scripts import as_module

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_open"
EVENTS, TAIL = 6_000, 400


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = as_module(SCRIPT, monkeypatch)
    for owner, name in (function for functions in module.STAGES.values() for function in functions):
        monkeypatch.setattr(owner, name, owner.__dict__[name])  # so that what `watch` replaces is put back
    return module


def test_one_command_makes_and_opens(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["bench_open", "--events", str(EVENTS), "--tail", str(TAIL), "--repeats", "1", "--out", str(tmp_path)]

    def child(started: list[str], *, check: bool, stdout: int) -> SimpleNamespace:
        assert (check, stdout) == (True, subprocess.PIPE)
        assert started[:2] == [sys.executable, str(SCRIPT)]
        monkeypatch.setattr(sys, "argv", started[1:])
        assert script.main() == 0
        monkeypatch.setattr(sys, "argv", command)
        return SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr(script.subprocess, "run", child)
    monkeypatch.setattr(sys, "argv", command)
    assert script.main() == 0
    printed = capsys.readouterr()
    (opening,), cold = (found := script.json.loads(printed.out))["open"], found["open_cold"]
    assert 0 < opening["edges"] < opening["offset"] <= EVENTS + TAIL
    assert opening["listed"] == 10
    assert set(opening["stages"]) == set(script.STAGES)
    assert sum(wall for wall, _ in opening["stages"].values()) <= opening["ready"]  # none counts twice
    assert opening["digest"] == cold["digest"]
    assert found["bytes_on_disk"]["graph"] < found["bytes_on_disk"]["generation"]
    assert not (tmp_path / f"{EVENTS}-{TAIL}" / "scratch").exists()
    assert "**open to first list**" in printed.err
    assert "snapshot: copy" in printed.err
