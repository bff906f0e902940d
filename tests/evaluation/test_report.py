from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from graphrec.errors import InputError
from graphrec.evaluation.baselines import LinearFilter, MostPopular
from graphrec.evaluation.metrics import ItemSets
from graphrec.evaluation.protocols import Split, global_time_split, popularity
from graphrec.evaluation.report import (
    Result,
    as_json,
    as_markdown,
    as_slice_table,
    as_table,
    evaluate,
    evaluate_lists,
    save_lists,
    versions,
)
from graphrec.evaluation.slices import SliceResult
from graphrec.events.interactions import Interactions


def small_split() -> Split:
    history = Interactions(
        np.array([0, 0, 1], np.int32), np.array([0, 1, 0], np.int32), np.arange(3), np.ones(3), n_users=2, n_items=4
    )
    return Split(history, np.array([0, 1], np.int32), ItemSets(np.array([0, 1, 3]), np.array([2, 1, 3], np.int32)))


def random_split(include_seen: bool = False) -> Split:
    rng = np.random.default_rng(0)
    data = Interactions(
        rng.integers(0, 20, 300).astype(np.int32),
        np.minimum(rng.zipf(1.4, 300) - 1, 29).astype(np.int32),
        np.arange(300),
        np.ones(300),
        n_users=20,
        n_items=30,
    )
    return global_time_split(data, 0.2, include_seen=include_seen)


def test_means_and_intervals_of_lists():
    split = small_split()
    recommended = np.array([[2, 3], [2, 1]], np.int32)
    result = evaluate_lists(
        "ours", recommended, split, 2, popularity(split.train), np.random.default_rng(0), cpu_seconds=1.5
    )
    assert (result.name, result.users, result.wall_seconds, result.cpu_seconds) == ("ours", 2, None, 1.5)
    assert result.metrics["recall@2"] == pytest.approx((1 + 1 / 2) / 2)
    assert result.metrics["mrr@2"] == pytest.approx((1 + 1 / 2) / 2)
    assert result.metrics["coverage@2"] == pytest.approx(3 / 4)
    assert result.intervals["recall@2"] == (0.5, 1.0)
    assert list(result.intervals) == list(result.metrics)[:5]
    cut = evaluate_lists("ours", recommended, split, 1, popularity(split.train), np.random.default_rng(0))
    assert cut.metrics["hit_rate@1"] == 0.5
    assert cut.metrics["coverage@1"] == 0.25


def test_evaluate_fits_asks_and_times():
    split = random_split()
    result, _, _ = evaluate(LinearFilter(), split, 5, np.random.default_rng(0))
    lists = LinearFilter().fit(split.train).recommend(split.test_users, 5)
    by_hand = evaluate_lists("linear filter", lists, split, 5, popularity(split.train), np.random.default_rng(0))
    assert (result.metrics, result.intervals, result.name) == (by_hand.metrics, by_hand.intervals, by_hand.name)
    assert result.wall_seconds is not None
    assert result.wall_seconds > 0
    assert result.cpu_seconds is not None
    assert result.cpu_seconds >= 0


def test_lists_may_repeat_what_was_seen_only_when_the_split_says_so():
    split = random_split(include_seen=True)
    popular = int(popularity(split.train).argmax())
    result, _, _ = evaluate(MostPopular(), split, 1, np.random.default_rng(0))
    asked = [popular in row for row in np.split(split.relevant.items, split.relevant.indptr[1:-1])]
    assert result.metrics["hit_rate@1"] == pytest.approx(np.mean(asked))
    assert result.metrics["coverage@1"] == pytest.approx(1 / 30)


def results() -> list[Result]:
    metrics = {"recall@2": 0.25, "coverage@2": 0.5}
    return [
        Result("one", 10, metrics, {"recall@2": (0.2, 0.3)}, 1.234, 0.5),
        Result("two", 10, {"recall@2": 0.125, "coverage@2": 1.0}, {"recall@2": (0.1, 0.15)}),
    ]


def test_markdown():
    assert as_markdown(results()).splitlines() == [
        "| recommender | recall@2 | coverage@2 | wall s | CPU s |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| one | 0.2500 ±0.0500 | 0.5000 | 1.23 | 0.50 |",
        "| two | 0.1250 ±0.0250 | 1.0000 | – | – |",
    ]
    assert as_markdown([]).splitlines()[0] == "| recommender | wall s | CPU s |"


def test_table_shows_the_same_cells():
    out = StringIO()
    Console(file=out, width=200).print(as_table(results(), title="online-retail"))
    text = out.getvalue()
    for cell in ("online-retail", "recommender", "recall@2", "0.2500 ±0.0500", "1.23", "two", "–"):
        assert cell in text


def test_table_fits_a_terminal_of_80_columns():
    metrics = {"recall@20": 0.1, "ndcg@20": 0.1, "hit_rate@20": 0.1, "coverage@20": 0.1}
    intervals = {"recall@20": (0.05, 0.15), "ndcg@20": (0.05, 0.15)}
    out = StringIO()
    Console(file=out, width=80).print(as_table([Result("recently popular", 9, metrics, intervals, 123.45, 100.5)]))
    header, row = out.getvalue().split("\n")[:2]
    assert header.split() == ["recommender", "recall@20", "ndcg@20", "coverage@20", "wall", "s", "CPU", "s"]
    assert row.split() == [
        "recently",
        "popular",
        "0.1000",
        "±0.0500",
        "0.1000",
        "±0.0500",
        "0.1000",
        "123.45",
        "100.50",
    ]


def test_slice_table_fits_a_terminal_of_80_columns():
    names = ("returning users", "cold users", "cold items", "tail items", "by view", "by purchase")
    found = {name: SliceResult(1234, 9, {"recall@20": 0.125}, {}) for name in names}
    several = [Result("recently popular", 9, {}, {}, slices=found), Result("one", 9, {}, {}, slices={})]
    out = StringIO()
    Console(file=out, width=80).print(as_slice_table(several, 20))
    lines = out.getvalue().split("\n")
    assert "recall@20" in lines[0]
    assert lines[1].split() == [name.split()[0] for name in names]
    assert lines[2].split() == [name.split()[1] for name in names]
    assert lines[3].split() == ["recommender", *["1234"] * 6]
    assert lines[4].split() == ["recently", "popular", *["0.1250"] * 6]
    assert lines[5].split() == ["one", *["–"] * 6]


def test_json_carries_settings_and_versions():
    found = json.loads(json.dumps(as_json(results(), {"k": 2, "seed": 0})))
    assert found["settings"] == {"k": 2, "seed": 0}
    assert found["results"][0]["metrics"] == {"recall@2": 0.25, "coverage@2": 0.5}
    assert found["results"][0]["intervals"] == {"recall@2": [0.2, 0.3]}
    assert found["results"][1]["cpu_seconds"] is None
    assert found["versions"]["numpy"] == np.__version__
    assert {"python", "graphrec"} <= set(found["versions"])


def test_torch_is_named_only_when_it_was_in_use(monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    assert "torch" not in versions()
    monkeypatch.setitem(__import__("sys").modules, "torch", object())
    assert versions()["torch"]


def test_saved_lists_read_back(tmp_path):
    recommended = np.array([[2, 0], [1, -1]], np.int32)
    save_lists(tmp_path / "lists.parquet", ["ann", "bob"], ["x", "y", "z"], recommended, np.array([[0.9, 0.5], [1, 0]]))
    table = pq.read_table(tmp_path / "lists.parquet")
    assert table.column_names == ["user", "rank", "item", "score"]
    assert table.to_pylist() == [
        {"user": "ann", "rank": 1, "item": "z", "score": pytest.approx(0.9)},
        {"user": "ann", "rank": 2, "item": "x", "score": 0.5},
        {"user": "bob", "rank": 1, "item": "y", "score": 1.0},
    ]
    save_lists(tmp_path / "bare.parquet", ["ann", "bob"], ["x", "y", "z"], recommended)
    assert pq.read_table(tmp_path / "bare.parquet")["score"].null_count == 3


def test_saved_lists_must_fit(tmp_path):
    lists = np.zeros((2, 1), np.int32)
    for users, scores in (["ann"], None), (["ann", "bob"], np.zeros((2, 2))):
        with pytest.raises(InputError, match="do not fit"):
            save_lists(tmp_path / "lists.parquet", users, ["x"], lists, scores)
