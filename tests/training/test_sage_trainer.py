"""GraphSAGE training: it starts as the spectral recommender, gets better, and would not without the graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphrec.config import Config
from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.node_features import FeatureMap, unit_rows
from graphrec.embedding.propagation import Propagation
from graphrec.embedding.spectral import normalised, spectral_basis
from graphrec.events.interactions import Interactions
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.retriever import DAY
from graphrec.training import sage_trainer
from graphrec.training.sage_trainer import SageNetwork, sparse_tensor, train_embedding
from graphrec.training.time_cuts import decayed_edges, row_mean, time_cut

EMBEDDING = {"spectral_dimensions": 8, "text_dimensions": 4, "hidden_dimensions": 16, "dimensions": 8}

CHOICES = Choices()
HALF_LIVES = Config().graph.half_life_days * DAY, CHOICES.popularity_half_life_days * DAY


def config_of(**training: object) -> Config:
    return Config(embedding=EMBEDDING, training={"steps": 30, "batch_size": 256, **training})


def log_of(world, items: np.ndarray | None = None) -> Interactions:
    """The world by node number: user n, item n; `items` puts other items in their place."""
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    own = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    return Interactions(users, own if items is None else items, times, np.ones(len(users)), 60, 40).by_time()


@pytest.fixture(scope="module")
def texts(world, words) -> np.ndarray:
    return words().encode([item.text for item in world.items])


def inputs_of(log: Interactions, texts: np.ndarray) -> tuple[np.ndarray, FeatureMap]:
    pairs = decayed_edges(log, np.inf)
    pairs.data[:] = 1
    basis = spectral_basis(normalised(pairs), 8)
    return basis.items, FeatureMap.fit(basis.items, texts, 4)


def trained(log: Interactions, texts: np.ndarray, config: Config, progress=lambda done, total: None) -> EmbeddingModel:
    coordinates, feature_map = inputs_of(log, texts)
    return train_embedding(log, coordinates, texts, feature_map, config, CHOICES, progress).model


def served(
    model: EmbeddingModel, log: Interactions, coordinates: np.ndarray, texts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of users and items, as the live path computes them."""
    graph = InteractionGraph(Config().graph.half_life_days * DAY)
    graph.grow(log.n_users, log.n_items)
    graph.add(log.users, log.items, log.weights, log.timestamps)
    propagation = Propagation(model.sage)
    propagation.grow_users(log.n_users)
    propagation.add_items(model.features.features(coordinates, texts))
    propagation.recompute(graph)
    users = np.stack([propagation.user_vector(graph, user) for user in range(log.n_users)])
    return unit_rows(users), unit_rows(propagation.item_vectors)


def loss_of(model: EmbeddingModel, log: Interactions, coordinates: np.ndarray, texts: np.ndarray) -> float:
    """Cross entropy of what came last among all items, from vectors of what came before."""
    moment = int(0.8 * len(log))
    cut = time_cut(log, moment, len(log), *HALF_LIVES)
    users, items = served(model, log.take(slice(moment)), coordinates, texts)
    scores = model.scale * users[cut.target_users] @ items.T + model.popularity_weight * cut.log_popularity
    shares = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return -float(shares[np.arange(len(shares)), cut.target_items].mean())


def test_step_0_is_the_spectral_recommender(world, texts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise a user is twice the mean of its items' coordinates, an item itself plus the mean of its users'."""
    monkeypatch.setattr(sage_trainer, "_INITIAL_NOISE", 0.0)
    log = log_of(world).take(slice(20))  # the earliest cut has no target: nothing is trained
    coordinates, feature_map = inputs_of(log_of(world), texts)
    monkeypatch.setattr(sage_trainer, "_CUTS", ())
    model, _ = train_embedding(log, coordinates, texts, feature_map, config_of(), CHOICES, lambda done, total: None)
    assert model.scale == pytest.approx(10)
    assert model.popularity_weight == 1
    users, items = served(model, log, coordinates, texts)
    own = unit_rows(coordinates)
    edges = decayed_edges(log, Config().graph.half_life_days * DAY)
    user_means = row_mean(edges) @ own
    item_sums = own + row_mean(edges.T.tocsr()) @ user_means
    np.testing.assert_allclose(users, unit_rows(user_means), atol=2e-3)  # the graph rounds weights to 12 bits
    np.testing.assert_allclose(items, unit_rows(item_sums), atol=2e-3)


def test_the_network_computes_what_serving_computes(world, texts) -> None:
    log = log_of(world)
    coordinates, feature_map = inputs_of(log, texts)
    torch.manual_seed(0)
    network = SageNetwork(feature_map.dimensions, 16, 8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model = EmbeddingModel(feature_map, network.weights(), 1.0, 1.0)
    edges = decayed_edges(log, Config().graph.half_life_days * DAY)
    features = torch.from_numpy(feature_map.features(coordinates, texts))
    with torch.no_grad():
        around = network.surroundings(
            features, sparse_tensor(row_mean(edges)), sparse_tensor(row_mean(edges.T.tocsr()))
        )
        users, items = network.users(around, torch.arange(60)), network.items(around, torch.arange(40))
        backwards = torch.arange(39, -1, -1)
        torch.testing.assert_close(network.items(around, backwards), items[backwards])
        torch.testing.assert_close(network.users(around, torch.tensor([7, 7])), users[[7, 7]])
    live_users, live_items = served(model, log, coordinates, texts)
    np.testing.assert_allclose(users.numpy(), live_users, atol=2e-3)  # the graph rounds weights to 12 bits
    np.testing.assert_allclose(items.numpy(), live_items, atol=2e-3)
    with torch.no_grad():
        network.item2.lin_r.weight.zero_()
    assert model.sage.item_root2.any()  # copies


@pytest.mark.parametrize("full_softmax_items", [15_000, 1])
def test_training_lowers_the_loss(world, texts, full_softmax_items: int) -> None:
    """With all items in the softmax, and with sampled ones."""
    log = log_of(world)
    coordinates, feature_map = inputs_of(log, texts)
    start, _ = train_embedding(
        log.take(slice(1)), coordinates, texts, feature_map, config_of(), CHOICES, lambda done, total: None
    )
    model = trained(log, texts, config_of(full_softmax_items=full_softmax_items, negatives=16))
    assert loss_of(model, log, coordinates, texts) < loss_of(start, log, coordinates, texts) - 0.1
    users, items = served(model, log, coordinates, texts)
    own = users @ items.T
    same = np.arange(60)[:, None] % 2 == np.arange(40)[None] % 2
    assert own[same].mean() > own[~same].mean() + 0.1


def test_the_losses_are_the_softmax_they_say(world, texts) -> None:
    """Over all items; and over the target once and 4,000 draws that stand for the other items."""
    torch.manual_seed(0)
    network = SageNetwork(8, 16, 8)
    cut = sage_trainer.DeviceCut(time_cut(log_of(world), 500, 900, *HALF_LIVES), torch.device("cpu"))
    cut.log_popularity = torch.linspace(-3, 3, 40)
    with torch.no_grad():
        around = network.surroundings(torch.rand(40, 8), cut.user_mean, cut.item_mean)
        users, items = network.users(around, torch.arange(60)), network.items(around, torch.arange(40))

    def loss(**training: object) -> float:
        settings = config_of(batch_size=8192, **training).training
        questions = sage_trainer.draw_questions(network, around, cut, settings, torch.Generator().manual_seed(1))
        return float(sage_trainer.cross_entropy(questions, 10.0, 0.5).detach())

    scores = users[cut.target_users] @ items.T * 10 + 0.5 * cut.log_popularity
    expected = float(torch.nn.functional.cross_entropy(scores, cut.target_items))
    assert loss() == pytest.approx(expected, rel=0.02)
    assert loss(full_softmax_items=39, negatives=4000) == pytest.approx(expected, rel=0.03)
    assert loss(full_softmax_items=40, negatives=1) == loss()


def test_every_weight_learns(world, texts) -> None:
    """Though the sums over edges are constants, a gradient reaches each parameter, and each of them moves."""
    log = log_of(world)
    coordinates, feature_map = inputs_of(log, texts)
    start, _ = train_embedding(
        log.take(slice(1)), coordinates, texts, feature_map, config_of(), CHOICES, lambda done, total: None
    )
    model = trained(log, texts, config_of(steps=3))
    for name, array in model.sage.arrays().items():
        assert not np.array_equal(array, start.sage.arrays()[name]), name


def test_a_block_of_steps_shares_its_sums(world, texts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose sums cost more than a step may is summed once for several steps, and is learned all the same."""
    log = log_of(world)
    coordinates, feature_map = inputs_of(log, texts)
    start, _ = train_embedding(
        log.take(slice(1)), coordinates, texts, feature_map, config_of(), CHOICES, lambda done, total: None
    )
    sums = []
    surroundings = SageNetwork.surroundings
    monkeypatch.setattr(SageNetwork, "surroundings", lambda *args: sums.append(1) or surroundings(*args))
    for block, expected in ((900 * 16, 30), (900 * 16 // 5, 6)):
        sums.clear()
        monkeypatch.setattr(sage_trainer, "_BLOCK_SUMS", block)
        model = trained(log, texts, config_of())
        assert len(sums) == expected
        assert loss_of(model, log, coordinates, texts) < loss_of(start, log, coordinates, texts) - 0.1


def test_the_scalars_of_the_score_are_those_of_the_settings(world, texts) -> None:
    model = trained(log_of(world), texts, config_of(steps=1, temperature=0.2, popularity_weight=0.7))
    assert (model.scale, model.popularity_weight) == (5.0, 0.7)


def test_the_graph_matters(world, texts) -> None:
    """The same events with their items shuffled among the users say nothing of taste, though all of popularity."""
    log = log_of(world)
    blind = np.zeros((40, 0), np.float32)
    coordinates, _ = inputs_of(log, blind)
    model = trained(log, blind, config_of())
    own_group = np.arange(60)[:, None] % 2 == np.arange(40)[None] % 2
    gaps = []
    for each in (log, log_of(world, np.random.default_rng(0).permutation(log.items))):
        users, items = served(model, each, coordinates, blind)
        cosines = users @ items.T
        gaps.append(cosines[own_group].mean() - cosines[~own_group].mean())
    assert gaps[0] > 0.1
    assert abs(gaps[1]) < 0.2 * gaps[0]


def test_training_is_a_function_of_log_and_seed(world, texts) -> None:
    log = log_of(world)
    models = []
    for outside, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(outside)
        models.append(trained(log, texts, config_of(steps=5, seed=seed)).arrays())
    for name, array in models[0].items():
        np.testing.assert_array_equal(array, models[1][name])
    assert not np.array_equal(models[0]["sage.item_root2"], models[2]["sage.item_root2"])


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 39])
def test_any_number_of_steps_can_be_trained(world, texts, steps: int) -> None:
    told: list[tuple[int, int]] = []
    trained(log_of(world), texts, config_of(steps=steps, batch_size=8), lambda done, total: told.append((done, total)))
    assert told == [(step, steps) for step in range(1, steps + 1)]


def test_the_operator_is_the_matrix(world) -> None:
    mean = row_mean(decayed_edges(log_of(world), np.inf))
    np.testing.assert_array_equal(sparse_tensor(mean).to_dense().numpy(), mean.toarray())
