from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from graphrec.embedding import spectral
from graphrec.embedding.spectral import (
    ITEM_EXPONENT,
    USER_EXPONENT,
    SpectralBasis,
    cholesky_qr,
    drift,
    fold_in,
    fold_in_items,
    known_rows,
    normalised,
    spectral_basis,
    turn,
)
from graphrec.graph.interaction_graph import InteractionGraph

WORLDS = [(60, 40, 0.2), (40, 60, 0.2), (300, 50, 0.05), (12, 9, 0.5)]


def interactions(n_users: int, n_items: int, density: float, seed: int = 0) -> csr_matrix:
    rng = np.random.default_rng(seed)
    return csr_matrix((rng.random((n_users, n_items)) < density).astype(np.float32))


def rebuilt(basis: spectral.SpectralBasis) -> NDArray[np.float64]:
    return np.asarray((basis.users * basis.values) @ basis.items.T, np.float64)


def test_normalised_by_hand() -> None:
    matrix = csr_matrix(np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]], np.float32))
    active = 2**-USER_EXPONENT  # of both users: degree 2
    expected = active * np.array([[1, 3**-ITEM_EXPONENT, 0], [0, 2 * 3**-ITEM_EXPONENT, 0], [0, 0, 0]])
    found = normalised(matrix).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("condition", [1, 1e2, 1e4, 1e6])
def test_cholesky_qr_is_orthonormal_and_spans_the_block(condition: float) -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 20)))[0] for n in (20_000, 20))
    block = ((left * np.geomspace(1, 1 / condition, 20)) @ right.T).astype(np.float32)
    basis = cholesky_qr(block)
    assert basis.dtype == np.float32
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=2e-6)
    np.testing.assert_allclose(basis @ (basis.T @ block), block, atol=2e-6)


def test_cholesky_qr_survives_dependent_columns() -> None:
    column = np.random.default_rng(0).standard_normal((50, 1), dtype=np.float32)
    for block in (np.hstack([column, column, 2 * column]), np.zeros((50, 3), np.float32)):
        basis = cholesky_qr(block)
        assert np.isfinite(basis).all()
        assert np.linalg.norm(basis, 2) <= 1 + 1e-6
        np.testing.assert_allclose(basis @ (basis.T @ block), block, atol=1e-4)


@pytest.mark.parametrize("world", WORLDS)
def test_equals_the_exact_decomposition(world: tuple[int, int, float]) -> None:
    matrix = normalised(interactions(*world))
    left, values, right = np.linalg.svd(matrix.toarray().astype(np.float64), full_matrices=False)
    basis = spectral_basis(matrix, 8, iterations=30)
    np.testing.assert_allclose(basis.values, values[:8], atol=1e-5)
    assert (np.diff(basis.values) <= 0).all()
    # The subspace, not the vectors: within equal singular values these are free.
    np.testing.assert_allclose(rebuilt(basis), (left[:, :8] * values[:8]) @ right[:8], atol=2e-4)
    np.testing.assert_allclose(basis.items.T @ basis.items, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(basis.users.T @ basis.users, np.eye(8), atol=1e-4)


def test_few_iterations_are_close() -> None:
    matrix = normalised(interactions(300, 200, 0.05))
    exact = np.linalg.svd(matrix.toarray(), compute_uv=False)[:16]
    np.testing.assert_allclose(spectral_basis(matrix, 16).values, exact, rtol=0.05)  # a flat spectrum, the hardest


@given(
    shape=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    density=st.sampled_from([0.02, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_any_rank_will_do(shape: tuple[int, int], density: float, seed: int) -> None:
    matrix = normalised(interactions(*shape, density, seed))
    dense = matrix.toarray().astype(np.float64)
    rank = int(np.linalg.matrix_rank(dense, tol=1e-5)) if matrix.nnz else 0
    basis = spectral_basis(matrix, 30)
    assert (basis.users.shape, basis.items.shape, basis.values.shape) == ((shape[0], 30), (shape[1], 30), (30,))
    assert np.count_nonzero(basis.values) == rank
    assert not basis.items[:, rank:].any()
    assert not basis.users[:, rank:].any()
    np.testing.assert_allclose(rebuilt(basis), dense, atol=1e-4)


def test_later_items_have_a_zero_row() -> None:
    vectors = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    rows = known_rows(vectors, np.array([2, 3, 0, 99, 2]))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[5, 6], [0, 0], [1, 2], [0, 0], [5, 6]]
    rows[0] = 0
    assert vectors[2].tolist() == [5, 6]  # a copy
    assert known_rows(vectors[:0], np.array([0, 1])).tolist() == [[0, 0], [0, 0]]
    assert known_rows(vectors, np.zeros(0, np.int32)).shape == (0, 2)


@pytest.mark.parametrize("shape", list(product([0, 3], [0, 4])))
def test_nothing_to_decompose(shape: tuple[int, int]) -> None:
    basis = spectral_basis(csr_matrix(shape, dtype=np.float32), 5)
    assert (basis.users.shape, basis.items.shape) == ((shape[0], 5), (shape[1], 5))
    assert not basis.values.any()
    assert not basis.items.any()


def test_a_function_of_matrix_and_seed() -> None:
    matrix = normalised(interactions(60, 40, 0.2))
    basis, again = spectral_basis(matrix, 8), spectral_basis(matrix, 8)
    for name in ("users", "items", "values"):
        np.testing.assert_array_equal(getattr(basis, name), getattr(again, name))
    other = spectral_basis(matrix, 8, iterations=30, seed=7)
    settled = spectral_basis(matrix, 8, iterations=30)
    np.testing.assert_allclose(other.items, settled.items, atol=1e-3)  # so the signs are fixed as well
    largest = np.abs(basis.items).argmax(axis=0)
    assert (basis.items[largest, np.arange(8)] > 0).all()


def test_the_gram_matrix_is_summed_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "_GRAM_ROWS", 7)
    block = np.random.default_rng(0).standard_normal((50, 4), dtype=np.float32)
    np.testing.assert_allclose(cholesky_qr(block).T @ cholesky_qr(block), np.eye(4), atol=1e-6)


def test_an_item_folds_in_to_its_own_vector() -> None:
    matrix = normalised(interactions(60, 40, 0.2))
    basis = spectral_basis(matrix, 8, iterations=30)
    np.testing.assert_allclose(fold_in(matrix.T.tocsr(), basis), basis.items, atol=1e-3)


def test_folding_in_is_finite_where_the_rank_is_small() -> None:
    matrix = normalised(csr_matrix(np.ones((5, 4), np.float32)))
    basis = spectral_basis(matrix, 3)
    folded = fold_in(matrix.T.tocsr(), basis)
    np.testing.assert_allclose(folded, basis.items, atol=1e-6)
    assert not folded[:, 1:].any()


def graph_of(pairs: csr_matrix) -> InteractionGraph:
    graph = InteractionGraph(None)
    graph.grow(*pairs.shape)
    users, items = pairs.nonzero()
    graph.add(users.astype(np.int32), items.astype(np.int32), np.full(len(users), 3.0), np.zeros(len(users), np.int64))
    return graph


def test_items_fold_in_from_the_graph() -> None:
    pairs = interactions(60, 40, 0.2)
    basis = spectral_basis(normalised(pairs), 8, iterations=30)
    graph = graph_of(pairs)
    missing = np.array([5, 0, 39])
    vectors = fold_in_items(*graph.to_csr()[:3], missing, basis.users, basis.values)
    np.testing.assert_allclose(vectors, basis.items[missing], atol=1e-3)
    assert vectors.dtype == np.float32


def test_later_nodes_and_returned_edges_fold_in_to_nothing() -> None:
    pairs = interactions(60, 40, 0.2)
    basis = spectral_basis(normalised(pairs), 8)
    graph = graph_of(pairs)
    graph.grow(62, 44)
    # Item 40: a user of the basis; 41: the same, taken back; 42: only a user who came later; 43: nobody.
    graph.add(
        np.array([3, 3, 61], np.int32), np.array([40, 41, 42], np.int32), np.array([1.0, -5.0, 1.0]), np.zeros(3, int)
    )
    edges = graph.to_csr()
    before = [array.copy() for array in edges]
    vectors = fold_in_items(*edges[:3], np.array([40, 41, 42, 43]), basis.users, basis.values)
    assert vectors.any(axis=1).tolist() == [True, False, False, False]
    direction = basis.users[3] / basis.values
    assert vectors[0] @ direction == pytest.approx(np.linalg.norm(vectors[0]) * np.linalg.norm(direction))
    for array, unchanged in zip(edges, before, strict=True):
        np.testing.assert_array_equal(array, unchanged)


def test_folding_in_without_edges_or_items() -> None:
    users, values = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    empty = graph_of(csr_matrix((4, 6), dtype=np.float32)).to_csr()[:3]
    assert fold_in_items(*empty, np.array([5, 2]), users, values).tolist() == [[0, 0], [0, 0]]
    assert fold_in_items(*empty, np.array([], np.int64), users, values).shape == (0, 2)


def later_world() -> tuple[csr_matrix, csr_matrix]:
    """A normalised matrix, and the same after some more pairs, users and items."""
    earlier = interactions(300, 200, 0.05)
    more = interactions(20, 20, 0.3, 3).tocoo()
    grown = earlier.tocoo()
    rows, columns = (np.concatenate([getattr(grown, a), getattr(more, a) + s]) for a, s in (("row", 290), ("col", 190)))
    after = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(310, 210))
    after.data[:] = 1
    return normalised(earlier), normalised(after)


def captured(matrix: csr_matrix, basis: SpectralBasis) -> float:
    """Share of the best possible sum of squares that the directions of a basis have."""
    exact = np.linalg.svd(matrix.toarray(), compute_uv=False)[: len(basis.values)]
    return float(((matrix @ basis.items) ** 2).sum() / (exact**2).sum())


def test_one_iteration_is_enough_from_where_the_basis_was() -> None:
    earlier, later = later_world()
    start = spectral_basis(earlier, 16).items
    warm, cold = (spectral_basis(later, 16, iterations=1, start=given) for given in (start, None))
    assert captured(later, warm) > captured(later, cold) + 0.01
    assert captured(later, warm) > captured(later, spectral_basis(later, 16)) - 0.01
    assert warm.items.shape == (210, 16)
    assert warm.items[200:].any(axis=1).all()  # new items have found their place
    np.testing.assert_allclose(warm.items.T @ warm.items, np.eye(16), atol=1e-4)


def test_a_start_of_padded_columns_finds_the_directions_it_lacks() -> None:
    _, later = later_world()
    start = np.zeros((200, 16), np.float32)
    start[:, :4] = spectral_basis(later, 4).items[:200]
    found = spectral_basis(later, 16, iterations=3, start=start)
    assert captured(later, found) > 0.97


def test_drift_bounds_how_far_the_leading_directions_have_turned() -> None:
    """Wedin: the sine of the angle between the old leading half and the present basis is below the bound."""
    earlier, later = later_world()
    basis = spectral_basis(earlier, 16, iterations=60)
    right = np.linalg.svd(later.toarray().astype(np.float64), full_matrices=False)[2][:16].T
    old = np.zeros((210, 8))
    old[:200] = basis.items[:, :8]
    sine = np.linalg.norm(old - right @ (right.T @ old))
    assert 0.01 < sine <= drift(later, basis)
    assert drift(earlier, basis) < 0.05 * drift(later, basis)


def test_without_a_gap_nothing_is_sure() -> None:
    assert (
        drift(
            normalised(interactions(5, 4, 1.0)), SpectralBasis(*(np.zeros(s, np.float32) for s in ((5, 3), (4, 3), 3)))
        )
        == np.inf
    )


def test_a_turn_is_found_and_undone() -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal((50, 6)).astype(np.float32)
    rotation = cholesky_qr(rng.standard_normal((6, 6)).astype(np.float32))
    found = turn(old @ rotation.T, old)
    np.testing.assert_allclose(found, rotation, atol=1e-5)
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-5)
