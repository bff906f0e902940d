"""The present content of every item, kept by node number from the store's append-only versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphrec.events.event import Item
    from graphrec.events.store import CatalogueRow


class Catalogue:
    """Item number -> latest version of its content; a number without one was only ever named by events."""

    def __init__(self) -> None:
        self._rows: dict[int, CatalogueRow] = {}
        self.offset = 0  # version it has read up to

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, rows: Iterable[CatalogueRow]) -> list[int]:
        """Take versions in, in order; returns the numbers whose text is new or another one."""
        latest = {}
        for row in rows:
            latest[row.number] = row
            self.offset = row.seq
        changed = [number for number, row in latest.items() if self.text(number) != (row.text or row.title)]
        self._rows |= latest
        return sorted(changed)

    def get(self, number: int) -> Item | None:
        """The item's content, made when asked for; None if the catalogue does not have it."""
        row = self._rows.get(number)
        return None if row is None else row.item

    def title(self, number: int) -> str:
        """The item's title, empty if unknown."""
        row = self._rows.get(number)
        return "" if row is None else row.title

    def text(self, number: int) -> str:
        """What the text encoder reads: the text, else the title."""
        row = self._rows.get(number)
        return "" if row is None else row.text or row.title
