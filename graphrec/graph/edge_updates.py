"""What an event does to the rows of both sides: the compiled loops behind InteractionGraph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from graphrec.errors import InputError
from graphrec.graph.block_pool import Rows, append, drop, find, has_room
from graphrec.graph.decay import LARGEST_WEIGHT

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    Int32 = npt.NDArray[np.int32]
    Int64 = npt.NDArray[np.int64]
    UInt32 = npt.NDArray[np.uint32]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

_INT32, _INT64, _FLOAT64 = np.dtype(np.int32), np.dtype(np.int64), np.dtype(np.float64)
MICROSECONDS = 1_000_000  # of a second: the edges keep whole seconds
_END_OF_TIME = 2**32 * MICROSECONDS


class GraphRows(NamedTuple):
    """Both sides of the graph as kernels write to them; beside the neighbours of a user run weights and times."""

    users: Rows
    weights: Float32
    times: UInt32  # whole seconds since 1970
    items: Rows


@njit(cache=True, nogil=True, error_model="numpy")
def first_bad(
    users: Int32, items: Int32, weights: Float64, timestamps: Int64, n_users: int, n_items: int
) -> tuple[int, int]:
    """Index of the first event out of range and which of its four fields it is, (-1, -1) if all are good."""
    for event in range(users.size):
        if not 0 <= users[event] < n_users:
            return event, 0
        if not 0 <= items[event] < n_items:
            return event, 1
        if not abs(weights[event]) <= LARGEST_WEIGHT:
            return event, 2
        if not 0 <= timestamps[event] < _END_OF_TIME:
            return event, 3
    return -1, -1


@njit(cache=True, nogil=True, error_model="numpy")
def add_edge(rows: GraphRows, user: int, item: int, weight: np.float32, timestamp: int) -> tuple[bool, np.float32]:
    """Apply one event: whether the pools had room (else nothing is changed), and its edge's change of weight."""
    zero = np.float32(0)
    time = np.uint32(timestamp // MICROSECONDS)
    position = find(rows.users, user, item)
    if position >= 0:
        before = rows.weights[position]
        after = before + weight
        rows.weights[position] = after
        rows.times[position] = max(rows.times[position], time)
        return True, max(after, zero) - max(before, zero)
    if not (has_room(rows.users, user) and has_room(rows.items, item)):
        return False, zero
    length, old = rows.users.length[user], rows.users.start[user]
    position = append(rows.users, user, item)
    new = rows.users.start[user]
    if new != old:
        for step in range(length):
            rows.weights[new + step] = rows.weights[old + step]
            rows.times[new + step] = rows.times[old + step]
    rows.weights[position] = weight
    rows.times[position] = time
    append(rows.items, item, user)
    return True, max(weight, zero)


@njit(cache=True, nogil=True, error_model="numpy")
def add(
    rows: GraphRows, users: Int32, items: Int32, weights: Float32, timestamps: Int64, deltas: Float32, event: int
) -> int:
    """Apply the events from `event` on; return which one needs a larger pool, or how many events there are."""
    while event < users.size:
        fits, delta = add_edge(rows, users[event], items[event], weights[event], timestamps[event])
        if not fits:
            return event
        deltas[event] = delta
        event += 1
    return event


@njit(cache=True, nogil=True, error_model="numpy")
def remove(rows: GraphRows, user: int, item: int) -> float:
    """Delete an edge from both rows; the effective weight it had, 0.0 if there is none."""
    position = find(rows.users, user, item)
    if position < 0:
        return 0.0
    weight = rows.weights[position]
    last = drop(rows.users, user, position)
    rows.weights[position] = rows.weights[last]
    rows.times[position] = rows.times[last]
    drop(rows.items, item, find(rows.items, item, user))
    return float(max(weight, np.float32(0)))


@njit(cache=True, nogil=True, error_model="numpy")
def sort_rows(indptr: Int64, items: Int32, weights: Float32, times: UInt32) -> None:
    """Sort each packed row by item number, in place."""
    for row in range(indptr.size - 1):
        start, end = indptr[row], indptr[row + 1]
        order = np.argsort(items[start:end])
        items[start:end] = items[start:end][order]
        weights[start:end] = weights[start:end][order]
        times[start:end] = times[start:end][order]


def checked_columns(
    users: Int32, items: Int32, weights: Float64, timestamps: Int64, n_users: int, n_items: int
) -> tuple[Int32, Int32, Float64, Int64]:
    """Return the columns of a batch, plain and contiguous.

    Raises InputError when one has another type or length, a node is beyond the graph, or a weight or time is out of
    range.
    """
    users, items, weights, timestamps = plain_columns(users, items, weights, timestamps)
    event, field = first_bad(users, items, weights, timestamps, n_users, n_items)
    if event >= 0:
        name, column, expected = (
            ("user", users, f"0 <= number < {n_users}; grow() comes first"),
            ("item", items, f"0 <= number < {n_items}; grow() comes first"),
            ("weight", weights, "a finite number, at most 2^40 in size"),
            ("timestamp", timestamps, "0 <= microseconds since 1970 < 2^32 seconds"),
        )[field]
        raise InputError(f"{name} of event {event} is out of range", expected=expected, got=str(column[event]))
    return users, items, weights, timestamps


def plain_columns(
    users: Int32, items: Int32, weights: Float64, timestamps: Int64
) -> tuple[Int32, Int32, Float64, Int64]:
    """Return the columns of a batch as the kernels are compiled for; raises InputError for a type or length."""
    size = np.size(users)
    return (
        _column("users", users, _INT32, size),
        _column("items", items, _INT32, size),
        _column("weights", weights, _FLOAT64, size),
        _column("timestamps", timestamps, _INT64, size),
    )


def _column(name: str, column: npt.NDArray[Any], dtype: np.dtype[Any], size: int) -> npt.NDArray[Any]:
    if not (isinstance(column, np.ndarray) and column.dtype == dtype and column.shape == (size,)):
        got = f"{column.dtype}{list(column.shape)}" if isinstance(column, np.ndarray) else type(column).__name__
        raise InputError(f"column {name} does not fit", expected=f"{dtype.name}[{size}]", got=got)
    # A read-only or strided array would cost a second compilation.
    return column if column.flags.carray else column.copy()
