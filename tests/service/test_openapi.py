"""The description of the service: what it says is what it does, whatever it is sent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings

from graphrec.config import ServeSettings
from graphrec.recommender import Recommender
from graphrec.service.app import create_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis


@pytest.fixture(scope="module")
def app(trained_once: Path, tmp_path_factory: pytest.TempPathFactory, words) -> Iterator[object]:
    import shutil

    path = shutil.copytree(trained_once, tmp_path_factory.mktemp("fuzzed") / "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrec.open_workspace.TextEncoder", words)
        with Recommender.open(path) as recommender:
            app = create_app(recommender, ServeSettings(wait_seconds=0.2))
            with TestClient(app):
                yield app


@pytest.fixture
def api_schema(app):
    return schemathesis.openapi.from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_route_does_what_its_description_says(case) -> None:
    reply = case.call(headers={"host": "localhost"})
    case.validate_response(reply, excluded_checks=[schemathesis.checks.CHECKS.get_one("positive_data_acceptance")])
    assert reply.status_code < 500


def test_every_body_has_an_example(app) -> None:
    described = TestClient(app, base_url="http://localhost").get("/openapi.json").json()
    bodies = [
        (path, operation["requestBody"]["content"]["application/json"])
        for path, operations in described["paths"].items()
        for operation in operations.values()
        if "requestBody" in operation
    ]
    assert len(bodies) >= 5
    text = str(described["components"]["schemas"])
    assert all("examples" in body or "examples" in text for _, body in bodies)
    assert described["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]
