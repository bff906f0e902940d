"""Keys and the numbers the store gives them: dense, from 0, in order of first appearance, for ever.

A process remembers the numbers it has met, which costs memory by distinct keys and never by events; numbers are given
inside a write transaction, so two processes never give one number twice.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphrec.events.event_hash import Coded

Numbers = npt.NDArray[np.int32]


class KeyNumbers:
    """The numbers of the keys in one table, which has columns `number` and `key`."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._number, self._key = table.c.number, table.c.key
        self._known: dict[str, int] = {}
        self._insert = str(sa.insert(table).compile(dialect=sqlite.dialect(), column_keys=["number", "key"]))

    def known(self, keys: Sequence[str]) -> Numbers:
        """Return the numbers[n] that this process remembers, -1 for the others."""
        known = self._known
        return np.array([known.get(key, -1) for key in keys], np.int32)

    def find(self, connection: sa.Connection, keys: Sequence[str]) -> Numbers:
        """Return the numbers[n] in the store, -1 where there is none; in a transaction, before any `add`."""
        # one bound list, so that the statement is prepared once whatever its length
        wanted = sa.func.json_each(json.dumps(keys)).table_valued("value")
        found = sa.select(self._key, self._number).where(self._key.in_(sa.select(wanted.c.value)))
        self._known.update((key, number) for key, number in connection.execute(found))
        return self.known(keys)

    def add(self, connection: sa.Connection, keys: Sequence[str]) -> Numbers:
        """Give the next numbers to new, distinct keys: true once the transaction is committed."""
        first = self._next(connection)
        rows = list(enumerate(keys, first))
        if rows:
            connection.exec_driver_sql(self._insert, rows)
        return np.arange(first, first + len(keys), dtype=np.int32)

    def numbers(self, connection: sa.Connection, keys: Sequence[str]) -> tuple[list[int], int]:
        """Return the numbers of some keys, which they get if they have none, and the first number given just now."""
        numbers = dict(zip(keys, self.find(connection, keys).tolist(), strict=True))
        new = [key for key, number in numbers.items() if number < 0]
        first = self._next(connection)
        if new:
            numbers.update(zip(new, self.add(connection, new).tolist(), strict=True))
        return [numbers[key] for key in keys], first

    def remember(self, keys: Sequence[str], numbers: Numbers) -> None:
        """Take note of committed numbers; -1 is none."""
        self._known.update((key, number) for key, number in zip(keys, numbers.tolist(), strict=True) if number >= 0)

    def drop(self) -> None:
        """Remember nothing: what was known may hold no longer."""
        self._known = {}

    def _next(self, connection: sa.Connection) -> int:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(self._number), -1))).scalar_one()) + 1


class NumberedColumn:
    """The numbers of one column of keys while its rows are being appended, batch by batch."""

    def __init__(self, column: Coded, registry: KeyNumbers) -> None:
        self._keys, self._codes = column
        self._registry = registry
        self._numbers = registry.known(column.keys)  # of each different key
        self._unknown = np.flatnonzero(self._numbers < 0)

    def find(self, connection: sa.Connection, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        """Tell which of some rows hold a key that the store does not have."""
        codes = self._codes[rows]
        missing = np.unique(codes[self._numbers[codes] < 0])
        if len(missing):
            self._numbers[missing] = self._registry.find(connection, [self._keys[code] for code in missing])
        return self._numbers[codes] < 0

    def number(self, connection: sa.Connection, rows: npt.NDArray[np.intp]) -> Numbers:
        """Return the numbers of some rows that have gone through `find`, giving numbers to what has none."""
        codes = self._codes[rows]
        new, place = np.unique(codes[self._numbers[codes] < 0], return_index=True)
        if len(new):
            new = new[np.argsort(place)]
            self._numbers[new] = self._registry.add(connection, [self._keys[code] for code in new])
        return self._numbers[codes]

    def remember(self) -> None:
        """Tell the registry what is committed by now."""
        self._registry.remember([self._keys[code] for code in self._unknown], self._numbers[self._unknown])
