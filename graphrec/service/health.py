"""Whether the service lives, answers, and how it stands."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from graphrec import __version__
from graphrec.errors import GraphrecError
from graphrec.service.replies import json_reply
from graphrec.service.running import Running


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(tags=["health"])
    shop = running.recommender

    @router.get("/healthz")
    async def alive() -> dict[str, bool]:
        """The process runs; restart it where this fails."""
        return {"alive": True}

    @router.get("/readyz", responses={503: {"description": "Not ready: the check that fails is false."}})
    async def ready() -> Response:
        """Whether questions should be sent here."""
        checks = await readiness(running)
        return json_reply({"ready": all(checks.values()), **checks}, 200 if all(checks.values()) else 503)

    @router.get("/v1/version")
    async def version() -> dict[str, Any]:
        """Versions of the program and of the model, and the log offset that the answers know."""
        return {"version": __version__, "generation": shop.generation, "offset": shop.offset}

    @router.get("/v1/status")
    async def status() -> Response:
        """Everything that `graphrec status` says, and how following the log stands."""
        found = await running.change(shop.status)
        index = shop.retriever.index
        return json_reply(
            {
                **found.to_dict(),
                "version": __version__,
                "uptime_seconds": round(time.time() - running.started, 1),
                "backlog": running.backlog(),
                "waiting_rows": running.commit.waiting,
                "followed": asdict(running.follower.followed),
                "index": None
                if index is None
                else {"items": len(index), "overlay": len(index.view.overlay), "written": index.writes},
                "dropped_impressions": running.dropped(),
            }
        )

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """What Prometheus reads."""
        page = await running.change(lambda: running.metrics.page(running.rates()))
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    return router


async def readiness(running: Running) -> dict[str, bool]:
    """Whether each part of a service that answers need works."""
    checks = {"store": await running.change(lambda: _answers(running)), "writer": running.commit.alive}
    checks["follower"] = running.follower.followed.error is None
    return checks


def _answers(running: Running) -> bool:
    try:
        return running.recommender.store.offset >= 0
    except GraphrecError:
        return False
