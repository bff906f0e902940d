"""graphrec behind the interface of the baselines, on the tiny world and on a pair of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import InputError, NotTrainedError
from graphrec.evaluation.baselines import MostPopular
from graphrec.evaluation.graphrec_model import GraphrecModel
from graphrec.evaluation.protocols import item_sets
from graphrec.evaluation.report import evaluate
from graphrec.evaluation.runs import Task, blocks_task, contenders, files_task, left_out, run, time_task
from graphrec.recommender import Recommender


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture
def task(trained_once: Path, word_encoder) -> Task:
    with Recommender.open(trained_once) as recommender:
        return time_task(recommender, 0.2, include_seen=False)


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
        model.recommend(task.splits[0].test_users, 5)
    fitted = model.fit(task.splits[0].train)
    lists = fitted.recommend(task.splits[0].test_users, 50)
    assert (lists.shape, lists.dtype) == ((len(task.splits[0].test_users), 50), np.int32)
    seen = item_sets(task.splits[0].train)
    for user, row in zip(task.splits[0].test_users.tolist(), lists, strict=True):
        shown = row[row >= 0]
        assert len(set(shown.tolist())) == len(shown)
        assert not set(shown.tolist()) & set(seen.items[seen.indptr[user] : seen.indptr[user + 1]].tolist())
    assert np.array_equal(np.isnan(fitted.scores), lists < 0)
    steps = np.diff(fitted.scores, axis=1)
    assert (steps[~np.isnan(steps)] <= 0).all()


def test_all_contenders_are_scored_on_the_same_users(task: Task) -> None:
    results = run(task, 5, silent)
    assert {result.name for result in results} == {
        "graphrec", "most popular", "recently popular", "item kNN", "linear filter", "GF-CF", "iALS", "EASE",
    }  # fmt: skip
    assert {result.users for result in results} == {len(task.splits[0].test_users)}
    ndcg = [result.metrics["ndcg@5"] for result in results]
    assert ndcg == sorted(ndcg, reverse=True)


def test_a_test_file_teaches_nothing(files: tuple[Path, Path]) -> None:
    train, test = files
    split = files_task(train, test).splits[0]
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
    assert "recall@5 on parts of the test" in done.stdout
    for part in ("returning", "cold", "tail", "purchase"):
        assert part in done.stdout


@pytest.fixture
def blocks(trained_once: Path, word_encoder) -> Task:
    with Recommender.open(trained_once) as recommender:
        return blocks_task(recommender, 0.7, 2, 1.0, include_seen=False)


def test_every_block_is_evaluated_on_what_came_before(blocks: Task) -> None:
    assert len(blocks.splits) == 2
    told: list[tuple[str, int, int]] = []
    results = run(blocks, 5, lambda *progress: told.append(progress))
    assert [step for step in told if step[0] == "contenders"] == [
        ("contenders", done, 2 * len(results)) for done in range(1, 2 * len(results) + 1)
    ]
    for result in results:
        assert [block.users for block in result.blocks] == [len(split.test_users) for split in blocks.splits]
        recalls = [block.metrics["recall@5"] for block in result.blocks]
        assert result.metrics["recall@5"] == pytest.approx(np.mean(recalls))
        assert result.blocks[0].settings.keys() == result.settings.keys()
        if result.name in ("EASE", "iALS"):
            assert result.blocks[0].settings == result.blocks[1].settings
    popular = next(result for result in results if result.name == "most popular")
    alone, _, _ = evaluate(MostPopular(), blocks.splits[1], 5, np.random.default_rng(0))
    assert popular.blocks[1].metrics == alone.metrics


def test_lists_of_several_blocks_are_refused(blocks: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one split"):
        run(blocks, 5, silent, tmp_path / "lists.parquet")


def test_blocks_from_the_command_line(trained_once: Path, word_encoder) -> None:
    arguments = ["evaluate", str(trained_once), "--protocol", "blocks", "--base-share", "0.8", "--blocks", "2"]
    done = CliRunner().invoke(cli.app, [*arguments, "--label-delay", "0.5", "-k", "5", "--quiet", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [split["train_events"] for split in found["settings"]["splits"]] == sorted(
        split["train_events"] for split in found["settings"]["splits"]
    )
    assert found["settings"]["splits"][0]["test_from"].startswith("20")
    assert found["settings"]["left_out"] == {}
    for result in found["results"]:
        assert len(result["blocks"]) == 2
        assert {"by view", "by purchase"} <= set(result["slices"])
        assert {"metrics", "intervals", "slices"} <= set(result["blocks"][0])


@pytest.mark.parametrize(
    "options",
    [
        ["--blocks", "3"],
        ["--label-delay", "1"],
        ["--protocol", "blocks", "--test-share", "0.2"],
        ["--protocol", "blocks", "--save-lists", "lists.parquet"],
    ],
)
def test_options_of_the_other_protocol_are_refused(options: list[str], trained_once: Path) -> None:
    done = CliRunner().invoke(cli.app, ["evaluate", str(trained_once), *options])
    assert isinstance(done.exception, InputError)
    assert options[-2] in str(done.exception)


@pytest.mark.parametrize("option", [["--protocol", "time"], ["--include-seen"], ["--test-share", "0.2"]])
def test_options_of_a_workspace_are_refused_with_files(option: list[str], files: tuple[Path, Path]) -> None:
    train, test = map(str, files)
    done = CliRunner().invoke(cli.app, ["evaluate", "--train", train, "--test", test, *option])
    assert isinstance(done.exception, InputError)
    assert option[0] in str(done.exception)


def test_who_is_left_out_is_told(task: Task, monkeypatch) -> None:
    assert left_out(task) == {}
    monkeypatch.setattr("graphrec.evaluation.ials.find_spec", lambda name: None)
    monkeypatch.setattr("graphrec.evaluation.runs.MOST_ITEMS", 3)
    reasons = left_out(task)
    assert reasons.keys() == {"EASE", "iALS"}
    assert "graphrec[evaluation]" in reasons["iALS"]
    names = {contender.name for contender in contenders(task, silent)}
    assert names == {"graphrec", "most popular", "recently popular", "item kNN", "linear filter", "GF-CF"}
