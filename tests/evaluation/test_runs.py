"""graphrec behind the interface of the baselines, on the tiny world and on a pair of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import NotTrainedError
from graphrec.evaluation.graphrec_model import GraphrecModel
from graphrec.evaluation.protocols import item_sets
from graphrec.evaluation.runs import Task, files_task, run, workspace_task
from graphrec.recommender import Recommender


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture
def task(trained_once: Path, word_encoder) -> Task:
    with Recommender.open(trained_once) as recommender:
        return workspace_task(recommender, 0.2, include_seen=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Two groups of taste; what a user lacks of its group is the test."""
    rng = np.random.default_rng(0)
    train, test = [], []
    for user in range(40):
        own = rng.permutation(np.arange(user % 2, 24, 2))
        train.append(" ".join(map(str, [user, *own[:8]])))
        test.append(" ".join(map(str, [user, *own[8:]])))
    (tmp_path / "train.txt").write_text("\n".join(train))
    (tmp_path / "test.txt").write_text("\n".join(test))
    return tmp_path / "train.txt", tmp_path / "test.txt"


def test_the_model_keeps_the_promises_of_a_recommender(task: Task) -> None:
    model = GraphrecModel(task.config, task.texts, silent)
    with pytest.raises(NotTrainedError):
        model.recommend(task.split.test_users, 5)
    fitted = model.fit(task.split.train)
    lists = fitted.recommend(task.split.test_users, 50)
    assert (lists.shape, lists.dtype) == ((len(task.split.test_users), 50), np.int32)
    seen = item_sets(task.split.train)
    for user, row in zip(task.split.test_users.tolist(), lists, strict=True):
        shown = row[row >= 0]
        assert len(set(shown.tolist())) == len(shown)
        assert not set(shown.tolist()) & set(seen.items[seen.indptr[user] : seen.indptr[user + 1]].tolist())
    assert np.array_equal(np.isnan(fitted.scores), lists < 0)
    steps = np.diff(fitted.scores, axis=1)
    assert (steps[~np.isnan(steps)] <= 0).all()


def test_all_contenders_are_scored_on_the_same_users(task: Task) -> None:
    results = run(task, 5, silent)
    assert {result.name for result in results} == {
        "graphrec", "most popular", "recently popular", "item kNN", "linear filter", "EASE",
    }  # fmt: skip
    assert {result.users for result in results} == {len(task.split.test_users)}
    ndcg = [result.metrics["ndcg@5"] for result in results]
    assert ndcg == sorted(ndcg, reverse=True)


def test_a_test_file_teaches_nothing(files: tuple[Path, Path]) -> None:
    train, test = files
    split = files_task(train, test).split
    kept = sorted(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True))
    written = [line.split() for line in train.read_text().splitlines()]
    assert kept == sorted((int(line[0]), int(item)) for line in written for item in line[1:])
    assert len(np.unique(split.train.timestamps)) == len(split.train)


def test_evaluate_on_files_from_the_command_line(files: tuple[Path, Path], monkeypatch) -> None:
    train, test = files
    for name, value in {"STEPS": 20, "BATCH_SIZE": 64}.items():
        monkeypatch.setenv(f"GRAPHREC_TRAINING__{name}", str(value))
    saved = train.with_name("lists.parquet")
    arguments = ["evaluate", "--train", str(train), "--test", str(test), "-k", "4", "--json", "--quiet"]
    done = CliRunner().invoke(cli.app, [*arguments, "--save-lists", str(saved)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    recall = {result["name"]: result["metrics"]["recall@4"] for result in found["results"]}
    assert recall["graphrec"] > 0.8 > 0.5 > recall["most popular"]
    assert found["settings"]["config"]["training"]["steps"] == 20
    lists = pq.read_table(saved).to_pandas()
    assert list(lists.columns) == ["user", "rank", "item", "score"]
    assert len(lists) == 40 * 4
    groups = lists["user"].astype(int) % 2 == lists["item"].astype(int) % 2
    assert groups.mean() > 0.8


def test_evaluate_on_a_workspace_from_the_command_line(trained_once: Path, word_encoder) -> None:
    done = CliRunner().invoke(cli.app, ["evaluate", str(trained_once), "-k", "5", "--quiet"])
    assert done.exit_code == 0, done.output
    assert "graphrec" in done.stdout
    assert "ndcg@5" in done.stdout
