"""A log of JSON lines that never grows beyond a size: the older half goes when it is full.

A line is one write to a file opened for appending, so several processes may write; a line that a crash has torn is
passed over when it is read.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class BoundedLog:
    """Lines in `path`, and the older ones in `path` with `.old` behind it; `most_bytes` in both, None = no limit."""

    def __init__(self, path: Path, most_bytes: int | None = 16 << 20) -> None:
        self.path = path
        self.most_bytes = most_bytes

    @property
    def older(self) -> Path:
        """The file of the older half."""
        return self.path.with_name(f"{self.path.name}.old")

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row; makes the folder when there is none."""
        line = _line(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        if self.most_bytes is not None and size and size + len(line) > self.most_bytes // 2:
            self.path.replace(self.older)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row that is left, oldest first."""
        for path in (self.older, self.path):
            with suppress(FileNotFoundError):
                yield from _rows(path)

    def drop(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """Delete rows, and with them torn lines; how many. What another process appends meanwhile may be lost."""
        gone = 0
        for path in (self.older, self.path):
            if not path.exists():
                continue
            rows = list(_rows(path))
            kept = [row for row in rows if not unwanted(row)]
            if len(kept) < len(rows):
                gone += len(rows) - len(kept)
                temporary = path.with_name(f".{path.name}-{os.getpid()}")
                temporary.write_bytes(b"".join(map(_line, kept)))
                temporary.replace(path)
        return gone

    def last(self) -> dict[str, Any] | None:
        """The newest row, None when there is none."""
        newest = None
        for newest in self.rows():  # noqa: B007
            pass
        return newest


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError):
                yield json.loads(line)
