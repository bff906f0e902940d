"""What training gave, on its way between a model, a live state and a generation's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.low_rank import LowRankUpdate
from graphrec.embedding.moments import Moments
from graphrec.errors import GenerationError
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.cold_items import ColdModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.generation import Generation

    Float32 = NDArray[np.float32]
    Texts = NDArray[np.float16 | np.float32]


@dataclass(frozen=True)
class Learned:
    """What training gave, by item number.

    texts: text vectors (n, t), as exact as `[generations] texts` said when it was trained. basis_items: right singular
    vectors, float32 (n, k), zero rows = not in the basis. basis_users, basis_values: left vectors (n_users, k), to fold
    later items in, and singular values (k,). moments: of the optimiser, for an update to go on with; None = it begins
    anew. adapter: of the text model that the texts are of; None = the plain one.
    """

    model: EmbeddingModel
    ranker: Ranker | None
    session_ranker: Ranker | None
    choices: Choices
    texts: Texts
    basis_items: Float32
    basis_users: Float32
    basis_values: Float32
    cold: ColdModel | None = None
    moments: Moments | None = None
    until: int = 0  # offset of the last event that it was learned from
    adapter: LowRankUpdate | None = None

    def weights(self) -> dict[str, Float32]:
        """What is small and trained, for safetensors."""
        named = {f"model.{name}": array for name, array in self.model.arrays().items()}
        parts = ("ranker", self.ranker), ("session_ranker", self.session_ranker), ("cold", self.cold)
        for part, learned in (*parts, ("moments", self.moments), ("text_adapter", self.adapter)):
            if learned is not None:
                named |= {f"{part}.{name}": array for name, array in learned.arrays().items()}
        return named

    def arrays(self) -> dict[str, Float32 | Texts]:
        """What has a row a node."""
        rows: dict[str, Float32 | Texts] = {
            "texts": self.texts,
            "basis_items": self.basis_items,
            "basis_users": self.basis_users,
            "basis_values": self.basis_values,
        }
        return rows if self.cold is None else rows | {"cold_vectors": self.cold.vectors}

    @classmethod
    def from_generation(cls, generation: Generation) -> Learned:
        """Read what `weights` and `arrays` wrote; raises GenerationError for parts missing or of another version."""
        heads = [_part(generation.weights, f"{part}.") for part in ("ranker", "session_ranker")]
        cold, remembered = _part(generation.weights, "cold."), _part(generation.weights, "moments.")
        factors = _part(generation.weights, "text_adapter.")
        try:
            model = EmbeddingModel.from_arrays(_part(generation.weights, "model."))
            ranker, session_ranker = (Ranker.from_arrays(head) if head else None for head in heads)
            new = ColdModel.from_arrays(cold, generation.array("cold_vectors")) if cold else None
            moments = Moments.from_arrays(remembered) if remembered else None
            adapter = LowRankUpdate.from_arrays(factors) if factors else None
        except KeyError as error:
            raise GenerationError("a part of the weights is missing", got=f"no {error}") from None
        try:
            choices = Choices.from_dict(generation.manifest.choices)
        except (KeyError, TypeError) as error:
            raise GenerationError("other numbers were chosen than this version knows", got=str(error)) from None
        names = ("texts", "basis_items", "basis_users", "basis_values")
        texts, items, users, values = (generation.array(name) for name in names)
        until = generation.manifest.learned_until
        return cls(model, ranker, session_ranker, choices, texts, items, users, values, new, moments, until, adapter)


def text_model(config: Config, adapter: LowRankUpdate | None = None) -> str:
    """What makes text vectors comparable: under another one only training makes sense of them."""
    plain = f"{Path(config.text.model).name}, {config.text.max_tokens} tokens{config.text.loss}"
    return plain if adapter is None else f"{plain}, adapter {adapter.digest}"


def _part(arrays: Mapping[str, Float32], prefix: str) -> dict[str, Float32]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
