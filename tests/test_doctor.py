from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from graphrec.doctor import Check, examine
from graphrec.errors import WorkspaceError
from graphrec.retrieval.retriever import Retriever


@pytest.fixture
def shop(trained_once: Path, tmp_path: Path, word_encoder) -> Path:
    shutil.copytree(trained_once, tmp_path / "shop")
    return tmp_path / "shop"


def levels(shop: Path) -> dict[str, str]:
    return {check.name: check.level for check in examine(shop)}


def test_a_healthy_workspace(shop: Path) -> None:
    found = levels(shop)
    assert set(found.values()) == {"ok"}
    assert {
        "versions",
        "sqlite",
        "faiss",
        "disk",
        "text model",
        "store",
        "sums",
        "index",
        "schedule",
        "generation 1 (live)",
    } == set(found)


def test_a_damaged_generation(shop: Path) -> None:
    (shop / "generations" / "000001" / "basis_items.npy").write_bytes(b"")
    found = {check.name: check for check in examine(shop)}
    assert found["generation 1 (live)"].level == "problem"
    assert "basis_items.npy" in found["generation 1 (live)"].finding
    assert found["generation 1 (live)"].way_out


def test_damaged_sums(shop: Path, monkeypatch) -> None:
    settle = Retriever.settle

    def damaged(self: Retriever) -> None:
        settle(self)
        if self.propagation is not None:
            self.propagation._users["sum1"][4] += 3

    monkeypatch.setattr(Retriever, "settle", damaged)
    found = {check.name: check for check in examine(shop)}
    assert found["sums"].level == "problem"
    assert "1 damaged" in found["sums"].finding


def test_an_index_that_has_drifted(shop: Path, monkeypatch) -> None:
    settle = Retriever.settle

    def drifting(self: Retriever) -> None:
        settle(self)
        if self.index is not None:
            row = np.full((1, self.index.rows.shape[1]), 0.5, np.float32)
            self.index.write(np.zeros(1, np.int32), row[:, 1:], row[0, :1])

    monkeypatch.setattr(Retriever, "settle", drifting)
    assert levels(shop)["index"] == "problem"


def test_a_missing_text_model(shop: Path) -> None:
    settings = shop / "graphrec.toml"
    settings.write_text(settings.read_text() + '\n[text]\nmodel = "nobody/has-this"\n')
    found = {check.name: check for check in examine(shop)}
    assert found["text model"].level == "problem"


def scheduled(shop: Path, text: str) -> dict[str, Check]:
    settings = shop / "graphrec.toml"
    settings.write_text(f"{settings.read_text()}\n[schedule]\n{text}\n")
    return {check.name: check for check in examine(shop) if check.name.startswith(("schedule", "settings"))}


def test_it_says_when_each_job_runs_next_and_begins_no_schedule(shop: Path) -> None:
    found = scheduled(shop, 'train = "0 3 1 1 *"\nupdate = "every 200 events"\nsnapshot = "every 900 events"')
    assert {check.level for check in found.values()} == {"ok"}
    year = datetime.now(UTC).year + 1
    assert found["schedule of train"].finding.startswith(f"next {year}-01-01 03:00:00 UTC")
    assert found["schedule of update"].finding == "0 new events, due every 200 events, 200 to come"
    assert "schedule of prune" not in found
    assert not (shop / "jobs").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('train = "at noon"', "when to train is not understood"),
        ('prune = "0 3 * * 8"', "when to prune is not understood"),
        ('rebuild = "0 3 30 2 *"', "when to rebuild is not understood"),
        ('time_zone = "Europe/Nowhere"\ntrain = "0 3 * * *"', "the time zone is not known"),
        ('retrain = "0 3 * * *"', "retrain"),
    ],
)
def test_a_schedule_that_is_not_understood_is_a_problem_with_a_way_out(shop: Path, text: str, said: str) -> None:
    (found,) = scheduled(shop, text).values()
    assert (found.level, bool(found.way_out)) == ("problem", True)
    assert said in found.finding


def test_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        examine(tmp_path)
