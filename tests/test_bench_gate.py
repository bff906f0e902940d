"""scripts/bench_gate on a small part of the sample: every batch has a verdict, and the table counts them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bench_scripts import as_module

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_gate"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return as_module(SCRIPT, monkeypatch)


def test_a_good_and_a_poisoned_batch_of_a_moment(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = script.QUICK
    training = quick.training.model_copy(update={"steps": 2})
    monkeypatch.setattr(script, "QUICK", quick.model_copy(update={"training": training}))
    log = script.sample(12_000)
    assert (np.diff(log.timestamps) >= 0).all()
    good, poisoned = script.measure(log, 1, 0.1, lambda stage, done, total: None)
    assert (good["batch"], poisoned["batch"]) == ("good", "shuffled")
    assert good["new_events"] == poisoned["new_events"] == 1_200
    assert all(row["comparisons"] for row in (good, poisoned))


def test_the_table_counts_verdicts(script: ModuleType) -> None:
    rows = [{"batch": name, "verdict": verdict} for name, verdict in ROWS]
    assert script.as_markdown(rows).splitlines()[2:] == [
        "| good | 1 of 2 | 1 of 2 | 0 of 2 |",
        "| flooded | 0 of 1 | 0 of 1 | 1 of 1 |",
        "| bot | 0 of 1 | 1 of 1 | 0 of 1 |",
        "| all poisoned | 0 of 2 | 1 of 2 | 1 of 2 |",
    ]


ROWS = [("good", "publish"), ("good", "hold"), ("bot", "hold"), ("flooded", "reject")]
