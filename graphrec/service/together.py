"""Several services in one process, each whole and at a place of its own: /t/NAME/ has its routes, keys and pages.

Nothing is shared but the port, the event loop and the log. A tenant that could not be opened replies 503, and the
others answer. Here, above them, are only a page, and whether they live.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from fastapi.responses import HTMLResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route

from graphrec.errors import ConfigError
from graphrec.service.door import HEADERS, may_see
from graphrec.service.health import readiness
from graphrec.service.keys import Keys
from graphrec.service.limits import RateLimit
from graphrec.service.logs import of_tenant
from graphrec.service.replies import error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from fastapi import FastAPI, Request, Response
    from starlette.types import Message, Receive, Scope, Send

    from graphrec.service.tenants import Tenant

PLACE = "/t"
_RATE = "100/second"  # requests of one address for what stands here
_PATIENCE = 2.0  # seconds for a tenant to say whether it is ready
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>graphrec</title></head>
<body><h1>graphrec</h1><p>{text}</p><ul>{tenants}</ul></body></html>"""

_log = logging.getLogger(__name__)


class _Place:
    """One tenant as an application. app: None where it could not be opened."""

    def __init__(self, tenant: Tenant, app: FastAPI | None) -> None:
        self.name, self.app = tenant.name, app
        self._keys, self._host = Keys(tenant.directory), tenant.settings.host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, if there is anybody to."""
        with of_tenant(self.name):
            if self.app is None:
                reply = error_reply(503, "Closed", "this tenant could not be opened; the log says why")
                await _sealed(reply)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    def is_seen_by(self, request: Request) -> bool:
        """Whether a request may know of it."""
        try:
            return may_see(self._keys, self._host, dict(request.scope["headers"]))
        except ConfigError:  # its keys are not understood: nobody's concern but its own
            return False

    async def checks(self) -> dict[str, bool]:
        """As `/t/NAME/readyz`, within a time."""
        found = {"open": False}
        if self.app is not None:
            try:
                found = await asyncio.wait_for(readiness(self.app.state.running), _PATIENCE)
            except TimeoutError:  # a long import, say
                found = {"in_time": False}
        return {"ready": all(found.values()), **found}


def create_tenants_app(tenants: Sequence[Tenant], apps: Mapping[str, FastAPI | None]) -> Starlette:
    """The service of all tenants, from the service of each by name, None for one that could not be opened."""
    places = [_Place(tenant, apps[tenant.name]) for tenant in tenants]
    rate = RateLimit(_RATE)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        """Begin and end every tenant's: Starlette does so for the outermost application only."""
        async with AsyncExitStack() as stack:
            for place in places:
                if place.app is None:
                    continue
                with of_tenant(place.name):
                    try:
                        await stack.enter_async_context(_lifespan(place.app))
                    except Exception:  # whatever it is, it is no reason to keep the others from answering
                        _log.exception("the service does not start")
                        place.app = None
            yield

    def slow_down(request: Request) -> None:
        seconds = rate.wait(request.client.host if request.client else "unknown")
        if seconds:
            raise HTTPException(429, "too many requests", {"retry-after": str(seconds)})

    async def page(request: Request) -> Response:
        """The tenants, for whoever may see them."""
        slow_down(request)
        seen = [place.name for place in places if place.is_seen_by(request)]
        links = "".join(f'<li><a href="{PLACE[1:]}/{escape(name)}/">{escape(name)}</a></li>' for name in seen)
        text = "" if seen else f"Each workspace has its dashboard at {PLACE}/NAME/, and asks for its key there."
        return _sealed(HTMLResponse(_PAGE.format(text=text, tenants=links)))

    async def alive(request: Request) -> Response:
        return _sealed(json_reply({"alive": True}))

    async def ready(request: Request) -> Response:
        """503 only where no tenant is ready, so that one does not take the others away; names for who may see them."""
        slow_down(request)
        checks = dict(zip(places, await asyncio.gather(*(place.checks() for place in places)), strict=True))
        good = sum(found["ready"] for found in checks.values())
        told: dict[str, Any] = {"ready": good == len(places), "tenants": len(places), "tenants_ready": good}
        told["by_name"] = {place.name: found for place, found in checks.items() if place.is_seen_by(request)}
        return _sealed(json_reply(told, 200 if good else 503))

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reply = error_reply(error.status_code, "HTTPError", str(error.detail))
        reply.headers.update(error.headers or {})
        return _sealed(reply)

    return Starlette(
        routes=[
            *(Mount(f"{PLACE}/{place.name}", place) for place in places),
            Route("/", page),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Begin an application and end it as a server does, by messages (ASGI's lifespan)."""
    asked: asyncio.Queue[Message] = asyncio.Queue()
    told: asyncio.Queue[Message] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    task = asyncio.ensure_future(app(scope, asked.get, told.put))

    async def have(it: str) -> None:
        await asked.put({"type": f"lifespan.{it}"})
        reply = asyncio.ensure_future(told.get())
        await asyncio.wait({task, reply}, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done() or reply.result()["type"] != f"lifespan.{it}.complete":
            reply.cancel()
            await task  # raises what it ended of

    await have("startup")
    yield
    await have("shutdown")
    await task


def _sealed(reply: Response) -> Response:
    """The reply with the headers that every reply has."""
    for name, value in HEADERS:
        reply.headers[name.decode()] = value.decode()
    return reply
