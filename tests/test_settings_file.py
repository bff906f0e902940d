"""Values get into graphrec.toml, and nothing else in it changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphrec.config import CONFIG_FILE, Config
from graphrec.errors import ConfigError, DependencyError
from graphrec.settings_file import lines_of, write_values


def test_comments_and_other_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_FILE
    path.write_text(Config.template(), encoding="utf-8")
    before = path.read_text(encoding="utf-8").splitlines()
    write_values(tmp_path, {"training.dropout": 0.35, "update.replay": "none", "retrieval.sage": 77})
    after = path.read_text(encoding="utf-8").splitlines()
    assert Config.load(tmp_path) == Config(
        training={"dropout": 0.35}, update={"replay": "none"}, retrieval={"sage": 77}
    )
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 3
    for old, new in changed:
        assert old.split("=")[0] == new.split("=")[0]
        assert old.split("#")[1:] == new.split("#")[1:]
    assert [file.name for file in tmp_path.iterdir()] == [CONFIG_FILE]


def test_a_stage_that_the_file_lacks_is_added(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("# ours\n[update]\nsteps = 7  # few\n")
    write_values(tmp_path, {"training.dropout": 0.35})
    assert (tmp_path / CONFIG_FILE).read_text().startswith("# ours\n[update]\nsteps = 7  # few\n")
    assert Config.load(tmp_path) == Config(training={"dropout": 0.35}, update={"steps": 7})


def test_a_value_that_is_not_allowed_leaves_the_file(tmp_path: Path) -> None:
    text = "[training]\ndropout = 0.1\n"
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError):
        write_values(tmp_path, {"training.dropout": 7.0})
    assert (tmp_path / CONFIG_FILE).read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == [CONFIG_FILE]


def test_the_printed_lines_say_the_same(tmp_path: Path) -> None:
    values = {"training.dropout": 0.35, "update.replay": "none", "training.temperature": 0.2}
    (tmp_path / CONFIG_FILE).write_text(lines_of(values))
    assert Config.load(tmp_path) == Config(training={"dropout": 0.35, "temperature": 0.2}, update={"replay": "none"})


def test_without_tomlkit_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONFIG_FILE).write_text("")
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    with pytest.raises(DependencyError, match=r"graphrec\[tune\]"):
        write_values(tmp_path, {"training.dropout": 0.3})
