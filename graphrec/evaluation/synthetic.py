"""Made-up events of any number: heavy-tailed users and items, communities, sessions, and fashions that come and go.

A log is made in blocks of a fixed size, each from a random stream of its own, so that events depend on the seed and
never on how they are read, and memory is bounded by a chunk. A block is filled with sessions: one user, some events a
minute or so apart, all of one community, which is mostly the user's own. Who comes, and which item of the community is
taken, follow power laws; some events go to the items in fashion that week instead, whatever their usual rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError
from graphrec.events.interactions import Interactions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Float64 = NDArray[np.float64]

DAY = 86_400_000_000  # microseconds
_BLOCK = 1 << 16  # events made from one random stream
_GAP = 60_000_000.0  # microseconds between two events of a session, on average
_IN_FASHION = 20  # items of one fashion


@dataclass(frozen=True)
class SyntheticEvents:
    """Recipe of a log; equal recipes make equal logs. Raises InputError where a number is out of range.

    user_exponent, item_exponent: frequency ~ rank^-exponent. communities: a node belongs to one. loyalty: share of the
    sessions in the user's own community. session_events: mean length of a session. fashion_share: share of the events
    that go to items in fashion; a fashion lasts fashion_days. days: the length of the log. start: its first moment,
    microseconds.
    """

    n_users: int
    n_items: int
    n_events: int
    user_exponent: float = 0.5
    item_exponent: float = 1.0
    communities: int = 64
    loyalty: float = 0.8
    session_events: float = 4.0
    fashion_share: float = 0.05
    fashion_days: float = 7.0
    days: float = 365.0
    start: int = 1_600_000_000_000_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, smallest, largest in (
            ("communities", self.communities, 1, 2**31 - 1),
            ("n_users", self.n_users, self.communities, 2**31 - 1),
            ("n_items", self.n_items, self.communities, 2**31 - 1),
            ("n_events", self.n_events, 0, 2**62),
            ("user_exponent", self.user_exponent, 0, 4),
            ("item_exponent", self.item_exponent, 0, 4),
            ("loyalty", self.loyalty, 0, 1),
            ("fashion_share", self.fashion_share, 0, 1),
            ("session_events", self.session_events, 1, 1e6),
        ):
            if not smallest <= value <= largest:
                raise InputError(f"{name} is out of range", expected=f"{smallest} … {largest}", got=str(value))
        if not (self.days > 0 and self.fashion_days > 0):
            raise InputError(
                "days must pass", expected="days > 0 and fashion_days > 0", got=f"{self.days}, {self.fashion_days}"
            )

    @property
    def user_communities(self) -> Int32:
        """Community of each user, int32 (n_users,)."""
        return self._communities(self._user_numbers)

    @property
    def item_communities(self) -> Int32:
        """Community of each item, int32 (n_items,)."""
        return self._communities(self._item_numbers)

    @property
    def fashions(self) -> Int32:
        """Items in fashion in each period of `fashion_days`, int32 (periods, 20), those taken most first."""
        return self._item_numbers[self._fashion_ranks]

    def chunks(self, size: int = 1_000_000) -> Iterator[Interactions]:
        """The log in the order of time, `size` events at a time and a last, shorter chunk."""
        if size < 1:
            raise InputError("a chunk holds at least one event", got=str(size))
        waiting: list[tuple[Int32, Int32, Int64]] = []
        ready = 0
        for block in range(-(-self.n_events // _BLOCK)):
            waiting.append(self._block(block))
            ready += len(waiting[-1][0])
            if ready >= size:
                columns = [np.concatenate(parts) for parts in zip(*waiting, strict=True)]
                whole = ready - ready % size
                for first in range(0, whole, size):
                    yield self._interactions(*(column[first : first + size] for column in columns))
                waiting = [(columns[0][whole:], columns[1][whole:], columns[2][whole:])]
                ready -= whole
        if ready:
            yield self._interactions(*(np.concatenate(parts) for parts in zip(*waiting, strict=True)))

    def _interactions(self, users: Int32, items: Int32, timestamps: Int64) -> Interactions:
        return Interactions(users, items, timestamps, np.ones(len(users)), self.n_users, self.n_items)

    def _block(self, block: int) -> tuple[Int32, Int32, Int64]:
        """Users, items and times of one block, ordered by time."""
        size = min(_BLOCK, self.n_events - block * _BLOCK)
        rng = np.random.default_rng([self.seed, 1, block])
        lengths = rng.geometric(1 / self.session_events, size)  # at least one event each: as many as can be needed
        lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), size)) + 1]
        session = np.repeat(np.arange(len(lengths)), lengths)[:size]

        of_session = _ranks(rng.random(len(lengths)), self.user_exponent, self.n_users)
        topics = np.where(
            rng.random(len(lengths)) < self.loyalty,
            of_session % self.communities,
            rng.integers(self.communities, size=len(lengths)),
        )
        times = self._times(rng, block, size, session)
        ranks = self._ranks_in(topics[session], rng.random(size))
        fashionable = np.flatnonzero(rng.random(size) < self.fashion_share)
        periods = ((times[fashionable] - self.start) // round(self.fashion_days * DAY)).astype(np.int64)
        favourite = _ranks(rng.random(len(fashionable)), 1.0, _IN_FASHION)
        ranks[fashionable] = self._fashion_ranks[periods, favourite]

        order = np.argsort(times, kind="stable")
        return self._user_numbers[of_session[session]][order], self._item_numbers[ranks][order], times[order]

    def _times(self, rng: np.random.Generator, block: int, size: int, session: Int64) -> Int64:
        """Sessions begin anywhere in the block's time, and end with it at the latest."""
        first, end = (
            round(self._span * min(done, self.n_events) / self.n_events)
            for done in (block * _BLOCK, block * _BLOCK + size)
        )
        begins = np.flatnonzero(np.diff(session, prepend=-1))
        gaps = rng.exponential(_GAP, size)
        gaps[begins] = rng.random(len(begins)) * (end - first)
        passed = np.cumsum(gaps)
        within = passed - (passed - gaps)[begins][session]
        times: Int64 = self.start + np.minimum(first + within.astype(np.int64), max(end - 1, first))
        return times

    def _ranks_in(self, community: Int64, uniform: Float64) -> Int64:
        """Global ranks of items, drawn by popularity within a community: the ranks c, c + C, c + 2 C … are of c."""
        sizes = (self.n_items - community + self.communities - 1) // self.communities
        return community + self.communities * _ranks(uniform, self.item_exponent, sizes)

    @property
    def _span(self) -> int:
        return round(self.days * DAY)

    @cached_property
    def _user_numbers(self) -> Int32:
        """Node number of each rank: a popular node is anywhere in memory, as in a real log."""
        return np.random.default_rng([self.seed, 2]).permutation(self.n_users).astype(np.int32)

    @cached_property
    def _item_numbers(self) -> Int32:
        return np.random.default_rng([self.seed, 3]).permutation(self.n_items).astype(np.int32)

    @cached_property
    def _fashion_ranks(self) -> Int64:
        periods = -(-self._span // round(self.fashion_days * DAY))
        return np.random.default_rng([self.seed, 4]).integers(self.n_items, size=(periods, _IN_FASHION))

    def _communities(self, numbers: Int32) -> Int32:
        communities = np.empty(len(numbers), np.int32)
        communities[numbers] = np.arange(len(numbers)) % self.communities
        return communities


def _ranks(uniform: Float64, exponent: float, sizes: int | NDArray[Any]) -> Int64:
    """Ranks from 0 below `sizes`, by the inverse distribution of a density ~ x^-exponent on [1, size + 1)."""
    top = np.asarray(sizes, np.float64) + 1
    power = 1 - exponent
    x = top**uniform if abs(power) < 1e-9 else (1 + uniform * (top**power - 1)) ** (1 / power)
    ranks: Int64 = np.minimum(x.astype(np.int64) - 1, np.asarray(sizes, np.int64) - 1)
    return ranks
