"""What each job does, the strongest first: a generation made by one is as good as one made by a weaker one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphrec.backup import STAGING
from graphrec.generation import Generations
from graphrec.jobs.trigger import due_now

if TYPE_CHECKING:
    from graphrec.recommender import Recommender
    from graphrec.workspace import Workspace

TRAIN, UPDATE, LEARN, REBUILD, SNAPSHOT, PRUNE = "train", "update", "learn", "rebuild", "snapshot", "prune"
JOBS = (TRAIN, UPDATE, LEARN, REBUILD, SNAPSHOT, PRUNE)
_MAKING = (TRAIN, UPDATE, REBUILD, SNAPSHOT)

_DAY = 86_400.0


@dataclass(frozen=True)
class Done:
    """The generation that a job made, if it made one, and a remark."""

    generation: int | None = None
    note: str = ""


OpenRecommender = Callable[[], AbstractContextManager["Recommender"]]
Job = Callable[["Workspace", OpenRecommender], Done]


def covering(job: str) -> tuple[str, ...]:
    """The jobs that do what this one does, and maybe more."""
    return _MAKING[: _MAKING.index(job) + 1] if job in _MAKING else (job,)


def all_jobs() -> dict[str, Job]:
    """Every job by its name."""
    return {job: _making(job) for job in _MAKING} | {LEARN: learn, PRUNE: prune}


def _making(method: str) -> Job:
    def make(workspace: Workspace, open_recommender: OpenRecommender) -> Done:
        with open_recommender() as recommender:
            return _made(recommender, method)

    return make


def _made(recommender: Recommender, method: str) -> Done:
    report: Any = getattr(recommender, method)()
    return Done(getattr(report, "generation", None), getattr(report, "verdict", ""))


def learn(workspace: Workspace, open_recommender: OpenRecommender) -> Done:
    """The training or the update that `[trigger]` calls for, if it does."""
    with open_recommender() as recommender:
        recommender.refresh()
        due = next((each for each in due_now(recommender) if each.not_before is None), None)
        if due is None:
            return Done(note="nothing calls for it")
        done = _made(recommender, due.job)
    told = f"{due.job}: {due.reason}"
    return Done(done.generation, f"{done.note}, {told}" if done.note else told)


def prune(workspace: Workspace, open_recommender: OpenRecommender) -> Done:
    """Delete what nobody needs: old generations, old quarantine files, what interrupted back-ups left."""
    settings, now = workspace.config, time.time()
    generations = Generations(workspace.directory)
    with generations.making():  # sweeps half-written generations
        numbers = generations.prune(settings.generations.keep)
    days, files = settings.schedule.quarantine_days, 0
    if days:
        files = len(workspace.quarantine.drop(before=now - days * _DAY))
    for left_over in workspace.directory.glob(f"{STAGING}*"):
        if now - left_over.stat().st_mtime > _DAY:
            shutil.rmtree(left_over, ignore_errors=True)
    return Done(note=f"{len(numbers)} generations, {files} quarantine files deleted")
