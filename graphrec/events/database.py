"""The tables of the store and how they are reached: durable, one writer at a time, readers that wait for nobody.

Three rules keep several processes safe on one SQLite file: only the sqlite3 library of Python touches it (closing it
through a second copy of SQLite drops the first one's locks); every write transaction is BEGIN IMMEDIATE (a reader
that turns writer fails at once); writers take turns outside SQLite, whose own waiting polls and starves.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import filelock
import sqlalchemy as sa

from graphrec.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

SCHEMA_VERSION = "1"
WRITER_PATIENCE = 120.0  # seconds until a writer gives up its turn

metadata = sa.MetaData()

_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER can be a rowid

meta = sa.Table("meta", metadata, sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text))

users = sa.Table(
    "users",
    metadata,
    sa.Column("number", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("attributes", sa.Text, nullable=False, server_default="{}"),
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("number", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
)

kinds = sa.Table(
    "kinds",
    metadata,
    sa.Column("number", _INTEGER, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
)

# UNIQUE(ts, h) and not UNIQUE(h): time stamps mostly rise, so the index grows at its end instead of everywhere
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _INTEGER, primary_key=True, autoincrement=True),
    sa.Column("ts", sa.BigInteger, nullable=False),
    sa.Column("h", sa.BigInteger, nullable=False),
    sa.Column("user", sa.Integer, nullable=False),
    sa.Column("item", sa.Integer, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.UniqueConstraint("ts", "h"),
    sqlite_autoincrement=True,
)

catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("seq", _INTEGER, primary_key=True, autoincrement=True),
    sa.Column("item", sa.Integer, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("attributes", sa.Text, nullable=False),
    sa.Index("catalogue_by_item", "item", "seq"),
    sqlite_autoincrement=True,
)


class Database:
    """Connections to one store, for any number of threads; raises StoreError."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._path = None if url.database in (None, "", ":memory:") else Path(str(url.database))
        self._wrote = False
        if self._path is None:
            # one connection shared by all threads, else each would have a database of its own
            self._alone: AbstractContextManager[Any] = threading.RLock()
            self._writer = self._reader = sa.create_engine(
                url, poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
            )
        else:
            self._alone = nullcontext()
            self._writer = sa.create_engine(url)
            # a read-only connection cannot checkpoint: that, too, is for the writer whose turn it is
            read_only = url.set(database=f"file:{quote(str(self._path))}").update_query_dict(
                {"mode": "ro", "uri": "true"}
            )
            self._reader = sa.create_engine(read_only)
            sa.event.listen(self._reader, "connect", _explicit_transactions)
            sa.event.listen(self._reader, "begin", _begin)
            self._gate = self._lock("gate")
            self._door = self._lock("door")
        sa.event.listen(self._writer, "connect", _durable)
        sa.event.listen(self._writer, "begin", _begin_immediate)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, url: str, directory: Path | None = None) -> Database:
        """Open or create the database of an SQLAlchemy URL; a relative path is in `directory`."""
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:
            parsed = None
        if parsed is None or parsed.get_backend_name() != "sqlite":
            raise StoreError(
                "the store's URL is not understood", expected="sqlite:///events.db or another SQLite URL", got=url
            )
        if parsed.database not in (None, "", ":memory:"):
            path = Path(directory or ".", str(parsed.database)).absolute()
            if not path.parent.is_dir():
                raise StoreError(f"there is no directory {path.parent} to keep the store in")
            parsed = parsed.set(database=str(path))
        return cls(parsed)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that sees one state of the store and holds nobody up; keep it short."""
        with self._translated(), self._alone, self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that is alone in writing, and durable once the block is left without an exception."""
        with self._translated(), self._turn(), self._alone, self._writer.begin() as connection:
            self._wrote = True
            yield connection

    @property
    def path(self) -> Path | None:
        """The file, None for a database in memory."""
        return self._path

    def copy(self, path: Path) -> None:
        """Write one state of the store to a new file, durable when this returns; writers go on meanwhile.

        Through SQLite: another program's, or this one's, mere opening and closing of the file would drop its locks.
        """
        with self.reading() as connection:
            source: Any = connection.connection.driver_connection
            _copy(source, path)

    def fold(self) -> None:
        """Bring the write-ahead log into the file and empty it, unless somebody reads an older state just now."""
        if self._path is None:
            return
        with self._translated(), self._turn():
            connection = self._writer.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def close(self) -> None:
        """Close all connections; the last to close the file folds the write-ahead log into it."""
        with self._translated():
            self._reader.dispose()
            with self._turn() if self._wrote else nullcontext():
                self._writer.dispose()
            self._wrote = False

    def _prepare(self) -> None:
        if self._path is None or not self._path.exists() or self._path.stat().st_size == 0:
            self._create()
        with self.reading() as connection:
            tables = sa.inspect(connection).get_table_names()
            version = None
            if meta.name in tables:
                version = connection.execute(sa.select(meta.c.value).where(meta.c.key == "schema")).scalar()
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self._url.database} is not a store this version can read",
                expected=f"schema {SCHEMA_VERSION}",
                got=f"schema {version}" if version else "a database with other tables" if tables else "no tables",
                way_out="open it with the version that wrote it, or name another file",
            )

    def _create(self) -> None:
        with self.writing() as connection:
            if sa.inspect(connection).get_table_names():
                return  # another process was faster
            metadata.create_all(connection)
            connection.execute(sa.insert(meta).values(key="schema", value=SCHEMA_VERSION))

    def _lock(self, name: str) -> filelock.FileLock:
        return filelock.FileLock(f"{self._path}.{name}", timeout=WRITER_PATIENCE, poll_interval=0.001)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the turn to write, then hold it.

        Whoever waits at the door has closed the gate behind it, so a writer back for its next batch comes after it.
        """
        if self._path is None:
            yield
            return
        with self._gate:
            self._door.acquire()
        try:
            yield
        finally:
            self._door.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except filelock.Timeout:
            raise StoreError(
                f"no turn to write to {self._path}",
                got=f"another process has been writing for {WRITER_PATIENCE:.0f} s",
                way_out="let it finish, or end it: nothing acknowledged is lost",
            ) from None
        except (sa.exc.DBAPIError, OSError) as error:
            cause = str(error.orig) if isinstance(error, sa.exc.DBAPIError) else str(error)
            raise StoreError(f"the store {self._path} failed", got=cause, way_out=_way_out(cause)) from error


def copy_database(file: Path, path: Path) -> None:
    """Write one state of any SQLite file to a new file, durable when this returns; raises StoreError."""
    source = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)
    try:
        _copy(source, path)
    finally:
        source.close()


def _copy(source: sqlite3.Connection, path: Path) -> None:
    target = sqlite3.connect(path)
    try:
        target.execute("PRAGMA synchronous = FULL")
        source.backup(target)  # all pages in one step, so of one moment
        target.execute("PRAGMA journal_mode = DELETE")  # one file, until somebody opens it to write
    except sqlite3.Error as error:
        raise StoreError(f"{path.name} could not be copied", got=str(error), way_out=_way_out(str(error))) from None
    finally:
        target.close()


def _way_out(cause: str) -> str:
    for sign, way_out in (
        ("locked", "another program holds the file: close it and try again"),
        ("full", "make room on the disk; what was acknowledged is safe"),
        ("not a database", "name another file: this one holds something else, or is damaged"),
        ("malformed", "the file is damaged: restore it from a copy"),
        ("readonly", "let this user write to the file and its directory"),
        ("read-only", "let this user write to the file and its directory"),
        ("ermission", "let this user write to the file and its directory"),
        ("unable to open", "let this user write to the file and its directory"),
    ):
        if sign in cause:
            return way_out
    return "check the disk, then try again: what was acknowledged is safe"


def _explicit_transactions(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions of its own, and deferred ones


def _durable(connection: Any, _record: object) -> None:
    _explicit_transactions(connection, _record)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA busy_timeout = 60000")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
