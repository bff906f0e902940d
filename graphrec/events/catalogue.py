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

    def update(self, rows: Iterable[CatalogueRow]) -> None:
        """Take versions in, in order."""
        for row in rows:
            self._rows[row.number] = row
            self.offset = row.seq

    def changed_texts(self, rows: Iterable[CatalogueRow]) -> dict[int, str]:
        """The texts that `update` would make new or other ones, by number, rising."""
        texts = {row.number: row.text or row.title for row in rows}
        return {number: text for number, text in sorted(texts.items()) if text != self.text(number)}

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
