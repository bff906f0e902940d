"""`graphrec schedule` and `jobs`: run what is due by the clock and the log, and show what has run."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec.errors import JobError
from graphrec.options import JsonOption, QuietOption, WorkspaceArgument, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphrec.jobs.history import Run
    from graphrec.jobs.runner import JobRunner
    from graphrec.jobs.scheduler import JobScheduler
    from graphrec.operation_settings import ScheduleSettings
    from graphrec.recommender import Recommender
    from graphrec.workspace import Workspace

_SHOWN = 20  # newest runs in the table


def schedule(
    workspace: WorkspaceArgument,
    train: Annotated[str | None, typer.Option(help='When to train from scratch, like "0 3 * * 0".')] = None,
    update: Annotated[
        str | None, typer.Option(help='When to go on from the live weights: "every 50000 events".')
    ] = None,
    learn: Annotated[
        str | None, typer.Option(help='When to look whether [trigger] calls for either: "every 15 minutes".')
    ] = None,
    rebuild: Annotated[str | None, typer.Option(help='When to form graph and index anew, like "0 3 * * *".')] = None,
    snapshot: Annotated[str | None, typer.Option(help='When to publish the present state: "every 6 hours".')] = None,
    prune: Annotated[str | None, typer.Option(help="When to delete what is old.")] = None,
    jitter: Annotated[float | None, typer.Option(min=0, help="Begin up to so many seconds later.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of cron expressions, like Europe/Amsterdam.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Run what is due now and end: for cron and systemd.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run when and why; change nothing.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run jobs when they are due, until stopped; the times are those of [schedule] in graphrec.toml unless given here.

    The first SIGTERM or Ctrl-C lets a running job come to its end, a second one abandons it. With --once a job that
    fails is exit code 1.
    """
    from graphrec.workspace import Workspace

    opened = Workspace(workspace)
    given = {"train": train, "update": update, "learn": learn, "rebuild": rebuild, "snapshot": snapshot, "prune": prune}
    options = given | {"time_zone": time_zone, "jitter_seconds": jitter}
    changes = {name: value for name, value in options.items() if value is not None}
    settings = opened.config.schedule.model_copy(update=changes)
    with _runner(opened, settings, quiet) as runner:
        if dry_run:
            _print_plan(runner, as_json)
        elif once:
            _run_once(runner, as_json)
        else:
            _run_for_long(runner, as_json)


def jobs(
    workspace: WorkspaceArgument,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Newest runs shown.")] = _SHOWN,
    as_json: JsonOption = False,
) -> None:
    """Show who runs a job now, and what has run: when, for how long, with what outcome."""
    from graphrec.jobs.runner import history_of
    from graphrec.workspace import Workspace

    runs, owner = history_of(Workspace(workspace).directory)
    if as_json:
        print_json(
            {"owner": None if owner is None else owner.to_dict(), "runs": [run.to_dict() for run in runs[-limit:]]}
        )
        return
    if owner is not None:
        typer.echo(f"{owner}")
    for run in runs[-limit:]:
        typer.echo(_line(run))
    if not runs:
        typer.echo("Nothing has run yet. graphrec schedule --dry-run shows what would.")


@contextmanager
def _runner(opened: Workspace, settings: ScheduleSettings, quiet: bool) -> Iterator[JobRunner]:
    from graphrec.jobs.runner import JobRunner
    from graphrec.progress import ProgressDisplay

    @contextmanager
    def open_recommender() -> Iterator[Recommender]:
        from graphrec.recommender import Recommender

        with ProgressDisplay(quiet=quiet) as progress, Recommender(opened, progress) as recommender:
            yield recommender

    with JobRunner(opened, open_recommender, settings) as runner:
        yield runner


def _print_plan(runner: JobRunner, as_json: bool) -> None:
    from graphrec.jobs.scheduler import JobScheduler

    now = runner.now()
    plan = runner.plan(now, remember=False)
    places = {"job": runner.running(), "scheduler": JobScheduler(runner).leader()}
    if as_json:
        owners = {name: None if owner is None else owner.to_dict() for name, owner in places.items()}
        print_json({"plan": [entry.to_dict(now) for entry in plan], "owners": owners})
        return
    for entry in plan:
        when = "now" if entry.is_due(now) else "-" if entry.at is None else f"{entry.at:%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{entry.job:<9} {when:<20} {entry.reason}")
    if not plan:
        typer.echo("Nothing is scheduled: see [schedule] in graphrec.toml, or graphrec schedule --help.")
    for name, owner in places.items():
        if owner is not None:
            typer.echo(f"{name}: {owner}")


def _run_once(runner: JobRunner, as_json: bool) -> None:
    runs: dict[str, Run] = {}
    while (run := runner.run_due(but=runs)) is not None:
        runs[run.job] = run
        if not as_json:
            typer.echo(_line(run))
    owner = runner.running()
    if as_json:
        print_json(
            {"runs": [run.to_dict() for run in runs.values()], "owner": None if owner is None else owner.to_dict()}
        )
    elif not runs:
        typer.echo("Nothing is due." if owner is None else f"Elsewhere: {owner}")
    failed = [run for run in runs.values() if run.outcome == "failed"]
    if failed and not as_json:
        names = ", ".join(run.job for run in failed)
        raise JobError(f"{names} failed; the live generation is as it was", got=failed[0].error)
    if failed:
        raise typer.Exit(1)


def _run_for_long(runner: JobRunner, as_json: bool) -> None:
    from graphrec.jobs.scheduler import JobScheduler

    def tell(run: Run) -> None:
        if as_json:
            print_json(run.to_dict(), indent=None)
        else:
            typer.echo(_line(run))

    scheduler = JobScheduler(runner, tell=tell)
    _stop_on_signals(scheduler)
    if not as_json:
        _print_plan(runner, as_json)
    try:
        scheduler.run()
    except KeyboardInterrupt:
        raise JobError("the job was abandoned; the live generation is as it was") from None


def _stop_on_signals(scheduler: JobScheduler) -> None:
    stopping: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopping.append(number)
        scheduler.end()
        if len(stopping) > 1:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _line(run: Run) -> str:
    took = "" if run.seconds is None else f" in {run.seconds:.1f} s ({run.cpu_seconds:.1f} CPU-seconds)"
    made = "" if run.generation is None else f", generation {run.generation}"
    rest = f", {run.note}" if run.note else ""
    error = "" if run.error is None else f": {run.error.splitlines()[0]}"
    return f"{run.started[:19]} {run.job:<9} {run.outcome}{took}{made}{rest}{error}  [{run.reason}]"
