"""Replies: an answer as the command line prints it, and an error with its four parts."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import Response

from graphrec.errors import (
    ConfigError,
    GraphrecError,
    InputError,
    ModelError,
    NotTrainedError,
    StoreError,
    UnknownItemError,
)
from graphrec.service.impressions import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import Request

    from graphrec.answers import Recommendations
    from graphrec.service.running import Running

JSON = "application/json"
IMPRESSION = "X-Impression-ID"

STATUS: dict[type[GraphrecError], int] = {
    UnknownItemError: 404,
    NotTrainedError: 409,
    InputError: 422,
    ConfigError: 500,
    StoreError: 503,
    ModelError: 503,
}


def json_reply(value: Any, status: int = 200) -> Response:
    """Plain data or a dataclass."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def error_reply(
    status: int,
    kind: str,
    problem: str,
    *,
    expected: str | None = None,
    got: str | None = None,
    way_out: str | None = None,
) -> Response:
    """An error in the form that the command line prints with --json."""
    parts = {"type": kind, "problem": problem, "expected": expected, "got": got, "way_out": way_out}
    return json_reply({"error": parts}, status)


def explained(error: GraphrecError, status: int | None = None) -> Response:
    """The reply to a question that could not be answered; its kind decides the status unless one is given."""
    status = status or next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 503)
    parts = {"expected": error.expected, "got": error.got, "way_out": error.way_out}
    reply = error_reply(status, type(error).__name__, error.problem, **parts)
    if status == 503:
        reply.headers["retry-after"] = "1"
    return reply


async def list_reply(
    running: Running, request: Request, question: str, ask: Callable[[], Recommendations], *, impression: bool
) -> Response:
    """A list: the bytes of `graphrec … --json`, and beside them in headers what belongs to this request alone."""

    def answered() -> tuple[Recommendations, bytes]:
        found = ask()
        return found, found.to_json()

    (found, body), waited, took = await running.ask(answered)
    running.metrics.lists.labels(question, str(found.certified).lower()).inc()
    reply = Response(body, media_type=JSON, headers={"Server-Timing": _timing(waited, took)})
    if found.user is not None:
        request.state.user = running.pseudonyms.mask(found.user)
    if impression and running.impressions is not None:
        shown = shown_list(question, found)
        running.impressions.show(shown)
        reply.headers[IMPRESSION] = shown.id
    return reply


def shown_list(question: str, found: Recommendations) -> Shown:
    """A list to be remembered, under a new id."""
    items = tuple(found.ids())
    return Shown(secrets.token_hex(12), time.time(), question, found.user, found.generation, found.offset, items)


def _timing(waited: float, took: float) -> str:
    return f"wait;dur={waited * 1e3:.2f}, answer;dur={took * 1e3:.2f}"
