"""The gate decides by what two models answer about events neither has learned from."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from graphrec.evaluation.metrics import ItemSets, score
from graphrec.evaluation.poisoned import POISONS
from graphrec.events.interactions import Interactions
from graphrec.operation_settings import GateSettings
from graphrec.training.batch_checks import HOLD, PUBLISH, REJECT, Finding
from graphrec.training.gate import FRESH, Comparison, as_table, bootstrap, decide, judge, list_findings
from graphrec.training.panels import ndcg_and_recall, panel

SINCE, CUT = 3_000, 3_600
SETTINGS = GateSettings(least_questions=20, panel_loss=0.01, allowance=1.0)


@pytest.fixture(scope="module")
def log() -> Interactions:
    """4,000 events; users like items of their own parity."""
    rng = np.random.default_rng(1)
    users = rng.integers(200, size=4_000)
    items = 2 * np.minimum(rng.exponential(25.0, 4_000).astype(int), 99) + users % 2
    times = np.arange(4_000, dtype=np.int64) * 1_000_000
    return Interactions(users.astype(np.int32), items.astype(np.int32), times, np.ones(4_000), 200, 200)


def by_taste(share: float):
    """A model that knows the taste of this share of the users, and shows the others what they do not like."""

    def answers(history: Interactions, users: np.ndarray, k: int) -> np.ndarray:
        lists = np.full((len(users), k), -1, np.int32)
        counts = np.bincount(history.items, minlength=history.n_items)
        for row, user in enumerate(users.tolist()):
            taste = user % 2 if user < share * 200 else (user + 1) % 2
            ranked = np.argsort(-counts * (np.arange(history.n_items) % 2 == taste), kind="stable")
            new = ranked[~np.isin(ranked, history.items[history.users == user])][:k]
            lists[row, : len(new)] = new
        return lists

    return answers


def one_item(answers, item: int):
    """The same model with one item in front of every list."""

    def flooded(history: Interactions, users: np.ndarray, k: int) -> np.ndarray:
        lists = answers(history, users, k)
        return np.stack([np.append(item, row[row != item])[:k] for row in lists]).astype(np.int32)

    return flooded


def verdict(log: Interactions, live, candidate, settings: GateSettings = SETTINGS) -> str:
    return judge(log, SINCE, CUT, live, candidate, settings).verdict


def test_the_same_model_and_a_better_one_are_published(log: Interactions) -> None:
    assert verdict(log, by_taste(0.8), by_taste(0.8)) == PUBLISH
    report = judge(log, SINCE, CUT, by_taste(0.5), by_taste(1.0), SETTINGS)
    assert report.verdict == PUBLISH
    assert report.reasons == ()
    assert all(row.low > 0 for row in report.comparisons)
    assert (report.new_events, report.held_out) == (1_000, 400)


def test_a_worse_model_is_rejected_with_the_figures(log: Interactions) -> None:
    report = judge(log, SINCE, CUT, by_taste(1.0), by_taste(0.5), SETTINGS)
    assert report.verdict == REJECT
    assert any(reason.startswith(FRESH) for reason in report.reasons)
    assert all(row.high < 0 and row.ndcg_candidate < row.ndcg_live for row in report.comparisons)


def test_forgetting_alone_is_enough(log: Interactions) -> None:
    def forgets(history: Interactions, users: np.ndarray, k: int) -> np.ndarray:
        return by_taste(1.0 if len(history) >= CUT else 0.5)(history, users, k)

    report = judge(log, SINCE, CUT, by_taste(1.0), forgets, SETTINGS)
    assert report.verdict == REJECT
    assert not any(reason.startswith(FRESH) for reason in report.reasons)


def test_nobody_is_asked_about_what_the_graph_knows(log: Interactions) -> None:
    seen: list[int] = []

    def watching(history: Interactions, users: np.ndarray, k: int) -> np.ndarray:
        seen.append(len(history))
        return by_taste(1.0)(history, users, k)

    judge(log, SINCE, CUT, watching, watching, SETTINGS)
    assert sorted(set(seen)) == [1_500, 2_100, CUT]
    asked = panel("fresh", log, CUT, len(log), 1_000, np.random.default_rng(0))
    for user, items in zip(asked.users.tolist(), asked.wanted, strict=True):
        assert not set(items) & set(log.items[:CUT][log.users[:CUT] == user])
        assert set(items) <= set(log.items[CUT:][log.users[CUT:] == user])


def test_too_few_questions_hold(log: Interactions) -> None:
    assert verdict(log, by_taste(0.8), by_taste(0.8), replace_settings(least_questions=10_000)) == HOLD


def test_one_item_in_every_list_is_rejected_though_it_is_what_came(log: Interactions) -> None:
    """The held-out events are poisoned with it, so that NDCG alone would publish the candidate."""
    items = log.items.copy()
    hit = np.random.default_rng(0).random(4_000) < 0.5
    items[SINCE:][hit[SINCE:]] = 199
    poisoned = replace(log, items=items)
    report = judge(poisoned, SINCE, CUT, by_taste(0.8), one_item(by_taste(0.8), 199), SETTINGS)
    assert report.comparisons[0].difference > 0
    assert report.verdict == REJECT
    failed = {finding.name for finding in report.findings if not finding.passed}
    assert {"one item's share of the lists", "one item's share of the events"} <= failed


@pytest.mark.parametrize("poison", POISONS)
def test_a_poisoned_batch_is_rejected_though_both_models_answer_alike(log: Interactions, poison: str) -> None:
    rng = np.random.default_rng(0)
    batch = POISONS[poison](log.take(slice(SINCE, None)), 1.0, rng)
    arrived = log.take(slice(SINCE)).joined(batch)
    cut = SINCE + int(0.6 * len(batch))
    report = judge(arrived, SINCE, cut, by_taste(0.8), by_taste(0.8), SETTINGS)
    assert report.verdict == REJECT, report.reasons
    assert all(row.difference == 0 for row in report.comparisons)


def test_lists_that_name_few_items_are_found() -> None:
    live = np.arange(200, dtype=np.int32).reshape(10, 20)
    narrow = np.tile(np.arange(20, dtype=np.int32), (10, 1))
    share, named = list_findings(live, narrow, SETTINGS)
    assert (share.value, share.usual, share.passed) == (1.0, 0.1, False)
    assert (named.value, named.usual, named.passed) == (20, 200, False)
    assert all(finding.passed for finding in list_findings(live, live, SETTINGS))


def row(name: str, difference: float, error: float) -> Comparison:
    return Comparison(
        name, 100, 0.2, 0.2 + difference, 0, 0, difference, error, difference - 2 * error, difference + 2 * error
    )


@pytest.mark.parametrize(
    ("name", "difference", "error", "expected"),
    [
        ("fresh", 0.001, 0.001, PUBLISH),
        ("fresh", -0.0009, 0.001, PUBLISH),
        ("fresh", -0.0015, 0.001, HOLD),
        ("fresh", -0.0025, 0.001, REJECT),
        ("older", -0.0025, 0.001, PUBLISH),  # a hundredth of .2 may be lost, and a standard error
        ("older", -0.0035, 0.001, HOLD),
        ("older", -0.0045, 0.001, REJECT),
    ],
)
def test_the_line_between_chance_and_loss(name: str, difference: float, error: float, expected: str) -> None:
    compared = [row(name, difference, error)]
    if name != "fresh":
        compared.append(row("fresh", 0.0, 0.001))
    assert decide(compared, [], SETTINGS)[0] == expected


def test_the_settings_move_that_line() -> None:
    compared = [row("fresh", -0.0015, 0.001)]
    assert decide(compared, [], replace_settings(allowance=2.0))[0] == PUBLISH
    older = [row("fresh", 0.0, 0.001), row("older", -0.0025, 0.001)]
    assert decide(older, [], replace_settings(panel_loss=0.0))[0] == REJECT


def test_the_worst_finding_decides() -> None:
    compared = [row("fresh", 0.0, 0.001)]
    hold = Finding("new users", 1, 0, 0.5, False, HOLD)
    reject = Finding("a bot", 1, 0, 0.5, False, REJECT)
    assert decide(compared, [hold], SETTINGS)[0] == HOLD
    found, reasons = decide(compared, [hold, reject], SETTINGS)
    assert found == REJECT
    assert len(reasons) == 2


def test_ndcg_and_recall_are_those_of_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(50)[:20] for _ in range(30)]).astype(np.int32)
    lists[3, 5:] = -1
    wanted = [np.sort(rng.choice(50, rng.integers(1, 30), replace=False)).astype(np.int32) for _ in range(30)]
    ndcg, recall = ndcg_and_recall(lists, wanted)
    rows = np.repeat(np.arange(30, dtype=np.int32), [len(items) for items in wanted])
    scores = score(lists, ItemSets.from_pairs(rows, np.concatenate(wanted), 30), 20)
    np.testing.assert_allclose(ndcg, scores.ndcg)
    np.testing.assert_allclose(recall, scores.recall)


def test_the_interval_is_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    low, high, error = bootstrap(values, np.random.default_rng(1))
    assert low < values.mean() < high
    assert error == pytest.approx(2.0 / 20, rel=0.15)
    assert high - low == pytest.approx(4 * error, rel=0.15)


def test_a_report_is_plain_data_and_a_table(log: Interactions) -> None:
    report = judge(log, SINCE, CUT, by_taste(0.8), by_taste(0.8), SETTINGS)
    assert json.loads(json.dumps(report.to_dict()))["verdict"] == PUBLISH
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(as_table(report))
    assert "NDCG@20 fresh" in console.export_text()


def replace_settings(**changes: float) -> GateSettings:
    return SETTINGS.model_copy(update=changes)
