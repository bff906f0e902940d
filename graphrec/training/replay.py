"""Which older events an update shows again, so that what is new does not replace what was learned.

Three ways to draw them, which the literature on continual graph learning compares: as they come (uniform in time),
those of rare items more often (the inverse of the item's degree), those of late more often (recency). The drawn events
are asked as all others are, from the graph as it was before them: they lie in a few windows of the older log, each
asked at its beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.events.interactions import Interactions

    Float64 = NDArray[np.float64]
    Int64 = NDArray[np.int64]
    Kind = Literal["uniform", "inverse_degree", "recency"]

_FIRST = 0.3  # share of the older log before which no graph says much
_WINDOWS = 7  # of equal numbers of events, after that


class Shown(NamedTuple):
    """Events of one window, to be asked before it: its first position, and the drawn positions, int64, ascending."""

    moment: int
    positions: Int64


def replay_weights(old: Interactions, kind: Kind, half_life: float) -> Float64:
    """How likely each older event is drawn, float64 (m,), of sum one; `old` in the order of time.

    half_life: of recency, as a share of the log. Events that take away are never drawn.
    """
    if kind == "inverse_degree":
        weights = 1.0 / np.maximum(np.bincount(old.items, minlength=old.n_items), 1)[old.items]
    elif kind == "recency":
        weights = np.exp2((np.arange(len(old)) - len(old)) / (half_life * max(len(old), 1)))
    else:
        weights = np.ones(len(old))
    weights = np.where(old.weights > 0, weights, 0.0)
    weights[: int(_FIRST * len(old))] = 0
    total: float = weights.sum()
    return weights / total if total else weights


def replayed(
    old: Interactions, kind: Kind, count: int, windows: int, half_life: float, rng: np.random.Generator
) -> list[Shown]:
    """Draw about `count` older events in at most so many windows; nothing from a log that is too short.

    A window is drawn by the weight of its events, and its events by theirs: together each has its own. No event twice.
    """
    weights = replay_weights(old, kind, half_life)
    first = int(_FIRST * len(old))
    places = [place for place in np.array_split(np.arange(first, len(old)), _WINDOWS) if weights[place].any()]
    if not places or count < 1 or windows < 1:
        return []
    totals = np.array([weights[place].sum() for place in places])
    windows = min(windows, len(places))
    chosen = np.sort(rng.choice(len(places), windows, replace=False, p=totals / totals.sum()))
    shown = []
    for place in (places[number] for number in chosen):
        shares = weights[place] / weights[place].sum()
        size = min(-(-count // windows), int(np.count_nonzero(shares)))
        shown.append(Shown(int(place[0]), np.sort(rng.choice(place, size, replace=False, p=shares))))
    return shown
