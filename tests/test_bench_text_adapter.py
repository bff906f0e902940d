"""scripts/bench_text_adapter on the world, with a text model of two layers: figures of both texts, and the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bench_scripts import as_module, write_log

from graphrec.events.interactions import Interactions

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_text_adapter"


@pytest.fixture
def script(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = as_module(SCRIPT, monkeypatch)
    monkeypatch.setenv("GRAPHREC_TEXT__MODEL", str(tiny_bert))
    monkeypatch.setattr("graphrec.training.cold_trainer._FEWEST_HELD_OUT", 2)
    return module


@pytest.fixture
def data(tmp_path: Path, world) -> Path:
    folder = tmp_path / "data" / "world"
    texts = [f"{('garden', 'kitchen')[int(item.id[1:]) % 2]} w{n % 7} w{n % 5}" for n, item in enumerate(world.items)]
    write_log(folder, world, texts)
    return folder.parent


def test_plain_and_adapted_texts_side_by_side(
    script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(script, "K", 2)
    settings = ("session_minutes=1e9", "steps=30", "batch_size=32", "learning_rate=3e-2", "check_steps=10")
    arguments = ["--data", data, "--set", "world", "--seeds", 0, "--out", tmp_path / "out", "--quiet"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments), "--setting", *settings])
    script.main()
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "text-adapter.json").read_text())
    table = (tmp_path / "out" / "text-adapter.md").read_text().splitlines()
    assert printed == json.dumps(found, indent=1) + "\n" + "\n".join(table) + "\n"
    assert found["settings"]["steps"] == 30
    (draw,) = found["jobs"][0]["draws"]
    before, after = draw["reciprocal_rank"]
    assert after > before
    plain, adapted = (found_by["centred cosine"]["recall"] for found_by in draw["cold"])
    assert adapted > plain  # one word of three says the group, and the cold items are found by it
    assert len(table) == 2 + len(script.FORMS) + 2
    assert f"{plain:.4f}" in next(line for line in table if "| centred cosine |" in line)


def test_partners_among_the_nearest_texts(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items 0 and 1 are chosen together, twice; 0 is asked for, and one text counts as near."""
    monkeypatch.setattr(script, "K", 1)
    column = np.array([0, 0, 1, 1], np.int32)
    log = Interactions(column, np.array([0, 1, 0, 1], np.int32), np.zeros(4, np.int64), np.ones(4), 2, 3)
    for near, expected in ((1, 1.0), (2, 0.0)):
        texts = np.eye(3, dtype=np.float32)
        texts[near] = (0.8, 0.6, 0)
        assert script.neighbour_recall(log, np.array([0]), texts, 10, 0) == expected
