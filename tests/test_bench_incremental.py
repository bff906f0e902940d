"""scripts/bench_incremental on tiny logs: all figures are there, and would show what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_scripts import as_module

from graphrec.events.interactions import Interactions

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = as_module(SCRIPTS / "bench_incremental", monkeypatch)
    monkeypatch.setattr(module, "SINGLES", 20)
    return module


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A folder of data with a tiny LightGCN split: 200 users, 300 items."""
    folder = tmp_path / "data" / "lgcn-gowalla"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        lines = [" ".join(map(str, [user, *rng.choice(300, 40, replace=False)])) for user in range(200)]
        (folder / f"{part}.txt").write_text("\n".join(lines))
    return folder.parent


def test_one_command_measures_every_world(
    script: ModuleType, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = pairs.parent / "out"
    command = ["bench_incremental", "--quiet", "--out", str(out), "--data", str(pairs)]
    command += ["--edges", "9000", "--batches", "4", "--rounds", "2", "--reads", "300"]
    monkeypatch.setattr(sys.modules["incremental_readers"], "WINDOW", 0.2)
    monkeypatch.setattr(sys.modules["incremental_readers"], "WINDOWS", 1)

    def child(started: list[str], *, check: bool, env: dict[str, str]) -> None:
        assert check
        assert env["OMP_NUM_THREADS"] == "1"
        assert started[:-2] == [sys.executable, str(SCRIPTS / "bench_incremental"), *command[1:]]
        monkeypatch.setattr(sys, "argv", started[1:])
        assert script.main() == 0
        monkeypatch.setattr(sys, "argv", command)

    monkeypatch.setattr(script.subprocess, "run", child)
    monkeypatch.setattr(sys, "argv", command)
    assert script.main() == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [result["world"] for result in found] == ["lgcn-gowalla, random order", "synthetic 9,000"]
    assert (found[0]["users"], found[0]["items"]) == (200, 300)
    for result in found:
        assert max(result["largest_difference"].values()) < 1e-5
        assert result["index"]["overlap"] == 1
        assert result["index"]["overlap_never_written"] < 1
        assert result["edges"] > result["edges_loaded"]
        assert result["batches"] == 4
        assert result["index"]["writes_saved"] > 1
        assert result["readers"]["torn"]["torn"] == 0
        assert result["readers"]["torn"]["looks"] >= 300
        assert result["readers"]["beside_a_writer"]["events_per_second"] > 0
        assert all(0 <= row["cpu_p50"] <= row["cpu_p99"] for row in result["times"].values())
    assert json.loads((out / "lgcn-gowalla.json").read_text()) == found[0]
    table = (out / "incremental.md").read_text()
    assert table in printed.err
    assert "### lgcn-gowalla, random order" in table
    assert "| torn or mixed reads | 0 | 0 | 0 in 300 | 0 in 300 |" in table
    assert table.count("| full recomputation: torch, ready CSR |") == 2


def test_a_large_world_measures_graph_and_vectors_alone(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "ALONE", 1_000)
    found = script.measure(script.synthetic(20_000), 4, 2, "cpu", silent)
    assert "index" not in found
    assert set(found["times"]) == {"insert", "settle", "graphrec, batch", "graphrec, one event", "user vector"}
    assert max(found["largest_difference"].values()) < 1e-5
    table = script.as_markdown([found])
    assert "### Everything else" in table
    assert "| full recomputation: torch" not in table


def test_bounded_mode_is_held_against_exact_vectors(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = script.measure(script.synthetic(20_000), 4, 2, "cpu", silent, 3_000)["bounded"]
    assert (found["events"], found["violations"]) == (3_000, 0)
    assert 0 < found["largest_error"] <= found["epsilon"]

    def deaf(retriever: Any, *events: Any) -> Any:  # to what a batch does to vectors
        return retriever.graph.add(*events).items

    monkeypatch.setattr(script, "follow", deaf)
    assert script.measure(script.synthetic(20_000), 4, 2, "cpu", silent, 3_000)["bounded"]["violations"] > 0


def test_vectors_that_do_not_follow_are_found_out(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgets(retriever: Any, *events: Any) -> Any:
        return retriever.graph.add(*events).items

    monkeypatch.setattr(script, "follow", forgets)
    found = script.measure(script.synthetic(20_000), 4, 2, "cpu", silent)
    assert found["largest_difference"]["items"] > 1e-3


def test_synthetic_worlds_have_about_as_many_edges_as_asked(script: ModuleType) -> None:
    world = script.synthetic(300_000)
    pairs = np.concatenate([chunk.users.astype(np.int64) * world.n_items + chunk.items for chunk in world.chunks()])
    assert 0.8 * 300_000 < len(np.unique(pairs)) < 1.1 * 300_000


def test_movielens_is_in_the_order_of_histories(script: ModuleType, tmp_path: Path) -> None:
    rows = {"user_id": ["7", "7", "9", "9"], "item_id": ["a", "b", "c", "a"], "seq": [1, 0, 0, 1]}
    (tmp_path / "ml-1m").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "ml-1m" / "interactions.parquet")
    (world,) = (make() for name, make in script.worlds(tmp_path, []).items())
    (log,) = world.chunks()
    assert (world.n_users, world.n_items, world.n_events) == (2, 3, 4)
    assert sorted(zip(log.users.tolist()[:2], log.items.tolist()[:2], strict=True)) == [(0, 1), (1, 2)]
    assert (np.diff(log.timestamps) > 0).all()


def test_a_tail_begins_again_when_it_is_short(script: ModuleType) -> None:
    numbers = np.arange(5, dtype=np.int32)
    tail = script.Tail(Interactions(numbers, numbers, numbers.astype(np.int64), np.ones(5), 5, 5))
    assert tail.next(3)[0].tolist() == [0, 1, 2]
    assert tail.next(4)[1].tolist() == [3, 4, 0, 1]
    assert tail.newest(2).users.tolist() == [0, 1]


def test_lists_are_compared_whatever_the_order_of_ties(script: ModuleType) -> None:
    index = sys.modules["incremental_index"]
    rows = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    rows[30:] = rows[29]  # 21 rows alike
    queries = np.stack([rows[29], -rows[29]])
    order = np.argsort(-(queries @ rows.T), kind="stable")
    assert sorted(index.best(queries[1:], rows)[0].tolist()) == sorted(order[1, : index.K].tolist())
    assert index.overlap(order[:, : index.K], queries, rows) == 1
    assert index.overlap(order[:, -index.K :], queries, rows) < 0.1
    better = order[0, : int((rows[:29] @ rows[29] > rows[29] @ rows[29]).sum())]
    other_ties = np.concatenate([better, np.arange(30, 50)])[: index.K]
    assert index.overlap(other_ties[None], queries[:1], rows) == 1


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0000123, "0.012"), (0.000567, "0.567"), (0.00123, "1.23"), (0.0123, "12.3"), (4.5, "4,500")],
)
def test_milliseconds_have_three_digits(script: ModuleType, seconds: float, shown: str) -> None:
    assert sys.modules["incremental_tables"].milliseconds(seconds) == shown
