"""`graphrec backup` and `restore`: a workspace as one file, made while it is in use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec.options import JsonOption, WorkspaceArgument, print_json

if TYPE_CHECKING:
    from graphrec.backup import Backup

FileArgument = Annotated[Path, typer.Argument(help="FILE.tar, .tar.gz or .tar.zst.", show_default=False)]


def backup(workspace: WorkspaceArgument, file: FileArgument, as_json: JsonOption = False) -> None:
    """Write settings, log, live generation, keys, impressions, notes and quarantine into a file, while others write."""
    from graphrec.backup import back_up
    from graphrec.workspace import Workspace

    started = time.perf_counter()
    _print(back_up(Workspace(workspace), file), file, "holds", time.perf_counter() - started, as_json)


def restore(
    file: FileArgument,
    directory: Annotated[Path, typer.Argument(help="New or empty directory.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Make a workspace from a backup, after every checksum in it has been verified.

    Keys are those of the backup, also those that have been revoked since: see graphrec key list.
    """
    from graphrec.backup import restore as bring_back

    started = time.perf_counter()
    _print(bring_back(file, directory), directory, "has", time.perf_counter() - started, as_json)


def _print(made: Backup, place: Path, holds: str, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({"place": str(place), "seconds": seconds, **made.to_dict()})
    else:
        generation = "no generation" if made.generation is None else f"generation {made.generation}"
        size = sum(entry["bytes"] for entry in made.files.values()) / 1e6
        typer.echo(f"{place} {holds} {generation} and the log up to {made.offset}: {size:.1f} MB in {seconds:.1f} s.")
