"""An A/B test between generations: who gets which, what was shown, and what came of it, counted from the log.

    test = SplitTest("spring", {"live": 0.9, "candidate": 0.1})
    shop = SplitRecommender.open("shop")
    shop.split(test, {"candidate": 7})       # variants without a generation are answered by the live one
    shop.recommend("17850")
    shop.readout()

A user's variant is a hash of the user's id under the test's name: no table, and the same in every process. A list
is joined to later events by the log offset it was computed at: an event after it counts, one before cannot.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.bounded_log import BoundedLog
from graphrec.errors import InputError
from graphrec.recommender import Recommender

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from graphrec.answers import Recommendations

_BITS = 64
_DAY = 86_400  # seconds
_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True)
class SplitTest:
    """A test: its name, which salts the hash, and the share of users of each variant, of sum one.

    Raises InputError for a name that is empty or longer than 64 bytes, or shares that do not add up to one.
    """

    name: str
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) <= 64:
            raise InputError("the name of a test", expected="1 to 64 bytes", got=repr(self.name))
        total = sum(_exact(share) for share in self.shares.values())
        if len(self.shares) < 2 or any(share < 0 for share in self.shares.values()) or total != 1:
            raise InputError(
                "the shares of a test", expected="two variants or more, of sum one", got=str(dict(self.shares))
            )

    def variant(self, user: str) -> str:
        """The variant of a user: the same for ever, and each variant has its share of all hashes to 1 in 2^64."""
        hashed = int.from_bytes(blake2b(user.encode(), digest_size=_BITS // 8, key=self.name.encode()).digest())
        reached = Fraction(0)
        for name, share in self.shares.items():
            reached += _exact(share)
            if hashed < reached * 2**_BITS:
                return name
        raise AssertionError("shares of sum one cover every hash")


def _exact(share: float) -> Fraction:
    """A share as it is written: 0.1 is a tenth."""
    return Fraction(str(share))


@dataclass(frozen=True)
class Variant:
    """What came of one variant.

    users: who were shown a list. converted: of those, who then took an item of a list they had been shown. lists,
    taken_lists: lists shown, and those of which an item was taken. taken: (user, item) pairs. rate: converted / users,
    with its 95 % Wilson interval.
    """

    name: str
    users: int
    converted: int
    lists: int
    taken_lists: int
    taken: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Readout:
    """Variants, the first being compared with each other one.

    differences: rate - rate of the first. intervals: 95 %, Newcombe's of two Wilson intervals. p_values: Fisher's exact
    test on users. p_of_split: exact test that users came in the shares that were set (of two variants), or chi-square;
    a small one says that the assignment, not the model, is at work. left_out: lists of users seen in two variants.
    """

    test: str
    variants: tuple[Variant, ...]
    differences: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float]
    p_of_split: float
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


class SplitRecommender(Recommender):
    """A recommender that answers each user from the generation of the user's variant, and notes what it showed."""

    _test: SplitTest | None = None
    _others: Mapping[str, Recommender] = {}

    def split(self, test: SplitTest | None, generations: Mapping[str, int] | None = None) -> None:
        """Begin a test, or with None end it; raises InputError for a variant it has not, GenerationError."""
        named = {} if generations is None else dict(generations)
        unknown = set(named) - set(test.shares if test is not None else ())
        if unknown:
            raise InputError("a generation for no variant", got=", ".join(sorted(unknown)))
        directory = self.workspace.directory
        before, self._test = self._others, test
        self._others = {name: Recommender.open(directory, generation=generation) for name, generation in named.items()}
        for recommender in before.values():
            recommender.close()

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        include_seen: bool = False,
        exclude: Sequence[str] = (),
        session: Sequence[str | tuple[str, str]] = (),
        reasons: bool = True,
    ) -> Recommendations:
        """Answer from the generation of the user's variant."""
        variant = None if self._test is None else self._test.variant(user)
        other = None if variant is None else self._others.get(variant)
        if other is None:
            shown = super().recommend(
                user, k, include_seen=include_seen, exclude=exclude, session=session, reasons=reasons
            )
        else:
            other.refresh()
            shown = other.recommend(
                user, k, include_seen=include_seen, exclude=exclude, session=session, reasons=reasons
            )
        if self._test is not None:
            note_shown(self.workspace.directory, self._test, shown)
        return shown

    def readout(self, days: float = 14.0) -> Readout:
        """What the running test shows up to now; raises InputError when there is none."""
        if self._test is None:
            raise InputError("no test is running", way_out="split begins one")
        return readout_of(self, self._test, days)

    def close(self) -> None:
        """Close all."""
        self.split(None)
        super().close()


def shown_log(directory: Path) -> BoundedLog:
    """Every list shown in tests; without a bound, since a readout needs them all."""
    return BoundedLog(directory / "ab" / "shown.jsonl", most_bytes=None)


def note_shown(directory: Path, test: SplitTest, shown: Recommendations) -> None:
    """Write down a list, so that it takes part in the readout."""
    user = shown.user or ""
    row = {"test": test.name, "user": user, "variant": test.variant(user), "offset": shown.offset}
    shown_log(directory).append(row | {"at": time.time(), "generation": shown.generation, "items": shown.ids()})


def readout_of(recommender: Recommender, test: SplitTest, days: float) -> Readout:
    """Join the lists shown in a test with what their users took within so many days."""
    rows = [row for row in shown_log(recommender.workspace.directory).rows() if row["test"] == test.name]
    first = min((row["offset"] for row in rows), default=recommender.offset)
    return readout(rows, recommender.events_after(first), test, days)


def readout(
    shown: Iterable[Mapping[str, Any]], events: Iterable[tuple[int, str, str, float]], test: SplitTest, days: float
) -> Readout:
    """Count exactly: pure, from lists and events.

    Args:
        shown: rows of `shown_log` of one test.
        events: (offset, user, item, time stamp in seconds) of positive events, in the order of the log.
        test: whose variants are counted.
        days: an event later than this after a list was shown does not count for it.

    An event counts for the newest list before it, by offset, that named its item.
    """
    by_user: dict[str, list[Mapping[str, Any]]] = {}
    for row in shown:
        by_user.setdefault(row["user"], []).append(row)
    mixed = {user for user, rows in by_user.items() if len({row["variant"] for row in rows}) > 1}
    left_out = sum(len(by_user.pop(user)) for user in mixed)
    taken_lists: dict[str, set[tuple[str, int]]] = {name: set() for name in test.shares}
    taken: dict[str, set[tuple[str, str]]] = {name: set() for name in test.shares}
    for offset, user, item, moment in events:
        rows = by_user.get(user, ())
        for place in range(len(rows) - 1, -1, -1):
            row = rows[place]
            if row["offset"] < offset and item in row["items"] and moment - row["at"] <= days * _DAY:
                taken_lists[row["variant"]].add((user, place))
                taken[row["variant"]].add((user, item))
                break
    variants = []
    for name in test.shares:
        mine = [user for user, rows in by_user.items() if rows[0]["variant"] == name]
        converted = len({user for user, _ in taken[name]})
        lists = sum(len(by_user[user]) for user in mine)
        interval = wilson(converted, len(mine))
        rate = converted / len(mine) if mine else 0.0
        variants.append(
            Variant(name, len(mine), converted, lists, len(taken_lists[name]), len(taken[name]), rate, *interval)
        )
    return _compared(variants, test, left_out)


def _compared(variants: list[Variant], test: SplitTest, left_out: int) -> Readout:
    from scipy.stats import binomtest, chisquare, fisher_exact

    base, *others = variants
    differences, intervals, p_values = {}, {}, {}
    for other in others:
        difference = other.rate - base.rate
        below = ((other.rate - other.low) ** 2 + (base.high - base.rate) ** 2) ** 0.5
        above = ((other.high - other.rate) ** 2 + (base.rate - base.low) ** 2) ** 0.5
        differences[other.name] = difference
        intervals[other.name] = difference - below, difference + above
        table = [[v.converted, v.users - v.converted] for v in (other, base)]
        p_values[other.name] = float(fisher_exact(table).pvalue)
    users, shares = [v.users for v in variants], np.array(list(test.shares.values()))
    if not sum(users):
        split = 1.0
    elif len(variants) == 2:
        split = float(binomtest(users[0], sum(users), float(shares[0])).pvalue)
    else:
        some = shares > 0
        split = float(chisquare(np.array(users)[some], sum(users) * shares[some]).pvalue)
    return Readout(test.name, tuple(variants), differences, intervals, p_values, split, left_out)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); the whole of 0 to 1 for n = 0."""
    if not n:
        return 0.0, 1.0
    share = hits / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (share * (1 - share) / n + _Z**2 / (4 * n**2)) ** 0.5
    return max(middle - half, 0.0), min(middle + half, 1.0)
