from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.config import Config
from graphrec.ranking.explanation import Evidence, evidence, evidence_of
from graphrec.retrieval.retriever import DAY, Retriever

MUG, CUP, PEN, INK, TEA = range(5)
ANN, BOB, CAT, DAN, EVE = range(5)


def new_retriever(*log: tuple[int, int, float]) -> Retriever:
    retriever = Retriever(Config(), None)
    retriever.add_items(np.zeros((5, 0), np.float32))
    users, items, weights = (np.array([event[column] for event in log]) for column in range(3))
    times = np.full(len(log), 100 * DAY)
    retriever.apply(users.astype(np.int32), items.astype(np.int32), weights.astype(np.float64), times)
    return retriever


@pytest.fixture
def retriever() -> Retriever:
    """Ann has mug, cup and pen; bob and cat share the mug with her, dan the cup; all three have the tea."""
    return new_retriever(
        (ANN, MUG, 1), (ANN, CUP, 3), (ANN, PEN, 1),
        (BOB, MUG, 1), (BOB, TEA, 1),
        (CAT, MUG, 1), (CAT, TEA, 5), (CAT, INK, 1),
        (DAN, CUP, 1), (DAN, TEA, 1),
    )  # fmt: skip


def paths(found: Evidence) -> list[tuple[int, int]]:
    return [(path.seed, path.witnesses) for path in found.paths]


def test_paths_are_counted(retriever: Retriever) -> None:
    found = evidence(retriever, ANN, TEA)
    cup, mug = 3 * 1 / (2 + 20), 1 * 2 / (3 + 20)
    assert paths(found) == [(CUP, 1), (MUG, 2)]
    assert [path.share for path in found.paths] == pytest.approx([cup / (cup + mug), mug / (cup + mug)])
    assert found.recent_events == pytest.approx(3)
    assert found.popularity_rank == 1


def test_the_limit_keeps_the_strongest_and_their_shares(retriever: Retriever) -> None:
    everything, best = evidence(retriever, ANN, TEA), evidence(retriever, ANN, TEA, limit=1)
    assert best.paths == everything.paths[:1]


def test_an_item_is_no_reason_for_itself(retriever: Retriever) -> None:
    assert paths(evidence(retriever, ANN, MUG)) == []
    assert paths(evidence(retriever, BOB, TEA)) == [(MUG, 1)]


def test_the_rank_counts_what_is_more_popular(retriever: Retriever) -> None:
    assert [evidence(retriever, ANN, item).popularity_rank for item in range(5)] == [1, 3, 4, 4, 1]
    assert evidence(retriever, ANN, INK).recent_events == pytest.approx(1)


@pytest.mark.parametrize("user", [EVE, 99])
def test_a_user_without_history_has_no_paths(retriever: Retriever, user: int) -> None:
    found = evidence(retriever, user, TEA)
    assert found.paths == ()
    assert found.popularity_rank == 1


@pytest.mark.parametrize("returned", [(ANN, MUG), (BOB, MUG), (BOB, TEA)])
def test_what_was_taken_back_is_no_evidence(returned: tuple[int, int]) -> None:
    log = [(ANN, MUG, 1.0), (ANN, PEN, 1.0), (BOB, MUG, 1.0), (BOB, TEA, 1.0)]
    assert paths(evidence(new_retriever(*log), ANN, TEA)) == [(MUG, 1)]
    assert paths(evidence(new_retriever(*log, (*returned, -5.0)), ANN, TEA)) == []


@given(events=st.lists(st.integers(0, 4), max_size=30), asked=st.lists(st.integers(0, 4), max_size=6))
def test_ranks_of_many_at_once_count_what_is_more_popular(events: list[int], asked: list[int]) -> None:
    retriever = new_retriever(*((place % 5, item, 1.0) for place, item in enumerate(events)), (ANN, MUG, 1.0))
    counts = np.bincount([*events, MUG], minlength=5)
    found = evidence_of(retriever, ANN, np.array(asked, np.int32))
    assert [one.popularity_rank for one in found] == [int((counts > counts[item]).sum()) + 1 for item in asked]
