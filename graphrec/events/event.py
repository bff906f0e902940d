"""The records: an event, an item, and many events as columns.

Ids are text at the door and node numbers inside; `EventTable` is the former, `EventColumns` the latter.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from graphrec.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ID_LENGTH = 512
ID_EXPECTED = f"1 to {ID_LENGTH} characters, none of them NUL"
EARLIEST = 1_000_000  # µs; a smaller time stamp is a missing one that somebody filled with 0 or -1
LATEST = 253_402_300_799_000_000  # µs; the end of the year 9999, where datetime ends

JsonScalar = str | int | float | bool | None


def microseconds(moment: float | str | datetime) -> int:
    """Microseconds since the epoch (UTC) of unix seconds, ISO 8601 text or a datetime; raises InputError.

    Text and datetimes without a zone are UTC.
    """
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment.strip())
        if isinstance(moment, datetime):
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            since = aware - datetime(1970, 1, 1, tzinfo=UTC)
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        elif isinstance(moment, bool):
            raise ValueError
        else:
            micros = moment * 1_000_000 if isinstance(moment, int) else round(moment * 1e6)
    except (ValueError, TypeError, OverflowError):
        micros = -1
    if not EARLIEST <= micros <= LATEST:
        raise InputError(
            "not a time stamp", expected="unix seconds after 1970, ISO 8601 text or a datetime", got=repr(moment)
        )
    return int(micros)


def iso(moment: int) -> str:
    """ISO 8601 of microseconds since the epoch, to the second, UTC."""
    return datetime.fromtimestamp(moment / 1e6, UTC).isoformat(timespec="seconds")


def is_id(key: object) -> bool:
    """Whether `key` can name a user, an item or an event."""
    if not isinstance(key, str) or not 0 < len(key) <= ID_LENGTH or "\0" in key:
        return False
    try:
        key.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


@dataclass(frozen=True)
class Event:
    """One user did one thing to one item; raises InputError when a field cannot be."""

    user: str
    item: str
    kind: str = "view"
    _: KW_ONLY
    timestamp: float | str | datetime
    value: float = 1.0
    event_id: str | None = None

    def __post_init__(self) -> None:
        for name, key in (("user", self.user), ("item", self.item), ("kind", self.kind), ("event_id", self.event_id)):
            if not is_id(key) and not (name == "event_id" and key is None):
                raise InputError(f"not an event: its {name}", expected=f"text, {ID_EXPECTED}", got=repr(key))
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise InputError("not an event: its value", expected="a finite number", got=repr(self.value))
        microseconds(self.timestamp)

    @property
    def microseconds(self) -> int:
        """The time stamp, µs since the epoch."""
        return microseconds(self.timestamp)


@dataclass(frozen=True)
class Item:
    """What the catalogue says of one item; raises InputError when a field cannot be."""

    id: str
    title: str = ""
    text: str = ""
    attributes: Mapping[str, JsonScalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_id(self.id):
            raise InputError("not an item: its id", expected=f"text, {ID_EXPECTED}", got=repr(self.id))
        for name, text in (("title", self.title), ("text", self.text)):
            if not isinstance(text, str) or not _storable(text):
                raise InputError(f"not an item: its {name}", expected="UTF-8 text without NUL", got=repr(text)[:200])
        check_attributes(self.attributes)


def check_attributes(attributes: Mapping[str, object]) -> None:
    """Raise InputError unless every attribute is a JSON scalar under a textual name."""
    for name, value in attributes.items():
        finite = not isinstance(value, float) or math.isfinite(value)
        scalar = value is None or isinstance(value, str | int | float)
        if not (finite and scalar and isinstance(name, str) and _storable(name) and _storable(value)):
            raise InputError(
                f"the attribute {name!r} cannot be kept",
                expected="text, a finite number, true, false or nothing",
                got=repr(value)[:200],
            )


def _storable(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


@dataclass(frozen=True, eq=False)
class EventTable:
    """Validated events as columns of one length n, named by external ids; raises InputError when lengths differ."""

    users: pa.Array  # string[n]
    items: pa.Array  # string[n]
    kinds: pa.Array  # string[n]
    timestamps: npt.NDArray[np.int64]  # µs since the epoch
    values: npt.NDArray[np.float64]
    event_ids: pa.Array | None = None  # string[n], null where the source gave none

    def __post_init__(self) -> None:
        lengths = {len(self.items), len(self.kinds), len(self.timestamps), len(self.values), len(self.users)}
        if self.event_ids is not None:
            lengths.add(len(self.event_ids))
        if len(lengths) > 1:
            raise InputError("the columns of an event table differ in length", got=str(sorted(lengths)))

    def __len__(self) -> int:
        return len(self.timestamps)


@dataclass(frozen=True, eq=False)
class EventColumns:
    """Events of the log as columns of one length n, named by node numbers."""

    offsets: npt.NDArray[np.int64]
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.int16]  # code; the store's `kinds()` names it
    timestamps: npt.NDArray[np.int64]  # µs since the epoch
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets)


def table_of(events: Iterable[Event]) -> EventTable:
    """Columns of some events, in their order."""
    rows = list(events)
    return EventTable(
        users=pa.array([event.user for event in rows], pa.string()),
        items=pa.array([event.item for event in rows], pa.string()),
        kinds=pa.array([event.kind for event in rows], pa.string()),
        timestamps=np.array([event.microseconds for event in rows], np.int64),
        values=np.array([event.value for event in rows], np.float64),
        event_ids=pa.array([event.event_id for event in rows], pa.string())
        if any(event.event_id is not None for event in rows)
        else None,
    )
