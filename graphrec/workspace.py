"""The workspace: one directory that holds settings, event store, text cache, quarantine and generations."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.answers import Counted, IngestReport
from graphrec.config import CONFIG_FILE, Config
from graphrec.errors import WorkspaceError
from graphrec.events.catalogue_tables import Row, read_items, read_users
from graphrec.events.quarantine import Quarantine
from graphrec.events.store import EventStore
from graphrec.events.tables import read_events, source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from graphrec.events.catalogue_tables import RecordChunk
    from graphrec.events.quarantine import Rejection
    from graphrec.events.store import Upserted

    Progress = Callable[[str, int, int], None]
    _Taken = tuple[Counted, list[Rejection]]


class Workspace:
    """An existing workspace; raises WorkspaceError where there is none, ConfigError for its settings."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        if not (self.directory / CONFIG_FILE).is_file():
            raise WorkspaceError(
                f"{self.directory} is not a workspace",
                expected=f"a directory with a {CONFIG_FILE}",
                got="no such directory" if not self.directory.exists() else f"no {CONFIG_FILE} in it",
                way_out=f"graphrec init {self.directory}",
            )
        self.config = Config.load(self.directory)
        self.quarantine = Quarantine(self.directory / "quarantine")

    @classmethod
    def create(cls, directory: str | Path) -> Workspace:
        """Make a workspace with the default settings written out; raises WorkspaceError when there is one already."""
        path = Path(directory)
        if (path / CONFIG_FILE).exists():
            raise WorkspaceError(f"{path} already is a workspace", way_out="use it, or choose another directory")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise WorkspaceError(f"{path} is in use", expected="a new or empty directory", got="something else in it")
        path.mkdir(parents=True, exist_ok=True)
        (path / CONFIG_FILE).write_text(Config.template(), encoding="utf-8")
        workspace = cls(path)
        workspace.open_store().close()
        return workspace

    def open_store(self) -> EventStore:
        """The event log and catalogue; the caller closes it."""
        return EventStore.open(self.config.store.url, directory=self.directory)

    def bytes_on_disk(self) -> int:
        """Size of everything in the directory."""
        total = 0
        for folder, _, names in os.walk(self.directory):
            for name in names:
                with suppress(FileNotFoundError):  # journals come and go
                    total += Path(folder, name).stat().st_size
        return total


def ingest(
    workspace: Workspace,
    store: EventStore,
    events: Any | None = None,
    *,
    items: Any | None = None,
    users: Any | None = None,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring events, items and users into the store, bad rows into the quarantine; durable when it returns.

    Nothing of the derived state is loaded or touched. The sources are those of `read_events` and `read_items`.
    """
    started = time.perf_counter()
    outcome = {"items": Counted(), "users": Counted(), "events": Counted()}
    files = []
    steps: list[tuple[str, Any, Callable[[], Iterator[_Taken]]]] = [
        ("items", items, lambda: _records(read_items(items, columns=item_columns), store.upsert_items)),
        ("users", users, lambda: _records(read_users(users), store.upsert_users)),
        ("events", events, lambda: _events(workspace, store, events, columns, progress)),
    ]
    for name, source, take in steps:
        if source is None:
            continue
        label = source_name(source) if name == "events" else f"{source_name(source)}, {name}"
        with workspace.quarantine.writing(label) as writer:
            for counted, rejected in take():
                writer.add(rejected)
                outcome[name] += counted
        if outcome[name].quarantined:
            files.append(str(workspace.quarantine.path(label)))
    counts = outcome["events"]
    return IngestReport(
        counts.read,
        counts.accepted,
        counts.duplicates,
        counts.quarantined,
        items=outcome["items"],
        users=outcome["users"],
        offset=store.offset,
        seconds=time.perf_counter() - started,
        quarantine=tuple(files),
    )


def _records(chunks: Iterable[RecordChunk[Row]], upsert: Callable[[list[Row]], Upserted]) -> Iterator[_Taken]:
    for chunk in chunks:
        done = upsert(chunk.rows)
        yield (
            Counted(chunk.rows_read, done.added + done.changed, done.unchanged, len(chunk.rejected)),
            chunk.rejected,
        )


def _events(
    workspace: Workspace,
    store: EventStore,
    source: Any,
    columns: Mapping[str, str] | None,
    progress: Progress | None,
) -> Iterator[_Taken]:
    size = Path(source).stat().st_size if isinstance(source, str | Path) and Path(source).is_file() else 0
    read = 0
    for chunk in read_events(source, settings=workspace.config.events, columns=columns, now=time.time()):
        done = store.append(chunk.table)
        read += chunk.rows_read
        if progress is not None:
            progress("bytes read" if size else "rows read", min(chunk.bytes_read, size) if size else read, size)
        yield Counted(chunk.rows_read, done.accepted, done.duplicates, len(chunk.rejected)), chunk.rejected
