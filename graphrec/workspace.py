"""The workspace: one directory that holds settings, event store, text cache, quarantine and generations."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.answers import IngestReport
from graphrec.config import CONFIG_FILE, Config
from graphrec.errors import WorkspaceError
from graphrec.events.catalogue_tables import read_items
from graphrec.events.quarantine import Quarantine
from graphrec.events.store import EventStore
from graphrec.events.tables import read_events, source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Progress = Callable[[str, int, int], None]


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
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring events and items into the store, bad rows into the quarantine; durable when it returns.

    Nothing of the derived state is loaded or touched. The sources are those of `read_events` and `read_items`.
    """
    started = time.perf_counter()
    tell = progress or (lambda stage, done, total: None)
    outcome = dict.fromkeys(IngestReport.__dataclass_fields__, 0)
    files: list[str] = []
    if items is not None:
        source = f"{source_name(items)}, items"  # events may come from a file, or a DataFrame, of the same name
        with workspace.quarantine.writing(source) as writer:
            for batch in read_items(items, columns=item_columns):
                writer.add(batch.rejected)
                upserted = store.upsert_items(batch.rows)
                outcome["items_added"] += upserted.added
                outcome["items_changed"] += upserted.changed
                outcome["items_unchanged"] += upserted.unchanged
                outcome["items_quarantined"] += len(batch.rejected)
        files += [str(workspace.quarantine.path(source))] * bool(outcome["items_quarantined"])
    if events is not None:
        source = source_name(events)
        size = Path(events).stat().st_size if isinstance(events, str | Path) and Path(events).is_file() else 0
        with workspace.quarantine.writing(source) as writer:
            for chunk in read_events(events, settings=workspace.config.events, columns=columns, now=time.time()):
                writer.add(chunk.rejected)
                appended = store.append(chunk.table)
                outcome["read"] += chunk.rows_read
                outcome["accepted"] += appended.accepted
                outcome["duplicates"] += appended.duplicates
                outcome["quarantined"] += len(chunk.rejected)
                tell("events", min(chunk.bytes_read, size) if size else outcome["read"], size)
        files += [str(workspace.quarantine.path(source))] * bool(outcome["quarantined"])
    return IngestReport(
        **{
            **outcome,
            "offset": store.offset,
            "seconds": time.perf_counter() - started,
            "quarantine": tuple(files),
        }  # type: ignore[arg-type]
    )
