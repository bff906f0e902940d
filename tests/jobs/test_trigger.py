"""What is due is a function of facts, settings and the clock; each setting moves it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from graphrec import cli
from graphrec.events.event import Event
from graphrec.jobs.trigger import facts_of, what_is_due
from graphrec.operation_settings import TriggerSettings
from graphrec.recommender import Recommender
from graphrec.training.drift import Facts, Quality, quality
from graphrec.training.stretches import DAY, Stretch, stretches

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = TriggerSettings(events=1_000, age_days=7, least_events=100, min_hours=2)
QUIET = Facts(
    generation=3,
    events=50_000,
    new_events=500,
    made=NOW - timedelta(days=1),
    trained=NOW - timedelta(days=5),
    attempted=NOW - timedelta(hours=3),
    kinds_drift=0.01,
    vector_move=0.02,
    quality=Quality(0.30, 0.29, 200, 0.2),
)


def due(facts: Facts, settings: TriggerSettings = SETTINGS) -> list[str]:
    """Jobs and the first word that tells the reasons apart."""
    return [f"{job.job}: {job.reason}" for job in what_is_due(facts, settings, NOW)]


def test_nothing_is_due_when_nothing_has_happened() -> None:
    assert due(QUIET) == []
    assert due(replace(QUIET, new_events=0, made=NOW - timedelta(days=99))) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"new_events": 1_000}, "update: 1000 new events, due every 1000"),
        ({"made": NOW - timedelta(days=8)}, "update: generation 3 is 8.0 days old, at most 7"),
        ({"trained": NOW - timedelta(days=31)}, "train: trained from scratch 31.0 days ago, due after 30"),
        ({"kinds_drift": 0.2}, "update: the mix of kinds moved by 0.200 bits, limit 0.05"),
        ({"vector_move": 0.15}, "update: item vectors turned by 0.150 (1 - cosine), limit 0.1"),
        (
            {"quality": Quality(0.30, 0.15, 200, 3.6)},
            "update: hit@20 of next events fell from 0.300 to 0.150 (z = 3.6)",
        ),
    ],
)
def test_each_fact_alone_makes_it_due_and_says_why(change: dict[str, object], reason: str) -> None:
    assert due(replace(QUIET, **change)) == [reason]


def test_what_was_tried_in_vain_is_tried_again_when_as_much_has_come_anew() -> None:
    refused = replace(QUIET, new_events=1_400, tried=1_000, kinds_drift=0.2)
    assert due(replace(refused, new_events=1_000)) == []
    assert due(replace(refused, new_events=1_050)) == []  # too few for a drift
    assert due(refused) == ["update: the mix of kinds moved by 0.200 bits, limit 0.05"]
    assert due(replace(refused, new_events=2_000, kinds_drift=0.0)) == ["update: 1000 new events, due every 1000"]


def test_a_drift_of_a_few_events_is_chance() -> None:
    drifted = replace(QUIET, kinds_drift=0.9, new_events=50)
    assert due(drifted) == []
    assert due(drifted, SETTINGS.model_copy(update={"least_events": 50})) != []


def test_before_the_first_generation_training_is_due_once_there_are_events() -> None:
    nothing = Facts(generation=None, events=0, new_events=0)
    assert due(nothing) == []
    assert due(replace(nothing, events=40)) == ["train: no generation yet, 40 events"]


def test_the_rate_limit_says_from_when() -> None:
    ready = replace(QUIET, new_events=5_000)
    assert [job.not_before for job in what_is_due(ready, SETTINGS, NOW)] == [None]
    just = replace(ready, attempted=NOW - timedelta(minutes=30))
    (waiting,) = what_is_due(just, SETTINGS, NOW)
    assert waiting.not_before == NOW + timedelta(minutes=90)
    assert waiting.to_dict()["not_before"] == "2026-03-01T01:30:00+00:00"
    (free,) = what_is_due(just, SETTINGS.model_copy(update={"min_hours": 0.0}), NOW)
    assert free.not_before is None


def test_online_is_due_after_a_micro_batch() -> None:
    few = replace(QUIET, new_events=60)
    online = SETTINGS.model_copy(update={"mode": "online", "micro_batch": 50})
    assert due(few) == []
    assert due(few, online) == ["update: 60 new events, due every 50"]


OFFSETS = np.arange(1, 101)
TIMES = OFFSETS * DAY


def test_blocks_window_and_online_learn_from_different_events() -> None:
    def learned(**changes: object) -> list[Stretch]:
        return stretches(OFFSETS, TIMES, 70, SETTINGS.model_copy(update=changes))

    assert learned(mode="blocks") == [Stretch(70, 100)]
    assert learned(mode="window", window_days=45) == [Stretch(55, 100)]
    assert learned(mode="window", window_days=1000) == [Stretch(0, 100)]
    assert learned(mode="online", micro_batch=12) == [Stretch(70, 82), Stretch(82, 94), Stretch(94, 100)]
    assert learned(mode="online", micro_batch=500) == [Stretch(70, 100)]


@given(
    n=st.integers(1, 80),
    absorbed=st.integers(0, 80),
    step=st.integers(1, 30),
    mode=st.sampled_from(["blocks", "online"]),
)
def test_every_new_event_is_learned_once(n: int, absorbed: int, step: int, mode: str) -> None:
    settings = SETTINGS.model_copy(update={"mode": mode, "micro_batch": step})
    found = stretches(OFFSETS[:n], TIMES[:n], absorbed, settings)
    covered = [offset for each in found for offset in range(each.after + 1, each.until + 1)]
    assert covered == list(range(absorbed + 1, n + 1))


def test_quality_compares_the_first_answers_with_the_newest() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.random(300) < 0.4, rng.random(300) < 0.1
    fallen = quality(np.concatenate([good, bad]), 200)
    assert fallen is not None
    assert fallen.z > 5
    assert fallen.at_first > 0.3 > fallen.lately
    steady = quality(rng.random(600) < 0.4, 200)
    assert steady is not None
    assert abs(steady.z) < 3
    assert quality(good, 200) is None
    assert quality(np.zeros(400, np.bool_), 200) == Quality(0, 0, 200, 0)


# -- facts of a workspace ---------------------------------------------------------------------------------------------

TRIGGER = "[trigger]\nleast_events = 100\nquality_window = 60\nquestions = 200\nmin_hours = 0\n"


@pytest.fixture
def watched(shop: Path) -> Path:
    with (shop / "graphrec.toml").open("a") as file:
        file.write(TRIGGER)
    return shop


def test_a_world_that_goes_on_as_before_is_not_due(watched: Path, world) -> None:
    with Recommender.open(watched) as recommender:
        recommender.ingest(world.events[700:])
        facts = facts_of(recommender)
        assert (facts.generation, facts.new_events) == (1, 200)
        assert facts.kinds_drift is not None
        assert facts.kinds_drift < 0.01
        assert facts.vector_move is not None
        assert 0 < facts.vector_move < 0.1
        assert recommender.offset == 900
        before = recommender.recommend("u1", 5).ids()
        facts_of(recommender)
        assert recommender.recommend("u1", 5).ids() == before


def test_other_kinds_and_other_taste_are_noticed(watched: Path, world) -> None:
    """Everybody's taste turns round in the second half of what is new, and people buy instead of looking."""
    events = list(world.events[700:])
    start = events[-1].timestamp
    rng = np.random.default_rng(0)
    for n in range(300):
        user = int(rng.integers(60))
        events.append(Event(f"u{user}", f"i{2 * int(rng.integers(20)) + (user + 1) % 2}", "cart", timestamp=start + n))
    with Recommender.open(watched) as recommender:
        recommender.ingest(world.events[700:])
        calm = facts_of(recommender)
        recommender.ingest(events[200:])
        turned = facts_of(recommender)
    assert turned.kinds_drift > 0.2 > calm.kinds_drift
    assert turned.vector_move > 2 * calm.vector_move
    assert turned.quality.lately < turned.quality.at_first


def test_status_prints_what_is_due_and_why(watched: Path) -> None:
    runner = CliRunner()
    assert json.loads(runner.invoke(cli.app, ["status", str(watched), "--json"]).stdout)["due"] == []
    with Recommender.open(watched) as recommender:
        recommender.ingest([Event(f"u{n % 60}", f"i{n % 40}", "cart", timestamp=1_710_000_000 + n) for n in range(150)])
    (job, *_) = json.loads(runner.invoke(cli.app, ["status", str(watched), "--json"]).stdout)["due"]
    assert job["job"] == "update"
    assert "mix of kinds" in job["reason"]
    assert "due                  update: the mix of kinds" in runner.invoke(cli.app, ["status", str(watched)]).stdout


def test_a_snapshot_and_a_rebuild_are_no_new_model_for_the_rate_limit(watched: Path) -> None:
    with Recommender.open(watched) as recommender:
        before = facts_of(recommender, measure=False)
        recommender.ingest([Event("u1", "i1", timestamp=1_710_000_000)])
        recommender.snapshot()
        recommender.rebuild()
        assert facts_of(recommender, measure=False).attempted == before.attempted is not None
        recommender.ingest([Event("u2", "i1", timestamp=1_710_000_001)])
        recommender.update()
        assert facts_of(recommender, measure=False).attempted > before.attempted


def test_a_rejected_candidate_counts_for_the_rate_limit(watched: Path) -> None:
    with Recommender.open(watched) as recommender:
        recommender.gate_log.append({"at": "2999-01-01T00:00:00+00:00", "verdict": "reject"})
        facts = facts_of(recommender, measure=False)
        assert facts.attempted is not None
        assert (facts.attempted.year, facts.tried) == (2999, 0)
        recommender.ingest([Event("u1", "i1", timestamp=1_710_000_000)])
        recommender.gate_log.append({"at": "2999-01-01T00:00:00+00:00", "verdict": "hold", "offset": 701})
        assert facts_of(recommender, measure=False).tried == 1
        recommender.gate_log.append({"at": "2999-01-01T00:00:00+00:00", "verdict": "publish", "offset": 701})
        assert facts_of(recommender, measure=False).tried == 0
