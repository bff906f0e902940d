"""From raw rows to events: every rule is a mask over a column, and a bad row is rejected for its first bad field."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from graphrec.errors import InputError
from graphrec.events.event import EARLIEST, ID_EXPECTED, ID_LENGTH, LATEST, EventTable, microseconds
from graphrec.events.quarantine import ROW_LIMIT, Rejection
from graphrec.events.raw_rows import EXACT_FLOAT, RawRows

if TYPE_CHECKING:
    from graphrec.config import EventSettings

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1 / 1_000}  # µs in one
UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_PLAUSIBLE = 631_152_000_000_000  # µs; 1990, before which hardly anybody kept event logs

_WHOLE = r"^-?([0-9]{1,18}|[1-8][0-9]{18})$"  # fits 64 bits
_DECIMAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$"

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class _Rule(NamedTuple):
    field: str
    bad: Mask
    expected: str


def validate(rows: RawRows, settings: EventSettings, now: float) -> tuple[EventTable, list[Rejection]]:
    """Return the good rows as a table, and a rejection for each of the others; `now` in unix seconds.

    Raises InputError where a whole column has a type that cannot be what it is said to be.
    """
    if not len(rows.lines):
        return _empty(), []
    columns = rows.columns
    users, items = _text("user", columns["user"]), _text("item", columns["item"])
    kinds = _text("kind", columns["kind"]) if "kind" in columns else pa.repeat(settings.default_kind, len(rows.lines))
    timestamps, numbers = _timestamps(columns["timestamp"], settings.timestamp_unit)
    latest = min(int((now + settings.max_future_days * 86_400) * 1e6), LATEST)
    values, bad_values = _values(columns["value"]) if "value" in columns else (np.ones(len(rows.lines)), None)
    rules = [
        _Rule("user", _bad_ids(users), f"an id of {ID_EXPECTED}"),
        _Rule("item", _bad_ids(items), f"an id of {ID_EXPECTED}"),
        _Rule("kind", ~_mask(pc.is_in(kinds, pa.array(settings.kinds))), "one of " + ", ".join(settings.kinds)),
        _Rule("timestamp", (timestamps < EARLIEST) | (timestamps > latest), _timestamp_expected(settings)),
    ]
    if bad_values is not None:
        rules.append(_Rule("value", bad_values, "a finite number, or nothing for 1"))
    event_ids = None
    if "event_id" in columns:
        event_ids = _text("event_id", columns["event_id"])
        given = ~_mask(pc.equal(event_ids, ""))  # nothing at all is allowed here, and is an empty cell in CSV
        fractional = _mask(event_ids.is_null()) & ~_mask(columns["event_id"].is_null())
        rules.append(_Rule("event_id", _bad_ids(event_ids, optional=True) | fractional, f"an id of {ID_EXPECTED}"))
        event_ids = pc.if_else(pa.array(given), event_ids, None)

    first = np.full(len(rows.lines), len(rules), np.int8)
    for place in reversed(range(len(rules))):
        first[rules[place].bad] = place
    rejected = []
    for row in np.flatnonzero(first < len(rules)):
        rule = rules[first[row]]
        hint = _unit_hint(float(numbers[row]), settings.timestamp_unit, latest) if rule.field == "timestamp" else ""
        rejected.append(_rejection(rows, int(row), rule.field, rule.expected + hint))
    good = first == len(rules)
    table = EventTable(users, items, kinds, timestamps, values, event_ids)
    return table if good.all() else _filtered(table, good), rejected


def _empty() -> EventTable:
    text = pa.array([], pa.string())
    return EventTable(text, text, text, np.empty(0, np.int64), np.empty(0))


def _filtered(table: EventTable, good: Mask) -> EventTable:
    keep = pa.array(good)
    return EventTable(
        users=table.users.filter(keep),
        items=table.items.filter(keep),
        kinds=table.kinds.filter(keep),
        timestamps=table.timestamps[good],
        values=table.values[good],
        event_ids=None if table.event_ids is None else table.event_ids.filter(keep),
    )


def _rejection(rows: RawRows, row: int, field: str, expected: str) -> Rejection:
    cell = rows.cell(field, row)
    got = "nothing" if cell is None or cell == "" else str(cell)
    return Rejection(rows.source, int(rows.lines[row]), field, expected, got[:200], rows.text(row)[:ROW_LIMIT])


def _mask(array: pa.Array) -> Mask:
    return pc.fill_null(array, False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _wrong_type(field: str, array: pa.Array, expected: str) -> InputError:
    return InputError(
        f"the {field} column has the wrong type",
        expected=expected,
        got=str(array.type),
        way_out=f"name another column: --column {field}=NAME",
    )


def _text(field: str, array: pa.Array) -> pa.Array:
    """Ids as text; null where there is none, whole floats without their `.0`."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if pa.types.is_floating(kind):
        numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
        whole = (np.abs(numbers) < EXACT_FLOAT) & (numbers == np.floor(numbers))
        return pa.array(np.where(whole, numbers, 0).astype(np.int64), mask=~whole).cast(pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([_decoded(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_boolean(kind) or pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        raise _wrong_type(field, array, "text or whole numbers")
    try:
        return array.cast(pa.string())
    except pa.ArrowException:
        raise _wrong_type(field, array, "text or whole numbers") from None


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _bad_ids(texts: pa.Array, *, optional: bool = False) -> Mask:
    lengths = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)
    nul = _mask(pc.match_substring(texts, "\0"))
    return (lengths > ID_LENGTH) | nul | (False if optional else lengths == 0)  # type: ignore[no-any-return]


def _timestamps(array: pa.Array, unit: str) -> tuple[npt.NDArray[np.int64], Floats]:
    """Microseconds, 0 where there is no time stamp, and the numbers they were made of, NaN where they were none."""
    micros, numbers = np.zeros(len(array), np.int64), np.full(len(array), np.nan)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _timestamps(array.dictionary_decode(), unit)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        cast = array.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None), safe=False)
        return pc.fill_null(cast.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).copy(), numbers
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        given = _mask(array.is_valid())
        numbers[given] = array.drop_null().cast(pa.float64(), safe=False).to_numpy()
        micros[given] = _scaled(array.drop_null().to_numpy(), unit)
        return micros, numbers
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise _wrong_type("timestamp", array, "numbers, text or time stamps")
    texts = array.cast(pa.string())
    whole = _mask(pc.match_substring_regex(texts, _WHOLE))
    if whole.any():
        numerals = texts.filter(pa.array(whole)).cast(pa.int64()).to_numpy()
        numbers[whole], micros[whole] = numerals, _scaled(numerals, unit)
    if whole.all():
        return micros, numbers
    decimal = _mask(pc.match_substring_regex(texts, _DECIMAL)) & ~whole
    if decimal.any():
        numbers[decimal] = texts.filter(pa.array(decimal)).cast(pa.float64()).to_numpy()
        micros[decimal] = _scaled(numbers[decimal], unit)
    dated = ~whole & ~decimal & _mask(texts.is_valid())
    micros[dated] = _dates(texts.filter(pa.array(dated)))
    return micros, numbers


def _scaled(numbers: npt.NDArray[np.int64] | Floats, unit: str) -> npt.NDArray[np.int64]:
    """Microseconds of numbers in a unit; what would overflow stays out of every range."""
    factor = UNITS[unit]
    near = np.abs(numbers.astype(np.float64)) <= (LATEST + 1e6) / factor  # NaN is not, either
    if not np.issubdtype(numbers.dtype, np.integer):
        return np.rint(np.where(near, numbers, -1) * factor).astype(np.int64)
    whole = np.where(near, numbers, -1).astype(np.int64)
    return whole // 1_000 if unit == "ns" else whole * int(factor)


def _dates(texts: pa.Array) -> npt.NDArray[np.int64] | list[int]:
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind).cast(pa.int64()).to_numpy()  # type: ignore[no-any-return]
        except pa.ArrowException:
            pass  # a bad one, or another way of writing it, among many: one by one then
    return [_date(text) for text in texts.to_pylist()]


def _date(text: str) -> int:
    try:
        return microseconds(text)
    except InputError:
        return 0


def _timestamp_expected(settings: EventSettings) -> str:
    return (
        f"{UNIT_NAMES[settings.timestamp_unit]} since 1970 or ISO 8601, "
        f"at most {settings.max_future_days:g} days in the future"
    )


def _unit_hint(number: float, unit: str, latest: int) -> str:
    for other, factor in UNITS.items():
        if factor < UNITS[unit] and math.isfinite(number) and _PLAUSIBLE <= number * factor <= latest:
            return f'; is the unit {UNIT_NAMES[other]}? timestamp_unit = "{other}"'
    return ""


def _values(array: pa.Array) -> tuple[Floats, Mask]:
    """Values, 1 where there is none, and which are not finite numbers."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = pc.fill_null(array.cast(pa.float64(), safe=False), 1.0).to_numpy(zero_copy_only=False)
        return values, ~np.isfinite(values)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise _wrong_type("value", array, "numbers")
    texts = array.cast(pa.string())
    numeric = _mask(pc.match_substring_regex(texts, _DECIMAL))
    values = np.ones(len(array))
    values[numeric] = texts.filter(pa.array(numeric)).cast(pa.float64()).to_numpy()
    nothing = ~_mask(texts.is_valid()) | _mask(pc.equal(texts, ""))
    return values, ~(numeric | nothing) | ~np.isfinite(values)
