from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from graphrec.errors import DependencyError, InputError
from graphrec.graph.export import to_networkx, to_pyg
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.graph.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

# PyTorch Geometric scripts a function when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

SECOND = 1_000_000
USERS = Vocabulary(["ann", "bob", "x"])
ITEMS = Vocabulary(["mug", "cup", "x", "pen"])


@pytest.fixture
def graph() -> InteractionGraph:
    """ann: x, mug; bob: mug, taken back; the user x and the pen: nothing."""
    graph = InteractionGraph(None)
    graph.grow(3, 4)
    graph.add(
        np.array([0, 0, 1, 1], np.int32),
        np.array([2, 0, 0, 0], np.int32),
        np.array([5.0, 1.0, 3.0, -5.0]),
        np.array([9, 8, 7, 6], np.int64) * SECOND,
    )
    return graph


def test_pyg_sees_every_edge_both_ways(graph: InteractionGraph) -> None:
    features = np.arange(8, dtype=np.float64).reshape(4, 2)
    data = to_pyg(graph, features)
    assert data.validate()
    assert data.node_types == ["user", "item"]
    assert (data["user"].num_nodes, data["item"].num_nodes) == (3, 4)
    assert data["item"].x.tolist() == features.tolist()
    forward, backward = data["user", "interacts", "item"], data["item", "rev_interacts", "user"]
    assert forward.edge_index.tolist() == [[0, 0, 1], [0, 2, 0]]
    assert backward.edge_index.tolist() == [[0, 2, 0], [0, 0, 1]]
    for edges in (forward, backward):
        assert edges.edge_weight.tolist() == [1.0, 5.0, 0.0]
        assert edges.time.tolist() == [8 * SECOND, 9 * SECOND, 7 * SECOND]


def test_pyg_convolution_runs_on_it(graph: InteractionGraph) -> None:
    import torch
    from torch_geometric.nn import SAGEConv

    data = to_pyg(graph, np.array([[1.0], [0.0], [3.0], [7.0]], np.float32))
    convolution = SAGEConv((1, 1), 1, aggr="mean", root_weight=False, bias=False)
    torch.nn.init.ones_(convolution.lin_l.weight)
    users = convolution((data["item"].x, torch.zeros(3, 1)), data["item", "rev_interacts", "user"].edge_index)
    assert users.flatten().tolist() == [2.0, 1.0, 0.0]


def test_pyg_without_features_or_edges() -> None:
    data = to_pyg(InteractionGraph(None))
    assert "x" not in data["item"]
    assert data["user", "interacts", "item"].edge_index.shape == (2, 0)


@pytest.mark.parametrize("shape", [(3, 2), (4,)])
def test_features_must_be_the_items(graph: InteractionGraph, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\[4, d\]"):
        to_pyg(graph, np.zeros(shape))


def test_networkx_keeps_users_and_items_apart(graph: InteractionGraph) -> None:
    import networkx as nx

    result = to_networkx(graph, USERS, ITEMS)
    assert result.number_of_nodes() == 7
    assert nx.is_bipartite(result)
    assert result.nodes["user", "x"] == {"bipartite": 0, "number": 2}
    assert result.nodes["item", "x"] == {"bipartite": 1, "number": 2}
    assert {frozenset(edge): attributes for *edge, attributes in result.edges(data=True)} == {
        frozenset({("user", "ann"), ("item", "x")}): {"weight": 5.0, "time": 9 * SECOND},
        frozenset({("user", "ann"), ("item", "mug")}): {"weight": 1.0, "time": 8 * SECOND},
        frozenset({("user", "bob"), ("item", "mug")}): {"weight": 0.0, "time": 7 * SECOND},
    }


def test_networkx_limit_keeps_the_best_connected(graph: InteractionGraph) -> None:
    result = to_networkx(graph, USERS, ITEMS, node_limit=3)
    assert set(result) == {("user", "ann"), ("user", "bob"), ("item", "mug")}
    assert result.number_of_edges() == 2


def test_networkx_needs_a_key_for_every_node(graph: InteractionGraph) -> None:
    with pytest.raises(InputError, match="3 users and 4 items"):
        to_networkx(graph, USERS, Vocabulary(["mug"]))


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("torch_geometric.data", to_pyg),
        ("networkx", lambda graph: to_networkx(graph, USERS, ITEMS)),
    ],
)
def test_a_missing_package_is_named(
    graph: InteractionGraph, package: str, call: Callable[[InteractionGraph], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match="pip install"):
        call(graph)


def test_the_graph_imports_no_heavy_library() -> None:
    heavy = ["torch", "torch_geometric", "networkx", "pandas", "faiss"]
    code = (
        "import sys, graphrec.graph.export, graphrec.graph.interaction_graph, graphrec.graph.vocabulary; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
