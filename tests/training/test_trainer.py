"""Training as a whole: what it returns, what it is told, and that the head never sees what it must predict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphrec.config import Config, FilterSettings, GenerationSettings
from graphrec.embedding.node_features import unit_rows
from graphrec.errors import InputError
from graphrec.events.event import Event, Item, table_of
from graphrec.events.interactions import Interactions
from graphrec.events.store import EventStore
from graphrec.live_state import LiveState
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.graph_filter import FilterShape
from graphrec.training import trainer
from graphrec.training.trainer import basis_of, embed, fit, log_of, train

CONFIG = Config(
    embedding={"spectral_dimensions": 8, "text_dimensions": 4, "hidden_dimensions": 16, "dimensions": 8},
    filter={"dimensions": 12},
    retrieval={"sage": 10, "filter": 10, "popular": 5},
    training={"steps": 5, "batch_size": 64, "slice_share": 0.2, "ranker_seeds": 2},
)


@pytest.fixture
def state(world, words) -> LiveState:
    store = EventStore.open("sqlite://")
    store.upsert_items(world.items[:30])
    store.append(table_of(world.events))
    store.append(table_of([Event("u1", "i1", "return", timestamp=world.events[0].timestamp)]))  # late, of long ago
    found = LiveState(CONFIG, store, words().encode)
    found.refresh()
    return found


def test_the_log_is_in_the_order_of_time_with_the_kinds_weights(state: LiveState, world) -> None:
    log = log_of(state, state._store)
    assert len(log) == 901
    assert (np.diff(log.timestamps) >= 0).all()
    assert log.weights[:2].tolist() == [state.config.events.kinds[world.events[0].kind], -5.0]
    assert (log.n_users, log.n_items) == (60, 40)


def test_training_gives_a_state_at_the_same_offset(state: LiveState, words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphrec.training.ranker_trainer._is_positive", lambda gains: True)
    stages: dict[str, list[tuple[int, int]]] = {}
    renewed, metrics = train(
        state,
        state._store,
        words().encode,
        lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )
    assert renewed is not state
    assert state.learned is None
    assert renewed.offset == state.offset == 901
    assert renewed.learned is not None
    assert renewed.learned.ranker is not None
    assert metrics["ranking_head"] is True
    assert set(stages) == {
        "graph filter",
        "embedding, base",
        "ranking lists",
        "session lists",
        "ranking head",
        "embedding, whole log",
        "graph",
    }
    for steps in stages.values():
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps)
    numbers = [state.items.number(f"i{n}") for n in range(40)]
    described = renewed.texts.any(axis=1)
    assert [bool(described[number]) for number in numbers] == [True] * 30 + [False] * 10
    assert renewed.retriever.choices == renewed.learned.choices
    assert renewed.learned.basis_items.shape == (40, 12)


def test_what_comes_during_training_counts_when_it_is_done(state: LiveState, words) -> None:
    arrived = False

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal arrived
        if not arrived:
            arrived = True
            state._store.append(table_of([Event("late", "i1", timestamp=1_710_000_000)]))

    renewed, _ = train(state, state._store, words().encode, progress)
    assert renewed.offset == 902
    assert "late" in renewed.users
    assert renewed.retriever.has_history(renewed.users.number("late"))


def test_the_head_sees_only_what_came_before_its_slice(state: LiveState, monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(state, state._store)
    met = {}

    def noting(retriever, newest, seeds, progress):
        met.update(retriever=retriever, newest=newest, seeds=seeds)
        return None, None

    monkeypatch.setattr(trainer, "train_rankers", noting)
    trained = fit(log, state.all_text_vectors(), CONFIG, lambda stage, done, total: None)
    assert trained.ranker is None
    cut = int(0.8 * len(log))
    assert met["seeds"] == 2
    graph = met["retriever"].graph
    before = {(user, int(item)) for user in range(graph.n_users) for item in graph.user_row(user)[0]}
    assert before == set(zip(log.users[:cut].tolist(), log.items[:cut].tolist(), strict=True))
    assert met["retriever"].recent.newest == log.timestamps[:cut].max()
    np.testing.assert_array_equal(met["newest"].timestamps, log.timestamps[cut:])


def test_the_basis_is_of_who_met_what_and_not_of_how_much(state: LiveState) -> None:
    log = log_of(state, state._store)
    heavier = replace(log, weights=np.where(log.weights > 0, log.weights * 3 + 1, log.weights * 9))
    none = np.zeros((40, 0), np.float32)
    fitted = [fit(each, none, CONFIG, lambda stage, done, total: None) for each in (log, heavier)]
    np.testing.assert_array_equal(fitted[0].basis.items, fitted[1].basis.items)
    np.testing.assert_array_equal(fitted[0].basis.values, fitted[1].basis.values)


def test_an_empty_log_is_an_error(words) -> None:
    with EventStore.open("sqlite://") as store:
        state = LiveState(CONFIG, store, words().encode)
        state.refresh()
        with pytest.raises(InputError, match="nothing to learn from"):
            train(state, store, words().encode, lambda stage, done, total: None)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_a_log_of_a_few_events(n: int) -> None:
    log = Interactions(np.zeros(n, np.int32), np.arange(n, dtype=np.int32), np.arange(n) + 10**15, np.ones(n), 1, n)
    trained = fit(log, np.zeros((n, 0), np.float32), CONFIG, lambda stage, done, total: None)
    assert trained.ranker is None
    assert trained.basis.items.shape == (n, 12)
    assert trained.choices.filter == FilterShape()  # nothing tells one from another
    assert all(np.isfinite(array).all() for array in trained.model.arrays().values())


def test_no_pair_that_counts() -> None:
    log = Interactions(np.zeros(3, np.int32), np.arange(3, dtype=np.int32), np.arange(3) + 10**15, -np.ones(3), 1, 3)
    trained = fit(log, np.zeros((3, 0), np.float32), CONFIG, lambda stage, done, total: None)
    assert not trained.basis.items.any()


def test_graphsage_reads_the_leading_coordinates_of_the_filters_basis(state: LiveState) -> None:
    log, texts = log_of(state, state._store), state.all_text_vectors()
    basis = basis_of(log, CONFIG)
    assert basis.items.shape == (40, 12)  # the filter's frequencies, of which GraphSAGE wants 8
    told: list[tuple[int, int]] = []
    model, _ = embed(log, basis, texts, CONFIG, Choices(), lambda *step: told.append(step))
    assert told == [(done, 5) for done in range(1, 6)]
    features = model.features.features(basis.items, texts)
    assert features.shape == (40, model.sage.item_root1.shape[1]) == (40, 8 + 4)
    known = basis.items.any(axis=1)
    np.testing.assert_allclose(features[known, :8], unit_rows(basis.items[known, :8]), atol=1e-6)
    wide = CONFIG.model_copy(update={"filter": FilterSettings(dimensions=3)})
    assert basis_of(log, wide).items.shape == (40, 8)


def test_texts_are_kept_in_half_the_bytes_and_answer_alike(state: LiveState, words) -> None:
    def kept_as(texts: str) -> LiveState:
        state.config = CONFIG.model_copy(update={"generations": GenerationSettings(texts=texts)})
        return train(state, state._store, words().encode, lambda stage, done, total: None)[0]

    half, full = kept_as("float16"), kept_as("float32")
    assert half.snapshot("train", None, {}).arrays["texts"].dtype == np.float16
    assert full.snapshot("train", None, {}).arrays["texts"].nbytes == 2 * half.texts.nbytes
    assert 0 < np.abs(half.texts - full.texts).max() < 1e-3
    np.testing.assert_allclose(half.item_features(), full.item_features(), atol=2e-3)

    state._store.upsert_items([Item("i1", "another text"), Item("later", "red cup")])
    for renewed in (half, full):  # whatever comes later is kept alike
        renewed.refresh()
        assert len(renewed.texts) == len(renewed.items)
    assert (half.texts.dtype, full.texts.dtype) == (np.float16, np.float32)
    assert half.texts[half.items.number("later")].any()
