"""What has been forgotten: old questions, asked again of what was learned later.

The panel is slices of the log from before the model, each asked from the graph as it was before it, on a basis of that
graph. Only what was learned changes from one asking to the next, GraphSAGE and the ranking heads, never what is
known; so nobody can look better for having seen the answers. (Lopez-Paz and Ranzato, NeurIPS 2017: backward transfer is
what learning on does to the quality on earlier tasks.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.spectral import turn
from graphrec.evaluation.metrics import score
from graphrec.evaluation.protocols import Split
from graphrec.ranking.ranker import head_for, ranked
from graphrec.training.trainer import basis_of, retriever_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.spectral import SpectralBasis
    from graphrec.evaluation.metrics import ItemSets, Scores
    from graphrec.events.interactions import Interactions
    from graphrec.training.trainer import Trained

_PLACES = (0.4, 0.5, 0.6, 0.7, 0.8)  # in the older log; its newest tenth is what the ranking heads learned from
_SHARE = 0.07  # of the older log, each: 400 questions of a shop's month tell a loss to 2 %, five such to 1 %


class Panel:
    """Old questions of returning users.

    Args:
        old: a log in the order of time, which every model asked has learned from.
        texts: text vectors of the items, float32 (n_items, t).
    """

    def __init__(self, old: Interactions, texts: NDArray[np.float32], config: Config) -> None:
        self._texts, self._config = texts, config
        self._slices = [_Slice.of(old, place, config) for place in _PLACES]

    def quality(self, trained: Trained, k: int = 20) -> dict[str, NDArray[np.float64]]:
        """Recall and NDCG at k of what was learned, of each question."""
        found = [self._scores(part, trained, k) for part in self._slices]
        return {
            f"recall@{k}": np.concatenate([scores.recall for scores in found]),
            f"ndcg@{k}": np.concatenate([scores.ndcg for scores in found]),
        }

    def _scores(self, part: _Slice, trained: Trained, k: int) -> Scores:
        old = self._turned(part, trained)
        retriever = retriever_of(part.before, old, self._texts, self._config)
        lists = np.full((len(part.users), k), -1, np.int32)
        for row, user in enumerate(part.users.tolist()):
            head = head_for(retriever, user, old.ranker, old.session_ranker)
            candidates, best, _ = ranked(retriever, head, user, retriever.seen(user), k)
            lists[row, : len(best)] = candidates.numbers[best]
        return score(lists, part.relevant, k)

    def _turned(self, part: _Slice, trained: Trained) -> Trained:
        """What was learned, for a slice's basis."""
        model, basis = trained.model, part.basis
        k = model.features.text_to_coordinates.shape[1]
        both = basis.items.any(axis=1) & trained.basis.items.any(axis=1)
        rotation = turn(unit_rows(basis.items[both, :k]), unit_rows(trained.basis.items[both, :k]))
        features = model.features.refitted(basis.items[:, :k], self._texts)
        return replace(trained, basis=basis, model=replace(model, features=features, sage=model.sage.turned(rotation)))


@dataclass(frozen=True)
class _Slice:
    """What was known before it, and who asks for what; users (n,), relevant items of each."""

    before: Interactions
    basis: SpectralBasis
    users: NDArray[np.int32]
    relevant: ItemSets

    @classmethod
    def of(cls, old: Interactions, place: float, config: Config) -> _Slice:
        start, stop = int(place * len(old)), int((place + _SHARE) * len(old))
        before = old.take(slice(start))
        split = Split.of(before, old.take(slice(start, stop)))
        known = np.bincount(before.positive().users, minlength=old.n_users)[split.test_users] > 0
        rows, relevant = split.relevant.where(np.repeat(known, split.relevant.sizes)).nonempty()
        return cls(before, basis_of(before, config), split.test_users[rows], relevant)


def transfer(
    before: Mapping[str, NDArray[np.float64]], after: Mapping[str, NDArray[np.float64]]
) -> tuple[float, float]:
    """Relative change of a panel's quality, the mean over its metrics, and its standard error over the questions."""
    changes = np.mean([(after[name] - before[name]) / before[name].mean() for name in before], axis=0)
    return float(changes.mean()), float(changes.std() / len(changes) ** 0.5)
