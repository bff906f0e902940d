"""Shapes that depend on the catalogue, and settings that decide them."""

from __future__ import annotations

import pytest

from graphrec.config import Config, EmbeddingSettings, TrainingSettings


@pytest.mark.parametrize(
    ("n_items", "width", "steps"),
    [(0, 64, 100), (5_000, 64, 100), (5_001, 128, 200), (20_001, 256, 300), (10**9, 256, 300)],
)
def test_shapes_follow_the_size_of_the_catalogue(n_items: int, width: int, steps: int) -> None:
    shapes = Config().embedding.sized(n_items)
    assert (shapes.spectral_dimensions, shapes.hidden_dimensions, shapes.dimensions) == (width, 2 * width, width)
    assert Config().training.sized(n_items).steps == steps


def test_what_is_set_stays_and_the_rest_fits_it() -> None:
    assert EmbeddingSettings(spectral_dimensions=8, hidden_dimensions=20, dimensions=5).sized(10**6).dimensions == 5
    shapes = EmbeddingSettings(spectral_dimensions=8).sized(10**6)
    assert (shapes.hidden_dimensions, shapes.dimensions) == (16, 8)
    assert TrainingSettings(steps=7).sized(10**6) == TrainingSettings(steps=7)
