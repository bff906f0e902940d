"""Several tenants in one process: each is whole, and nothing of one is seen, opened, counted or stopped by another."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from graphrec.errors import BusyError, ConfigError, StoreError
from graphrec.jobs.work import Done
from graphrec.service.jobs import _in_turn
from graphrec.service.keys import Keys
from graphrec.service.logs import JsonLines
from graphrec.service.running import Running
from graphrec.service.server import opened
from graphrec.service.tenants import tenants_of

EVENT = {"user": "only-in-a", "item": "i3", "timestamp": 1_710_000_000}
BOTH = ("a", "b")


class Client(TestClient):
    """A client that knows the tenants behind it."""

    running: dict[str, Running]
    shops: dict[str, Path]


@pytest.fixture
def shops(shop: Path) -> dict[str, Path]:
    """Two workspaces of the same content."""
    return {"a": shop, "b": Path(shutil.copytree(shop, shop.parent / "other"))}


@pytest.fixture
def start(shops: dict[str, Path]) -> Iterator[Callable[[], Client]]:
    with ExitStack() as stack:

        def started(**options: Any) -> Client:
            app = opened(stack, tenants_of([f"{name}={path}" for name, path in shops.items()], options))
            client = Client(app, base_url="http://localhost", raise_server_exceptions=False)
            client.shops = shops
            client.running = {
                route.app.name: route.app.app.state.running
                for route in app.routes
                if hasattr(route.app, "name") and route.app.app is not None
            }
            return stack.enter_context(client)

        yield started


@pytest.fixture
def client(start: Callable[[], Client]) -> Client:
    return start()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_each_is_a_whole_service_at_its_place(client: Client) -> None:
    for name in BOTH:
        assert client.get(f"/t/{name}/v1/recommend?user=u1&k=3").json()["user"] == "u1"
        assert client.get(f"/t/{name}/readyz").json()["ready"]
        page = client.get(f"/t/{name}").url.path, client.get(f"/t/{name}/").text
        assert page[0] == f"/t/{name}/"
        for address in re.findall(r'(?:href|src)="([^"#]+)"', page[1]):
            assert not address.startswith(("/", "http"))
            assert client.get(f"/t/{name}/{address}").status_code == 200
        described = client.get(f"/t/{name}/openapi.json").json()
        assert described["servers"] == [{"url": f"/t/{name}"}]
        assert "/v1/recommend" in described["paths"]
        moved = client.get(f"/t/{name}/v1/trending/?k=3", follow_redirects=False)
        assert moved.headers["location"].endswith(f"/t/{name}/v1/trending?k=3")
    for path in ("/v1/recommend?user=u1", "/metrics", "/t/", "/t/c/", "/t/c/v1/status", "/dashboard/page.js"):
        reply = client.get(path)
        assert (reply.status_code, reply.headers["x-content-type-options"]) == (404, "nosniff")


def test_what_is_posted_to_one_shows_in_that_one_only(client: Client) -> None:
    assert client.post("/t/a/v1/events", json=EVENT).json()["visible"]
    client.put("/t/a/v1/items", json={"id": "new", "title": "only in a"})
    client.put("/t/a/v1/users", json={"id": "u1", "attributes": {"only": "a"}})
    known = {name: client.get(f"/t/{name}/v1/profile?user=only-in-a").json()["known"] for name in BOTH}
    assert known == {"a": True, "b": False}
    assert [client.get(f"/t/{name}/v1/items?item=new").status_code for name in BOTH] == [200, 404]
    assert client.get("/t/b/v1/users?user=u1").json()["attributes"] == {}
    assert [client.get(f"/t/{name}/v1/version").json()["offset"] for name in BOTH] == [701, 700]
    listed = client.get("/t/a/v1/recommend?user=u1").headers["x-impression-id"]
    told = {"impression": listed, "item": "i1", "kind": "click"}
    assert client.post("/t/b/v1/feedback", json=told).status_code == 404


def test_a_key_opens_its_own_tenant_only(client: Client) -> None:
    keys = {name: Keys(client.shops[name]).add("one", ["admin"])[1] for name in BOTH}
    paths = ("v1/trending", "v1/status", "v1/jobs", "v1/quarantine", "metrics", "v1/generations")
    for mine, key in keys.items():
        for name in BOTH:
            for path in paths:
                status = client.get(f"/t/{name}/{path}", headers=bearer(key)).status_code
                assert status == (200 if name == mine else 401), (mine, name, path)
    assert client.post("/t/b/v1/events", json=EVENT, headers=bearer(keys["a"])).status_code == 401
    assert client.running["b"].recommender.store.offset == 700


def test_what_needs_admin_at_the_root_needs_it_at_every_place(client: Client) -> None:
    """The routes are told apart by their path below the place, however often that is written."""
    key = Keys(client.shops["a"]).add("front", ["read"])[1]
    for path in ("v1/status", "v1/jobs", "v1/live", "v1/frequent"):
        assert client.get(f"/t/a/{path}", headers=bearer(key)).status_code == 403
    for path in ("t/a/v1/status", "t/a/t/a/v1/status", "v1/../v1/status", "../a/v1/status", "%2e%2e/a/v1/status"):
        assert client.get(f"/t/a/{path}", headers=bearer(key)).status_code in (403, 404), path
    batch = {"users": ["u1"]}
    assert client.post("/t/a/v1/recommend/batch", json=batch, headers=bearer(key)).status_code == 200
    assert client.post("/t/a/v1/events", json=EVENT, headers=bearer(key)).status_code == 403


def test_a_key_of_one_leaves_the_other_open_to_this_machine_only(client: Client) -> None:
    Keys(client.shops["a"]).add("one", ["read"])
    assert [client.get(f"/t/{name}/v1/trending").status_code for name in BOTH] == [401, 200]
    elsewhere = {"host": "evil.example"}
    assert client.get("/t/b/v1/trending", headers=elsewhere).status_code == 403
    foreign = {"origin": "https://evil.example"}
    assert client.post("/t/b/v1/events", json=EVENT, headers=foreign).status_code == 403
    own = {"origin": "http://localhost"}
    assert client.post("/t/b/v1/events", json=EVENT, headers=own).status_code == 200


def test_the_tenants_are_listed_to_whoever_may_see_them(client: Client) -> None:
    def seen(**headers: str) -> list[list[str]]:
        page, ready = client.get("/", headers=headers), client.get("/readyz", headers=headers)
        assert ready.json()["tenants"] == 2
        return [re.findall(r'href="t/(\w+)/"', page.text), list(ready.json()["by_name"])]

    assert seen() == [["a", "b"]] * 2
    assert seen(host="evil.example") == [[], []]
    keys = {name: Keys(client.shops[name]).add("one", ["read"])[1] for name in BOTH}
    assert seen() == [[], []]
    assert seen(**bearer(keys["b"])) == [["b"]] * 2
    assert client.get("/healthz").json() == {"alive": True}


def test_keys_that_are_not_understood_and_a_busy_tenant_keep_the_others_from_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphrec.service.together._PATIENCE", 0.1)
    (client.shops["b"] / "keys.json").write_text("no keys")
    done = threading.Event()
    client.running["a"]._catalogue.submit(done.wait)  # a long import
    try:
        reply = client.get("/readyz").json()
    finally:
        done.set()
    assert (reply["by_name"], reply["tenants_ready"]) == ({"a": {"ready": False, "in_time": False}}, 1)
    assert client.get("/t/a/v1/trending").status_code == 200
    assert client.get("/t/b/v1/trending").status_code == 500


def test_each_has_its_own_rate_and_metrics(start: Callable[..., Client], shops: dict[str, Path]) -> None:
    settings = shops["a"] / "graphrec.toml"
    settings.write_text(settings.read_text() + '\n[serve]\nrate = "3/hour"\n')
    client = start()
    statuses = {name: [client.get(f"/t/{name}/v1/trending").status_code for _ in range(4)] for name in BOTH}
    assert statuses == {"a": [200, 200, 200, 429], "b": [200] * 4}
    page = client.get("/t/b/metrics").text
    ours = [line for line in page.splitlines() if line and not line.startswith("#")]
    assert all('tenant="b"' in line for line in ours)
    assert 'graphrec_lists_total{certified="false",question="trending",tenant="b"}' in page.replace("true", "false")
    assert 'tenant="a"' not in page


def test_pseudonyms_are_of_each_ones_own_secret(start: Callable[..., Client], shops: dict[str, Path]) -> None:
    for path in shops.values():
        (path / "graphrec.toml").write_text((path / "graphrec.toml").read_text() + "\n[serve]\npseudonyms = true\n")
    client = start()
    for name in BOTH:
        client.post(f"/t/{name}/v1/events", json=EVENT)
    told = [client.running[name].recommender.store.users()[-1] for name in BOTH]
    assert told[0] != told[1]
    assert "only-in-a" not in told


def test_one_that_fails_leaves_the_other_answering(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = client.running["b"]
    broken.follower.stop()
    broken.follower.followed = replace(broken.follower.followed, error="StoreError: the disk is away")
    monkeypatch.setattr(broken.recommender, "recommend", lambda *_, **__: (_ for _ in ()).throw(StoreError("away")))
    assert client.get("/t/b/v1/recommend?user=u1").status_code == 503
    assert client.get("/t/b/readyz").status_code == 503
    assert client.post("/t/a/v1/events", json=EVENT).json()["visible"]
    assert client.get("/t/a/v1/recommend?user=only-in-a").json()["personal"]
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["ready"], reply.json()["tenants_ready"]) == (200, False, 1)
    assert reply.json()["by_name"]["b"]["follower"] is False


def test_one_that_cannot_be_opened_leaves_the_other_answering(
    start: Callable[..., Client], shops: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    (shops["b"] / "events.db").write_bytes(b"not a database" * 1000)
    client = start()
    reply = client.get("/t/b/v1/trending")
    assert (reply.status_code, reply.json()["error"]["type"]) == (503, "Closed")
    assert "not a database" not in reply.text
    assert any("cannot be opened" in record.message for record in caplog.records)
    assert client.get("/t/a/v1/trending").status_code == 200
    assert client.get("/readyz").json()["by_name"]["b"] == {"ready": False, "open": False}
    shops["a"].joinpath("events.db").write_bytes(b"not a database" * 1000)
    with ExitStack() as stack, pytest.raises(StoreError):
        opened(stack, tenants_of([f"{name}={path}" for name, path in shops.items()], {}))


def test_one_that_does_not_start_leaves_the_other_answering(
    shops: dict[str, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        app = opened(stack, tenants_of([f"{name}={path}" for name, path in shops.items()], {}))
        broken = next(route.app for route in app.routes if getattr(route.app, "name", "") == "b").app.state.running
        monkeypatch.setattr(broken, "live", None)
        client = stack.enter_context(TestClient(app, base_url="http://localhost"))
        assert client.get("/t/b/v1/trending").status_code == 503
        assert client.get("/t/a/v1/trending").status_code == 200
    assert any("does not start" in record.message for record in caplog.records)


def test_settings_that_are_not_understood_are_refused_at_the_start(
    start: Callable[..., Client], shops: dict[str, Path]
) -> None:
    settings = shops["b"] / "graphrec.toml"
    kept = settings.read_text()
    settings.write_text(kept + '\n[schedule]\ntrain = "at noon"\n')
    with pytest.raises(ConfigError, match="when to train"):
        start()
    settings.write_text(kept + f'\n[store]\nurl = "sqlite:///{shops["a"]}/events.db"\n')
    with pytest.raises(ConfigError, match="one store"):
        start()


def test_log_lines_say_whose_they_are(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("graphrec")
    logger.addHandler(handler)
    try:
        caplog.set_level(logging.INFO, logger="graphrec")
        client.get("/t/a/v1/trending")
        client.get("/t/b/v1/version")
        shop = client.running["b"].recommender
        monkeypatch.setattr(shop, "refresh", lambda **_: (_ for _ in ()).throw(StoreError("away")))
        client.running["b"].follower.wake()
        until(lambda: "following" in out.getvalue())
    finally:
        logger.removeHandler(handler)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["route"], line["tenant"]) for line in lines if "route" in line] == [
        ("/v1/trending", "a"),
        ("/v1/version", "b"),
    ]
    assert {line["tenant"] for line in lines if "following" in line["message"]} == {"b"}


def test_jobs_are_each_ones_own_and_models_are_made_one_at_a_time(client: Client) -> None:
    made = []

    def snapshot(workspace: Any, open_recommender: Any) -> Done:
        with open_recommender() as shop:
            made.append(shop.workspace.directory)
            with pytest.raises(BusyError), _in_turn(client.running["a"].recommender):
                pass
        return Done()

    runner = client.running["b"].jobs._asked
    runner._jobs = {**runner._jobs, "snapshot": snapshot}
    assert client.post("/t/b/v1/jobs/snapshot").status_code == 202
    until(lambda: not client.running["b"].jobs._thread.is_alive())
    assert made == [client.shops["b"]]
    runs = {name: client.get(f"/t/{name}/v1/jobs").json()["runs"] for name in BOTH}
    assert (runs["a"], [(run["job"], run["outcome"]) for run in runs["b"]]) == ([], [("snapshot", "done")])


def test_at_the_end_every_tenant_has_ended(shops: dict[str, Path]) -> None:
    with ExitStack() as stack:
        app = opened(stack, tenants_of([f"{name}={path}" for name, path in shops.items()], {}))
        with TestClient(app, base_url="http://localhost") as client:
            places = [route.app for route in app.routes if hasattr(route.app, "name")]
            running = [place.app.state.running for place in places]
            assert client.post("/t/b/v1/events?wait=false", json=EVENT).json()["accepted"] == 1
            assert [one.commit.alive for one in running] == [True, True]
        assert [one.commit.alive for one in running] == [False, False]


def test_one_with_a_name_is_a_tenant(shop: Path) -> None:
    with ExitStack() as stack:
        app = opened(stack, tenants_of([f"a={shop}"], {}))
        client = stack.enter_context(TestClient(app, base_url="http://localhost"))
        assert client.get("/t/a/v1/trending").status_code == 200
        assert client.get("/v1/trending").status_code == 404
