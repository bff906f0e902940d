"""Trends, profiles, many users at once, and what a list says of its proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graphrec.config import IndexSettings
from graphrec.errors import InputError, UnknownItemError
from graphrec.events.event import Event, Item
from graphrec.recommender import Recommender

LATE = 1_710_000_000  # after everything in the world


@pytest.fixture
def recommender(shop: Path) -> Iterator[Recommender]:
    with Recommender.open(shop) as opened:
        yield opened


def test_trending_is_what_has_most_recent_events(recommender: Recommender) -> None:
    counts = recommender.retriever.recent.counts()
    found = recommender.trending(5)
    assert [entry.score for entry in found] == pytest.approx(np.sort(counts)[::-1][:5].tolist(), rel=1e-6)
    recommender.ingest([Event(f"v{n}", "i39", timestamp=LATE) for n in range(50)])
    assert recommender.trending(1).ids() == ["i39"]
    assert "i39" not in recommender.trending(5, exclude=["i39"]).ids()
    with pytest.raises(InputError):
        recommender.trending(0)


def test_a_profile_is_the_row_of_the_graph_newest_first(recommender: Recommender, world) -> None:
    recommender.ingest([Event("u1", "i0", "cart", timestamp=LATE), Event("u1", "i2", timestamp=LATE - 600)])
    recommender.store.upsert_users([("u1", {"country": "UK"})])
    found = recommender.profile("u1", 3)
    assert [entry.item for entry in found.newest[:2]] == ["i0", "i2"]
    assert found.newest[0].last == "2024-03-09T16:00:00+00:00"
    assert found.newest[0].share > found.newest[1].share
    assert found.items == len(recommender.retriever.seen(recommender.users.number("u1")))
    assert (found.known, found.attributes, found.in_session) == (True, {"country": "UK"}, True)
    assert sum(entry.share for entry in recommender.profile("u1", 1000).newest) == pytest.approx(1)
    nobody = recommender.profile("nobody")
    assert (nobody.known, nobody.items, nobody.newest) == (False, 0, ())


def test_many_are_answered_as_each_alone(recommender: Recommender) -> None:
    users = ["u1", "nobody", "u2"]
    assert recommender.recommend_many(users, 4) == [recommender.recommend(user, 4) for user in users]


def test_an_item_is_described_by_its_latest_version(recommender: Recommender) -> None:
    recommender.store.upsert_items([Item("i1", "other", "blue mug", {"withdrawn": "true", "size": 3})])
    assert not recommender.describe("i1").withdrawn
    recommender.refresh()
    found = recommender.describe("i1")
    assert (found.title, found.attributes["size"], found.withdrawn) == ("other", 3, True)
    assert found.users == len(recommender.graph.item_row(recommender.items.number("i1")))
    with pytest.raises(UnknownItemError):
        recommender.describe("nothing")


def test_what_is_withdrawn_stays_so_after_opening_again(recommender: Recommender, shop: Path) -> None:
    first = recommender.trending(1).ids()[0]
    recommender.store.upsert_items([Item(first, attributes={"withdrawn": True})])
    with Recommender.open(shop) as again:
        assert first not in again.trending(40).ids()
        assert first not in again.recommend("nobody", 40).ids()


def test_a_list_is_certified_unless_the_index_visits_some_cells_only(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recommender.recommend("u1", 5).certified
    assert recommender.similar("i1", 5).certified
    index = recommender.retriever.index
    assert index is not None
    monkeypatch.setattr(index, "settings", IndexSettings(flat_items=10))
    index.rebuild()
    assert not recommender.recommend("u1", 5).certified
    assert not recommender.similar("i1", 5).certified
    assert recommender.trending(5).certified


def test_similar_items_are_those_of_a_scan(recommender: Recommender) -> None:
    names, vectors = recommender.item_vectors()
    for number in (0, 7, 20):
        cosines = vectors @ vectors[number]
        cosines[number] = -2
        found = recommender.similar(names[number], 5)
        np.testing.assert_allclose([entry.score for entry in found], np.sort(cosines)[::-1][:5], atol=1e-5)
