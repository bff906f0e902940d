"""What one engineer looks after: generations, jobs, quarantine, drift, and what the service did lately."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from graphrec.errors import GenerationError
from graphrec.generation import Generations, Manifest
from graphrec.jobs.trigger import facts_of, what_is_due
from graphrec.open_workspace import not_trained
from graphrec.retrieval.largest import largest
from graphrec.service.replies import error_reply, explained, json_reply
from graphrec.service.running import Running

_ROWS = 50  # newest rows of the quarantine, and newest reports of the gate
_TAIL = 65_536  # bytes read of the newest files of the quarantine

Number = Annotated[int, Path(ge=1, le=2**31, description="Number of a generation.", examples=[1])]
To = Annotated[int | None, Query(ge=1, le=2**31, description="Number of an older generation; the one before if none.")]
Since = Annotated[float, Query(ge=0, description="Only what ended after this, seconds since 1970.")]
Due = Annotated[bool, Query(description="Also what the trigger calls for, for which the log is counted.")]
Users = Annotated[int, Query(ge=1, le=100)]
Job = Literal["train", "update", "learn", "rebuild", "snapshot", "prune"]
_CANNOT: dict[int | str, dict[str, Any]] = {409: {"description": "There is no such generation, or it is damaged."}}


def routes(running: Running) -> APIRouter:
    """The routes of one service."""
    router = APIRouter(prefix="/v1", tags=["operations"])
    shop = running.recommender

    @router.get("/generations")
    async def generations() -> Response:
        """Every generation that is kept, newest first, with what the gate has said of it, and what it has rejected."""
        return json_reply(await asyncio.to_thread(_generations, running))

    @router.post("/generations/rollback", responses=_CANNOT)
    async def rollback(to: To = None) -> Response:
        """Answer from an older generation again; newer ones are set aside."""
        return await _switch(lambda: shop.rollback(to))

    @router.post("/generations/{number}/publish", responses=_CANNOT)
    async def publish(number: Number) -> Response:
        """Make a generation live that was held or rolled back."""
        return await _switch(lambda: shop.publish(number))

    @router.get("/jobs")
    async def jobs(due: Due = False) -> Response:
        """What is scheduled, what runs, what has run, and with `due` what the trigger calls for."""

        def report() -> dict[str, Any]:
            found = running.jobs.report()
            if due:
                facts = facts_of(shop, measure=False)
                called = what_is_due(facts, shop.workspace.config.trigger, running.jobs.now())
                found["due"] = [entry.to_dict() for entry in called]
            return found

        return json_reply(await asyncio.to_thread(report))

    @router.post("/jobs/{job}", status_code=202, responses={409: {"description": "A job runs already."}})
    async def run_job(job: Job) -> Response:
        """Run a job now, in the background; `GET /v1/jobs` says what came of it."""
        if not await asyncio.to_thread(running.jobs.begin, job):
            return error_reply(409, "BusyError", "a job runs already", way_out="wait for it: GET /v1/jobs")
        return json_reply({"job": job, "begun": True}, 202)

    @router.get("/quarantine")
    async def quarantine() -> Response:
        """Files of rows that were not taken, and the newest of the rows."""
        return json_reply(await asyncio.to_thread(_quarantine, running))

    @router.get("/live")
    async def live(since: Since = 0.0, minutes_since: Since = 0.0) -> Response:
        """Points of the last ten minutes, one a second, and of the last day, one a minute; in memory only."""
        series, index = running.live, shop.retriever.index
        points = {"seconds": series.since("seconds", since), "minutes": series.since("minutes", minutes_since)}
        standing = {
            "generation": shop.generation,
            "offset": shop.offset,
            "users": len(shop.users),
            "items": len(shop.items),
            "index_items": None if index is None else len(index),
            "error": running.follower.followed.error,
        }
        return json_reply({"now": time.time(), "standing": standing, **points})

    @router.get("/drift")
    async def drift() -> Response:
        """What was measured of how far the world has moved since the live generation, oldest first."""
        return json_reply({"measured": await asyncio.to_thread(lambda: list(running.drift.rows()))})

    @router.post("/drift")
    async def measure() -> Response:
        """Measure it now, which takes some seconds of a core."""
        return json_reply(await asyncio.to_thread(_measure, running))

    @router.get("/frequent")
    async def frequent(k: Users = 20) -> Response:
        """The users with the most items."""

        def ids() -> list[str]:
            with shop.reading() as state:
                lengths = state.retriever.graph.user_degree.astype(np.float32)
            best = largest(lengths, min(k, len(lengths)))
            return shop.users.keys(best[lengths[best] > 0])

        return json_reply({"users": await asyncio.to_thread(ids)})

    async def _switch(change: Any) -> Response:
        try:
            manifest: Manifest = await asyncio.to_thread(change)
        except GenerationError as error:
            return explained(error, 409)
        return json_reply({"generation": manifest.number, "made_by": manifest.made_by})

    return router


def _generations(running: Running) -> dict[str, Any]:
    shop = running.recommender
    known = Generations(shop.workspace.directory)
    reports = list(shop.gate_log.rows())
    by_number = {row["generation"]: row for row in reports if row.get("generation") is not None}
    live = shop.generation
    rows = []
    for manifest in reversed(shop.manifests()):
        number = manifest.number
        state = "live" if number == live else "aside" if known.is_aside(number) else "kept"
        rows.append(
            {
                "number": number,
                "state": state,
                "made_by": manifest.made_by,
                "created": manifest.created,
                "offset": manifest.offset,
                "learned_until": manifest.learned_until,
                "parent": manifest.parent,
                "metrics": manifest.metrics,
                "bytes": sum(entry["bytes"] for entry in manifest.files.values()),
                "gate": by_number.get(number),
            }
        )
    rejected = [row for row in reversed(reports) if row.get("generation") is None]
    return {"live": live, "generations": rows, "rejected": rejected[:_ROWS]}


def _quarantine(running: Running) -> dict[str, Any]:
    """Files, the newest first; rows are read from the ends of the newest."""
    kept = running.recommender.workspace.quarantine
    found = sorted(((path.stat(), path) for path in kept.files()), key=lambda one: -one[0].st_mtime)
    files = [{"name": path.name, "bytes": stat.st_size, "written": stat.st_mtime} for stat, path in found]
    rows: list[dict[str, Any]] = []
    for _, path in found:
        if len(rows) >= _ROWS:
            break
        rows += [asdict(row) for row in reversed(kept.newest(path, _TAIL))][: _ROWS - len(rows)]
    return {"files": files, "rows": rows}


def _measure(running: Running) -> dict[str, Any]:
    with running.measuring:
        facts = facts_of(running.recommender)
        if facts.generation is None:
            raise not_trained()
        row = {
            "at": running.jobs.now().isoformat(timespec="seconds"),
            "generation": facts.generation,
            "new_events": facts.new_events,
            "kinds_drift": facts.kinds_drift,
            "vector_move": facts.vector_move,
            "quality": None if facts.quality is None else asdict(facts.quality),
        }
        running.drift.append(row)
    return row
