"""What GraphSAGE reads of an item: spectral coordinates and principal text directions, side by side.

An item that the spectral basis has never seen gets its coordinates estimated from its text by ridge regression in
closed form: on items held out completely that beats every map trained by gradient, at a fraction of the cost. Its
neighbours move it from its first event on; the next rebuild folds its real coordinates in.

Texts are centred first: raw BERT vectors share one large common direction that hides what tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]
    Texts = NDArray[np.float16 | np.float32]

_RIDGE = 3.0
_TEXT_SHARE = 0.5  # length of the text block beside coordinates of length one


@dataclass(frozen=True)
class FeatureMap:
    """From an item's text vector and coordinates to its features; float32, k coordinates, t text, p principal.

    `fit` on the items that have coordinates; a catalogue without texts has t = p = 0.
    """

    text_mean: Float32  # (t,)
    text_directions: Float32  # (t, p)
    text_to_coordinates: Float32  # (t, k)

    @property
    def dimensions(self) -> int:
        """Features of an item, k + p."""
        return int(self.text_to_coordinates.shape[1] + self.text_directions.shape[1])

    @classmethod
    def fit(cls, coordinates: Float32, texts: Float32, directions: int) -> FeatureMap:
        """Closed form from coordinates (n, k), zero rows = unknown, and text vectors (n, t), zero rows = no text."""
        known = coordinates.any(axis=1) & texts.any(axis=1)
        width = texts.shape[1]
        if known.sum() < 2:
            return cls(
                np.zeros(width, np.float32),
                np.zeros((width, 0), np.float32),
                np.zeros((width, coordinates.shape[1]), np.float32),
            )
        mean = texts[known].mean(axis=0)
        centred = _centred(texts[known], mean)
        target = unit_rows(coordinates[known])
        gram = centred.T @ centred
        ridge = np.linalg.solve(gram + _RIDGE * np.eye(width, dtype=np.float32), centred.T @ target)
        vectors = np.linalg.eigh(gram.astype(np.float64))[1][:, ::-1][:, :directions]
        vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
        return cls(mean.astype(np.float32), vectors.astype(np.float32), ridge.astype(np.float32))

    def refitted(self, coordinates: Float32, texts: Float32) -> FeatureMap:
        """For other coordinates of the items, (n, k): what texts say of them is fitted anew, the texts stay as read."""
        fitted = FeatureMap.fit(coordinates, texts, 0)
        return replace(self, text_to_coordinates=fitted.text_to_coordinates)

    def features(self, coordinates: Float32, texts: Texts) -> Float32:
        """Features of n items, float32 (n, k + p); a zero row of coordinates is estimated from the text.

        Of more coordinates than were fitted the first k count.
        """
        return self.of_centred(coordinates, self.centred(texts))

    def of_centred(self, coordinates: Float32, centred: Float32) -> Float32:
        """The same from texts that are `centred` already."""
        block = unit_rows(coordinates[:, : self.text_to_coordinates.shape[1]])
        unknown = ~block.any(axis=1)
        block[unknown] = unit_rows(centred[unknown] @ self.text_to_coordinates)
        return np.hstack([block, _TEXT_SHARE * unit_rows(centred @ self.text_directions)])

    def centred(self, texts: Texts) -> Float32:
        """Text vectors of length one around the mean of those fitted, float32 (n, t); a missing text stays zero."""
        return _centred(texts, self.text_mean)

    def estimated(self, texts: Float32) -> Float32:
        """Features of n items as if none had coordinates, which is how a new item will look."""
        return self.features(np.zeros((len(texts), self.text_to_coordinates.shape[1]), np.float32), texts)

    def arrays(self) -> dict[str, Float32]:
        """By name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Float32]) -> FeatureMap:
        """Read what `arrays` wrote."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def unit_rows(matrix: Float32) -> Float32:
    """Rows of length one, float32; a zero row stays zero."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    scaled: Float32 = np.divide(matrix, lengths, out=np.zeros(matrix.shape, np.float32), where=lengths > 0)
    return scaled


def _centred(texts: Texts, mean: Float32) -> Float32:
    """Unit text vectors around the mean; a missing text stays zero."""
    described = np.asarray(texts.any(axis=1))
    return unit_rows(np.where(described[:, None], texts - mean, np.float32(0)))
