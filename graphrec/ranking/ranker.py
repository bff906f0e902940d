"""The ranking head: a small MLP over pair features, averaged over seeds, evaluated in numpy.

Plain arrays are enough for a few hundred candidates and keep torch out of the serving process.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import GenerationError
from graphrec.ranking.pair_features import NAMES, pair_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from graphrec.retrieval.retriever import Candidates, Retriever

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Ranker:
    """Parameters of `s` heads over f features, float32; two hidden layers of relu, one output.

    Features are standardised by `mean` and `deviation` first.
    """

    mean: Float32  # (f,)
    deviation: Float32  # (f,)
    weight1: Float32  # (s, h1, f)
    bias1: Float32  # (s, h1)
    weight2: Float32  # (s, h2, h1)
    bias2: Float32  # (s, h2)
    weight3: Float32  # (s, h2)

    def scores(self, features: Float32) -> Float32:
        """Score of each row, float32 (n,): the mean of the heads. Only differences within a user mean anything."""
        standard = features - self.mean
        standard /= self.deviation
        heads, units, width = self.weight1.shape
        first = standard @ self.weight1.reshape(heads * units, width).T
        first += self.bias1.reshape(-1)
        np.maximum(first, 0, out=first)
        total = np.zeros(len(features), np.float32)
        for head in range(heads):
            second = first[:, head * units : (head + 1) * units] @ self.weight2[head].T
            second += self.bias2[head]
            np.maximum(second, 0, out=second)
            total += second @ self.weight3[head]
        mean: Float32 = total / np.float32(len(self.weight1))
        return mean

    def arrays(self) -> dict[str, Float32]:
        """By name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> Ranker:
        """Read what `arrays` wrote; raises GenerationError when it was trained on other features."""
        ranker = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        if len(ranker.mean) != len(NAMES):
            raise GenerationError(
                "the ranking head was trained on other features",
                expected=f"{len(NAMES)}: {', '.join(NAMES)}",
                got=str(len(ranker.mean)),
                way_out="graphrec train fits a new one",
            )
        return ranker


_MINUTE = 60_000_000  # microseconds


def in_session(retriever: Retriever, user: int) -> bool:
    """Whether the newest event of a user with a history is so new that the next is about to follow."""
    return retriever.has_history(user) and retriever.idle(user) < retriever.settings.session_minutes * _MINUTE


def head_for(retriever: Retriever, user: int, ranker: Ranker | None, session_ranker: Ranker | None) -> Ranker | None:
    """The head that orders a user's list: the session's in the middle of one; None = the order of retrieval."""
    if session_ranker is not None and in_session(retriever, user):
        return session_ranker
    return ranker if retriever.has_history(user) else None


def ranked(
    retriever: Retriever, ranker: Ranker | None, user: int, exclude: Int32, k: int
) -> tuple[Candidates, Int64, Float32]:
    """The first k candidates of a user: all candidates, the chosen positions best first, and their scores.

    Without a ranking head the retrieval score decides; ties keep the order of retrieval.
    """
    candidates = retriever.candidates(user, exclude, k)
    scores = candidates.score if ranker is None else ranker.scores(pair_features(retriever, candidates))
    best = np.argsort(-scores, kind="stable")[:k]
    return candidates, best, scores[best]
