"""Generations, jobs, quarantine and figures over HTTP do what the command line does, for whoever has the key."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from graphrec.events.quarantine import Rejection
from graphrec.recommender import Recommender
from graphrec.service.app import create_app
from graphrec.service.keys import Keys
from graphrec.service.prequential import K

READS = ["generations", "jobs", "quarantine", "live", "drift", "frequent"]
CHANGES = ["generations/rollback", "generations/1/publish", "jobs/prune", "drift"]
EVENTS = [{"user": "u1", "item": f"i{n}", "timestamp": 1_710_000_000 + n} for n in range(12)]


def ended(client) -> dict:
    """The newest run, once it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = client.ask("/v1/jobs")["runs"]
        if runs and runs[0]["outcome"] != "running":
            return runs[0]
        time.sleep(0.02)
    raise AssertionError("the job did not end")


def test_all_of_it_is_for_administrators(client, shop: Path) -> None:
    keys = {scope: Keys(shop).add(scope, [scope])[1] for scope in ("read", "write")}
    for method, paths in (("GET", READS), ("POST", CHANGES)):
        for path in paths:
            assert client.request(method, f"/v1/{path}").status_code == 401
            for key in keys.values():
                reply = client.request(method, f"/v1/{path}", headers={"x-api-key": key})
                assert reply.status_code == 403, path
    assert client.running.recommender.generation == 1


def test_a_page_of_another_origin_changes_nothing(client) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        reply = client.post("/v1/jobs/prune", headers={"origin": origin})
        assert (reply.status_code, reply.json()["error"]["type"]) == (403, "Refused")
        assert client.post("/v1/events", json=EVENTS[0], headers={"origin": origin}).status_code == 403
    assert client.post("/v1/events", json=EVENTS[0], headers={"origin": "http://localhost"}).status_code == 200
    assert client.running.recommender.store.offset == 701


def test_origins_that_are_named_may_change(start) -> None:
    client = start(origins=("https://shop.example",))
    headers = {"origin": "https://shop.example"}
    assert client.post("/v1/events", json=EVENTS[0], headers=headers).status_code == 200


def test_a_job_makes_a_generation_and_rollback_gives_the_old_lists_again(client) -> None:
    assert client.ask("/v1/generations")["live"] == 1
    assert client.post("/v1/generations/rollback").status_code == 409
    first = client.running.recommender.recommend("u1", K).ids()
    assert client.post("/v1/jobs/rebuild").status_code == 202
    run = ended(client)
    assert (run["job"], run["outcome"], run["generation"]) == ("rebuild", "done", 2)
    found = client.ask("/v1/generations")
    assert [(one["number"], one["state"], one["made_by"]) for one in found["generations"]] == [
        (2, "live", "rebuild"),
        (1, "kept", "train"),
    ]
    assert client.post("/v1/generations/rollback").json() == {"generation": 1, "made_by": "train"}
    assert client.running.recommender.recommend("u1", K).ids() == first
    states = {one["number"]: one["state"] for one in client.ask("/v1/generations")["generations"]}
    assert states == {1: "live", 2: "aside"}
    assert client.post("/v1/generations/2/publish").json()["generation"] == 2
    assert client.running.recommender.generation == 2
    assert client.post("/v1/generations/7/publish").status_code == 409
    assert client.post("/v1/generations/rollback?to=5").status_code == 409


def test_one_job_at_a_time_and_only_those_there_are(client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.post("/v1/jobs/dance").status_code == 422
    monkeypatch.setattr(client.running.jobs, "begin", lambda job: False)
    reply = client.post("/v1/jobs/train")
    assert (reply.status_code, reply.json()["error"]["problem"]) == (409, "a job runs already")


def test_what_the_gate_said_stands_beside_its_generation(client) -> None:
    log = client.running.recommender.gate_log
    log.append({"at": "2026-01-01T00:00:00+00:00", "verdict": "publish", "generation": 1, "report": {"reasons": []}})
    log.append({"at": "2026-01-02T00:00:00+00:00", "verdict": "reject", "generation": None, "report": {}})
    found = client.ask("/v1/generations")
    assert found["generations"][0]["gate"]["verdict"] == "publish"
    assert [row["verdict"] for row in found["rejected"]] == ["reject"]


def test_schedules_run_inside_the_service_unless_they_are_turned_off(start, shop: Path) -> None:
    settings = shop / "graphrec.toml"
    settings.write_text(f'{settings.read_text()}\n[schedule]\nprune = "every 1 second"\n')
    quiet = start(schedule=False)
    assert [entry["job"] for entry in quiet.ask("/v1/jobs")["schedule"]] == ["prune"]
    assert quiet.ask("/v1/jobs")["leader"] is None
    client = start()
    run = ended(client)
    assert (run["job"], run["outcome"]) == ("prune", "done")
    assert client.ask("/v1/jobs")["leader"]["state"] == "working"


def test_the_quarantine_is_shown_newest_first(client) -> None:
    assert client.ask("/v1/quarantine") == {"files": [], "rows": []}
    kept = client.running.recommender.workspace.quarantine
    with kept.writing("a.csv") as writer:
        writer.add(Rejection("a.csv", line, "user", "text", "nothing", "row") for line in range(2, 90))
    found = client.ask("/v1/quarantine")
    assert [row["line"] for row in found["rows"]] == list(range(89, 39, -1))
    assert found["files"][0]["name"] == kept.path("a.csv").name


def test_live_points_come_once(client) -> None:
    live = client.running.live
    for kind in live._kinds.values():
        kind.period = 0.0
    live.look()
    client.get("/v1/recommend?user=u1")
    client.post("/v1/events", json=EVENTS)
    live.look()
    found = client.ask("/v1/live")
    assert sum(point["events"] > 0 for point in found["seconds"]) >= 1
    assert any(point["p99"] for point in found["seconds"])
    assert any(point["certified"] == 1 for point in found["seconds"])
    newest = found["seconds"][-1]["at"]
    later = client.ask("/v1/live", since=newest, minutes_since=found["now"] + 60)
    assert all(point["at"] > newest for point in later["seconds"])
    assert later["minutes"] == []


def test_drift_is_measured_when_asked_and_kept(client) -> None:
    assert client.ask("/v1/drift") == {"measured": []}
    client.post("/v1/events", json=EVENTS)
    measured = client.post("/v1/drift").json()
    assert (measured["generation"], measured["new_events"]) == (1, 12)
    assert measured["vector_move"] > 0
    assert client.ask("/v1/drift")["measured"] == [measured]


def test_what_is_called_for_is_told_to_whoever_asks(start, shop: Path) -> None:
    settings = shop / "graphrec.toml"
    settings.write_text(f"{settings.read_text()}\n[trigger]\nevents = 3\nmin_hours = 0\n")
    client = start()
    assert "due" not in client.ask("/v1/jobs")
    client.post("/v1/events", json=EVENTS[:2])
    assert client.ask("/v1/jobs", due=True)["due"] == []
    client.post("/v1/events", json=EVENTS[2:3])
    (due,) = client.ask("/v1/jobs", due=True)["due"]
    assert (due["job"], due["reason"]) == ("update", "3 new events, due every 3")


def test_nothing_has_drifted_before_the_first_training(tmp_path: Path, word_encoder) -> None:
    with (
        Recommender.create(tmp_path / "empty") as recommender,
        TestClient(create_app(recommender), base_url="http://localhost") as client,
    ):
        assert client.post("/v1/drift").status_code == 409
        assert client.get("/v1/drift").json() == {"measured": []}
        assert client.get("/v1/generations").json()["generations"] == []


def test_frequent_users_have_the_most_items(client) -> None:
    shop = client.running.recommender
    users = client.ask("/v1/frequent", k=5)["users"]
    lengths = [shop.profile(user).items for user in users]
    most = sorted((shop.profile(user).items for user in shop.users), reverse=True)
    assert lengths == most[:5]
