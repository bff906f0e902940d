"""An event that was acknowledged is durable, and in the next answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from graphrec.events.event import Event, table_of
from graphrec.service import events as events_module
from graphrec.workspace import Workspace

LATE = 1_710_000_000  # after everything in the world


def event(user: str = "u1", item: str = "i0", **more):
    return {"user": user, "item": item, "timestamp": LATE, **more}


def newest(client, user: str) -> str:
    return client.ask("/v1/profile", user=user, k=1)["newest"][0]["item"]


def test_an_event_is_in_the_next_answer(client) -> None:
    before = client.ask("/v1/recommend", user="new", k=5)
    assert not before["personal"]
    reply = client.post("/v1/events", json=event("new", "i3", kind="purchase"))
    assert reply.json() == {
        "read": 1,
        "accepted": 1,
        "duplicates": 0,
        "rejected": [],
        "repeated": [],
        "offset": 701,
        "visible": True,
    }
    after = client.ask("/v1/recommend", user="new", k=5)
    assert after["personal"]
    assert after["offset"] == 701
    assert newest(client, "new") == "i3"


def test_an_event_of_another_process_is_followed(client, shop: Path) -> None:
    with Workspace(shop).open_store() as elsewhere:
        elsewhere.append(table_of([Event("u1", "i0", timestamp=LATE)]))
    for _ in range(1000):
        if client.ask("/v1/version")["offset"] == 701:
            break
    assert newest(client, "u1") == "i0"


def test_without_waiting_the_reply_does_not_wait(start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(wait_seconds=0.05)
    hold = threading.Lock()
    refresh = client.running.recommender.refresh

    def held(*, patient: bool = False) -> int:
        with hold:
            return refresh(patient=patient)

    monkeypatch.setattr(client.running.recommender, "refresh", held)
    with hold:
        assert client.post("/v1/events?wait=false", json=event()).json()["visible"] is False
        timed_out = client.post("/v1/events", json=event("u2")).json()
        assert (timed_out["accepted"], timed_out["visible"]) == (1, False)
    assert client.post("/v1/events", json=event("u3")).json()["visible"] is True


def test_a_repeat_is_a_duplicate_and_bad_rows_come_back_with_reasons(client) -> None:
    rows = [event(), event(), event("u2", ""), event("u3", kind="stare"), event("u4")]
    reply = client.post("/v1/events", json=rows)
    body = reply.json()
    assert reply.status_code == 200
    assert (body["read"], body["accepted"], body["duplicates"], body["repeated"]) == (5, 2, 1, [2])
    assert [(one["row"], one["field"]) for one in body["rejected"]] == [(3, "item"), (4, "kind")]
    assert "purchase" in body["rejected"][1]["expected"]
    again = client.post("/v1/events", json=rows).json()
    assert (again["accepted"], again["duplicates"]) == (0, 3)


@pytest.mark.parametrize("body", [b"", b"{", b"17", b'["/etc/passwd"]', b'"file:///etc/passwd"', b"[" * 5000, b"\xff"])
def test_what_is_no_event_is_refused(client, body: bytes) -> None:
    reply = client.post("/v1/events", content=body)
    assert reply.status_code == 422
    assert "JSON" in reply.text or "understood" in reply.text
    assert client.running.recommender.store.offset == 700


def test_a_post_of_nothing_but_bad_rows_is_an_error(client) -> None:
    reply = client.post("/v1/events", json=[{"user": "u1"}])
    assert (reply.status_code, reply.json()["rejected"][0]["field"]) == (422, "item")


def test_bodies_and_batches_have_limits(start) -> None:
    client = start(body_bytes=400, batch=2)
    assert client.post("/v1/events", json=[event()] * 3).json()["error"]["expected"] == "at most 2"
    assert client.post("/v1/events", content=b" " * 401).status_code == 413

    def pieces():
        yield from [b" " * 100] * 10

    assert client.post("/v1/events", content=pieces()).status_code == 413
    assert client.post("/v1/events", json=event()).status_code == 200


def test_users_can_have_other_names_from_the_door_on(start) -> None:
    client = start(pseudonyms=True)
    client.post("/v1/events", json=[event("ann", "i3"), event("ann", "i5")])
    (name,) = client.running.recommender.store.users(60)
    assert name == client.running.pseudonyms.user("ann")
    found = client.ask("/v1/recommend", user="ann", k=3)
    assert (found["user"], found["personal"]) == (name, True)
    assert newest(client, "ann") == "i5"


def test_the_example_of_the_documentation_is_taken(client) -> None:
    assert client.post("/v1/events", json=events_module.EXAMPLE).json()["accepted"] == 1
