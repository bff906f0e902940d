"""A low-rank update of the text encoder's weights, W + B A for some of its matrices (LoRA, Hu et al. 2022).

It is kept in a generation, beside the encoder's own files, and merged into the weights when the encoder is loaded: an
adapted encoder costs what the plain one costs, and only training needs the library that makes such updates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class LowRankUpdate:
    """Factors by the name of a linear layer: `down` A (r, d_in), `up` B (d_out, r), all scales within B."""

    down: dict[str, Float32]
    up: dict[str, Float32]

    @cached_property
    def digest(self) -> str:
        """Tells one update from another, by content."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            digest.update(f"\0{name}\0{array.shape}\0".encode() + np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()[:16]

    def merge_into(self, model: Any) -> None:
        """Add B A to the weights of a torch module; raises ModelError where it was made for another one."""
        import torch

        layers = dict(model.named_modules())
        for name, down in self.down.items():
            weight = getattr(layers.get(name), "weight", None)
            update = self.up[name] @ down
            if weight is None or tuple(weight.shape) != update.shape:
                raise ModelError(
                    "the text adapter was made for another text model",
                    expected=f"a layer {name} with weights {update.shape}",
                    got="no such layer" if weight is None else str(tuple(weight.shape)),
                    way_out="set text.model back; or set text.adapter = false and train",
                )
            with torch.no_grad():
                weight += torch.from_numpy(update).to(weight)

    def arrays(self) -> dict[str, Float32]:
        """For safetensors."""
        down = {f"{name}.down": array for name, array in self.down.items()}
        return down | {f"{name}.up": array for name, array in self.up.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> LowRankUpdate:
        """Read what `arrays` gave; raises KeyError for a factor without the other."""
        names = [name.removesuffix(".down") for name in arrays if name.endswith(".down")]
        return cls({name: arrays[f"{name}.down"] for name in names}, {name: arrays[f"{name}.up"] for name in names})
