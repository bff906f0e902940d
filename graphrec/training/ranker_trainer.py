"""The ranking heads from the newest slice of the log: real candidates, features that have not absorbed the answers.

Listwise softmax over a user's candidates; several seeds are averaged, because one head's noise is as large as the gain
of a feature. Each holds out another fifth of the lists and stops at its best epoch on them. On few lists a head can be
worse than the order of retrieval that it replaces: together they must be better on what each has held out, or there is
none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from graphrec.ranking.pair_features import NAMES, pair_features
from graphrec.ranking.ranker import Ranker, in_session
from graphrec.training.precision import products

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.retriever import Retriever

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Progress = Callable[[str, int, int], None]
    List = tuple[Float32, NDArray[np.bool_]]  # features (c, f) and labels (c,) of one list

_CPU = torch.device("cpu")
_HIDDEN = (64, 32)
_EPOCHS = 15
_FEWEST_STEPS = 200  # more epochs where so few users make so few batches
_USERS_A_BATCH = 64
_LEARNING_RATE = 4e-3
_MOST_USERS = 8_000
_MOST_SESSION_EVENTS = 3_000
_FOLDS = 5  # a head holds one of them out
_FEWEST_LISTS = 20  # under this there is nothing to learn a head from


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


def train_rankers(
    retriever: Retriever, newest: Interactions, seeds: int, progress: Progress
) -> tuple[Ranker | None, Ranker | None]:
    """Fit the head for returning users, and the one for users in the middle of a session.

    `newest` are the events after the retriever's state. Users are asked for before it takes them in, with all that they
    are going to choose; in sessions they are asked for one after the other, so that each list is made from what serving
    would have known, for the next item.

    None instead of a head when too few lists have a hit, or when it orders no better than retrieval does.
    """
    returning = lists_of_users(retriever, newest, partial(progress, "ranking lists"), _MOST_USERS)
    inside = lists_in_sessions(retriever, newest, partial(progress, "session lists"), _MOST_SESSION_EVENTS)
    return (
        trained_head(padded(returning), seeds, partial(progress, "ranking head")),
        trained_head(padded(inside), seeds, partial(progress, "session head")),
    )


def trained_head(lists: Lists | None, seeds: int, progress: Callable[[int, int], None]) -> Ranker | None:
    """Train a head from scratch; None for no lists, or where it orders no better than retrieval does."""
    if lists is None:
        return None
    mean, deviation = _standard(lists)
    lists = Lists((lists.features - mean) / deviation, lists.labels, lists.real)
    order = np.random.default_rng(0).permutation(len(lists.labels))
    folds = [order[fold::_FOLDS] for fold in range(_FOLDS)]
    heads, gains = [], []
    for seed in range(seeds):
        held_out = lists.take(folds[seed % _FOLDS])
        learned = lists.take(np.concatenate([fold for fold in folds if fold is not folds[seed % _FOLDS]]))
        heads.append(_train_head(learned, held_out, seed))
        progress(seed + 1, seeds)
        gains.append(_gains(heads[-1], held_out))
    if not _is_positive(torch.cat(gains)):
        return None
    return ranker_of(heads, mean.numpy(), deviation.numpy())


def ranker_of(heads: Sequence[nn.Sequential], mean: Float32, deviation: Float32) -> Ranker:
    """Trained heads for serving, with the standard (f,) of their features."""
    by_layer = zip(*(head.parameters() for head in heads), strict=True)
    weight1, bias1, weight2, bias2, weight3 = (torch.stack(parts).detach().numpy() for parts in by_layer)
    return Ranker(mean, deviation, weight1, bias1, weight2, bias2, weight3[:, 0])


def lists_of_users(
    retriever: Retriever, newest: Interactions, progress: Callable[[int, int], None], most: int
) -> list[List]:
    """For users before anything new of them is known, with what they are going to choose."""
    positive = newest.positive()
    order = np.argsort(positive.users, kind="stable")
    users, starts = np.unique(positive.users[order], return_index=True)
    wanted = dict(zip(users.tolist(), np.split(positive.items[order], starts)[1:], strict=True))
    if len(users) > most:
        users = np.sort(np.random.default_rng(0).choice(users, most, replace=False))
    lists = []
    for count, user in enumerate(users.tolist(), start=1):
        if not in_session(retriever, user):
            candidates = retriever.candidates(user, retriever.seen(user))
            labels = np.isin(candidates.numbers, wanted[user])
            if labels.any():
                lists.append((pair_features(retriever, candidates), labels))
        progress(count, len(users))
    return lists


def lists_in_sessions(
    retriever: Retriever,
    newest: Interactions,
    progress: Callable[[int, int], None],
    most: int,
) -> list[List]:
    """For users in the middle of a session, with the next item; the retriever takes in what came before it."""
    if retriever.settings.session_minutes == 0:
        return []
    asked = np.flatnonzero(newest.weights > 0)
    if len(asked) > most:
        asked = np.sort(np.random.default_rng(0).choice(asked, most, replace=False))
    lists, done = [], 0
    for count, position in enumerate(asked.tolist(), start=1):
        passed = newest.take(slice(done, position))
        retriever.apply(passed.users, passed.items, passed.weights, passed.timestamps)
        done = position
        user = int(newest.users[position])
        if in_session(retriever, user):
            candidates = retriever.candidates(user, retriever.seen(user))
            labels = candidates.numbers == newest.items[position]
            if labels.any():
                lists.append((pair_features(retriever, candidates), labels))
        progress(count, len(asked))
    return lists


def padded(rows: list[List]) -> Lists | None:
    """Features (c, f) and labels (c,) of each list side by side; None for too few."""
    if len(rows) < _FEWEST_LISTS:
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


def new_head(first: int, second: int) -> nn.Sequential:
    """A head of two hidden layers, at a random start."""
    return nn.Sequential(
        nn.Linear(len(NAMES), first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, 1, bias=False),
    )


def _train_head(learned: Lists, held_out: Lists, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay its own
        torch.manual_seed(seed)
        head = new_head(*_HIDDEN)
    batches = -(-len(learned.labels) // _USERS_A_BATCH)
    fit_head(head, learned, held_out, max(_EPOCHS, -(-_FEWEST_STEPS // batches)), _LEARNING_RATE, seed)
    return head


def fit_head(
    head: nn.Sequential,
    learned: Lists,
    held_out: Lists,
    epochs: int,
    learning_rate: float,
    seed: int,
    *,
    mixed: bool = False,
) -> None:
    """Train a head on standardised lists; it ends as it was when it ordered the held-out ones best.

    mixed: products of the steps in bfloat16 where that is quicker.
    """
    optimiser = torch.optim.Adam(head.parameters(), lr=learning_rate)
    batches = -(-len(learned.labels) // _USERS_A_BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    rng = np.random.default_rng(seed)
    best = float(ndcg(list_scores(head, held_out), held_out).mean())
    best_state = {name: value.clone() for name, value in head.state_dict().items()}
    for _ in range(epochs):
        order = rng.permutation(len(learned.labels))
        for start in range(0, len(order), _USERS_A_BATCH):
            batch = learned.take(order[start : start + _USERS_A_BATCH])
            with products(_CPU, mixed=mixed):
                loss = listwise(head, batch)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        quality = float(ndcg(list_scores(head, held_out), held_out).mean())
        if quality > best:
            best, best_state = quality, {name: value.clone() for name, value in head.state_dict().items()}
    head.load_state_dict(best_state)


@torch.no_grad()
def _gains(head: nn.Sequential, lists: Lists) -> Tensor:
    """What the head adds to the NDCG of retrieval's order of each list, (n,)."""
    retrieval = lists.features[..., NAMES.index("score")].masked_fill(~lists.real, float("-inf"))
    return ndcg(list_scores(head, lists), lists) - ndcg(retrieval, lists)


def _is_positive(gains: Tensor) -> bool:
    """Whether a mean is above zero by more than a standard error."""
    return bool(gains.mean() > gains.std() / len(gains) ** 0.5)


def list_scores(head: nn.Module, lists: Lists) -> Tensor:
    """Scores of all candidates, (n, c), -inf on padding."""
    scores: Tensor = head(lists.features)[..., 0].float()
    return scores.masked_fill(~lists.real, float("-inf"))


def listwise(head: nn.Module, lists: Lists) -> Tensor:
    """Cross entropy over the list, a user's positives weighted by 1 / sqrt(their number)."""
    log_shares = torch.log_softmax(list_scores(head, lists), 1).masked_fill(~lists.real, 0)
    return -((lists.labels * log_shares).sum(1) / lists.labels.sum(1).sqrt()).mean()


@torch.no_grad()
def ndcg(scores: Tensor, lists: Lists, k: int = 20) -> Tensor:
    """NDCG@k of each list, (n,), from scores (n, c) that are -inf on padding."""
    k = min(k, lists.labels.shape[1])
    best = scores.topk(k, 1).indices
    discounts = 1 / torch.log2(torch.arange(2, k + 2))
    gains = (lists.labels.gather(1, best) * discounts).sum(1)
    ideal: Tensor = discounts.cumsum(0)[lists.labels.sum(1).long().clamp(max=k) - 1]
    return gains / ideal
