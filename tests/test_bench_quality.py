"""scripts/bench_quality on tiny data: every job on every format, going on where a run stopped, and the tables."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench_scripts import as_module

from graphrec.evaluation.protocols import Split, prequential_splits
from graphrec.events.interactions import Interactions

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_quality"
USERS, ITEMS = 60, 40


@pytest.fixture
def script(words, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with an encoder that reads word by word and little training."""
    module = as_module(SCRIPT, monkeypatch)
    monkeypatch.setattr(sys.modules[module.stream.__module__], "TextEncoder", words)
    monkeypatch.setattr(module, "STRANGERS", 7)
    for name, value in {"STEPS": "3", "BATCH_SIZE": "64", "RANKER_SEEDS": "1"}.items():
        monkeypatch.setenv(f"GRAPHREC_TRAINING__{name}", value)
    return module


@pytest.fixture
def data(tmp_path: Path, world) -> Path:
    """The world as a LightGCN split, as Parquet with time stamps and as Parquet with places in each user's history."""
    of_user: dict[int, list[int]] = {user: [] for user in range(USERS)}
    for event in world.events:
        item = int(event.item[1:])
        if item not in of_user[int(event.user[1:])]:
            of_user[int(event.user[1:])].append(item)
    folder = tmp_path / "data"
    pairs = folder / "lgcn-gowalla"
    pairs.mkdir(parents=True)
    for name, part in (("train", slice(0, -2)), ("test", slice(-2, None))):
        lines = [" ".join(map(str, [user, *items[part]])) for user, items in of_user.items()]
        (pairs / f"{name}.txt").write_text("\n".join(lines))
    users, items = [event.user for event in world.events], [event.item for event in world.events]
    events = {"user_id": users, "item_id": items, "event": [event.kind for event in world.events]}
    texts = {"item_id": [item.id for item in world.items], "text": [item.text for item in world.items]}
    stamps = [event.microseconds // 1_000_000 for event in world.events]
    for name, clock, extra in (
        ("online-retail", {"timestamp": stamps}, {}),
        ("ml-1m", {"seq": range(len(users))}, {"plot": [None, "a long story"] * (ITEMS // 2)}),
    ):
        (folder / name).mkdir()
        pq.write_table(
            pa.table(events | {n: list(c) for n, c in clock.items()}), folder / name / "interactions.parquet"
        )
        pq.write_table(pa.table(texts | extra), folder / name / "items.parquet")
    return folder


def outcome(job: str, ndcg: float = 0.25) -> dict[str, object]:
    """What a job of lists leaves, with two recommenders."""
    results = [
        {
            "name": name,
            "metrics": {"recall@20": value, "ndcg@20": value},
            "slices": {},
            "intervals": {"recall@20": [value - 0.01, value + 0.01], "ndcg@20": [value - 0.002, value + 0.002]},
            "fit_cpu_seconds": 3.0,
            "cpu_seconds": 5.0,
        }
        for name, value in (("the worse", ndcg / 2), ("the better", ndcg))
    ]
    return {"job": job, "cpu_seconds": 12.4, "peak_bytes": 2.5e9, "results": results}


def measured(script: ModuleType, data: Path, job: str) -> dict[str, object]:
    """What a job leaves in its file."""
    out = data.parent / "out"
    out.mkdir(exist_ok=True)
    script.measure(job, argparse.Namespace(data=data, out=out, events=25, quiet=True))
    found: dict[str, object] = json.loads(script.file_of(out, job).read_text())
    assert found["job"] == job
    assert found["cpu_seconds"] > 0
    assert found["peak_bytes"] > 1e7
    assert {"numpy", "python"} <= set(found["versions"])
    assert f"### {job}\n" in script.as_markdown([found])
    return found


def called(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    result: int = script.main()
    return result


def test_it_explains_itself() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    for option in ("--data", "--out", "--jobs", "--events", "--again", "--quiet"):
        assert option in done.stdout
    assert "--job " not in done.stdout  # a child's own


def test_a_folder_that_is_not_there(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with pytest.raises(SystemExit) as left:
        called(script, monkeypatch, "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert left.value.code == 2
    assert f"there is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_command_measures_and_writes_the_tables(script: ModuleType, data: Path) -> None:
    """A child process a job; sets that are not there are left out and said so, jobs that fail are named at the end."""
    out = data.parent / "out"
    (data / "lgcn-yelp2018").mkdir()  # and nothing in it
    command = [sys.executable, SCRIPT, "--data", data, "--out", out, "--quiet", "--jobs", "gowalla", "yelp", "movie"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "failed: gowalla strangers, yelp2018"  # fewer users than strangers
    assert "left out: movietweetings blocks, for" in done.stderr
    (found,) = json.loads((out / "quality.json").read_text())
    names = {result["name"] for result in found["results"]}
    assert {"graphrec", "most popular", "GF-CF"} <= names
    assert {"graphrec: filter of 64 frequencies, numbers fixed", "graphrec: graph filter alone"} <= names
    assert {"graphrec: GraphSAGE alone"} <= names
    table = (out / "quality.md").read_text()
    assert table == done.stdout
    assert all(f"| {name} |" in table for name in names)


def test_strangers_are_asked_twice(script: ModuleType, data: Path) -> None:
    found = measured(script, data, "gowalla strangers")
    assert [(result["name"], result["users"]) for result in found["results"]] == [
        ("known", 7),
        ("strangers to training", 7),
    ]
    assert found["results"][0]["metrics"] != found["results"][1]["metrics"]


@pytest.mark.parametrize("dataset", ["online-retail", "ml-1m"])
def test_cold_items_are_drawn_twice(
    script: ModuleType, data: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphrec.training.cold_trainer._FEWEST_HELD_OUT", 2)
    found = measured(script, data, f"{dataset} cold items")
    assert [drawn["seed"] for drawn in found["cold"]] == [0, 1]
    names = [row["name"] for row in found["cold"][0]["rows"]]
    assert "graphrec" in names
    table = script.body(found).splitlines()
    assert len(table) == 2 + 2 * len(names)
    assert next(line for line in table if line.startswith("| centred cosine |")).endswith("| 1.00 |")


def test_blocks_are_tested_then_learnt(script: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int]] = []

    def fewer(log: Interactions, base_share: float, blocks: int) -> tuple[Split, ...]:
        asked.append((base_share, blocks))
        return prequential_splits(log, base_share, 2)

    monkeypatch.setattr(script, "prequential_splits", fewer)
    found = measured(script, data, "online-retail blocks")
    assert asked == [(0.6, 10)]
    assert {"graphrec", "recently popular", "EASE"} <= {result["name"] for result in found["results"]}
    assert {len(result["blocks"]) for result in found["results"]} == {2}


def test_freshness_is_beside_a_refresh_per_block(script: ModuleType, data: Path) -> None:
    found = measured(script, data, "online-retail one step ahead")
    assert {row["n"] for row in found["freshness"] if row["events"] == "all"} == {25}
    rows = [line.split(" | ") for line in script.body(found).splitlines()[2:]]
    assert len(rows) == 5 * 5  # policies times what is asked of which tables
    assert {row[-1] for row in rows if row[2] == "per block"} == {"1.00 |"}


def test_a_stream_is_read_in_the_order_of_time(script: ModuleType, data: Path, world, words) -> None:
    table = pq.read_table(data / "online-retail" / "interactions.parquet")
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    unknown = pa.table({name: table[name].slice(0, 1) for name in table.column_names}).set_column(
        1, "item_id", [["not in the catalogue"]]
    )
    pq.write_table(pa.concat_tables([shuffled, unknown]), data / "online-retail" / "interactions.parquet")
    log, texts = script.stream(data / "online-retail", script.Config(), data.parent / "cache")
    assert len(log) == len(world.events)
    assert (np.diff(log.timestamps) >= 0).all()
    assert sorted(log.items.tolist()) == sorted(int(event.item[1:]) for event in world.events)
    kinds = script.Config().events.kinds
    assert log.weights.sum() == sum(kinds[event.kind] for event in world.events)
    np.testing.assert_array_equal(texts, words().encode([item.text for item in world.items]))
    ranks, plots = script.stream(data / "ml-1m", script.Config(), data.parent / "cache")
    assert ranks.timestamps.tolist() == [(rank + 2) * 1_000_000 for rank in range(len(ranks))]
    longer = [f"{item.text} a long story" if number % 2 else item.text for number, item in enumerate(world.items)]
    np.testing.assert_array_equal(plots, words().encode(longer))


@pytest.fixture
def children(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that a child was started for; instead of measuring, it writes a better figure each time."""
    started: list[str] = []

    def run(command: list[str], *, check: bool) -> argparse.Namespace:
        assert not check
        assert command[:2] == [sys.executable, str(SCRIPT)]
        assert command[-2] == "--job"
        out = Path(command[command.index("--out") + 1])
        started.append(command[-1])
        script.file_of(out, command[-1]).write_text(json.dumps(outcome(command[-1], 0.25 + len(started) / 100)))
        return argparse.Namespace(returncode=0)

    monkeypatch.setattr(script.subprocess, "run", run)
    return started


def test_what_has_been_measured_is_not_measured_again(
    script: ModuleType, data: Path, children: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = data.parent / "out"
    always = ("--data", data, "--out", out)
    assert called(script, monkeypatch, *always, "--jobs", "gowalla strangers") == 0
    assert children == ["gowalla strangers"]
    first = (out / "gowalla-strangers.json").read_bytes()
    assert called(script, monkeypatch, *always, "--jobs", "gowalla", "ml-1m") == 0
    assert children == ["gowalla strangers", "gowalla", "ml-1m cold items"]
    assert (out / "gowalla-strangers.json").read_bytes() == first
    printed = capsys.readouterr()
    assert called(script, monkeypatch, *always, "--jobs", "gowalla", "ml-1m") == 0
    assert len(children) == 3
    assert printed.out.endswith(capsys.readouterr().out)
    assert called(script, monkeypatch, *always, "--jobs", "gowalla strangers", "--again") == 0
    assert children[3:] == ["gowalla strangers"]
    assert (out / "gowalla-strangers.json").read_bytes() != first
    # The tables hold what was measured in any run, in the order of the jobs.
    jobs = [job["job"] for job in json.loads((out / "quality.json").read_text())]
    assert jobs == ["gowalla", "gowalla strangers", "ml-1m cold items"]


def test_a_word_that_begins_no_job(script: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        called(script, monkeypatch, "--data", data, "--out", data.parent / "out", "--jobs", "amazon")
    assert left.value.code == 2
    assert "nothing begins so; there are gowalla, gowalla strangers, yelp2018" in capsys.readouterr().err


def test_the_summary_by_hand(script: ModuleType) -> None:
    lists = outcome("gowalla")
    for result, name in zip(lists["results"], ("EASE", "graphrec"), strict=True):  # type: ignore[call-overload]
        result |= {"name": name, "users": 10}
        result["slices"] = {"returning users": {"users": 9, "metrics": {"recall@20": 0.5, "ndcg@20": 0.75}}}
    lists["results"] += [lists["results"][0] | {"name": "graphrec: a part alone"}]  # type: ignore[index,operator]
    rows = [
        {"policy": policy, "hit_rate": hit, "events": "all", "asked": "whole product"}
        for policy, hit in (("per event", 0.5), ("per block", 0.125))
    ]
    orders = [
        {"name": "graphrec", "recall": 0.5, "ndcg": 0.25},
        {"name": "centred cosine", "recall": 0.25, "ndcg": 1.0},
    ]
    found = [
        lists,
        outcome("without graphrec"),
        {"job": "next", "freshness": rows},
        {"job": "cold", "cold": [{"seed": 0, "rows": orders}]},
    ]
    assert script.summary(found).splitlines()[2:] == [
        "| gowalla | .2500 / .2500 | EASE .1250 / .1250 | LightGCN .1830 / .1554, ChebyCF .1941 / .1616 |",
        "| … returning users | .5000 / .7500 | EASE .5000 / .7500 |  |",
        "| … a part alone, 3 CPU-s | .1250 / .1250 |  |  |",
        "| next, all events known | hit .5000 | hit .1250 a block late |  |",
        "| cold, 1 draws | .5000 / .2500 | cosine .2500 / 1.0000 |  |",
    ]


def test_the_tables_by_hand(script: ModuleType) -> None:
    expected = """
### gowalla

| recommender | recall@20 | NDCG@20 | CPU-s, fit | CPU-s, lists |
| --- | ---: | ---: | ---: | ---: |
| the better | .2500 ±.0100 | .2500 ±.0020 | 3.0 | 2.0 |
| the worse | .1250 ±.0100 | .1250 ±.0020 | 3.0 | 2.0 |

12 CPU-seconds in all, peak memory 2.5 GB."""
    assert script.as_markdown([outcome("gowalla")]).endswith(expected)
    assert script.figure(1.0) == "1.0000"
    two = script.ItemSets(np.array([0, 2, 2, 5]), np.array([4, 7, 1, 2, 3], np.int32))
    some = script.rows(two, np.array([2, 1, 0]))
    assert some.indptr.tolist() == [0, 3, 3, 5]
    assert some.items.tolist() == [1, 2, 3, 4, 7]
