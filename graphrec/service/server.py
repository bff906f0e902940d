"""`graphrec serve`: opens the workspaces, binds, answers until it is told to stop, and leaves nothing half done."""

from __future__ import annotations

import gc
import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvicorn

from graphrec.errors import ConfigError, GraphrecError
from graphrec.recommender import Recommender
from graphrec.service.app import create_app
from graphrec.service.logs import log_as_json, of_tenant
from graphrec.service.together import create_tenants_app
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from graphrec.service.tenants import Tenant

GRACE = 10  # seconds that requests have to end in
SWITCH = 0.0005  # seconds that a thread keeps the interpreter while others want it: a tenth of Python's own
KEPT = 75  # seconds that an idle connection is kept: longer than proxies keep theirs

_log = logging.getLogger(__name__)


def serve(
    tenants: Sequence[Tenant],
    pages: Path | None = None,
    listener: socket.socket | None = None,
    labels: Mapping[str, str] = {},
) -> None:
    """Serve workspaces until SIGTERM or SIGINT; raises ConfigError for an address that strangers could reach.

    listener: a socket that listens already, instead of one at the address. labels: of every metric.
    """
    for tenant in tenants:
        tenant.check_address()
    log_as_json()
    # An answer is a chain of short compiled calls, and after each it would wait that long behind a commit.
    sys.setswitchinterval(SWITCH)
    settings = tenants[0].settings
    with ExitStack() as stack:
        app = opened(stack, tenants, pages, labels)
        gc.collect()
        gc.freeze()  # what is open stays: looking through it for garbage stops every answer for a sixth of a second
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=KEPT,
            proxy_headers=False,
        )
        uvicorn.Server(config).run(None if listener is None else [listener])


def opened(
    stack: ExitStack, tenants: Sequence[Tenant], pages: Path | None = None, labels: Mapping[str, str] = {}
) -> ASGIApp:
    """The application of one workspace, or of several, which are open until the stack is left.

    Of several one may fail to open, which is logged; raises what the last one raises where all do, and ConfigError for
    settings that are not understood and for two workspaces with one store.
    """
    if not tenants[0].name:
        return _app(stack, tenants[0], pages, labels)
    apps: dict[str, FastAPI | None] = {}
    for tenant in tenants:
        with of_tenant(tenant.name):
            try:
                apps[tenant.name] = _app(stack, tenant, pages, {**labels, "tenant": tenant.name})
            except ConfigError:
                raise
            except Exception as error:  # whatever it is, it is no reason to keep the others from answering
                if len(apps) == len(tenants) - 1 and not any(apps.values()):
                    raise
                known = isinstance(error, GraphrecError)
                _log.error("the workspace cannot be opened: %s", error, exc_info=not known)
                apps[tenant.name] = None
    stores = [app.state.running.recommender.store.path for app in apps.values() if app is not None]
    shared = [str(path) for path in stores if path is not None and stores.count(path) > 1]
    if shared:
        raise ConfigError("two tenants have one store", got=shared[0], way_out="[store] url in graphrec.toml")
    return create_tenants_app(tenants, apps)


def _app(stack: ExitStack, tenant: Tenant, pages: Path | None, labels: Mapping[str, str]) -> FastAPI:
    recommender = stack.enter_context(Recommender(Workspace(tenant.directory)))
    return create_app(recommender, tenant.settings, pages=pages, labels=labels)
