"""The search: what it finds, how it goes on, and when it stops; mostly with a formula as the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphrec import tuning
from graphrec.config import Config
from graphrec.errors import ConfigError, DependencyError, InputError
from graphrec.evaluation.prequential_objective import Objective
from graphrec.events.interactions import Interactions
from graphrec.tuning import Budget, tune

NAMES = ("training.dropout", "training.temperature", "update.steps")


class Formula(Objective):
    """The best dropout is 0.5, whoever asks; `asked` counts the blocks."""

    asked = 0
    stops_at = -1  # the block at which somebody presses Ctrl-C

    def blocks(self, config: Config, progress: object) -> Iterator[np.ndarray]:
        for number, split in enumerate(self.splits):
            if type(self).asked == type(self).stops_at:
                raise KeyboardInterrupt
            type(self).asked += 1
            chance = np.random.default_rng(number).normal(0, 0.02, len(split.test_users))
            yield 1.0 - abs(config.training.dropout - 0.5) + chance


@pytest.fixture
def formula(log, monkeypatch: pytest.MonkeyPatch) -> Formula:
    monkeypatch.setattr(Formula, "asked", 0)
    monkeypatch.setattr(Formula, "stops_at", -1)
    return Formula.of(log, np.zeros((40, 0), np.float32), blocks=3)


def numbered(found: tuning.Tuned) -> list[tuning.Trial]:
    """Trials in the order in which they were made, without what they cost."""
    return sorted((replace(trial, cpu_seconds=0.0) for trial in found.trials), key=lambda trial: trial.number)


def test_absurd_settings_are_improved(tmp_path: Path) -> None:
    """Tastes last, and two events of five say nothing: only a long memory tells the four groups apart."""
    rng, n = np.random.default_rng(0), 2_000
    users = rng.integers(0, 100, n).astype(np.int32)
    groups = np.where(rng.random(n) < 0.4, rng.integers(0, 4, n), users % 4)
    items = (groups + 4 * rng.integers(0, 15, n)).astype(np.int32)
    times = np.sort(rng.integers(0, 60 * 86_400, n)) * 1_000_000
    config = Config(
        embedding={"spectral_dimensions": 8, "text_dimensions": 0, "hidden_dimensions": 16, "dimensions": 8},
        filter={"dimensions": 12},
        graph={"half_life_days": 0.1},
        retrieval={"history": 1},
        training={"steps": 5, "batch_size": 64, "slice_share": 0.2, "ranker_seeds": 1},
        update={"steps": 3, "batch_size": 64},
    )
    log = Interactions(users, items, times, np.ones(n), 100, 60)
    objective = Objective.of(log, np.zeros((60, 0), np.float32), blocks=2)
    names = ["graph.half_life_days", "retrieval.history"]
    found = tune(objective, config, tmp_path, names=names, budget=Budget(trials=4))
    assert found.present.settings == {"graph.half_life_days": 0.1, "retrieval.history": 1}
    assert found.changes.keys() == set(names)
    assert found.best.value > found.present.value + 0.02
    assert found.gain.mean == pytest.approx(found.best.value - found.present.value)
    assert found.gain.beyond_noise


def test_the_present_settings_come_first_and_the_result_is_never_worse(formula, tmp_path: Path) -> None:
    config = Config(training={"dropout": 0.5})
    found = tune(formula, config, tmp_path, names=NAMES, budget=Budget(trials=6))
    assert found.present.number == 0
    assert found.best == found.present
    assert found.changes == {}
    assert (found.gain.mean, found.gain.beyond_noise) == (0.0, False)


def test_what_makes_no_difference_is_not_changed(formula, tmp_path: Path) -> None:
    for steps in (10, 20):
        config = Config(update={"steps": steps})
        found = tune(formula, config, tmp_path, names=["update.steps"], budget=Budget(trials=2))
        assert len({trial.value for trial in found.trials if trial.complete}) == 1
        assert found.changes == {}
    assert len(found.trials) == 4


def test_a_better_setting_is_found_and_the_gain_is_beyond_noise(formula, tmp_path: Path) -> None:
    found = tune(formula, Config(training={"dropout": 0.0}), tmp_path, names=NAMES, budget=Budget(trials=8))
    assert abs(found.best.settings["training.dropout"] - 0.5) < 0.2
    assert found.gain.low > 0.2
    assert found.gain.beyond_noise
    complete = [trial.value for trial in found.trials if trial.complete]
    assert complete == sorted(complete, reverse=True)


def test_bad_trials_are_stopped_early(formula, tmp_path: Path) -> None:
    found = tune(formula, Config(training={"dropout": 0.5}), tmp_path, names=NAMES, budget=Budget(trials=9))
    stopped = [trial for trial in found.trials if not trial.complete]
    assert stopped
    assert all(len(trial.blocks) < 3 for trial in stopped)
    assert all(len(trial.blocks) == 3 for trial in found.trials if trial.complete)
    assert Formula.asked == sum(len(trial.blocks) for trial in found.trials) < 27
    best_stopped = max(trial.value for trial in stopped)
    assert best_stopped < found.best.value


def test_a_search_that_goes_on_makes_the_trials_of_one_that_was_not_interrupted(formula, tmp_path: Path) -> None:
    config = Config(training={"dropout": 0.1})
    folders = [tmp_path / name for name in ("parts", "whole", "another seed")]
    for folder in folders:
        folder.mkdir()
    for expected in (3, 8):
        found = tune(formula, config, folders[0], names=NAMES, budget=Budget(trials=expected - len_of(folders[0])))
        assert len(found.trials) == expected
        (folders[0] / "count").write_text(str(expected))
    whole = tune(formula, config, folders[1], names=NAMES, budget=Budget(trials=8))
    assert numbered(found) == numbered(whole)
    assert found.gain == whole.gain
    other = tune(formula, config, folders[2], names=NAMES, budget=Budget(trials=3), seed=1)
    assert numbered(other)[1:] != numbered(whole)[1:3]


def len_of(folder: Path) -> int:
    return int((folder / "count").read_text()) if (folder / "count").exists() else 0


def test_another_question_starts_anew(formula, log, tmp_path: Path) -> None:
    config = Config()

    def found(objective=formula, settings=config, names=NAMES) -> tuning.Tuned:
        return tune(objective, settings, tmp_path, names=names, budget=Budget(trials=1))

    one = found()
    others = [
        found(objective=Formula.of(log.take(slice(890)), formula.texts, blocks=3)),
        found(objective=Formula.of(log, formula.texts, "recall", blocks=3)),
        found(settings=Config(training={"batch_size": 7})),
        found(names=NAMES[:2]),
    ]
    assert all(len(other.trials) == 1 for other in others)
    assert len({one.study, *(other.study for other in others)}) == 5
    again = found(settings=Config(training={"dropout": 0.3}, schedule={"train": "0 3 * * *"}))
    assert (again.study, len(again.trials), again.present.number) == (one.study, 2, 1)


def test_ctrl_c_keeps_the_finished_trials(formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Formula, "stops_at", 7)
    found = tune(formula, Config(), tmp_path, names=NAMES, budget=Budget(trials=10))
    assert found.interrupted
    assert [trial.number for trial in numbered(found)] == [0, 1]
    monkeypatch.setattr(Formula, "stops_at", -1)
    on = tune(formula, Config(), tmp_path, names=NAMES, budget=Budget(trials=2))
    assert not on.interrupted
    assert [trial.number for trial in numbered(on)] == [0, 1, 3, 4]


def test_ctrl_c_before_anything_is_known_is_raised(formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Formula, "stops_at", 1)
    with pytest.raises(KeyboardInterrupt):
        tune(formula, Config(), tmp_path, names=NAMES)
    monkeypatch.setattr(Formula, "stops_at", -1)
    assert len(tune(formula, Config(), tmp_path, names=NAMES, budget=Budget(trials=1)).trials) == 1


@pytest.mark.parametrize(
    ("clock", "budget"),
    [("monotonic", Budget(trials=50, minutes=1.0)), ("process_time", Budget(trials=50, cpu_minutes=1.0))],
)
def test_minutes_end_the_search(
    clock: str, budget: Budget, formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning.time, clock, lambda: 9.0 * Formula.asked)  # 27 seconds a trial
    found = tune(formula, Config(training={"dropout": 0.0}), tmp_path, names=NAMES, budget=budget)
    assert len(found.trials) == 3


@pytest.mark.parametrize("empty", [{"trials": 0}, {"minutes": 0.0}, {"cpu_minutes": -1.0}, {"minutes": float("nan")}])
def test_an_empty_budget_is_refused(empty: dict[str, float]) -> None:
    with pytest.raises(InputError, match="budget is empty"):
        Budget(**empty)


def test_settings_beyond_the_space_are_tried_as_they_are(formula, tmp_path: Path) -> None:
    config = Config(graph={"half_life_days": float("inf")})
    found = tune(formula, config, tmp_path, names=["graph.half_life_days"], budget=Budget(trials=3))
    assert found.present.settings == {"graph.half_life_days": float("inf")}
    assert len(tune(formula, config, tmp_path, names=["graph.half_life_days"], budget=Budget(trials=1)).trials) == 4


def test_an_unknown_setting_is_refused_before_anything_is_made(formula, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected: graph\.half_life_days, .*\n.*got: +training\.depth"):
        tune(formula, Config(), tmp_path, names=["training.depth"])
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_the_way_out_is_named(formula, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r"graphrec\[tune\]"):
        tune(formula, Config(), tmp_path)
