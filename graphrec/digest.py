"""One number for the whole state: equal for two processes at the same log offset and generation.

It is taken over external ids in sorted order, so neither node numbers nor the batches the log was cut into show in it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.events.catalogue import Catalogue
    from graphrec.graph.interaction_graph import InteractionGraph
    from graphrec.graph.vocabulary import Vocabulary


def state_digest(
    users: Vocabulary, items: Vocabulary, graph: InteractionGraph, catalogue: Catalogue, generation: str
) -> str:
    """SHA-256, hexadecimal, over vocabulary, graph with weights and times, catalogue, and the generation's digest."""
    digest = hashlib.sha256()
    user_rank, item_rank = _ranks(users), _ranks(items)
    for vocabulary in (users, items):
        keys = sorted(vocabulary.keys(np.arange(len(vocabulary), dtype=np.int32)))
        digest.update(json.dumps(keys).encode())
    edges = graph.canonical_weights()
    by_user, by_item = user_rank[edges.users], item_rank[edges.items]
    order = np.lexsort((by_item, by_user))
    for column in (by_user, by_item, edges.weights, edges.times):
        digest.update(np.ascontiguousarray(column[order]).astype(column.dtype.newbyteorder("<")).tobytes())
    content = []
    for number, key in enumerate(items.keys(np.arange(len(items), dtype=np.int32))):
        item = catalogue.get(number)
        if item is not None:
            content.append([key, item.title, item.text, dict(item.attributes)])
    digest.update(json.dumps(sorted(content, key=lambda row: str(row[0])), sort_keys=True).encode())
    digest.update(generation.encode())
    return digest.hexdigest()


def _ranks(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Position of each node number in the sorted order of the external ids."""
    keys = vocabulary.keys(np.arange(len(vocabulary), dtype=np.int32))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = np.empty(len(keys), np.int64)
    ranks[order] = np.arange(len(keys))
    return ranks
