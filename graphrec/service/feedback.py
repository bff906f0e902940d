"""The feedback loop: what came of a shown list, and how the lists of each model did."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from graphrec.errors import InputError
from graphrec.service.events import take_in
from graphrec.service.replies import error_reply, json_reply
from graphrec.service.running import Running


class Feedback(BaseModel):
    """An item of a list was chosen."""

    model_config = ConfigDict(extra="forbid")

    impression: str = Field(
        max_length=64, description="the X-Impression-ID of the list", examples=["5f0c1a9be27d4c3fa1b20c7d"]
    )
    item: str = Field(min_length=1, max_length=512, examples=["22423"])
    kind: str = Field(examples=["click"], description="click, cart, purchase or another kind of event")
    user: str | None = Field(default=None, max_length=512, description="needed where the list was for nobody")
    timestamp: str | float | None = Field(default=None, description="when the list was shown, if none")


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1", tags=["feedback"])

    @router.post("/feedback", responses={404: {"description": "No such list is kept."}})
    async def post_feedback(feedback: Feedback, wait: bool = True) -> Response:
        """Tell what came of a list. It joins back to the list and its model, and enters the log as an event, once."""
        shown = None if running.impressions is None else running.impressions.find(feedback.impression)
        if shown is None:
            return error_reply(404, "UnknownImpression", "no such list is kept", got=feedback.impression)
        if feedback.item not in shown.items:
            raise InputError("the list has no such item", expected=", ".join(shown.items)[:200], got=feedback.item)
        user = shown.user if feedback.user is None else running.pseudonyms.user(feedback.user)
        if user is None:
            raise InputError("the list was for nobody", expected="a user", way_out='name the "user" who chose')
        shown_at = datetime.fromtimestamp(shown.at, UTC).isoformat()  # always the same, so that a retry is a repeat
        row: dict[str, Any] = {
            "user": user,
            "item": feedback.item,
            "kind": feedback.kind,
            "timestamp": shown_at if feedback.timestamp is None else feedback.timestamp,
            "event_id": f"{shown.id}:{feedback.kind}:{feedback.item}"[:512],
            "impression": shown.id,
        }
        taken, visible = await take_in(running, [row], wait=wait, named=True)
        reply = {"accepted": taken.accepted, "duplicates": taken.duplicates, "rejected": taken.rejected}
        place = {"place": shown.items.index(feedback.item) + 1, "generation": shown.generation}
        return json_reply(
            {**reply, **place, "offset": taken.offset, "visible": visible}, 422 if taken.rejected else 200
        )

    @router.get("/feedback")
    async def rates() -> Response:
        """Lists shown, clicks and purchases, by generation and question."""
        return json_reply({"rates": [asdict(rate) for rate in await running.change(running.rates)], "at": time.time()})

    return router
