from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from graphrec.config import AdapterSettings, TextSettings
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import InputError, ModelError
from graphrec.events.interactions import Interactions
from graphrec.training.text_adapter import Pairs, adapt, co_interactions, info_nce, reciprocal_rank

MINUTE = 60_000_000
SETTINGS = AdapterSettings(steps=60, batch_size=32, learning_rate=3e-2, temperature=0.1, check_steps=20, patience=3)


def log_of(events: list[tuple[int, int, int]], n_items: int) -> Interactions:
    """(user, item, minute)."""
    users, items, minutes = (np.array(column) for column in zip(*events, strict=True))
    return Interactions(
        users.astype(np.int32),
        items.astype(np.int32),
        minutes.astype(np.int64) * MINUTE,
        np.ones(len(events)),
        int(users.max()) + 1,
        n_items,
    )


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def shelves() -> tuple[list[str], Pairs, np.ndarray]:
    """80 items on two shelves: one word of a text says which, four say nothing and are shared across shelves."""
    rng = np.random.default_rng(3)
    shelf = np.arange(80) % 2
    texts = [
        " ".join(rng.permutation([f"w{rng.integers(2) + 2 * side}", *(f"w{n}" for n in 20 + rng.integers(0, 12, 4))]))
        for side in shelf
    ]
    left = rng.integers(0, 80, 3000)
    right = (left + 2 * rng.integers(1, 39, 3000)) % 80
    return texts, Pairs(left.astype(np.int32), right.astype(np.int32), np.full(3000, 1 / 3000)), shelf


def gap(vectors: np.ndarray, shelf: np.ndarray) -> float:
    """How much nearer the items of a shelf are to each other than to those of the other."""
    cosines, same = vectors @ vectors.T, shelf[:, None] == shelf[None, :]
    return float(cosines[same & ~np.eye(len(shelf), dtype=bool)].mean() - cosines[~same].mean())


def test_what_is_chosen_together_comes_nearer_though_words_mislead(tiny_bert: Path, shelves) -> None:
    texts, pairs, shelf = shelves
    settings = TextSettings(model=str(tiny_bert))
    plain = TextEncoder(settings, device="cpu")
    found = adapt(plain, texts, pairs, SETTINGS, 0, nothing)
    assert found.update is not None
    assert found.after > found.before
    adapted = TextEncoder(settings, device="cpu", adapter=found.update)
    before, after = plain.encode(texts), adapted.encode(texts)
    assert gap(before, shelf) < 0.1
    assert gap(after, shelf) > 0.5
    again = adapt(plain, texts, pairs, SETTINGS, 0, nothing)
    assert again.update is not None
    assert again.update.digest == found.update.digest


def test_pairs_that_mean_nothing_leave_the_text_model_as_it_is(tiny_bert: Path, shelves) -> None:
    texts, pairs, _ = shelves
    rng = np.random.default_rng(0)
    noise = Pairs(pairs.left, rng.permutation(pairs.right), pairs.share)
    found = adapt(TextEncoder(TextSettings(model=str(tiny_bert)), device="cpu"), texts, noise, SETTINGS, 0, nothing)
    assert found.after < found.before + 0.02


def test_too_few_pairs_are_one_error(tiny_bert: Path) -> None:
    few = Pairs(np.array([0], np.int32), np.array([1], np.int32), np.ones(1))
    with pytest.raises(InputError, match="too few items"):
        adapt(TextEncoder(TextSettings(model=str(tiny_bert))), ["w1", "w2"], few, SETTINGS, 0, nothing)


def test_a_model_that_peft_does_not_know(tiny_bert: Path, shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, pairs, _ = shelves
    encoder = TextEncoder(TextSettings(model=str(tiny_bert)), device="cpu")
    loaded = encoder.load()
    monkeypatch.setattr(encoder, "load", lambda: loaded)
    monkeypatch.setattr(type(loaded[1].config), "model_type", "unheard-of")
    with pytest.raises(ModelError, match="cannot be adapted"):
        adapt(encoder, texts, pairs, SETTINGS, 0, nothing)


def test_pairs_are_of_one_session_and_not_of_one_user() -> None:
    events = [(user, item, minute) for user in (0, 1, 2) for item, minute in ((0, 0), (1, 5), (2, 500), (3, 510))]
    pairs = co_interactions(log_of(events, 4), np.ones(4, bool), 30 * MINUTE, 0)
    assert {*zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)} == {(0, 1), (1, 0), (2, 3), (3, 2)}
    np.testing.assert_allclose(pairs.share, 0.25)


def test_popular_items_are_nobodys_partner_for_that() -> None:
    """Item 0 is in every session, 1 and 2 are always together: these are each other's closest partner."""
    events = [(user, 0, 0) for user in range(20)]
    events += [(user, item, 1) for user in (0, 1, 2) for item in (1, 2)]
    pairs = co_interactions(log_of(events, 3), np.ones(3, bool), 30 * MINUTE, 0)
    share = {(a, b): s for a, b, s in zip(pairs.left.tolist(), pairs.right.tolist(), pairs.share, strict=True)}
    assert share[1, 2] > 2 * share[1, 0]
    each = np.bincount(pairs.left, pairs.share)
    np.testing.assert_allclose(each, 1 / 3)  # however often an item occurs


def test_items_without_texts_and_chance_meetings_are_no_pairs() -> None:
    events = [(user, item, 0) for user in (0, 1) for item in (0, 1, 2)] + [(2, 0, 0), (2, 3, 0)]
    pairs = co_interactions(log_of(events, 4), np.array([True, True, False, True]), 30 * MINUTE, 0)
    assert {*zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)} == {(0, 1), (1, 0)}


def test_an_empty_log_has_no_pairs() -> None:
    log = log_of([(0, 0, 0)], 2)
    assert len(co_interactions(log.take(slice(0)), np.ones(2, bool), MINUTE, 0).left) == 0


def test_another_right_answer_is_not_punished() -> None:
    logits = torch.tensor([[1.0, 5.0], [0.0, 1.0]])
    free = torch.tensor([[False, True], [False, False]])
    assert info_nce(logits, free) < info_nce(logits, torch.zeros(2, 2, dtype=torch.bool))


def test_reciprocal_ranks() -> None:
    cosines = np.array([[0.9, 0.5, 0.1], [0.2, 0.2, 0.2]], np.float32)
    assert reciprocal_rank(cosines, np.array([0]), np.array([0])) == 1
    assert reciprocal_rank(cosines, np.array([0, 0]), np.array([1, 2])) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert reciprocal_rank(cosines, np.array([1]), np.array([0])) == 0.5  # all the same: in the middle


def test_the_packaged_model_learns_what_is_bought_together() -> None:
    """Set against set by a misleading word; what is bought together is named by the other one."""
    kinds, sizes = ("mug", "lantern", "pencil", "cushion"), ("red vintage", "blue retro", "small paper", "large wooden")
    sizes += ("pink spotty", "green zinc", "white heart", "black wire")
    texts = [f"{size} {kind}" for size in sizes for kind in kinds]
    colour = np.repeat(np.arange(8), 4)
    together = [(a, b) for a in range(32) for b in range(32) if a != b and colour[a] == colour[b]]
    left, right = (np.array(side, np.int32) for side in zip(*together, strict=True))
    settings = AdapterSettings(steps=8, batch_size=24, learning_rate=3e-3, check_steps=4)
    plain = TextEncoder(TextSettings(), device="cpu")
    found = adapt(plain, texts, Pairs(left, right, np.full(len(left), 1 / len(left))), settings, 0, nothing)
    assert found.update is not None
    assert {name.rsplit(".", 1)[1] for name in found.update.down} == {"query", "value"}
    adapted = TextEncoder(TextSettings(), device="cpu", adapter=found.update)
    assert gap(adapted.encode(texts), colour) > gap(plain.encode(texts), colour) + 0.1
