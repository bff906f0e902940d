"""The logs that bench_incremental feeds: made up in any size, and public ones in a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from graphrec.evaluation.synthetic import DAY, SyntheticEvents
from graphrec.events.datasets import lightgcn_pairs
from graphrec.events.interactions import Interactions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

REPEATS = 0.15  # about this share of the synthetic events meets an edge again
START = 1_600_000_000_000_000  # microseconds


@dataclass(frozen=True)
class World:
    """A log, and how to read it chunk by chunk in the order in which it is to be fed."""

    name: str
    n_users: int
    n_items: int
    n_events: int
    chunks: Callable[[], Iterator[Interactions]]


class Tail:
    """The newest events of a log, dealt out one batch after the other; when all are gone, it begins again."""

    def __init__(self, log: Interactions) -> None:
        self.log, self.place = log, 0

    def next(self, size: int) -> tuple[NDArray[Any], ...]:
        """Users, items, weights and time stamps of the next events."""
        self.place += size
        return columns(self.newest(size))

    def newest(self, size: int) -> Interactions:
        """The last so many events that were dealt out."""
        return self.log.take(np.arange(self.place - size, self.place) % len(self.log))


def synthetic(edges: int) -> World:
    """A made-up world of about so many distinct edges, 35 a user and 50 an item."""
    users, items = max(edges // 35, 1), max(edges // 50, 1)
    communities = min(max(items // 500, 1), 64)  # of fewer items each, the loyal users would soon have all
    recipe = SyntheticEvents(users, items, round(edges / (1 - REPEATS)), communities=communities)
    return World(f"synthetic {edges:,}", recipe.n_users, recipe.n_items, recipe.n_events, recipe.chunks)


def gowalla(folder: Path) -> World:
    """All pairs of the LightGCN split: they carry no time, so in a random order, spread over a year."""
    pairs = [lightgcn_pairs(folder / f"{part}.txt") for part in ("train", "test")]
    order = np.random.default_rng(0).permutation(sum(len(part.users) for part in pairs))
    users, items = (np.concatenate(columns)[order] for columns in zip(*pairs, strict=True))
    return recorded("lgcn-gowalla, random order", users, items)


def movielens(folder: Path) -> World:
    """Ratings by their place in their user's history, spread over a year."""
    table = pq.read_table(folder / "interactions.parquet").to_pandas().sort_values("seq", kind="stable")
    users, items = (table[name].astype("category").cat.codes.to_numpy() for name in ("user_id", "item_id"))
    return recorded("ml-1m, by place in the history", users, items)


def recorded(name: str, users: NDArray[Any], items: NDArray[Any]) -> World:
    """A real log, in the order of its columns."""
    times = START + np.arange(len(users), dtype=np.int64) * (365 * DAY // len(users))
    numbers = users.astype(np.int32), items.astype(np.int32)
    log = Interactions(*numbers, times, np.ones(len(users)), int(users.max()) + 1, int(items.max()) + 1)
    return World(name, log.n_users, log.n_items, len(log), lambda: iter([log]))


def columns(log: Interactions) -> tuple[NDArray[Any], ...]:
    """Users, items, weights and time stamps."""
    return log.users, log.items, log.weights, log.timestamps


def worlds(data: Path | None, edges: list[int]) -> dict[str, Callable[[], World]]:
    """By a short name; real ones where their folder is there."""
    found: dict[str, Callable[[], World]] = {}
    for name, read in (("lgcn-gowalla", gowalla), ("ml-1m", movielens)):
        if data is not None and (data / name).is_dir():
            found[name] = partial(read, data / name)
    return found | {f"synthetic-{number}": partial(synthetic, number) for number in edges}
