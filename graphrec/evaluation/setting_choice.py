"""Settings that a baseline chooses by itself: on the newest tenth of its training events, never on the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from graphrec.errors import InputError
from graphrec.evaluation.metrics import score
from graphrec.evaluation.protocols import global_time_split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from graphrec.evaluation.metrics import Lists
    from graphrec.events.interactions import Interactions

S = TypeVar("S")

ASKED = 5_000  # users at most: enough to tell settings apart, and the cost has a bound
_K = 20


class Answering(Protocol):
    """What has been fitted and makes lists."""

    def recommend(self, users: NDArray[np.int32], k: int, exclude_seen: bool = True) -> Lists:
        """Recommend k items to each user, best first."""


def best_setting(
    fitted: Callable[[S, Interactions], Answering], settings: Sequence[S], wanted: Interactions, default: S
) -> S:
    """Choose the setting with the best ndcg@20, the first of equal ones; `default` where no cut in time is possible.

    fitted: what a setting learns from the events before the cut; every so many of the users after it are asked, at most
    ASKED. A single setting is taken without trying it.
    """
    if len(settings) == 1:
        return settings[0]
    try:
        split = global_time_split(wanted)
    except InputError:
        return default
    asked = np.arange(len(split.test_users)) % -(-len(split.test_users) // ASKED) == 0
    rows, relevant = split.relevant.where(np.repeat(asked, split.relevant.sizes)).nonempty()
    users = split.test_users[rows]
    gains = [score(fitted(setting, split.train).recommend(users, _K), relevant, _K).ndcg.mean() for setting in settings]
    return settings[int(np.argmax(gains))]
