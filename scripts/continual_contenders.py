"""Who takes part in bench_continual: ways to follow a log, block after block, and their results on disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.config import Config, UpdateSettings
from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.moments import Moments
from graphrec.embedding.spectral import SpectralBasis
from graphrec.evaluation.ease import EASE
from graphrec.evaluation.ials import IALS
from graphrec.evaluation.updated_graphrec import StaleGraphrec, UpdatedGraphrec
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.cold_items import ColdModel
from graphrec.training.trainer import Trained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.evaluation.baselines import Recommender
    from graphrec.evaluation.protocols import Split
    from graphrec.events.interactions import Interactions

BASE, RETRAIN, OURS = "base", "full retrain", "ours"

# What an option is worth: ours with it the other way round.
OPTIONS: dict[str, dict[str, Any]] = {
    "without replay": {"replay": "none"},
    "replay by inverse degree": {"replay": "inverse_degree"},
    "replay by recency": {"replay": "recency"},
    "without the optimiser's moments": {"moments": False},
    "without distillation": {"distil_vectors": 0.0, "distil_lists": 0.0},
    "distilling vectors": {"distil_vectors": 1.0},
    "distilling lists": {"distil_lists": 1.0},
    "without the moving average": {"ema": 0.0},
    "with a moving average": {"ema": 0.9},
    "with early stopping": {"check_share": 0.1},
    "mean of two updates": {"average": 2},
    "without GraphSAGE steps": {"steps": 0},
    "basis kept": {"freeze": "head+sage"},
    "heads alone": {"freeze": "head"},
    "heads kept": {"ranker_epochs": 0},
    "float32 alone": {"mixed_precision": False},
}

# What is usually called fine-tuning: the network on new events, and nothing else.
FINE_TUNE = {"replay": "none", "moments": False, "freeze": "head+sage", "distil_vectors": 0.0, "distil_lists": 0.0}
FINE_TUNE |= {"ema": 0.0, "check_share": 0.0, "average": 1}


@dataclass(frozen=True)
class Setting:
    """One stream under one seed: what all contenders of a run share."""

    splits: tuple[Split, ...]
    texts: NDArray[np.float32]
    config: Config
    progress: Callable[[str, int, int], None]

    @property
    def base(self) -> Interactions:
        """What everybody has learned from at the beginning."""
        return self.splits[0].train


def contenders() -> dict[str, Callable[[Setting, Trained], Recommender]]:
    """Name -> what makes a contender out of what was trained on the base."""
    made: dict[str, Callable[[Setting, Trained], Recommender]] = {
        "stale": lambda setting, trained: StaleGraphrec(
            setting.config, setting.texts, setting.progress, trained, setting.base
        ).serving(),
        "refreshed only": lambda setting, trained: UpdatedGraphrec(
            setting.config, setting.texts, setting.progress, trained, setting.base, learns=False
        ),
        "fine-tune": _updating(FINE_TUNE | {"ranker_epochs": 0}),
        "fine-tune, heads too": _updating(FINE_TUNE),
        OURS: _updating({}),
        RETRAIN: lambda setting, trained: UpdatedGraphrec(setting.config, setting.texts, setting.progress),
        "EASE": lambda setting, trained: EASE(),
        "iALS": lambda setting, trained: IALS(),
    }
    return made | {f"ours, {name}": _updating(changes) for name, changes in options().items()}


def options() -> dict[str, dict[str, Any]]:
    """The options that change something in what is the default now."""
    present = UpdateSettings().model_dump()
    return {
        name: changes
        for name, changes in OPTIONS.items()
        if any(present[key] != value for key, value in changes.items())
    }


def _updating(changes: Mapping[str, Any]) -> Callable[[Setting, Trained], Recommender]:
    def make(setting: Setting, trained: Trained) -> Recommender:
        config = setting.config.model_copy(update={"update": setting.config.update.model_copy(update=dict(changes))})
        return UpdatedGraphrec(config, setting.texts, setting.progress, trained, setting.base)

    return make


def save(trained: Trained, file: Path) -> None:
    """Write what was trained as plain arrays."""
    learned = trained.learned(np.zeros((0, 0), np.float32), 0)
    choices = {"half_life": trained.choices.popularity_half_life_days, **asdict(trained.choices.filter)}
    numbers = np.array([*choices.values(), sum(trained.seconds.values())], np.float64)
    arrays: dict[str, Any] = {**learned.weights(), **learned.arrays()}
    np.savez(file, **arrays, numbers=numbers, names=np.array(list(choices)))


def load(file: Path) -> Trained:
    """Read what `save` wrote."""
    with np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}

    def part(name: str) -> dict[str, Any]:
        return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}

    choices = dict(zip(arrays["names"].tolist(), arrays["numbers"].tolist(), strict=False))
    ranker, session_ranker = (
        Ranker.from_arrays(part(name)) if part(name) else None for name in ("ranker", "session_ranker")
    )
    return Trained(
        EmbeddingModel.from_arrays(part("model")),
        SpectralBasis(arrays["basis_users"], arrays["basis_items"], arrays["basis_values"]),
        Choices.from_dict({"popularity_half_life_days": choices.pop("half_life"), "filter": choices}),
        ranker,
        session_ranker,
        ColdModel.from_arrays(part("cold"), arrays["cold_vectors"]) if part("cold") else None,
        Moments.from_arrays(part("moments")) if part("moments") else None,
        {"all": float(arrays["numbers"][-1])},
    )
