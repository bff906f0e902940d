"""What has been forgotten: old questions, asked again of what was learned later.

The panel is a slice of the log from before the model, asked from the graph as it was before the slice, on a basis of
that graph. Only what was learned changes from one asking to the next, GraphSAGE and the ranking heads, never what is
known; so nobody can look better for having seen the answers. (Lopez-Paz and Ranzato, NeurIPS 2017: backward transfer is
what learning on does to the quality on earlier tasks.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.spectral import turn
from graphrec.evaluation.metrics import score
from graphrec.evaluation.protocols import Split
from graphrec.ranking.ranker import head_for, ranked
from graphrec.training.trainer import basis_of, retriever_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.training.trainer import Trained

_PLACE = 0.8  # of the older log, where the panel begins: its newest tenth is what the ranking heads learned from
_SHARE = 0.07  # of the older log


class Panel:
    """Old questions of returning users.

    Args:
        old: a log in the order of time, which every model asked has learned from.
        texts: text vectors of the items, float32 (n_items, t).
    """

    def __init__(self, old: Interactions, texts: NDArray[np.float32], config: Config) -> None:
        start, stop = int(_PLACE * len(old)), int((_PLACE + _SHARE) * len(old))
        self._before, self._texts, self._config = old.take(slice(start)), texts, config
        self._basis = basis_of(self._before, config)
        split = Split.of(self._before, old.take(slice(start, stop)))
        known = np.bincount(self._before.positive().users, minlength=old.n_users)[split.test_users] > 0
        rows, self._relevant = split.relevant.where(np.repeat(known, split.relevant.sizes)).nonempty()
        self._users = split.test_users[rows]

    def quality(self, trained: Trained, k: int = 20) -> dict[str, float]:
        """Recall and NDCG at k of what was learned, mean over the panel's users."""
        old = self._turned(trained)
        retriever = retriever_of(self._before, old, self._texts, self._config)
        lists = np.full((len(self._users), k), -1, np.int32)
        for row, user in enumerate(self._users.tolist()):
            head = head_for(retriever, user, old.ranker, old.session_ranker)
            candidates, best, _ = ranked(retriever, head, user, retriever.seen(user), k)
            lists[row, : len(best)] = candidates.numbers[best]
        found = score(lists, self._relevant, k)
        return {f"recall@{k}": float(found.recall.mean()), f"ndcg@{k}": float(found.ndcg.mean())}

    def _turned(self, trained: Trained) -> Trained:
        """What was learned, for the panel's basis."""
        model, basis = trained.model, self._basis
        k = model.features.text_to_coordinates.shape[1]
        both = basis.items.any(axis=1) & trained.basis.items.any(axis=1)
        rotation = turn(unit_rows(basis.items[both, :k]), unit_rows(trained.basis.items[both, :k]))
        features = model.features.refitted(basis.items[:, :k], self._texts)
        return replace(trained, basis=basis, model=replace(model, features=features, sage=model.sage.turned(rotation)))
