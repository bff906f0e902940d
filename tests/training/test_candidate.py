"""A candidate goes the whole way: made without the newest events, judged, and published, held or rejected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphrec.errors import GenerationError, StoreError
from graphrec.events.event import Event, table_of
from graphrec.events.part_of_log import PartOfLog
from graphrec.events.store import EventStore
from graphrec.recommender import Recommender
from graphrec.training.trainer import train
from graphrec.training.updater import continued

GATE = "[gate]\nleast_questions = 20\nfresh_share = 0.5\npanel_loss = 0.1\nallowance = 2.0\n"
SINCE = 700


@pytest.fixture
def gated(shop: Path) -> Path:
    with (shop / "graphrec.toml").open("a") as file:
        file.write(GATE)
    return shop


def proposed(shop: Path, batch: list[Event], make=None):
    """Ingest a batch, propose, and tell what became of it and which generation is live."""
    with Recommender.open(shop) as recommender:
        recommender.ingest(batch)
        found = recommender.propose(make)
        return found, recommender.generation


def untouched(state, store, encode, progress):
    """A maker whose model is the live one."""
    return state, {}


def scrambled(state, store, encode, progress):
    """A maker whose model has its items mixed up."""
    made, metrics = train(state, store, encode, progress)
    learned = made.learned
    order = np.random.default_rng(0).permutation(len(learned.basis_items))
    made.learned = replace(learned, basis_items=learned.basis_items[order], ranker=None, session_ranker=None)
    return made, metrics


def test_a_part_of_the_log_ends_where_it_says(world) -> None:
    store = EventStore.open("sqlite://")
    store.append(table_of(world.events))
    part = PartOfLog(store, 100, 250)
    assert part.offset == 250
    read = np.concatenate([chunk.offsets for chunk in part.scan(chunk=60)])
    assert read.tolist() == list(range(101, 251))
    assert part.read(after=240, until=900).offsets.tolist() == list(range(241, 251))
    assert part.users() == store.users()
    assert PartOfLog(store, 300, 250).offset == 0
    with pytest.raises(StoreError, match="cannot be written"):
        part.append(table_of(world.events[:1]))


def test_a_good_batch_is_published_with_its_report(gated: Path, world) -> None:
    found, live = proposed(gated, world.events[SINCE:])
    assert (found.verdict, found.generation, live) == ("publish", 2, 2)
    with Recommender.open(gated) as recommender:
        manifest = recommender.manifests()[-1]
        assert manifest.metrics["gate"]["verdict"] == "publish"
        assert manifest.metrics["gate"]["held_out"] == 100
        assert (manifest.parent, manifest.offset, recommender.offset) == (1, 900, 900)
        row = recommender.gate_log.last()
    assert row["report"]["comparisons"][0]["name"] == "fresh"
    assert (row["verdict"], row["generation"], row["parent"]) == ("publish", 2, 1)


def test_the_maker_is_not_shown_the_newest_events(gated: Path, world) -> None:
    seen = {}

    def watching(state, store, encode, progress):
        seen["state"], seen["store"] = state.offset, store.offset
        seen["read"] = max(int(chunk.offsets[-1]) for chunk in store.scan())
        return state, {}

    found, _ = proposed(gated, world.events[SINCE:], watching)
    assert seen == {"state": 800, "store": 800, "read": 800}
    assert (found.report["new_events"], found.report["held_out"]) == (200, 100)


def test_a_window_hides_the_oldest_events_from_the_maker_only(gated: Path, world) -> None:
    with Recommender.open(gated) as recommender:
        recommender.ingest(world.events[SINCE:])
        recommender.ingest([Event("u1", "old item", timestamp=world.events[0].timestamp)])
        known = {}

        def windowed(state, store, encode, progress):
            made, metrics = train(state, store, encode, progress)
            known["edges"] = made.retriever.graph.n_edges
            return made, metrics

        recommender.propose(windowed, after=500)
        assert known["edges"] < recommender.graph.n_edges * 0.6


def test_a_worse_model_is_rejected_and_leaves_only_its_report(gated: Path, world) -> None:
    found, live = proposed(gated, world.events[SINCE:], scrambled)
    assert (found.verdict, found.generation, live) == ("reject", None, 1)
    assert [path.name for path in (gated / "generations").iterdir()] == ["000001"]
    with Recommender.open(gated) as recommender:
        assert recommender.gate_log.last()["verdict"] == "reject"


def poisoned(world, name: str) -> list[Event]:
    """The batch, poisoned as in `evaluation/poisoned.py`, by id."""
    rng = np.random.default_rng(5)
    batch, times = world.events[SINCE:], [event.timestamp for event in world.events[SINCE:]]
    if name == "flipped":
        return [replace(event, kind="return") for event in batch]
    if name == "flooded":
        flood = [Event(f"u{n % 60}", "i38", "view", timestamp=times[n]) for n in range(120)]
    else:
        flood = [Event("u1", f"i{rng.integers(40)}", "view", timestamp=times[n]) for n in range(150)]
    return sorted([*batch, *flood], key=lambda event: event.timestamp)


@pytest.mark.parametrize("name", ["flipped", "flooded", "bot"])
def test_a_poisoned_batch_is_not_published(gated: Path, world, name: str) -> None:
    """Even by a maker that has learned nothing from it: the events themselves are what is wrong."""
    found, live = proposed(gated, poisoned(world, name), untouched)
    assert found.verdict == "reject", found.reasons
    assert live == 1


def test_a_held_candidate_waits_for_a_person(gated: Path, world, tmp_path: Path) -> None:
    with (gated / "graphrec.toml").open("a") as file:
        file.write("\n")
    text = (gated / "graphrec.toml").read_text().replace("least_questions = 20", "least_questions = 5000")
    (gated / "graphrec.toml").write_text(text)
    found, live = proposed(gated, world.events[SINCE:])
    assert (found.verdict, found.generation, live) == ("hold", 2, 1)
    assert "questions" in found.reasons[0]

    # nothing opens it by accident: not when the pointer is lost, nor when the live one is damaged
    lost = Path(shutil.copytree(gated, tmp_path / "lost"))
    (lost / "CURRENT").unlink()
    with Recommender.open(lost) as recommender:
        assert recommender.generation == 1
    (lost / "generations" / "000001" / "index.faiss").write_bytes(b"")
    with Recommender.open(lost) as recommender:
        assert recommender.generation is None

    with Recommender.open(gated) as recommender, Recommender.open(gated) as other:
        assert recommender.publish(2).number == 2
        assert recommender.generation == 2
        other.refresh()
        assert other.generation == 2
        with pytest.raises(GenerationError):
            recommender.publish(7)
        assert recommender.generation == 2


def test_the_first_model_has_nothing_to_pass(tmp_path: Path, world, word_encoder) -> None:
    with Recommender.create(tmp_path / "first") as recommender:
        (tmp_path / "first" / "graphrec.toml").write_text(world.settings)
    with Recommender.open(tmp_path / "first") as recommender:
        recommender.ingest(world.events[:300])
        found = recommender.propose()
        assert (found.verdict, found.generation, found.report) == ("publish", 1, None)
        assert recommender.generation == 1


def test_a_rollback_meanwhile_is_not_undone(gated: Path, world) -> None:
    with Recommender.open(gated) as recommender:
        recommender.train()
        recommender.ingest(world.events[SINCE:])

        def slow(state, store, encode, progress):
            with Recommender.open(gated) as person:
                person.rollback()
            return state, {}

        found = recommender.propose(slow)
        assert found.verdict == "hold"
        assert "meanwhile" in found.reasons[0]
        assert recommender.generation == 1


def test_an_update_learns_what_the_gate_does_not_ask_about_and_the_rest_the_next_time(gated: Path, world) -> None:
    with Recommender.open(gated) as recommender:
        recommender.ingest(world.events[SINCE:])
        live = recommender._state.learned
        assert live is not None
        assert live.until == SINCE
        first = recommender.update()
        assert first.verdict == "publish", first.reasons
        learned = recommender._state.learned
        assert learned is not None
        assert learned.until == 800  # the gate's half is for the next update
        assert recommender.status().events_since == 100
        assert not np.array_equal(learned.model.sage.item_root2, live.model.sage.item_root2)
        assert recommender.offset == 900
    with Recommender.open(gated) as recommender:
        assert recommender._state.learned is not None
        assert recommender._state.learned.until == 800


@pytest.mark.parametrize(("mode", "steps"), [("online", 2), ("window", None)])
def test_the_mode_of_the_trigger_says_what_an_update_learns_from(
    gated: Path, world, mode: str, steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (gated / "graphrec.toml").open("a") as file:
        file.write(f'[trigger]\nmode = "{mode}"\nmicro_batch = 60\nwindow_days = 30\n')
    sizes = []

    def noting(parent, old, new, *rest):
        sizes.append((len(old), len(new)))
        return continued(parent, old, new, *rest)

    monkeypatch.setattr("graphrec.training.updater.continued", noting)
    with Recommender.open(gated) as recommender:
        recommender.ingest(world.events[SINCE:])
        recommender.update()
    if steps:
        assert sizes == [(700, 60), (760, 40)]
    else:
        ((old, new),) = sizes
        assert old < 500
        assert new == 100
