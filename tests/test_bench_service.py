"""The load of scripts/bench_service: a server that stalls is charged for everything that was due meanwhile."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
STALL = 0.2


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import importlib

    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "service_load", raising=False)
    return importlib.import_module("service_load")


def test_what_was_due_during_a_stall_is_late(load: ModuleType) -> None:
    async def request(number: int) -> tuple[int, bytes]:
        if number == 0:
            time.sleep(STALL)
        return 200, b""

    latencies, failed, _ = asyncio.run(load.open_load(200, 0.1, request, np.random.default_rng(0)))
    assert failed == 0
    assert len(latencies) == 20
    assert all(latency >= (STALL - 0.15) * 1e3 for latency in latencies)


def test_connections_are_bounded_kept_and_what_fails_is_counted(load: ModuleType, monkeypatch) -> None:
    monkeypatch.setattr(load, "CONNECTIONS", 2)
    opened, together, most = 0, 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened, together, most
        opened += 1
        while await reader.read(1000):
            together += 1
            most = max(most, together)
            await asyncio.sleep(0.005)
            together -= 1
            writer.write(b"HTTP/1.1 503 Not now\r\ncontent-length: 2\r\n\r\nno")
        writer.close()

    async def run() -> tuple[list[float], int, float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        connections = load.Connections(server.sockets[0].getsockname()[1])
        found = await load.open_load(1000, 0.02, lambda _: connections.ask("GET", "/"), np.random.default_rng(0))
        with pytest.raises(RuntimeError, match="503"):
            await connections.json("GET", "/")
        await connections.close()
        server.close()
        await server.wait_closed()
        return found

    latencies, failed, _ = asyncio.run(run())
    assert (len(latencies), failed) == (20, 20)
    assert opened <= 2
    assert most <= 2
