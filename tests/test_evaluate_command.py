"""`graphrec evaluate --protocol one-step-ahead` on the tiny world, and which options go with which protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import InputError
from graphrec.evaluation.one_step_ahead import POLICIES, PRODUCT, TASTE, USER_VECTOR

ONE_STEP_AHEAD = ("--protocol", "one-step-ahead")


def evaluate(*arguments: object):
    return CliRunner().invoke(cli.app, ["evaluate", *map(str, arguments)])


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be learned before the options are understood."""
    monkeypatch.setattr("graphrec.evaluation.one_step_ahead.fit", lambda *_: pytest.fail("trained before looking"))


def test_the_record_has_every_policy_and_how_it_was_made(trained_once: Path, word_encoder) -> None:
    done = evaluate(trained_once, *ONE_STEP_AHEAD, "--events", 50, "--base-share", 0.7, "-k", 5, "--quiet", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = {(row["tables"], row["asked"], row["policy"]): row for row in found["results"] if row["events"] == "all"}
    sources = [(tables, asked) for tables in ("frozen", "per block") for asked in (USER_VECTOR, TASTE)]
    assert set(rows) == {(*source, policy) for source in [*sources, ("by policy", PRODUCT)] for policy in POLICIES}
    for row in rows.values():
        assert (row["n"], row["k"]) == (50, 5)
        assert 0 <= row["hit_rate_interval"][0] <= row["hit_rate"] <= row["hit_rate_interval"][1] <= 1
    assert rows["by policy", PRODUCT, "per event"]["hit_rate"] > 0
    settings = found["settings"]
    assert (settings["protocol"], settings["k"], settings["base_share"]) == ("one-step-ahead", 5, 0.7)
    assert settings["config"]["training"]["steps"] == 30
    assert {"python", "numpy"} <= set(found["versions"])


def test_the_table_has_every_policy(trained_once: Path, word_encoder) -> None:
    done = evaluate(trained_once, *ONE_STEP_AHEAD, "--events", 20, "-k", 5, "--quiet")
    assert done.exit_code == 0, done.output
    for word in ("hit@5", "ndcg@5", USER_VECTOR, TASTE, PRODUCT, *POLICIES):
        assert word in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        [*ONE_STEP_AHEAD, "--test-share", "0.2"],
        [*ONE_STEP_AHEAD, "--blocks", "3"],
        [*ONE_STEP_AHEAD, "--label-delay", "1"],
        [*ONE_STEP_AHEAD, "--include-seen"],
        [*ONE_STEP_AHEAD, "--save-lists", "lists.parquet"],
        ["--events", "50"],
        ["--base-share", "0.5"],
        ["--protocol", "blocks", "--events", "50"],
    ],
)
def test_options_of_other_protocols_are_refused(options: list[str], trained_once: Path, untrained: None) -> None:
    done = evaluate(trained_once, *options)
    assert isinstance(done.exception, InputError)
    refused = [word for word in options if word.startswith("--") and word != "--protocol"]
    assert refused[0] in str(done.exception)


@pytest.mark.parametrize("options", [["--events", "50"], ["--base-share", "0.5"], ONE_STEP_AHEAD])
def test_files_have_no_one_step_ahead(options: list[str], tmp_path: Path, untrained: None) -> None:
    done = evaluate("--train", tmp_path / "train.txt", "--test", tmp_path / "test.txt", *options)
    assert isinstance(done.exception, InputError)
    assert f"{options[0]} with a pair of files" in str(done.exception)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--base-share", "1"], "not a share"),
        (["--events", "0"], "nothing to ask"),
        (["--events", "-3"], "nothing to ask"),
        (["-k", "0"], "nothing to ask"),
    ],
)
def test_what_cannot_be_asked_is_explained(
    options: list[str], problem: str, trained_once: Path, word_encoder, untrained: None
) -> None:
    done = evaluate(trained_once, *ONE_STEP_AHEAD, *options, "--quiet")
    assert isinstance(done.exception, InputError)
    assert problem in str(done.exception)
