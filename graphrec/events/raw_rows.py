"""Blocks of rows as their source has them: JSON Lines, Parquet and frames, in constant memory.

Nothing is judged here but whether there is a row at all; `validation` judges the fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet

from graphrec.errors import InputError
from graphrec.events.quarantine import Rejection
from graphrec.events.text_lines import BOM, blocks, opened

if TYPE_CHECKING:
    from pathlib import Path

BLOCK_ROWS = 50_000
EXACT_FLOAT = 2**53  # whole floats below it are exact, so they can stand for an id

Resolve = Callable[[Sequence[str]], Mapping[str, str]]  # the source's column names -> {our name: its name}


@dataclass(frozen=True)
class RawRows:
    """Some consecutive rows of a source: columns under our names, and where each row came from."""

    source: str
    columns: Mapping[str, pa.Array]
    lines: npt.NDArray[np.int64]  # n
    cell: Callable[[str, int], object]  # (our name, position) -> what the source holds there
    text: Callable[[int], str]  # position -> the whole row, readable
    bytes_read: int  # of the source, so far
    rejected: list[Rejection] = field(default_factory=list)  # what is not even a row


def json_objects(path: Path) -> Iterator[tuple[npt.NDArray[np.int64], list[dict[str, Any]], list[Rejection], int]]:
    """Line numbers, objects, rejected lines and bytes read so far, a block at a time."""
    with opened(path) as (stream, file):
        for lines in blocks(str(path), stream, first=1):
            objects: list[dict[str, Any]] = []
            kept: list[int] = []
            rejected = list(lines.rejected)
            for row in range(len(lines)):
                decoded = _json_object(lines[row].removeprefix(BOM))
                if isinstance(decoded, str):
                    number, text = int(lines.numbers[row]), lines.readable(row)
                    rejected.append(Rejection(str(path), number, "row", "a JSON object", decoded, text))
                else:
                    objects.append(decoded)
                    kept.append(row)
            yield lines.numbers[kept], objects, rejected, file.tell()


def json_rows(path: Path, resolve: Resolve) -> Iterator[RawRows]:
    """Rows of a JSON Lines file: one object a line, its keys the columns."""
    names: dict[str, None] = {}
    for numbers, objects, rejected, bytes_read in json_objects(path):
        for row in objects:
            names.update(dict.fromkeys(row))
        chosen = resolve(list(names)) if names else {}
        yield object_rows(str(path), numbers, objects, chosen, rejected, bytes_read)


def parquet_rows(path: Path, resolve: Resolve) -> Iterator[RawRows]:
    """Rows of a Parquet file, typed; raises InputError where it is damaged."""
    try:
        # Pre-buffering would keep the bytes of every row group read so far.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            chosen = resolve(file.schema_arrow.names)
            size, total, done = path.stat().st_size, file.metadata.num_rows, 0
            for batch in file.iter_batches(BLOCK_ROWS, columns=sorted(set(chosen.values())), use_threads=False):
                columns = {ours: batch.column(theirs) for ours, theirs in chosen.items()}
                first, done = done + 1, done + len(batch)
                yield _typed_rows(str(path), columns, first, size * done // total)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}", expected="a whole Parquet file", got=str(error)[:500]) from error


def arrow_rows(table: pa.Table, name: str, resolve: Resolve) -> Iterator[RawRows]:
    """Rows of an arrow table."""
    chosen = resolve(table.column_names)
    for first in range(0, len(table), BLOCK_ROWS):
        block = table.slice(first, BLOCK_ROWS)
        columns = {ours: block.column(theirs).combine_chunks() for ours, theirs in chosen.items()}
        yield _typed_rows(name, columns, first + 1, (first + len(block)) * table.nbytes // len(table))


def frame_rows(frame: Any, name: str, resolve: Resolve) -> Iterator[RawRows]:
    """Rows of a pandas DataFrame; NaN is nothing, as everywhere in pandas."""
    names = [str(column) for column in frame.columns]
    chosen = resolve(names)
    bytes_read = 0
    for first in range(0, len(frame), BLOCK_ROWS):
        block = frame.iloc[first : first + BLOCK_ROWS]
        columns = {ours: _of_series(block.iloc[:, names.index(theirs)], ours) for ours, theirs in chosen.items()}
        bytes_read += sum(column.nbytes for column in columns.values())
        yield _typed_rows(name, columns, first + 1, bytes_read)


def as_text(value: object, *, whole: bool) -> str | None:
    """Text of a value of unknown type: a number's digits, an ISO time stamp; None where there is no such text.

    With `whole`, a number with a fraction has none either: it cannot be an id.
    """
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        if value.is_integer() and abs(float(value)) < EXACT_FLOAT:
            return str(int(value))
        return None if whole or not np.isfinite(value) else repr(float(value))
    return value.isoformat() if hasattr(value, "isoformat") else None


def _utf8(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return text


def _texts(values: Sequence[object], name: str) -> pa.Array:
    whole = name not in ("timestamp", "value")
    return pa.array([as_text(value, whole=whole) for value in values], pa.string())


def object_rows(
    source: str,
    numbers: npt.NDArray[np.int64],
    objects: list[dict[str, Any]],
    chosen: Mapping[str, str],
    rejected: list[Rejection],
    bytes_read: int,
) -> RawRows:
    """Rows of decoded objects; `chosen` maps our names to theirs."""
    return RawRows(
        source=source,
        columns={ours: _texts([row.get(theirs) for row in objects], ours) for ours, theirs in chosen.items()},
        lines=numbers,
        cell=lambda name, row: objects[row].get(chosen[name]),
        text=lambda row: json.dumps(objects[row], ensure_ascii=False),
        bytes_read=bytes_read,
        rejected=rejected,
    )


def _typed_rows(source: str, columns: Mapping[str, pa.Array], first: int, bytes_read: int) -> RawRows:
    def cell(name: str, row: int) -> object:
        return columns[name][row].as_py()

    return RawRows(
        source=source,
        columns=columns,
        lines=np.arange(first, first + len(columns["user"]), dtype=np.int64),
        cell=cell,
        text=lambda row: json.dumps({name: cell(name, row) for name in columns}, default=str, ensure_ascii=False),
        bytes_read=bytes_read,
    )


def _of_series(series: Any, name: str) -> pa.Array:
    try:
        array = pa.Array.from_pandas(series)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):  # a column of mixed types
        return _texts(series.tolist(), name)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _json_object(line: bytes) -> dict[str, Any] | str:
    try:
        decoded = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        return str(error)
    return decoded if isinstance(decoded, dict) else type(decoded).__name__
