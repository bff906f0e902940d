"""The results of one recommender on consecutive blocks of time as one result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from graphrec.evaluation.slices import SliceResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphrec.evaluation.report import Result


def mean_over_blocks(blocks: Sequence[Result]) -> Result:
    """Average metrics and seconds over blocks, each block counting alike; `blocks` of the result keeps every one.

    The 95 % intervals are Student's for the mean of the blocks (Biometrika 1908), because blocks differ by more than
    the chance of who came; a single block keeps its own interval over users. A slice is averaged over the blocks that
    have it. Users and relevant items are summed.
    """
    metrics, intervals = _means(blocks)
    names = dict.fromkeys(name for block in blocks for name in block.slices)
    return replace(
        blocks[-1],
        users=sum(block.users for block in blocks),
        metrics=metrics,
        intervals=intervals,
        wall_seconds=_mean_seconds([block.wall_seconds for block in blocks]),
        cpu_seconds=_mean_seconds([block.cpu_seconds for block in blocks]),
        fit_cpu_seconds=_mean_seconds([block.fit_cpu_seconds for block in blocks]),
        slices={name: _mean_slice([block.slices[name] for block in blocks if name in block.slices]) for name in names},
        blocks=tuple(blocks),
    )


def _mean_slice(slices: Sequence[SliceResult]) -> SliceResult:
    metrics, intervals = _means(slices)
    users, relevant = sum(part.users for part in slices), sum(part.relevant for part in slices)
    return SliceResult(users, relevant, metrics, intervals)


def _means(
    results: Sequence[Result] | Sequence[SliceResult],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    from scipy.special import stdtrit

    if len(results) == 1:
        return results[0].metrics, results[0].intervals
    values = {name: np.array([result.metrics[name] for result in results]) for name in results[0].metrics}
    means = {name: float(column.mean()) for name, column in values.items()}
    quantile = float(stdtrit(len(results) - 1, 0.975)) / np.sqrt(len(results))
    halves = {name: float(quantile * values[name].std(ddof=1)) for name in results[0].intervals}
    return means, {name: (means[name] - half, means[name] + half) for name, half in halves.items()}


def _mean_seconds(seconds: Sequence[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return float(np.mean(known)) if known else None
