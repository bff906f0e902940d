"""The door: keys, scopes, rates, hosts and headers; and that nothing secret is written anywhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from graphrec.service.keys import Keys
from graphrec.service.logs import JsonLines

EVENT = {"user": "u1", "item": "i0", "timestamp": 1_710_000_000}
OPEN = ["/healthz", "/readyz", "/v1/version", "/openapi.json"]
READ = ["/v1/recommend?user=u1", "/v1/similar?item=i1", "/v1/trending", "/v1/items?item=i1", "/metrics", "/v1/feedback"]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_keys_only_this_machine_may_ask(client) -> None:
    assert client.get("/v1/trending").status_code == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "testserver", ""):
        assert client.get("/v1/trending", headers={"host": host}).status_code == 403
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/v1/trending", headers={"host": host}).status_code == 200


def test_each_scope_opens_its_own_and_health_is_open(client, shop: Path) -> None:
    keys = {scope: Keys(shop).add(scope, [scope])[1] for scope in ("read", "write", "admin")}
    for path in OPEN:
        assert client.get(path).status_code == 200
    for path in READ:
        assert client.get(path).status_code == 401
        opened = {scope: client.get(path, headers=bearer(key)).status_code for scope, key in keys.items()}
        assert opened == {"read": 200, "write": 403, "admin": 200}
    batch = {"users": ["u1"]}
    assert client.post("/v1/recommend/batch", json=batch, headers=bearer(keys["read"])).status_code == 200
    for scope, status in (("read", 403), ("write", 200), ("admin", 200)):
        assert client.post("/v1/events", json=EVENT, headers=bearer(keys[scope])).status_code == status
        assert client.put("/v1/items", json={"id": "a"}, headers={"x-api-key": keys[scope]}).status_code == status
    statuses = [client.get("/v1/status", headers=bearer(keys[scope])).status_code for scope in keys]
    assert statuses == [403, 403, 200]
    forgetting = [client.delete("/v1/users?user=u1", headers=bearer(keys[scope])).status_code for scope in keys]
    assert forgetting == [403, 403, 200]
    assert client.get("/nothing").status_code == 401
    assert client.get("/nothing", headers=bearer(keys["read"])).status_code == 404


def test_a_key_that_was_revoked_or_never_made_opens_nothing(client, shop: Path) -> None:
    kept, key = Keys(shop).add("one", ["admin"])
    assert client.get("/v1/trending", headers=bearer(key)).status_code == 200
    for wrong in (key[:-1], "x", f"gr_{kept.id}_"):
        reply = client.get("/v1/trending", headers=bearer(wrong))
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    Keys(shop).revoke(kept.id)
    Keys(shop).add("other", ["read"])
    assert client.get("/v1/trending", headers=bearer(key)).status_code == 401


def test_bound_elsewhere_nobody_may_ask_once_the_last_key_is_revoked(start, shop: Path) -> None:
    kept, key = Keys(shop).add("one", ["read"])
    client = start(host="0.0.0.0")
    assert client.get("/v1/trending", headers=bearer(key)).status_code == 200
    Keys(shop).revoke(kept.id)
    for host in ("localhost", "127.0.0.1", "shop.example"):
        for headers in ({"host": host}, {"host": host, **bearer(key)}):
            assert client.get("/v1/trending", headers=headers).status_code == 403


def test_a_stranger_is_refused_before_the_body_is_read(client, shop: Path) -> None:
    Keys(shop).add("one", ["admin"])
    taken = 0

    def pieces():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b" " * 1000

    assert client.post("/v1/events", content=pieces()).status_code == 401
    assert client.running.recommender.store.offset == 700


def test_a_key_has_a_rate_of_its_own(start, shop: Path) -> None:
    client = start(rate="2/hour")
    one, other = (Keys(shop).add(name, ["read"])[1] for name in ("one", "other"))
    statuses = [client.get("/v1/trending", headers=bearer(one)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert int(client.get("/v1/trending", headers=bearer(one)).headers["retry-after"]) > 0
    assert client.get("/v1/trending", headers=bearer(other)).status_code == 200


def test_every_reply_carries_the_headers_and_a_request_id(client) -> None:
    for reply in (
        client.get("/v1/trending"),
        client.get("/nothing"),
        client.get("/v1/trending", headers={"host": "x"}),
    ):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in reply.headers["content-security-policy"]
        assert "access-control-allow-origin" not in reply.headers
        assert len(reply.headers["x-request-id"]) == 16
    assert client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/healthz", headers={"x-request-id": "no spaces"}).headers["x-request-id"] != "no spaces"


def test_other_origins_are_let_in_by_name_only(start) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
    assert "access-control-allow-origin" not in start().options("/v1/trending", headers=asked).headers
    client = start(origins=("https://shop.example",))
    assert client.options("/v1/trending", headers=asked).headers["access-control-allow-origin"] == asked["origin"]
    other = client.get("/v1/trending", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_browser_asks_for_leave_without_a_key_and_for_data_with_one(start, shop: Path) -> None:
    client = start(origins=("https://shop.example",))
    _, key = Keys(shop).add("front", ["read"])
    origin = {"origin": "https://shop.example"}
    leave = client.options("/v1/trending", headers={**origin, "access-control-request-method": "GET"})
    assert (leave.status_code, leave.headers["access-control-allow-origin"]) == (200, origin["origin"])
    assert client.get("/v1/trending", headers=origin).status_code == 401
    assert client.get("/v1/trending", headers={**origin, **bearer(key)}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/../keys.json", "/ui/../keys.json", "/%2e%2e/keys.json", "/v1/items?item=../keys.json"]
)
def test_no_path_leads_to_a_file(client, shop: Path, path: str) -> None:
    Keys(shop).add("one", ["read"])
    for reply in (client.get(path), client.get(path, headers={"x-api-key": "x"})):
        assert reply.status_code in (401, 404)
        assert "hash" not in reply.text


def test_an_error_does_not_repeat_what_was_sent(client) -> None:
    reply = client.post("/v1/recommend", json={"user": ["a-secret"] * 50, "session": 1})
    assert reply.status_code == 422
    assert "a-secret" not in reply.text


def test_log_lines_are_json_and_name_no_key_and_no_user(client, shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, key = Keys(shop).add("one", ["admin"])
    with caplog.at_level(logging.INFO, logger="graphrec"):
        client.get("/v1/recommend?user=u17&k=3", headers={**bearer(key), "x-request-id": "r-1"})
        client.get("/v1/profile?user=u17", headers=bearer(key))
        client.get(f"/v1/recommend?user=u17&key={key}", headers=bearer("wrong"))
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "graphrec.access"]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/v1/recommend", 200),
        ("/v1/profile", 200),
        ("other", 401),
    ]
    assert lines[0]["request_id"] == "r-1"
    assert lines[0]["user"] == lines[1]["user"] == client.running.pseudonyms.mask("u17")
    text = json.dumps(lines)
    assert "u17" not in text
    assert key not in text
    assert key.rpartition("_")[2] not in text


def test_a_traceback_stays_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        import sys

        record = logging.LogRecord("graphrec", logging.ERROR, "", 0, "it %s", ("broke",), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "it broke"
    assert "ValueError" in json.loads(line)["traceback"]
