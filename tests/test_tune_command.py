"""`graphrec tune` on the tiny world's workspace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.config import CONFIG_FILE, Config
from graphrec.errors import ConfigError
from graphrec.evaluation.prequential_objective import Objective

SEARCH = ("--settings", "training.dropout,training.temperature", "--blocks", "2")


def run(*arguments: object):
    return CliRunner().invoke(cli.app, ["tune", *map(str, arguments), "--quiet"])


@pytest.fixture
def rising(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more dropout the better, for everybody."""

    def blocks(objective: Objective, config: Config, progress: object):
        for split in objective.splits:
            yield np.full(len(split.test_users), config.training.dropout)

    monkeypatch.setattr(Objective, "blocks", blocks)


@pytest.fixture
def level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings make a difference by chance only."""

    def blocks(objective: Objective, config: Config, progress: object):
        rng = np.random.default_rng(int(1e6 * config.training.temperature))
        for split in objective.splits:
            yield rng.random(len(split.test_users))

    monkeypatch.setattr(Objective, "blocks", blocks)


def test_a_real_trial_ends_in_a_table(shop: Path) -> None:
    before = (shop / CONFIG_FILE).read_text()
    done = run(shop, *SEARCH, "--trials", 1)
    assert done.exit_code == 0, done.output
    assert "1 complete trials" in done.stdout
    assert "the present ones" in " ".join(done.stdout.split())
    assert (shop / CONFIG_FILE).read_text() == before


def test_a_later_call_goes_on_and_writes_what_is_better(shop: Path, rising: None) -> None:
    first = json.loads(run(shop, *SEARCH, "--trials", 3, "--json").stdout)
    assert (len(first["trials"]), first["written"], first["beyond_noise"]) == (3, False, True)
    assert Config.load(shop).training.dropout == 0.2
    done = json.loads(run(shop, *SEARCH, "--trials", 2, "--json", "--write").stdout)
    assert (done["study"], len(done["trials"]), done["written"]) == (first["study"], 5, True)
    assert Config.load(shop).training.dropout == done["best"]["settings"]["training.dropout"] > 0.2
    again = json.loads(run(shop, *SEARCH, "--trials", 1, "--json").stdout)
    assert (again["study"], len(again["trials"])) == (first["study"], 6)
    assert again["present"]["number"] == done["best"]["number"]


def test_what_may_be_chance_is_said_and_not_written(shop: Path, level: None) -> None:
    before = (shop / CONFIG_FILE).read_text()
    done = run(shop, *SEARCH, "--trials", 6, "--write")
    assert done.exit_code == 0, done.output
    assert "no better than noise" in done.stdout
    assert "Nothing is written" in done.stdout
    assert "[training]" in done.stdout
    assert (shop / CONFIG_FILE).read_text() == before


def test_an_unknown_setting_is_an_error_that_lists_the_known(shop: Path) -> None:
    done = run(shop, "--settings", "training.dropuot")
    assert isinstance(done.exception, ConfigError)
    assert "training.dropout" in str(done.exception)
    assert not (shop / "tuning").exists()
