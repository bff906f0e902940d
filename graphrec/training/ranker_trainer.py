"""The ranking heads from the newest slice of the log: real candidates, features that have not absorbed the answers.

Listwise softmax over a user's candidates; several seeds are averaged, because one head's noise is as large as the gain
of a feature, and each stops at its best epoch on users it has not learned from. On few users a head can be worse than
the order of retrieval that it replaces: it must be better on those same users, or there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from graphrec.ranking.pair_features import NAMES, pair_features
from graphrec.ranking.ranker import Ranker, in_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.retriever import Retriever

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]

_HIDDEN = (64, 32)
_EPOCHS = 15
_FEWEST_STEPS = 200  # more epochs where so few users make so few batches
_USERS_A_BATCH = 64
_LEARNING_RATE = 4e-3
_MOST_USERS = 8_000
_MOST_SESSION_EVENTS = 3_000
_HELD_OUT = 0.2
_FEWEST_USERS = 20  # under this there is nothing to learn a head from


@dataclass(frozen=True)
class Lists:
    """Padded candidate lists of n users: features (n, c, f), labels (n, c), real (n, c) = not padding."""

    features: Tensor
    labels: Tensor
    real: Tensor

    def take(self, which: NDArray[np.int64]) -> Lists:
        """Some of the users."""
        rows = torch.from_numpy(which)
        return Lists(self.features[rows], self.labels[rows], self.real[rows])


def train_ranker(
    retriever: Retriever,
    users: Int32,
    items: Int32,
    seeds: int,
    progress: Callable[[int, int], None],
) -> Ranker | None:
    """Fit on pairs (users, items) that came after the retriever's state.

    None when too few users have a hit, or when the heads order no better than retrieval does.
    """
    return _trained(_lists(retriever, users, items, progress), seeds)


def train_session_ranker(
    retriever: Retriever, newest: Interactions, seeds: int, progress: Callable[[int, int], None]
) -> Ranker | None:
    """Fit on the next item of users in the middle of a session; `newest` are the events after the retriever's state.

    The retriever takes them in, one after the other, so that each list is made from what serving would have known. None
    as in `train_ranker`.
    """
    return _trained(_session_lists(retriever, newest, progress), seeds)


def _trained(lists: Lists | None, seeds: int) -> Ranker | None:
    if lists is None:
        return None
    mean, deviation = _standard(lists)
    lists = Lists((lists.features - mean) / deviation, lists.labels, lists.real)
    order = np.random.default_rng(0).permutation(len(lists.labels))
    held_out = lists.take(order[: int(_HELD_OUT * len(order))])
    learned = lists.take(order[int(_HELD_OUT * len(order)) :])
    heads = [_train_head(learned, held_out, seed) for seed in range(seeds)]
    if not _is_better(heads, held_out):
        return None
    by_layer = zip(*(head.parameters() for head in heads), strict=True)
    weight1, bias1, weight2, bias2, weight3 = (torch.stack(parts).detach().numpy() for parts in by_layer)
    return Ranker(mean.numpy(), deviation.numpy(), weight1, bias1, weight2, bias2, weight3[:, 0])


def _lists(retriever: Retriever, users: Int32, items: Int32, progress: Callable[[int, int], None]) -> Lists | None:
    chosen = np.unique(users)
    if len(chosen) > _MOST_USERS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, _MOST_USERS, replace=False))
    order = np.argsort(users, kind="stable")
    starts = np.searchsorted(users[order], chosen)
    ends = np.searchsorted(users[order], chosen, side="right")
    rows: list[tuple[Float32, NDArray[np.bool_]]] = []
    for position, user in enumerate(chosen):
        candidates = retriever.candidates(int(user), retriever.seen(int(user)))
        wanted = items[order[starts[position] : ends[position]]]
        labels = np.isin(candidates.numbers, wanted)
        if labels.any():
            rows.append((pair_features(retriever, candidates), labels))
        progress(position + 1, len(chosen))
    return _padded(rows)


def _session_lists(retriever: Retriever, newest: Interactions, progress: Callable[[int, int], None]) -> Lists | None:
    if retriever.settings.session_minutes == 0:
        return None
    asked = np.flatnonzero(newest.weights > 0)
    if len(asked) > _MOST_SESSION_EVENTS:
        asked = np.sort(np.random.default_rng(0).choice(asked, _MOST_SESSION_EVENTS, replace=False))
    rows: list[tuple[Float32, NDArray[np.bool_]]] = []
    done = 0
    for count, position in enumerate(asked.tolist(), start=1):
        passed = newest.take(slice(done, position))
        retriever.apply(passed.users, passed.items, passed.weights, passed.timestamps)
        done = position
        user = int(newest.users[position])
        if in_session(retriever, user):
            candidates = retriever.candidates(user, retriever.seen(user))
            labels = candidates.numbers == newest.items[position]
            if labels.any():
                rows.append((pair_features(retriever, candidates), labels))
        progress(count, len(asked))
    return _padded(rows)


def _padded(rows: list[tuple[Float32, NDArray[np.bool_]]]) -> Lists | None:
    """Features (c, f) and labels (c,) of each list side by side; None for too few."""
    if len(rows) < _FEWEST_USERS:
        return None
    width = max(len(labels) for _, labels in rows)
    features = torch.zeros(len(rows), width, len(NAMES))
    labels_of = torch.zeros(len(rows), width)
    real = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (matrix, labels) in enumerate(rows):
        features[row, : len(labels)] = torch.from_numpy(matrix)
        labels_of[row, : len(labels)] = torch.from_numpy(labels)
        real[row, : len(labels)] = True
    return Lists(features, labels_of, real)


def _standard(lists: Lists) -> tuple[Tensor, Tensor]:
    real = lists.features[lists.real]
    return real.mean(0), real.std(0).clamp_min(1e-6)


def _train_head(learned: Lists, held_out: Lists, seed: int) -> nn.Sequential:
    first, second = _HIDDEN
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay its own
        torch.manual_seed(seed)
        head = nn.Sequential(
            nn.Linear(len(NAMES), first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, 1, bias=False),
        )
    optimiser = torch.optim.Adam(head.parameters(), lr=_LEARNING_RATE)
    batches = -(-len(learned.labels) // _USERS_A_BATCH)
    epochs = max(_EPOCHS, -(-_FEWEST_STEPS // batches))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    rng = np.random.default_rng(seed)
    best, best_state = -1.0, {name: value.clone() for name, value in head.state_dict().items()}
    for _ in range(epochs):
        order = rng.permutation(len(learned.labels))
        for start in range(0, len(order), _USERS_A_BATCH):
            batch = learned.take(order[start : start + _USERS_A_BATCH])
            loss = _listwise(head, batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        quality = float(_ndcg(_scores(head, held_out), held_out).mean())
        if quality > best:
            best, best_state = quality, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best_state)
    return head


@torch.no_grad()
def _is_better(heads: list[nn.Sequential], lists: Lists) -> bool:
    """Whether their mean orders lists better than retrieval, by more than two standard errors of saying so.

    Two, since each head has been stopped where it did best on these very lists.
    """
    scores = torch.stack([_scores(head, lists) for head in heads]).mean(0)
    retrieval = lists.features[..., NAMES.index("score")].masked_fill(~lists.real, float("-inf"))
    gains = _ndcg(scores, lists) - _ndcg(retrieval, lists)
    return bool(gains.mean() > 2 * gains.std() / len(gains) ** 0.5)


def _scores(head: nn.Module, lists: Lists) -> Tensor:
    scores: Tensor = head(lists.features)[..., 0]
    return scores.masked_fill(~lists.real, float("-inf"))


def _listwise(head: nn.Module, lists: Lists) -> Tensor:
    """Cross entropy over the list, a user's positives weighted by 1 / sqrt(their number)."""
    log_shares = torch.log_softmax(_scores(head, lists), 1).masked_fill(~lists.real, 0)
    return -((lists.labels * log_shares).sum(1) / lists.labels.sum(1).sqrt()).mean()


@torch.no_grad()
def _ndcg(scores: Tensor, lists: Lists, k: int = 20) -> Tensor:
    """NDCG@k of each list, (n,), from scores (n, c) that are -inf on padding."""
    k = min(k, lists.labels.shape[1])
    best = scores.topk(k, 1).indices
    discounts = 1 / torch.log2(torch.arange(2, k + 2))
    gains = (lists.labels.gather(1, best) * discounts).sum(1)
    ideal: Tensor = discounts.cumsum(0)[lists.labels.sum(1).long().clamp(max=k) - 1]
    return gains / ideal
