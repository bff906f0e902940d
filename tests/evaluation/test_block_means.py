from __future__ import annotations

import pytest

from graphrec.evaluation.block_means import mean_over_blocks
from graphrec.evaluation.report import Result
from graphrec.evaluation.slices import SliceResult


def block(recall: float, *, cold: float | None = None, seconds: float | None = 1.0) -> Result:
    slices = {} if cold is None else {"cold users": SliceResult(2, 3, {"recall@5": cold}, {"recall@5": (0.0, 1.0)})}
    metrics = {"recall@5": recall, "coverage@5": recall / 2}
    intervals = {"recall@5": (recall - 0.1, recall + 0.1)}
    fitting = None if seconds is None else seconds / 2
    return Result("ours", 10, metrics, intervals, seconds, seconds, fitting, slices)


def test_means_and_students_interval() -> None:
    blocks = [block(0.1), block(0.2, seconds=3.0), block(0.3, seconds=None)]
    mean = mean_over_blocks(blocks)
    assert mean.metrics == pytest.approx({"recall@5": 0.2, "coverage@5": 0.1})
    half = 4.302653 * 0.1 / 3**0.5  # 97.5 % of Student's t with two degrees of freedom, standard deviation 0.1
    assert mean.intervals == {"recall@5": pytest.approx((0.2 - half, 0.2 + half))}
    assert (mean.users, mean.wall_seconds, mean.cpu_seconds, mean.fit_cpu_seconds) == (30, 2.0, 2.0, 1.0)
    assert mean.blocks == tuple(blocks)


def test_a_slice_is_averaged_where_it_is() -> None:
    mean = mean_over_blocks([block(0.1, cold=0.2), block(0.2), block(0.3, cold=0.4)])
    found = mean.slices["cold users"]
    assert (found.users, found.relevant, found.metrics["recall@5"]) == (4, 6, pytest.approx(0.3))
    alone = mean_over_blocks([block(0.1), block(0.2, cold=0.5)])
    assert alone.slices["cold users"].intervals == {"recall@5": (0.0, 1.0)}


def test_one_block_keeps_its_own_interval() -> None:
    assert mean_over_blocks([block(0.4)]).intervals == block(0.4).intervals
