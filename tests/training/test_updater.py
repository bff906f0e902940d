"""An update: what each of its settings does to what was learned, on a world whose tastes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from update_world import CONFIG, NO_TEXTS, log_of, loss_of, nothing, trained_on, updating

from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.moments import Moments
from graphrec.embedding.spectral import drift, normalised, spectral_basis
from graphrec.errors import InputError, NotTrainedError
from graphrec.events.event import table_of
from graphrec.events.interactions import Interactions
from graphrec.events.store import EventStore
from graphrec.generation import Generations
from graphrec.learned import Learned
from graphrec.live_state import LiveState
from graphrec.ranking.pair_features import NAMES
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.cold_items import ColdModel
from graphrec.training import ranker_updater, sage_updater
from graphrec.training.cold_trainer import cf_vectors
from graphrec.training.sage_trainer import SageNetwork
from graphrec.training.time_cuts import positive_pairs
from graphrec.training.trainer import Trained, retriever_of, train
from graphrec.training.updater import continued, rebased, update

CUT = 600  # events of the world that are old


@pytest.fixture(scope="module")
def log(world) -> Interactions:
    return log_of(world)


@pytest.fixture(scope="module")
def parent(log) -> Trained:
    return trained_on(log.take(slice(CUT)))


def parts(log: Interactions) -> tuple[Interactions, Interactions]:
    return log.take(slice(CUT)), log.take(slice(CUT, None))


def after(parent: Trained, log: Interactions, **settings: object) -> Trained:
    """Updated on the newest third, by GraphSAGE alone."""
    return continued(parent, *parts(log), NO_TEXTS, updating(ranker_epochs=0, freeze="head+sage", **settings), nothing)


def apart(one: SageWeights, other: SageWeights) -> float:
    """Distance between all weights."""
    return float(np.sqrt(sum(((getattr(one, f.name) - getattr(other, f.name)) ** 2).sum() for f in fields(one))))


def same(one: SageWeights, other: SageWeights) -> bool:
    return apart(one, other) == 0


def swapped_loss(trained: Trained, world) -> tuple[float, float]:
    """Of what the new taste asks for, and of what the old taste asked for, from the old graph."""
    old, new = parts(log_of(world, swapped=CUT))
    coordinates = trained.basis.items[:, :8]
    now = loss_of(trained.model, coordinates, old.joined(new.take(slice(150))), new.take(slice(150, None)))
    before = loss_of(trained.model, coordinates, old.take(slice(400)), old.take(slice(400, None)))
    return now, before


def test_an_update_expects_better_what_comes(parent, world) -> None:
    log = log_of(world, swapped=CUT)
    old, new = parts(log)
    first = new.take(slice(150))
    updated = continued(parent, old, first, NO_TEXTS, updating(freeze="head+sage"), nothing)
    assert swapped_loss(updated, world)[0] < swapped_loss(parent, world)[0] - 0.05


def test_what_is_frozen_stays(parent, log) -> None:
    moved = {}
    for freeze in ("head", "head+sage", "all"):
        config = updating(freeze=freeze)
        updated = continued(parent, *parts(log), NO_TEXTS, config, nothing)
        moved[freeze] = (
            same(updated.model.sage, parent.model.sage),
            np.array_equal(updated.basis.items, parent.basis.items),
        )
    assert moved == {"head": (True, True), "head+sage": (False, True), "all": (False, False)}


def test_replay_keeps_what_was_learned(parent, world) -> None:
    """Tastes are the other way round from now on; who is shown old events too forgets the old taste less."""
    log = log_of(world, swapped=CUT)
    forgotten = {
        replay: np.mean(
            [swapped_loss(after(parent, log, replay=replay, **draw), world)[1] for draw in ({}, {"steps": 40})]
        )
        for replay in ("none", "uniform", "recency", "inverse_degree")
    }
    assert max(forgotten[kind] for kind in ("uniform", "recency", "inverse_degree")) < forgotten["none"] - 0.02


def test_more_replay_keeps_more(parent, world) -> None:
    log = log_of(world, swapped=CUT)
    kept = [swapped_loss(after(parent, log, replay_ratio=ratio), world)[1] for ratio in (0.2, 4.0)]
    assert kept[1] < kept[0]
    none = after(parent, log, replay_ratio=0.0)
    assert same(none.model.sage, after(parent, log, replay="none").model.sage)


@pytest.mark.parametrize("teaching", ["distil_vectors", "distil_lists"])
def test_distillation_holds_on_to_the_old_model(parent, world, teaching: str) -> None:
    log = log_of(world, swapped=CUT)
    if teaching == "distil_vectors":  # only items without a new event are held on to: leave some
        new = log.take(slice(CUT, None))
        log = log.take(slice(CUT)).joined(new.take(new.items < 20))
    vectors = {}
    old = log.take(slice(CUT))
    for weight in (0.0, 20.0):
        updated = continued(
            parent,
            old,
            log.take(slice(CUT, None)),
            NO_TEXTS,
            updating(ranker_epochs=0, freeze="head+sage", **{teaching: weight}),
            nothing,
        )
        retriever = retriever_of(old, updated, NO_TEXTS, CONFIG)
        vectors[weight] = retriever.vectors(np.arange(20, 40, dtype=np.int32))
    before = retriever_of(old, parent, NO_TEXTS, CONFIG).vectors(np.arange(20, 40, dtype=np.int32))
    moved = {weight: float((1 - (found * before).sum(1)).mean()) for weight, found in vectors.items()}
    assert moved[20.0] < 0.8 * moved[0.0]


def test_moments_go_on(parent, log) -> None:
    warm, cold = after(parent, log), after(parent, log, moments=False)
    assert parent.moments is not None
    assert warm.moments is not None
    assert cold.moments is not None
    assert (parent.moments.steps, warm.moments.steps, cold.moments.steps) == (40, 70, 30)
    assert not same(warm.model.sage, cold.model.sage)
    # A first step of Adam without a memory has the length of the rate in every weight.
    one = {
        moments: apart(after(parent, log, steps=1, warm_up=0.0, moments=moments).model.sage, parent.model.sage)
        for moments in (True, False)
    }
    assert one[True] < 0.5 * one[False]
    again = continued(warm, *parts(log), NO_TEXTS, updating(freeze="head+sage"), nothing)
    assert again.moments is not None
    assert again.moments.steps == 100


def test_an_average_over_the_steps_stays_nearer_to_the_start(parent, log) -> None:
    last, mean = (after(parent, log, ema=memory).model.sage for memory in (0.0, 0.97))
    assert 0 < apart(mean, parent.model.sage) < 0.8 * apart(last, parent.model.sage)


def test_several_updates_are_averaged(parent, log) -> None:
    one, two = (after(parent, log, average=number).model.sage for number in (1, 2))
    assert 0 < apart(two, one) < apart(two, parent.model.sage)
    half = two.item_root2 - one.item_root2 / 2  # what is left is half of the other update
    assert np.linalg.norm(2 * half - parent.model.sage.item_root2) == pytest.approx(
        np.linalg.norm(one.item_root2 - parent.model.sage.item_root2), rel=0.5
    )


def test_weight_decay_shrinks(parent, log) -> None:
    lengths = [np.linalg.norm(after(parent, log, weight_decay=decay).model.sage.item_root1) for decay in (0.0, 5.0)]
    assert lengths[1] < 0.9 * lengths[0]


def test_the_rate_rises_and_falls() -> None:
    rates = [sage_updater.rate(step, 20, 0.2) for step in range(20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert (np.diff(rates[4:]) < 0).all()
    assert 0 < rates[-1] < 0.02
    assert sage_updater.rate(0, 20, 0.0) == 1
    assert sage_updater.rate(0, 1, 1.0) == 1


def test_it_stops_where_the_newest_events_are_expected_worse(parent, log) -> None:
    """The newest events are what the parent knows best, those before them the opposite: each step is a loss."""
    old, new = parts(log)
    newest = new.take(slice(200, None))
    settings = {"ranker_epochs": 0, "freeze": "head+sage"}
    taught = continued(parent, old, newest, NO_TEXTS, updating(**settings, steps=100, replay="none"), nothing)
    misled = replace(new, items=np.where(np.arange(len(new)) < 200, new.items ^ 1, new.items))
    told: dict[float, int] = {}
    found = {}
    for share in (0.0, 1 / 3):

        def count(stage: str, done: int, total: int, share: float = share) -> None:
            if stage.startswith("embedding"):
                told[share] = done

        config = updating(**settings, check_share=share, patience=2, replay="none")
        found[share] = continued(taught, old, misled, NO_TEXTS, config, count).model.sage
    assert told == {0.0: 30, 1 / 3: 10}
    assert same(found[1 / 3], taught.model.sage)
    assert not same(found[0.0], taught.model.sage)


def test_dropout_of_coordinates_needs_texts(parent, log) -> None:
    assert same(after(parent, log, dropout=0.5).model.sage, after(parent, log, dropout=0.0).model.sage)


def test_a_turned_basis_is_read_as_before(parent, log) -> None:
    """One power iteration from the old basis is the present one; what GraphSAGE says of it has hardly changed."""
    old, _ = parts(log)
    moved = rebased(parent, positive_pairs(log), NO_TEXTS, CONFIG)
    exact = spectral_basis(normalised(positive_pairs(log)), 12, iterations=30)
    np.testing.assert_allclose(moved.basis.values[:4], exact.values[:4], rtol=0.02)
    flipped = replace(parent, basis=replace(parent.basis, items=-parent.basis.items[:, ::-1].copy()))
    naive = replace(parent, basis=moved.basis)
    vectors = {
        name: retriever_of(old, each, NO_TEXTS, CONFIG).vectors(np.arange(40, dtype=np.int32))
        for name, each in {"before": parent, "turned": moved, "as it is": naive, "flipped": flipped}.items()
    }
    agreement = {name: float((found * vectors["before"]).sum(1).mean()) for name, found in vectors.items()}
    assert agreement["turned"] > agreement["as it is"]
    assert agreement["turned"] > agreement["flipped"] + 0.1
    assert agreement["turned"] > 0.9


def test_a_basis_that_has_hardly_drifted_is_kept(parent, log) -> None:
    old, _ = parts(log)
    same_matrix = normalised(positive_pairs(old))
    assert drift(same_matrix, parent.basis) < drift(normalised(positive_pairs(log)), parent.basis)
    settings = CONFIG.model_copy(update={"update": CONFIG.update.model_copy(update={"basis_tolerance": 1e6})})
    assert rebased(parent, positive_pairs(log), NO_TEXTS, settings) is parent
    assert rebased(parent, positive_pairs(log), NO_TEXTS, CONFIG) is not parent


def test_vectors_of_cold_items_follow_where_texts_point(parent, log, words, world) -> None:
    """The map from texts stays; the CF vectors are turned to it, so a known item is still where it was expected."""
    texts = words().encode([item.text for item in world.items])
    vectors = cf_vectors(positive_pairs(parts(log)[0]), 0)
    cold = ColdModel(texts, np.zeros((40, vectors.shape[1]), np.float32), vectors, 0.5, 2.0, 1.0, True)
    moved = rebased(replace(parent, cold=cold), positive_pairs(log), NO_TEXTS, CONFIG).cold
    assert moved is not None
    present = cf_vectors(positive_pairs(log), 0)
    assert (moved.vectors * vectors).sum(1).mean() > (present * vectors).sum(1).mean() + 0.1
    np.testing.assert_allclose(moved.vectors @ moved.vectors.T, present @ present.T, atol=1e-3)
    assert np.array_equal(moved.weights, cold.weights)


# -- ranking heads ----------------------------------------------------------------------------------------------------


def planted(feature: int, n: int = 120, width: int = 30) -> list[tuple[np.ndarray, np.ndarray]]:
    """Lists in which one feature decides."""
    rng = np.random.default_rng(feature)
    rows = []
    for _ in range(n):
        features = rng.standard_normal((width, len(NAMES))).astype(np.float32)
        rows.append((features, np.arange(width) == features[:, feature].argmax()))
    return rows


def learned_head(feature: int) -> Ranker:
    head = ranker_updater.continued_head(planted(feature), None, 2, CONFIG.update, nothing)
    assert head is not None
    return head


def hits(head: Ranker, rows: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return float(np.mean([labels[head.scores(features).argmax()] for features, labels in rows]))


def test_a_head_learns_on_from_more_lists() -> None:
    one, other = NAMES.index("walk"), NAMES.index("taste")
    head, changed = learned_head(one), planted(other)
    settings = CONFIG.update.model_copy(update={"ranker_epochs": 30, "ranker_learning_rate": 1e-2})
    updated = ranker_updater.continued_head(changed, head, 2, settings, nothing)
    assert updated is not None
    assert hits(updated, changed) > hits(head, changed) + 0.3
    assert updated.weight1.shape == head.weight1.shape
    np.testing.assert_array_equal(updated.mean, head.mean)
    assert ranker_updater.continued_head(changed[:5], head, 2, settings, nothing) is head  # too few lists


def test_without_epochs_the_heads_stay_and_no_list_is_made(log) -> None:
    heads = learned_head(NAMES.index("walk")), None
    still = CONFIG.update.model_copy(update={"ranker_epochs": 0})
    no_retriever: Any = None
    assert ranker_updater.update_rankers(no_retriever, log, heads, 2, still, nothing) is heads


def test_lists_are_made_before_the_new_events_are_known(parent, log, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def heads(retriever, new, *rest):
        seen.append((retriever.graph.n_edges, retriever.recent.newest, len(new)))
        return None, None

    monkeypatch.setattr("graphrec.training.updater.update_rankers", heads)
    old, new = parts(log)
    continued(parent, old, new, NO_TEXTS, updating(steps=0, freeze="head"), nothing)
    pairs = len(set(zip(old.users.tolist(), old.items.tolist(), strict=True)))
    assert seen == [(pairs, old.timestamps[-1] // 1_000_000 * 1_000_000, len(new))]


# -- in the product ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(world) -> Iterator[EventStore]:
    with EventStore.open("sqlite://") as opened:
        opened.upsert_items(world.items)
        opened.append(table_of(world.events[:CUT]))
        yield opened


@pytest.fixture
def state(store, words) -> LiveState:
    config = CONFIG.model_copy(update={"embedding": CONFIG.embedding.model_copy(update={"text_dimensions": 4})})
    fresh = LiveState(config, store, words().encode)
    fresh.refresh()
    return train(fresh, store, words().encode, nothing)[0]


def test_a_state_is_updated_from_where_it_has_learned_to(state, store, words, world) -> None:
    store.append(table_of(world.events[CUT:]))
    state.refresh()
    renewed, metrics = update(state, store, words().encode, nothing)
    assert renewed is not state
    assert renewed.offset == state.offset == 900
    assert metrics["events"] == 300
    assert set(metrics["cpu_seconds"]) == {"ranking heads", "closed forms", "GraphSAGE"}
    assert state.learned is not None
    assert renewed.learned is not None
    assert (state.learned.until, renewed.learned.until) == (CUT, 900)
    assert not same(renewed.learned.model.sage, state.learned.model.sage)
    assert renewed.learned.choices == state.learned.choices
    assert renewed.learned.basis_items.any(axis=1).sum() >= state.learned.basis_items.any(axis=1).sum()
    assert len(renewed.retriever.candidates(1, renewed.retriever.seen(1)).numbers)


def test_new_users_items_and_texts_are_learned_too(state, store, words, world) -> None:
    last = world.events[-1]
    new = [replace(last, user=f"n{n % 7}", item=item) for n in range(30) for item in ("fresh", f"i{2 * (n % 5)}")]
    store.append(table_of([*world.events[CUT:], *new]))
    state.refresh()
    renewed, _ = update(state, store, words().encode, nothing)
    assert renewed.learned is not None
    number = renewed.items.number("fresh")
    assert renewed.learned.basis_items.shape[0] == len(renewed.items) == 41
    assert renewed.learned.basis_items[number].any()


def test_there_must_be_something_to_learn_from_and_to_go_on_from(state, store, words) -> None:
    with pytest.raises(InputError, match="nothing new"):
        update(state, store, words().encode, nothing)
    bare = LiveState(state.config, store, words().encode)
    bare.refresh()
    with pytest.raises(NotTrainedError):
        update(bare, store, words().encode, nothing)


def test_moments_travel_with_a_generation_and_are_not_needed(state, tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    assert state.learned is not None
    state.publish(generations, "train", None, {})
    read = Learned.from_generation(generations.load(1)).moments
    assert isinstance(read, Moments)
    assert state.learned.moments is not None
    assert same(read.first, state.learned.moments.first)
    assert same(read.second, state.learned.moments.second)
    assert read.steps == 40
    state.learned = replace(state.learned, moments=None)
    state.publish(generations, "train", None, {})
    assert Learned.from_generation(generations.load(2)).moments is None


def test_a_network_is_what_its_weights_say(parent) -> None:
    assert same(SageNetwork.of(parent.model.sage).weights(), parent.model.sage)


def test_what_was_never_trained_can_be_updated(log) -> None:
    """No moments, no head, no basis direction: the update of a log too short to have learned anything."""
    few = log.take(slice(9))
    bare = replace(trained_on(few), moments=None)
    updated = continued(bare, few, log.take(slice(9, 200)), NO_TEXTS, CONFIG, nothing)
    assert all(np.isfinite(array).all() for array in updated.model.arrays().values())
    unchanged = continued(bare, few, few, NO_TEXTS, updating(freeze="head+sage"), nothing)  # no new pair
    assert same(unchanged.model.sage, bare.model.sage)
