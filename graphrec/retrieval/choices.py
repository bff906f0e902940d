"""What training chooses on validation, and a workspace's settings may fix: stored in the generation, plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from graphrec.retrieval.graph_filter import FilterShape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphrec.config import Config


@dataclass(frozen=True)
class Choices:
    """Numbers that retrieval depends on; the defaults serve until the first training."""

    popularity_half_life_days: float = 7.0
    filter: FilterShape = field(default_factory=FilterShape)

    def under(self, config: Config) -> Self:
        """The same, except where the settings name a number instead of "auto"."""
        shape = {name: getattr(config.filter, name) for name in (entry.name for entry in fields(FilterShape))}
        days = config.retrieval.popularity_half_life_days
        return type(self)(
            popularity_half_life_days=self.popularity_half_life_days if days == "auto" else days,
            filter=FilterShape(
                **{name: getattr(self.filter, name) if value == "auto" else value for name, value in shape.items()}
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "filter": FilterShape(**data["filter"])})
