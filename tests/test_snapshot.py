"""A snapshot is the present state as a generation: the same answers, and no log to replay at the next opening."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from graphrec.errors import BusyError, GenerationError, NotTrainedError
from graphrec.events.event import Event, table_of
from graphrec.follower import Follower
from graphrec.generation import Generations
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace

LATE = 1_710_000_000


def test_opening_from_it_gives_the_same_state_and_replays_nothing(shop: Path, world, monkeypatch) -> None:
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:])
        recommender.ingest([Event("newcomer", "brand new", timestamp=LATE)])
        answers = {user: recommender.recommend(user, 5).ids() for user in ("u1", "u2", "newcomer", "nobody")}
        vectors = recommender.item_vectors()[1]
        report = recommender.snapshot()
        assert (report.generation, report.made_by, report.offset, report.events) == (2, "snapshot", 901, 901)
        assert recommender.generation == 2
        assert {user: recommender.recommend(user, 5).ids() for user in answers} == answers
        digest = recommender.state_digest()
    assert Generations(shop).manifest(2).parent == 1
    monkeypatch.setattr("graphrec.events.store.EventStore.read", None)  # whoever reads an event fails
    monkeypatch.setattr("graphrec.events.store.EventStore.scan", lambda *arguments, **options: iter(()))
    with Recommender.open(shop) as again:
        assert (again.state_digest(), again.offset, again.generation) == (digest, 901, 2)
        np.testing.assert_allclose(again.item_vectors()[1], vectors, atol=1e-5)
        assert {user: again.recommend(user, 5).ids() for user in answers} == answers


def test_a_snapshot_takes_the_place_of_the_one_before(shop: Path, world) -> None:
    with Recommender.open(shop) as recommender:
        for first in (700, 750, 800):
            recommender.ingest(world.events[first : first + 50])
            recommender.snapshot()
        assert Generations(shop).numbers() == [1, 4]  # what was trained stays, to return to
        assert Generations(shop).manifest(4).parent == 1
        assert Generations(shop).manifest(4).metrics == Generations(shop).manifest(1).metrics
        again = recommender.snapshot()  # nothing new
        assert (again.generation, again.offset) == (4, 850)
        assert Generations(shop).numbers() == [1, 4]
        recommender.rebuild()
        recommender.ingest(world.events[850:])
        recommender.snapshot()
        assert Generations(shop).numbers() == [1, 4, 5, 6]


def test_who_rolls_back_from_a_snapshot_gets_the_model_before_its_own(shop: Path, world) -> None:
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:750])
        recommender.train()
        first = {user: recommender.recommend(user, 5).ids() for user in recommender.users}
        recommender.ingest(world.events[750:])
        recommender.snapshot()
        assert recommender.rollback().number == 1  # 2 would answer as 3 does
        assert {user: recommender.recommend(user, 5).ids() for user in recommender.users} != first
    with Recommender.open(shop) as recommender:
        recommender.ingest([Event("newcomer", "brand new", timestamp=LATE)])
        recommender.snapshot()
        with pytest.raises(GenerationError, match="no such generation"):
            recommender.rollback()  # its origin is the first of all
        assert recommender.rollback(1).number == 1


def test_a_changed_title_is_new(shop: Path) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        (first,) = [row.item for row in elsewhere.catalogue()[:1]]
        elsewhere.upsert_items([type(first)(first.id, "another title", first.text)])
        assert recommender.snapshot().generation == 2
        digest = recommender.state_digest()
    with Recommender.open(shop) as again:
        assert again.state_digest() == digest
        assert again.title(first.id) == "another title"


def test_while_it_is_written_events_come_in_and_questions_are_answered(shop: Path, world, monkeypatch) -> None:
    writing, release, publish = threading.Event(), threading.Event(), Generations.publish

    def slow(self, *snapshot):
        writing.set()
        assert release.wait(30)
        return publish(self, *snapshot)

    monkeypatch.setattr(Generations, "publish", slow)
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        elsewhere.append(table_of(world.events[700:720]))
        with Follower(recommender):
            job = threading.Thread(target=recommender.snapshot)
            job.start()
            assert writing.wait(30)
            elsewhere.append(table_of(world.events[720:]))
            while recommender.offset < 900:  # followed meanwhile
                assert len(recommender.recommend("u1", 3)) == 3
            assert recommender.generation == 1
            release.set()
            job.join(30)
            assert (recommender.generation, recommender.offset) == (2, 900)
        digest = recommender.state_digest()
        assert Generations(shop).manifest(2).offset == 720  # as it was when it was copied
    with Recommender.open(shop) as again:
        assert (again.state_digest(), again.offset) == (digest, 900)


def test_another_process_takes_it_up(shop: Path, world) -> None:
    with Recommender.open(shop) as recommender, Recommender.open(shop) as other:
        recommender.ingest(world.events[700:])
        recommender.snapshot()
        other.refresh()
        assert (other.generation, other.state_digest()) == (2, recommender.state_digest())
        with Generations(shop).making(), pytest.raises(BusyError):
            other.snapshot()


def test_without_a_model_there_is_nothing_to_publish(tmp_path: Path, word_encoder) -> None:
    with Recommender.create(tmp_path / "new") as recommender, pytest.raises(NotTrainedError, match="graphrec train"):
        recommender.snapshot()
    assert Generations(tmp_path / "new").numbers() == []


def test_a_state_whose_place_is_taken_goes_without_the_garbage_collector(shop: Path) -> None:
    """The service keeps the collector from what it has opened (`gc.freeze`), so a cycle there would stay for ever."""
    gc.disable()
    try:
        with Recommender.open(shop) as recommender, Follower(recommender):
            recommender.recommend("u1", 5)
            with recommender.reading() as state:
                parts = [weakref.ref(part) for part in (state, state.retriever, state.retriever.propagation)]
            del state
            recommender.rebuild()
            assert recommender.recommend("u1", 5).generation == 2
            assert [part() for part in parts] == [None, None, None]
    finally:
        gc.enable()
