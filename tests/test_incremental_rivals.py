"""The rivals of bench_incremental compute what they are said to: all of them the same vectors."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.propagation import Propagation
from graphrec.graph.interaction_graph import InteractionGraph

FILE = Path(__file__).parents[1] / "scripts" / "incremental_rivals.py"
USERS, ITEMS, INPUTS, HIDDEN, OUTPUTS = 30, 20, 5, 8, 6
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def rivals() -> ModuleType:
    spec = spec_from_file_location("incremental_rivals", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Setting:
    """A graph of random events, weights of random layers, and one more batch of repeats."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)

        def random(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape).astype(np.float32)

        self.weights = SageWeights(
            random(HIDDEN, INPUTS), random(HIDDEN), random(HIDDEN, INPUTS), random(HIDDEN),
            random(OUTPUTS, HIDDEN), random(OUTPUTS, HIDDEN), random(OUTPUTS),
            random(OUTPUTS, HIDDEN), random(OUTPUTS, HIDDEN), random(OUTPUTS),
        )  # fmt: skip
        self.rng, self.features = rng, random(ITEMS, INPUTS)
        self.graph = InteractionGraph(None)
        self.graph.grow(USERS, ITEMS)
        self.add(rng.integers(USERS - 1, size=150), rng.integers(ITEMS - 1, size=150))  # one of each has no edge
        table = self.graph.to_csr()
        chosen = rng.integers(len(table.items), size=7)
        self.users = np.repeat(np.arange(USERS), np.diff(table.indptr))[chosen].astype(np.int32)
        self.items = table.items[chosen]

    def add(self, users: np.ndarray, items: np.ndarray) -> None:
        columns = users.astype(np.int32), items.astype(np.int32)
        self.graph.add(*columns, np.ones(len(users)), np.zeros(len(users), np.int64))


@pytest.fixture
def setting() -> Setting:
    return Setting()


def close(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=TOLERANCE)


def full(rivals: ModuleType, setting: Setting, users: object = None) -> tuple[torch.Tensor, torch.Tensor]:
    run = rivals.FullRecomputation(setting.weights, setting.features, users)
    run.load(rivals.Adjacency(setting.graph))
    return run.run()


def test_full_recomputation_is_what_is_served(rivals: ModuleType, setting: Setting) -> None:
    propagation = Propagation(setting.weights)
    propagation.add_items(setting.features)
    propagation.recompute(setting.graph)
    users, items = full(rivals, setting)
    close(items, propagation.item_vectors)
    close(users, [propagation.user_vector(setting.graph, user) for user in range(USERS)])


def test_the_affected_subgraph_is_all_that_changes(rivals: ModuleType, setting: Setting) -> None:
    recomputation = rivals.FullRecomputation(setting.weights, setting.features)
    recomputation.load(rivals.Adjacency(setting.graph))
    before = [table.clone() for table in recomputation.run()]
    setting.add(setting.users, setting.items)
    affected = rivals.AffectedSubgraph(setting.weights, setting.features)
    affected.load(rivals.Adjacency(setting.graph), recomputation)
    users, users2, items, items2 = affected.run(setting.users, setting.items)
    before[0][users], before[1][items] = users2, items2
    for patched, expected in zip(before, full(rivals, setting), strict=True):
        close(patched, expected)
    assert 0 < len(items) < ITEMS


@pytest.mark.parametrize("with_features", [False, True])
def test_two_way_push_ends_where_a_recomputation_does(
    rivals: ModuleType, setting: Setting, with_features: bool
) -> None:
    own = rivals.UserFeatures.random(USERS, setting.weights, setting.rng) if with_features else None
    push = rivals.TwoWayPush(setting.weights, setting.features, own, USERS)
    push.load(rivals.Adjacency(setting.graph))
    for found, expected in zip(push.vectors, full(rivals, setting, own), strict=True):
        close(found, expected)
    items = np.unique(setting.items)
    degrees = setting.graph.user_degree[np.unique(setting.users)].sum() + (
        setting.graph.item_degree[items].sum() if with_features else 0
    )
    assert push.run(setting.users, setting.items, np.ones(len(setting.users), np.float32)) == degrees
    setting.add(setting.users, setting.items)
    for found, expected in zip(push.vectors, full(rivals, setting, own), strict=True):
        close(found, expected)


def test_the_growing_edge_list_has_our_edges(rivals: ModuleType) -> None:
    setting = Setting()
    theirs = rivals.GrowingEdgeList(setting.graph)
    users, items = setting.rng.integers(USERS, size=(2, 60)) % [[USERS], [ITEMS]]  # new ones, known ones, repeats
    theirs.add(users.astype(np.int32), items.astype(np.int32), np.ones(60))
    setting.add(users, items)
    table = setting.graph.to_csr()
    assert theirs.n_edges == len(table.items)
    assert theirs.edges[1].tolist() == table.items.tolist()
    assert theirs.edges[0].tolist() == np.repeat(np.arange(USERS), np.diff(table.indptr)).tolist()
    np.testing.assert_allclose(theirs.weights.numpy(), table.weights, rtol=1e-6)
