"""graphrec: a graph recommender whose embeddings stay exact while events arrive.

    from graphrec import Recommender
    shop = Recommender.open("shop")
    shop.recommend("17850", k=10)

The names below are the whole public surface; everything else may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrec.errors import (
    BackupError,
    BusyError,
    ConfigError,
    DependencyError,
    GenerationError,
    GraphrecError,
    InputError,
    JobError,
    ModelError,
    NotTrainedError,
    StoreError,
    UnknownItemError,
    WorkspaceError,
)

if TYPE_CHECKING:
    from graphrec.answers import (
        BuildReport,
        Explanation,
        IngestReport,
        Reason,
        Recommendation,
        Recommendations,
        Status,
    )
    from graphrec.config import Config
    from graphrec.events.event import Event, Item
    from graphrec.follower import Follower
    from graphrec.recommender import Recommender

__version__ = "0.1.0"

__all__ = [
    "BackupError",
    "BuildReport",
    "BusyError",
    "Config",
    "ConfigError",
    "DependencyError",
    "Event",
    "Explanation",
    "Follower",
    "GenerationError",
    "GraphrecError",
    "IngestReport",
    "InputError",
    "Item",
    "JobError",
    "ModelError",
    "NotTrainedError",
    "Reason",
    "Recommendation",
    "Recommendations",
    "Recommender",
    "Status",
    "StoreError",
    "UnknownItemError",
    "WorkspaceError",
]

_HOME = {
    "BuildReport": "graphrec.answers",
    "Config": "graphrec.config",
    "Event": "graphrec.events.event",
    "Explanation": "graphrec.answers",
    "Follower": "graphrec.follower",
    "IngestReport": "graphrec.answers",
    "Item": "graphrec.events.event",
    "Reason": "graphrec.answers",
    "Recommendation": "graphrec.answers",
    "Recommendations": "graphrec.answers",
    "Recommender": "graphrec.recommender",
    "Status": "graphrec.answers",
}


def __getattr__(name: str) -> object:
    """Import a public name at first use: `import graphrec` alone costs nothing (PEP 562)."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'graphrec' has no attribute {name!r}")
