"""Rows that are not events: where each came from, what was expected of it and what it held.

One file a source, rewritten whole at each ingest of that source, so that repeating an ingest repeats nothing here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from graphrec.durable import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROW_LIMIT = 4096  # characters of a bad row that are kept


@dataclass(frozen=True)
class Rejection:
    """One row that was not taken, and why."""

    source: str
    line: int  # 1-based line of a text file (its header is line 1), 1-based row of anything else
    field: str  # the first bad field, or "row" when the row as a whole is bad
    expected: str
    got: str
    row: str


class QuarantineWriter:
    """Takes the rejections of one ingest of one source."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.count = 0

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Write some more."""
        for rejection in rejections:
            self._file.write(json.dumps(asdict(rejection)) + "\n")
            self.count += 1


class Quarantine:
    """A directory of JSON Lines files, one a source that had bad rows."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)

    def path(self, source: str) -> Path:
        """Name the file of a source: a readable part, and a hash that keeps sources of one name apart."""
        name = re.sub(r"[^A-Za-z0-9_]+", "_", Path(source).name)[:60] or "source"
        digest = hashlib.blake2b(str(Path(source).absolute()).encode(errors="surrogatepass"), digest_size=6).hexdigest()
        return self._directory / f"{name}-{digest}.jsonl"

    @contextmanager
    def writing(self, source: str) -> Iterator[QuarantineWriter]:
        """Replace what is kept of `source` by what is added inside the block; an exception leaves it as it was."""
        path = self.path(source)
        temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        self._directory.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="ascii") as file:
                writer = QuarantineWriter(file)
                yield writer
                file.flush()
                os.fsync(file.fileno())
            if writer.count:
                temporary.replace(path)
            else:
                path.unlink(missing_ok=True)
            sync(self._directory)
        finally:
            temporary.unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """List the files, by name."""
        return sorted(self._directory.glob("*.jsonl"))

    def drop(self, before: float) -> list[Path]:
        """Delete the files last written before a moment, seconds since 1970; returns them."""
        old = [path for path in self.files() if path.stat().st_mtime < before]
        for path in old:
            path.unlink(missing_ok=True)
        return old

    def rejections(self) -> Iterator[Rejection]:
        """Read everything kept, file by file."""
        for path in self.files():
            with path.open(encoding="ascii") as file:
                for line in file:
                    yield Rejection(**json.loads(line))

    def newest(self, path: Path, most_bytes: int) -> list[Rejection]:
        """The rows at the end of one of the files, in its last bytes, in their order; none of a file that is gone."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - most_bytes, 0))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        return [Rejection(**json.loads(line)) for line in (lines[1:] if size > most_bytes else lines)]

    def count(self) -> int:
        """Count the rows that are kept."""
        return sum(1 for _ in self.rejections())
