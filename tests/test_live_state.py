"""The live state: a function of the log and the generation alone, whatever way it got there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec import live_state
from graphrec.config import Config
from graphrec.digest import state_digest
from graphrec.errors import GenerationError, NotTrainedError
from graphrec.events.event import Event, Item, table_of
from graphrec.events.store import EventStore
from graphrec.generation import Generation, Generations
from graphrec.learned import Learned
from graphrec.live_state import LiveState
from graphrec.open_state import open_state
from graphrec.ranking.pair_features import NAMES
from graphrec.ranking.ranker import Ranker, ranked
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.retrieval.popularity import Popularity
from graphrec.retrieval.retriever import DAY

LEARNED_EVENTS = 700  # of the world, that the fixture was trained on
NOTHING = np.zeros(0, np.int32)


@pytest.fixture(scope="module")
def trained(trained_once: Path, world, encode, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Generation]:
    """The trained generation, given a ranking head, which the world is too small to have learned."""
    config, generations = Config.load(trained_once), Generations(tmp_path_factory.mktemp("with head"))
    with EventStore.open("sqlite://") as store:
        fill(store, world)
        state = open_state(config, store, encode, Generations(trained_once), pytest.fail)
        assert state.learned is not None
        state.learned = replace(state.learned, ranker=any_ranker(0), session_ranker=any_ranker(1))
        state.refresh()
        state.publish(generations, "train", None, {})
    return config, generations.load(1)


def any_ranker(seed: int) -> Ranker:
    rng, width = np.random.default_rng(seed), len(NAMES)
    shapes = ((2, 4, width), (2, 4), (2, 3, 4), (2, 3), (2, 3))
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return Ranker(np.zeros(width, np.float32), np.full(width, 5, np.float32), *weights)


@pytest.fixture(scope="module")
def encode(words):
    return words().encode


@pytest.fixture
def store(world) -> Iterator[EventStore]:
    """The log that the generation has absorbed."""
    with EventStore.open("sqlite://") as opened:
        fill(opened, world)
        yield opened


def fill(store: EventStore, world) -> None:
    store.upsert_items(world.items)
    store.append(table_of(world.events[:LEARNED_EVENTS]))


def tail_of(world) -> list[Event | Item]:
    """What comes after: events, returns, new users and items, new and changed texts, a repeat."""
    events = world.events[LEARNED_EVENTS:]
    first, later = events[0], events[-1].timestamp
    bought = [event for event in world.events[:40] if event.kind == "purchase"]
    returns = [replace(event, kind="return", timestamp=later) for event in bought]
    new = [Event(user, item, timestamp=later + 86_400 * n) for n in range(20) for user, item in NEW_PAIRS]
    texts = [Item("i3", "pot 3", "red garden flower pot after all"), Item("i99", "a pot", "red garden pot"), Item("x")]
    front = [*events[:50], texts[0], *events[50:90], *returns]
    return [*front, texts[1], *new[:40], texts[2], first, *new[40:], *events[90:]]


NEW_PAIRS = [("new", "i99"), ("new", "i2"), ("u1", "nameless"), ("newer", "nameless")]


def bring(store: EventStore, records: list[Event | Item]) -> None:
    """Write records in their order, runs of events in one table."""
    run: list[Event] = []
    for record in [*records, None]:
        if isinstance(record, Event):
            run.append(record)
            continue
        if run:
            store.append(table_of(run))
            run = []
        if record is not None:
            store.upsert_items([record])


def digest(state: LiveState) -> str:
    return state_digest(state.users, state.items, state.retriever.graph, state.catalogue, "")


def lists(state: LiveState) -> list[dict[int, float]]:
    ranker = state.learned.ranker if state.learned is not None else None
    answers = []
    for user in range(len(state.users)):
        candidates, best, scores = ranked(state.retriever, ranker, user, state.retriever.seen(user), 5)
        answers.append(dict(zip(candidates.numbers[best].tolist(), scores.tolist(), strict=True)))
    return answers


def assert_same(one: LiveState, other: LiveState) -> None:
    assert one.offset == other.offset
    assert list(one.users) == list(other.users)
    assert list(one.items) == list(other.items)
    assert digest(one) == digest(other)
    assert one.retriever.index is not None
    np.testing.assert_array_equal(one.texts, other.texts)
    np.testing.assert_array_equal(one.item_features(), other.item_features())
    np.testing.assert_allclose(
        one.retriever.propagation.item_vectors, other.retriever.propagation.item_vectors, atol=1e-5
    )
    np.testing.assert_allclose(one.retriever.index.rows, other.retriever.index.rows, atol=1e-5)
    for user in range(len(one.users)):
        vectors = one.retriever.query(user), other.retriever.query(user)
        assert (vectors[0] is None) == (vectors[1] is None)
        if vectors[0] is not None:
            np.testing.assert_allclose(*vectors, atol=1e-4)  # the scale of about 10 inside
    for mine, yours in zip(lists(one), lists(other), strict=True):
        assert sorted(mine.values()) == pytest.approx(sorted(yours.values()), abs=1e-3)
        for item in mine.keys() ^ yours.keys():  # only a tie at the last place
            both = mine | yours
            assert both[item] == pytest.approx(min(mine.values()), abs=1e-3)


def state_of(config, store, encode, generation, *, snapshot: bool = True) -> LiveState:
    state = LiveState(config, store, encode, Learned.from_generation(generation), generation if snapshot else None)
    state.refresh()
    return state


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 330), max_size=6).map(sorted), batch=st.sampled_from([1, 7, 64, 20_000]))
def test_any_way_to_an_offset_is_the_same(world, trained, encode, cuts: list[int], batch: int) -> None:
    """In one pass, in batches, from the log's first event, and in chunks small enough for bulk loading."""
    config, generation = trained
    records = tail_of(world)
    with EventStore.open("sqlite://") as store, pytest.MonkeyPatch.context() as patch:
        fill(store, world)
        live = state_of(config, store, encode, generation)
        for first, last in zip([0, *cuts], [*cuts, len(records)], strict=True):
            bring(store, records[first:last])
            live.refresh()
        at_once = state_of(config, store, encode, generation)
        patch.setattr(live_state, "_BATCH", batch)
        replayed = state_of(config, store, encode, generation, snapshot=False)
        chunked = state_of(config, store, encode, generation)
    assert len(live.users) == 62
    assert len(live.items) == 43
    for other in (at_once, replayed, chunked):
        assert_same(live, other)


@settings(max_examples=5)
@given(cut=st.integers(1, 330))
def test_a_snapshot_and_the_tail_are_the_whole(world, trained, encode, tmp_path_factory, cut: int) -> None:
    config, generation = trained
    records = tail_of(world)
    generations = Generations(tmp_path_factory.mktemp("published"))
    with EventStore.open("sqlite://") as store:
        fill(store, world)
        bring(store, records[:cut])
        live = state_of(config, store, encode, generation)
        published = live.publish(generations, "rebuild", 1, {})
        assert (published.offset, published.catalogue_offset) == (store.offset, store.catalogue_offset)
        bring(store, records[cut:])
        live.refresh()
        reopened = open_state(config, store, encode, generations, pytest.fail)
        manifest = reopened.manifest
        assert manifest == published
        assert reopened.offset == published.offset  # nothing of the log was read
        assert reopened.refresh() == store.offset - published.offset
    assert_same(live, reopened)


def test_a_snapshot_is_of_its_moment_whatever_the_state_does_meanwhile(world, trained, store, encode, tmp_path) -> None:
    config, generation = trained
    for name in ("at once", "later"):
        (tmp_path / name).mkdir()
    state = state_of(config, store, encode, generation)
    bring(store, tail_of(world)[:60])
    state.refresh()
    state.publish(Generations(tmp_path / "at once"), "rebuild", 1, {})
    snapshot = state.snapshot("rebuild", 1, {})
    bring(store, tail_of(world)[60:])
    state.refresh()
    Generations(tmp_path / "later").publish(*snapshot)
    at_once, later = (Generations(tmp_path / name).load(1) for name in ("at once", "later"))
    assert at_once.manifest.digest == later.manifest.digest
    assert later.manifest.offset < state.offset
    reopened = open_state(config, store, encode, Generations(tmp_path / "later"), pytest.fail)
    reopened.refresh()
    assert_same(state, reopened)


def test_an_open_generation_is_mapped_and_never_written(world, trained, store, encode) -> None:
    config, generation = trained
    state = state_of(config, store, encode, generation)
    assert not state.texts.flags.writeable
    assert state.learned is not None
    assert not state.learned.basis_users.flags.writeable
    before = {name: np.array(array) for name, array in generation.arrays.items()}
    bring(store, tail_of(world))  # new and changed texts among it
    state.refresh()
    for name, array in generation.arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_an_interrupted_encoder_loses_nothing(world, trained, store, encode) -> None:
    config, generation = trained
    calls = 0

    def failing(texts):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        return encode(texts)

    state = LiveState(config, store, failing, Learned.from_generation(generation), generation)
    state.refresh()
    bring(store, tail_of(world))
    with pytest.raises(KeyboardInterrupt):
        state.refresh()
    assert state.refresh() > 0
    assert_same(state, state_of(config, store, encode, generation))


def test_a_changed_text_moves_the_item_and_its_neighbours(world, trained, store, encode) -> None:
    config, generation = trained
    state = state_of(config, store, encode, generation)
    before, rows = state.retriever.propagation.item_vectors.copy(), state.retriever.index.rows.copy()
    learned_texts = generation.array("texts").copy()
    store.upsert_items([Item("i3", "another title", world.items[3].text)])
    assert state.refresh() == 0
    np.testing.assert_array_equal(state.retriever.propagation.item_vectors, before)
    number = state.items.number("i3")
    assert state.catalogue.title(number) == "another title"

    for title in ("", "and then another title"):
        store.upsert_items([Item("i3", title, "red garden flower pot")])
    state.refresh()
    moved = np.abs(state.retriever.propagation.item_vectors - before).max(axis=1)
    assert moved[number] > 0.01
    assert np.abs(state.retriever.index.rows - rows).max(axis=1)[number] > 0.001
    np.testing.assert_array_equal(generation.array("texts"), learned_texts)
    assert_same(state, state_of(config, store, encode, generation, snapshot=False))


def test_a_new_item_is_placed_by_its_text(trained, store, encode) -> None:
    config, generation = trained
    state = state_of(config, store, encode, generation)
    store.upsert_items([Item("new pot", "", "red garden flower pot"), Item("new mug", "", "blue kitchen coffee mug")])
    state.refresh()
    vectors = state.retriever.index.rows[:, :-1]
    pots = [state.items.number(f"i{n}") for n in range(0, 20, 2)]
    mugs = [state.items.number(f"i{n}") for n in range(1, 20, 2)]
    pot, mug = vectors[state.items.number("new pot")], vectors[state.items.number("new mug")]
    assert (vectors[pots] @ pot).mean() > (vectors[mugs] @ pot).mean() + 0.25
    assert (vectors[mugs] @ mug).mean() > (vectors[pots] @ mug).mean() + 0.25


def test_only_new_texts_meet_the_encoder(trained, store, encode) -> None:
    config, generation = trained
    met: list[str] = []

    def noting(texts):
        met.extend(texts)
        return encode(texts)

    state = LiveState(config, store, noting, Learned.from_generation(generation), generation)
    state.refresh()
    assert met == []
    store.upsert_items([Item("i3", "other", "blue kitchen coffee mug number 3"), Item("n"), Item("m", "a mug")])
    store.append(table_of([Event("u1", "of no text", timestamp=1_800_000_000)]))
    state.refresh()
    assert met == ["", "a mug", ""]


@pytest.mark.parametrize(
    "setting",
    [
        {"events": {"kinds": {"view": 1.0, "purchase": 2.0, "return": -2.0}}},
        {"graph": {"half_life_days": 30.0}},
        {"retrieval": {"popularity_half_life_days": 3.0}},
    ],
)
def test_under_other_settings_the_log_is_replayed(trained, store, encode, setting) -> None:
    config, generation = trained
    same = state_of(config, store, encode, generation)
    assert LiveState(config, store, encode, Learned.from_generation(generation), generation).offset == store.offset
    other = Config(**(config.model_dump() | setting))
    state = LiveState(other, store, encode, Learned.from_generation(generation), generation)
    assert state.offset == 0
    assert state.refresh() == LEARNED_EVENTS
    assert_same(state, state_of(other, store, encode, generation, snapshot=False))
    assert np.abs(state.retriever.index.rows - same.retriever.index.rows).max() > 1e-4


def test_a_kind_that_is_configured_no_more_counts_as_nothing(trained, store, encode) -> None:
    config, _ = trained
    other = Config(**(config.model_dump() | {"events": {"kinds": {"view": 1.0}}}))
    state = LiveState(other, store, encode)
    state.refresh()
    assert state.kind_weights().tolist() == [1.0 if kind == "view" else 0.0 for kind in store.kinds()]


def test_rebuilding_folds_later_items_in(world, trained, store, encode) -> None:
    config, generation = trained
    bring(store, tail_of(world))
    state = state_of(config, store, encode, generation)
    rebuilt = state.rebuilt()
    nameless, untouched = state.items.number("nameless"), state.items.number("x")
    assert state.learned is not None
    assert rebuilt.learned is not None
    before, after = state.learned.basis_items, rebuilt.learned.basis_items
    assert nameless >= len(before)
    assert len(after) == len(state.items)
    assert after[nameless].any()
    assert not after[untouched].any()
    known = np.flatnonzero(before.any(axis=1))
    assert len(known) == 40
    np.testing.assert_array_equal(after[known], before[known])
    assert np.abs(rebuilt.item_features()[nameless] - state.item_features()[nameless]).max() > 0.01
    assert digest(rebuilt) == digest(state)
    assert rebuilt.offset == state.offset
    assert_same(state, state_of(config, store, encode, generation))  # the first one goes on unchanged


def test_nothing_is_published_before_training(store, encode, tmp_path: Path) -> None:
    state = LiveState(Config(), store, encode)
    assert state.refresh() == LEARNED_EVENTS
    store.upsert_items([Item("x", "never seen")])
    assert state.refresh() == 0
    assert (len(state.items), state.retriever.n_items, state.retriever.graph.n_items) == (41, 41, 41)
    with pytest.raises(NotTrainedError):
        state.publish(Generations(tmp_path), "train", None, {})
    with pytest.raises(NotTrainedError):
        state.rebuilt()
    assert Generations(tmp_path).numbers() == []


def opened(config, store, encode, generations) -> tuple[int | None, list[str]]:
    warnings: list[str] = []
    state = open_state(config, store, encode, generations, warnings.append)
    manifest = state.manifest
    state.refresh()
    assert (state.learned is None) == (manifest is None)
    return None if manifest is None else manifest.number, warnings


def test_a_generation_that_does_not_fit_is_skipped(world, trained, store, encode, trained_once, tmp_path) -> None:
    config, generation = trained
    generations = Generations(trained_once)
    assert opened(config, store, encode, generations) == (1, [])
    for n_items, n_events in ((40, 100), (30, LEARNED_EVENTS)):
        with EventStore.open("sqlite://") as shorter:
            shorter.upsert_items(world.items[:n_items])
            shorter.append(table_of(world.events[:n_events]))
            number, (warning,) = opened(config, shorter, encode, generations)
            assert number is None
            assert "shorter log" in warning
    other = Config(**(config.model_dump() | {"text": {"model": "another/model"}}))
    number, (warning,) = opened(other, store, encode, generations)
    assert number is None
    assert "another text model" in warning

    own = Generations(tmp_path)
    state = state_of(config, store, encode, generation)
    state.publish(own, "rebuild", None, {})
    narrow = replace(state.learned.ranker, mean=np.zeros(3, np.float32))
    state.learned = replace(state.learned, ranker=narrow)
    state.publish(own, "train", None, {})
    number, (warning,) = opened(config, store, encode, own)
    assert number == 1
    assert "other features" in warning
    with pytest.raises(GenerationError, match="other features"):
        Learned.from_generation(own.load(2))


CHOSEN = Choices(3.5, FilterShape(seed_exponent=0.6, target_exponent=0.4, slope=2.0, lift=0.5))


@pytest.fixture
def chosen(trained, store, encode, tmp_path: Path) -> tuple[LiveState, Generations]:
    """A state under other choices than the defaults, and the generation it published."""
    config, generation = trained
    learned = replace(Learned.from_generation(generation), choices=CHOSEN)
    state = LiveState(config, store, encode, learned, catalogue_offset=generation.manifest.catalogue_offset)
    state.refresh()
    generations = Generations(tmp_path)
    state.publish(generations, "train", None, {})
    return state, generations


def reopened(config: Config, store: EventStore, encode, generations: Generations) -> tuple[LiveState, int]:
    """The state of the newest generation, and how many events it had to replay."""
    state = open_state(config, store, encode, generations, pytest.fail)
    manifest = state.manifest
    assert manifest is not None
    assert Choices.from_dict(manifest.choices) == CHOSEN
    return state, state.refresh()


def test_what_was_chosen_survives_a_generation(trained, store, encode, chosen) -> None:
    config, generation = trained
    state, generations = chosen
    again, replayed = reopened(config, store, encode, generations)
    assert replayed == 0
    assert again.learned is not None
    assert again.learned.choices == again.retriever.choices == state.retriever.choices == CHOSEN
    assert again.retriever.filter.shape == CHOSEN.filter
    assert again.retriever.recent.half_life == 3.5 * DAY
    assert_same(state, again)
    other = state_of(config, store, encode, generation)
    for user in range(len(state.users)):
        mine, yours, others = (each.retriever.candidates(user, NOTHING) for each in (state, again, other))
        np.testing.assert_array_equal(mine.numbers, yours.numbers)
        np.testing.assert_allclose(mine.filtered, yours.filtered, rtol=1e-6)
        assert np.abs(np.sort(mine.filtered)[-3:] - np.sort(others.filtered)[-3:]).max() > 1e-3


def test_a_half_life_that_is_fixed_afterwards_wins(trained, store, encode, chosen) -> None:
    config, _ = trained
    state, generations = chosen
    fixed = Config(**(config.model_dump() | {"retrieval": {"popularity_half_life_days": 0.5}}))
    again, replayed = reopened(fixed, store, encode, generations)
    assert replayed == LEARNED_EVENTS  # the snapshot's popularity is of another half-life
    assert again.retriever.choices == replace(CHOSEN, popularity_half_life_days=0.5)
    literal = Popularity(0.5 * DAY)
    literal.grow(len(again.items))
    for events in store.scan(0, store.offset):
        wanted = again.kind_weights()[events.kinds] > 0
        literal.add(events.items[wanted], events.timestamps[wanted])
    np.testing.assert_allclose(again.retriever.recent.counts(), literal.counts(), rtol=1e-9)
    assert np.abs(again.retriever.recent.counts() - state.retriever.recent.counts()).max() > 1
    assert_same(again, state_of(fixed, store, encode, generations.load(1), snapshot=False))


def test_a_filter_that_is_fixed_afterwards_wins_without_a_replay(trained, store, encode, chosen) -> None:
    config, _ = trained
    fixed = Config(**(config.model_dump() | {"filter": {"slope": 1.0, "lift": 0.0}}))
    again, replayed = reopened(fixed, store, encode, chosen[1])
    assert replayed == 0
    assert again.retriever.filter.shape == replace(CHOSEN.filter, slope=1.0, lift=0.0)


def test_choices_of_another_version_are_skipped(trained, store, encode, tmp_path: Path) -> None:
    config, generation = trained
    own, weights = Generations(tmp_path), generation.weights
    for choices in ({}, {"filter": {"colour": 3.0}}, {**CHOSEN.to_dict(), "colour": 3.0}):
        draft = replace(generation.manifest, choices=choices)
        own.publish(draft, weights, generation.arrays, lambda path: path.write_bytes(b""))
        number, (warning, *_) = opened(config, store, encode, own)
        assert number is None
        assert "other numbers were chosen" in warning


def test_both_heads_survive_a_generation(trained: tuple[Config, Generation]) -> None:
    learned = Learned.from_generation(trained[1])
    for seed, head in enumerate((learned.ranker, learned.session_ranker)):
        assert head is not None
        for name, array in any_ranker(seed).arrays().items():
            np.testing.assert_array_equal(head.arrays()[name], array)
