"""Several processes behind one port: they share the socket, follow the same log, and one of them runs the jobs.

Each opens the workspaces for itself and may take posts: a store has one writer at a time. One that ends is started
anew; what it had acknowledged is in the log, and the others have followed it. When the process that looks after them
dies, however it dies, they end in order: each holds the reading end of a pipe whose writing end dies with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from graphrec.errors import ConfigError
from graphrec.service.pseudonyms import Pseudonyms
from graphrec.service.server import GRACE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from graphrec.service.tenants import Tenant

_LOOK = 0.1  # seconds
_LEAST_LIFE = (
    2.0  # seconds from a start to the next one in the same place, so that a broken workspace keeps no core busy
)
_BACKLOG = 2_048  # connections that may wait


def serve_in_many(workers: int, tenants: Sequence[Tenant], pages: Path | None = None) -> None:
    """Serve workspaces by so many processes until SIGTERM or SIGINT; raises ConfigError as `serve` does."""
    for tenant in tenants:
        tenant.check_address()
        Pseudonyms(tenant.directory, at_the_door=tenant.settings.pseudonyms)  # its key is made before all of them look
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.append(number))
    host, port = tenants[0].settings.host, tenants[0].settings.port
    lifeline, held = os.pipe()  # `held` is this process's alone
    with _listening(host, port) as listener, open(held, "wb"), open(lifeline, "rb"):
        handed = [listener.fileno(), lifeline]
        command = [sys.executable, "-m", "graphrec.cli", "serve", *(tenant.argument for tenant in tenants)]
        command += ["--host", host, "--listener", str(handed[0]), "--lifeline", str(handed[1])]
        command += [] if pages is None else ["--pages", str(pages)]
        places: list[tuple[subprocess.Popen[bytes], float]] = []
        try:
            while not stopping:
                for place in range(workers):
                    if place == len(places):
                        places.append(_started(command, place, handed))
                    elif places[place][0].poll() is not None and time.monotonic() - places[place][1] > _LEAST_LIFE:
                        places[place] = _started(command, place, handed)
                time.sleep(_LOOK)
        finally:
            _end([process for process, _ in places])


def end_with(lifeline: int) -> None:
    """End this process in order, as SIGTERM does, once nobody holds the other end of a pipe."""

    def wait() -> None:
        os.read(lifeline, 1)  # nobody ever writes: it returns at the end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="graphrec lifeline", daemon=True).start()


def _started(command: list[str], place: int, handed: list[int]) -> tuple[subprocess.Popen[bytes], float]:
    return subprocess.Popen([*command, "--worker", str(place + 1)], pass_fds=handed), time.monotonic()


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Let all finish what they have begun, at the same time; what has not ended by then never does by itself."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 3 * GRACE
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listening(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        return socket.create_server((bare, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen at {host}, port {port}", got=str(error), way_out="--port") from None
