"""Forward decay: an event's weight counts in powers of two of its age, so that sums of weights are exact.

An event of kind weight v at time t weighs v·2^((t − t_ref) / half-life) (Cormode et al., "Forward Decay", ICDE 2009).
With t = (k + f) half-lives, k whole and 0 <= f < 1, the factor v·2^f is rounded to 12 significant bits, and
2^(k − k_ref) only moves the exponent. A float32 has 24 bits: sums of such terms are exact, hence independent of their
order, while the exponents of an edge's events stay within 12 of each other. Beyond that, the same log gives the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import numpy.typing as npt

REBASE_EXPONENT = 40  # half-lives beyond the reference at which the reference moves up
LARGEST_WEIGHT = 2.0**40  # with REBASE_EXPONENT, 2^47 events of an edge cannot overflow a float32


@njit(cache=True, nogil=True, error_model="numpy")
def contributions(
    weights: npt.NDArray[np.float64],
    timestamps: npt.NDArray[np.int64],
    half_life: float,
    reference: int,
    has_reference: bool,
) -> tuple[npt.NDArray[np.float32], int]:
    """Decayed weights of a batch in units of 2^k_ref, and the k_ref after it.

    The reference starts at the first event's k and jumps to that of any event more than REBASE_EXPONENT beyond it: it
    depends on the order of the log, never on how the log was cut into batches. `half_life` in microseconds, inf = none.
    """
    count = weights.size
    factors = np.empty(count, np.float32)
    exponents = np.empty(count, np.int64)
    for event in range(count):
        age = timestamps[event] / half_life
        exponent = math.floor(age)
        factors[event] = weights[event] * 2.0 ** (age - exponent)
        exponents[event] = exponent
        if not has_reference or exponents[event] - reference > REBASE_EXPONENT:
            reference = exponents[event]
            has_reference = True
    bits = factors.view(np.uint32)
    for event in range(count):
        bits[event] = (bits[event] + np.uint32(0x800)) & np.uint32(0xFFFFF000)
        factors[event] = math.ldexp(np.float64(factors[event]), max(exponents[event] - reference, -300))
    return factors, reference


@njit(cache=True, nogil=True, error_model="numpy")
def scale(weights: npt.NDArray[np.float32], exponent: int) -> None:
    """Multiply by a power of two in place: exact but for weights below 2^-126, which have no influence left."""
    factor = math.ldexp(1.0, max(exponent, -600))
    for position in range(weights.size):
        weights[position] = np.float32(np.float64(weights[position]) * factor)
