"""A service of the tiny world, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from graphrec.operation_settings import ServeSettings
from graphrec.recommender import Recommender
from graphrec.service.app import create_app
from graphrec.service.running import Running


class Client(TestClient):
    """A client that knows the service behind it."""

    running: Running

    def ask(self, path: str, **parameters: Any) -> dict[str, Any]:
        """A question and its answer."""
        reply = self.get(path, params=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()


@pytest.fixture
def start(shop: Path) -> Iterator[Callable[..., Client]]:
    """Start a service of the trained workspace with some settings."""
    with ExitStack() as stack:

        def started(**settings: Any) -> Client:
            recommender = stack.enter_context(Recommender.open(shop))
            app = create_app(recommender, ServeSettings(**settings))
            client = stack.enter_context(Client(app, base_url="http://localhost", raise_server_exceptions=False))
            client.running = app.state.running
            return client

        yield started


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    """With the default settings."""
    return start()
