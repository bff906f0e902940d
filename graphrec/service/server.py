"""`graphrec serve`: opens the workspace, binds, answers until it is told to stop, and leaves nothing half done."""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

from graphrec.errors import ConfigError
from graphrec.recommender import Recommender
from graphrec.service.app import create_app
from graphrec.service.keys import Keys
from graphrec.service.logs import log_as_json
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from graphrec.operation_settings import ServeSettings

GRACE = 10  # seconds that requests have to end in
SWITCH = 0.0005  # seconds that a thread keeps the interpreter while others want it: a tenth of Python's own
KEPT = 75  # seconds that an idle connection is kept: longer than proxies keep theirs


def serve(
    directory: Path, settings: ServeSettings, pages: Path | None = None, listener: socket.socket | None = None
) -> None:
    """Serve a workspace until SIGTERM or SIGINT; raises ConfigError for an address that strangers could reach.

    listener: a socket that listens already, instead of one at the address.
    """
    workspace = Workspace(directory)
    check_address(settings.host, Keys(workspace.directory))
    log_as_json()
    # An answer is a chain of short compiled calls, and after each it would wait that long behind a commit.
    sys.setswitchinterval(SWITCH)
    with Recommender(workspace) as recommender:
        config = uvicorn.Config(
            create_app(recommender, settings, pages=pages),
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


def check_address(host: str, keys: Keys) -> None:
    """Raise ConfigError where others than this machine could ask and no key is in force."""
    if not (is_loopback(host) or keys):
        raise ConfigError(
            f"a service at {host} can be reached from elsewhere, and there is no key",
            expected="a key, or an address of this machine only",
            way_out="graphrec key add, or --host 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
