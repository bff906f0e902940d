"""`graphrec rollback`, `publish`, `shadow` and `ab`: which generation answers, and how two of them compare."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from graphrec.errors import InputError
from graphrec.options import JsonOption, WorkspaceArgument, print_json

GenerationArgument = Annotated[int, typer.Argument(help="Number of a generation.", show_default=False)]


def rollback(
    workspace: WorkspaceArgument,
    generation: Annotated[int | None, typer.Argument(help="Number of an older generation; the one before.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer from an older generation again; what is newer is set aside. Running processes follow."""
    from graphrec.generation import Generations
    from graphrec.workspace import Workspace

    generations, started = Generations(Workspace(workspace).directory), time.perf_counter()
    _print_live(generations.rollback(generation).number, time.perf_counter() - started, as_json)


def publish(workspace: WorkspaceArgument, generation: GenerationArgument, as_json: JsonOption = False) -> None:
    """Make a generation live that the gate has held, or that was rolled back."""
    from graphrec.generation import Generations
    from graphrec.workspace import Workspace

    generations, started = Generations(Workspace(workspace).directory), time.perf_counter()
    _print_live(generations.make_live(generation).number, time.perf_counter() - started, as_json)


def shadow(workspace: WorkspaceArgument, as_json: JsonOption = False) -> None:
    """Show how alike the lists of the live generation and of those in its shadow are."""
    from graphrec.shadow import overlaps, shadow_log
    from graphrec.workspace import Workspace

    found = overlaps(shadow_log(Workspace(workspace).directory).rows())
    if as_json:
        print_json([asdict(row) for row in found])
        return
    for row in found:
        typer.echo(
            f"generation {row.candidate}: {row.lists} lists, {row.shared:.1%} of the items shared, the same first item "
            f"in {row.same_first:.1%}, identical {row.identical:.1%}, {row.failed} failed"
        )
    if not found:
        typer.echo("No list has been noted. ShadowedRecommender.shadow(GENERATION) begins.")


def ab(
    workspace: WorkspaceArgument,
    test: Annotated[str, typer.Argument(help="Name of the test.", show_default=False)],
    shares: Annotated[list[str], typer.Argument(help="VARIANT=SHARE of each variant.", show_default=False)],
    days: Annotated[float, typer.Option(help="An event counts for a list this long.")] = 14.0,
    as_json: JsonOption = False,
) -> None:
    """Show what came of a test: users, lists and conversions of each variant, counted from the log."""
    from graphrec.ab import SplitTest, readout_of
    from graphrec.recommender import Recommender

    pairs = dict(share.partition("=")[::2] for share in shares)
    try:
        planned = SplitTest(test, {name: float(share) for name, share in pairs.items()})
    except ValueError:
        raise InputError("a share is not understood", expected="VARIANT=SHARE", got=" ".join(shares)) from None
    with Recommender.open(workspace) as recommender:
        found = readout_of(recommender, planned, days)
    if as_json:
        print_json(found.to_dict())
        return
    for row in found.variants:
        typer.echo(
            f"{row.name:<16} {row.users:>8} users {row.lists:>8} lists {row.converted:>8} converted  "
            f"{row.rate:.4f} [{row.low:.4f}, {row.high:.4f}]"
        )
    for name, difference in found.differences.items():
        low, high = found.intervals[name]
        typer.echo(f"{name:<16} {difference:+.4f} [{low:+.4f}, {high:+.4f}], p = {found.p_values[name]:.3g}")
    typer.echo(f"split as planned: p = {found.p_of_split:.3g}; lists left out: {found.left_out}")


def _print_live(number: int, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json({"generation": number, "seconds": seconds})
    else:
        typer.echo(f"Generation {number} is live, verified and switched to in {seconds:.2f} s.")
