"""Popularity that fades: counts with forward decay, so that nothing has to be aged by a sweep.

An event at time t counts 2^((t - reference) / half_life); dividing all by the factor of "now" is the same as ageing
each, and taking the logarithm turns that factor into a constant that no ranking sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Float64 = NDArray[np.float64]

_LARGEST_EXPONENT = 256  # half-lives ahead of the reference before everything is rescaled
_GRID = 16  # steps a half-life in which `clock` moves


class Popularity:
    """Decayed number of events of each item, and when its first and last came.

    `half_life` in microseconds. The clock is the newest event's time, never the machine's: the state is a function of
    the log alone.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self.newest = 0
        self._reference = 0  # in half-lives since the epoch
        self._counts: Float64 = np.zeros(0)
        self.first: Int64 = np.zeros(0, np.int64)
        self.last: Int64 = np.zeros(0, np.int64)

    def grow(self, n_items: int) -> None:
        """Have so many items; a new one has no events."""
        more = n_items - len(self._counts)
        if more > 0:
            self._counts = np.concatenate([self._counts, np.zeros(more)])
            self.first = np.concatenate([self.first, np.zeros(more, np.int64)])
            self.last = np.concatenate([self.last, np.zeros(more, np.int64)])

    def add(self, items: Int32, timestamps: Int64) -> None:
        """Count events: item numbers and microseconds."""
        if not len(items):
            return
        latest = int(timestamps.max())
        if self.newest == 0 or latest / self.half_life - self._reference > _LARGEST_EXPONENT:
            reference = int(latest // self.half_life)
            self._counts *= 2.0 ** (self._reference - reference)
            self._reference = reference
        self.newest = max(self.newest, latest)
        np.add.at(self._counts, items, np.exp2(timestamps / self.half_life - self._reference))
        np.maximum.at(self.last, items, timestamps)
        unseen = self.first[items] == 0
        self.first[items[unseen]] = timestamps[unseen]
        np.minimum.at(self.first, items, timestamps)

    def counts(self) -> Float64:
        """Decayed events of each item at the time of the newest event, float64 (n_items,)."""
        counts: Float64 = self._counts * np.exp2(self._reference - self.newest / self.half_life)
        return counts

    @property
    def clock(self) -> int:
        """The newest event's time in sixteenths of a half-life: it moves rarely, and then everything is rescored."""
        return int(self.newest / self.half_life * _GRID)

    def log_scores(self, floor: float, numbers: Int32 | None = None) -> Float64:
        """log(count + floor), counts at the clock's time, of all items or of some.

        Between two ticks of the clock only items with new events change.
        """
        counts = self._counts if numbers is None else self._counts[numbers]
        scores: Float64 = np.log(counts * np.exp2(self._reference - self.clock / _GRID) + floor)
        return scores

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything it is, as arrays; `restore` reads it back."""
        return {
            "moments": np.array([self.newest, self._reference], np.int64),
            "counts": self._counts,
            "first": self.first,
            "last": self.last,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become what `state` described."""
        self.newest, self._reference = (int(moment) for moment in arrays["moments"])
        self._counts, self.first, self.last = (np.array(arrays[name]) for name in ("counts", "first", "last"))
