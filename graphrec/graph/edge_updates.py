"""What an event does to the rows of both sides: the compiled loops behind InteractionGraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

MICROSECONDS = 1_000_000  # of a second: the edges keep whole seconds
_END_OF_TIME = 2**32 * MICROSECONDS


@njit(cache=True, nogil=True, error_model="numpy")
def _first_bad(
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
def add(
    user_rows: Rows,
    user_weights: Float32,
    user_times: UInt32,
    item_rows: Rows,
    users: Int32,
    items: Int32,
    weights: Float32,
    timestamps: Int64,
    deltas: Float32,
    event: int,
) -> int:
    """Apply the events from `event` on; return which one needs a larger pool, or how many events there are."""
    zero = np.float32(0)
    while event < users.size:
        user, item, weight = users[event], items[event], weights[event]
        time = np.uint32(timestamps[event] // MICROSECONDS)
        position = find(user_rows, user, item)
        if position >= 0:
            before = user_weights[position]
            after = before + weight
            user_weights[position] = after
            user_times[position] = max(user_times[position], time)
            deltas[event] = max(after, zero) - max(before, zero)
        else:
            if not (has_room(user_rows, user) and has_room(item_rows, item)):
                return event
            length, old = user_rows.length[user], user_rows.start[user]
            position = append(user_rows, user, item)
            new = user_rows.start[user]
            if new != old:
                for step in range(length):
                    user_weights[new + step] = user_weights[old + step]
                    user_times[new + step] = user_times[old + step]
            user_weights[position] = weight
            user_times[position] = time
            append(item_rows, item, user)
            deltas[event] = max(weight, zero)
        event += 1
    return event


@njit(cache=True, nogil=True, error_model="numpy")
def remove(user_rows: Rows, user_weights: Float32, user_times: UInt32, item_rows: Rows, user: int, item: int) -> float:
    """Delete an edge from both rows; the effective weight it had, 0.0 if there is none."""
    position = find(user_rows, user, item)
    if position < 0:
        return 0.0
    weight = user_weights[position]
    last = drop(user_rows, user, position)
    user_weights[position] = user_weights[last]
    user_times[position] = user_times[last]
    drop(item_rows, item, find(item_rows, item, user))
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
    users = _column("users", users, np.int32, np.size(users))
    items = _column("items", items, np.int32, users.size)
    weights = _column("weights", weights, np.float64, users.size)
    timestamps = _column("timestamps", timestamps, np.int64, users.size)
    event, field = _first_bad(users, items, weights, timestamps, n_users, n_items)
    if event >= 0:
        name, column, expected = (
            ("user", users, f"0 <= number < {n_users}; grow() comes first"),
            ("item", items, f"0 <= number < {n_items}; grow() comes first"),
            ("weight", weights, "a finite number, at most 2^40 in size"),
            ("timestamp", timestamps, "0 <= microseconds since 1970 < 2^32 seconds"),
        )[field]
        raise InputError(f"{name} of event {event} is out of range", expected=expected, got=str(column[event]))
    return users, items, weights, timestamps


def _column(name: str, column: npt.NDArray[Any], dtype: type[np.generic], size: int) -> npt.NDArray[Any]:
    if not (isinstance(column, np.ndarray) and column.dtype == dtype and column.shape == (size,)):
        got = f"{column.dtype}{list(column.shape)}" if isinstance(column, np.ndarray) else type(column).__name__
        raise InputError(f"column {name} does not fit", expected=f"{np.dtype(dtype).name}[{size}]", got=got)
    # The kernels are compiled for plain arrays only; a read-only or strided one would cost a second compilation.
    return column if column.flags.carray else column.copy()
