"""An open load for bench_service: requests leave when they are due, whether or not earlier ones are back.

Latency counts from the moment a request was due, so a server that stalls is charged for everything that waited
meanwhile. Connections are kept alive and bounded; one that is not free makes a request wait, and that counts too.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 64


class Connections:
    """A bounded number of HTTP/1.1 connections to one server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of the reply."""
        connection = await self._free.get()
        try:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = connection
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            return int(lines[0].split()[1]), await reader.readexactly(length)
        except BaseException:
            connection = None
            raise
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close those that are open; nobody may be asking."""
        while not self._free.empty():
            connection = self._free.get_nowait()
            if connection is not None:
                connection[1].close()
                await connection[1].wait_closed()

    async def json(self, method: str, path: str, value: Any = None) -> Any:
        """The decoded reply; raises RuntimeError for any status but 200."""
        status, body = await self.ask(method, path, b"" if value is None else json.dumps(value).encode())
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {body[:200]!r}")
        return json.loads(body)


async def open_load(
    rate: float, seconds: float, request: Callable[[int], Any], rng: np.random.Generator
) -> tuple[list[float], int, float]:
    """Milliseconds of each request, how many failed, and requests a second that came back.

    Arrivals are those of a Poisson process.
    """
    due = np.cumsum(rng.exponential(1 / rate, round(rate * seconds)))
    latencies: list[float] = []
    failed = 0
    began = time.perf_counter()

    async def one(number: int, at: float) -> None:
        nonlocal failed
        try:
            status, _ = await request(number)
            failed += status != 200
        except (OSError, EOFError):  # IncompleteReadError is an EOFError
            failed += 1
        latencies.append((time.perf_counter() - began - at) * 1e3)

    tasks = []
    for number, at in enumerate(due.tolist()):
        late = at - (time.perf_counter() - began)
        if late > 0:
            await asyncio.sleep(late)
        tasks.append(asyncio.create_task(one(number, at)))
    await asyncio.gather(*tasks)
    return latencies, failed, len(tasks) / (time.perf_counter() - began)


def quantiles(latencies: list[float]) -> dict[str, float]:
    """Median, 99th percentile and largest."""
    p50, p99, most = np.percentile(latencies, [50, 99, 100]).tolist()
    return {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(most, 2)}
