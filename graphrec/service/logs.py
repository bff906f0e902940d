"""Log lines as JSON objects, one a line, on standard error: for whatever collects them.

A line about a request names its id, route, status and time, and a user by a mask (`pseudonyms`). Query strings, bodies
and headers are never written, so neither are keys. Of several workspaces in one process each line says whose it is.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_OURS = logging.getLogger("graphrec")
_TENANT: ContextVar[str] = ContextVar("tenant")


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, what `extra={"fields": …}` adds, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if (tenant := _TENANT.get("")) != "":
            line["tenant"] = tenant
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


@contextmanager
def of_tenant(name: str) -> Iterator[None]:
    """Have every line say so that is logged within, also by tasks and threads that begin there."""
    before = _TENANT.set(name)
    try:
        yield
    finally:
        _TENANT.reset(before)


def log_as_json(level: int = logging.INFO) -> None:
    """Have the whole process log like this."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _OURS.setLevel(level)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).propagate = True
