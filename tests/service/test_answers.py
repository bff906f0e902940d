"""The service answers what the command line answers, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphrec import cli

LATE = 1_710_000_000  # after everything in the world

QUESTIONS = [
    ("/v1/recommend?user=u1&k=5", ["recommend", "u1", "-k", "5"]),
    ("/v1/recommend?user=u1&k=5&exclude=i3&exclude=i39&include_seen=true", [
        "recommend", "u1", "-k", "5", "--exclude", "i3", "--exclude", "i39", "--include-seen",
    ]),
    ("/v1/recommend?user=nobody", ["recommend", "nobody"]),
    ("/v1/similar?item=i3&k=4", ["similar", "i3", "-k", "4"]),
    ("/v1/search?text=red%20pot&user=u1&k=4", ["search", "red pot", "--user", "u1", "-k", "4"]),
    ("/v1/search?text=red%20pot", ["search", "red pot"]),
    ("/v1/trending?k=3", ["trending", "-k", "3"]),
    ("/v1/explain?user=u1&item=i3", ["explain", "u1", "i3"]),
    ("/v1/profile?user=u1&k=3", ["profile", "u1", "-k", "3"]),
]  # fmt: skip


def said(shop: Path, arguments: list[str]) -> str:
    command, *rest = arguments
    result = CliRunner().invoke(cli.app, [command, str(shop), *rest, "--json"])
    return result.stdout


@pytest.mark.parametrize(("path", "arguments"), QUESTIONS, ids=lambda value: str(value)[:40])
def test_the_same_bytes_as_the_command_line(client, shop: Path, path: str, arguments: list[str]) -> None:
    assert client.get(path).text + "\n" == said(shop, arguments)


def test_the_same_error_as_the_command_line(client, shop: Path) -> None:
    reply = client.get("/v1/similar?item=none")
    assert reply.status_code == 404
    result = CliRunner().invoke(cli.app, ["similar", str(shop), "none", "--json"])
    error = reply.json()["error"]
    assert (error["type"], error["problem"]) == (type(result.exception).__name__, result.exception.problem)
    assert error["way_out"] == result.exception.way_out


def test_a_session_is_the_same_question_as_on_the_command_line(client, shop: Path) -> None:
    question = {"user": "nobody", "session": ["i1", {"item": "i3", "kind": "purchase"}], "k": 4}
    reply = client.post("/v1/recommend", json=question)
    assert reply.text + "\n" == said(
        shop, ["recommend", "nobody", "--session", "i1", "--session", "i3=purchase", "-k", "4"]
    )
    assert reply.json()["personal"]
    assert reply.json()["items"] != client.get("/v1/recommend?user=nobody&k=4").json()["items"]


def test_a_batch_is_the_lines_of_the_command_line(client, shop: Path) -> None:
    reply = client.post("/v1/recommend/batch", json={"users": ["u1", "nobody", "u2"], "k": 3})
    assert reply.text == said(shop, ["recommend", "u1", "nobody", "u2", "-k", "3"])
    assert reply.headers["content-type"].startswith("application/x-ndjson")


def test_an_answer_says_what_it_was_computed_from_and_how_long_it_took(client) -> None:
    reply = client.get("/v1/recommend?user=u1&k=3")
    body = reply.json()
    assert (body["generation"], body["offset"], body["certified"]) == (1, 700, True)
    parts = dict(part.strip().split(";dur=") for part in reply.headers["server-timing"].split(","))
    assert float(parts["answer"]) > 0
    assert float(parts["wait"]) >= 0
    assert len(reply.headers["x-impression-id"]) == 24


def test_limits_of_a_question(start) -> None:
    client = start(longest=5, users=2)
    assert client.get("/v1/recommend?user=u1&k=5").status_code == 200
    assert "too long" in client.get("/v1/recommend?user=u1&k=6").json()["error"]["problem"]
    assert client.post("/v1/recommend/batch", json={"users": ["a", "b", "c"]}).status_code == 422
    assert client.get("/v1/recommend?user=u1&k=0").status_code == 422
    assert client.get("/v1/recommend?user=").status_code == 422


def test_what_waits_too_long_is_refused(start) -> None:
    client = start(waiting=1, threads=1)
    client.running._asked = 2
    reply = client.get("/v1/recommend?user=u1")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    client.running._asked = 0
    assert client.get("/v1/recommend?user=u1").status_code == 200


def test_text_of_items_is_data_and_never_a_page(client) -> None:
    client.put("/v1/items", json={"id": "<b>", "title": "<script>alert(1)</script>", "text": "red garden pot"})
    reply = client.get("/v1/items", params={"item": "<b>"})
    assert reply.json()["title"] == "<script>alert(1)</script>"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"
