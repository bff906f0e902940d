"""graphrec.toml with a few values changed: comments, order and every other line stay."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from graphrec.config import CONFIG_FILE, Config
from graphrec.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from graphrec.search_space import Value

HINT = "pip install 'graphrec[tune]'"


def lines_of(values: Mapping[str, Value]) -> str:
    """The values as TOML, a table a stage."""
    stages: dict[str, list[str]] = {}
    for name, value in values.items():
        stage, key = name.split(".")
        stages.setdefault(stage, []).append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    return "\n\n".join("\n".join([f"[{stage}]", *lines]) for stage, lines in stages.items())


def write_values(directory: Path, values: Mapping[str, Value]) -> None:
    """Change values in the graphrec.toml of a workspace, whole or not at all.

    Raises DependencyError without tomlkit, ConfigError where the file could not be read with the new values.
    """
    try:
        import tomlkit
    except ImportError:
        raise DependencyError("writing into graphrec.toml needs the library tomlkit", way_out=HINT) from None
    path = directory / CONFIG_FILE
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    for name, value in values.items():
        stage, key = name.split(".")
        if stage not in document:
            document[stage] = tomlkit.table()
        document[stage][key] = value
    draft = directory / f".{CONFIG_FILE}.new"
    draft.mkdir(exist_ok=True)
    written = draft / CONFIG_FILE
    try:
        written.write_text(tomlkit.dumps(document), encoding="utf-8")
        shutil.copymode(path, written)
        Config.load(draft)
        os.replace(written, path)
    finally:
        written.unlink(missing_ok=True)
        draft.rmdir()
