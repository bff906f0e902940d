"""The application: routes, door and threads of one service put together. Nothing happens at import."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from graphrec import __version__
from graphrec.errors import GraphrecError
from graphrec.service.answers import routes as answers
from graphrec.service.catalogue import routes as catalogue
from graphrec.service.door import DASHBOARD, PAGES, Door
from graphrec.service.events import routes as events
from graphrec.service.feedback import routes as feedback
from graphrec.service.health import routes as health
from graphrec.service.operations import routes as operations
from graphrec.service.replies import IMPRESSION, error_reply, explained
from graphrec.service.running import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from graphrec.operation_settings import ServeSettings
    from graphrec.recommender import Recommender

_PAGE = Path(__file__).with_name("pages")
_SHOWN_PROBLEMS = 20
_TEXT = "A graph recommender whose answers know an event as soon as it is acknowledged. Every list is the JSON of the "
_TEXT += "command line; its impression id and its timings are in headers."


def create_app(
    recommender: Recommender,
    settings: ServeSettings | None = None,
    *,
    pages: Path | None = None,
    labels: Mapping[str, str] = {},
) -> FastAPI:
    """The service of an open recommender, which stays open when the service ends.

    settings: of the workspace if None. pages: a folder of static files, served under /ui. labels: of every
    metric.
    """
    chosen = recommender.workspace.config.serve if settings is None else settings
    running = Running(recommender, chosen, labels)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with running:
            yield

    app = FastAPI(
        title="graphrec",
        version=__version__,
        description=_TEXT,
        docs_url=None,  # their page loads code from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        max_body_size=chosen.body_bytes,
        telemetry={"tracing": chosen.tracing, "metrics": False, "logs": False, "auto_configure": chosen.tracing},
        responses={
            400: {"description": "This is no HTTP request, or its address is too long."},
            401: {"description": "A key is needed."},
            403: {"description": "The key does not open this."},
            404: {"description": "There is no such item, user or list."},
            409: {"description": "This needs a trained generation, and there is none yet."},
            413: {"description": "The body is too large."},
            422: {"description": "The request is not understood."},
            429: {"description": "Too many requests."},
            503: {"description": "Not now; ask later."},
        },
    )
    app.state.running = running
    for group in (events, answers, catalogue, feedback, operations, health):
        app.include_router(group(running))
    app.mount(DASHBOARD, StaticFiles(directory=_PAGE))

    @app.get("/", include_in_schema=False)
    async def dashboard() -> FileResponse:
        """The page of whoever looks after the service."""
        return FileResponse(_PAGE / "index.html")

    if pages is not None:
        app.mount(PAGES, StaticFiles(directory=pages, html=True))
    if chosen.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(chosen.origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type", "x-api-key", "x-request-id"],
            expose_headers=[IMPRESSION, "Server-Timing", "X-Request-ID"],
        )
    app.add_middleware(Door, running=running)
    app.add_exception_handler(GraphrecError, _explained)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(Exception, _surprise)
    return app


async def _explained(_: Request, error: Exception) -> Response:
    assert isinstance(error, GraphrecError)
    return explained(error)


async def _not_understood(_: Request, error: Exception) -> Response:
    """The first problems of a request, without what it held: that may be long, or secret."""
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:_SHOWN_PROBLEMS]]
    return error_reply(422, "InputError", "the request is not understood", got="; ".join(problems)[:2000])


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    reply = error_reply(error.status_code, "HTTPError", str(error.detail))
    for name, value in (error.headers or {}).items():
        reply.headers[name] = value
    return reply


async def _surprise(_: Request, error: Exception) -> Response:
    return error_reply(500, type(error).__name__, "something went wrong; the log has the request id")
