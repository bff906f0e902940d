"""The arrays that a graph is saved as, and the checks before they become a graph again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy.typing as npt

    Int32 = npt.NDArray[np.int32]

_STATE = {
    "half_life": np.float64,  # [microseconds], inf = no decay
    "reference": np.int64,  # [k_ref], or nothing while there has been no event
    "user_length": np.int32,
    "user_neighbours": np.int32,
    "user_weights": np.float32,
    "user_times": np.uint32,
    "item_length": np.int32,
    "item_neighbours": np.int32,
}


def checked_state(arrays: Mapping[str, npt.NDArray[Any]], half_life: float) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a saved graph.

    Raises InputError if they are incomplete, contradict each other or decay with another half-life.
    """
    state = {name: np.asarray(arrays[name], dtype) for name, dtype in _STATE.items() if name in arrays}
    if len(state) < len(_STATE):
        raise InputError("the graph's state is incomplete", expected=", ".join(_STATE), got=", ".join(arrays))
    if state["half_life"].tolist() != [half_life]:
        raise InputError(
            "the graph was saved with another half-life, and weights cannot be aged again",
            expected=f"{half_life} microseconds",
            got=f"{state['half_life'].tolist()}",
            way_out="build the graph again from the event log",
        )
    edges = state["user_neighbours"].size
    if not (
        _agree(state["user_length"], state["user_neighbours"], state["item_length"])
        and _agree(state["item_length"], state["item_neighbours"], state["user_length"])
        and state["user_weights"].size == state["user_times"].size == edges
        and state["reference"].size in ((1,) if edges else (0, 1))
    ):
        raise InputError("the graph's state contradicts itself", expected="rows of both sides that name the same edges")
    return state


def _agree(length: Int32, neighbours: Int32, other_length: Int32) -> bool:
    """Whether rows are as long as said and name every node of the other side as often as that has neighbours."""
    if (length.size and length.min() < 0) or int(length.sum(dtype=np.int64)) != neighbours.size:
        return False
    if neighbours.size and not (neighbours.min() >= 0 and neighbours.max() < other_length.size):
        return False
    return bool(np.array_equal(np.bincount(neighbours, minlength=other_length.size), other_length))
