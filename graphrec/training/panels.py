"""What two models are asked, and how they answer: the whole pipeline on a graph that ends before the questions.

A model is its weights, heads and basis; the graph belongs to the log. So both models answer from the same history, cut
at the same moment, and what is asked for comes after it. Neither can have it in its graph; that a candidate has not
learned from the newest slice either is the business of whoever makes it (`candidate.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.embedding.spectral import known_rows
from graphrec.ranking.ranker import head_for, ranked
from graphrec.retrieval.cold_items import ColdItems
from graphrec.retrieval.retriever import Retriever
from graphrec.training.time_cuts import decayed_edges, new_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.learned import Learned

    Float32 = NDArray[np.float32]
    Texts = NDArray[np.float16 | np.float32]
    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]
    Answers = Callable[[Interactions, Int32, int], Int32]  # history, users (n,), k -> lists (n, k), padded with -1


@dataclass(frozen=True, eq=False)
class Panel:
    """Questions at one moment: the history, whom to ask, int32 (n,), and the new items each of them took."""

    name: str
    history: Interactions
    users: Int32
    wanted: list[Int32]

    def __len__(self) -> int:
        return len(self.users)


def panel(name: str, log: Interactions, moment: int, until: int, most: int, rng: np.random.Generator) -> Panel:
    """Ask at most `most` users with a history what new items they take from position `moment` to `until` of a log."""
    history = log.take(slice(moment))
    users, items = new_pairs(log.take(slice(moment, until)), decayed_edges(history.by_time(), np.inf))
    asked, starts = np.unique(users, return_index=True)
    wanted = np.split(items, starts[1:]) if len(asked) else []
    chosen = np.sort(rng.choice(len(asked), most, replace=False)) if len(asked) > most else np.arange(len(asked))
    return Panel(name, history, asked[chosen].astype(np.int32), [wanted[place] for place in chosen.tolist()])


def answers_of(learned: Learned, texts: Texts, config: Config) -> Answers:
    """How a model answers, given the text vectors of all items (n_items, t)."""

    def answers(history: Interactions, users: Int32, k: int) -> Int32:
        basis = learned.basis_items, learned.basis_values
        retriever = Retriever(config, learned.model, choices=learned.choices, basis=basis)
        coordinates = known_rows(learned.basis_items, np.arange(history.n_items))
        features = learned.model.features
        retriever.add_items(features.features(coordinates, texts), features.centred(texts) if texts.shape[1] else None)
        retriever.load(history.users, history.items, history.weights, history.timestamps)
        cold = None if learned.cold is None else ColdItems(learned.cold, retriever, config.cold)
        lists = np.full((len(users), k), -1, np.int32)
        for row, user in enumerate(users.tolist()):
            hidden = retriever.seen(user)
            head = head_for(retriever, user, learned.ranker, learned.session_ranker)
            candidates, best, scores = ranked(retriever, head, user, hidden, k)
            numbers = candidates.numbers[best]
            if cold is not None:
                numbers, _, _ = cold.into_places(user, hidden, k, numbers, candidates.sources[best], scores)
            lists[row, : len(numbers)] = numbers
        return lists

    return answers


def ndcg_and_recall(lists: Int32, wanted: list[Int32]) -> tuple[Float64, Float64]:
    """NDCG and recall of each list (n, k), float64 (n,) each; binary relevance, ideal = min(k, number wanted) hits."""
    k = lists.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    hits = np.stack([np.isin(row, items) for row, items in zip(lists, wanted, strict=True)])
    sizes = np.array([len(items) for items in wanted])
    ideal = np.cumsum(discounts)[np.minimum(sizes, k) - 1]
    return hits @ discounts / ideal, hits.sum(axis=1) / sizes
