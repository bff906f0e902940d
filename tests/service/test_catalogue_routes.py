"""Items and users over HTTP: written, read, withdrawn, and in the answers."""

from __future__ import annotations


def found(client, text: str = "red garden flower pot") -> list[str]:
    return [entry["item"] for entry in client.ask("/v1/search", text=text, k=40)["items"]]


def test_a_new_item_is_found_by_its_text(client) -> None:
    reply = client.put("/v1/items", json={"id": "i99", "text": "purple submarine", "attributes": {"colour": "purple"}})
    assert reply.json() == {"added": 1, "changed": 0, "unchanged": 0, "visible": True}
    assert found(client, "purple submarine")[0] == "i99"
    assert client.ask("/v1/items", item="i99") == {
        "item": "i99",
        "title": "",
        "text": "purple submarine",
        "attributes": {"colour": "purple"},
        "users": 0,
        "withdrawn": False,
    }


def test_a_withdrawn_item_is_shown_to_nobody_until_it_is_written_again(client) -> None:
    questions = [("recommend", {"user": "u0", "k": 40}), ("trending", {"k": 40}), ("similar", {"item": "i4", "k": 40})]

    def shown() -> list[bool]:
        lists = [client.ask(f"/v1/{name}", **asked)["items"] for name, asked in questions]
        lists.append(client.ask("/v1/recommend", user="u0", k=40, include_seen=True)["items"])
        return [any(entry["item"] == "i2" for entry in items) for items in lists] + ["i2" in found(client)]

    before = shown()
    assert before[1:] == [True] * 4
    kept = client.ask("/v1/items", item="i2")
    assert client.delete("/v1/items?item=i2").json()["changed"] == 1
    assert shown() == [False] * 5
    assert client.ask("/v1/items", item="i2") == {**kept, "withdrawn": True, "attributes": {"withdrawn": True}}
    client.put("/v1/items", json={"id": "i2", "title": kept["title"], "text": kept["text"]})
    assert shown() == before


def test_items_are_listed_some_at_a_time(client) -> None:
    first = client.ask("/v1/items/page", limit=25)
    second = client.ask("/v1/items/page", limit=25, after=first["next"])
    assert second["next"] is None
    assert first["items"] + second["items"] == client.running.recommender.store.items()
    assert client.ask("/v1/items/page", after=1000) == {"items": [], "next": None}


def test_users_are_written_and_read(client) -> None:
    rows = [{"id": "u1", "attributes": {"country": "UK"}}, {"id": "new"}]
    assert client.put("/v1/users", json=rows).json() == {"added": 1, "changed": 1, "unchanged": 0, "visible": True}
    assert client.ask("/v1/users", user="u1") == {"user": "u1", "attributes": {"country": "UK"}}
    assert client.ask("/v1/profile", user="u1")["attributes"] == {"country": "UK"}
    assert client.put("/v1/users", json={"id": "u1"}).json()["changed"] == 1  # as a whole: so it is emptied
    assert client.ask("/v1/users", user="u1")["attributes"] == {}
    assert client.ask("/v1/profile", user="u1")["items"] > 0


def test_a_user_who_is_deleted_is_forgotten(start) -> None:
    client = start(wait_seconds=20)
    store = client.running.recommender.store
    events, offset = store.counts().events, store.offset
    listed = client.get("/v1/recommend?user=u1").headers["x-impression-id"]
    history = client.ask("/v1/profile", user="u1")["items"]
    reply = client.delete("/v1/users?user=u1").json()
    assert (reply["visible"], reply["notes"], reply["events"] >= history > 0) == (True, 1, True)
    assert (store.counts().events, store.offset) == (events - reply["events"], offset)
    assert client.ask("/v1/profile", user="u1")["known"] is False
    assert client.get("/v1/users?user=u1").status_code == 404
    assert client.delete("/v1/users?user=u1").status_code == 404
    assert "unknown user" in client.ask("/v1/recommend", user="u1")["note"]
    told = {"impression": listed, "item": "i1", "kind": "click"}
    assert client.post("/v1/feedback", json=told).status_code == 404
    event = {"user": "u1", "item": "i3", "timestamp": 1_710_000_000}
    assert client.post("/v1/events", json=event).json()["visible"]
    assert client.ask("/v1/profile", user="u1")["items"] == 1
    assert (client.ask("/v1/version")["generation"], client.ask("/v1/version")["offset"]) == (1, offset + 1)


def test_a_user_is_forgotten_by_the_name_that_the_log_has(start) -> None:
    client = start(pseudonyms=True, wait_seconds=20)
    client.post("/v1/events", json={"user": "ann", "item": "i3", "timestamp": 1_710_000_000})
    assert client.delete("/v1/users?user=ann").json()["events"] == 1
    assert not client.ask("/v1/profile", user="ann")["known"]


def test_what_is_not_there_or_cannot_be_kept(start) -> None:
    client = start(batch=2)
    for method, path in (("GET", "items?item=x"), ("DELETE", "items?item=x"), ("GET", "users?user=x")):
        assert client.request(method, f"/v1/{path}").status_code == 404
    assert client.delete("/v1/users?user=x").status_code == 404
    assert client.put("/v1/items", json=[{"id": "a"}] * 3).status_code == 422
    assert client.put("/v1/items", json={"id": "a", "title": "nul \0"}).status_code == 422
    assert client.put("/v1/items", json={"id": "a", "path": "/etc/passwd"}).status_code == 422
    assert client.put("/v1/users", json={"id": "a", "attributes": {"x": [1]}}).status_code == 422
