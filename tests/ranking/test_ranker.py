from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from graphrec.config import Config, RetrievalSettings
from graphrec.errors import GenerationError
from graphrec.ranking.pair_features import NAMES, pair_features
from graphrec.ranking.ranker import Ranker, head_for, ranked
from graphrec.retrieval.retriever import DAY, Retriever

WIDTH = len(NAMES)
NOTHING = np.zeros(0, np.int32)


def new_ranker(width: int = WIDTH, heads: int = 3, seed: int = 0) -> Ranker:
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape).astype(np.float32)

    return Ranker(
        random(width),
        np.exp(random(width)),
        random(heads, 8, width),
        random(heads, 8),
        random(heads, 6, 8),
        random(heads, 6),
        random(heads, 6),
    )


@pytest.mark.parametrize("heads", [1, 3])
def test_equals_torch(heads: int) -> None:
    import torch
    from torch import nn

    ranker = new_ranker(heads=heads)
    features = np.random.default_rng(1).standard_normal((50, WIDTH)).astype(np.float32)
    standard = torch.from_numpy((features - ranker.mean) / ranker.deviation)
    outputs = []
    for head in range(heads):
        network = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1, bias=False))
        parameters = (ranker.weight1, ranker.bias1, ranker.weight2, ranker.bias2, ranker.weight3[:, None])
        with torch.no_grad():
            for parameter, values in zip(network.parameters(), parameters, strict=True):
                parameter.copy_(torch.from_numpy(values[head]))
            outputs.append(network(standard)[:, 0].numpy())
    scores = ranker.scores(features)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.mean(outputs, axis=0), rtol=1e-4, atol=1e-4)


def test_survives_its_arrays() -> None:
    ranker = new_ranker()
    again = Ranker.from_arrays({name: array.copy() for name, array in ranker.arrays().items()})
    features = np.random.default_rng(1).standard_normal((5, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(again.scores(features), ranker.scores(features))


def test_a_head_for_other_features_is_refused() -> None:
    with pytest.raises(GenerationError, match="other features") as caught:
        Ranker.from_arrays(new_ranker(WIDTH + 1).arrays())
    assert caught.value.got == str(WIDTH + 1)


@pytest.fixture
def retriever() -> Retriever:
    retriever = Retriever(Config(), None)
    retriever.add_items(np.zeros((6, 0), np.float32))
    users, items = np.array([[0, 0], [1, 0], [1, 1], [1, 2], [2, 2], [2, 3], [3, 4], [0, 4]], np.int32).T
    retriever.apply(users.copy(), items.copy(), np.ones(8), np.arange(1, 9) * DAY)
    return retriever


def test_without_a_head_retrieval_decides(retriever: Retriever) -> None:
    found, best, scores = ranked(retriever, None, 0, NOTHING, 3)
    assert best.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(scores, found.score[:3])


def test_the_head_orders_the_candidates(retriever: Retriever) -> None:
    ranker = new_ranker(seed=3)
    found, best, scores = ranked(retriever, ranker, 0, np.array([4], np.int32), 100)
    assert 4 not in found.numbers
    assert sorted(best.tolist()) == list(range(len(found.numbers)))
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_array_equal(ranker.scores(pair_features(retriever, found))[best], scores)
    assert best.tolist() != sorted(best.tolist())
    assert ranked(retriever, ranker, 0, np.array([4], np.int32), 2)[1].tolist() == best[:2].tolist()


def test_ties_keep_the_order_of_retrieval(retriever: Retriever) -> None:
    indifferent = replace(new_ranker(), weight3=np.zeros((3, 6), np.float32))
    _, best, scores = ranked(retriever, indifferent, 0, NOTHING, 4)
    assert best.tolist() == [0, 1, 2, 3]
    assert not scores.any()


def test_nobody_and_nothing_can_be_ranked(retriever: Retriever) -> None:
    assert len(ranked(retriever, new_ranker(), 99, NOTHING, 10)[1]) == 5
    found, best, scores = ranked(retriever, new_ranker(), 0, np.arange(6, dtype=np.int32), 10)
    assert (len(found.numbers), len(best), len(scores)) == (0, 0, 0)


def test_who_is_in_a_session_gets_its_head() -> None:
    retriever = Retriever(Config(), None)
    retriever.add_items(np.zeros((2, 0), np.float32))
    now, session_length = 10 * DAY, DAY // 48
    users, items = np.array([0, 1, 2, 3, 3], np.int32), np.array([0, 1, 1, 0, 0], np.int32)
    times = np.array([now, now - session_length + 1_000_000, now - session_length, now, now])
    retriever.apply(users, items, np.array([1.0, 1.0, 1.0, 1.0, -1.0]), times)
    returning, session = new_ranker(seed=1), new_ranker(seed=2)
    chosen = [head_for(retriever, user, returning, session) for user in range(5)]
    assert chosen == [session, session, returning, None, None]  # 3 has taken everything back
    assert [head_for(retriever, user, returning, None) for user in range(4)] == [*[returning] * 3, None]
    assert [head_for(retriever, user, None, session) for user in range(4)] == [session, session, None, None]
    without = Retriever(Config(retrieval=RetrievalSettings(session_minutes=0)), None, retriever.graph)
    assert [head_for(without, user, returning, session) for user in range(4)] == [*[returning] * 3, None]
