"""The ranking heads learn on: from lists of the newest events, a few epochs from the weights they have.

The lists are those that the live state would have made before it took the events in, which is all that a head can
honestly learn from. Features keep the standard they were trained in. Each head holds out another fifth of the lists,
and stays as it was where it orders them no better after all.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from graphrec.training.ranker_trainer import (
    Lists,
    fit_head,
    lists_in_sessions,
    lists_of_users,
    new_head,
    padded,
    ranker_of,
    trained_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from graphrec.config import UpdateSettings
    from graphrec.events.interactions import Interactions
    from graphrec.ranking.ranker import Ranker
    from graphrec.retrieval.retriever import Retriever
    from graphrec.training.ranker_trainer import List

    Progress = Callable[[str, int, int], None]

_FOLDS = 5


def update_rankers(
    retriever: Retriever,
    new: Interactions,
    heads: tuple[Ranker | None, Ranker | None],
    seeds: int,
    settings: UpdateSettings,
    progress: Progress,
) -> tuple[Ranker | None, Ranker | None]:
    """The heads for returning users and for sessions after `new` events, which the retriever has not taken in yet.

    It takes them in on the way. Where there is no head, one is trained from scratch; where too few lists have a hit,
    the head stays; without epochs both do, and no list is made.
    """
    if not settings.ranker_epochs:
        return heads
    returning = lists_of_users(retriever, new, partial(progress, "ranking lists"), settings.ranker_users)
    inside = lists_in_sessions(retriever, new, partial(progress, "session lists"), settings.session_events)
    return (
        continued_head(returning, heads[0], seeds, settings, partial(progress, "ranking head")),
        continued_head(inside, heads[1], seeds, settings, partial(progress, "session head")),
    )


def continued_head(
    rows: list[List],
    head: Ranker | None,
    seeds: int,
    settings: UpdateSettings,
    progress: Callable[[int, int], None],
) -> Ranker | None:
    """A head after some more lists, each of features (c, f) and labels (c,)."""
    if head is None:
        return trained_head(padded(rows), seeds, progress)
    lists = padded(rows)
    if lists is None:
        return head
    mean, deviation = torch.from_numpy(head.mean), torch.from_numpy(head.deviation)
    lists = Lists((lists.features - mean) / deviation, lists.labels, lists.real)
    order = np.random.default_rng(0).permutation(len(lists.labels))
    networks = []
    for number in range(len(head.weight1)):
        network = _network(head, number)
        held_out = np.arange(len(order)) % _FOLDS == number % _FOLDS
        fit_head(
            network,
            lists.take(order[~held_out]),
            lists.take(order[held_out]),
            settings.ranker_epochs,
            settings.ranker_learning_rate,
            number,
            mixed=settings.mixed_precision,
        )
        networks.append(network)
        progress(number + 1, len(head.weight1))
    return ranker_of(networks, head.mean, head.deviation)


def _network(head: Ranker, number: int) -> nn.Sequential:
    """One of the heads as a network."""
    with torch.random.fork_rng(devices=[]):
        network = new_head(head.weight1.shape[1], head.weight2.shape[1])
    arrays = head.weight1, head.bias1, head.weight2, head.bias2, head.weight3[:, None]
    with torch.no_grad():
        for parameter, array in zip(network.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array[number]))
    return network
