"""Users deleted from the log: their ids, attributes and events; a number stays that is nobody's.

The store counts how often that has happened (`times`), so that whoever remembers numbers, or has derived a state from
the log, can tell that it holds no longer.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from graphrec.events.database import events, users

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMES = "SELECT coalesce((SELECT value FROM meta WHERE key = 'forgotten'), 0)"
_ONCE_MORE = "INSERT INTO meta VALUES ('forgotten', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1"


class Forgotten(NamedTuple):
    """What was deleted of some users. users: who were known. times: how often the store has forgotten by now."""

    users: int
    events: int
    times: int


def times_forgotten(connection: sa.Connection) -> int:
    """How often users have been forgotten."""
    return int(connection.exec_driver_sql(TIMES).scalar_one())


def forget_users(connection: sa.Connection, keys: Sequence[str]) -> Forgotten:
    """Delete some users in a write transaction; unknown ones are passed over."""
    wanted = sa.select(users.c.number).where(users.c.key.in_(list(keys)))
    numbers = [number for (number,) in connection.execute(wanted)]
    if not numbers:
        return Forgotten(0, 0, times_forgotten(connection))
    gone = connection.execute(sa.delete(events).where(events.c.user.in_(numbers))).rowcount
    for number in numbers:
        nobody = f"forgotten-{secrets.token_hex(16)}"
        connection.execute(sa.update(users).where(users.c.number == number).values(key=nobody, attributes="{}"))
    connection.exec_driver_sql(_ONCE_MORE)
    return Forgotten(len(numbers), gone, times_forgotten(connection))
