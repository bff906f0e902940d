from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from graphrec.doctor import examine
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


def test_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        examine(tmp_path)
