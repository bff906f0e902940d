"""The benchmark scripts as modules, and the tiny world in the files that they read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def as_module(script: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a script, which has no .py to its name, for as long as a test lasts."""
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader(script.name, str(script))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    return module


def write_log(folder: Path, world, texts: Sequence[str]) -> None:
    """The world's events, and its items with some texts, as one of the logs that the benchmarks read."""
    folder.mkdir(parents=True)
    events = {
        "user_id": [event.user for event in world.events],
        "item_id": [event.item for event in world.events],
        "event": [event.kind for event in world.events],
        "timestamp": [event.microseconds // 1_000_000 for event in world.events],
    }
    pq.write_table(pa.table(events), folder / "interactions.parquet")
    pq.write_table(pa.table({"item_id": [item.id for item in world.items], "text": texts}), folder / "items.parquet")
