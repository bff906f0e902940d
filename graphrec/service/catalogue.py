"""Items and users: written, read, and taken back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from graphrec.answers import Described
from graphrec.errors import InputError
from graphrec.events.catalogue import WITHDRAWN
from graphrec.events.event import Item
from graphrec.service.replies import JSON, error_reply, json_reply
from graphrec.service.running import Running

if TYPE_CHECKING:
    from graphrec.events.store import Upserted

_LOOK = 0.02  # seconds

Id = Annotated[str, Field(min_length=1, max_length=512)]
Scalar = str | int | float | bool | None
ItemId = Annotated[Id, Query(description="Item id.", examples=["22423"])]
UserId = Annotated[Id, Query(description="User id.", examples=["17850"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemBody(_Body):
    """An item as the catalogue should have it: all of it, what is left out is emptied."""

    id: Id = Field(examples=["22423"])
    title: str = Field(default="", examples=["REGENCY CAKESTAND 3 TIER"])
    text: str = Field(default="", description="what the text encoder reads; the title if none")
    attributes: dict[str, Scalar] = Field(default={}, examples=[{"colour": "red"}])


class UserBody(_Body):
    """What is known of a user: all of it."""

    id: Id = Field(examples=["17850"])
    attributes: dict[str, Scalar] = Field(default={}, examples=[{"country": "United Kingdom"}])


class Written(BaseModel):
    """What became of the rows, and whether the answers know them by now."""

    added: int
    changed: int
    unchanged: int
    visible: bool


class Erased(BaseModel):
    """What was deleted of a user, and whether the answers are derived without it by now."""

    events: int
    notes: int
    visible: bool


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1", tags=["catalogue"])
    shop, named = running.recommender, running.pseudonyms.user
    store = shop.store

    async def put(items: list[Item], *, wait: bool) -> Response:
        done = await running.change(lambda: store.upsert_items(items))
        end = await running.change(lambda: store.catalogue_offset)
        return _written(done, visible=await running.seen(0, catalogue_offset=end, wait=wait))

    def several(rows: Any) -> list[Any]:
        listed: list[Any] = rows if isinstance(rows, list) else [rows]
        if len(listed) > running.settings.batch:
            raise InputError("too many rows", expected=f"at most {running.settings.batch}", got=str(len(listed)))
        return listed

    @router.put("/items", response_model=Written)
    async def put_items(body: ItemBody | list[ItemBody], wait: bool = True) -> Response:
        """Write items. A new one is found by its text as soon as that is encoded, and waited for if `wait`."""
        rows = [Item(row.id, row.title, row.text or row.title, row.attributes) for row in several(body)]
        return await put(rows, wait=wait)

    @router.get("/items", response_model=Described, responses={404: {"description": "No such item."}})
    async def get_item(item: ItemId) -> Response:
        """One item."""
        found, _, _ = await running.ask(lambda: shop.describe(item).to_json())
        return Response(found, media_type=JSON)

    @router.get("/items/page")
    async def page(
        after: Annotated[int, Query(ge=0, le=2**31)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> dict[str, Any]:
        """Ids of all items, some at a time, in the order they came; `next` is what to ask `after`."""
        end = min(after + limit, len(shop.items))
        ids = shop.items.keys(range(after, end)) if after < end else []
        return {"items": ids, "next": end if end < len(shop.items) else None}

    @router.delete("/items", response_model=Written, responses={404: {"description": "No such item."}})
    async def withdraw(item: ItemId, wait: bool = True) -> Response:
        """Show an item to nobody until it is written again; what users did with it goes on speaking for others."""
        now = shop.describe(item)
        return await put([Item(item, now.title, now.text, {**now.attributes, WITHDRAWN: True})], wait=wait)

    @router.put("/users", response_model=Written)
    async def put_users(request: Request, body: UserBody | list[UserBody]) -> Response:
        """Write what is known of users."""
        rows = [(named(row.id), row.attributes) for row in several(body)]
        return _written(await running.change(lambda: store.upsert_users(rows)), visible=True)

    @router.get("/users", responses={404: {"description": "Nothing is known of the user."}})
    async def get_user(request: Request, user: UserId) -> Response:
        """What is known of a user beside events."""
        known = named(user)
        request.state.user = running.pseudonyms.mask(known)
        attributes = await running.change(lambda: store.user_attributes(known))
        if not attributes and known not in shop.users:
            return error_reply(404, "UnknownUser", "nothing is known of this user")
        return json_reply({"user": known, "attributes": attributes})

    @router.delete("/users", response_model=Erased, responses={404: {"description": "There is no such user."}})
    async def forget_user(request: Request, user: UserId, wait: bool = True) -> Response:
        """Delete a user's id, attributes, events and lists, for good; `wait`s until the answers are derived anew."""
        known = named(user)
        request.state.user = running.pseudonyms.mask(known)
        if running.impressions is not None:
            await running.change(running.impressions.write)  # what was just shown is to go, too
        done = await running.change(lambda: shop.erase(known))
        if not done.users:
            return error_reply(404, "UnknownUser", "nothing is known of this user")
        running.follower.wake()
        patience = running.settings.wait_seconds if wait else 0.0
        while shop.forgotten < done.times and patience > 0:
            await asyncio.sleep(_LOOK)
            patience -= _LOOK
        return json_reply({"events": done.events, "notes": done.notes, "visible": shop.forgotten >= done.times})

    return router


def _written(done: Upserted, *, visible: bool) -> Response:
    return json_reply({**done._asdict(), "visible": visible})
