"""What is learnt from and what is asked, always cut by time and never at random.

A random split lets a model learn from the future and moves the metric with the seed. Here events of one time stamp are
never on both sides of a cut: ties at a cut belong to the later side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from graphrec.errors import InputError
from graphrec.evaluation.metrics import ItemSets
from graphrec.events.datasets import lightgcn_pairs
from graphrec.events.interactions import Interactions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def item_sets(interactions: Interactions) -> ItemSets:
    """Collect the distinct items of every user, n_users rows."""
    return ItemSets.from_pairs(interactions.users, interactions.items, interactions.n_users)


def popularity(interactions: Interactions) -> NDArray[np.int64]:
    """Count the users who have a positive event with each item, int64 (n_items,)."""
    return np.bincount(item_sets(interactions.positive()).items, minlength=interactions.n_items)


@dataclass(frozen=True, eq=False)
class Split:
    """What to learn from, whom to ask, and what they wanted.

    Row r of `relevant` belongs to user `test_users[r]`, int32; every row has at least one item. Users without history
    in `train` are asked too. `include_seen` says whether lists may repeat what the user already had. `kinds` marks,
    where the test has events of several kinds, the relevant items that each of them asks for, bool (number of relevant
    items,). `begins` is the time stamp at which the test begins, None without time.
    """

    train: Interactions
    test_users: NDArray[np.int32]
    relevant: ItemSets
    include_seen: bool = False
    kinds: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    begins: int | None = None

    @classmethod
    def of(
        cls,
        train: Interactions,
        test: Interactions,
        *,
        include_seen: bool = False,
        history: Interactions | None = None,
    ) -> Self:
        """Ask for the distinct positive items of `test`.

        Unless `include_seen`, an item that the user already had in `history`, by an event of any weight, is not
        relevant; the history is `train` unless more had happened than training may know.
        """
        positive = test.positive()
        wanted = item_sets(positive)
        if not include_seen:
            wanted = wanted.minus(item_sets(train if history is None else history))
        test_users, relevant = wanted.nonempty()
        begins = int(test.timestamps.min()) if len(test) else None
        return cls(train, test_users, relevant, include_seen, _kinds(positive, wanted), begins)


def _kinds(positive: Interactions, wanted: ItemSets) -> dict[str, NDArray[np.bool_]]:
    """Mark the wanted items that each kind of event asks for; nothing where there is one kind."""
    if positive.kinds is None:
        return {}
    codes = np.unique(positive.kinds)
    if len(codes) < 2:
        return {}
    keys = wanted.keys(positive.n_items)
    return {
        positive.kind_names[code]: np.isin(
            keys, item_sets(positive.take(positive.kinds == code)).keys(positive.n_items)
        )
        for code in codes.tolist()
    }


def global_time_split(interactions: Interactions, test_share: float = 0.1, *, include_seen: bool = False) -> Split:
    """Cut at the time of the event where the newest `test_share` begins; from that time stamp on all is test.

    Raises InputError for a share outside (0, 1), or where a side or the relevant items would be empty.
    """
    if not 0.0 < test_share < 1.0:
        raise InputError("the test share is not a share", expected="between 0 and 1", got=str(test_share))
    ordered = interactions.by_time()
    (cut,) = _cuts(ordered, np.array([1.0 - test_share]))
    split = Split.of(ordered.take(slice(cut)), ordered.take(slice(cut, None)), include_seen=include_seen)
    if cut == 0 or len(split.test_users) == 0:
        raise InputError(
            "the interactions cannot be split by time",
            expected="events before the cut and new positive ones after it",
            got=f"{cut} events before it, {len(split.test_users)} users with something relevant after it",
            way_out="take another test share or more events",
        )
    return split


def prequential_blocks(
    interactions: Interactions, base_share: float, blocks: int
) -> Iterator[tuple[Interactions, Interactions]]:
    """Test, then learn (Gama et al., KDD 2009): yield (history, block) in time order, blocks of about equal size.

    The first history is the oldest `base_share` of the events, each later one holds every earlier block. A block that
    ties leave empty is not yielded. Raises InputError for a share outside (0, 1), no block or an empty history.
    """
    if not 0.0 < base_share < 1.0 or blocks < 1:
        raise InputError(
            "the blocks cannot be cut", expected="base_share between 0 and 1, blocks ≥ 1", got=f"{base_share}, {blocks}"
        )
    ordered = interactions.by_time()
    cuts = _cuts(ordered, base_share + (1.0 - base_share) * np.arange(blocks) / blocks)
    if cuts[0] == 0:
        raise InputError("there is no event before the first block", way_out="take a larger base_share")
    for start, stop in zip(cuts, [*cuts[1:], len(ordered)], strict=True):
        if stop > start:
            yield ordered.take(slice(start)), ordered.take(slice(start, stop))


def prequential_splits(
    interactions: Interactions,
    base_share: float,
    blocks: int,
    *,
    label_delay: int = 0,
    include_seen: bool = False,
) -> tuple[Split, ...]:
    """Make a split of every block of `prequential_blocks` that asks for something.

    label_delay: microseconds; an event younger than that when its block begins has not reached training, which neither
    learns from it nor hides it. It is no longer new to its user either, and is not asked for. Raises InputError as
    `prequential_blocks` does, and where nothing is known before the first block or nothing is asked in any.
    """
    if label_delay < 0:
        raise InputError("the label delay is not a time", expected="≥ 0", got=f"{label_delay} µs")
    splits = []
    for history, block in prequential_blocks(interactions, base_share, blocks):
        latest = int(block.timestamps[0]) - label_delay
        known = history.take(slice(int(np.searchsorted(history.timestamps, latest, side="right"))))
        if len(known) == 0:
            raise InputError(
                "nothing is known when the first block begins", way_out="take a larger base share or a shorter delay"
            )
        split = Split.of(known, block, history=history, include_seen=include_seen)
        if len(split.test_users):
            splits.append(split)
    if not splits:
        raise InputError("no block asks for anything", expected="new positive events after the base", got="none")
    return tuple(splits)


def from_files(train: str | Path, test: str | Path) -> Split:
    """Read the two files of the LightGCN benchmarks: a line is a user number followed by the user's item numbers.

    The sets are taken as given; there is no time, so all time stamps are 0. Raises InputError with file and line where
    a line is not made of numbers.
    """
    train_users, train_items = lightgcn_pairs(train)
    test_users, test_items = lightgcn_pairs(test)
    n_users = int(max(train_users.max(initial=-1), test_users.max(initial=-1))) + 1
    n_items = int(max(train_items.max(initial=-1), test_items.max(initial=-1))) + 1
    m = len(train_users)
    history = Interactions(train_users, train_items, np.zeros(m, np.int64), np.ones(m), n_users, n_items)
    asked, relevant = ItemSets.from_pairs(test_users, test_items, n_users).nonempty()
    return Split(history, asked, relevant)


def _cuts(ordered: Interactions, shares: NDArray[np.float64]) -> list[int]:
    """Positions where the events after each share begin, moved back to the first event of the same time stamp."""
    n = len(ordered)
    if n == 0:
        raise InputError("there are no interactions to split")
    # 1 - 0.9 is a hair less than 0.1: without the rounding, none of ten events would be before the cut
    places = np.minimum(np.floor(np.round(shares * n, 6)).astype(np.int64), n - 1)
    found = np.searchsorted(ordered.timestamps, ordered.timestamps[places], side="left")
    return [int(place) for place in found]
