"""A search of settings by the library `optuna`, which nothing else here knows.

Trials are kept in `tuning/studies.db` of the workspace, by optuna's SQLite storage: a trial is a transaction, so that a
killed process leaves no half of one, and no lock behind, as the journal file would. A study belongs to one question:
the older log, the settings searched, the metric and all other settings. Asked again, it goes on; another question
begins anew.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec import __version__
from graphrec.errors import DependencyError, InputError
from graphrec.search_space import OneOf, Real, chosen_space, nearest, values_of, with_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from graphrec.config import Config
    from graphrec.evaluation.metrics import Floats
    from graphrec.evaluation.prequential_objective import Gain, Objective
    from graphrec.search_space import Range, Value

    Progress = Callable[[str, int, int], None]

HINT = "pip install 'graphrec[tune]'"
FOLDER = "tuning"

_RANDOM = 6  # trials drawn at random before the search follows what it has seen
_UNPRUNED = 4  # trials before one may be stopped early
_UNLEARNED = {"store", "generations", "gate", "trigger", "schedule"}  # do not reach the objective


@dataclass(frozen=True)
class Budget:
    """How much one call may add; a trial that has begun is finished. Raises InputError unless all are above 0."""

    trials: int = 20
    minutes: float = math.inf
    cpu_minutes: float = math.inf

    def __post_init__(self) -> None:
        if not (self.trials > 0 and self.minutes > 0 and self.cpu_minutes > 0):
            raise InputError("the budget is empty", expected="trials and minutes > 0", got=str(self))


@dataclass(frozen=True)
class Trial:
    """Settings and what they are worth: the mean over `blocks`, as many as were asked before it was stopped."""

    number: int
    settings: dict[str, Value]
    complete: bool
    value: float
    blocks: tuple[float, ...]
    cpu_seconds: float


@dataclass(frozen=True)
class Tuned:
    """What a study has found so far.

    trials: all of them, best first, stopped ones last. gain: of the best over the present settings, on the objective.
    """

    study: str
    metric: str
    trials: list[Trial]
    present: Trial
    best: Trial
    gain: Gain
    interrupted: bool = False

    @property
    def changes(self) -> dict[str, Value]:
        """The settings in which the best trial differs from the present ones."""
        return {name: value for name, value in self.best.settings.items() if value != self.present.settings[name]}


def tune(
    objective: Objective,
    config: Config,
    directory: Path,
    *,
    names: Sequence[str] | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Tuned:
    """Search the settings `names`, all of SPACE for None, starting with those of `config`; go on with an earlier study.

    directory: of the workspace. After an interruption from the keyboard the finished trials are returned; before the
    present settings have been tried it is raised. Raises DependencyError without optuna, ConfigError for unknown names.
    """
    space = chosen_space(names)
    if find_spec("optuna") is None:
        raise DependencyError("the search of settings needs the library optuna", way_out=HINT)
    with _Study(objective, config, directory / FOLDER, space, seed) as study:
        interrupted = False
        try:
            study.extend(budget or Budget(), progress)
        except KeyboardInterrupt:
            if study.present() is None:
                raise
            interrupted = True
        return study.found(interrupted=interrupted)


class _Study:
    """A study in the workspace; a context manager."""

    def __init__(
        self, objective: Objective, config: Config, folder: Path, space: Mapping[str, Range], seed: int
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._objective, self._config, self._folder, self._seed = objective, config, folder, seed
        self._present = values_of(config, list(space))
        self._space = space
        self._distributions = {name: _distribution(optuna, within) for name, within in space.items()}
        self.name = _name(objective, config, space, seed)
        folder.mkdir(exist_ok=True)
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'studies.db'}")
        self._study = optuna.create_study(
            study_name=self.name,
            storage=self._storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED, n_warmup_steps=0),
        )

    def __enter__(self) -> _Study:
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    def extend(self, budget: Budget, progress: Progress) -> None:
        """Add trials until the budget is spent; the present settings come first where they have no trial yet."""
        if self.present() is None:
            inside = {name: nearest(self._space[name], value) for name, value in self._present.items()}
            self._study.enqueue_trial(inside, user_attrs={"settings": self._present})
        wall, cpu = time.monotonic(), time.process_time()
        done = 0
        while (
            done < budget.trials
            and time.monotonic() - wall < 60 * budget.minutes
            and time.process_time() - cpu < 60 * budget.cpu_minutes
        ):
            self._one_more(progress)
            done += 1
            progress("trials", done, budget.trials)

    def present(self) -> Trial | None:
        """The complete trial of the present settings, if there is one."""
        return next((trial for trial in self._trials() if trial.complete and trial.settings == self._present), None)

    def found(self, *, interrupted: bool) -> Tuned:
        """What the trials say; those of the present settings must be among them."""
        trials, present = self._trials(), self.present()
        if present is None:
            raise InputError("the present settings have not been tried", way_out="give the search more time")
        complete = [trial for trial in trials if trial.complete]
        best = max(complete, key=lambda trial: (trial.value, trial == present))
        gain = self._objective.gain(self._scores(best.number), self._scores(present.number), len(complete) - 1)
        order = sorted(trials, key=lambda trial: (not trial.complete, -trial.value))
        metric = f"{self._objective.metric}@{self._objective.k}"
        return Tuned(self.name, metric, order, present, best, gain, interrupted)

    def _one_more(self, progress: Progress) -> None:
        """Ask the sampler, try, tell; whatever stops it in the middle leaves a failed trial, which counts for nothing.

        The sampler is seeded by the number of the trial: a search that goes on makes the same trials as one that was
        never interrupted.
        """
        states, samplers = self._optuna.trial.TrialState, self._optuna.samplers
        draws = int(np.random.SeedSequence([self._seed, len(self._study.trials)]).generate_state(1)[0])
        self._study.sampler = samplers.TPESampler(n_startup_trials=_RANDOM, seed=draws)
        trial = self._study.ask(self._distributions)
        try:
            given = trial.user_attrs.get("settings")
            settings = given or {name: _readable(value) for name, value in trial.params.items()}
            trial.set_user_attr("settings", settings)
            cpu = time.process_time()
            scores, pruned = self._try(trial, settings, progress, to_the_end=given is not None)
            trial.set_user_attr("cpu_seconds", time.process_time() - cpu)
            trial.set_user_attr("blocks", [float(block.mean()) for block in scores])
            if not pruned:
                np.save(self._scores_file(trial.number), np.concatenate(scores), allow_pickle=False)
        except BaseException:
            self._study.tell(trial, state=states.FAIL)
            raise
        if pruned:
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, _mean(scores))

    def _try(
        self, trial: Any, settings: dict[str, Value], progress: Progress, *, to_the_end: bool
    ) -> tuple[list[Floats], bool]:
        """Ask for block after block; returns the scores, and whether it was stopped because others were better."""
        scores: list[Floats] = []
        for block in self._objective.blocks(with_values(self._config, settings), lambda *_: None):
            scores.append(block)
            trial.report(_mean(scores), len(scores))
            progress("blocks of a trial", len(scores), len(self._objective.splits))
            if not to_the_end and len(scores) < len(self._objective.splits) and trial.should_prune():
                return scores, True
        return scores, False

    def _trials(self) -> list[Trial]:
        states = self._optuna.trial.TrialState
        return [
            Trial(
                number=trial.number,
                settings=trial.user_attrs["settings"],
                complete=trial.state == states.COMPLETE,
                value=float(np.mean(trial.user_attrs["blocks"])),
                blocks=tuple(trial.user_attrs["blocks"]),
                cpu_seconds=trial.user_attrs["cpu_seconds"],
            )
            for trial in self._study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        ]

    def _scores_file(self, number: int) -> Path:
        return self._folder / f"{self.name}-{number}.npy"

    def _scores(self, number: int) -> list[Floats]:
        """The scores of every user and block of a complete trial."""
        scores = np.load(self._scores_file(number), allow_pickle=False)
        ends = np.cumsum([len(split.test_users) for split in self._objective.splits])
        return np.split(scores, ends[:-1])


def _name(objective: Objective, config: Config, space: Mapping[str, Range], seed: int) -> str:
    """A hash of all that decides what a trial is worth, but the values that the search varies."""
    fixed = with_values(config, {name: str(within) for name, within in space.items()})
    question = [__version__, objective.fingerprint, seed, fixed.model_dump(exclude=_UNLEARNED, warnings=False)]
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:12]


def _distribution(optuna: Any, within: Range) -> Any:
    kinds = optuna.distributions
    if isinstance(within, OneOf):
        return kinds.CategoricalDistribution(within.values)
    if isinstance(within, Real):
        return kinds.FloatDistribution(within.low, within.high, log=within.log)
    return kinds.IntDistribution(within.low, within.high, log=True)


def _mean(scores: Sequence[Floats]) -> float:
    """Blocks count alike."""
    return float(np.mean([block.mean() for block in scores]))


def _readable(value: Value) -> Value:
    """Three digits are enough for a setting."""
    return float(f"{value:.3g}") if isinstance(value, float) else value
