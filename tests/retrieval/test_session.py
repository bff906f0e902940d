"""A session beside the graph: a row that is the graph's changes nothing, others change one user's answer only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graphrec.errors import InputError
from graphrec.events.event import Event
from graphrec.recommender import Recommender
from graphrec.retrieval.retriever import Retriever
from graphrec.retrieval.session import SessionRetriever, with_session


@pytest.fixture
def recommender(shop: Path) -> Iterator[Recommender]:
    with Recommender.open(shop) as opened:
        yield opened


def offered(retriever: Retriever, user: int):
    return retriever.candidates(user, retriever.seen(user))


@pytest.mark.parametrize("user", [0, 7, 31])
def test_the_row_of_the_graph_answers_like_the_graph(recommender: Recommender, user: int) -> None:
    live = recommender.retriever
    same = SessionRetriever(live, user, live.graph.user_row(user))
    np.testing.assert_allclose(same.query(user), live.query(user), atol=1e-5)
    ours, theirs = offered(same, user), offered(live, user)
    assert set(ours.numbers.tolist()) == set(theirs.numbers.tolist())
    np.testing.assert_allclose(np.sort(ours.score), np.sort(theirs.score), atol=1e-4)
    np.testing.assert_allclose(np.sort(ours.walk), np.sort(theirs.walk), rtol=1e-5)
    other = (user + 1) % live.graph.n_users
    np.testing.assert_array_equal(same.query(other), live.query(other))


def test_a_session_adds_up_like_events_of_this_moment(recommender: Recommender, world) -> None:
    live = recommender.retriever
    items = [3, 5, 3, 8]
    row = with_session(live, live.graph.n_users, items, [1.0, 1.0, 5.0, 1.0]).graph.user_row(live.graph.n_users)
    now = live.recent.newest / 1e6
    kinds = ["view", "view", "purchase", "view"]
    names = [recommender.items.key(item) for item in items]
    recommender.ingest([Event("new", name, kind, timestamp=now) for name, kind in zip(names, kinds, strict=True)])
    there = recommender.graph.user_row(recommender.users.number("new"))
    assert dict(zip(row[0].tolist(), row[2].tolist(), strict=True)) == dict(
        zip(there[0].tolist(), there[2].tolist(), strict=True)
    )
    shares, wanted = (dict(zip(r[0].tolist(), (r[1] / r[1].sum()).tolist(), strict=True)) for r in (row, there))
    assert shares == pytest.approx(wanted, rel=1e-4)
    assert row[0].tolist()[-1] == 8  # the newest last, a repeat where it came last
    assert row[0].tolist()[0] == 5


def test_an_unknown_user_gets_the_taste_of_the_session_and_leaves_no_trace(recommender: Recommender) -> None:
    digest = recommender.state_digest()
    plain = recommender.recommend("nobody", 5)
    even = recommender.recommend("nobody", 5, session=["i2", ("i4", "purchase"), "i6"])
    odd = recommender.recommend("nobody", 5, session=["i1", ("i3", "purchase"), "i5"])
    assert (plain.personal, even.personal, odd.personal) == (False, True, True)
    assert {"i2", "i4", "i6"}.isdisjoint(even.ids())
    shares = [np.mean([int(name[1:]) % 2 for name in answer.ids()]) for answer in (even, odd)]
    assert shares[0] < 0.5 < shares[1]
    assert "you had" in odd[0].reasons[0].text
    assert recommender.state_digest() == digest
    assert recommender.recommend("nobody", 5) == plain


def test_a_session_of_unknown_items_is_none_and_an_unknown_kind_is_refused(recommender: Recommender) -> None:
    assert recommender.recommend("u1", 5, session=["what"]) == recommender.recommend("u1", 5)
    with pytest.raises(InputError, match="kind"):
        recommender.recommend("u1", 5, session=[("i1", "stare")])
