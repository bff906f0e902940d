"""Reading events: any table, in chunks of bounded memory, every row either an event or a rejection with its line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from graphrec.errors import ConfigError, InputError
from graphrec.events.csv_rows import csv_rows
from graphrec.events.event import Event, EventTable, table_of
from graphrec.events.raw_rows import BLOCK_ROWS, RawRows, Resolve, arrow_rows, frame_rows, json_rows, parquet_rows
from graphrec.events.validation import validate

if TYPE_CHECKING:
    from graphrec.config import EventSettings
    from graphrec.events.quarantine import Rejection

REQUIRED = ("user", "item", "timestamp")

# compared without case, spaces and punctuation: userId, USER_ID and "User ID" are one name
ALIASES = {
    "user": ("user", "userid", "customer", "customerid", "visitor", "visitorid"),
    "item": ("item", "itemid", "product", "productid", "sku", "movieid", "articleid"),
    "kind": ("kind", "event", "eventtype", "action"),
    "timestamp": ("timestamp", "time", "ts", "date", "datetime"),
    "value": ("value", "quantity", "rating"),
    "event_id": ("eventid",),  # a bare "id" may be a row number, which the next export gives to another event
}

Source = Any  # str | Path | pandas.DataFrame | pyarrow.Table | Iterable[Event]


@dataclass(frozen=True)
class Chunk:
    """What came of some consecutive rows; rows_read = len(table) + len(rejected)."""

    table: EventTable
    rejected: list[Rejection]
    rows_read: int
    bytes_read: int  # of the source, so far


def read_events(
    source: Source, *, settings: EventSettings, columns: Mapping[str, str] | None = None, now: float
) -> Iterator[Chunk]:
    """Read events from a file (.csv, .tsv, .jsonl, .ndjson, also .gz; .parquet), a DataFrame, an arrow table or events.

    `columns` maps our names to the source's and goes before `settings.columns`, which goes before ALIASES; `now` is in
    unix seconds. Raises InputError when there is no such file, no such column, or no column for a required field.
    """
    if settings.default_kind not in settings.kinds:
        raise ConfigError(
            "default_kind is not one of the kinds of events",
            expected=", ".join(settings.kinds),
            got=settings.default_kind,
            way_out="name it under [events.kinds] with its weight",
        )
    name = source_name(source)
    resolve = partial(resolve_columns, name, {**settings.columns, **(columns or {})}, ALIASES, REQUIRED)
    for rows in _raw_rows(source, name, resolve):
        table, rejected = validate(rows, settings, now)
        rejected = sorted(rows.rejected + rejected, key=lambda rejection: rejection.line)
        yield Chunk(table, rejected, len(table) + len(rejected), rows.bytes_read)


def source_name(source: Source) -> str:
    """Name a source in rejections and messages: a path as it was given, else its type."""
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def is_frame(source: Source) -> bool:
    """Whether it is a pandas DataFrame, without importing pandas to find out."""
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "iloc")


def existing_file(source: str | Path) -> tuple[Path, str]:
    """Tell what a file holds, by its name: `.csv`, `.tsv`, `.jsonl` or `.parquet`; raises InputError."""
    path = Path(source)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    suffix = {".ndjson": ".jsonl", ".pq": ".parquet"}.get(suffix, suffix)
    if suffix not in (".csv", ".tsv", ".jsonl", ".parquet"):
        raise InputError(
            f"cannot tell what {path} holds", expected="a name that ends in .csv, .tsv, .jsonl, .ndjson or .parquet"
        )
    if not path.is_file():
        raise InputError(f"there is no file {path}", got="a directory" if path.is_dir() else None)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty", expected="rows of events or items")
    return path, suffix


def _raw_rows(source: Source, name: str, resolve: Resolve) -> Iterator[RawRows]:
    if isinstance(source, str | Path):
        path, suffix = existing_file(source)
        if suffix == ".jsonl":
            return json_rows(path, resolve)
        if suffix == ".parquet":
            return parquet_rows(path, resolve)
        return csv_rows(path, "\t" if suffix == ".tsv" else ",", resolve)
    if isinstance(source, pa.Table):
        return arrow_rows(source, name, resolve)
    if is_frame(source):
        return frame_rows(source, name, resolve)
    if isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        return _event_rows(source, name)
    raise InputError(
        "cannot read events from this", expected="a path, a DataFrame, an arrow table or events", got=repr(type(source))
    )


def _event_rows(events: Iterable[object], name: str) -> Iterator[RawRows]:
    rest, first = iter(events), 1
    while block := list(islice(rest, BLOCK_ROWS)):
        for event in block:
            if not isinstance(event, Event):
                raise InputError("cannot read events from this", expected="Event", got=repr(event)[:200])
        table = table_of(block)  # type: ignore[arg-type]
        columns = {
            "user": table.users,
            "item": table.items,
            "kind": table.kinds,
            "timestamp": pa.array(table.timestamps, pa.timestamp("us")),
            "value": pa.array(table.values),
        }
        if table.event_ids is not None:
            columns["event_id"] = table.event_ids
        yield RawRows(
            source=name,
            columns=columns,
            lines=np.arange(first, first + len(block), dtype=np.int64),
            cell=lambda field, row, block=block: getattr(block[row], field),  # type: ignore[misc]
            text=lambda row, block=block: repr(block[row]),  # type: ignore[misc]
            bytes_read=0,
        )
        first += len(block)


def resolve_columns(
    source: str,
    chosen: Mapping[str, str],
    aliases: Mapping[str, Sequence[str]],
    required: Sequence[str],
    names: Sequence[str],
) -> dict[str, str]:
    """Our names mapped to the source's: the chosen ones, then those an alias finds; raises InputError when in doubt."""
    there = ", ".join(names)
    refuse_twins(source, names)
    for ours, theirs in chosen.items():
        if ours not in aliases:
            raise InputError(f"there is no field {ours!r} to find a column for", expected=", ".join(aliases))
        if theirs not in names:
            raise InputError(f"{source} has no column {theirs!r}", expected=f"the column of {ours}", got=there)
    found = dict(chosen)
    for ours in aliases.keys() - chosen.keys():
        matches = [name for name in names if _plain(name) in aliases[ours] and name not in chosen.values()]
        if len(matches) > 1:
            raise InputError(
                f"{source} has several columns that could be the {ours}",
                expected="one of them named",
                got=", ".join(matches),
                way_out=f"--column {ours}={matches[0]}",
            )
        if matches:
            found[ours] = matches[0]
    missing = [ours for ours in required if ours not in found]
    if missing:
        raise InputError(
            f"{source} has no column for the {' and the '.join(missing)}",
            expected=f"a column named {missing[0]}, or an alias of it: {', '.join(aliases[missing[0]])}",
            got=there,
            way_out=" ".join(f"--column {ours}=NAME" for ours in missing),
        )
    return found


def refuse_twins(source: str, names: Sequence[str]) -> None:
    """Raise InputError where two columns have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{source} has two columns of one name", got=", ".join(twice), way_out="rename one of them")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
