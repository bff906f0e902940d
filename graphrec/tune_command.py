"""`graphrec tune`: which settings, how long, printed how."""

from __future__ import annotations

import math
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec.options import JsonOption, QuietOption, WorkspaceArgument, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from graphrec.tuning import Tuned

_SHOWN = 10  # trials in the table


class Metric(StrEnum):
    """What `tune` makes as large as it can, at 20."""

    NDCG = "ndcg"
    RECALL = "recall"


def tune(
    workspace: WorkspaceArgument,
    trials: Annotated[int, typer.Option(help="To add in this call.")] = 20,
    minutes: Annotated[float, typer.Option(help="No trial begins later; a begun one is finished.")] = math.inf,
    cpu_minutes: Annotated[float, typer.Option(help="The same, by time of the processor.")] = math.inf,
    metric: Annotated[Metric, typer.Option(help="What to improve, at 20.")] = Metric.NDCG,
    settings: Annotated[
        str | None, typer.Option(help="Names with commas, training.dropout,update.steps; default: all it knows.")
    ] = None,
    blocks: Annotated[int, typer.Option(help="Of the older log, asked for and then learned.")] = 4,
    base_share: Annotated[float, typer.Option(help="Oldest share of the older log, trained on first.")] = 0.6,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    write: Annotated[bool, typer.Option("--write", help="Put better settings into graphrec.toml.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search better settings on the older 90 % of the log; again, and it goes on. The newest 10 % stay untouched."""
    from graphrec.evaluation.prequential_objective import Objective
    from graphrec.progress import ProgressDisplay
    from graphrec.recommender import Recommender
    from graphrec.search_space import chosen_space
    from graphrec.settings_file import write_values
    from graphrec.tuning import Budget
    from graphrec.tuning import tune as search

    names = None if settings is None else [name.strip() for name in settings.split(",")]
    chosen_space(names)  # before anything is read
    budget = Budget(trials, minutes, cpu_minutes)
    with ProgressDisplay(quiet=quiet) as progress:
        with Recommender.open(workspace, progress=progress) as recommender:
            config, texts, log = recommender.workspace.config, recommender.text_vectors(), recommender.log()
        objective = Objective.of(log, texts, metric.value, blocks=blocks, base_share=base_share)
        found = search(objective, config, workspace, names=names, budget=budget, seed=seed, progress=progress)
    written = write and found.gain.beyond_noise
    if written:
        write_values(workspace, found.changes)
    if as_json:
        from graphrec.evaluation.report import versions

        record = asdict(found) | {"changes": found.changes, "beyond_noise": found.gain.beyond_noise}
        print_json(record | {"written": written, "blocks": blocks, "base_share": base_share, "versions": versions()})
    else:
        _print(found, write=write, written=written)


def _print(found: Tuned, *, write: bool, written: bool) -> None:
    from rich.console import Console

    from graphrec.settings_file import lines_of

    if found.interrupted:
        typer.echo("Interrupted; the finished trials are kept.")
    Console().print(_table(found))
    if not found.changes:
        typer.echo("The present settings are the best so far.")
        return
    gain = found.gain
    typer.echo(
        f"Trial {found.best.number} against the present settings: {gain.mean:+.4f} "
        f"(95 % interval {gain.low:+.4f} to {gain.high:+.4f}, wider for the best of many), "
        + ("beyond noise." if gain.beyond_noise else "no better than noise.")
    )
    if written:
        typer.echo("Written into graphrec.toml; graphrec train uses it:")
    elif write:
        typer.echo("Nothing is written, for it may be chance. In graphrec.toml it would be:")
    else:
        typer.echo("For graphrec.toml:")
    typer.echo("\n" + lines_of(found.changes))


def _table(found: Tuned) -> Table:
    from rich.table import Table

    complete = sum(trial.complete for trial in found.trials)
    title = f"study {found.study}: {complete} complete trials, {len(found.trials) - complete} stopped early"
    table = Table("trial", found.metric, "CPU-s", "settings that differ", title=title)
    for trial in found.trials[:_SHOWN]:
        differ = {name: value for name, value in trial.settings.items() if value != found.present.settings[name]}
        words = ", ".join(f"{name}={value}" for name, value in differ.items()) or "none: the present ones"
        value = (
            f"{trial.value:.4f}" if trial.complete else f"stopped after {len(trial.blocks)} of {len(found.best.blocks)}"
        )
        table.add_row(str(trial.number), value, f"{trial.cpu_seconds:.1f}", words)
    return table
