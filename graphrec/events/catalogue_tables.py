"""Reading what is known of items and users: a table with an id column, and whatever else it says about each id.

These tables are small beside the events, so they are read record by record; quoted CSV cells may hold line ends.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from graphrec.errors import InputError
from graphrec.events.event import Item, JsonScalar, check_attributes, is_id
from graphrec.events.quarantine import ROW_LIMIT, Rejection
from graphrec.events.raw_rows import as_text, json_objects
from graphrec.events.tables import Source, existing_file, is_frame, refuse_twins, resolve_columns, source_name
from graphrec.events.text_lines import BOM, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CHUNK_ROWS = 5_000

ITEM_ALIASES = {
    "id": ("id", "item", "itemid", "product", "productid", "sku", "movieid", "articleid"),
    "title": ("title", "name"),
    "text": ("text", "description"),
}
USER_ALIASES = {"id": ("id", "user", "userid", "customer", "customerid", "visitor", "visitorid")}

User = tuple[str, dict[str, JsonScalar]]  # id, attributes
Record = tuple[int, dict[str, Any]]  # line or row number, cells
Row = TypeVar("Row")


@dataclass(frozen=True)
class RecordChunk(Generic[Row]):
    """What came of some consecutive rows; rows_read = len(rows) + len(rejected)."""

    rows: list[Row]
    rejected: list[Rejection]
    rows_read: int


def read_items(source: Source, *, columns: Mapping[str, str] | None = None) -> Iterator[RecordChunk[Item]]:
    """Read the catalogue: id, title, text (the title where there is none), and every other column as an attribute.

    `source` is a CSV, TSV, JSON Lines or Parquet file, a DataFrame or an arrow table; `columns` maps id, title and text
    to its columns. Raises InputError when it cannot be read at all.
    """
    return _read(source, ITEM_ALIASES, columns or {}, _item)


def read_users(source: Source, *, columns: Mapping[str, str] | None = None) -> Iterator[RecordChunk[User]]:
    """Read users: id, and every other column as an attribute; sources and errors as for `read_items`."""
    return _read(source, USER_ALIASES, columns or {}, _user)


def _item(cells: dict[str, Any], found: Mapping[str, str]) -> Item:
    title, text = (_plain_text(cells.get(found.get(ours, ""))) for ours in ("title", "text"))
    return Item(_id(cells, found), title, text or title, _attributes(cells, found))


def _user(cells: dict[str, Any], found: Mapping[str, str]) -> User:
    attributes = _attributes(cells, found)
    check_attributes(attributes)
    return _id(cells, found), attributes


def _id(cells: dict[str, Any], found: Mapping[str, str]) -> str:
    key = as_text(cells.get(found["id"]), whole=True)
    if not is_id(key):
        raise InputError("no id", expected="text or a whole number", got=repr(cells.get(found["id"])))
    return str(key)


def _plain_text(cell: object) -> str:
    return "" if _is_nothing(cell) else str(cell)


def _attributes(cells: dict[str, Any], found: Mapping[str, str]) -> dict[str, JsonScalar]:
    used = set(found.values())
    return {name: _scalar(cell) for name, cell in cells.items() if name not in used and not _is_nothing(cell)}


def _is_nothing(cell: object) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float | np.floating) and bool(np.isnan(cell)))


def _scalar(cell: object) -> JsonScalar:
    if isinstance(cell, np.generic):
        cell = cell.item()
    return cell if isinstance(cell, str | int | float | bool) else json.dumps(cell, default=str, ensure_ascii=False)


def _read(source: Source, aliases: Mapping[str, Any], columns: Mapping[str, str], parse: Any) -> Iterator[Any]:
    name = source_name(source)
    resolve = partial(resolve_columns, name, columns, aliases, ("id",))
    records = _records(source, name)
    found: dict[str, str] | None = None
    while chunk := list(islice(records, CHUNK_ROWS)):
        rows, rejected = [], [record for record in chunk if isinstance(record, Rejection)]
        good = [record for record in chunk if not isinstance(record, Rejection)]
        if found is None and good:
            found = resolve(list(dict.fromkeys(column for _, cells in good for column in cells)))
        for line, cells in good:
            try:
                rows.append(parse(cells, found))
            except InputError as error:
                text = json.dumps(cells, default=str)[:ROW_LIMIT]
                expected, got = error.expected or "", (error.got or "")[:200]
                rejected.append(Rejection(name, line, error.problem, expected, got, text))
        rejected.sort(key=lambda rejection: rejection.line)
        yield RecordChunk(rows, rejected, len(chunk))


def _records(source: Source, name: str) -> Iterator[Record | Rejection]:
    if isinstance(source, str | Path):
        path, suffix = existing_file(source)
        if suffix == ".jsonl":
            for numbers, objects, rejected, _ in json_objects(path):
                yield from rejected
                yield from zip(numbers.tolist(), objects, strict=True)
        elif suffix == ".parquet":
            yield from enumerate(_parquet_records(path), 1)
        else:
            yield from _csv_records(path, "\t" if suffix == ".tsv" else ",")
    elif isinstance(source, pa.Table):
        yield from enumerate(_arrow_records(source.to_batches(CHUNK_ROWS)), 1)
    elif is_frame(source):
        records = (row for first in range(0, len(source), CHUNK_ROWS) for row in _frame_records(source, first))
        yield from enumerate(records, 1)
    else:
        raise InputError(
            f"cannot read {name}", expected="a path, a DataFrame or an arrow table", got=repr(type(source))
        )


def _frame_records(frame: Any, first: int) -> list[dict[str, Any]]:
    block = frame.iloc[first : first + CHUNK_ROWS]
    return [{str(name): cell for name, cell in row.items()} for row in block.to_dict("records")]


def _arrow_records(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from batch.to_pylist()


def _parquet_records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from _arrow_records(file.iter_batches(CHUNK_ROWS))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}", expected="a whole Parquet file", got=str(error)[:500]) from error


def _csv_records(path: Path, delimiter: str) -> Iterator[Record | Rejection]:
    with opened(path) as (stream, _):
        lines = (line.removeprefix(BOM).decode(errors="surrogateescape") for line in stream)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        names = next(reader, [])
        refuse_twins(str(path), names)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Rejection(str(path), line, "row", "fields between delimiters, quotes closed", str(error), "")
                continue
            if len(cells) == len(names):
                yield line, dict(zip(names, cells, strict=True))
            elif cells:
                text = delimiter.join(cells)[:ROW_LIMIT]
                yield Rejection(str(path), line, "row", f"{len(names)} fields", str(len(cells)), text)
