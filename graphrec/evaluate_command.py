"""`graphrec evaluate`: which protocol, on what, printed how."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphrec.errors import InputError
from graphrec.options import JsonOption, KOption, QuietOption, print_json

if TYPE_CHECKING:
    from graphrec.evaluation.runs import Task
    from graphrec.progress import ProgressDisplay
    from graphrec.recommender import Recommender


class Protocol(StrEnum):
    """How `evaluate` divides a workspace's log, always by time."""

    TIME = "time"
    BLOCKS = "blocks"
    ONE_STEP_AHEAD = "one-step-ahead"


OPTIONS = {
    "a pair of files": {"save_lists"},
    "--protocol time": {"save_lists", "protocol", "include_seen", "test_share"},
    "--protocol blocks": {"protocol", "include_seen", "base_share", "blocks", "label_delay"},
    "--protocol one-step-ahead": {"protocol", "base_share", "events"},
}


def evaluate(
    context: typer.Context,
    workspace: Annotated[Path | None, typer.Argument(help="Workspace to split by time.")] = None,
    train_file: Annotated[Path | None, typer.Option("--train", help="LightGCN format: user item item …")] = None,
    test_file: Annotated[Path | None, typer.Option("--test", help="The same; only ever asked for.")] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="time: one cut. blocks: test on a block, then learn it, and so on. one-step-ahead: the next event, by "
            "how fresh the answer's knowledge is; graphrec only."
        ),
    ] = Protocol.TIME,
    test_share: Annotated[float, typer.Option(help="time: newest share of the events, the test.")] = 0.1,
    base_share: Annotated[float, typer.Option(help="blocks, one-step-ahead: oldest share of the events.")] = 0.6,
    blocks: Annotated[int, typer.Option(help="blocks: how many.")] = 10,
    label_delay: Annotated[float, typer.Option(help="blocks: days until training knows of an event.")] = 0.0,
    events: Annotated[int, typer.Option(help="one-step-ahead: events sampled to be asked for.")] = 12_000,
    include_seen: Annotated[bool, typer.Option(help="Items a user already had count and may be recommended.")] = False,
    k: KOption = 20,
    save_lists: Annotated[Path | None, typer.Option(help="Parquet file for graphrec's lists; one cut only.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train on the past, ask for the future, beside popularity, item-kNN, graph filters, iALS and EASE."""
    pair = train_file is not None and test_file is not None
    if (workspace is None) == (not pair):
        raise InputError("what to evaluate is not clear", expected="a workspace, or --train FILE and --test FILE")
    way = "a pair of files" if workspace is None else f"--protocol {protocol}"
    for option in sorted(set().union(*OPTIONS.values()) - OPTIONS[way]):
        if _given(context, option):
            raise InputError("the options do not fit together", got=f"--{option.replace('_', '-')} with {way}")

    from graphrec.evaluation.runs import blocks_task, files_task, time_task
    from graphrec.progress import ProgressDisplay
    from graphrec.recommender import Recommender

    with ProgressDisplay(quiet=quiet) as progress:
        if workspace is None:
            _beside_baselines(files_task(train_file or Path(), test_file or Path()), k, save_lists, as_json, progress)
            return
        with Recommender.open(workspace, progress=progress) as recommender:
            if protocol is Protocol.ONE_STEP_AHEAD:
                _one_step_ahead(recommender, base_share, events, k, as_json, progress)
                return
            if protocol is Protocol.BLOCKS:
                task = blocks_task(recommender, base_share, blocks, label_delay, include_seen=include_seen)
            else:
                task = time_task(recommender, test_share, include_seen=include_seen)
        _beside_baselines(task, k, save_lists, as_json, progress)


def _beside_baselines(task: Task, k: int, save_lists: Path | None, as_json: bool, progress: ProgressDisplay) -> None:
    from rich.console import Console

    from graphrec.evaluation.report import as_json as as_record
    from graphrec.evaluation.report import as_slice_table, as_table
    from graphrec.evaluation.runs import left_out, run

    results, missing = run(task, k, progress, save_lists), left_out(task)
    if as_json:
        settings = {"task": task.name, "k": k, "splits": task.outline(), "left_out": missing}
        print_json(as_record(results, settings | {"config": task.config.model_dump()}))
        return
    console = Console()
    console.print(as_table(results, task.name))
    console.print()
    console.print(as_slice_table(results, k))
    for name, reason in missing.items():
        typer.echo(f"Without {name}: {reason}")


def _one_step_ahead(
    recommender: Recommender, base_share: float, events: int, k: int, as_json: bool, progress: ProgressDisplay
) -> None:
    from rich.console import Console

    from graphrec.evaluation.one_step_ahead import as_table, one_step_ahead
    from graphrec.evaluation.report import versions

    config = recommender.workspace.config
    results = one_step_ahead(
        recommender.log(),
        recommender.text_vectors(),
        config,
        progress,
        session_gap=60 * config.retrieval.session_minutes,
        k=k,
        sample=events,
        base_share=base_share,
    )
    if as_json:
        settings = {"protocol": "one-step-ahead", "k": k, "base_share": base_share, "config": config.model_dump()}
        print_json({"results": [asdict(row) for row in results], "settings": settings, "versions": versions()})
    else:
        Console().print(as_table(results))


def _given(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"
