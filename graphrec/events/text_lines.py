"""Blocks of whole lines of a text file, gzipped or not, in constant memory."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from graphrec.errors import InputError
from graphrec.events.quarantine import ROW_LIMIT, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES = 4 << 20
LINE_LIMIT = 128 << 10  # bytes; where the csv module, too, stops reading a field
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Lines:
    """Consecutive lines; blank ones stay in `block` but are not counted."""

    block: bytes  # ends with a line end
    numbers: npt.NDArray[np.int64]  # n, 1-based
    starts: npt.NDArray[np.int64]  # n, positions in `block`
    rejected: list[Rejection]  # lines beyond LINE_LIMIT, which are not in `block`

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> bytes:
        start = int(self.starts[row])
        return self.block[start : self.block.index(b"\n", start)].removesuffix(b"\r")

    def readable(self, row: int) -> str:
        """Return a line as far as it is kept in the quarantine."""
        return self[row][: 4 * ROW_LIMIT].decode(errors="replace")[:ROW_LIMIT]


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open the bytes of a file, unzipped, and the file itself, whose position says how far it is; raises InputError."""
    try:
        with path.open("rb") as file:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield cast("BinaryIO", unzipped), file
            else:
                yield file, file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}", got=str(error)) from error


def blocks(source: str, stream: BinaryIO, first: int) -> Iterator[Lines]:
    """Read the lines of a stream, the next of which has the number `first`."""
    while block := stream.read(BLOCK_BYTES):
        block = _to_line_end(block, stream)
        yield _lines(source, block, first)
        first += block.count(b"\n")


def _to_line_end(block: bytes, stream: BinaryIO) -> bytes:
    """Complete the last line of a block, of which no more is kept than shows that it is too long."""
    if block.endswith(b"\n"):
        return block
    rest = stream.readline(LINE_LIMIT)
    block += rest
    while rest and not rest.endswith(b"\n"):
        rest = stream.readline(LINE_LIMIT)
    return block if block.endswith(b"\n") else block + b"\n"


def _lines(source: str, block: bytes, first: int) -> Lines:
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts
    numbers = first + np.arange(len(ends), dtype=np.int64)
    rejected = []
    long = lengths > LINE_LIMIT
    if long.any():
        for row in np.flatnonzero(long):
            text = block[starts[row] : starts[row] + ROW_LIMIT].decode(errors="replace")
            expected = f"a line of at most {LINE_LIMIT:,} bytes"
            rejected.append(Rejection(source, int(numbers[row]), "row", expected, "a longer one", text))
        short = np.flatnonzero(~long)
        block = b"".join(block[starts[row] : ends[row] + 1] for row in short)
        lengths, numbers = lengths[short], numbers[short]
        starts = np.cumsum(lengths + 1) - lengths - 1
    filled = lengths > 0
    for row in np.flatnonzero(lengths == 1):
        filled[row] = block[starts[row]] != ord("\r")
    return Lines(block, numbers[filled], starts[filled], rejected)
