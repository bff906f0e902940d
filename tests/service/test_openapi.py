"""The description of the service: what it says is what it does, whatever it is sent."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from listening import at_a_port

from graphrec.operation_settings import ServeSettings
from graphrec.recommender import Recommender
from graphrec.service.app import create_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance


@pytest.fixture(scope="module")
def address(trained_once: Path, tmp_path_factory: pytest.TempPathFactory, words) -> Iterator[str]:
    """Of a service in a thread of this process, on a port of its own."""
    path = shutil.copytree(trained_once, tmp_path_factory.mktemp("fuzzed") / "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrec.open_workspace.TextEncoder", words)
        with Recommender.open(path) as recommender:
            app = create_app(recommender, ServeSettings(wait_seconds=0.2))
            patch.setattr(app.state.running.jobs, "begin", lambda job: job != "train")  # what jobs do is not the point
            with at_a_port(app) as here:
                yield here


@pytest.fixture
def api_schema(address: str):
    return schemathesis.openapi.from_url(f"{address}openapi.json")


MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
def test_every_route_does_what_its_description_says(api_schema, mode) -> None:
    """Never a 5xx, and only statuses, types and bodies that are described."""
    tried = set()
    for found in api_schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case) -> None:
            # An id that nobody has named is well described and yet not found, an event may name an unknown kind.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])
            tried.add(case.operation.label)

        with suppress(Unsatisfiable):  # nothing can be wrong with a route that takes nothing
            holds()
    assert {"POST /v1/events", "GET /v1/recommend", "PUT /v1/items", "POST /v1/feedback"} <= tried
    assert {"GET /v1/live", "POST /v1/jobs/{job}", "POST /v1/generations/rollback"} <= tried


def test_every_body_has_an_example(api_schema) -> None:
    described = api_schema.raw_schema
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
