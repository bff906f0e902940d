"""The feedback loop: a click goes back to its list, the list to its model, and the event into the log, once."""

from __future__ import annotations

LATE = 1_710_000_000


def shown(client, path: str = "/v1/recommend?user=u1&k=3") -> tuple[str, list[str]]:
    reply = client.get(path)
    return reply.headers["x-impression-id"], [entry["item"] for entry in reply.json()["items"]]


def rates(client) -> dict[str, dict]:
    client.running._rates = (0.0, [])
    return {rate["question"]: rate for rate in client.ask("/v1/feedback")["rates"]}


def test_a_click_joins_back_to_the_list_and_is_learned(client) -> None:
    impression, items = shown(client)
    shown(client)
    reply = client.post("/v1/feedback", json={"impression": impression, "item": items[1], "kind": "click"}).json()
    assert (reply["accepted"], reply["place"], reply["generation"], reply["visible"]) == (1, 2, 1, True)
    assert items[1] not in [entry["item"] for entry in client.ask("/v1/recommend", user="u1", k=3)["items"]]
    rate = rates(client)["recommend"]
    assert (rate["generation"], rate["lists"], rate["ctr"], rate["cvr"]) == (1, 3, 1 / 3, 0)


def test_the_same_click_again_changes_nothing(client) -> None:
    impression, items = shown(client)
    click = {"impression": impression, "item": items[0], "kind": "click"}
    first, second = (client.post("/v1/feedback", json=click).json() for _ in range(2))
    assert (first["accepted"], second["accepted"], second["duplicates"]) == (1, 0, 1)
    client.post("/v1/feedback", json={**click, "kind": "purchase"})
    rate = rates(client)["recommend"]
    assert rate["chosen"] == {"click": 1, "purchase": 1}
    assert rate["cvr"] == 1.0


def test_an_event_with_the_id_of_a_list_counts_as_well(client) -> None:
    impression, items = shown(client, "/v1/trending?k=3")
    event = {"user": "u1", "item": items[0], "kind": "click", "timestamp": LATE, "impression": impression}
    client.post("/v1/events", json=[event, {**event, "kind": "stare"}])
    assert rates(client)["trending"]["chosen"] == {"click": 1}


def test_what_was_not_shown_is_refused(client) -> None:
    impression, items = shown(client)
    absent = client.post("/v1/feedback", json={"impression": "0" * 24, "item": items[0], "kind": "click"})
    other = client.post("/v1/feedback", json={"impression": impression, "item": "i-other", "kind": "click"})
    unknown = client.post("/v1/feedback", json={"impression": impression, "item": items[0], "kind": "stare"})
    assert [reply.status_code for reply in (absent, other, unknown)] == [404, 422, 422]
    assert client.running.recommender.store.offset == 700


def test_a_list_for_nobody_needs_a_user(client) -> None:
    impression, items = shown(client, "/v1/similar?item=i3&k=3")
    click = {"impression": impression, "item": items[0], "kind": "click"}
    assert client.post("/v1/feedback", json=click).status_code == 422
    assert client.post("/v1/feedback", json={**click, "user": "u1"}).json()["accepted"] == 1


def test_lists_are_kept_only_where_that_is_wanted(start) -> None:
    client = start()
    assert "x-impression-id" not in client.get("/v1/recommend?user=u1&impression=false").headers
    assert rates(client) == {}
    assert "x-impression-id" not in start(impressions=False).get("/v1/recommend?user=u1").headers
