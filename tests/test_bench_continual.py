"""scripts/bench_continual on tiny data: every contender follows the blocks, a stopped run goes on, and the table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bench_scripts import as_module, write_log

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_continual"


@pytest.fixture
def script(words, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with an encoder that reads word by word and little training."""
    module = as_module(SCRIPT, monkeypatch)
    monkeypatch.setattr(sys.modules[module.stream.__module__], "TextEncoder", words)
    monkeypatch.setattr(module, "warm_up", lambda setting: None)
    for name, value in {
        "TRAINING__STEPS": "3",
        "TRAINING__BATCH_SIZE": "64",
        "TRAINING__RANKER_SEEDS": "1",
        "UPDATE__STEPS": "2",
    }.items():
        monkeypatch.setenv(f"GRAPHREC_{name}", value)
    return module


@pytest.fixture
def data(tmp_path: Path, world) -> Path:
    folder = tmp_path / "data" / "online-retail"
    write_log(folder, world, [item.text for item in world.items])
    return folder.parent


def arguments(data: Path, **changed: object) -> argparse.Namespace:
    plain = {"data": data, "out": data.parent / "out", "sets": ["online-retail"], "seeds": 1, "base_share": 0.6}
    plain |= {"of": 4, "blocks": 2, "contenders": None, "quick": True, "job": None}
    return argparse.Namespace(**plain | changed)


def test_every_contender_is_asked_for_the_same_blocks(script: ModuleType, data: Path) -> None:
    given = arguments(data)
    given.out.mkdir()
    found = {}
    for job in script.jobs(given):
        script.measure(arguments(data, job=json.dumps(job)))
        file = script.file_of(given, job)
        assert file.exists()
        if file.suffix == ".json":
            found.setdefault(job[2], []).append(json.loads(file.read_text()))
    assert set(found) == set(script.MAIN)
    users = {name: [block["users"] for job in jobs for block in job["blocks"]] for name, jobs in found.items()}
    assert len(set(map(tuple, users.values()))) == 1
    assert [block["block"] for block in found["ours"][0]["blocks"]] == [1, 2]
    assert [job["blocks"][0]["block"] for job in found["full retrain"]] == [1, 2]
    assert all(0 <= block["recall"] <= 1 for jobs in found.values() for job in jobs for block in job["blocks"])
    for name in ("ours", "stale", "refreshed only", "fine-tune"):
        assert found[name][0]["backward transfer"]["change"] > -1
    assert found["refreshed only"][0]["backward transfer"] == {"change": 0, "standard_error": 0}
    assert found["ours"][0]["backward transfer"]["standard_error"] > 0
    assert "backward transfer" not in found["EASE"][0]
    text = script.as_markdown([job for jobs in found.values() for job in jobs])
    assert text.startswith("### online-retail")
    assert "| **ours** |" in text


def test_what_was_trained_comes_back_from_its_file(script: ModuleType, data: Path) -> None:
    given = arguments(data)
    given.out.mkdir()
    script.measure(arguments(data, job=json.dumps(["online-retail", 0, "base", None])))
    trained = script.load(given.out / "online-retail-0-base.npz")
    script.save(trained, given.out / "again.npz")
    again = script.load(given.out / "again.npz")
    for name, array in trained.learned(np.zeros((0, 0), np.float32), 0).weights().items():
        np.testing.assert_array_equal(again.learned(np.zeros((0, 0), np.float32), 0).weights()[name], array)
    assert again.choices == trained.choices
    np.testing.assert_array_equal(again.basis.items, trained.basis.items)
    assert trained.moments is not None


def test_options_are_the_default_turned_round(script: ModuleType) -> None:
    module = sys.modules["continual_contenders"]
    present = module.UpdateSettings().model_dump()
    for changes in module.options().values():
        assert any(present[name] != value for name, value in changes.items())
        module.UpdateSettings(**changes)
    assert "without replay" in module.options()
    assert "ours, without replay" in module.contenders()


def job_of(contender: str, values: list[float], seconds: float, seed: int = 0) -> dict[str, object]:
    blocks = [
        {"block": number, "users": 9, "fit_cpu_seconds": seconds}
        | dict.fromkeys(("recall", "ndcg", "recall, returning", "ndcg, returning"), value)
        for number, value in enumerate(values, start=1)
    ]
    return {"data": "shop", "seed": seed, "contender": contender, "blocks": blocks}


def test_ratios_are_over_the_blocks_that_both_have(script: ModuleType) -> None:
    ours = job_of("ours", [0.1, 0.2, 0.9], 5.0)
    ours["backward transfer"] = {"change": -0.025, "standard_error": 0.01}
    retrain = [job_of("full retrain", [0.1, 0.3], 50.0)]
    table = script.as_markdown([ours, *retrain])
    row = next(line for line in table.splitlines() if line.startswith("| **ours**"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == ".4000"  # of its own three blocks
    assert cells[5].startswith("0.750 ±")
    assert cells[7:] == ["5.00", "10.0 %", "-2.5 ±2.0 %", "3"]
    reference = next(line for line in table.splitlines() if line.startswith("| full retrain"))
    assert "1.000 ±0.000" in reference
    assert "100.0 %" in reference


def test_a_run_goes_on_where_it_stopped(
    script: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = []

    def child(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        job = json.loads(command[-1])
        started.append(job[2])
        file = script.file_of(arguments(data), job)
        if file.suffix == ".json":
            file.write_text(json.dumps(job_of(job[2], [0.1, 0.2], 1.0)))
        else:
            file.write_bytes(b"")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", child)
    options = ["--data", str(data), "--out", str(data.parent / "out"), "--quick", "--of", "4", "--blocks", "2"]
    monkeypatch.setattr(sys, "argv", ["bench_continual", *options, "--contenders", "ours", "EASE"])
    assert script.main() == 0
    assert started == ["base", "ours", "EASE"]
    assert script.main() == 0
    assert started == ["base", "ours", "EASE"]
    assert "| EASE | .1500" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench_continual", *options, "--contenders", "ours", "nobody"])
    with pytest.raises(SystemExit):
        script.main()
    assert "no nobody" in capsys.readouterr().err
