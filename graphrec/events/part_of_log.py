"""A stretch of the log, to whoever may see no more: the newest events held back, or the oldest left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrec.errors import StoreError
from graphrec.events.store import EventStore

if TYPE_CHECKING:
    from graphrec.events.event import EventColumns, EventTable
    from graphrec.events.store import Appended


class PartOfLog(EventStore):
    """A store as if its log held only the events with an offset above `after` and at most `until`; read-only.

    Nodes, kinds and catalogue are all there: a node without an event says nothing of the events held back. `until` may
    be moved on.
    """

    def __init__(self, store: EventStore, after: int, until: int) -> None:
        super().__init__(store._database)
        self.after, self.until = after, until

    @property
    def offset(self) -> int:
        """Where the stretch ends; 0 when it is empty."""
        end = min(super().offset, self.until)
        return end if end > self.after else 0

    def read(self, after: int = 0, limit: int = 200_000, until: int | None = None) -> EventColumns:
        """Read as the whole log is read, within the stretch."""
        last = self.until if until is None else min(until, self.until)
        return super().read(max(after, self.after), limit, last)

    def append(self, table: EventTable) -> Appended:
        """Refuse."""
        raise StoreError("a part of the log cannot be written to", way_out="append to the store itself")
