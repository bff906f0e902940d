"""The present content of every item, kept by node number from the store's append-only versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from graphrec.events.event import Item
    from graphrec.events.store import CatalogueRow

WITHDRAWN = "withdrawn"


class Catalogue:
    """Item number -> latest `Item`; a number without one was only ever named by events.

    An item whose attribute `withdrawn` is true is shown to nobody until a later version says otherwise; what users did
    with it goes on speaking for other items.
    """

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._withdrawn: frozenset[int] = frozenset()
        self.offset = 0  # version it has read up to

    def __len__(self) -> int:
        return len(self._items)

    def update(self, rows: Iterable[CatalogueRow]) -> None:
        """Take versions in, in order."""
        withdrawn = set(self._withdrawn)
        for row in rows:
            self._items[row.number] = row.item
            self.offset = row.seq
            (withdrawn.add if is_withdrawn(row.item) else withdrawn.discard)(row.number)
        self._withdrawn = frozenset(withdrawn)

    @property
    def withdrawn(self) -> npt.NDArray[np.int32]:
        """Numbers of the items that nobody is shown, int32."""
        return np.fromiter(self._withdrawn, np.int32)

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


def is_withdrawn(item: Item) -> bool:
    """Whether the catalogue has taken the item back; a file's text "true" counts as well."""
    return str(item.attributes.get(WITHDRAWN, "")).lower() == "true"


def text_of(item: Item) -> str:
    """What the text encoder reads of an item: the text, else the title."""
    return item.text or item.title
