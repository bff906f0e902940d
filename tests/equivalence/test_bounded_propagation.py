"""What users may hold back is bounded on every node, whatever the stream, and gone after a drain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sage_world import DAY, HOUR, TOLERANCE, World


class Add(NamedTuple):
    events: list[tuple[int, int, float, int]]


class RemoveUser(NamedTuple):
    user: int


class NewFeatures(NamedTuple):
    numbers: list[int]


class Drain(NamedTuple):
    visits: int


def check(world: World, bound: float) -> None:
    """Every residual, every item's error and every user's."""
    users, items = world.vectors()
    exact_users, exact_items = world.exact()
    assert world.propagation.largest_residual <= bound
    assert np.linalg.norm(items - exact_items, axis=1).max(initial=0) <= bound + TOLERANCE
    assert np.abs(users - exact_users).max(initial=0) <= TOLERANCE


users, items = st.integers(0, 7), st.integers(0, 11)
hours = st.integers(0, 72) | st.sampled_from([24 * days for days in (45, 90, 400)])
event = st.tuples(users, items, st.sampled_from([1.0, 3.0, -5.0, 0.3]), hours.map(lambda hour: hour * HOUR))
steps = st.one_of(
    st.builds(Add, st.lists(event, max_size=15)),
    st.builds(Add, st.lists(event, max_size=2)),
    st.builds(RemoveUser, users),
    st.builds(NewFeatures, st.lists(items, min_size=1, max_size=2)),
    st.builds(Drain, st.integers(0, 20)),
)


@given(
    seed=st.integers(0, 5),
    half_life=st.sampled_from([None, DAY]),
    epsilon=st.sampled_from([0.01, 0.1, 1.0, 100.0]),
    log=st.lists(steps, max_size=25),
)
def test_the_bound_holds_on_every_node(
    seed: int, half_life: float | None, epsilon: float, log: list[NamedTuple]
) -> None:
    world = World(seed, half_life, n_items=12)
    world.propagation.epsilon = epsilon
    for step in log:
        match step:
            case Add(events):
                world.add(events)
            case RemoveUser(user):
                if user < world.graph.n_users:
                    world.propagation.remove_user(world.graph, user)
            case NewFeatures(numbers):
                world.change_items(numbers)
            case Drain(visits):
                world.propagation.drain(world.graph, visits)
        check(world, epsilon)
    world.propagation.drain(world.graph)
    check(world, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.1])
def test_the_bound_holds_over_ten_thousand_batches(share: float) -> None:
    world = World(half_life=30 * DAY, n_items=40)
    rng, now, held_back = world.rng, 1_600_000_000_000_000, 0.0
    for batch in range(10_000):
        now += int(rng.integers(2 * HOUR))
        size = int(rng.integers(1, 20))
        columns = rng.integers(60, size=size), rng.integers(40, size=size), rng.choice([1.0, 3.0, -5.0, 0.3], size)
        world.add([(int(user), int(item), float(weight), now) for user, item, weight in zip(*columns, strict=True)])
        if batch == 100:
            world.propagation.epsilon = share * world.propagation.message_length
        if batch % 20 == 0 and batch > 100:
            check(world, world.propagation.epsilon)
            held_back = max(held_back, world.error())
    assert held_back > 10 * TOLERANCE
    world.propagation.drain(world.graph)
    check(world, 0.0)


def streamed(epsilon: float) -> World:
    """60 users of 40 items; 30 more events come while users may hold back."""
    world = World(half_life=None, n_items=40)
    rng = world.rng
    log = [(int(rng.integers(60)), int(rng.integers(40)), 1.0, 0) for _ in range(600)]
    world.add(log[:570])
    world.propagation.epsilon = epsilon
    world.add(log[570:])
    return world


def test_no_less_is_sent_than_the_bound_asks_for() -> None:
    exact, bounded, silent = (streamed(epsilon) for epsilon in (0.0, 0.05, 1e9))
    errors = [np.linalg.norm(world.vectors()[1] - world.exact()[1], axis=1).max() for world in (bounded, silent)]
    assert exact.error() <= TOLERANCE < errors[0] <= 0.05 < errors[1]
    assert 0 < bounded.propagation.largest_residual <= 0.05 < silent.propagation.largest_residual


def test_an_event_that_is_held_back_touches_its_item_only() -> None:
    world = streamed(1e9)
    assert world.add([(3, 7, 1.0, 0)]).tolist() == [7]


def test_a_drain_sends_the_largest_residuals_first_within_its_budget() -> None:
    world = streamed(1e9)
    residuals = world.propagation._users["residual"]
    while world.propagation.largest_residual > 0:
        before = residuals.copy()
        touched = world.propagation.drain(world.graph, visits=25)
        sent = (before > 0) & (residuals == 0)
        assert before[sent].min() >= residuals.max()
        walked = [world.graph.user_row(user)[0] for user in np.flatnonzero(sent).tolist()]
        assert sum(map(len, walked)) <= 25 or len(walked) == 1
        assert set(touched.tolist()) == set(np.concatenate(walked).tolist())
        check(world, float(residuals.max()))
    assert world.error() <= TOLERANCE
    assert world.propagation.drain(world.graph).tolist() == []


def test_a_recomputation_sends_everything() -> None:
    world = streamed(1e9)
    world.propagation.recompute(world.graph)
    check(world, 0.0)


def test_the_unit_of_epsilon_is_a_median_message() -> None:
    world = streamed(0.0)
    lengths = np.linalg.norm(world.propagation._users["sent"], axis=1)
    assert world.propagation.message_length == pytest.approx(np.median(lengths))
    assert World().propagation.message_length == 0.0
