"""Lists in, a result out; results as a table, Markdown, JSON and Parquet."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from graphrec.errors import InputError
from graphrec.evaluation.metrics import PER_USER, bootstrap_interval, coverage, gini, novelty, score
from graphrec.evaluation.protocols import popularity
from graphrec.evaluation.slices import SliceResult, score_slices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.evaluation.baselines import Recommender
    from graphrec.evaluation.metrics import Floats, Lists
    from graphrec.evaluation.protocols import Split


IN_TERMINAL = ("recall", "ndcg", "coverage")


@dataclass(frozen=True)
class Result:
    """The metrics of one recommender on one split, named like `recall@20`.

    `intervals` holds the 95 % bootstrap interval of each mean over users; the seconds are those of fitting and
    answering, of which `fit_cpu_seconds` are the fitting's; None where nobody measured. settings: what the recommender
    worked with. blocks: where the figures are means over blocks of time, the result of each.
    """

    name: str
    users: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    fit_cpu_seconds: float | None = None
    slices: dict[str, SliceResult] = field(default_factory=dict)
    settings: dict[str, float | None] = field(default_factory=dict)
    blocks: tuple[Result, ...] = ()


def evaluate(
    recommender: Recommender, split: Split, k: int, rng: np.random.Generator
) -> tuple[Result, Recommender, Lists]:
    """Fit on the split's training events, ask for its test users, score and time both.

    Returns the figures, the fitted recommender and its lists.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = recommender.fit(split.train)
    fit_cpu = time.process_time() - cpu
    recommended = fitted.recommend(split.test_users, k, exclude_seen=not split.include_seen)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    counts = popularity(split.train)
    result = evaluate_lists(fitted.name, recommended, split, k, counts, rng, wall_seconds=wall, cpu_seconds=cpu)
    return replace(result, fit_cpu_seconds=fit_cpu, settings=dict(fitted.settings)), fitted, recommended


def evaluate_lists(
    name: str,
    recommended: Lists,
    split: Split,
    k: int,
    counts: NDArray[np.int64] | Floats,
    rng: np.random.Generator,
    *,
    wall_seconds: float | None = None,
    cpu_seconds: float | None = None,
) -> Result:
    """Score lists, int32 (len(split.test_users), ≥ k), best item first; `counts` says how popular items are."""
    shown, n_items = recommended[:, :k], split.train.n_items
    per_user = score(shown, split.relevant, k).matrix()
    low, high = bootstrap_interval(per_user, rng)
    means = dict(zip(PER_USER, per_user.mean(axis=0), strict=True))
    means |= {
        "coverage": coverage(shown, n_items),
        "novelty": novelty(shown, counts),
        "gini": gini(shown, n_items),
    }
    return Result(
        name=name,
        users=len(split.test_users),
        metrics={f"{metric}@{k}": float(mean) for metric, mean in means.items()},
        intervals={f"{metric}@{k}": (float(low[i]), float(high[i])) for i, metric in enumerate(PER_USER)},
        wall_seconds=wall_seconds,
        cpu_seconds=cpu_seconds,
        slices=score_slices(shown, split, k, rng),
    )


def as_table(results: Sequence[Result], title: str | None = None) -> Table:
    """Lay the results out for a terminal of 80 columns: the metrics that most people ask for."""
    return _table(*_cells(results, IN_TERMINAL), title)


def as_slice_table(results: Sequence[Result], k: int) -> Table:
    """Lay out recall on the slices of the test, each with the number of users in it, for 80 columns."""
    sizes = {name: part.users for result in results for name, part in result.slices.items()}
    header = ["recommender", *("\n".join([*name.split(), str(users)]) for name, users in sizes.items())]
    rows = [[result.name, *(_recall(result.slices.get(name), k) for name in sizes)] for result in results]
    return _table(header, rows, f"recall@{k} on parts of the test, so many users each")


def _recall(part: SliceResult | None, k: int) -> str:
    return "–" if part is None else f"{part.metrics[f'recall@{k}']:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> Table:
    table = Table(title=title, box=None)
    for place, heading in enumerate(header):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def as_markdown(results: Sequence[Result]) -> str:
    """Write the results as a Markdown table, without a final line end."""
    header, rows = _cells(results)
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])


def as_json(results: Sequence[Result], settings: Mapping[str, object]) -> dict[str, object]:
    """Everything a later reader needs to compare: results, settings and versions, ready for `json.dumps`."""
    return {"results": [asdict(result) for result in results], "settings": dict(settings), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions of what computed the figures; torch only where it was in use."""
    try:
        own = version("graphrec")
    except PackageNotFoundError:
        own = "not installed"
    found = {"graphrec": own, "numpy": np.__version__, "python": python_version()}
    if "torch" in sys.modules:
        found["torch"] = version("torch")
    return found


def save_lists(
    path: str | Path,
    users: Sequence[str],
    items: Sequence[str],
    recommended: Lists,
    scores: NDArray[np.floating] | None = None,
) -> None:
    """Write lists to Parquet with the columns user, rank (from 1), item and score, one row a recommended item.

    users: the external id of every row; items: the external id of every item number; recommended int32 (n, k), padded
    with -1; scores (n, k), null where there are none. Raises InputError where the shapes do not fit.
    """
    if len(users) != len(recommended) or (scores is not None and scores.shape != recommended.shape):
        raise InputError(
            "users, lists and scores do not fit",
            expected=f"{len(users)} lists with a score for each item",
            got=f"lists {recommended.shape}, scores {None if scores is None else scores.shape}",
        )
    rows, places = np.nonzero(recommended >= 0)
    columns = {
        "user": pa.array(users, pa.string()).take(pa.array(rows)),
        "rank": pa.array(places + 1, pa.int32()),
        "item": pa.array(items, pa.string()).take(pa.array(recommended[rows, places])),
        "score": pa.nulls(len(rows), pa.float32()) if scores is None else pa.array(scores[rows, places], pa.float32()),
    }
    pq.write_table(pa.table(columns), path)


def _cells(results: Sequence[Result], wanted: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text, all metrics or the wanted; half of an interval follows the mean it belongs to."""
    metrics = list(results[0].metrics) if results else []
    metrics = [metric for metric in metrics if not wanted or metric.partition("@")[0] in wanted]
    rows = []
    for result in results:
        cells = []
        for metric in metrics:
            cell = f"{result.metrics[metric]:.4f}"
            if metric in result.intervals:
                low, high = result.intervals[metric]
                cell += f" ±{(high - low) / 2:.4f}"
            cells.append(cell)
        seconds = ["–" if s is None else f"{s:.2f}" for s in (result.wall_seconds, result.cpu_seconds)]
        rows.append([result.name, *cells, *seconds])
    return ["recommender", *metrics, "wall s", "CPU s"], rows
