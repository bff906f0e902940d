"""External ids on one side, dense node numbers on the other; the map only ever grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt


class Vocabulary:
    """External id <-> node number, dense, 0-based, in order of first appearance; a number never changes."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys: list[str] = []
        self._numbers: dict[str, int] = {}
        self.extend(keys)

    def extend(self, keys: Iterable[str]) -> range:
        """Give the next numbers to new keys, in their order, and return these numbers.

        Raises InputError when a key is no text, is known already or comes twice; then no key is added.
        """
        new = list(keys)
        first = len(self._keys)
        for key in (key for key in new if not isinstance(key, str)):
            raise InputError("a node's key is not text", expected="str", got=f"{key!r} ({type(key).__name__})")
        numbers = dict(zip(new, range(first, first + len(new)), strict=True))
        if len(numbers) < len(new) or not self._numbers.keys().isdisjoint(numbers):
            twice = next(key for number, key in enumerate(new, first) if key in self._numbers or numbers[key] != number)
            raise InputError("a key cannot get a second number", expected="keys that are all new", got=repr(twice))
        self._keys += new
        self._numbers |= numbers
        return range(first, len(self._keys))

    def number(self, key: str) -> int | None:
        """Node number of a key, None if it is unknown."""
        return self._numbers.get(key)

    def key(self, number: int) -> str:
        """Key of a node number; raises InputError beyond the vocabulary."""
        if not 0 <= number < len(self._keys):
            raise InputError("no node has this number", expected=f"0 <= number < {len(self._keys)}", got=str(number))
        return self._keys[number]

    def numbers(self, keys: Iterable[str]) -> npt.NDArray[np.int32]:
        """Node numbers of many keys, -1 where a key is unknown."""
        known = self._numbers
        return np.fromiter((known.get(key, -1) for key in keys), dtype=np.int32)

    def keys(self, numbers: Sequence[int] | npt.NDArray[np.integer]) -> list[str]:
        """Keys of many node numbers; raises InputError beyond the vocabulary."""
        wanted = np.asarray(numbers)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self._keys)):
            raise InputError(
                "no node has this number",
                expected=f"0 <= number < {len(self._keys)}",
                got=f"{wanted.min()} … {wanted.max()}",
            )
        return [self._keys[number] for number in wanted.tolist()]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)
