"""`graphrec forget`: users, taken out of log, answers and notes."""

from __future__ import annotations

from typing import Annotated

import typer

from graphrec.options import JsonOption, QuietOption, WorkspaceArgument, print_json


def forget(
    workspace: WorkspaceArgument,
    users: Annotated[list[str], typer.Argument(help="User ids.", show_default=False)],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete users: their ids, attributes, events and what was noted of them. Running processes follow.

    Not deleted are source files, quarantine files and backups. What a model has learned stays in it, under no name,
    until graphrec train.
    """
    from graphrec.progress import ProgressDisplay
    from graphrec.recommender import Recommender
    from graphrec.service.pseudonyms import Pseudonyms

    with ProgressDisplay(quiet=quiet) as progress, Recommender.open(workspace, progress=progress) as recommender:
        if recommender.workspace.config.serve.pseudonyms:  # files name users as they are, the service by a pseudonym
            named = Pseudonyms(recommender.workspace.directory, at_the_door=True)
            users = [*users, *(named.user(user) for user in users)]
        found = recommender.forget(*users)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(f"Users deleted: {found.users}, with {found.events} events and {found.notes} noted lists.")
