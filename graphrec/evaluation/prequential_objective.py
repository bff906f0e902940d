"""What settings are judged by before anything is published: blocks of the older log, asked for and then learned.

The newest tenth of the log is cut off before anything else happens, so that `graphrec evaluate` can say afterwards what
the chosen settings are worth on events that nobody has looked at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from graphrec.evaluation.metrics import score
from graphrec.evaluation.protocols import prequential_blocks, prequential_splits
from graphrec.evaluation.updated_graphrec import UpdatedGraphrec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.evaluation.metrics import Floats
    from graphrec.evaluation.protocols import Split
    from graphrec.events.interactions import Interactions

    Progress = Callable[[str, int, int], None]

KEPT_BACK = 0.1  # newest share of the events, the test of `graphrec evaluate`
ASKED = 1_000  # users a block at most


@dataclass(frozen=True)
class Gain:
    """A mean difference and its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval is above 0."""
        return self.low > 0.0


@dataclass(frozen=True, eq=False)
class Objective:
    """Mean of a metric over blocks, each counting alike; `fingerprint` tells apart what is not the same question.

    texts: text vectors of the items, float32 (n_items, t).
    """

    splits: tuple[Split, ...]
    texts: NDArray[np.float32]
    metric: Literal["ndcg", "recall"]
    k: int
    fingerprint: str

    @classmethod
    def of(
        cls,
        log: Interactions,
        texts: NDArray[np.float32],
        metric: Literal["ndcg", "recall"] = "ndcg",
        *,
        blocks: int = 4,
        base_share: float = 0.6,
        k: int = 20,
    ) -> Self:
        """Cut all but the newest tenth of a log into a base, its oldest `base_share`, and `blocks` after it.

        Of each block every so many of the users are asked, at most ASKED. Raises InputError where a log cannot be cut
        so.
        """
        ((older, _),) = prequential_blocks(log, 1.0 - KEPT_BACK, 1)
        digest = hashlib.sha256(repr((metric, blocks, base_share, k, log.n_users, log.n_items)).encode())
        for column in (older.users, older.items, older.timestamps, older.weights, texts):
            digest.update(np.ascontiguousarray(column).data)
        splits = tuple(_some_users(split) for split in prequential_splits(older, base_share, blocks))
        return cls(splits, texts, metric, k, digest.hexdigest())

    def blocks(self, config: Config, progress: Progress) -> Iterator[Floats]:
        """Train on the base; ask for each block, then learn it as an update: scores of its users, float64 (n,)."""
        model = UpdatedGraphrec(config, self.texts, progress)
        for split in self.splits:
            model = model.fit(split.train)
            lists = model.recommend(split.test_users, self.k)
            scores: Floats = getattr(score(lists, split.relevant, self.k), self.metric)
            yield scores

    def gain(self, scores: Sequence[Floats], than: Sequence[Floats], comparisons: int = 1) -> Gain:
        """Compare the same users' scores of every block under two settings.

        The 95 % interval is normal and counts a user of several blocks once. It is Bonferroni's for `comparisons`: the
        best of many settings looks better than it is.
        """
        from scipy.special import ndtri

        share_of = np.zeros(max(int(split.test_users.max()) for split in self.splits) + 1)  # of the sum, by user
        for split, one, other in zip(self.splits, scores, than, strict=True):
            share_of[split.test_users] += (one - other) / (len(one) * len(self.splits))
        asked = np.unique(np.concatenate([split.test_users for split in self.splits]))
        parts = share_of[asked]
        error = np.sqrt(len(parts)) * parts.std(ddof=1) if len(parts) > 1 else np.inf
        half = float(ndtri(1.0 - 0.025 / max(comparisons, 1)) * error)
        mean = float(parts.sum())
        return Gain(mean, mean - half, mean + half)


def _some_users(split: Split) -> Split:
    asked = np.arange(len(split.test_users)) % -(-len(split.test_users) // ASKED) == 0
    rows, relevant = split.relevant.where(np.repeat(asked, split.relevant.sizes)).nonempty()
    return replace(split, test_users=split.test_users[rows], relevant=relevant, kinds={})
