"""What each job does, the strongest first: one that is done has also done what those after it would have."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphrec.backup import STAGING
from graphrec.generation import Generations

if TYPE_CHECKING:
    from graphrec.recommender import Recommender
    from graphrec.workspace import Workspace

TRAIN, UPDATE, REBUILD, SNAPSHOT, PRUNE = "train", "update", "rebuild", "snapshot", "prune"
JOBS = (TRAIN, UPDATE, REBUILD, SNAPSHOT, PRUNE)

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
    return (PRUNE,) if job == PRUNE else JOBS[: JOBS.index(job) + 1]


def all_jobs() -> dict[str, Job]:
    """Every job by its name."""
    return {job: _making(job) for job in (TRAIN, UPDATE, REBUILD, SNAPSHOT)} | {PRUNE: prune}


def _making(method: str) -> Job:
    def make(workspace: Workspace, open_recommender: OpenRecommender) -> Done:
        with open_recommender() as recommender:
            report: Any = getattr(recommender, method)()
        return Done(getattr(report, "generation", None), getattr(report, "verdict", ""))

    return make


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
