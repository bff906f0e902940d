"""The command line: parse, one call, print. Everything heavy is imported inside the command that needs it.

Exit codes: 0 done · 1 an error, explained on standard error · 2 the command line is not understood · 3 ingested, but
some rows are in the quarantine · 4 doctor found a problem · 5 the gate has not published a model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec import __version__
from graphrec.backup_commands import backup, restore
from graphrec.errors import GraphrecError, InputError
from graphrec.evaluate_command import evaluate
from graphrec.forget_command import forget
from graphrec.generation_commands import adapt_text, rebuild, snapshot, train, update
from graphrec.job_commands import jobs, schedule
from graphrec.options import JsonOption, KOption, QuietOption, WorkspaceArgument, print_json, session_of
from graphrec.publish_commands import ab, publish, rollback, shadow
from graphrec.serve_commands import keys_app, serve
from graphrec.tune_command import tune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphrec.answers import Recommendations

QUARANTINED, PROBLEM = 3, 4

app = typer.Typer(
    name="graphrec",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"graphrec {__version__}")
        raise typer.Exit


_MAKING = (train, update, adapt_text, rebuild, snapshot)
_KEEPING = (schedule, jobs, backup, restore, forget)
for command in (*_MAKING, rollback, publish, shadow, ab, evaluate, tune, *_KEEPING, serve):
    app.command()(command)
app.add_typer(keys_app)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A graph recommender whose embeddings stay exact while events arrive."""


@app.command()
def init(workspace: WorkspaceArgument, as_json: JsonOption = False) -> None:
    """Make a workspace: a directory with graphrec.toml and an empty event store."""
    from graphrec.workspace import Workspace

    created = Workspace.create(workspace)
    if as_json:
        print_json({"workspace": str(created.directory)})
    else:
        typer.echo(f"{created.directory} is ready. Settings: {created.directory / 'graphrec.toml'}")


@app.command()
def ingest(
    workspace: WorkspaceArgument,
    events: Annotated[list[Path] | None, typer.Argument(help="CSV, TSV, JSONL or Parquet files.")] = None,
    items: Annotated[
        Path | None, typer.Option(help="The catalogue: id, title, text; more columns = attributes.")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="What is known of users: id; more columns = attributes.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="OUR=THEIRS for user, item, kind, timestamp, value, event_id; repeatable.")
    ] = None,
    item_column: Annotated[list[str] | None, typer.Option(help="OUR=THEIRS for id, title, text; repeatable.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring events and items into the store; durable when it returns, and safe to repeat."""
    from graphrec.answers import Counted
    from graphrec.progress import ProgressDisplay
    from graphrec.workspace import Workspace
    from graphrec.workspace import ingest as bring_in

    if not events and items is None and users is None:
        raise InputError("there is nothing to ingest", expected="event files, --items, --users, or several of them")
    opened = Workspace(workspace)
    names, tables = _mapping(column), []
    with opened.open_store() as store, ProgressDisplay(quiet=quiet) as progress:
        if items is not None:
            report = bring_in(opened, store, items=items, item_columns=_mapping(item_column))
            tables.append((items, report.items, report))
        if users is not None:
            report = bring_in(opened, store, users=users)
            tables.append((users, report.users, report))
        for file in events or []:
            report = bring_in(opened, store, file, columns=names, progress=progress)
            counts = Counted(report.read, report.accepted, report.duplicates, report.quarantined)
            tables.append((file, counts, report))
    if as_json:
        print_json(
            {
                "files": [
                    {"file": str(file), **counts.to_dict(), "seconds": report.seconds, "quarantine": report.quarantine}
                    for file, counts, report in tables
                ],
                "offset": tables[-1][2].offset,
            }
        )
    else:
        header = ("file", "read", "accepted", "duplicate", "quarantined", "seconds")
        rows = [(str(file), *vars(counts).values(), f"{report.seconds:.1f}") for file, counts, report in tables]
        _print_table(header, rows)
        for _, _, report in tables:
            for path in report.quarantine:
                typer.echo(f"The quarantined rows, with line and reason: {path}")
    if any(counts.quarantined for _, counts, _ in tables):
        raise typer.Exit(QUARANTINED)


@app.command()
def recommend(
    workspace: WorkspaceArgument,
    users: Annotated[list[str], typer.Argument(help="User ids.", show_default=False)],
    k: KOption = 10,
    include_seen: Annotated[bool, typer.Option(help="Items the user already had may come again.")] = False,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id that must not be shown; repeatable.")] = None,
    session: Annotated[
        list[str] | None, typer.Option(help="Item id, or ID=KIND, the user has just had to do with; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the items that suit a user best, with reasons; with --json one line a user."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        for user in users:
            found = recommender.recommend(
                user, k, include_seen=include_seen, exclude=exclude or [], session=session_of(session or [])
            )
            _print_answer(f"for {user}", found, as_json, reasons=True)


@app.command()
def similar(
    workspace: WorkspaceArgument,
    item: Annotated[str, typer.Argument(help="Item id.", show_default=False)],
    k: KOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose vectors are nearest to an item's."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        _print_answer(f"similar to {item}", recommender.similar(item, k), as_json)


@app.command()
def search(
    workspace: WorkspaceArgument,
    text: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    user: Annotated[str | None, typer.Option(help="Whose taste decides between items about equally near.")] = None,
    k: KOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show the items whose texts are nearest in meaning."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        _print_answer(f"for “{text}”", recommender.search(text, k, user=user), as_json)


@app.command()
def trending(workspace: WorkspaceArgument, k: KOption = 10, as_json: JsonOption = False) -> None:
    """Show the items with the most recent events."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        _print_answer("trending", recommender.trending(k), as_json)


@app.command()
def profile(
    workspace: WorkspaceArgument,
    user: Annotated[str, typer.Argument(help="User id.", show_default=False)],
    k: KOption = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a user, newest items first."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        found = recommender.profile(user, k)
    if as_json:
        typer.echo(found.to_json().decode())
        return
    typer.echo(f"{user}  ({f'{found.items} items' if found.known else 'unknown'})")
    for name, value in found.attributes.items():
        typer.echo(f"  {name}: {value}")
    for entry in found.newest:
        typer.echo(f"  {entry.last}  {entry.item:<10} {entry.title:<36} {entry.share:7.1%}")


@app.command()
def explain(
    workspace: WorkspaceArgument,
    user: Annotated[str, typer.Argument(help="User id.", show_default=False)],
    item: Annotated[str, typer.Argument(help="Item id.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Say why an item suits a user."""
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        found = recommender.explain(user, item)
    if as_json:
        typer.echo(found.to_json().decode())
        return
    typer.echo(f"{found.item}  {found.title}")
    for reason in found.reasons:
        typer.echo(f"  {reason.text}")
    if found.cosine is not None:
        typer.echo(f"  cosine of the vectors: {found.cosine:.3f}")
    typer.echo(f"  rank among the recently popular: {found.popularity_rank}")


@app.command()
def status(workspace: WorkspaceArgument, as_json: JsonOption = False) -> None:
    """Show what the workspace holds, how old its generation is, what is due and why, and who runs a job."""
    from graphrec.jobs.runner import history_of
    from graphrec.jobs.trigger import due_now
    from graphrec.recommender import Recommender

    with Recommender.open(workspace) as recommender:
        found, due = recommender.status().to_dict(), [job.to_dict() for job in due_now(recommender)]
    _, owner = history_of(workspace)
    found["job"] = None if owner is None else owner.to_dict() if as_json else str(owner)
    if as_json:
        print_json(found | {"due": due})
    else:
        for name, value in found.items():
            typer.echo(f"{name.replace('_', ' '):<20} {'-' if value is None else value}")
        for job in due:
            waits = f" (not before {job['not_before']})" if job["not_before"] else ""
            typer.echo(f"{'due':<20} {job['job']}: {job['reason']}{waits}")


@app.command()
def doctor(workspace: WorkspaceArgument, as_json: JsonOption = False) -> None:
    """Check versions, store, generations, index, text model, disk and schedule; exit code 4 when there is a problem."""
    from graphrec.doctor import examine

    checks = examine(workspace)
    problem = any(check.level == "problem" for check in checks)
    if as_json:
        print_json({"healthy": not problem, "checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            typer.echo(f"{check.level:<8} {check.name}: {check.finding}")
            if check.way_out:
                typer.echo(f"         {check.way_out}")
    if problem:
        raise typer.Exit(PROBLEM)


def main() -> None:
    """Run the command line; an error of ours becomes text (or JSON) and exit code 1, never a traceback."""
    try:
        app()
    except GraphrecError as error:
        if "--json" in sys.argv:
            parts = {"expected": error.expected, "got": error.got, "way_out": error.way_out}
            print_json({"error": {"type": type(error).__name__, "problem": error.problem, **parts}})
        else:
            typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone
        sys.exit(1)


def _mapping(pairs: list[str] | None) -> dict[str, str]:
    mapping = {}
    for pair in pairs or []:
        ours, separator, theirs = pair.partition("=")
        if not (separator and ours and theirs):
            raise InputError("a column mapping is not understood", expected="OUR=THEIRS", got=pair)
        mapping[ours] = theirs
    return mapping


def _print_answer(title: str, found: Recommendations, as_json: bool, *, reasons: bool = False) -> None:
    if as_json:
        typer.echo(found.to_json().decode())
    else:
        _print_list(title, found, reasons=reasons)


def _print_list(title: str, found: Recommendations, *, reasons: bool = False) -> None:
    typer.echo(f"{title}" + (f"  ({found.note})" if found.note else ""))
    for place, entry in enumerate(found, start=1):
        typer.echo(f"{place:>3}. {entry.item:<10} {entry.title:<36} {entry.score:7.3f}")
        if reasons:
            for reason in entry.reasons:
                typer.echo(f"     {'':<10} {reason.text}")


def _print_table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        first = row[0].ljust(widths[0])
        typer.echo("  ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]))


if __name__ == "__main__":
    main()
