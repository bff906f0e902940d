"""graphrec that learns on: trained once, then updated block after block as the product would be."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

from graphrec.errors import NotTrainedError
from graphrec.evaluation.graphrec_model import GraphrecModel
from graphrec.training.trainer import fit, retriever_of
from graphrec.training.updater import continued

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.training.trainer import Trained

    Progress = Callable[[str, int, int], None]


class UpdatedGraphrec(GraphrecModel):
    """Trains on what it is first fitted to; fitted again to a longer log, it learns from what that has more.

    Args:
        trained: what has been learned from `known`, to go on with; None = the first fit trains.
        learns: False = later events reach the graph, popularity and histories, and no weight.

    Other arguments as of GraphrecModel.
    """

    def __init__(
        self,
        config: Config,
        texts: NDArray[np.float32],
        progress: Progress,
        trained: Trained | None = None,
        known: Interactions | None = None,
        *,
        learns: bool = True,
    ) -> None:
        super().__init__(config, texts, progress)
        self.trained, self._known, self._learns = trained, known, learns

    def fit(self, interactions: Interactions) -> Self:
        """Return an object that has learned from a log; one longer than the last is what came after it."""
        log = interactions.by_time()
        if self.trained is None or self._known is None:
            return self._ready(fit(log, self._texts, self._config, self._progress), log)
        new = log.take(slice(len(self._known), None))
        if not len(new) or not self._learns:
            return self._ready(self.trained, log)
        return self._ready(continued(self.trained, self._known, new, self._texts, self._config, self._progress), log)

    def serving(self) -> Self:
        """Return an object that answers with what has been learned so far; raises NotTrainedError before `fit`."""
        if self.trained is None or self._known is None:
            raise NotTrainedError("there is nothing to answer with", way_out="call fit first")
        return self._ready(self.trained, self._known)

    def refit(self, block: Interactions) -> Self:
        """Return an object that has also learned from a block of later events; raises NotTrainedError before `fit`."""
        if self._known is None:
            raise NotTrainedError("there is nothing to learn on from", way_out="call fit first")
        return self.fit(self._known.joined(block))

    def _ready(self, trained: Trained, log: Interactions) -> Self:
        fitted = copy.copy(self)
        fitted.trained, fitted._known = trained, log
        fitted._serve(log, trained)
        return fitted


class StaleGraphrec(UpdatedGraphrec):
    """Never follows at all: lists from the state at the end of the first log; what users have had since is hidden."""

    def fit(self, interactions: Interactions) -> Self:
        """Return an object that knows what to hide."""
        if self.trained is None or self._known is None or self._retriever is None:
            return super().fit(interactions)
        fitted = copy.copy(self)
        fitted._informed = retriever_of(interactions.by_time(), self.trained, self._texts, self._config)
        return fitted
