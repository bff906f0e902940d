"""Questions: lists for users, sessions and items, searches, reasons and profiles. One call each."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from graphrec.answers import Explanation, Profile, Recommendations
from graphrec.errors import InputError
from graphrec.service.replies import JSON, list_reply
from graphrec.service.running import Running

LINES = "application/x-ndjson"

Id = Annotated[str, Field(min_length=1, max_length=512)]
K = Annotated[int, Query(ge=1, description="Length of the list.", examples=[10])]
User = Annotated[Id, Query(description="User id.", examples=["17850"])]
Item = Annotated[Id, Query(description="Item id.", examples=["22423"])]
Exclude = Annotated[list[Id], Query(max_length=100, description="Item ids that must not be shown.")]
Keep = Annotated[bool, Query(description="Remember the list, so that clicks can be told of it.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Step(_Body):
    """One event of a session."""

    item: Id = Field(examples=["22423"])
    kind: str | None = Field(default=None, description="the default kind if none", examples=["view"])


class SessionQuestion(_Body):
    """A question about somebody of whom more is known than the log says."""

    user: Id = Field(description="known or not", examples=["a-visitor"])
    session: list[Step | Id] = Field(
        max_length=200, description="oldest first", examples=[["22423", {"item": "85123A"}]]
    )
    k: int = Field(default=10, ge=1, examples=[10])
    include_seen: bool = False
    exclude: list[Id] = Field(default=[], max_length=1000)


class Batch(_Body):
    """A list for each of some users."""

    users: list[Id] = Field(min_length=1, examples=[["17850", "13047"]])
    k: int = Field(default=10, ge=1, examples=[10])
    include_seen: bool = False
    reasons: bool = True


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1", tags=["answers"])
    shop, named = running.recommender, running.pseudonyms.user

    def checked(k: int) -> int:
        if k > running.settings.longest:
            raise InputError("the list is too long", expected=f"at most {running.settings.longest}", got=str(k))
        return k

    @router.get("/recommend", response_model=Recommendations)
    async def recommend(
        request: Request,
        user: User,
        k: K = 10,
        include_seen: bool = False,
        exclude: Exclude = [],  # noqa: B006
        reasons: bool = True,
        impression: Keep = True,
    ) -> Response:
        """The items that suit a user best; an unknown user gets what is recently popular, and the list says so."""
        known, k = named(user), checked(k)
        return await list_reply(
            running,
            request,
            "recommend",
            lambda: shop.recommend(known, k, include_seen=include_seen, exclude=exclude, reasons=reasons),
            impression=impression,
        )

    @router.post("/recommend", response_model=Recommendations)
    async def recommend_session(request: Request, question: SessionQuestion, impression: Keep = True) -> Response:
        """A list that knows what the user has just done, before any of it is in the log."""
        default = shop.workspace.config.events.default_kind
        steps = [step if isinstance(step, str) else (step.item, step.kind or default) for step in question.session]
        known, k = named(question.user), checked(question.k)
        return await list_reply(
            running,
            request,
            "recommend",
            lambda: shop.recommend(
                known, k, include_seen=question.include_seen, exclude=question.exclude, session=steps
            ),
            impression=impression,
        )

    @router.post(
        "/recommend/batch",
        response_class=Response,
        responses={200: {"content": {LINES: {"schema": {"type": "string"}}}, "description": "A line of JSON a user."}},
    )
    async def recommend_batch(batch: Batch) -> Response:
        """Lists for many users, a line each, in their order."""
        if len(batch.users) > running.settings.users:
            raise InputError("too many users", expected=f"at most {running.settings.users}", got=str(len(batch.users)))
        users, k = [named(user) for user in batch.users], checked(batch.k)
        found, _, _ = await running.ask(
            lambda: shop.recommend_many(users, k, include_seen=batch.include_seen, reasons=batch.reasons)
        )
        for one in found:
            running.metrics.lists.labels("recommend", str(one.certified).lower()).inc()
        return Response(b"".join(one.to_json() + b"\n" for one in found), media_type=LINES)

    @router.get("/similar", response_model=Recommendations)
    async def similar(request: Request, item: Item, k: K = 10, impression: Keep = True) -> Response:
        """The items whose vectors are nearest to an item's."""
        k = checked(k)
        return await list_reply(running, request, "similar", lambda: shop.similar(item, k), impression=impression)

    @router.get("/search", response_model=Recommendations)
    async def search(
        request: Request,
        text: Annotated[str, Query(min_length=1, max_length=2000, examples=["red retrospot mug"])],
        user: Annotated[Id | None, Query(description="Whose taste decides between items about equally near.")] = None,
        k: K = 10,
        impression: Keep = True,
    ) -> Response:
        """The items whose texts are nearest in meaning."""
        known, k = None if user is None else named(user), checked(k)
        return await list_reply(
            running, request, "search", lambda: shop.search(text, k, user=known), impression=impression
        )

    @router.get("/trending", response_model=Recommendations)
    async def trending(
        request: Request,
        k: K = 10,
        exclude: Exclude = [],  # noqa: B006
        impression: Keep = True,
    ) -> Response:
        """The items with the most recent events."""
        k = checked(k)
        return await list_reply(
            running, request, "trending", lambda: shop.trending(k, exclude=exclude), impression=impression
        )

    @router.get("/explain", response_model=Explanation)
    async def explain(request: Request, user: User, item: Item) -> Response:
        """Why an item suits a user."""
        return await _plain(running, request, user, lambda known: shop.explain(known, item).to_json())

    @router.get("/profile", response_model=Profile)
    async def profile(request: Request, user: User, k: K = 20) -> Response:
        """What is known of a user, newest items first."""
        k = checked(k)
        return await _plain(running, request, user, lambda known: shop.profile(known, k).to_json())

    return router


async def _plain(running: Running, request: Request, user: str, ask: Any) -> Response:
    known = running.pseudonyms.user(user)
    request.state.user = running.pseudonyms.mask(known)
    body, _, _ = await running.ask(lambda: ask(known))
    return Response(body, media_type=JSON)
