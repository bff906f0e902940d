"""The interaction graph in the form of other libraries: PyTorch Geometric and networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import DependencyError, InputError

if TYPE_CHECKING:
    from typing import Any

    import networkx as nx
    import numpy.typing as npt
    from torch_geometric.data import HeteroData

    from graphrec.graph.interaction_graph import InteractionGraph
    from graphrec.graph.vocabulary import Vocabulary


def to_pyg(graph: InteractionGraph, item_features: npt.NDArray[Any] | None = None) -> HeteroData:
    """Return the graph as HeteroData: nodes `user` and `item`, edges both ways, sorted by user, then by item.

    Edge types ("user", "interacts", "item") and ("item", "rev_interacts", "user"), each with edge_index int64[2, m],
    edge_weight float32[m] (effective: 0 where a pair was seen but taken back) and time int64[m] (microseconds). `x` of
    the items are the features, [n_items, d], where given. Raises InputError when their rows are not the items, and
    DependencyError without PyTorch Geometric.
    """
    try:
        import torch
        from torch_geometric.data import HeteroData
    except ImportError as error:
        raise _missing("PyTorch Geometric", "torch torch-geometric", error) from error

    if item_features is not None and (item_features.ndim != 2 or len(item_features) != graph.n_items):
        raise InputError(
            "the features do not fit the items", expected=f"[{graph.n_items}, d]", got=str(list(item_features.shape))
        )
    indptr, items, weights, times = graph.to_csr()
    user_index = torch.from_numpy(np.repeat(np.arange(graph.n_users), np.diff(indptr)))
    item_index = torch.from_numpy(items.astype(np.int64))

    data = HeteroData()
    data["user"].num_nodes = graph.n_users
    data["item"].num_nodes = graph.n_items
    if item_features is not None:
        data["item"].x = torch.from_numpy(np.array(item_features, np.float32))
    for edge_type, source, target in (
        (("user", "interacts", "item"), user_index, item_index),
        (("item", "rev_interacts", "user"), item_index, user_index),
    ):
        data[edge_type].edge_index = torch.stack([source, target])
        data[edge_type].edge_weight = torch.from_numpy(weights)
        data[edge_type].time = torch.from_numpy(times)
    return data


def to_networkx(
    graph: InteractionGraph, users: Vocabulary, items: Vocabulary, node_limit: int | None = None
) -> nx.Graph[tuple[str, str]]:
    """Return the graph as a bipartite networkx.Graph with nodes ("user", id) and ("item", id).

    Nodes carry `bipartite` (0 = user, 1 = item) and `number`, edges `weight` (effective) and `time` (microseconds).
    With `node_limit`, only the nodes with the most neighbours and the edges between them: a networkx edge takes some
    350 bytes. Raises InputError when a vocabulary is shorter than the graph, DependencyError without networkx.
    """
    try:
        import networkx as nx
    except ImportError as error:
        raise _missing("networkx", "networkx", error) from error

    if len(users) < graph.n_users or len(items) < graph.n_items:
        raise InputError(
            "a vocabulary does not reach as far as the graph",
            expected=f"{graph.n_users} users and {graph.n_items} items",
            got=f"{len(users)} and {len(items)}",
        )
    degree = np.concatenate([graph.user_degree, graph.item_degree])
    kept = np.zeros(degree.size, dtype=bool)
    kept[np.argsort(-degree, kind="stable")[:node_limit]] = True
    kept_users, kept_items = np.flatnonzero(kept[: graph.n_users]), np.flatnonzero(kept[graph.n_users :])
    user_nodes = {number: ("user", users.key(number)) for number in kept_users.tolist()}
    item_nodes = {number: ("item", items.key(number)) for number in kept_items.tolist()}

    result: nx.Graph[tuple[str, str]] = nx.Graph()
    result.add_nodes_from((node, {"bipartite": 0, "number": number}) for number, node in user_nodes.items())
    result.add_nodes_from((node, {"bipartite": 1, "number": number}) for number, node in item_nodes.items())
    for user, user_node in user_nodes.items():
        for item, weight, time in zip(*(column.tolist() for column in graph.user_row(user)), strict=True):
            if item in item_nodes:
                result.add_edge(user_node, item_nodes[item], weight=weight, time=time)
    return result


def _missing(name: str, packages: str, error: ImportError) -> DependencyError:
    return DependencyError(f"{name} cannot be imported", got=str(error), way_out=f"pip install {packages}")
