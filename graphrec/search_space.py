"""Which settings `graphrec tune` may vary, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphrec.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphrec.config import Config

Value = float | int | str


@dataclass(frozen=True)
class Real:
    """Any number from `low` to `high`, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included, on a logarithmic scale."""

    low: int
    high: int


@dataclass(frozen=True)
class OneOf:
    """One of these words."""

    values: tuple[str, ...]


Range = Real | Whole | OneOf

# Not here: what training chooses by itself ("auto"), and sizes and steps, which buy quality with time.
SPACE: Mapping[str, Range] = {
    "graph.half_life_days": Real(5.0, 1_000.0, log=True),
    "retrieval.sage": Whole(20, 500),
    "retrieval.filter": Whole(20, 500),
    "retrieval.popular": Whole(20, 500),
    "retrieval.taste": Whole(20, 500),
    "retrieval.session_minutes": Real(5.0, 240.0, log=True),
    "retrieval.history": Whole(20, 500),
    "training.learning_rate": Real(5e-4, 5e-2, log=True),
    "training.temperature": Real(0.03, 0.5, log=True),
    "training.popularity_weight": Real(0.0, 2.0),
    "training.dropout": Real(0.0, 0.6),
    "training.slice_share": Real(0.05, 0.3),
    "update.learning_rate": Real(5e-4, 5e-2, log=True),
    "update.steps": Whole(5, 200),
    "update.dropout": Real(0.0, 0.6),
    "update.replay": OneOf(("uniform", "inverse_degree", "recency", "none")),
    "update.replay_ratio": Real(0.0, 4.0),
    "update.ranker_epochs": Whole(1, 12),
    "update.ranker_learning_rate": Real(2e-4, 2e-2, log=True),
}


def chosen_space(names: Sequence[str] | None = None) -> dict[str, Range]:
    """Restrict the space to `names`, all of it for None; raises ConfigError for a name that is not in it, or none."""
    if names is None:
        return dict(SPACE)
    unknown = [name for name in names if name not in SPACE]
    if unknown or not names:
        raise ConfigError(
            "these settings cannot be searched", expected=", ".join(SPACE), got=", ".join(unknown) or "no setting"
        )
    return {name: SPACE[name] for name in SPACE if name in names}


def values_of(config: Config, names: Sequence[str]) -> dict[str, Value]:
    """Read settings by their full names."""
    return {name: getattr(getattr(config, name.split(".")[0]), name.split(".")[1]) for name in names}


def with_values(config: Config, values: Mapping[str, Value]) -> Config:
    """Return a config with other values; they are taken as they are, within the ranges of SPACE."""
    stages: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        stage, key = name.split(".")
        stages.setdefault(stage, {})[key] = value
    return config.model_copy(
        update={stage: getattr(config, stage).model_copy(update=changes) for stage, changes in stages.items()}
    )


def nearest(within: Range, value: Value) -> Value:
    """Return the allowed value nearest to one that may be out of range."""
    if isinstance(within, OneOf):
        return value if value in within.values else within.values[0]
    return min(max(float(value) if isinstance(within, Real) else int(value), within.low), within.high)
