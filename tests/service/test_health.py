"""Health, status and metrics tell how things stand; the alerts watch metrics that there are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import yaml
from fastapi.testclient import TestClient

from graphrec import __version__
from graphrec.service.app import create_app

ROOT = Path(__file__).parents[2]
EVENT = {"user": "u1", "item": "i0", "timestamp": 1_710_000_000}


def samples(client) -> dict[str, float]:
    """Every line of the metrics page: name with labels -> value."""
    lines = client.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_ready_only_while_store_writer_and_follower_work(client) -> None:
    assert client.get("/readyz").json() == {"ready": True, "store": True, "writer": True, "follower": True}
    follower = client.running.follower
    follower.stop()
    follower.followed = replace(follower.followed, error="StoreError: the disk is away")
    reply = client.get("/readyz")
    assert (reply.status_code, reply.json()["follower"]) == (503, False)
    assert client.get("/healthz").status_code == 200


def test_version_and_status(client) -> None:
    assert client.ask("/v1/version") == {"version": __version__, "generation": 1, "offset": 700}
    status = client.ask("/v1/status")
    assert {**client.running.recommender.status().to_dict(), "bytes_on_disk": 0} == {
        **{name: status[name] for name in client.running.recommender.status().to_dict()},
        "bytes_on_disk": 0,
    }
    assert (status["backlog"], status["followed"]["error"], status["index"]["items"]) == (0, None, 40)


def test_metrics_move_with_what_happens(client) -> None:
    client.get("/v1/recommend?user=u1")
    client.post("/v1/events", json=[EVENT, EVENT, {}])
    impression = client.get("/v1/recommend?user=u1").headers["x-impression-id"]
    item = client.ask("/v1/recommend", user="u1", k=1)["items"][0]["item"]
    client.post("/v1/feedback", json={"impression": impression, "item": item, "kind": "click"})
    client.get("/secret/u17?user=u17")
    found = samples(client)
    assert found['graphrec_http_requests_total{method="GET",route="/v1/recommend",status="200"}'] == 3
    assert found['graphrec_events_total{outcome="accepted"}'] == 2
    assert found['graphrec_events_total{outcome="duplicate"}'] == 1
    assert found['graphrec_events_total{outcome="rejected"}'] == 1
    assert found['graphrec_lists_total{certified="true",question="recommend"}'] == 3
    assert found['graphrec_feedback_total{kind="click"}'] == 1
    assert found['graphrec_ctr{generation="1",question="recommend"}'] == 1 / 3
    assert (found["graphrec_offset"], found["graphrec_generation"], found["graphrec_backlog_events"]) == (702, 1, 0)
    assert found["graphrec_freshness_seconds_count"] >= 2
    assert found["graphrec_commit_seconds_count"] == 2
    assert found["graphrec_index_items"] == 40
    assert not any("u17" in name for name in found)


def test_every_metric_of_the_alerts_is_there_and_every_metric_is_documented(client) -> None:
    client.get("/v1/recommend?user=u1")
    text = client.get("/metrics").text
    there = set(re.findall(r"^# TYPE (\w+) ", text, flags=re.MULTILINE))
    alerts = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    used = set().union(*(re.findall(r"\bgraphrec_\w+", rule["expr"]) for rule in rules))
    assert used
    assert {name.removesuffix("_bucket") for name in used} <= there
    assert all(rule["annotations"]["summary"] for rule in rules)
    documented = (ROOT / "docs" / "service.md").read_text()
    ours = {name for name in there if name.startswith("graphrec_") and not name.endswith("_created")}
    assert [name for name in sorted(ours) if f"`{name}`" not in documented] == []


def test_pages_are_static_and_open(client, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("<h1>hello</h1>")
    app = create_app(client.running.recommender, pages=tmp_path / "pages")
    with TestClient(app, base_url="http://localhost") as pages:
        reply = pages.get("/ui/")
        assert (reply.status_code, reply.text) == (200, "<h1>hello</h1>")
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert pages.get("/ui/../keys.json").status_code == 404
        assert pages.get("/v1/trending").status_code == 200
