"""scripts/bench_compression on small worlds: its baseline, its lists, its index rows and its tables."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bench_scripts import as_module

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_compression"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the script sets it for itself
    return as_module(SCRIPT, monkeypatch)


def test_the_sample_has_a_text_for_nearly_every_item(script: ModuleType) -> None:
    log, texts = script.sample()
    assert len(texts) == log.n_items == 3_830
    assert sum(map(bool, texts)) > 3_700
    assert (np.diff(log.timestamps) >= 0).all()


def test_the_steps_of_the_baseline_give_the_exact_vectors(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    version, plain = script.baseline()
    texts = [f"cup number {number} " * (number % 5 + 1) for number in range(40)]
    exact = script.TextEncoder(script.TextSettings(), device="cpu").encode(texts)
    assert version == "its steps"
    np.testing.assert_allclose(plain(texts), exact, atol=1e-5)


def test_lists_in_common(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "K", 2)
    angles = np.array([0.0, 0.1, 0.25, 1.0])
    near = script.neighbours(np.column_stack([np.cos(angles), np.sin(angles)]))
    assert [set(row) for row in near.tolist()] == [{1, 2}, {0, 2}, {0, 1}, {1, 2}]
    assert script.overlap(near, np.array([[1, 2], [0, 3], [3, 3], [2, 1]])) == pytest.approx((2 + 1 + 0 + 2) / 8)


def test_smaller_rows_err_more_and_certify_less(script: ModuleType) -> None:
    rows = {row["storage"]: row for row in script.index_rows(3_000, 17, 12)}
    assert (rows["float32"]["error"], rows["float32"]["overlap"], rows["float32"]["certified"]) == (0, 1, 1)
    assert rows["fp16"]["bytes"] == rows["float32"]["bytes"] / 2 == 2 * rows["8bit"]["bytes"]
    assert 0 < rows["fp16"]["error"] < rows["bf16"]["error"] < rows["8bit"]["error"]
    assert rows["8bit"]["overlap"] < 1
    assert rows["8bit"]["certified"] <= rows["fp16"]["certified"]


def test_the_table_compares_with_the_baseline(script: ModuleType) -> None:
    def row(seconds: float | None, recalls: list[float]) -> dict[str, object]:
        losses = {"cosine": 0.99, "least_cosine": 0.98, "overlap": 0.9}
        return {"seconds": seconds, "bytes": 2e6, "cold_recall": recalls} | losses

    rows = {"sentence-transformers": {"seconds": 4.0}, "float32": row(2.0, [0.1, 0.3]), "int8": row(1.0, [0.1, 0.2])}
    found = {
        "encoders": {"sentence_transformers": "6", "texts": 10, "rows": rows | {"kept as float16": row(None, [0.2])}},
        "index": {"rows": 100, "dimensions": 17, "storages": []},
    }
    table = script.markdown(found)
    assert "| int8 | 1.00 | 4.0 | 2.0 | 0.99000 (0.9800) | 0.9000 | 0.1500 | 0.7500 |" in table
    assert "| kept as float16 |  |  | 2.0" in table
