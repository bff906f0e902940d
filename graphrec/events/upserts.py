"""Contents of items and attributes of users, written where they differ from what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from graphrec.events.database import catalogue
from graphrec.events.database import users as user_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Content = tuple[str, str, str]  # title, text, attributes as canonical JSON


def current_contents(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, Content]:
    """The present contents of some items, by number."""
    c = catalogue.c
    latest = sa.select(sa.func.max(c.seq)).where(c.item.in_(set(numbers))).group_by(c.item)
    rows = connection.execute(sa.select(c.item, c.title, c.text, c.attributes).where(c.seq.in_(latest)))
    return {item: (title, text, attributes) for item, title, text, attributes in rows}


def upsert_contents(
    connection: sa.Connection, numbers: Sequence[int], contents: Sequence[Content], current: dict[int, Content]
) -> tuple[int, int, int]:
    """Write what differs from `current`, which is kept up; how many items were added, changed and unchanged."""
    versions = []
    added = 0
    for number, content in zip(numbers, contents, strict=True):
        before = current.get(number)
        if content != before:
            current[number] = content
            added += before is None
            versions.append({"item": number, "title": content[0], "text": content[1], "attributes": content[2]})
    if versions:
        connection.execute(sa.insert(catalogue), versions)
    return added, len(versions) - added, len(contents) - len(versions)


def upsert_attributes(
    connection: sa.Connection, numbers: Sequence[int], first_new: int, attributes: Sequence[str]
) -> tuple[int, int, int]:
    """Write the attributes of users, new ones from `first_new` on; how many were added, changed and unchanged."""
    u = user_table.c
    wanted = sa.select(u.number, u.attributes).where(u.number.in_(set(numbers)))
    current = {row.number: row.attributes for row in connection.execute(wanted)}
    met: set[int] = set()
    outcome = [0, 0, 0]
    for number, new in zip(numbers, attributes, strict=True):
        added = number >= first_new and number not in met
        met.add(number)
        outcome[0 if added else 1 if current[number] != new else 2] += 1
        if current[number] != new:
            current[number] = new
            connection.execute(sa.update(user_table).where(u.number == number).values(attributes=new))
    return outcome[0], outcome[1], outcome[2]


def canonical_json(attributes: Mapping[str, object]) -> str:
    """The same text for the same attributes."""
    return json.dumps(attributes, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
