"""The door: what every request passes before anything of it is read, and what every reply carries.

Key, scope and rate are checked before the body is touched, so a stranger costs next to nothing. Without keys only this
machine may ask, by a name of its own: a page in a browser that has made another name point here is refused.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import TYPE_CHECKING

from graphrec.service.address import LOOPBACK, is_loopback
from graphrec.service.keys import ADMIN, READ, WRITE
from graphrec.service.replies import error_reply

if TYPE_CHECKING:
    from fastapi import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from graphrec.service.keys import Keys
    from graphrec.service.running import Running

OPEN = {"/", "/healthz", "/readyz", "/v1/version", "/openapi.json"}
PAGES, DASHBOARD = "/ui", "/dashboard"  # static files: they hold no data, and ask for it with a key
ADMINISTRATION = (
    "/v1/status",
    "/v1/generations",
    "/v1/jobs",
    "/v1/quarantine",
    "/v1/live",
    "/v1/drift",
    "/v1/frequent",
)
FORGET = "/v1/users"  # a user who is deleted does not come back
QUESTIONS = {"/v1/recommend", "/v1/recommend/batch"}  # posted, and yet they only read

_HARMLESS = {"GET", "HEAD", "OPTIONS"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_log = logging.getLogger("graphrec.access")


class Door:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, running: Running) -> None:
        self._app, self._running = app, running
        self._here = is_loopback(running.settings.host)  # else the last key may have been revoked since the start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *HEADERS]
            await send(message)

        refusal = self._refusal(scope, headers)
        try:
            await (self._app if refusal is None else refusal)(scope, receive, reply)
        finally:
            self._note(scope, status, time.perf_counter() - started, request_id)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> ASGIApp | None:
        """The reply to whoever must stay outside, None for a request that may pass."""
        running, path = self._running, _path(scope)
        client = scope.get("client")
        caller = "address " + (client[0] if client else "unknown")
        if running.keys:
            presented = _presented(headers)
            key = running.keys.find(presented) if presented else None
            if key is not None:
                caller = f"key {key.id}"
            scope["state"]["key"] = None if key is None else key.id
            needed = None if self._is_open(scope, headers) else _scope(scope["method"], path)
            if needed is not None and key is None:
                return self._refuse(401, "key", "a key is needed", "Authorization: Bearer KEY", "graphrec key add")
            if needed is not None and key is not None and not key.opens(needed):
                return self._refuse(403, "scope", "the key does not open this", f"a key with the scope {needed}", None)
        elif not (self._here and _host(headers) in LOOPBACK):
            return self._refuse(
                403,
                "host",
                "without keys only this machine may ask",
                ", ".join(sorted(LOOPBACK)),
                None,
            )
        if scope["method"] not in _HARMLESS and self._is_foreign(headers):
            named = "this service's own, or one of serve.origins"
            return self._refuse(403, "origin", "a page of another origin may not change anything", named, None)
        if _length(headers) > running.settings.body_bytes:
            most = f"at most {running.settings.body_bytes} bytes"
            return self._refuse(413, "body", "the body is too large", most, "post less at a time")
        seconds = running.rate.wait(caller)
        if seconds:
            refusal = self._refuse(429, "rate", "too many requests", running.settings.rate, f"wait {seconds} s")
            refusal.headers["retry-after"] = str(seconds)
            return refusal
        return None

    def _is_open(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        """Whether it needs no key: health, pages, and a browser that asks which origins may ask, which sends none."""
        path = _path(scope)
        preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        static = path.startswith((f"{PAGES}/", f"{DASHBOARD}/"))
        return path in OPEN or static or (preflight and bool(self._running.settings.origins))

    def _is_foreign(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a page that came from elsewhere sends this: browsers say so, and send it without asking first."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        own = origin.partition("://")[2] == headers.get(b"host", b"").decode("latin-1")
        return bool(origin) and not own and origin not in self._running.settings.origins

    def _refuse(self, status: int, reason: str, problem: str, expected: str, way_out: str | None) -> Response:
        self._running.metrics.refused.labels(reason).inc()
        refusal = error_reply(status, "Refused", problem, expected=expected, way_out=way_out)
        if status == 401:
            refusal.headers["www-authenticate"] = "Bearer"
        return refusal

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        """Count and log a request by its route: what it asked for stays out of both."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE") else "other"
        self._running.metrics.requests.labels(route, method, str(status)).inc()
        self._running.metrics.seconds.labels(route).observe(seconds)
        fields = {"request_id": request_id, "method": method, "route": route, "status": status}
        fields |= {"milliseconds": round(seconds * 1e3, 2)}
        state = scope["state"]
        fields |= {name: state[name] for name in ("key", "user") if state.get(name) is not None}
        _log.info("request", extra={"fields": fields})


def may_see(keys: Keys, host: str, headers: dict[bytes, bytes]) -> bool:
    """Whether whoever sends this may know of a service that listens at `host`: by any key of it, or from here."""
    if keys:
        return keys.find(_presented(headers)) is not None
    return is_loopback(host) and _host(headers) in LOOPBACK


def _path(scope: Scope) -> str:
    """The path below the place where the service is mounted, by which its routes are found, too."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _scope(method: str, path: str) -> str:
    """What a key must open for this; anything unknown is read and then not found."""
    if any(path == one or path.startswith(f"{one}/") for one in ADMINISTRATION):
        return ADMIN
    if method == "DELETE" and path == FORGET:
        return ADMIN
    return READ if method in ("GET", "HEAD", "OPTIONS") or path in QUESTIONS else WRITE


def _presented(headers: dict[bytes, bytes]) -> str:
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1")


def _length(headers: dict[bytes, bytes]) -> int:
    """Announced size of the body; one that comes in pieces is counted as it comes."""
    announced = headers.get(b"content-length", b"0")
    return int(announced) if announced.isdigit() and len(announced) < 20 else 0


def _host(headers: dict[bytes, bytes]) -> str:
    host = headers.get(b"host", b"").decode("latin-1")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
