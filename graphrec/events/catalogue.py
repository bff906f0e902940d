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

    def update(self, rows: Iterable[CatalogueRow]) -> None:
        """Take versions in, in order."""
        for row in rows:
            self._items[row.number] = row.item
            self.offset = row.seq

    def changed_texts(self, rows: Iterable[CatalogueRow]) -> dict[int, str]:
        """The texts that `update` would make new or other ones, by number, rising."""
        texts = {row.number: text_of(row.item) for row in rows}
        return {number: text for number, text in sorted(texts.items()) if text != self.text(number)}

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
        return "" if item is None else text_of(item)


def text_of(item: Item) -> str:
    """What the text encoder reads of an item: the text, else the title."""
    return item.text or item.title
