"""A user as known beside the graph: what somebody did in this session and no log has yet.

The live state is not touched. A view of it answers for one user's row as if the events of the session had been added
to that row: its vector, its walks, what it has seen and how long it has been idle follow. Items keep their vectors,
degrees and popularity, so a session costs what a question costs, and nobody else sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from graphrec.graph.interaction_graph import GraphArrays, InteractionGraph

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Row = tuple[Int32, Float32, Int64]  # items, effective weights, microseconds


class _OneRow:
    """A graph but for one user's row."""

    def __init__(self, graph: InteractionGraph, user: int, row: Row) -> None:
        self._graph, self._user, self._row = graph, user, row
        self.n_users = max(graph.n_users, user + 1)
        arrays = graph.arrays
        missing = self.n_users - graph.n_users
        if missing:  # kernels index arrays by user: one that is not there has a row of length zero
            nothing = np.zeros(missing, np.int64)
            arrays = arrays._replace(
                user_start=np.append(arrays.user_start, nothing),
                user_length=np.append(arrays.user_length, nothing.astype(arrays.user_length.dtype)),
            )
        self.arrays: GraphArrays = arrays

    def user_row(self, user: int) -> Row:
        return self._row if user == self._user else self._graph.user_row(user)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


class SessionRetriever(Retriever):
    """A retriever for one question, which knows one user by another row; shares everything else with the live one."""

    def __init__(self, live: Retriever, user: int, row: Row) -> None:
        self.__dict__.update(live.__dict__)
        self.graph = _OneRow(live.graph, user, row)  # type: ignore[assignment]
        self._user = user

    def query(self, user: int) -> Float32 | None:
        """The index query of the user's row; see `Retriever.query`."""
        if user != self._user or self.propagation is None or self.model is None or not self.has_history(user):
            return super().query(user)
        items, weights, _ = self.graph.user_row(user)
        vector = unit_rows(self.propagation.vector_of(items, weights)[None])[0]
        return np.append(self.model.scale * vector, np.float32(1)).astype(np.float32)


def with_session(live: Retriever, user: int, items: Sequence[int], weights: Sequence[float]) -> SessionRetriever:
    """The state as one user sees it after a session: items, oldest first, and the weights of their kinds.

    They count as happening at the time of the log's newest event, one after the other.
    """
    known = live.graph.user_row(user) if user < live.graph.n_users else _nobody()
    reference, now = live.graph.reference, live.recent.newest
    scale = 1.0 if reference is None else 2.0 ** (now / live.graph.half_life - reference)
    row = {item: (weight, moment) for item, weight, moment in zip(*(part.tolist() for part in known), strict=True)}
    for item, weight in zip(items, weights, strict=True):
        before, _ = row.pop(item, (0.0, 0))  # to the end of the row: of one time stamp the later is the newer
        row[item] = before + weight * scale, now
    together = np.array([weight for weight, _ in row.values()], np.float32)
    times = np.array([moment for _, moment in row.values()], np.int64)
    return SessionRetriever(live, user, (np.array(list(row), np.int32), np.maximum(together, 0), times))


def _nobody() -> Row:
    return np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64)
