"""The model before an update as the teacher of the one after it.

Two things are handed on (Hinton, Vinyals and Dean 2015): the vectors of items that nothing new was said about, and the
order in which the old model puts items for users who are shown again. The teacher reads the same graph as the pupil, so
that what has changed in the graph is nothing it holds on to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from graphrec.training.sage_trainer import Questions, SageNetwork, Surroundings

_DEPTH = 100  # items of a list that are handed on: beyond them an order means nothing


class Teacher:
    """Unit vectors of all users and items in one graph, under weights that stay as they are."""

    @torch.no_grad()
    def __init__(self, network: SageNetwork, around: Surroundings) -> None:
        device = around.features.device
        self.users = network.users(around, torch.arange(len(around.user_inputs), device=device))
        self.items = network.items(around, torch.arange(len(around.features), device=device))

    def vector_loss(self, questions: Questions, untouched: Tensor) -> Tensor:
        """Mean of 1 - cos between new and old vectors of the other items that are untouched, bool (n_items,)."""
        old = self.items[questions.others]
        apart = 1 - (questions.other_vectors * old).sum(1)
        kept = untouched[questions.others].float()
        loss: Tensor = (apart * kept).sum() / kept.sum().clamp_min(1)
        return loss

    def list_loss(self, questions: Questions, scale: float, popularity_weight: float) -> Tensor:
        """KL divergence of the new shares of the items in each old list from the old shares, mean over users."""
        bias = popularity_weight * questions.popularity
        with torch.no_grad():
            old = scale * self.users[questions.asked] @ self.items[questions.others].T + bias
            best = old.topk(min(_DEPTH, old.shape[1]), 1)
            target = best.values.log_softmax(1)
        new = (scale * questions.cosines + bias).gather(1, best.indices).log_softmax(1)
        return functional.kl_div(new, target, reduction="batchmean", log_target=True)
