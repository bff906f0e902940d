"""What commands share: options of one name and meaning everywhere, and JSON on standard output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

WorkspaceArgument = Annotated[Path, typer.Argument(help="Workspace directory.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
KOption = Annotated[int, typer.Option("-k", "--top", help="Length of the list.")]


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print plain data, readable or (indent None) on one line."""
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def session_of(named: Sequence[str]) -> list[str | tuple[str, str]]:
    """Events of a session from ID or ID=KIND; the last `=` separates, so an id may have some of its own."""
    return [name if "=" not in name else (name.rpartition("=")[0], name.rpartition("=")[2]) for name in named]
