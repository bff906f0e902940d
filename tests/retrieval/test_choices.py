"""What was chosen, what is fixed, and the way through a file."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from graphrec.config import Config
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape

CHOSEN = Choices(14.0, FilterShape(seed_exponent=0.6, target_exponent=0.3, slope=2.0, lift=0.2))


def test_auto_leaves_what_was_chosen() -> None:
    assert CHOSEN.under(Config()) == CHOSEN
    assert Choices().under(Config()) == Choices()


@pytest.mark.parametrize("name", [field.name for field in fields(FilterShape)])
@pytest.mark.parametrize("number", [0.0, 1.25])
def test_a_fixed_number_of_the_filter_wins_alone(name: str, number: float) -> None:
    found = CHOSEN.under(Config(filter={name: number}))
    assert found == replace(CHOSEN, filter=replace(CHOSEN.filter, **{name: number}))


@pytest.mark.parametrize("days", [3.0, np.inf])
def test_a_fixed_half_life_wins_alone(days: float) -> None:
    found = CHOSEN.under(Config(retrieval={"popularity_half_life_days": days}))
    assert found == replace(CHOSEN, popularity_half_life_days=days)


def test_every_number_can_be_fixed() -> None:
    settings = {"seed_exponent": 0.1, "target_exponent": 0.2, "slope": 3.5, "lift": 0.4}
    config = Config(filter=settings, retrieval={"popularity_half_life_days": 1.0})
    assert CHOSEN.under(config) == Choices().under(config) == Choices(1.0, FilterShape(**settings))


@pytest.mark.parametrize("choices", [Choices(), CHOSEN, replace(CHOSEN, popularity_half_life_days=np.inf)])
def test_they_come_back_from_json(choices: Choices) -> None:
    data = choices.to_dict()
    assert Choices.from_dict(data) == choices
    assert Choices.from_dict(json.loads(json.dumps(data))) == choices
    assert data["filter"]["slope"] == choices.filter.slope
