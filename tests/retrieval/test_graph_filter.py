"""The graph filter is the formula of its docstring, whatever part of the spectrum is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from graphrec.embedding.spectral import ITEM_EXPONENT, USER_EXPONENT, SpectralBasis, normalised, spectral_basis
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval.graph_filter import FilterShape, GraphFilter, plateau

Float64 = NDArray[np.float64]

shapes = st.builds(
    FilterShape,
    seed_exponent=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
    target_exponent=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    slope=st.sampled_from([1.0, 1.5, 3.0]),
    lift=st.sampled_from([0.0, 0.2, 0.5]),
)


@dataclass(frozen=True)
class SmallWorld:
    """Interactions R (n_users, n_items) as a matrix and as a live graph; the weight of an edge is 1 to 5."""

    matrix: Float64
    graph: InteractionGraph

    @property
    def degrees(self) -> NDArray[np.int32]:
        return self.graph.arrays.item_length

    def own(self, user: int) -> Float64:
        """r_u, of sum one."""
        items, weights, _ = self.graph.user_row(user)
        row = np.zeros(self.matrix.shape[1])
        row[items] = weights / weights.sum()
        return row

    def scores(self, graph_filter: GraphFilter, user: int) -> NDArray[np.float32]:
        """What the filter says of every item."""
        seeds, weights, _ = self.graph.user_row(user)
        weights = (weights / weights.sum()).astype(np.float32)
        walk = graph_filter.walk(self.graph.arrays, user, seeds, weights)
        coordinates = graph_filter.coordinates(seeds, weights, self.degrees[seeds])
        return graph_filter.scores(np.arange(self.matrix.shape[1], dtype=np.int32), walk, coordinates, self.degrees)

    def affinity(self) -> Float64:
        """A = Du^-p R Di^-q, not yet scaled."""
        users, items = np.maximum(self.matrix.sum(axis=1), 1), np.maximum(self.matrix.sum(axis=0), 1)
        scaled: Float64 = users[:, None] ** -USER_EXPONENT * self.matrix * items**-ITEM_EXPONENT
        return scaled

    def formula(self, shape: FilterShape, vectors: Float64, values: Float64, user: int) -> Float64:
        """The docstring's s of every item, dense, in float64."""
        affinity = self.affinity() / values[0]
        p = np.diag((values / values[0]) ** 2)
        response = np.diag(0.5 - np.sign(1 - 2 * p.diagonal()) * np.abs(1 - 2 * p.diagonal()) ** shape.slope / 2)
        lifted = response + shape.lift * np.eye(len(values))
        high = shape.slope * (affinity.T @ affinity - vectors @ p @ vectors.T)
        degrees = np.maximum(self.matrix.sum(axis=0), 1)
        before, after = (
            np.diag(degrees ** (ITEM_EXPONENT - shape.seed_exponent)),
            np.diag(degrees ** (ITEM_EXPONENT - shape.target_exponent)),
        )
        scores: Float64 = after @ (high + vectors @ lifted @ vectors.T) @ before @ self.own(user)
        return scores


def world_of(seed: int, density: float = 0.3, n_users: int = 14, n_items: int = 9) -> SmallWorld:
    """User 0 has items 0 and 1, so that there always is someone to ask."""
    rng = np.random.default_rng(seed)
    matrix = (rng.random((n_users, n_items)) < density).astype(np.float64)
    matrix[0, :2] = 1
    users, items = np.nonzero(matrix)
    graph = InteractionGraph(None)
    graph.grow(n_users, n_items)
    weights = rng.choice([1.0, 3.0, 5.0], len(users))
    graph.add(users.astype(np.int32), items.astype(np.int32), weights, np.zeros(len(users), np.int64))
    return SmallWorld(matrix, graph)


def basis_of(world: SmallWorld, dimensions: int) -> SpectralBasis:
    return spectral_basis(normalised(csr_matrix(world.matrix)), dimensions, iterations=30)


@pytest.fixture
def world() -> SmallWorld:
    """Every item is reached from every other."""
    return world_of(1, density=0.5)


@given(seed=st.integers(0, 999), shape=shapes, dimensions=st.integers(1, 9))
def test_on_unseen_items_it_is_the_formula(seed: int, shape: FilterShape, dimensions: int) -> None:
    """Of a truncated basis or a whole one; the user's own row, which the walk leaves out, leads to seen items only."""
    world = world_of(seed)
    basis = basis_of(world, dimensions)
    graph_filter = GraphFilter(basis.items, basis.values, shape)
    for user in np.flatnonzero(world.matrix.any(axis=1)).tolist():
        expected = world.formula(shape, basis.items.astype(np.float64), basis.values.astype(np.float64), user)
        found = world.scores(graph_filter, user)
        assert found.dtype == np.float32
        unseen = world.matrix[user] == 0
        np.testing.assert_allclose(found[unseen], expected[unseen], atol=2e-5 * max(np.abs(expected).max(), 1))


@given(seed=st.integers(0, 999), shape=shapes)
def test_with_all_frequencies_it_is_the_response_and_nothing_else(seed: int, shape: FilterShape) -> None:
    world = world_of(seed)
    basis = basis_of(world, 9)
    _, values, right = np.linalg.svd(world.affinity(), full_matrices=False)
    vectors, values = right[values > 1e-5 * values[0]].T, values[values > 1e-5 * values[0]]
    p = (values / values[0]) ** 2
    response = 0.5 - np.sign(1 - 2 * p) * np.abs(1 - 2 * p) ** shape.slope / 2 + shape.lift
    degrees = np.maximum(world.matrix.sum(axis=0), 1)
    start = degrees ** (ITEM_EXPONENT - shape.seed_exponent) * world.own(0)
    expected = degrees ** (ITEM_EXPONENT - shape.target_exponent) * (vectors @ (response * (vectors.T @ start)))
    unseen = world.matrix[0] == 0
    found = world.scores(GraphFilter(basis.items, basis.values, shape), 0)
    np.testing.assert_allclose(found[unseen], expected[unseen], atol=2e-4)


def test_the_own_row_is_no_witness(world: SmallWorld) -> None:
    shape, basis = FilterShape(), basis_of(world, 4)
    found = world.scores(GraphFilter(basis.items, basis.values, shape), 0)
    expected = world.formula(shape, basis.items.astype(np.float64), basis.values.astype(np.float64), 0)
    seen = world.matrix[0] > 0
    assert (found[seen] < expected[seen] - 1e-3).all()


@given(seed=st.integers(0, 999), dimensions=st.integers(0, 9))
def test_a_linear_response_needs_no_basis(seed: int, dimensions: int) -> None:
    world, shape = world_of(seed), FilterShape(slope=1.0)
    basis = basis_of(world, 9)
    scores = world.scores(GraphFilter(basis.items[:, :dimensions], basis.values[:dimensions], shape), 0)
    alone = world.scores(GraphFilter(basis.items[:, :0], basis.values[:0], shape), 0)
    scale = basis.values[0] ** 2 if dimensions else 1.0
    np.testing.assert_allclose(scores * scale, alone, atol=1e-5)


def test_later_items_have_the_walk_only(world: SmallWorld) -> None:
    shape, basis = FilterShape(lift=0.5), basis_of(world, 5)
    known = GraphFilter(basis.items[:6], basis.values, shape)
    seeds, weights, _ = world.graph.user_row(0)
    weights = (weights / weights.sum()).astype(np.float32)
    walk = known.walk(world.graph.arrays, 0, seeds, weights)
    scores = world.scores(known, 0)
    np.testing.assert_allclose(scores[6:], shape.slope * walk[6:] / basis.values[0] ** 2, rtol=1e-5)
    assert np.abs(scores[:6] - shape.slope * walk[:6] / basis.values[0] ** 2).min() > 1e-4
    # A later item among the user's own has a say in the walk and none in the basis.
    later = np.array([0, 8], np.int32)
    both = known.coordinates(later, np.array([0.5, 0.5], np.float32), world.degrees[later])
    first = known.coordinates(later[:1], np.array([0.5], np.float32), world.degrees[later[:1]])
    np.testing.assert_array_equal(both, first)


def test_the_norm_of_an_item_is_that_of_its_row_and_later_items_have_none() -> None:
    known = GraphFilter(np.array([[3, 4], [0, 0], [-2, 0]], np.float32), np.ones(2, np.float32), FilterShape())
    norms = known.norms(np.array([2, 3, 0, 1, 99], np.int32))
    assert norms.dtype == np.float32
    np.testing.assert_allclose(norms, [2, 0, 5, 0, 0])
    none = GraphFilter(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), FilterShape())
    assert none.norms(np.array([0, 7], np.int32)).tolist() == [0, 0]
    assert none.norms(np.zeros(0, np.int32)).shape == (0,)


def test_a_whole_basis_tells_all_of_an_item(world: SmallWorld) -> None:
    basis = basis_of(world, 9)
    numbers = np.arange(9, dtype=np.int32)
    np.testing.assert_allclose(GraphFilter(basis.items, basis.values, FilterShape()).norms(numbers), 1, atol=1e-4)
    part = GraphFilter(basis.items[:, :4], basis.values[:4], FilterShape()).norms(numbers)
    np.testing.assert_allclose((part**2).sum(), 4, atol=1e-4)
    assert (part < 1).all()


def test_the_walk_is_the_first_of_both(world: SmallWorld) -> None:
    graph_filter = GraphFilter(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), FilterShape())
    seeds, weights, _ = world.graph.user_row(0)
    arguments = world.graph.arrays, 0, seeds, weights.astype(np.float32)
    walks = graph_filter.walks(*arguments)
    np.testing.assert_array_equal(graph_filter.walk(*arguments), walks[:, 0])
    assert (walks[1] > 0).tolist() == (walks[0] > 0).tolist()
    assert (walks[1] < walks[0]).any()


@pytest.mark.parametrize("padding", [1, 7])
def test_padded_columns_have_no_say(world: SmallWorld, padding: int) -> None:
    shape, basis = FilterShape(lift=0.5), basis_of(world, 4)
    items, values = np.pad(basis.items, ((0, 0), (0, padding))), np.pad(basis.values, (0, padding))
    for user in (0, 1, 2):
        np.testing.assert_allclose(
            world.scores(GraphFilter(items, values, shape), user),
            world.scores(GraphFilter(basis.items, basis.values, shape), user),
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_basis_of_nothing_leaves_the_walk(world: SmallWorld) -> None:
    empty = GraphFilter(np.zeros((9, 3), np.float32), np.zeros(3, np.float32), FilterShape())
    none = GraphFilter(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), FilterShape())
    np.testing.assert_array_equal(world.scores(empty, 0), world.scores(none, 0))
    assert world.scores(none, 0).any()


def test_the_newest_event_moves_both_halves(world: SmallWorld) -> None:
    basis = basis_of(world, 4)
    graph_filter = GraphFilter(basis.items, basis.values, FilterShape())
    before = world.scores(graph_filter, 0)
    new = int(np.flatnonzero(world.matrix[0] == 0)[0])
    world.graph.add(np.array([0], np.int32), np.array([new], np.int32), np.ones(1), np.ones(1, np.int64))
    changed = replace(world, matrix=world.matrix.copy())
    changed.matrix[0, new] = 1
    after = changed.scores(graph_filter, 0)
    unseen = changed.matrix[0] == 0
    assert np.abs(after - before)[unseen].min() > 1e-4
    # The basis stays that of the training, the degrees and the walk are those of now.
    expected = changed.formula(FilterShape(), basis.items.astype(np.float64), basis.values.astype(np.float64), 0)
    np.testing.assert_allclose(after[unseen], expected[unseen], atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("slope", [1.5, 2.0, 3.0, 4.0])
def test_the_plateau(slope: float) -> None:
    p = np.linspace(0, 1, 101).astype(np.float32)
    response = plateau(p, slope)
    assert response.dtype == np.float32
    assert response[[0, 50, 100]].tolist() == pytest.approx([0, 0.5, 1], abs=1e-6)
    assert (np.diff(response) > -1e-6).all()
    np.testing.assert_allclose(response[::-1], 1 - response, atol=1e-5)
    assert np.ptp(response[45:56]) < 0.1**slope + 1e-6  # flat in between
    assert plateau(np.array([1e-4], np.float32), slope)[0] == pytest.approx(slope * 1e-4, rel=1e-2)  # its tangent


def test_the_plateau_by_hand() -> None:
    p = np.array([0, 0.25, 0.5, 0.75, 1], np.float32)
    assert plateau(p, 1.0).tolist() == p.tolist()
    assert plateau(p, 2.0).tolist() == [0, 0.375, 0.5, 0.625, 1]
    assert plateau(p, 3.0).tolist() == [0, 0.4375, 0.5, 0.5625, 1]
