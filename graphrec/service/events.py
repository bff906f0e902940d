"""Events in: one or many, acknowledged when they are durable, by default when they are in the answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from graphrec.errors import InputError
from graphrec.events.raw_rows import as_text
from graphrec.service.group_commit import Row, Taken
from graphrec.service.impressions import Outcome
from graphrec.service.replies import json_reply
from graphrec.service.running import Running

_ID_LENGTH = 64  # of an impression

EVENT = {
    "type": "object",
    "required": ["user", "item", "timestamp"],
    "properties": {
        "user": {"type": ["string", "integer"], "description": "who"},
        "item": {"type": ["string", "integer"], "description": "with what"},
        "kind": {"type": "string", "description": "view, click, cart, purchase, …; the default kind if none"},
        "timestamp": {"type": ["string", "number"], "description": "ISO 8601, or a number in the configured unit"},
        "value": {"type": ["number", "null"]},
        "event_id": {"type": ["string", "null"], "description": "the same event again is known by it and its time"},
        "impression": {"type": ["string", "null"], "description": "id of the list that the item was chosen from"},
    },
}
EXAMPLE = {"user": "17850", "item": "22423", "kind": "purchase", "timestamp": "2011-12-09T12:51:00"}
REPLY = {
    "type": "object",
    "required": ["read", "accepted", "duplicates", "rejected", "repeated", "offset", "visible"],
    "properties": {
        "read": {"type": "integer"},
        "accepted": {"type": "integer"},
        "duplicates": {"type": "integer"},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"row": {"type": "integer"}}
                | {n: {"type": "string"} for n in ("field", "expected", "got")},
            },
        },
        "repeated": {"type": "array", "items": {"type": "integer"}, "description": "rows known already, from 1"},
        "offset": {"type": "integer", "description": "of the log with all of them in it"},
        "visible": {"type": "boolean", "description": "whether the answers know them by now"},
    },
}
BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [EVENT, {"type": "array", "items": EVENT}]},
            "examples": {"one": {"value": EXAMPLE}, "many": {"value": [EXAMPLE]}},
        }
    },
}


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1", tags=["events"])
    described = {"description": "What became of the rows.", "content": {"application/json": {"schema": REPLY}}}

    @router.post(
        "/events",
        openapi_extra={"requestBody": BODY},
        responses={200: described, 422: {"description": "No row was taken."}},
    )
    async def post_events(request: Request, wait: bool = True) -> Response:
        """Take events in. `wait=false` acknowledges what is durable, without waiting for the answers to know it.

        Rows are judged as those of files are; 422 where every one was rejected.
        """
        rows = posted(await request.body(), running.settings.batch)
        taken, visible = await take_in(running, rows, wait=wait)
        status = 422 if rows and len(taken.rejected) == len(rows) else 200
        return json_reply(
            {
                "read": taken.read,
                "accepted": taken.accepted,
                "duplicates": taken.duplicates,
                "rejected": taken.rejected,
                "repeated": taken.repeated,
                "offset": taken.offset,
                "visible": visible,
            },
            status,
        )

    return router


def posted(body: bytes, most: int) -> list[Row]:
    """The objects of a body, which is one of them or a list; raises InputError."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError("the body is no JSON", expected="an object or a list of objects", got=str(error)) from None
    rows = decoded if isinstance(decoded, list) else [decoded]
    if not all(isinstance(row, dict) for row in rows):
        raise InputError("the body is not understood", expected="an object or a list of objects")
    if len(rows) > most:
        raise InputError("too many rows in one post", expected=f"at most {most}", got=str(len(rows)))
    return rows


async def take_in(running: Running, rows: list[Row], *, wait: bool, named: bool = False) -> tuple[Taken, bool]:
    """Have rows written, tell the lists they came from, and wait for the answers if that is wanted.

    named: users have the names that the log knows them by.
    """
    shown = [row.get("impression") for row in rows]
    if running.settings.pseudonyms and not named:
        rows = [{**row, "user": _at_the_door(running, row.get("user"))} for row in rows]
    running.test(rows)
    taken = await asyncio.wrap_future(running.commit.submit(rows))
    events = running.metrics.events
    events.labels("accepted").inc(taken.accepted)
    events.labels("duplicate").inc(taken.duplicates)
    events.labels("rejected").inc(len(taken.rejected))
    if running.impressions is not None and any(shown):
        named_lists = ((shown[place], rows[place]) for place in taken.new)
        _tell(running, [(list_id, row) for list_id, row in named_lists if isinstance(list_id, str)])
    return taken, await running.seen(taken.offset, wait=wait)


def _tell(running: Running, chosen: list[tuple[str, Row]]) -> None:
    default = running.recommender.workspace.config.events.default_kind
    outcomes = []
    for list_id, row in chosen:
        outcome = Outcome(
            list_id[:_ID_LENGTH], as_text(row["item"], whole=True) or "", row.get("kind", default), time.time()
        )
        outcomes.append(outcome)
        running.metrics.outcomes.labels(outcome.kind).inc()
    if running.impressions is not None:
        running.impressions.choose(outcomes)


def _at_the_door(running: Running, user: Any) -> Any:
    known = as_text(user, whole=True)
    return running.pseudonyms.user(known) if known else user
