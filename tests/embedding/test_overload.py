from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.embedding.overload import STEPS, tolerance


def test_nothing_is_held_back_without_a_backlog() -> None:
    assert tolerance(0, 3.0) == 0.0
    assert tolerance(STEPS[0][0] - 1, 3.0) == 0.0


@pytest.mark.parametrize(("backlog", "share"), STEPS)
def test_each_watermark_opens_the_valve_further(backlog: int, share: float) -> None:
    assert tolerance(backlog, 2.0) == pytest.approx(2 * share)
    assert tolerance(backlog - 1, 2.0) < 2 * share


@given(backlog=st.integers(0, 10**7), more=st.integers(0, 10**6))
def test_more_backlog_never_means_less_tolerance(backlog: int, more: int) -> None:
    assert tolerance(backlog, 1.0) <= tolerance(backlog + more, 1.0)


def test_the_steps_are_an_argument() -> None:
    assert tolerance(5, 10.0, ((1, 0.5), (5, 0.7))) == pytest.approx(7.0)
    assert tolerance(10**9, 10.0, ()) == 0.0
