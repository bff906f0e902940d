"""CSV and TSV: at arrow's speed, and line by line wherever arrow would lose a row or refuse the rest.

A record is one line. Both ways agree on every line, so a bad line never changes what becomes of its neighbours.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.csv

from graphrec.errors import InputError
from graphrec.events.quarantine import Rejection
from graphrec.events.raw_rows import RawRows, Resolve
from graphrec.events.text_lines import BOM, LINE_LIMIT, Lines, blocks, opened

if TYPE_CHECKING:
    from pathlib import Path

Columns = Mapping[str, pa.Array]


class Fault(NamedTuple):
    """What is wrong with a line."""

    field: str
    expected: str
    got: str


def csv_rows(path: Path, delimiter: str, resolve: Resolve) -> Iterator[RawRows]:
    """Rows of a delimited file whose first line names its columns; raises InputError when that line cannot."""
    with opened(path) as (stream, file):
        names = _header(path, stream.readline(LINE_LIMIT), delimiter)
        chosen = resolve(names)
        for lines in blocks(str(path), stream, first=2):
            columns = _split_fast(lines, names, chosen, delimiter)
            if columns is None:
                columns, lines = _split_exactly(str(path), lines, names, chosen, delimiter)
            yield _raw_rows(str(path), columns, lines, file.tell())


def _raw_rows(source: str, columns: Columns, lines: Lines, bytes_read: int) -> RawRows:
    return RawRows(
        source=source,
        columns=columns,
        lines=lines.numbers,
        cell=lambda name, row: columns[name][row].as_py(),
        text=lines.readable,
        bytes_read=bytes_read,
        rejected=lines.rejected,
    )


def _header(path: Path, line: bytes, delimiter: str) -> list[str]:
    way_out = "the first line names the columns, in UTF-8"
    line = line.removeprefix(BOM)
    if not line.strip():
        raise InputError(f"{path} is empty", expected="a header line, then rows", way_out=way_out)
    try:
        return next(csv.reader([line.decode().rstrip("\r\n")], delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the header of {path} cannot be read", got=str(error), way_out=way_out) from None


def _split_fast(lines: Lines, names: Sequence[str], chosen: Mapping[str, str], delimiter: str) -> Columns | None:
    """Columns by arrow, or None where arrow would read other rows than the lines, or other text than is there."""
    block = lines.block
    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return None
    # a quote left open swallows the lines that follow it: at least this one, and then a row is missing
    last = (delimiter * (len(names) - 1) + "\n").encode()
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block + last),
            pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(block) + len(last)),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
                include_columns=sorted(set(chosen.values())),
            ),
        )
    except pa.ArrowException:
        return None
    if len(table) != len(lines) + 1:
        return None
    return {ours: table.column(theirs).combine_chunks().slice(0, len(lines)) for ours, theirs in chosen.items()}


def _split_exactly(
    source: str, lines: Lines, names: Sequence[str], chosen: Mapping[str, str], delimiter: str
) -> tuple[Columns, Lines]:
    """Columns of the lines that are rows, and those lines with the others among their rejections."""
    places = {ours: names.index(theirs) for ours, theirs in chosen.items()}
    values: dict[str, list[str]] = {ours: [] for ours in chosen}
    kept: list[int] = []
    rejected = list(lines.rejected)
    for row in range(len(lines)):
        cells = _cells(lines[row], len(names), places, delimiter)
        if isinstance(cells, Fault):
            rejected.append(Rejection(source, int(lines.numbers[row]), *cells, lines.readable(row)))
        elif cells:  # not a line of carriage returns alone
            kept.append(row)
            for ours, place in places.items():
                values[ours].append(cells[place])
    columns = {ours: pa.array(column, pa.string()) for ours, column in values.items()}
    return columns, Lines(lines.block, lines.numbers[kept], lines.starts[kept], rejected)


def _cells(line: bytes, width: int, places: Mapping[str, int], delimiter: str) -> list[str] | Fault:
    if b"\0" in line:
        return Fault("row", "text", "a NUL byte")
    try:
        # a quote left open takes the empty line that follows into its field
        rows = list(csv.reader([line.decode(errors="surrogateescape") + "\n", "\n"], delimiter=delimiter))
    except csv.Error as error:
        return Fault("row", "one line of fields", str(error))
    if len(rows) == 1:
        return Fault("row", "every quote closed on its line", "one left open")
    cells = rows[0]
    if cells and len(cells) != width:
        return Fault("row", f"{width} fields", str(len(cells)))
    for ours, place in places.items() if cells else ():
        raw = cells[place].encode(errors="surrogateescape")
        if raw.decode(errors="replace") != cells[place]:
            return Fault(ours, "UTF-8 text", repr(raw[:200]))
    return cells
