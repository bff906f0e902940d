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
    """Item number -> latest version of its content; a number without one was only ever named by events.

    An item whose attribute `withdrawn` is true is shown to nobody until a later version says otherwise; what users did
    with it goes on speaking for other items.
    """

    def __init__(self) -> None:
        self._rows: dict[int, CatalogueRow] = {}
        self._withdrawn: frozenset[int] = frozenset()
        self.offset = 0  # version it has read up to

    def __len__(self) -> int:
        return len(self._rows)

    def update(self, rows: Iterable[CatalogueRow]) -> None:
        """Take versions in, in order."""
        withdrawn = set(self._withdrawn)
        for row in rows:
            self._rows[row.number] = row
            self.offset = row.seq
            taken_back = WITHDRAWN in row.attributes and is_withdrawn(row.item)  # most are not worth parsing
            (withdrawn.add if taken_back else withdrawn.discard)(row.number)
        self._withdrawn = frozenset(withdrawn)

    @property
    def withdrawn(self) -> npt.NDArray[np.int32]:
        """Numbers of the items that nobody is shown, int32."""
        return np.fromiter(self._withdrawn, np.int32)

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


def is_withdrawn(item: Item) -> bool:
    """Whether the catalogue has taken the item back; a file's text "true" counts as well."""
    return str(item.attributes.get(WITHDRAWN, "")).lower() == "true"
