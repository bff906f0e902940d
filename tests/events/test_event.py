from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from graphrec.errors import InputError
from graphrec.events.event import Event, EventTable, Item, microseconds, table_of


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1, 1_000_000),
        (1_700_000_000, 1_700_000_000_000_000),
        (1_700_000_000.25, 1_700_000_000_250_000),
        ("2023-11-14T22:13:20", 1_700_000_000_000_000),
        ("2023-11-14 22:13:20Z", 1_700_000_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000),
        ("1970-01-02", 86_400_000_000),
        (datetime(2023, 11, 14, 22, 13, 20), 1_700_000_000_000_000),
        (datetime(2023, 11, 14, 22, 13, 20, 7, tzinfo=UTC), 1_700_000_000_000_007),
        (datetime(2023, 11, 15, 0, 13, 20, tzinfo=timezone(timedelta(hours=2))), 1_700_000_000_000_000),
    ],
)
def test_a_moment_is_microseconds_since_the_epoch(moment, expected):
    assert microseconds(moment) == expected


@pytest.mark.parametrize("moment", [0, -1, 0.5, math.nan, math.inf, 1e30, 10**30, True, None, "", "yesterday", "1e9"])
def test_what_is_no_moment_is_an_input_error(moment):
    with pytest.raises(InputError, match="time stamp"):
        microseconds(moment)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", ""),
        ("user", 17850),
        ("user", "x" * 513),
        ("item", None),
        ("item", "a\0b"),
        ("item", "\ud800"),
        ("kind", ""),
        ("value", math.nan),
        ("value", "3"),
        ("value", True),
        ("event_id", ""),
    ],
)
def test_an_event_names_its_bad_field(field, value):
    good = {"user": "u", "item": "i", "timestamp": 1}
    with pytest.raises(InputError, match=field):
        Event(**{**good, field: value})


def test_replacing_a_field_keeps_the_time():
    event = Event("u", "i", timestamp="2020-01-01")
    assert dataclasses.replace(event, value=2.0).microseconds == event.microseconds == 1_577_836_800_000_000


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"title": "\0"}, {"attributes": {"a": [1]}}, {"attributes": {"a": math.inf}}]
)
def test_an_item_that_cannot_be_kept_is_an_input_error(change):
    with pytest.raises(InputError):
        Item(**{"id": "i", **change})


def test_a_table_keeps_the_order_and_has_event_ids_only_where_given():
    events = [Event("u", "i", timestamp=2, event_id="e"), Event("v", "j", "cart", timestamp=1, value=2)]
    table = table_of(events)
    assert (len(table), table.users.to_pylist(), table.items.to_pylist()) == (2, ["u", "v"], ["i", "j"])
    assert (table.kinds.to_pylist(), table.event_ids.to_pylist()) == (["view", "cart"], ["e", None])
    assert (table.timestamps.tolist(), table.values.tolist()) == ([2_000_000, 1_000_000], [1.0, 2.0])
    assert table_of(events[1:]).event_ids is None
    assert len(table_of([])) == 0


def test_columns_of_different_lengths_are_refused():
    text = pa.array(["a"])
    with pytest.raises(InputError, match="length"):
        EventTable(text, text, text, np.zeros(2, np.int64), np.zeros(1))
