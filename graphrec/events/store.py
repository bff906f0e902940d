"""The event store: the log of what happened, who and what it named, and what the catalogue said; the truth.

Appending is durable when it returns, and exactly once: a repeat changes nothing (`event_hash` has the rule). Numbers of
users and items are dense, start at 0, follow the order of first appearance in the log and never change. Offsets rise by
one an event. A user who is forgotten leaves a number that nobody has, and offsets that no event has any more.
"""

from __future__ import annotations

import json
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from graphrec.errors import InputError
from graphrec.events.database import Database, catalogue, events
from graphrec.events.database import items as item_table
from graphrec.events.database import kinds as kind_table
from graphrec.events.database import users as user_table
from graphrec.events.event import ID_EXPECTED, EventColumns, EventTable, Item, JsonScalar, check_attributes, is_id
from graphrec.events.event_hash import coded, event_hashes
from graphrec.events.forgetting import TIMES, Forgotten, forget_users, times_forgotten
from graphrec.events.numbering import KeyNumbers, NumberedColumn
from graphrec.events.upserts import canonical_json, current_contents, upsert_attributes, upsert_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

BATCH_ROWS = 5_000  # events a transaction: how long another writer waits for its turn
BATCH_ITEMS = 500

_ROW = np.dtype(
    [("offset", "i8"), ("user", "i4"), ("item", "i4"), ("kind", "i2"), ("timestamp", "i8"), ("value", "f8")]
)
# as text, because tuples through the driver's executemany take half the time of SQLAlchemy's dictionaries
_INSERT_EVENT = 'INSERT INTO events (ts, h, "user", item, kind, value) VALUES (?, ?, ?, ?, ?, ?)'
_END = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"  # whether or not it is still there
_ENDS = f"""SELECT ({_END}), (SELECT coalesce(max(seq), 0) FROM catalogue),
    (SELECT coalesce(max(number) + 1, 0) FROM users), (SELECT coalesce(max(number) + 1, 0) FROM items),
    ({TIMES})"""
_FIND_EVENT = "SELECT 1 FROM events WHERE ts = ? AND h = ?"

Row = TypeVar("Row")


class Appended(NamedTuple):
    """What became of an appended table; accepted + duplicates = its length."""

    accepted: int
    duplicates: int
    offset: int  # of the log afterwards


class Upserted(NamedTuple):
    """What became of catalogue or user rows; the three add up to the rows given."""

    added: int
    changed: int
    unchanged: int


class CatalogueRow(NamedTuple):
    """One version of an item's content; the last version of an item is the present one."""

    seq: int
    number: int
    key: str
    title: str
    text: str
    attributes: str  # canonical JSON

    @property
    def item(self) -> Item:
        """The same as a record."""
        return Item(self.key, self.title, self.text, json.loads(self.attributes))


class Ends(NamedTuple):
    """Where log, catalogue and numbers end, all of one moment: whoever follows the store compares five numbers.

    forgotten: how often the store has forgotten users; whoever followed it until then begins anew.
    """

    offset: int
    catalogue: int
    users: int
    items: int
    forgotten: int


class Counts(NamedTuple):
    """How much the store holds."""

    events: int
    users: int
    items: int
    catalogue: int  # items that the catalogue describes


class EventStore:
    """The log of one workspace, for any number of processes and threads; raises StoreError."""

    def __init__(self, opened: Database) -> None:
        self._database = opened
        self._users = KeyNumbers(user_table)
        self._items = KeyNumbers(item_table)
        self._kinds = KeyNumbers(kind_table)
        self._numbered = 0  # times that the store had forgotten users when their numbers were remembered

    @classmethod
    def open(cls, url: str, *, directory: Path | None = None) -> Self:
        """Open or create the store of an SQLAlchemy URL; a relative path is in `directory`."""
        return cls(Database.open(url, directory))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path | None:
        """The file, None for a store in memory."""
        return self._database.path

    def copy(self, path: Path) -> None:
        """Write one state of the store to a new file while others write on; raises StoreError."""
        self._database.copy(path)

    def append(self, table: EventTable) -> Appended:
        """Append what is new in a table, in its order; durable when this returns, exactly once however often."""
        return self.append_each(table)[0]

    def append_each(self, table: EventTable) -> tuple[Appended, npt.NDArray[np.bool_]]:
        """Append like `append`, and tell of each row whether it was new, bool[n]."""
        numbered = self._numbered
        users, items, kinds = coded(table.users), coded(table.items), coded(table.kinds)
        hashes = event_hashes(table, users, items, kinds)
        columns = [
            NumberedColumn(users, self._users),
            NumberedColumn(items, self._items),
            NumberedColumn(kinds, self._kinds),
        ]
        rows = _first_of_each(table.timestamps, hashes)
        new, end = np.zeros(len(table), np.bool_), 0
        for start in range(0, len(rows), BATCH_ROWS):
            with self._database.writing() as connection:
                if self._keep_up(connection) != numbered:
                    numbered, columns[0] = self._numbered, NumberedColumn(users, self._users)
                new[_append_batch(connection, table, hashes, columns, rows[start : start + BATCH_ROWS])] = True
                end = connection.exec_driver_sql(_END).scalar() or 0
        for column in columns:
            column.remember()
        accepted = int(new.sum())
        return Appended(accepted, len(table) - accepted, end if len(rows) else self.offset), new

    @property
    def offset(self) -> int:
        """Where the log ends: the offset of its last event, 0 when it is empty."""
        return self._scalar(sa.text(f"({_END})")) or 0

    @property
    def forgotten(self) -> int:
        """How often users have been forgotten."""
        return int(self._scalar(sa.text(f"({TIMES})")) or 0)

    def ends(self) -> Ends:
        """Tell whether there is anything new, in one question."""
        with self._database.reading() as connection:
            cursor: Any = connection.exec_driver_sql(_ENDS).cursor
            return Ends(*map(int, cursor.fetchone()))

    @property
    def catalogue_offset(self) -> int:
        """Where the catalogue's versions end, 0 when there are none."""
        return self._scalar(sa.func.max(catalogue.c.seq)) or 0

    @property
    def time_span(self) -> tuple[int, int] | None:
        """The smallest and the largest time stamp, µs; None when the log is empty."""
        first, last = self._scalar(sa.func.min(events.c.ts)), self._scalar(sa.func.max(events.c.ts))
        return None if first is None or last is None else (first, last)

    def read(self, after: int = 0, limit: int = 200_000, until: int | None = None) -> EventColumns:
        """Read at most `limit` events whose offset is above `after`, and at most `until`, in the order of the log."""
        e = events.c
        query = sa.select(e.seq, e.user, e.item, e.kind, e.ts, e.value).where(e.seq > after)
        if until is not None:
            query = query.where(e.seq <= until)
        with self._database.reading() as connection:
            rows = np.fromiter(_bare_rows(connection, query.order_by(e.seq).limit(limit)), _ROW)
        return EventColumns(*(np.ascontiguousarray(rows[name]) for name in _ROW.names or ()))

    def scan(self, after: int = 0, until: int | None = None, chunk: int = 200_000) -> Iterator[EventColumns]:
        """Read a stretch of the log in chunks, up to where it ends now; holds nothing open between them."""
        end = self.offset if until is None else until
        while after < end and len(columns := self.read(after, chunk, end)):
            after = int(columns.offsets[-1])
            yield columns

    def stretch(self, after: int, until: int) -> EventColumns:
        """Read a stretch of the log whole, as `scan` reads it."""
        chunks = list(self.scan(after, until)) or [self.read(after, limit=0)]
        return EventColumns(*(np.concatenate([getattr(c, f.name) for c in chunks]) for f in fields(EventColumns)))

    def upsert_items(self, items: Iterable[Item]) -> Upserted:
        """Write what is new in some items as versions of the catalogue; durable when this returns."""
        outcome = np.zeros(3, np.int64)
        for batch in _batches(items):
            contents = [(item.title, item.text, canonical_json(item.attributes)) for item in batch]
            with self._database.writing() as connection:
                numbers, _ = self._items.numbers(connection, [item.id for item in batch])
                current = current_contents(connection, numbers)
                outcome += upsert_contents(connection, numbers, contents, current)
        return Upserted(*outcome.tolist())

    def upsert_users(self, rows: Iterable[tuple[str, Mapping[str, object]]]) -> Upserted:
        """Write the attributes of some users; durable when this returns. Raises InputError for what cannot be kept."""
        outcome = np.zeros(3, np.int64)
        for batch in _batches(rows):
            for key, attributes in batch:
                if not is_id(key):
                    raise InputError("not a user: its id", expected=f"text, {ID_EXPECTED}", got=repr(key))
                check_attributes(attributes)
            with self._database.writing() as connection:
                self._keep_up(connection)
                numbers, first_new = self._users.numbers(connection, [key for key, _ in batch])
                outcome += upsert_attributes(connection, numbers, first_new, [canonical_json(row) for _, row in batch])
        return Upserted(*outcome.tolist())

    def forget(self, users: Sequence[str]) -> Forgotten:
        """Delete ids, attributes and events of some users, in one transaction; durable, and overwritten, afterwards.

        A number stays nobody's, under a name drawn at random. Whoever posts one of the ids again is a new user.
        """
        with self._database.writing() as connection:
            done = forget_users(connection, users)
            self._keep_up(connection)
        if done.users:
            self._database.fold()
        return done

    def user_attributes(self, user: str) -> dict[str, JsonScalar]:
        """Tell what is known of a user, nothing for an unknown one."""
        u = user_table.c
        with self._database.reading() as connection:
            attributes = connection.execute(sa.select(u.attributes).where(u.key == user)).scalar()
        return json.loads(attributes) if attributes else {}

    def users(self, after: int = 0) -> list[str]:
        """List the ids of the users whose number is at least `after`, by number."""
        return self._keys(user_table, after)

    def items(self, after: int = 0) -> list[str]:
        """List the ids of the items whose number is at least `after`, by number."""
        return self._keys(item_table, after)

    def kinds(self) -> list[str]:
        """List the names of the kinds of events, by code."""
        return self._keys(kind_table, 0)

    def catalogue(self, after: int = 0, until: int | None = None) -> list[CatalogueRow]:
        """List the catalogue's versions whose seq is above `after`, and at most `until`, in order."""
        c, items = catalogue.c, item_table.c
        query = sa.select(c.seq, c.item, items.key, c.title, c.text, c.attributes)
        query = query.join(item_table, items.number == c.item).where(c.seq > after).order_by(c.seq)
        if until is not None:
            query = query.where(c.seq <= until)
        with self._database.reading() as connection:
            return list(map(CatalogueRow._make, _bare_rows(connection, query)))

    def counts(self) -> Counts:
        """Count what there is."""
        counted = sa.select(
            sa.select(sa.func.count()).select_from(events).scalar_subquery(),
            sa.select(sa.func.count()).select_from(user_table).scalar_subquery(),
            sa.select(sa.func.count()).select_from(item_table).scalar_subquery(),
            sa.select(sa.func.count(catalogue.c.item.distinct())).scalar_subquery(),
        )
        with self._database.reading() as connection:
            return Counts(*connection.execute(counted).one())

    def _keep_up(self, connection: sa.Connection) -> int:
        """Remember no number from before users were forgotten; how often that has been. In a write transaction."""
        times = times_forgotten(connection)
        if times != self._numbered:
            self._users.drop()
            self._numbered = times
        return times

    def _keys(self, table: sa.Table, after: int) -> list[str]:
        keys = sa.select(table.c.key).where(table.c.number >= after).order_by(table.c.number)
        with self._database.reading() as connection:
            return [key for (key,) in _bare_rows(connection, keys)]

    def _scalar(self, expression: sa.ColumnElement[int] | sa.TextClause) -> int | None:
        with self._database.reading() as connection:
            return connection.execute(sa.select(expression)).scalar()


def _bare_rows(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """The driver's own rows: SQLAlchemy's would cost 25 times as much."""
    rows: Any = connection.execute(query).cursor
    return iter(rows)


def _first_of_each(timestamps: npt.NDArray[np.int64], hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Positions of the rows that repeat no earlier row of the table."""
    order = np.lexsort((hashes, timestamps))  # stable: of equal rows the earliest comes first
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(timestamps[order]) != 0) | (np.diff(hashes[order]) != 0)
    return np.sort(order[new])


def _append_batch(
    connection: sa.Connection,
    table: EventTable,
    hashes: npt.NDArray[np.int64],
    columns: list[NumberedColumn],
    rows: npt.NDArray[np.intp],
) -> npt.NDArray[np.intp]:
    """Append some rows in one transaction and return those that were new."""
    new_key = np.logical_or.reduce([column.find(connection, rows) for column in columns])
    if table.event_ids is not None and new_key.any():
        # without an event id an event of a new key is new; with one it can be a repeat, which must number nothing
        doubtful = rows[new_key]
        known = _known_events(connection, table.timestamps[doubtful], hashes[doubtful])
        rows = np.delete(rows, np.flatnonzero(new_key)[known])
    if not len(rows):
        return rows
    numbers = [column.number(connection, rows) for column in columns]
    row_columns: list[npt.NDArray[Any]] = [table.timestamps[rows], hashes[rows], *numbers, table.values[rows]]
    try:
        with connection.begin_nested():
            _insert(connection, row_columns)
    except sa.exc.IntegrityError:
        # asking about each costs a third of the insert, so only a batch with repeats pays it; ON CONFLICT DO NOTHING
        # would cost nothing but leave a hole in the offsets for every repeat
        new = ~_known_events(connection, row_columns[0], row_columns[1])
        rows, row_columns = rows[new], [column[new] for column in row_columns]
        _insert(connection, row_columns)
    return rows


def _insert(connection: sa.Connection, columns: list[npt.NDArray[Any]]) -> None:
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    if rows:
        connection.exec_driver_sql(_INSERT_EVENT, rows)


def _known_events(
    connection: sa.Connection, timestamps: npt.NDArray[np.int64], hashes: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    cursor = connection.connection.cursor()  # thousands of small questions: only the bare cursor is quick enough
    known = []
    for identity in zip(timestamps.tolist(), hashes.tolist(), strict=True):
        cursor.execute(_FIND_EVENT, identity)
        known.append(cursor.fetchone() is not None)
    cursor.close()
    return np.array(known, np.bool_)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH_ITEMS)):
        yield batch
