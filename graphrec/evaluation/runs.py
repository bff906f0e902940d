"""What `graphrec evaluate` runs: graphrec and the baselines on one split, scored alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from graphrec.config import Config, RetrievalSettings
from graphrec.evaluation.baselines import ItemKNN, LinearFilter, MostPopular, RecentlyPopular
from graphrec.evaluation.ease import EASE, MOST_ITEMS
from graphrec.evaluation.graphrec_model import GraphrecModel
from graphrec.evaluation.protocols import Split, from_files, global_time_split
from graphrec.evaluation.report import Result, evaluate, save_lists

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.evaluation.baselines import Recommender as Contender
    from graphrec.recommender import Recommender

    Progress = Callable[[str, int, int], None]

_SECOND = 1_000_000  # microseconds


@dataclass(frozen=True)
class Task:
    """A split with the ids of its nodes, the items' text vectors, and the settings to train with."""

    name: str
    split: Split
    users: list[str]
    items: list[str]
    texts: NDArray[np.float32]
    config: Config


def workspace_task(recommender: Recommender, test_share: float, *, include_seen: bool) -> Task:
    """Split a workspace's log at one moment: the newest `test_share` of the events is the test."""
    return Task(
        name=f"{recommender.workspace.directory.name}, newest {test_share:.0%} by time",
        split=global_time_split(recommender.log(), test_share, include_seen=include_seen),
        users=list(recommender.users),
        items=list(recommender.items),
        texts=recommender.text_vectors(),
        config=recommender.workspace.config,
    )


def files_task(train: Path, test: Path) -> Task:
    """Read a pair of files in the LightGCN format.

    They carry no time: the training pairs get moments in an order drawn once from a fixed seed, so that "newest slice"
    is a random hold-out of the training file, and there are no sessions. The test file is only ever asked for.
    """
    split = from_files(train, test)
    order = np.random.default_rng(0).permutation(len(split.train))
    timed = replace(split.train, timestamps=(1 + order.astype(np.int64)) * _SECOND)
    config = Config(retrieval=RetrievalSettings(session_minutes=0))
    return Task(
        name=f"{train} / {test}",
        split=replace(split, train=timed),
        users=[str(user) for user in range(timed.n_users)],
        items=[str(item) for item in range(timed.n_items)],
        texts=np.zeros((timed.n_items, 0), np.float32),
        config=config,
    )


def run(task: Task, k: int, progress: Progress, lists_file: Path | None = None) -> list[Result]:
    """Evaluate graphrec and the baselines, best NDCG first; graphrec's lists go to a Parquet file if one is named."""
    contenders: list[Contender] = [MostPopular(), RecentlyPopular(), ItemKNN(), LinearFilter()]
    if task.split.train.n_items <= MOST_ITEMS:
        contenders.append(EASE())
    contenders.append(GraphrecModel(task.config, task.texts, progress))
    results = []
    for done, contender in enumerate(contenders, start=1):
        result, fitted, lists = evaluate(contender, task.split, k, np.random.default_rng(0))
        results.append(result)
        progress("contenders", done, len(contenders))
        if isinstance(fitted, GraphrecModel) and lists_file is not None:
            users = [task.users[user] for user in task.split.test_users.tolist()]
            save_lists(lists_file, users, task.items, lists, fitted.scores)
    return sorted(results, key=lambda result: -result.metrics[f"ndcg@{k}"])
