"""Parts of the test on which a mean over everybody says little: newcomers, rarities, kinds of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.evaluation.metrics import bootstrap_interval, score

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graphrec.evaluation.metrics import Lists
    from graphrec.evaluation.protocols import Split

COLD = 5  # positive training events; with fewer a user or an item is cold
HEAD_SHARE = 0.8  # of the positive training events go to the short head
METRICS = ("recall", "ndcg")


@dataclass(frozen=True)
class SliceResult:
    """Metrics, named like `recall@20`, where only the slice's items are relevant and only users with such are asked.

    users: how many these are; relevant: how many items they want. Intervals as in `Result`.
    """

    users: int
    relevant: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def slices(split: Split) -> dict[str, NDArray[np.bool_]]:
    """Mark the relevant items of every slice, bool (number of relevant items,).

    returning users: with any positive training event. cold users: with fewer than COLD of them. cold items: with fewer
    than COLD of them. tail items: outside the short head, which is the most popular items that together have HEAD_SHARE
    of them (Abdollahpouri et al., FLAIRS 2019). And one slice for each kind of event in the test, if there are several.
    """
    wanted, items = split.train.positive(), split.relevant.items
    per_user = np.bincount(wanted.users, minlength=wanted.n_users)
    per_item = np.bincount(wanted.items, minlength=wanted.n_items)
    return {
        "returning users": np.repeat(per_user[split.test_users] > 0, split.relevant.sizes),
        "cold users": np.repeat(per_user[split.test_users] < COLD, split.relevant.sizes),
        "cold items": per_item[items] < COLD,
        "tail items": ~short_head(per_item)[items],
    } | {f"by {kind}": marked for kind, marked in split.kinds.items()}


def short_head(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the most popular items up to the one that reaches HEAD_SHARE of all counts, bool (n_items,)."""
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), bool)
    head[order[before < HEAD_SHARE * counts.sum()]] = True
    return head


def score_slices(recommended: Lists, split: Split, k: int, rng: np.random.Generator) -> dict[str, SliceResult]:
    """Score the first k items of every list on every slice that has something relevant."""
    found = {}
    for name, marked in slices(split).items():
        rows, relevant = split.relevant.where(marked).nonempty()
        if len(rows) == 0:
            continue
        scores = score(recommended[rows], relevant, k)
        per_user = np.column_stack([getattr(scores, metric) for metric in METRICS])
        low, high = bootstrap_interval(per_user, rng)
        names = [f"{metric}@{k}" for metric in METRICS]
        found[name] = SliceResult(
            users=len(rows),
            relevant=len(relevant.items),
            metrics=dict(zip(names, per_user.mean(axis=0).tolist(), strict=True)),
            intervals=dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True)),
        )
    return found
