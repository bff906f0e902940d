"""One event ahead: who knows what when, by rules taken literally; and a world in which only the newest event helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from graphrec.config import Config, EmbeddingSettings, TrainingSettings
from graphrec.errors import InputError
from graphrec.evaluation import one_step_ahead as module
from graphrec.evaluation.one_step_ahead import (
    EVENT_LATE,
    NEVER,
    PER_BLOCK,
    PER_EVENT,
    POLICIES,
    PRODUCT,
    SECONDS_LATE,
    TASTE,
    USER_VECTOR,
    Follower,
    FreshnessResult,
    as_table,
    by_taste,
    by_user_vector,
    new_targets,
    one_step_ahead,
    session_starts,
    visible_from,
)
from graphrec.events.interactions import Interactions
from graphrec.retrieval.retriever import Retriever

SECOND = 1_000_000
N_USERS, N_ITEMS = 4, 6
NO_TEXTS = np.zeros((N_ITEMS, 0), np.float32)

logs = st.lists(
    st.tuples(
        st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 40), st.sampled_from([1.0, 5.0, -5.0])
    ),
    min_size=1,
    max_size=30,
)


def log_of(events: list[tuple[int, int, int, float]], n_users: int = N_USERS, n_items: int = N_ITEMS) -> Interactions:
    """From (user, item, seconds, weight)."""
    users, items, seconds, weights = (np.array(column) for column in zip(*events, strict=True))
    times = (1_000_000_000 + seconds) * SECOND
    log = Interactions(
        users.astype(np.int32), items.astype(np.int32), times, weights.astype(np.float64), n_users, n_items
    )
    return log.by_time()


def known(log: Interactions, policy: str, start: int, block: int, question: int) -> set[int]:
    """The rules, word by word: which events a policy knows when it is asked about the event at `question`."""
    found = set(range(start))
    for event in range(start, question):
        if policy == NEVER:
            continue
        if policy == PER_BLOCK:
            last_refresh = question - (question - start) % block
            allowed = event < last_refresh
        elif policy == SECONDS_LATE:
            allowed = log.timestamps[event] <= log.timestamps[question] - 10 * SECOND
        elif policy == EVENT_LATE:
            allowed = log.users[event] in log.users[event + 1 : question]
        else:
            allowed = True
        if allowed:
            found.add(event)
    return found


@given(events=logs, start=st.integers(0, 29), block=st.integers(1, 9))
def test_policies_know_what_their_names_say(events, start: int, block: int) -> None:
    log = log_of(events)
    start = min(start, len(log) - 1)
    for policy in POLICIES:
        visible = visible_from(log, policy, start, block)
        for question in range(start, len(log)):
            seen = set(np.flatnonzero(visible <= question).tolist())
            assert seen == known(log, policy, start, block, question), policy


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(InputError, match="no such refresh policy"):
        visible_from(log_of([(0, 0, 0, 1.0)]), "now and then", 0, 1)


@given(events=logs, start=st.integers(0, 10), gap=st.integers(0, 9))
def test_targets_and_sessions_by_hand(events, start: int, gap: int) -> None:
    log = log_of(events)
    targets, starts, had, last = [], [], set(), {}
    for position, (user, item) in enumerate(zip(log.users.tolist(), log.items.tolist(), strict=True)):
        if position >= start and log.weights[position] > 0 and (user, item) not in had:
            targets.append(position)
        had.add((user, item))
        moment = int(log.timestamps[position])
        starts.append(user not in last or moment - last[user] > gap * SECOND)
        last[user] = moment
    assert new_targets(log, start).tolist() == targets
    assert session_starts(log, gap).tolist() == starts


@given(events=logs, policy=st.sampled_from(POLICIES))
def test_a_follower_has_taken_in_what_is_visible(events, policy: str) -> None:
    log = log_of(events)
    start = len(log) // 2
    retriever = Retriever(Config(), None)
    retriever.add_items(NO_TEXTS)
    base = log.take(slice(start))
    retriever.load(base.users, base.items, base.weights, base.timestamps)
    visible = visible_from(log, policy, start, 4)
    follower = Follower(retriever, log, visible)
    for question in range(start, len(log), 2):
        follower.advance(question)
        for user in range(N_USERS):
            expected = log.items[(visible <= question) & (log.users == user)]
            assert set(retriever.seen(user).tolist()) == set(expected.tolist())


def test_what_is_hidden_is_not_offered_and_strangers_get_the_popular() -> None:
    retriever = Retriever(Config(), None)
    retriever.add_items(NO_TEXTS)
    users, items = np.array([0, 0, 1, 1, 1, 2], np.int32), np.array([0, 1, 0, 1, 2, 2], np.int32)
    retriever.load(users, items, np.ones(6), np.full(6, 10**15))
    retriever.grow_users(N_USERS)
    hidden = np.array([1], np.int32)
    assert by_taste(retriever, retriever, 0, 5, hidden).tolist() == [0, 2]
    assert by_taste(retriever, retriever, 3, 2, hidden).tolist() == [0, 2]
    assert by_user_vector(retriever, retriever, 0, 2, hidden).tolist() == [0, 2]  # no model: the popular


PAIRS = 15
CONFIG = Config(
    embedding=EmbeddingSettings(spectral_dimensions=8, hidden_dimensions=16, dimensions=8),
    training=TrainingSettings(steps=20, batch_size=256, ranker_seeds=1, slice_share=0.4),  # a hundred sessions
)


@pytest.fixture(scope="module")
def results() -> list[FreshnessResult]:
    """After item 2n comes 2n + 1 a minute later; which pair a user turns to next is chance."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(60):
        for turn, pair in enumerate(rng.permutation(PAIRS)[:8].tolist()):
            moment = turn * 400_000 + user * 3600
            events += [(user, 2 * pair, moment, 1.0), (user, 2 * pair + 1, moment + 60, 1.0)]
    log = log_of(events, 60, 2 * PAIRS)
    texts = np.zeros((2 * PAIRS, 0), np.float32)
    return one_step_ahead(log, texts, CONFIG, lambda *step: None, k=3, sample=300, block_share=0.1)


def hit_rate(results: list[FreshnessResult], tables: str, asked: str, policy: str, events: str) -> float:
    (found,) = [
        result.hit_rate
        for result in results
        if (result.tables, result.asked, result.policy, result.events) == (tables, asked, policy, events)
    ]
    return found


def test_only_the_newest_event_tells_what_comes_next(results: list[FreshnessResult]) -> None:
    for tables, asked in (("frozen", TASTE), ("per block", TASTE), ("by policy", PRODUCT)):
        fresh, *stale = (
            hit_rate(results, tables, asked, policy, "inside a session")
            for policy in (PER_EVENT, PER_BLOCK, EVENT_LATE, NEVER)
        )
        assert fresh > 0.9 > 0.5 > max(stale), asked
        assert hit_rate(results, tables, asked, SECONDS_LATE, "inside a session") == fresh  # a minute has passed


def test_results_are_complete_and_add_up(results: list[FreshnessResult]) -> None:
    names = {(result.tables, result.asked, result.policy, result.events) for result in results}
    assert len(names) == len(results) == 5 * 5 * 3
    assert {result.asked for result in results} == {USER_VECTOR, TASTE, PRODUCT}
    for result in results:
        assert 0 <= result.hit_rate_interval[0] <= result.hit_rate <= result.hit_rate_interval[1] <= 1
        assert 0 <= result.ndcg_interval[0] <= result.ndcg <= result.hit_rate
        assert result.k == 3
    n = {result.events: result.n for result in results}
    assert n["all"] == n["first of session"] + n["inside a session"] <= 300
    assert min(n.values()) > 50
    everything, first, inside = (
        hit_rate(results, "per block", USER_VECTOR, PER_EVENT, events)
        for events in ("all", "first of session", "inside a session")
    )
    together = (first * n["first of session"] + inside * n["inside a session"]) / n["all"]
    assert everything == pytest.approx(together)


def printed(results: list[FreshnessResult]) -> list[list[str]]:
    """Cells of the table's rows, without its title; columns are two spaces apart, at 80 characters a line."""
    console = Console(width=80)
    with console.capture() as captured:
        console.print(as_table(results))
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in captured.get().splitlines()[1:]]


def test_the_table_by_hand() -> None:
    one = FreshnessResult("frozen", TASTE, EVENT_LATE, "all", 7, 50, 0.25, (0.2, 0.31), 0.1234567, (0.1, 0.2))
    inside, other = replace(one, events="inside a session"), replace(one, tables="per block", hit_rate=1.0)
    assert printed([one, inside, other]) == [
        ["asked", "items", "known", "hit@7", "ndcg@7"],
        [TASTE, "frozen", EVENT_LATE, "0.2500 ±0.0550", "0.1235"],
        [TASTE, "per block", EVENT_LATE, "1.0000 ±0.0550", "0.1235"],
    ]


def test_the_table_has_one_row_for_all_events_of_each_policy(results: list[FreshnessResult]) -> None:
    _, *rows = printed(results)
    assert [row[:3] for row in rows] == [[row.asked, row.tables, row.policy] for row in results if row.events == "all"]
    assert all(len(row) == 5 for row in rows)


def test_what_cannot_be_asked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fit", lambda *_: pytest.fail("trained before looking"))
    log = log_of([(0, 0, 0, 1.0), (0, 0, 1, 1.0)])
    for shares in ({"base_share": 1.0}, {"base_share": 0.0}, {"block_share": 0.0}):
        with pytest.raises(InputError, match="not a share"):
            one_step_ahead(log, NO_TEXTS, CONFIG, lambda *step: None, **shares)
    for none in ({"k": 0}, {"sample": 0}, {"sample": -1}):
        with pytest.raises(InputError, match="nothing to ask"):
            one_step_ahead(log, NO_TEXTS, CONFIG, lambda *step: None, **none)
    for nothing_new in (log, log.take(slice(1)), log.take(slice(0))):
        with pytest.raises(InputError, match="one step ahead"):
            one_step_ahead(nothing_new, NO_TEXTS, CONFIG, lambda *step: None)
