"""The present content of every item, kept by node number from the store's append-only versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphrec.events.event import Item
    from graphrec.events.store import CatalogueRow


class Catalogue:
    """Item number -> latest `Item`; a number without one was only ever named by events."""

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self.offset = 0  # version it has read up to

    def __len__(self) -> int:
        return len(self._items)

    def update(self, rows: Iterable[CatalogueRow]) -> list[int]:
        """Take versions in, in order; returns the numbers whose text is new or another one."""
        before: dict[int, str] = {}
        for row in rows:
            before.setdefault(row.number, self.text(row.number))
            self._items[row.number] = row.item
            self.offset = row.seq
        return sorted(number for number, text in before.items() if text != self.text(number))

    def get(self, number: int) -> Item | None:
        """The item's content, None if the catalogue does not have it."""
        return self._items.get(number)

    def title(self, number: int) -> str:
        """The item's title, empty if unknown."""
        item = self._items.get(number)
        return "" if item is None else item.title

    def text(self, number: int) -> str:
        """What the text encoder reads: the text, else the title."""
        item = self._items.get(number)
        return "" if item is None else item.text or item.title
