"""The space is one of settings that exist, within what they allow."""

from __future__ import annotations

import pytest

from graphrec.config import Config
from graphrec.errors import ConfigError
from graphrec.search_space import SPACE, OneOf, Real, Whole, chosen_space, nearest, values_of, with_values


@pytest.mark.parametrize("name", SPACE)
def test_every_end_of_a_range_is_a_valid_setting_and_the_default_lies_within(name: str) -> None:
    within = SPACE[name]
    ends = within.values if isinstance(within, OneOf) else (within.low, within.high)
    for end in ends:
        changed = with_values(Config(), {name: end})
        assert Config(**changed.model_dump()) == changed
        assert values_of(changed, [name]) == {name: end}
        assert changed != Config() or values_of(Config(), [name]) == {name: end}
    (default,) = values_of(Config(), [name]).values()
    assert nearest(within, default) == default


def test_other_settings_stay() -> None:
    changed = with_values(Config(), {"training.dropout": 0.4, "update.steps": 9, "training.temperature": 0.2})
    expected = Config(training={"dropout": 0.4, "temperature": 0.2}, update={"steps": 9})
    assert changed == expected


def test_a_restriction_keeps_the_order_of_the_space() -> None:
    assert list(chosen_space(["update.steps", "training.dropout"])) == ["training.dropout", "update.steps"]
    assert chosen_space() == SPACE


@pytest.mark.parametrize("names", [["training.dropuot"], ["training.dropout", "cold.auto"], []])
def test_an_unknown_setting_is_an_error_that_lists_the_known(names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        chosen_space(names)
    for known in SPACE:
        assert known in str(error.value)


@pytest.mark.parametrize(
    ("within", "value", "expected"),
    [
        (Real(0.1, 1.0), float("inf"), 1.0),
        (Real(0.1, 1.0), 0, 0.1),
        (Whole(2, 9), 5, 5),
        (Whole(2, 9), 100, 9),
        (OneOf(("a", "b")), "b", "b"),
        (OneOf(("a", "b")), "c", "a"),
    ],
)
def test_the_nearest_allowed_value(within, value, expected) -> None:
    found = nearest(within, value)
    assert found == expected
    assert type(found) is type(expected)
