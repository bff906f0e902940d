"""`graphrec serve` and `graphrec key`: the service and who may use it."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from graphrec.errors import DependencyError
from graphrec.options import JsonOption, WorkspaceArgument, print_json

keys_app = typer.Typer(name="key", no_args_is_help=True, help="Who may use the service.")


def serve(
    workspaces: Annotated[
        list[str],
        typer.Argument(
            metavar="WORKSPACE",
            help="Workspace directory. Of several, or where it is NAME=DIRECTORY, each is at /t/NAME/.",
            show_default=False,
        ),
    ],
    host: Annotated[str | None, typer.Option(help="Address to listen at; as serve.host says if not given.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0 = any that is free.")] = None,
    pages: Annotated[Path | None, typer.Option(help="A folder of static files, served under /ui.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that answer, each with every workspace in memory.")
    ] = 1,
    listener: Annotated[int | None, typer.Option(hidden=True, help="Descriptor of a socket that listens.")] = None,
    lifeline: Annotated[int | None, typer.Option(hidden=True, help="Descriptor of a pipe: to end with it.")] = None,
    worker: Annotated[int | None, typer.Option(hidden=True, help="Number of this worker, from 1.")] = None,
) -> None:
    """Answer over HTTP, taking events in at the same time, until stopped."""
    # Questions run side by side, so libraries that split each among all cores would only make them wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    try:
        from graphrec.service.server import serve as run
        from graphrec.service.tenants import tenants_of
        from graphrec.service.workers import end_with, serve_in_many
    except ImportError as error:
        raise DependencyError(
            "the service needs packages that are not installed",
            got=f"no {error.name}",
            way_out="pip install 'graphrec[serve]'",
        ) from None
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    tenants = tenants_of(workspaces, given)
    if workers > 1:
        serve_in_many(workers, tenants, pages)
        return
    if lifeline is not None:
        end_with(lifeline)
    labels = {} if worker is None else {"worker": str(worker)}
    run(tenants, pages, None if listener is None else socket.socket(fileno=listener), labels)


@keys_app.command("add")
def add_key(
    workspace: WorkspaceArgument,
    name: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help="read, write or admin, which opens everything; repeatable.")],
    as_json: JsonOption = False,
) -> None:
    """Make a key, and show it this once."""
    from graphrec.service.keys import Keys
    from graphrec.workspace import Workspace

    key, secret = Keys(Workspace(workspace).directory).add(name, scope)
    if as_json:
        print_json({"id": key.id, "name": key.name, "scopes": key.scopes, "key": secret})
    else:
        typer.echo(f"Key {key.id} for {name}: {', '.join(key.scopes)}. It is shown this once:")
        typer.echo(secret)


@keys_app.command("list")
def list_keys(workspace: WorkspaceArgument, as_json: JsonOption = False) -> None:
    """Show all keys by id, without what opens anything."""
    from graphrec.service.keys import Keys
    from graphrec.workspace import Workspace

    keys = Keys(Workspace(workspace).directory).all()
    if as_json:
        print_json([{name: value for name, value in asdict(key).items() if name != "hash"} for key in keys])
        return
    for key in keys:
        state = f"revoked {key.revoked}" if key.revoked else "in force"
        typer.echo(f"{key.id}  {', '.join(key.scopes):<18} {key.created}  {state:<34} {key.name}")


@keys_app.command("revoke")
def revoke_key(
    workspace: WorkspaceArgument,
    key: Annotated[str, typer.Argument(help="Id of the key.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Have a key open nothing any more, also in services that run."""
    from graphrec.service.keys import Keys
    from graphrec.workspace import Workspace

    revoked = Keys(Workspace(workspace).directory).revoke(key)
    if as_json:
        print_json({"id": revoked.id, "revoked": revoked.revoked})
    else:
        typer.echo(f"Key {revoked.id} is revoked.")
