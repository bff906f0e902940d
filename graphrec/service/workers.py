"""Several processes behind one port: they share the socket, follow the same log, and one of them runs the jobs.

Each opens the workspace for itself and may take posts: the store has one writer at a time. One that ends is started
anew; what it had acknowledged is in the log, and the others have followed it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from graphrec.errors import ConfigError
from graphrec.service.keys import Keys
from graphrec.service.pseudonyms import Pseudonyms
from graphrec.service.server import GRACE, check_address
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from graphrec.operation_settings import ServeSettings

_LOOK = 0.1  # seconds
_LEAST_LIFE = (
    2.0  # seconds from a start to the next one in the same place, so that a broken workspace keeps no core busy
)
_BACKLOG = 2_048  # connections that may wait


def serve_in_many(workers: int, directory: Path, settings: ServeSettings, pages: Path | None = None) -> None:
    """Serve a workspace by so many processes until SIGTERM or SIGINT; raises ConfigError as `serve` does."""
    workspace = Workspace(directory)
    check_address(settings.host, Keys(workspace.directory))
    Pseudonyms(workspace.directory, at_the_door=settings.pseudonyms)  # its key is made once, before all of them look
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopping.append(number))
    with _listening(settings.host, settings.port) as listener:
        descriptor = listener.fileno()
        command = [sys.executable, "-m", "graphrec.cli", "serve", str(directory), "--host", settings.host]
        command += ["--listener", str(descriptor), *([] if pages is None else ["--pages", str(pages)])]
        places: list[tuple[subprocess.Popen[bytes], float]] = []
        try:
            while not stopping:
                for place in range(workers):
                    if place == len(places):
                        places.append(_started(command, descriptor))
                    elif places[place][0].poll() is not None and time.monotonic() - places[place][1] > _LEAST_LIFE:
                        places[place] = _started(command, descriptor)
                time.sleep(_LOOK)
        finally:
            _end([process for process, _ in places])


def _started(command: list[str], descriptor: int) -> tuple[subprocess.Popen[bytes], float]:
    return subprocess.Popen(command, pass_fds=[descriptor]), time.monotonic()


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
