"""A log in memory: what training learns from and evaluation cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from graphrec.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events as plain columns with node numbers, in any order.

    users, items int32 (m,); timestamps int64 (m,), microseconds; weights float64 (m,), positive = wanted. n_users and
    n_items count all nodes, with events or without. kinds int16 (m,), a place in `kind_names`; None = all of one kind.
    Raises InputError for columns of different lengths, numbers out of range or weights that are not finite.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    weights: NDArray[np.float64]
    n_users: int
    n_items: int
    kinds: NDArray[np.int16] | None = None
    kind_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.users, self.items, self.timestamps, self.weights, self.kinds)
        lengths = [len(column) for column in columns if column is not None]
        if len(set(lengths)) > 1:
            raise InputError("the columns of the interactions differ in length", got=str(lengths))
        for what, numbers, limit in (
            ("user", self.users, self.n_users),
            ("item", self.items, self.n_items),
            ("kind", self.kinds, len(self.kind_names)),
        ):
            if numbers is not None and len(numbers) and (numbers.min() < 0 or numbers.max() >= limit):
                raise InputError(
                    f"a {what} number is out of range",
                    expected=f"0 … {limit - 1}",
                    got=f"{numbers.min()} … {numbers.max()}",
                )
        if not np.isfinite(self.weights).all():
            raise InputError("a weight is not a finite number")

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Self:
        """Keep the chosen events; node numbers and counts stay."""
        return type(self)(
            self.users[which],
            self.items[which],
            self.timestamps[which],
            self.weights[which],
            self.n_users,
            self.n_items,
            None if self.kinds is None else self.kinds[which],
            self.kind_names,
        )

    def joined(self, other: Self) -> Self:
        """These events, then those of another, without kinds; node counts must be the same."""
        return type(self)(
            np.concatenate([self.users, other.users]),
            np.concatenate([self.items, other.items]),
            np.concatenate([self.timestamps, other.timestamps]),
            np.concatenate([self.weights, other.weights]),
            self.n_users,
            self.n_items,
        )

    def by_time(self) -> Self:
        """Order the events by time, those of one time stamp as they came."""
        return self.take(np.argsort(self.timestamps, kind="stable"))

    def positive(self) -> Self:
        """Keep the events with a positive weight."""
        return self.take(self.weights > 0)
