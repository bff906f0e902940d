"""A/B tests: who gets what never changes and has the share it should, and the readout is counted, not estimated."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact
from typer.testing import CliRunner

from graphrec import cli
from graphrec.ab import SplitRecommender, SplitTest, readout, shown_log, wilson
from graphrec.errors import InputError
from graphrec.events.event import Event
from graphrec.recommender import Recommender

HALVES = SplitTest("spring", {"a": 0.5, "b": 0.5})


def test_the_variant_of_a_user_is_for_ever() -> None:
    """Kept as written: a change of the hash would move users between variants in the middle of a test."""
    assert [HALVES.variant(f"u{n}") for n in range(12)] == list("aaabaabbbbab")
    assert SplitTest("spring", {"a": 0.5, "b": 0.5}).variant("u1") == HALVES.variant("u1")


def test_shares_are_kept_and_tests_are_independent() -> None:
    test = SplitTest("x", {"a": 0.1, "b": 0.2, "c": 0.7})
    users = [str(n) for n in range(20_000)]
    for name, share in test.shares.items():
        hits = sum(test.variant(user) == name for user in users)
        assert binomtest(hits, len(users), share).pvalue > 0.001
    other = SplitTest("y", {"a": 0.5, "b": 0.5})
    both = sum(HALVES.variant(user) == "a" and other.variant(user) == "a" for user in users)
    assert binomtest(both, len(users), 0.25).pvalue > 0.001
    assert {SplitTest("z", {"a": 0.0, "b": 1.0}).variant(user) for user in users} == {"b"}


@given(share=st.integers(0, 100), more=st.integers(0, 100), user=st.text(max_size=8))
def test_a_growing_share_only_adds_users(share: int, more: int, user: str) -> None:
    grown = min(share + more, 100)
    small, large = (SplitTest("t", {"new": part / 100, "old": (100 - part) / 100}) for part in (share, grown))
    if small.variant(user) == "new":
        assert large.variant(user) == "new"


@pytest.mark.parametrize("shares", [{"a": 1.0}, {"a": 0.5, "b": 0.4}, {"a": -0.5, "b": 1.5}])
def test_shares_must_add_up(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="shares"):
        SplitTest("t", shares)


def shown(user: str, variant: str, items: list[str], offset: int = 10, at: float = 0.0) -> dict:
    return {"user": user, "variant": variant, "items": items, "offset": offset, "at": at}


def test_an_event_counts_for_the_newest_list_before_it_that_named_the_item() -> None:
    rows = [
        shown("ann", "a", ["x", "y"], 10),
        shown("ann", "a", ["x"], 20),
        shown("bob", "b", ["x"], 10),
        shown("cat", "b", ["z"], 10),
    ]
    events = [
        (9, "bob", "x", 0.0),  # before the list
        (11, "ann", "y", 1.0),
        (21, "ann", "x", 1.0),  # of the second list
        (22, "ann", "x", 1.0),  # again: one pair
        (23, "cat", "q", 1.0),  # never shown
        (24, "dan", "x", 1.0),  # never asked
        (25, "cat", "z", 99 * 86_400.0),  # too late
    ]
    found = readout(rows, events, HALVES, days=14)
    a, b = found.variants
    assert (a.users, a.converted, a.lists, a.taken_lists, a.taken) == (1, 1, 2, 2, 2)
    assert (b.users, b.converted, b.lists, b.taken_lists, b.taken) == (2, 0, 2, 0, 0)
    assert readout(rows, events, HALVES, days=100).variants[1].converted == 1


def test_figures_are_those_of_the_exact_tests() -> None:
    rows = [shown(f"a{n}", "a", ["x"]) for n in range(100)] + [shown(f"b{n}", "b", ["x"]) for n in range(120)]
    events = [(11, f"a{n}", "x", 1.0) for n in range(20)] + [(11, f"b{n}", "x", 1.0) for n in range(48)]
    found = readout(rows, events, HALVES, days=1)
    assert [row.rate for row in found.variants] == [0.2, 0.4]
    assert found.p_values["b"] == pytest.approx(fisher_exact([[48, 72], [20, 80]]).pvalue)
    assert found.p_of_split == pytest.approx(binomtest(100, 220, 0.5).pvalue)
    low, high = found.intervals["b"]
    assert found.differences["b"] == pytest.approx(0.2)
    assert 0 < low < 0.2 < high < 0.35
    same = readout(rows, events[:20] + [(11, f"b{n}", "x", 1.0) for n in range(24)], HALVES, days=1)
    assert same.p_values["b"] == pytest.approx(1.0)
    assert same.intervals["b"][0] < 0 < same.intervals["b"][1]


def test_users_of_two_variants_are_left_out_and_a_crooked_split_is_seen() -> None:
    rows = [shown("ann", "a", ["x"]), shown("ann", "b", ["x"])] + [shown(f"u{n}", "a", ["x"]) for n in range(40)]
    found = readout(rows, [], HALVES, days=1)
    assert found.left_out == 2
    assert [row.users for row in found.variants] == [40, 0]
    assert found.p_of_split < 1e-6


@given(hits=st.integers(0, 50), more=st.integers(0, 50))
def test_wilson_is_scipys(hits: int, more: int) -> None:
    n = hits + more
    low, high = wilson(hits, n)
    if n:
        interval = binomtest(hits, n).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    else:
        assert (low, high) == (0, 1)


@pytest.fixture
def two(shop: Path, world) -> Path:
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:])
        recommender.train()
        recommender.rollback()
    return shop


def test_each_user_is_answered_by_the_generation_of_the_variant(two: Path) -> None:
    with SplitRecommender.open(two) as shop:
        shop.split(HALVES, {"b": 2})
        for n in range(12):
            answer = shop.recommend(f"u{n}", 5)
            assert answer.generation == (2 if HALVES.variant(f"u{n}") == "b" else 1)
        taker = next(f"u{n}" for n in range(12) if HALVES.variant(f"u{n}") == "b")
        shop.ingest([Event(taker, shop.recommend(taker, 5).ids()[0], "purchase", timestamp=time.time())])
        found = shop.readout()
        assert {row.name: row.converted for row in found.variants} == {"a": 0, "b": 1}
        assert sum(row.users for row in found.variants) == 12
        shop.split(None)
        shop.recommend("u1")
        assert len(list(shown_log(two).rows())) == 13
        with pytest.raises(InputError, match="no variant"):
            shop.split(HALVES, {"c": 2})
    result = CliRunner().invoke(cli.app, ["ab", str(two), "spring", "a=0.5", "b=0.5", "--json"])
    assert json.loads(result.stdout)["variants"][1]["converted"] == 1
