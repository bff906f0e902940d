"""Rows that grow in place: blocks of half-doubling sizes cut from one pool, free blocks chained through themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

_GROWTH = 1.5


class Rows(NamedTuple):
    """What a kernel needs to know of the rows of one side of the graph."""

    start: npt.NDArray[np.int64]  # first position of a node's block in the pool
    length: npt.NDArray[np.int32]  # neighbours of a node
    size_class: npt.NDArray[np.int8]  # of its block, -1 = none
    free: npt.NDArray[np.int64]  # first free block of a class, -1 = none
    used: npt.NDArray[np.int64]  # [positions cut into blocks, positions that hold a neighbour]
    neighbours: npt.NDArray[np.int32]  # the pool


@njit(cache=True, nogil=True, error_model="numpy")
def block_size(size_class: int) -> int:
    """4, 6, 8, 12, 16, 24, 32 … positions; always even, so that an int64 link fits a block's first two."""
    return int((4 + 2 * (size_class & 1)) << (size_class >> 1))


_BLOCK_SIZES = np.array([0, *((4 + 2 * (size_class & 1)) << (size_class >> 1) for size_class in range(60))])


@njit(cache=True, nogil=True, error_model="numpy")
def find(rows: Rows, node: int, neighbour: int) -> int:
    """Position of a neighbour in a node's row, -1 if it is not there."""
    neighbours = rows.neighbours
    position = rows.start[node]
    end = position + rows.length[node]
    # A loop that may leave early does not vectorise: test 32 at once, then look closer.
    while position + 32 <= end:
        hit = False
        for step in range(32):
            hit |= neighbours[position + step] == neighbour
        if hit:
            break
        position += 32
    while position < end:
        if neighbours[position] == neighbour:
            return int(position)
        position += 1
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def has_room(rows: Rows, node: int) -> bool:
    """Whether `append` can take one more neighbour without a larger pool."""
    size_class = rows.size_class[node]
    if size_class >= 0 and rows.length[node] < block_size(size_class):
        return True
    return bool(rows.free[size_class + 1] >= 0 or rows.used[0] + block_size(size_class + 1) <= rows.neighbours.size)


@njit(cache=True, nogil=True, error_model="numpy")
def append(rows: Rows, node: int, neighbour: int) -> int:
    """Add a neighbour and return its position; a full row moves to a block of the next class first."""
    length = rows.length[node]
    size_class = rows.size_class[node]
    if size_class < 0 or length == block_size(size_class):
        links = rows.neighbours.view(np.int64)
        old = rows.start[node]
        new = rows.free[size_class + 1]
        if new >= 0:
            rows.free[size_class + 1] = links[new >> 1]
        else:
            new = rows.used[0]
            rows.used[0] += block_size(size_class + 1)
        for step in range(length):
            rows.neighbours[new + step] = rows.neighbours[old + step]
        if size_class >= 0:
            links[old >> 1] = rows.free[size_class]
            rows.free[size_class] = old
        rows.start[node] = new
        rows.size_class[node] = size_class + 1
    position = rows.start[node] + length
    rows.neighbours[position] = neighbour
    rows.length[node] = length + 1
    rows.used[1] += 1
    return int(position)


@njit(cache=True, nogil=True, error_model="numpy")
def drop(rows: Rows, node: int, position: int) -> int:
    """Overwrite a neighbour by the last of its row and return where that was; an emptied row gives its block back."""
    last = rows.start[node] + rows.length[node] - 1
    rows.neighbours[position] = rows.neighbours[last]
    rows.length[node] -= 1
    rows.used[1] -= 1
    if rows.length[node] == 0:
        size_class = rows.size_class[node]
        rows.neighbours.view(np.int64)[rows.start[node] >> 1] = rows.free[size_class]
        rows.free[size_class] = rows.start[node]
        rows.size_class[node] = -1
    return int(last)


@njit(cache=True, nogil=True, error_model="numpy")
def _copy_rows(
    length: npt.NDArray[np.int32],
    old_start: npt.NDArray[np.int64],
    old: npt.NDArray[Any],
    new_start: npt.NDArray[np.int64],
    new: npt.NDArray[Any],
) -> None:
    for node in range(length.size):
        for step in range(length[node]):
            new[new_start[node] + step] = old[old_start[node] + step]


class BlockPool:
    """The rows of one side of the graph: neighbours, and columns that run beside them position by position.

    A full pool is copied into one half as large again, between kernel calls. Since all rows move then, they move
    together: in order of their nodes, each in the smallest block that holds it, without free blocks between them.
    """

    def __init__(self, dtypes: Sequence[npt.DTypeLike] = ()) -> None:
        self.columns: list[npt.NDArray[Any]] = [np.empty(0, dtype) for dtype in dtypes]
        self.n_nodes = 0
        self.rows = Rows(
            start=np.zeros(0, np.int64),
            length=np.zeros(0, np.int32),
            size_class=np.zeros(0, np.int8),
            free=np.full(_BLOCK_SIZES.size - 1, -1, np.int64),
            used=np.zeros(2, np.int64),
            neighbours=np.empty(0, np.int32),
        )

    @property
    def nbytes(self) -> int:
        """Bytes that nodes and blocks occupy; room reserved ahead has not been touched and does not count."""
        position = 4 + sum(column.itemsize for column in self.columns)
        return 13 * self.n_nodes + position * int(self.rows.used[0])

    def grow(self, n_nodes: int) -> None:
        """Have at least `n_nodes` nodes; new ones have no neighbours."""
        self.n_nodes = max(self.n_nodes, n_nodes)
        if self.n_nodes > self.rows.length.size:
            more = max(self.n_nodes, int(_GROWTH * self.rows.length.size)) - self.rows.length.size
            self.rows = self.rows._replace(
                start=np.concatenate([self.rows.start, np.zeros(more, np.int64)]),
                length=np.concatenate([self.rows.length, np.zeros(more, np.int32)]),
                size_class=np.concatenate([self.rows.size_class, np.full(more, -1, np.int8)]),
            )

    def make_room(self, node: int) -> None:
        """Make the pool large enough for one more neighbour of a node."""
        if not has_room(self.rows, node):
            self._repack(block_size(int(self.rows.size_class[node]) + 1))

    def packed(self) -> tuple[npt.NDArray[np.int32], list[npt.NDArray[Any]]]:
        """Copy the neighbours and each column without gaps, row after row."""
        length, start = self.rows.length, self.rows.start
        packed_start = np.cumsum(length, dtype=np.int64) - length
        parts = []
        for column in (self.rows.neighbours, *self.columns):
            parts.append(np.empty(int(self.rows.used[1]), column.dtype))
            _copy_rows(length, start, column, packed_start, parts[-1])
        return parts[0], parts[1:]

    def fill(
        self,
        length: npt.NDArray[np.int32],
        neighbours: npt.NDArray[np.int32],
        columns: Sequence[npt.NDArray[Any]],
    ) -> None:
        """Take over packed rows, of which it keeps copies, into a pool without nodes."""
        self.grow(length.size)
        self.rows.start[:] = np.cumsum(length, dtype=np.int64) - length
        self.rows.length[:] = length
        self.rows.used[1] = neighbours.size
        self.rows = self.rows._replace(neighbours=neighbours)
        self.columns = list(columns)
        self._repack(0)

    def _repack(self, room: int) -> None:
        length, old_start = self.rows.length, self.rows.start
        size_class = np.searchsorted(_BLOCK_SIZES, length) - 1
        sizes = _BLOCK_SIZES[size_class + 1]
        start = np.cumsum(sizes) - sizes
        used = int(sizes.sum())
        capacity = max(used + room, int(_GROWTH * used)) & ~1
        moved = []
        for column in (self.rows.neighbours, *self.columns):
            moved.append(np.empty(capacity, column.dtype))
            _copy_rows(length, old_start, column, start, moved[-1])
        self.columns = moved[1:]
        self.rows.free[:] = -1
        self.rows.used[0] = used
        self.rows = self.rows._replace(start=start, size_class=size_class.astype(np.int8), neighbours=moved[0])
