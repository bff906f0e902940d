"""Spectral coordinates of items in closed form: the ID table that needs no gradient, with fold-in for new nodes.

The coordinates are the leading right singular vectors of the degree-normalised interaction matrix
`A = Du^-p R Di^-q`, found by randomised block power iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4)
with Cholesky-QR as the orthonormalisation (Yamamoto et al. 2015): two small matrix products instead of a Householder
QR, an order of magnitude cheaper on tall blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FloatMatrix = NDArray[np.float32]

# p and q. Below one half for both, long histories and popular items keep some of their weight.
USER_EXPONENT, ITEM_EXPONENT = 0.375, 0.45

_RANK_TOLERANCE = 1e-5  # of the largest singular value: what float32 products cannot tell from zero
_GRAM_ROWS = 16_384  # at once in float64
_START_NOISE = 1e-3  # beside vectors to start from: lets in what is orthogonal to them, as padded columns are


@dataclass(frozen=True)
class SpectralBasis:
    """The `k` leading singular triplets of the normalised interaction matrix.

    Attributes:
        users: left vectors U, float32 (n_users, k).
        items: right vectors V, float32 (n_items, k): the items' coordinates. Every kept direction counts alike.
        values: singular values, float32 (k,), falling.
    """

    users: FloatMatrix
    items: FloatMatrix
    values: NDArray[np.float32]


def known_rows(vectors: FloatMatrix, numbers: NDArray[np.integer]) -> FloatMatrix:
    """Rows of some items, float32 (len(numbers), k); zero for an item that came after the decomposition."""
    rows: FloatMatrix = np.zeros((len(numbers), vectors.shape[1]), np.float32)
    known = numbers < len(vectors)
    rows[known] = vectors[numbers[known]]
    return rows


def normalised(interactions: csr_matrix) -> csr_matrix:
    """`Du^-p R Di^-q` with degrees counted as row and column sums; empty rows and columns stay empty."""
    from scipy.sparse import diags

    user_degrees = np.asarray(interactions.sum(axis=1)).ravel()
    item_degrees = np.asarray(interactions.sum(axis=0)).ravel()
    left = np.where(user_degrees > 0, user_degrees, np.inf) ** -USER_EXPONENT
    right = np.where(item_degrees > 0, item_degrees, np.inf) ** -ITEM_EXPONENT
    return (diags(left) @ interactions @ diags(right)).tocsr().astype(np.float32)


def cholesky_qr(block: FloatMatrix) -> FloatMatrix:
    """Orthonormal basis of the columns of a tall block (n, k), by two rounds of Cholesky-QR.

    One round loses orthogonality with the square of the condition number; the second restores it (CholeskyQR2).
    Directions that are numerically dependent get a tiny ridge instead of failing, and end shorter than one.
    """
    for _ in range(2):
        gram = _gram(block)
        ridge = 1e-10 * max(float(np.trace(gram)), 1e-30)
        factor = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
        block = np.ascontiguousarray(block @ np.linalg.inv(factor).T.astype(np.float32))
    return block


def spectral_basis(
    matrix: csr_matrix,
    dimensions: int,
    *,
    iterations: int = 3,
    oversample: int = 16,
    seed: int = 0,
    start: FloatMatrix | None = None,
) -> SpectralBasis:
    """Leading `dimensions` singular triplets of a sparse matrix (n_users, n_items).

    A matrix of smaller rank gives zero columns, so that the shape never depends on the data. Signs are fixed (the
    largest entry of each item vector is positive): the result is a function of matrix, seed and start.

    start: right vectors (n, k) of an earlier matrix of fewer items at most, from which one iteration is enough.
    """
    n_users, n_items = matrix.shape
    width = min(dimensions + oversample, n_users, n_items)
    users = np.zeros((n_users, dimensions), np.float32)
    items = np.zeros((n_items, dimensions), np.float32)
    values = np.zeros(dimensions, np.float32)
    if width == 0 or matrix.nnz == 0:
        return SpectralBasis(users, items, values)

    transposed = matrix.T.tocsr()
    block = np.random.default_rng(seed).standard_normal((n_items, width), dtype=np.float32)
    if start is not None:
        kept = start[:, :width]
        block /= np.float32(np.sqrt(n_items))  # of length one, as the vectors beside them
        block[:, : kept.shape[1]] *= np.float32(_START_NOISE)
        block[: len(kept), : kept.shape[1]] += kept
    for _ in range(iterations):
        block = cholesky_qr(transposed @ cholesky_qr(matrix @ block))

    # Rayleigh-Ritz: within the block, the exact singular vectors of the projected matrix.
    projected = matrix @ block
    squares, rotation = np.linalg.eigh(_gram(projected))
    order = np.argsort(squares)[::-1][:dimensions]
    found = np.sqrt(np.maximum(squares[order], 0.0))
    kept = found > _RANK_TOLERANCE * max(float(found[0]), 1e-30)
    order, found = order[kept], found[kept]
    right = block @ rotation[:, order].astype(np.float32)
    right *= np.sign(right[np.abs(right).argmax(axis=0), np.arange(len(order))])
    items[:, : len(order)] = right
    values[: len(order)] = found
    users[:, : len(order)] = (matrix @ right) / found.astype(np.float32)
    return SpectralBasis(users, items, values)


def _gram(block: FloatMatrix) -> NDArray[np.float64]:
    """`B'B` in float64: in float32 its rounding alone would turn a dependent direction's eigenvalue negative."""
    gram = np.zeros((block.shape[1], block.shape[1]))
    for start in range(0, len(block), _GRAM_ROWS):
        part = block[start : start + _GRAM_ROWS].astype(np.float64)
        gram += part.T @ part
    return gram


def drift(matrix: csr_matrix, basis: SpectralBasis) -> float:
    """How far a matrix (n_users, n_items) may have turned away from the basis of an earlier one.

    Wedin's bound (1972) on ‖sin Θ‖_F between the leading half of the old directions and the present leading k: the
    residuals ‖A V - U S‖_F and ‖A' U - V S‖_F over the gap s_(k/2) - s_(k+1). The old s_k stands for the present
    s_(k+1), which only a decomposition would tell. Infinite where there is no gap.
    """
    n_users, n_items = len(basis.users), len(basis.items)
    rank = int(np.count_nonzero(basis.values))
    half = -(-rank // 2)
    if half == 0 or not basis.values[half - 1] > basis.values[rank - 1]:
        return float("inf")
    left, right, values = basis.users[:, :half], basis.items[:, :half], basis.values[:half]
    known = matrix[:n_users]
    later = np.linalg.norm(matrix[n_users:][:, :n_items] @ right)
    rows = np.linalg.norm(known[:, :n_items] @ right - left * values)
    columns = np.linalg.norm((known.T @ left)[:n_items] - right * values)
    new = np.linalg.norm((known.T @ left)[n_items:])
    residual = max(np.hypot(rows, later), np.hypot(columns, new))
    return float(np.sqrt(2) * residual / (basis.values[half - 1] - basis.values[rank - 1]))


def turn(new: FloatMatrix, old: FloatMatrix) -> FloatMatrix:
    """The rotation Q (k, k) that brings coordinates `new` (n, k) closest to `old`, in least squares: new Q ≈ old.

    Orthogonal Procrustes (Schönemann 1966). Singular vectors of a matrix that moved a little may have turned a lot
    among themselves, wherever singular values are close.
    """
    left, _, right = np.linalg.svd(new.T.astype(np.float64) @ old)
    rotation: FloatMatrix = (left @ right).astype(np.float32)
    return rotation


def fold_in(columns: csr_matrix, basis: SpectralBasis) -> FloatMatrix:
    """Right vectors of items that were not in the decomposed matrix: `V_new = A_new' U / S`.

    Args:
        columns: their normalised columns as rows, sparse (n_new, n_users).
        basis: the decomposition to fold into.

    Returns:
        float32 (n_new, k). For an item of the decomposed matrix this is its own right vector.
    """
    inverse = np.divide(1.0, basis.values, out=np.zeros_like(basis.values), where=basis.values > 0)
    return np.ascontiguousarray((columns @ basis.users) * inverse, dtype=np.float32)


def fold_in_items(
    indptr: NDArray[np.int64],
    items: NDArray[np.int32],
    weights: NDArray[np.float32],
    missing: NDArray[np.int64],
    users: FloatMatrix,
    values: NDArray[np.float32],
) -> FloatMatrix:
    """Right vectors of items that came after the decomposition, from a graph in CSR form by user.

    Args:
        indptr, items, weights: edges; only those of positive weight and of users of the decomposition count.
        missing: the item numbers wanted, (m,).
        users, values: left vectors (n, k) and singular values (k,) of the decomposition.

    Returns:
        float32 (m, k); a zero row for an item without such an edge.
    """
    from scipy.sparse import csr_matrix

    n_items = int(max(items.max(initial=-1), missing.max(initial=-1))) + 1
    positive = (weights > 0).astype(np.float32)
    edges = csr_matrix((positive, items, indptr), shape=(len(indptr) - 1, n_items), copy=True)
    edges.eliminate_zeros()  # works in place, hence the copy
    known = min(len(users), edges.shape[0])
    columns = normalised(edges)[:known].T.tocsr()[missing]
    basis = SpectralBasis(users[:known], np.zeros((0, users.shape[1]), np.float32), values)
    return fold_in(columns, basis)
