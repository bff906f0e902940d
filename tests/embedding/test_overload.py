from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.embedding.overload import STEPS, held_back


def test_nothing_is_held_back_without_a_backlog() -> None:
    assert held_back(0) == 0.0
    assert held_back(STEPS[0][0] - 1) == 0.0


@pytest.mark.parametrize(("backlog", "share"), STEPS)
def test_each_watermark_opens_the_valve_further(backlog: int, share: float) -> None:
    assert held_back(backlog) == share
    assert held_back(backlog - 1) < share


@given(backlog=st.integers(0, 10**7), more=st.integers(0, 10**6))
def test_more_backlog_never_holds_back_less(backlog: int, more: int) -> None:
    assert held_back(backlog) <= held_back(backlog + more)


def test_the_steps_are_an_argument() -> None:
    assert held_back(5, ((1, 0.5), (5, 0.7))) == 0.7
    assert held_back(10**9, ()) == 0.0
