"""graphrec itself behind the interface of the baselines: the same training, retrieval and ranking that serve."""

from __future__ import annotations

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np

from graphrec.errors import NotTrainedError
from graphrec.ranking.ranker import head_for, ranked
from graphrec.retrieval.cold_items import ColdItems
from graphrec.training.trainer import fit, retriever_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.evaluation.metrics import Lists
    from graphrec.events.interactions import Interactions
    from graphrec.ranking.ranker import Ranker
    from graphrec.retrieval.retriever import Retriever
    from graphrec.training.trainer import Trained

    Progress = Callable[[str, int, int], None]


class GraphrecModel:
    """Train on interactions, answer with the whole pipeline.

    texts: text vectors of the items, float32 (n_items, t), t = 0 without texts.
    """

    name = "graphrec"
    settings: Mapping[str, float | None] = MappingProxyType({})

    def __init__(self, config: Config, texts: NDArray[np.float32], progress: Progress) -> None:
        self._config, self._texts, self._progress = config, texts, progress
        self._retriever: Retriever | None = None
        self._informed: Retriever | None = None  # knows what to hide
        self._rankers: tuple[Ranker | None, Ranker | None] = (None, None)
        self._cold: ColdItems | None = None
        self.scores: NDArray[np.float32] = np.zeros((0, 0), np.float32)  # of the last lists

    def fit(self, interactions: Interactions) -> Self:
        """Return a new, trained object."""
        log = interactions.by_time()
        trained = fit(log, self._texts, self._config, self._progress)
        fitted = copy.copy(self)
        fitted._serve(log, trained)
        return fitted

    def _serve(self, log: Interactions, trained: Trained) -> None:
        """Answer from the state at the end of a log in the order of time."""
        self._rankers = trained.ranker, trained.session_ranker
        retriever = retriever_of(log, trained, self._texts, self._config)
        self._retriever = self._informed = retriever
        self._cold = None if trained.cold is None else ColdItems(trained.cold, retriever, self._config.cold)

    def recommend(self, users: NDArray[np.int32], k: int, exclude_seen: bool = True) -> Lists:
        """Recommend k items to each user, best first: int32 (len(users), k), padded with -1."""
        retriever = self._retriever
        informed = self._informed
        if retriever is None or informed is None:
            raise NotTrainedError("graphrec has learnt nothing yet", way_out="call fit first and use what it returns")
        lists = np.full((len(users), k), -1, np.int32)
        self.scores = np.full((len(users), k), np.nan, np.float32)
        nothing = np.zeros(0, np.int32)
        for row, user in enumerate(users.tolist()):
            hidden = informed.seen(user) if exclude_seen else nothing
            head = head_for(retriever, user, *self._rankers)
            candidates, best, scores = ranked(retriever, head, user, hidden, k)
            numbers = candidates.numbers[best]
            if self._cold is not None:
                sources = candidates.sources[best]
                numbers, _, scores = self._cold.into_places(user, hidden, k, numbers, sources, scores)
            lists[row, : len(numbers)] = numbers
            self.scores[row, : len(numbers)] = scores
            self._progress("lists", row + 1, len(users))
        return lists
