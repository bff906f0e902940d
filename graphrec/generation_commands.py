"""`graphrec train`, `update`, `adapt-text`, `rebuild` and `snapshot`: the commands that make generations."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec.options import JsonOption, QuietOption, WorkspaceArgument, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from graphrec.answers import BuildReport, Proposal
    from graphrec.recommender import Recommender

NOT_PUBLISHED = 5


def train(
    workspace: WorkspaceArgument,
    gate: Annotated[
        bool, typer.Option("--gate", help="Hold the newest events back, and publish only what passes on them; exit 5.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train everything from scratch on the whole log and publish a generation."""
    with _opened(workspace, quiet) as recommender:
        if gate:
            proposal = recommender.propose()
        else:
            report = recommender.train()
    if gate:
        _print_proposal(proposal, as_json)
    else:
        _print_build(report, as_json)


def update(workspace: WorkspaceArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Learn on from the live weights, from what is new; publish what passes the gate; exit 5 for what does not."""
    with _opened(workspace, quiet) as recommender:
        proposal = recommender.update()
    _print_proposal(proposal, as_json)


def adapt_text(workspace: WorkspaceArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Adapt the text model to what is chosen together, and train on it; publish what passes the gate, else exit 5."""
    with _opened(workspace, quiet) as recommender:
        proposal = recommender.adapt_text()
    _print_proposal(proposal, as_json)


def rebuild(workspace: WorkspaceArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Form graph, vectors and index anew from the log with the live weights; publish a generation."""
    with _opened(workspace, quiet) as recommender:
        report = recommender.rebuild()
    _print_build(report, as_json)


def snapshot(workspace: WorkspaceArgument, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Publish the present state as a generation, so that opening is quick again; nothing is trained."""
    with _opened(workspace, quiet) as recommender:
        report = recommender.snapshot()
    _print_build(report, as_json)


@contextmanager
def _opened(workspace: Path, quiet: bool) -> Iterator[Recommender]:
    """The workspace, with a display of its long work."""
    from graphrec.progress import ProgressDisplay
    from graphrec.recommender import Recommender

    with ProgressDisplay(quiet=quiet) as progress, Recommender.open(workspace, progress=progress) as recommender:
        yield recommender


def _print_build(report: BuildReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(
            f"Generation {report.generation} is live: {report.events} events, {report.users} users, "
            f"{report.items} items, in {report.seconds:.1f} s ({report.cpu_seconds:.1f} CPU-seconds)."
        )


def _print_proposal(proposal: Proposal, as_json: bool) -> None:
    if as_json:
        print_json(proposal.to_dict())
    else:
        means = {"publish": "is live", "hold": "is held; graphrec publish makes it live", "reject": "is rejected"}
        name = "The model" if proposal.generation is None else f"Generation {proposal.generation}"
        typer.echo(f"{name} {means[proposal.verdict]} ({proposal.seconds:.1f} s).")
        for reason in proposal.reasons:
            typer.echo(f"  {reason}")
    if proposal.verdict != "publish":
        raise typer.Exit(NOT_PUBLISHED)
