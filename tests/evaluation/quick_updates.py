"""Settings under which the tiny world is trained, and learned on from, in moments."""

from __future__ import annotations

import numpy as np

from graphrec.config import Config

CONFIG = Config(
    embedding={"spectral_dimensions": 8, "text_dimensions": 0, "hidden_dimensions": 16, "dimensions": 8},
    filter={"dimensions": 12},
    training={"steps": 5, "batch_size": 64, "slice_share": 0.2, "ranker_seeds": 1},
    update={"steps": 3, "batch_size": 64},
)
NO_TEXTS = np.zeros((40, 0), np.float32)


def nothing(*step: object) -> None:
    """No progress is shown."""
