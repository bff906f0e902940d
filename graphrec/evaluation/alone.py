"""Parts of graphrec alone, behind the interface of the baselines: what each of them is worth without the others."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

import numpy as np

from graphrec.errors import NotTrainedError
from graphrec.retrieval.choices import Choices
from graphrec.training.choosing import choose_filter, filter_of
from graphrec.training.time_cuts import decayed_edges, new_pairs
from graphrec.training.trainer import Trained, basis_of, embed, retriever_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.evaluation.metrics import Lists
    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.retriever import Retriever

    Progress = Callable[[str, int, int], None]


class _Alone:
    """Lists of one retrieval source."""

    name: str
    settings: Mapping[str, float | None] = {}
    _retriever: Retriever | None = None

    def __init__(self, config: Config, progress: Progress) -> None:
        self._config, self._progress = config, progress

    def fit(self, interactions: Interactions) -> Self:
        """Return a new, fitted object."""
        fitted = copy.copy(self)
        fitted._learn(interactions.by_time())
        return fitted

    def _learn(self, log: Interactions) -> None:
        raise NotImplementedError

    def _list(self, retriever: Retriever, user: int, k: int, exclude: NDArray[np.int32]) -> NDArray[np.int32]:
        raise NotImplementedError

    def recommend(self, users: NDArray[np.int32], k: int, exclude_seen: bool = True) -> Lists:
        """Recommend k items to each user, best first: int32 (len(users), k), padded with -1."""
        if self._retriever is None:
            raise NotTrainedError(
                f"{self.name} has learnt nothing yet", way_out="call fit first and use what it returns"
            )
        lists = np.full((len(users), k), -1, np.int32)
        for row, user in enumerate(users.tolist()):
            exclude = self._retriever.seen(user) if exclude_seen else np.zeros(0, np.int32)
            found = self._list(self._retriever, user, k, exclude)
            lists[row, : len(found)] = found
            self._progress("lists", row + 1, len(users))
        return lists


class FilterAlone(_Alone):
    """The closed-form graph filter; its shape is chosen on the newest slice of the log unless the settings fix it."""

    name = "graphrec: graph filter alone"

    def _learn(self, log: Interactions) -> None:
        choices = Choices().under(self._config)
        if self._config.filter.is_open:
            cut = int((1 - self._config.training.slice_share) * len(log))
            base, newest = log.take(slice(cut)), log.take(slice(cut, None))
            users, items = new_pairs(newest, decayed_edges(base, np.inf))
            shape = choose_filter(
                base,
                basis_of(base, self._config),
                users,
                items,
                self._config,
                lambda done, steps: self._progress("graph filter", done, steps),
            )
            choices = Choices(filter=shape).under(self._config)
        self.settings = asdict(choices.filter)
        self._retriever = filter_of(log, choices, basis_of(log, self._config), self._config)

    def _list(self, retriever: Retriever, user: int, k: int, exclude: NDArray[np.int32]) -> NDArray[np.int32]:
        return retriever.filtered(user, k, exclude)


class SageAlone(_Alone):
    """GraphSAGE and its popularity term: what the vector index answers, without any other source or a ranking head.

    strangers: users, int32, whose events training does not see; their vectors are means of their items all the same.
    """

    name = "graphrec: GraphSAGE alone"

    def __init__(
        self, config: Config, texts: NDArray[np.float32], progress: Progress, strangers: NDArray[np.int32] | None = None
    ) -> None:
        super().__init__(config, progress)
        self._texts = texts
        self._strangers = np.zeros(0, np.int32) if strangers is None else strangers

    def _learn(self, log: Interactions) -> None:
        known = log.take(~np.isin(log.users, self._strangers))
        choices, basis = Choices().under(self._config), basis_of(known, self._config)
        model, _ = embed(
            known,
            basis,
            self._texts,
            self._config,
            choices,
            lambda done, steps: self._progress("GraphSAGE", done, steps),
        )
        trained = Trained(model, basis, choices)
        self._retriever = retriever_of(log, trained, self._texts, self._config)

    def _list(self, retriever: Retriever, user: int, k: int, exclude: NDArray[np.int32]) -> NDArray[np.int32]:
        return retriever.nearest(user, k, exclude)
