"""What `graphrec evaluate` runs: graphrec and the baselines on the splits of one task, scored alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from graphrec.config import Config, RetrievalSettings
from graphrec.errors import InputError
from graphrec.evaluation.baselines import DAY, ItemKNN, LinearFilter, MostPopular, RecentlyPopular
from graphrec.evaluation.block_means import mean_over_blocks
from graphrec.evaluation.ease import EASE, MOST_ITEMS
from graphrec.evaluation.gf_cf import GFCF
from graphrec.evaluation.graphrec_model import GraphrecModel
from graphrec.evaluation.ials import HINT, IALS, available
from graphrec.evaluation.protocols import Split, from_files, global_time_split, prequential_splits
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
    """Splits of one log in the order of time, with the ids of its nodes, text vectors, and the settings to train with.

    texts: float32 (n_items, t), t = 0 without texts.
    """

    name: str
    splits: tuple[Split, ...]
    users: list[str]
    items: list[str]
    texts: NDArray[np.float32]
    config: Config

    def outline(self) -> list[dict[str, object]]:
        """What each split holds, for the record; `test_from` is null without time."""
        return [
            {
                "train_events": len(split.train),
                "test_users": len(split.test_users),
                "test_from": None if split.begins is None else _iso(split.begins),
            }
            for split in self.splits
        ]


def time_task(recommender: Recommender, test_share: float, *, include_seen: bool) -> Task:
    """Split a workspace's log at one moment: the newest `test_share` of the events is the test."""
    split = global_time_split(recommender.log(), test_share, include_seen=include_seen)
    return _workspace_task(recommender, f"newest {test_share:.0%} by time", (split,))


def blocks_task(
    recommender: Recommender, base_share: float, blocks: int, label_delay_days: float, *, include_seen: bool
) -> Task:
    """Test, then learn: after the oldest `base_share` of a workspace's log every block is asked for, then learnt.

    An event younger than `label_delay_days` when a block begins is not known to training yet.
    """
    splits = prequential_splits(
        recommender.log(), base_share, blocks, label_delay=round(label_delay_days * DAY), include_seen=include_seen
    )
    delay = f", known after {label_delay_days:g} days" if label_delay_days else ""
    return _workspace_task(recommender, f"mean of {len(splits)} blocks after {base_share:.0%} by time{delay}", splits)


def _workspace_task(recommender: Recommender, protocol: str, splits: tuple[Split, ...]) -> Task:
    return Task(
        name=f"{recommender.workspace.directory.name}, {protocol}",
        splits=splits,
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
    return Task(
        name=f"{train} / {test}",
        splits=(replace(split, train=timed),),
        users=[str(user) for user in range(timed.n_users)],
        items=[str(item) for item in range(timed.n_items)],
        texts=np.zeros((timed.n_items, 0), np.float32),
        config=Config(retrieval=RetrievalSettings(session_minutes=0)),
    )


def left_out(task: Task) -> dict[str, str]:
    """Name the baselines that cannot take part, each with the reason."""
    reasons = {}
    if len(task.items) > MOST_ITEMS:
        reasons[EASE.name] = f"its dense matrix is for at most {MOST_ITEMS} items, here are {len(task.items)}"
    if not available():
        reasons[IALS.name] = f"it needs the library implicit: {HINT}"
    return reasons


def contenders(task: Task, progress: Progress) -> list[Contender]:
    """Graphrec and every baseline that is not left out."""
    missing = left_out(task)
    baselines = (MostPopular, RecentlyPopular, ItemKNN, LinearFilter, GFCF, IALS, EASE)
    return [
        *(make() for make in baselines if make.name not in missing),
        GraphrecModel(task.config, task.texts, progress),
    ]


def run(task: Task, k: int, progress: Progress, lists_file: Path | None = None) -> list[Result]:
    """Evaluate every contender on every split, best NDCG first; graphrec's lists go to a Parquet file if one is named.

    On several splits each is fitted anew on each, with the settings that it chose on the first. Raises InputError where
    lists are wanted of several splits.
    """
    if lists_file is not None and len(task.splits) > 1:
        raise InputError("lists can be kept of one split only", got=f"{len(task.splits)} blocks")
    all_contenders, results = contenders(task, progress), []
    for place, contender in enumerate(all_contenders):
        blocks = []
        for number, split in enumerate(task.splits, start=1):
            result, contender, lists = evaluate(contender, split, k, np.random.default_rng(0))
            blocks.append(result)
            progress("contenders", place * len(task.splits) + number, len(all_contenders) * len(task.splits))
            if lists_file is not None and isinstance(contender, GraphrecModel):
                users = [task.users[user] for user in split.test_users.tolist()]
                save_lists(lists_file, users, task.items, lists, contender.scores)
        results.append(mean_over_blocks(blocks) if len(blocks) > 1 else blocks[0])
    return sorted(results, key=lambda result: -result.metrics[f"ndcg@{k}"])


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / _SECOND, UTC).isoformat()
