"""Forgetting a user: nothing of the user is left in the store, and the state is that of a log without the user."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.ab import SplitTest, note_shown, shown_log
from graphrec.digest import state_digest
from graphrec.errors import InputError
from graphrec.events.event import Event, table_of
from graphrec.events.store import EventStore
from graphrec.generation import Generations
from graphrec.live_state import LiveState
from graphrec.recommender import Recommender
from graphrec.shadow import shadow_log
from graphrec.workspace import Workspace

SECRET = "someone-in-particular"


def digest_of(state: LiveState) -> str:
    """Of everything that is derived, whatever generation it is of."""
    return state_digest(state.users, state.items, state.retriever.graph, state.catalogue, "")


def lists_of(shop: Recommender) -> list[list[str]]:
    return [shop.trending(20).ids(), *(shop.recommend(f"u{n}", 10).ids() for n in range(0, 60, 7) if n != 7)]


@pytest.fixture
def known(shop: Path, world) -> Path:
    """The shop with somebody who has events in the middle and at the end of the log, and attributes."""
    with Workspace(shop).open_store() as store:
        store.append(table_of([Event(SECRET, f"i{n}", timestamp=1_709_000_000 + n) for n in range(12)]))
        store.append(table_of(world.events[700:800]))
        store.append(table_of([Event(SECRET, "i39", "purchase", timestamp=1_710_000_000)]))
        store.upsert_users([(SECRET, {"city": "Delft-in-particular"})])
    return shop


def test_live_derived_and_opened_anew_are_the_same_state(known: Path, tmp_path: Path) -> None:
    with Recommender.open(known) as shop:
        before, offset = shop.state_digest(), shop.offset
        done = shop.forget(SECRET)
        assert (done.users, done.events, done.generation) == (1, 13, 2)
        with shop.reading() as live:
            digest = digest_of(live)
            replayed = LiveState.derived(
                live.config, shop.store, shop._encode, live.learned, live.catalogue.offset, None
            )
        assert digest != before
        assert digest_of(replayed) == digest
        assert (shop.offset, replayed.offset) == (offset, offset)  # of the last event there ever was
        assert shop.recommend(SECRET).note == "unknown user: recently popular items"
        assert SECRET not in shop.users
        expected, lists = shop.state_digest(), lists_of(shop)
    with Recommender.open(known) as again:
        assert (again.state_digest(), again.generation, lists_of(again)) == (expected, 2, lists)
        rebuilt = again.rebuild()
        with again.reading() as state:
            assert digest_of(state) == digest
    assert rebuilt.generation == 3
    for manifest in (Generations(known).load(2).manifest, Generations(known).load(3).manifest):
        assert manifest.settings["forgotten"] == 1


def test_it_is_the_state_of_a_log_without_the_user(known: Path, world, tmp_path: Path) -> None:
    with Recommender.open(known) as shop:
        shop.forget(SECRET)
        lists, vectors = lists_of(shop), shop.item_vectors()[1]
        edges = shop.graph.to_csr()
        counts = shop.status()
    bare = tmp_path / "bare"
    shutil.copytree(known, bare, ignore=shutil.ignore_patterns("events.db*", "000002", "CURRENT"))
    (bare / "CURRENT").write_text("1\n")
    with Workspace(bare).open_store() as store:
        with Workspace(known).open_store() as full:
            store.upsert_items([row.item for row in full.catalogue()])  # first, as there: numbers are by appearance
        store.append(table_of(world.events[:800]))
    with Recommender.open(bare) as never:
        assert lists_of(never) == lists
        assert np.abs(never.item_vectors()[1] - vectors).max() < 1e-5
        assert (never.graph.n_edges, counts.events) == (len(edges.items), never.status().events)


def test_nothing_of_the_user_is_left_in_the_files(known: Path) -> None:
    test = SplitTest("spring", {"live": 0.5, "other": 0.5})
    with Recommender.open(known) as shop:
        for user in (SECRET, "u1"):
            note_shown(known, test, shop.recommend(user))
            shadow_log(known).append({"user": user})
        done = shop.forget(SECRET)
    assert done.notes == 2
    assert [row["user"] for row in shown_log(known).rows()] == ["u1"]
    assert [row["user"] for row in shadow_log(known).rows()] == ["u1"]
    found = [path for path in known.rglob("*") if path.is_file() and b"in-particular" in path.read_bytes()]
    assert found == []


def test_who_comes_back_is_a_new_user_in_every_process(known: Path) -> None:
    event = Event(SECRET, "i5", timestamp=1_711_000_000)
    with Recommender.open(known) as here, Recommender.open(known) as there, Workspace(known).open_store() as other:
        other.append(table_of([Event(SECRET, "i1", timestamp=1_710_500_000)]))  # it remembers the number
        old = here.users.number(SECRET)
        here.forget(SECRET)
        there.refresh()
        assert SECRET not in there.users
        assert other.append(table_of([event])).accepted == 1
        for shop in (here, there):
            shop.refresh()
            assert shop.users.number(SECRET) not in (None, old)
            assert shop.profile(SECRET).items == 1
        assert here.state_digest() == there.state_digest()
        other.upsert_users([(SECRET, {"city": "elsewhere"})])
        assert other.user_attributes(SECRET) == {"city": "elsewhere"}
        assert here.forget(SECRET).events == 1
        there.refresh()
        assert here.state_digest() == there.state_digest()


def test_another_process_that_only_follows_derives_its_state_anew(known: Path) -> None:
    with Recommender.open(known) as shop, Workspace(known).open_store() as elsewhere:
        before = shop.trending(40).items
        elsewhere.forget([SECRET])  # no generation is published
        elsewhere.append(table_of([Event(SECRET, "i0", timestamp=1_711_000_000)]))
        shop.refresh()
        assert (shop.generation, shop.forgotten) == (1, 1)
        assert shop.profile(SECRET).items == 1
        assert shop.trending(40).items != before
        with Recommender.open(known) as again:  # the snapshot of generation 1 has the user's edges: it is not used
            assert again.state_digest() == shop.state_digest()


def test_an_older_generation_answers_without_the_user_too(known: Path) -> None:
    with Recommender.open(known) as shop:
        shop.train()
        shop.forget(SECRET)
        assert shop.rollback(1).number == 1
        assert shop.profile(SECRET).items == 0
        with shop.reading() as state:
            digest = digest_of(state)
        with Recommender.open(known) as again, again.reading() as state:
            assert digest_of(state) == digest


def test_before_training_and_several_at_once(tmp_path: Path, world) -> None:
    with Recommender.create(tmp_path / "new") as shop:
        shop.ingest(world.events[:200])
        kept = {event.user for event in world.events[:200]} - {"u1", "u2"}
        done = shop.forget("u1", "nobody", "u2")
        gone = sum(event.user in ("u1", "u2") for event in world.events[:200])
        assert (done.users, done.events, done.generation) == (2, gone, None)
        assert {user for user in shop.users if not user.startswith("forgotten-")} == kept
        assert shop.status().events == 200 - gone
        assert shop.forget("u1").users == 0
        assert shop.forgotten == 1
        with pytest.raises(InputError):
            shop.forget("u3", 7)
        assert "u3" in shop.users


def test_the_log_goes_on_after_what_was_forgotten() -> None:
    store = EventStore.open("sqlite://")
    store.append(table_of([Event("a", "i", timestamp=1), Event("b", "i", timestamp=2), Event("a", "j", timestamp=3)]))
    assert store.forget(["a"])[:2] == (1, 2)
    assert (store.offset, store.ends().offset, store.counts().events) == (3, 3, 1)
    assert store.append(table_of([Event("a", "i", timestamp=1)])).offset == 4
    assert (store.read().offsets.tolist(), store.read().users.tolist()) == ([2, 4], [1, 2])
    assert store.users()[1:] == ["b", "a"]
    assert store.users()[0].startswith("forgotten-")


def test_a_training_that_began_before_ends_without_the_user(known: Path) -> None:
    from graphrec.training import trainer

    with Recommender.open(known) as shop, pytest.MonkeyPatch.context() as patch:
        fit = trainer.fit

        def forgetting(*arguments, **options):
            with Workspace(known).open_store() as elsewhere:
                elsewhere.forget([SECRET])
            return fit(*arguments, **options)

        patch.setattr(trainer, "fit", forgetting)
        shop.train()
        shop.refresh()
        assert shop.profile(SECRET).items == 0
        with shop.reading() as state:
            digest = digest_of(state)
        with Recommender.open(known) as again, again.reading() as state:
            assert digest_of(state) == digest


def test_on_the_command_line(known: Path) -> None:
    reply = CliRunner().invoke(cli.app, ["forget", str(known), SECRET, "nobody", "--json", "--quiet"])
    assert reply.exit_code == 0, reply.output
    assert json.loads(reply.stdout) | {"notes": 0} == {
        "users": 1,
        "events": 13,
        "notes": 0,
        "times": 1,
        "generation": 2,
    }
    with sqlite3.connect(known / "events.db") as connection:
        assert connection.execute("SELECT count(*) FROM users WHERE key = ?", (SECRET,)).fetchone() == (0,)
