from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import InputError
from graphrec.graph.block_pool import block_size
from graphrec.graph.interaction_graph import InteractionGraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from graphrec.graph.block_pool import BlockPool
    from graphrec.graph.interaction_graph import EdgeChanges

Happening = tuple[int, int, float, int]  # user, item, weight, microseconds

DAY = 86_400_000_000
HALF_LIFE = 10.0 * DAY
N_USERS, N_ITEMS = 5, 40
WEIGHTS = [1.0, 3.0, 5.0, -5.0, 0.3, 0.0]

users = st.integers(0, N_USERS - 1)
items = st.integers(0, N_ITEMS - 1)


def events(days: int, weights: list[float] = WEIGHTS, max_size: int = 80) -> st.SearchStrategy[list[Happening]]:
    event = st.tuples(users, items, st.sampled_from(weights), st.integers(0, days * DAY))
    return st.lists(event, max_size=max_size)


def new_graph(half_life: float | None = HALF_LIFE) -> InteractionGraph:
    graph = InteractionGraph(half_life)
    graph.grow(N_USERS, N_ITEMS)
    return graph


def add(graph: InteractionGraph, batch: Iterable[Happening]) -> EdgeChanges:
    rows = list(batch)
    return graph.add(
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.int64),
    )


def add_in_batches(graph: InteractionGraph, log: list[Happening], cuts: Iterable[int]) -> None:
    edges = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})
    for start, end in pairwise(edges):
        add(graph, log[start:end])


def term(event: Happening, half_life: float | None = HALF_LIFE) -> Fraction:
    """The exact weight of an event in units of time zero, computed without any of the graph's code."""
    _, _, weight, time = event
    if weight == 0:
        return Fraction(0)
    whole, part = divmod(time / half_life, 1) if half_life else (0.0, 0.0)
    mantissa, exponent = math.frexp(np.float32(weight * 2.0**part))
    rounded = math.copysign(math.floor(abs(mantissa) * 2**12 + 0.5), mantissa)
    return Fraction(int(rounded)) * Fraction(2) ** (exponent - 12 + int(whole))


def rows_of(pool: BlockPool) -> list[list[int]]:
    rows = pool.rows
    return [rows.neighbours[s : s + n].tolist() for s, n in zip(rows.start, rows.length, strict=True)][: pool.n_nodes]


def check_pool(pool: BlockPool) -> None:
    """Blocks of rows and free blocks lie side by side from 0 to the high-water mark, none twice, none lost."""
    rows = pool.rows
    blocks = [
        (int(start), block_size(int(size_class)))
        for start, size_class in zip(rows.start, rows.size_class, strict=True)
        if size_class >= 0
    ]
    for size_class, head in enumerate(rows.free.tolist()):
        while head >= 0:
            blocks.append((head, block_size(size_class)))
            head = int(rows.neighbours.view(np.int64)[head // 2])
    end = 0
    for start, size in sorted(blocks):
        assert start == end
        end = start + size
    assert end == rows.used[0] <= rows.neighbours.size
    assert all(column.size == rows.neighbours.size for column in pool.columns)
    for length, size_class in zip(rows.length, rows.size_class, strict=True):
        assert (size_class < 0) if length == 0 else length <= block_size(int(size_class))
    assert rows.used[1] == rows.length.sum()


def check(graph: InteractionGraph) -> None:
    """The invariants of the layout: both sides name the same edges once, and the pools are whole."""
    for pool in (graph._users, graph._items):
        check_pool(pool)
    forward = [(user, item) for user, row in enumerate(rows_of(graph._users)) for item in row]
    backward = [(user, item) for item, row in enumerate(rows_of(graph._items)) for user in row]
    assert len(set(forward)) == len(forward) == len(backward) == graph.n_edges
    assert set(forward) == set(backward)
    assert graph.user_degree.tolist() == np.bincount([user for user, _ in forward], minlength=graph.n_users).tolist()
    assert graph.item_degree.tolist() == np.bincount([item for _, item in forward], minlength=graph.n_items).tolist()


def same_state(graph: InteractionGraph, other: InteractionGraph) -> None:
    state, other_state = graph.state(), other.state()
    assert state.keys() == other_state.keys()
    for name, array in state.items():
        assert array.dtype == other_state[name].dtype
        assert array.tobytes() == other_state[name].tobytes(), name


def test_a_small_world() -> None:
    graph = InteractionGraph(None)
    graph.grow(2, 3)
    changes = add(graph, [(0, 2, 1.0, 7_999_999), (1, 2, 5.0, 9_000_000), (0, 2, 3.0, 2_000_000), (0, 1, -5.0, 0)])
    assert changes.deltas.tolist() == [1.0, 5.0, 3.0, 0.0]
    assert changes.users.tolist() == [0, 1, 0, 0]
    assert changes.items.tolist() == [2, 2, 2, 1]
    assert changes.scale_shift == 0
    assert (graph.n_users, graph.n_items, graph.n_edges) == (2, 3, 3)
    row_items, weights, times = graph.user_row(0)
    assert (row_items.tolist(), weights.tolist(), times.tolist()) == ([2, 1], [4.0, 0.0], [7_000_000, 0])
    assert (weights.dtype, times.dtype) == (np.float32, np.int64)
    assert [graph.item_row(item).tolist() for item in range(3)] == [[], [0], [0, 1]]
    assert [graph.weight(0, 2), graph.weight(0, 1), graph.weight(0, 0)] == [4.0, 0.0, 0.0]
    assert [array.tolist() for array in graph.to_csr()] == [[0, 2, 3], [1, 2, 2], [0, 4, 5], [0, 7_000_000, 9_000_000]]
    assert graph.canonical_weights().weights.tolist() == [-5.0, 4.0, 5.0]
    check(graph)


def test_a_weight_halves_in_a_half_life() -> None:
    graph = new_graph()
    changes = add(graph, [(0, 0, 1.0, 0), (0, 1, 1.0, int(HALF_LIFE)), (0, 2, 1.0, int(2.5 * HALF_LIFE))])
    assert changes.deltas[:2].tolist() == [1.0, 2.0]
    assert changes.deltas[2] == pytest.approx(2**2.5, rel=2**-12)


def test_one_event_is_withdrawn_by_its_opposite() -> None:
    graph = new_graph()
    log = [(0, 0, 0.3, 3 * DAY), (0, 0, 5.0, 11 * DAY), (0, 0, 1.0, 29 * DAY)]
    add(graph, log)
    add(graph, [(user, item, -weight, time) for user, item, weight, time in log])
    assert graph.canonical_weights().weights.tolist() == [0.0]
    assert graph.n_edges == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), events(days=10, weights=[1.0, 3.0, 5.0, -5.0], max_size=60)),
            st.tuples(st.just("remove"), users, st.lists(items, max_size=30)),
            st.tuples(st.just("reload")),
            st.tuples(st.just("grow"), users, items),
        ),
        max_size=8,
    )
)
def test_any_history_equals_the_plain_model(history: list[tuple]) -> None:  # type: ignore[type-arg]
    graph = new_graph()
    model: dict[tuple[int, int], tuple[Fraction, int]] = {}
    n_users = N_USERS

    def weight(user: int, item: int) -> Fraction:
        return max(model.get((user, item), (Fraction(0), 0))[0], Fraction(0))

    for name, *arguments in history:
        if name == "add":
            expected = []
            for event in arguments[0]:
                user, item, _, time = event
                old, old_time = model.get((user, item), (Fraction(0), 0))
                model[user, item] = (old + term(event), max(old_time, time // 1_000_000))
                expected.append(weight(user, item) - max(old, Fraction(0)))
            changes = add(graph, arguments[0])
            unit = Fraction(2) ** (graph._reference or 0)
            assert [Fraction(float(delta)) * unit for delta in changes.deltas] == expected
        elif name == "remove":
            user, chosen = arguments
            for item in chosen:
                unit = Fraction(2) ** (graph._reference or 0)
                assert Fraction(graph.remove(user, item)) * unit == weight(user, item)
                model.pop((user, item), None)
        elif name == "reload":
            graph = InteractionGraph.from_state(graph.state(), HALF_LIFE)
        else:
            n_users = max(n_users, n_users + arguments[0])
            graph.grow(n_users, arguments[1])
        check(graph)

    unit = Fraction(2) ** (graph._reference or 0)
    assert (graph.n_users, graph.n_items, graph.n_edges) == (n_users, N_ITEMS, len(model))
    for user in range(n_users):
        row = {item: value for (owner, item), value in model.items() if owner == user}
        row_items, weights, times = graph.user_row(user)
        assert set(row_items.tolist()) == set(row)
        for item, effective, time in zip(row_items.tolist(), weights.tolist(), times.tolist(), strict=True):
            assert Fraction(effective) * unit == weight(user, item) == Fraction(graph.weight(user, item)) * unit
            assert time == row[item][1] * 1_000_000
    for item in range(N_ITEMS):
        assert sorted(graph.item_row(item).tolist()) == sorted(user for user, other in model if other == item)


@given(st.data(), events(days=20), st.lists(st.integers(1, 80), max_size=4), st.sampled_from([None, HALF_LIFE]))
def test_canonical_weights_depend_on_no_order_and_no_batches(
    data: st.DataObject, log: list[Happening], cuts: list[int], half_life: float | None
) -> None:
    graph, other = new_graph(half_life), new_graph(half_life)
    add(graph, log)
    add_in_batches(other, data.draw(st.permutations(log)), cuts)
    for mine, theirs in zip(graph.canonical_weights(), other.canonical_weights(), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()


def test_canonical_weights_depend_on_no_reference() -> None:
    """Times hundreds of half-lives apart: forwards the reference moves with every event, backwards never."""
    log = [(0, item, 1.0 + item % 3, int(7 * item * HALF_LIFE)) for item in range(N_ITEMS)]
    forwards, backwards = new_graph(), new_graph()
    for event in log:
        add(forwards, [event])
    add(backwards, log[::-1])
    assert forwards._reference != backwards._reference
    for mine, theirs in zip(forwards.canonical_weights(), backwards.canonical_weights(), strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert forwards.canonical_weights().weights[-1] == 1.0
    assert (forwards.canonical_weights().weights > 0).sum() == 96 // 7 + 1


def test_canonical_edges_are_in_order_and_in_units_of_the_newest() -> None:
    graph = new_graph()
    add(graph, [(1, 7, 1.0, 0), (1, 3, 3.0, int(2 * HALF_LIFE)), (0, 9, -5.0, int(HALF_LIFE))])
    users_, items_, weights, times = graph.canonical_weights()
    assert users_.tolist() == [0, 1, 1]
    assert items_.tolist() == [9, 3, 7]
    assert weights.tolist() == [-2.5, 3.0, 0.25]
    assert times.tolist() == [HALF_LIFE, 2 * HALF_LIFE, 0]


@given(events(days=3_000), st.lists(st.integers(1, 80), max_size=10))
def test_batches_leave_no_trace(log: list[Happening], cuts: list[int]) -> None:
    """Equal to the last bit, row order and reference included, across many moves of the reference."""
    whole, cut = new_graph(), new_graph()
    add(whole, log)
    add_in_batches(cut, log, cuts)
    same_state(whole, cut)


@given(st.lists(events(days=3_000, max_size=20), max_size=6))
def test_scale_shift_keeps_a_callers_own_sums_right(batches: list[list[Happening]]) -> None:
    graph = new_graph()
    sums: dict[tuple[int, int], float] = {}
    for batch in batches:
        changes = add(graph, batch)
        sums = {edge: math.ldexp(value, -changes.scale_shift) for edge, value in sums.items()}
        for user, item, delta in zip(changes.users.tolist(), changes.items.tolist(), changes.deltas, strict=True):
            sums[user, item] = max(sums.get((user, item), 0.0) + float(delta), 0.0)
    for (user, item), value in sums.items():
        assert graph.weight(user, item) == pytest.approx(value, rel=1e-6, abs=2.0**-100)


def test_the_reference_moves_by_an_exact_power_of_two() -> None:
    graph = new_graph()
    add(graph, [(0, 0, 0.3, 0), (0, 1, 5.0, 3 * DAY)])
    before = graph.user_row(0)[1]
    assert add(graph, [(1, 1, 1.0, int(40 * HALF_LIFE))]).scale_shift == 0
    changes = add(graph, [(1, 0, 1.0, int(41 * HALF_LIFE)), (1, 2, 1.0, int(42 * HALF_LIFE))])
    assert changes.scale_shift == 41
    assert changes.deltas.tolist() == [1.0, 2.0]
    assert graph.user_row(0)[1].tolist() == (before * 2.0**-41).tolist()
    assert graph.weight(1, 1) == 0.5


@given(events(days=100), st.lists(st.tuples(users, items), max_size=10), events(days=3_000))
def test_a_loaded_graph_behaves_as_the_saved_one(
    log: list[Happening], removed: list[tuple[int, int]], later: list[Happening]
) -> None:
    graph = new_graph()
    add(graph, log)
    for user, item in removed:
        graph.remove(user, item)
    loaded = InteractionGraph.from_state(graph.state(), HALF_LIFE)
    same_state(graph, loaded)
    check(loaded)
    for twin in (graph, loaded):
        twin.grow(N_USERS + 1, N_ITEMS)
        add(twin, later)
        for user, item in removed:
            twin.remove(user, item)
    same_state(graph, loaded)


def test_state_survives_read_only_arrays_and_an_empty_graph() -> None:
    empty = InteractionGraph.from_state(InteractionGraph(math.inf).state(), None)
    assert (empty.n_users, empty.n_items, empty.n_edges) == (0, 0, 0)
    assert [array.size for array in empty.to_csr()] == [1, 0, 0, 0]
    assert empty.canonical_weights().users.size == 0
    graph = new_graph()
    add(graph, [(0, 1, 1.0, DAY), (3, 1, 1.0, DAY)])
    state = graph.state()
    for array in state.values():
        array.setflags(write=False)
    loaded = InteractionGraph.from_state(state, HALF_LIFE)
    add(loaded, [(0, 1, 1.0, DAY)])
    assert loaded.weight(0, 1) == 2 * graph.weight(0, 1)


def test_a_damaged_state_is_refused() -> None:
    graph = new_graph()
    add(graph, [(0, 1, 1.0, DAY), (3, 1, 1.0, DAY)])
    state = graph.state()
    with pytest.raises(InputError, match="half-life"):
        InteractionGraph.from_state(state, None)
    for name in state:
        with pytest.raises(InputError, match="incomplete"):
            InteractionGraph.from_state({key: array for key, array in state.items() if key != name}, HALF_LIFE)
    damages = {
        "user_length": np.array([2, 0, 0, 1, 0], np.int32),
        "user_neighbours": np.array([1, 40], np.int32),
        "user_weights": np.zeros(1, np.float32),
        "user_times": np.zeros(3, np.uint32),
        "item_length": np.zeros(N_ITEMS, np.int32),
        "item_neighbours": np.array([0, 2], np.int32),
        "reference": np.zeros(0, np.int64),
    }
    for name, array in damages.items():
        with pytest.raises(InputError, match="contradicts"):
            InteractionGraph.from_state({**state, name: array}, HALF_LIFE)


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("users", np.array([0, -1], np.int32)),
        ("users", np.array([0, N_USERS], np.int32)),
        ("users", np.array([0, 1], np.int64)),
        ("users", np.array([[0, 1]], np.int32)),
        ("users", [0, 1]),
        ("items", np.array([0, -1], np.int32)),
        ("items", np.array([0, N_ITEMS], np.int32)),
        ("items", np.array([0, 1], np.int64)),
        ("items", np.array([0], np.int32)),
        ("weights", np.array([1.0, np.nan])),
        ("weights", np.array([1.0, -np.inf])),
        ("weights", np.array([1.0, 1e13])),
        ("weights", np.array([1, 1], np.float32)),
        ("weights", np.array([1.0])),
        ("timestamps", np.array([0, -1], np.int64)),
        ("timestamps", np.array([0, 2**32 * 1_000_000], np.int64)),
        ("timestamps", np.array([0, 1], np.float64)),
    ],
)
def test_bad_input_changes_nothing(field: str, column: object) -> None:
    graph = new_graph()
    add(graph, [(0, 0, 1.0, DAY)])
    before = graph.state()
    batch = {
        "users": np.array([0, 1], np.int32),
        "items": np.array([0, 1], np.int32),
        "weights": np.array([1.0, 1.0]),
        "timestamps": np.array([2000 * DAY, DAY], np.int64),
    }
    with pytest.raises(InputError, match=field.removesuffix("s")):
        graph.add(**{**batch, field: column})
    for name, array in graph.state().items():
        assert array.tobytes() == before[name].tobytes()
    assert graph.add(**batch).deltas.size == 2


def test_nodes_and_settings_out_of_range() -> None:
    graph = InteractionGraph(HALF_LIFE)
    for call in (
        lambda: graph.user_row(0),
        lambda: graph.item_row(0),
        lambda: graph.weight(0, 0),
        lambda: graph.remove(0, 0),
        lambda: graph.grow(-1, 0),
        lambda: graph.grow(0, 2**31),
        lambda: InteractionGraph(0.0),
        lambda: InteractionGraph(999_999.0),
        lambda: InteractionGraph(math.nan),
    ):
        with pytest.raises(InputError):
            call()
    graph.grow(1, 1)
    with pytest.raises(InputError):
        graph.user_row(-1)
    with pytest.raises(InputError):
        graph.remove(0, 1)
    assert graph.remove(0, 0) == 0.0
    assert add(graph, []).deltas.size == 0


def test_read_only_and_strided_columns_are_taken() -> None:
    graph = new_graph(None)
    numbers = np.arange(10, dtype=np.int32)
    numbers.setflags(write=False)
    graph.add(numbers[:5], numbers[::2], np.ones(10)[::2], np.zeros(5, np.int64))
    assert graph.to_csr().items.tolist() == [0, 2, 4, 6, 8]


@pytest.fixture(scope="module")
def busy() -> tuple[InteractionGraph, np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """300k events over a power law, some rows of thousands."""
    rng = np.random.default_rng(7)
    who = (8_000 * rng.random(300_000) ** 2).astype(np.int32)
    what = (12_000 * rng.random(300_000) ** 3).astype(np.int32)
    weights = rng.integers(1, 6, 300_000).astype(np.float64)
    graph = InteractionGraph(None)
    graph.grow(8_000, 12_000)
    for start in range(0, 300_000, 20_000):
        batch = slice(start, start + 20_000)
        graph.add(who[batch], what[batch], weights[batch], np.full(20_000, start, np.int64))
    return graph, who, what, weights


def test_a_large_graph_equals_a_sparse_matrix(busy: tuple) -> None:  # type: ignore[type-arg]
    from scipy.sparse import coo_array

    graph, who, what, weights = busy
    expected = coo_array((weights, (who, what)), shape=(8_000, 12_000)).tocsr()
    expected.sort_indices()
    table = graph.to_csr()
    assert table.indptr.tolist() == expected.indptr.tolist()
    assert table.items.tolist() == expected.indices.tolist()
    assert table.weights.tolist() == expected.data.tolist()
    check(graph)


def test_memory_of_a_large_graph(busy: tuple) -> None:  # type: ignore[type-arg]
    graph = busy[0]
    assert graph.nbytes / graph.n_edges < 24


def test_raw_arrays_show_the_rows(busy: tuple) -> None:  # type: ignore[type-arg]
    graph = busy[0]
    arrays = graph.arrays
    assert (arrays.user_start.size, arrays.item_start.size) == (8_000, 12_000)
    for node in (0, 17, 7_999):
        row = slice(arrays.user_start[node], arrays.user_start[node] + arrays.user_length[node])
        row_items, weights, times = graph.user_row(node)
        assert arrays.user_neighbours[row].tolist() == row_items.tolist()
        assert arrays.user_weights[row].tolist() == weights.tolist()
        assert (arrays.user_times[row].astype(np.int64) * 1_000_000).tolist() == times.tolist()
        row = slice(arrays.item_start[node], arrays.item_start[node] + arrays.item_length[node])
        assert arrays.item_neighbours[row].tolist() == graph.item_row(node).tolist()


def test_copies_stay_as_they_were() -> None:
    graph = new_graph(None)
    add(graph, [(0, 0, 1.0, 0)])
    row, users_of_item, degree = graph.user_row(0), graph.item_row(0), graph.user_degree
    add(graph, [(0, 0, 1.0, 5_000_000), (1, 0, 1.0, 0)])
    assert (row[1].tolist(), row[2].tolist(), users_of_item.tolist(), degree[1]) == ([1.0], [0], [0], 0)


def test_emptied_rows_are_used_again() -> None:
    graph = new_graph(None)
    everything = [(user, item, 1.0, 0) for user in range(N_USERS) for item in range(N_ITEMS)]
    add(graph, everything)
    size = graph.nbytes
    for _ in range(3):
        for user, item, _, _ in everything:
            assert graph.remove(user, item) == 1.0
        assert graph.n_edges == 0
        check(graph)
        add(graph, everything)
        check(graph)
    assert graph.nbytes <= size * 1.5
