"""What a workspace keeps beside log and generations: notes that no answer is derived from, some of which name users.

gate/reports.jsonl · shadow/lists.jsonl · ab/shown.jsonl · drift.jsonl · jobs/jobs.jsonl     lines (`bounded_log`)
impressions.db                                  lists that the service has shown, and what came of them (SQLite)
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from graphrec.bounded_log import BoundedLog
from graphrec.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

IMPRESSIONS = "impressions.db"
LOGS = ("gate/reports.jsonl", "shadow/lists.jsonl", "ab/shown.jsonl", "drift.jsonl", "jobs/jobs.jsonl")
_OF_USERS = LOGS[1:3]
_PATIENCE = 10.0  # seconds for a service that writes


def forget(directory: Path, users: Collection[str]) -> int:
    """Delete every note that names one of some users; how many there were. Raises StoreError."""
    logs = [BoundedLog(directory / name, most_bytes=None) for name in _OF_USERS]
    gone = sum(log.drop(lambda row: row.get("user") in users) for log in logs)
    path = directory / IMPRESSIONS
    if not path.exists():
        return gone
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("BEGIN IMMEDIATE")
            for user in users:
                of_user = "(SELECT id FROM lists WHERE user = ?)"
                connection.execute(f"DELETE FROM outcomes WHERE list IN {of_user}", (user,))
                gone += connection.execute("DELETE FROM lists WHERE user = ?", (user,)).rowcount
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be cleared of a user", got=str(error), way_out="try again") from None
    return gone
