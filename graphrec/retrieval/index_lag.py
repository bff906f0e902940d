"""How far a row may fall behind in the vector index, and the compiled loops that tell which rows have.

An exact row is (v, b), the index shows it as (scale v', b'), and `shift` is what all biases have changed by in common
since. Everything rests on one invariant, in units of the score:

    scale |v - v'| + (b - b' - shift) <= 0

where `scale` is the length of a query's vector for a popularity that counts once. It is in the rows, and not in the
queries, so that cells lie around rows that score alike.

A row is shown with a bias that is too high by a slack, which its later moves may use up: a move of its vector or a rise
in popularity, and a fall in popularity pays for either. So no row scores higher than it is shown (index_view.py),
however unevenly the slack is spread, and it is spread where it costs least: an item that few know moves far with every
event, and is far from any list with popularity in its score; an item that everybody knows hardly moves. Slack makes
places in the answers of the index go to rows that do not deserve them, so a row that is shown much too high is written
anew, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

_TOP = 0.99  # an item that everybody knows: its popularity is above that of such a share of all
_SHIFT = 0.7  # of the changes of all biases, this quantile is what they have in common
_ROUNDING = 1.0 + 1e-5  # of a length summed in float32 over some hundred dimensions
_SUMS = {"reassoc", "contract", "nsz"}  # sums in any order, which is what makes them fast; NaN stays NaN


class Lag(NamedTuple):
    """What a row may lag behind, in units of the score."""

    scale: float
    least: float  # slack of any row
    share: float  # of what a row lacks in popularity to the top, as further slack
    fall: float  # beyond its slack, a row is shown too high by at most so much
    top: float = 0.0  # bias of an item that everybody knows

    def below(self, biases: Float32) -> Lag:
        """The same among items of these biases."""
        if not len(biases):
            return self
        place = int(_TOP * (len(biases) - 1))
        return self._replace(top=float(np.partition(biases, place)[place]))

    def shown(self, vectors: Float32, biases: Float32, shift: float) -> Float32:
        """How the index is to show rows, float32 (n, d + 1); biases rounded up."""
        slack = self.least + self.share * np.maximum(self.top - biases.astype(np.float64), 0.0)
        lifted = np.nextafter((biases + slack - shift).astype(np.float32), np.float32(np.inf))
        return np.column_stack([np.float32(self.scale) * vectors, lifted])


def common_change(changes: Float32) -> float:
    """What changes of biases have in common.

    All biases fade alike but for items that nobody knows, whose logarithm has a floor. A shift that follows the many
    who fade less leaves the others shown a little too high, which writes nothing; the reverse would write many.
    """
    if not len(changes):
        return 0.0
    place = int(_SHIFT * (len(changes) - 1))
    return float(np.partition(changes, place)[place])


@njit(cache=True, nogil=True)
def outgrown(numbers, biases, shown_biases, moves, hidden, known, shift, lag):  # type: ignore[no-untyped-def]
    """Items (by number) that the index must not go on showing as it does, and the largest slack of the others.

    biases: exact ones of these items. hidden: of all items, whom the index does not show anyway, nor any from `known`
    on.
    """
    far = np.empty(numbers.size, np.int32)
    n_far, largest = 0, 0.0
    for t in range(numbers.size):
        number = numbers[t]
        if number >= known or hidden[number]:
            continue
        bias = np.float64(biases[t])
        slack = np.float64(shown_biases[number]) + shift - bias
        most = lag.least + lag.share * max(lag.top - bias, 0.0) + lag.fall
        if moves[number] <= slack <= most:
            largest = max(largest, slack)
        else:
            far[n_far] = number
            n_far += 1
    return far[:n_far].copy(), largest


@njit(cache=True, nogil=True, fastmath=_SUMS)
def compare(numbers, rows, places, directions, shown, shown_places, moves, scale, exact, old):  # type: ignore[no-untyped-def]
    """How far the new vectors of these items, rows[place], are from what the index shows of them, into `moves`.

    moves: float32 (n_items,), in units of the score. A place beyond the shown rows, float32 (s, d + 1), says that there
    is nothing to compare with. Copies what the items have been until now into `old`, float32 (m, d). Returns what the
    rows are to be multiplied by, (m,): 1, unless only `directions` count, whose length is one; and the length of the
    longest.
    """
    inverses = np.ones(numbers.size, np.float32)
    longest = np.float32(0.0)
    for t in range(numbers.size):
        number, place, shown_place = numbers[t], places[t], shown_places[t]
        square = np.float32(0.0)
        for k in range(rows.shape[1]):
            square += rows[place, k] * rows[place, k]
            old[t, k] = exact[number, k]
        if directions and square > 0:
            inverses[t] = np.float32(1.0) / np.sqrt(square)
        longest = max(longest, np.sqrt(square) * inverses[t])
        if shown_place >= shown.shape[0]:
            continue
        factor, total = inverses[t] * np.float32(scale), np.float32(0.0)
        for k in range(rows.shape[1]):
            difference = rows[place, k] * factor - shown[shown_place, k]
            total += difference * difference
        moves[number] = _ROUNDING * np.sqrt(total)
    return inverses, longest


@njit(cache=True, nogil=True)
def overwrite(numbers, rows, places, inverses, biases, exact, exact_biases):  # type: ignore[no-untyped-def]
    """Exact rows of these items: rows[place] times a number, and the bias."""
    for t in range(numbers.size):
        number, place, inverse = numbers[t], places[t], inverses[t]
        for k in range(rows.shape[1]):
            exact[number, k] = rows[place, k] * inverse
        exact_biases[number] = biases[t]
