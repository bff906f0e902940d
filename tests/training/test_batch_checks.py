"""Each check of a batch finds the poison it is for, and lets a batch like those before pass."""

from __future__ import annotations

import numpy as np
import pytest

from graphrec.evaluation.poisoned import POISONS
from graphrec.events.interactions import Interactions
from graphrec.operation_settings import GateSettings
from graphrec.training.batch_checks import batch_findings, coherence, divergence

SETTINGS = GateSettings()
SINCE = 6_000
FINDS = {
    "shuffled": "nearness of users to their new items",
    "flipped": "drift of the kinds, bits",
    "flooded": "one item's share of the events",
    "bot": "one user's share of the events",
    "pushed": "one item's share of the events",
}


@pytest.fixture(scope="module")
def log() -> Interactions:
    """8,000 events of 400 users in ten groups of taste, one in fifty a return."""
    rng = np.random.default_rng(3)
    users = rng.integers(400, size=8_000)
    groups = np.where(rng.random(8_000) < 0.85, users % 10, rng.integers(10, size=8_000))
    items = 10 * np.minimum(rng.exponential(12.0, 8_000).astype(int), 39) + groups
    kinds = (rng.random(8_000) < 0.02).astype(np.int16)
    times = np.arange(8_000, dtype=np.int64) * 60_000_000
    weights = np.where(kinds == 1, -5.0, 5.0)
    return Interactions(
        users.astype(np.int32), items.astype(np.int32), times, weights, 400, 400, kinds, ("purchase", "return")
    )


def arrived(log: Interactions, batch: Interactions) -> Interactions:
    """The log's beginning, then a batch."""
    joined = log.take(slice(SINCE)).joined(batch)
    kinds = np.concatenate([log.kinds[:SINCE], batch.kinds])
    return Interactions(joined.users, joined.items, joined.timestamps, joined.weights, 400, 400, kinds, log.kind_names)


def failed(log: Interactions, settings: GateSettings = SETTINGS) -> set[str]:
    return {finding.name for finding in batch_findings(log, SINCE, settings) if not finding.passed}


def test_a_batch_like_those_before_passes_every_check(log: Interactions) -> None:
    findings = batch_findings(log, SINCE, SETTINGS)
    assert {finding.name for finding in findings} >= set(FINDS.values())
    assert failed(log) == set()


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_each_poison_is_found_by_its_check(log: Interactions, poison: str, strength: float) -> None:
    batch = POISONS[poison](log.take(slice(SINCE, None)), strength, np.random.default_rng(0))
    assert FINDS[poison] in failed(arrived(log, batch))


def test_shuffling_items_leaves_every_other_figure_as_it_was(log: Interactions) -> None:
    batch = POISONS["shuffled"](log.take(slice(SINCE, None)), 1.0, np.random.default_rng(0))
    assert failed(arrived(log, batch)) == {FINDS["shuffled"]}
    assert sorted(batch.items) == sorted(log.items[SINCE:])


def test_a_wider_limit_lets_the_same_flood_pass(log: Interactions) -> None:
    batch = POISONS["flooded"](log.take(slice(SINCE, None)), 0.3, np.random.default_rng(0))
    name = FINDS["flooded"]
    assert name in failed(arrived(log, batch))
    assert name not in failed(arrived(log, batch), GateSettings(concentration=50.0))


def test_made_up_accounts_are_found_where_few_are_usual(log: Interactions) -> None:
    batch = log.take(slice(SINCE, None))
    grown = Interactions(
        np.append(log.users[:SINCE], batch.users + 400).astype(np.int32),
        log.items,
        log.timestamps,
        log.weights,
        800,
        400,
        log.kinds,
        log.kind_names,
    )
    assert "new users' share of the events" in failed(grown)


def test_coherence_is_a_half_where_events_mean_nothing(log: Interactions) -> None:
    real = coherence(log, SINCE, 8_000, np.random.default_rng(0))
    batch = POISONS["shuffled"](log.take(slice(SINCE, None)), 1.0, np.random.default_rng(0))
    assert real is not None
    assert real[0] > 0.7
    dealt = coherence(arrived(log, batch), SINCE, 8_000, np.random.default_rng(0))
    assert dealt is not None
    assert dealt[0] == pytest.approx(0.5, abs=0.03)
    assert abs(dealt[0] - 0.5) < 3 * dealt[1]


def test_nothing_is_said_without_a_history(log: Interactions) -> None:
    assert batch_findings(log.take(slice(500)), 100, SETTINGS) == []
    assert coherence(log, 0, 100, np.random.default_rng(0)) is None


def test_divergence_is_between_none_and_one_bit() -> None:
    half = np.array([0.5, 0.5])
    assert divergence(half, half) == 0
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert 0 < divergence(half, np.array([0.9, 0.1])) < 0.2
