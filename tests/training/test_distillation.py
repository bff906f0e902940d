"""The old model as a teacher: what is held on to, what is not, and that it slows forgetting down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from update_world import HALF_LIVES, inputs_of, log_of

from graphrec.config import Config
from graphrec.training.distillation import Teacher
from graphrec.training.sage_trainer import DeviceCut, Questions, SageNetwork, draw_questions
from graphrec.training.time_cuts import cut_before

SETTINGS = Config(training={"batch_size": 64}).training


@pytest.fixture
def setting(world) -> tuple[SageNetwork, torch.Tensor, DeviceCut]:
    """A network at its start, features of the items, and one moment of the world."""
    log = log_of(world)
    network = SageNetwork(8, 16, 8)
    network.start_as_identity(torch.Generator().manual_seed(0))
    cut = DeviceCut(cut_before(log.take(slice(600)), log.take(slice(600, 900)), *HALF_LIVES), torch.device("cpu"))
    return network, torch.from_numpy(inputs_of(log)), cut


def asked(network: SageNetwork, features: torch.Tensor, cut: DeviceCut) -> Questions:
    around = network.surroundings(features, cut.user_mean, cut.item_mean)
    return draw_questions(network, around, cut, SETTINGS, torch.Generator().manual_seed(1))


def moved(network: SageNetwork, amount: float) -> SageNetwork:
    other = SageNetwork.of(network.weights())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return other


def test_who_has_not_moved_loses_nothing_and_who_has_loses_more_the_further(setting) -> None:
    network, features, cut = setting
    teacher = Teacher(network, network.surroundings(features, cut.user_mean, cut.item_mean))
    everything = torch.ones(len(features), dtype=torch.bool)
    losses = []
    for amount in (0.0, 0.03, 0.1):
        with torch.no_grad():
            questions = asked(moved(network, amount), features, cut)
            found = teacher.vector_loss(questions, everything), teacher.list_loss(questions, 10.0, 1.0)
        losses.append([float(loss) for loss in found])
    assert np.abs(losses[0]).max() < 1e-5
    assert (np.diff(losses, axis=0) > 1e-4).all()


def test_only_what_nothing_new_was_said_about_is_held_on_to(setting) -> None:
    network, features, cut = setting
    teacher = Teacher(network, network.surroundings(features, cut.user_mean, cut.item_mean))
    with torch.no_grad():
        questions = asked(moved(network, 0.1), features, cut)
    apart = (1 - (questions.other_vectors * teacher.items).sum(1)).detach()
    one = torch.zeros(len(features), dtype=torch.bool)
    one[7] = True
    assert float(teacher.vector_loss(questions, one)) == pytest.approx(float(apart[7]), rel=1e-5)
    assert float(teacher.vector_loss(questions, torch.zeros_like(one))) == 0


def test_a_list_is_compared_under_the_score_that_serves(setting) -> None:
    """By hand: shares of all items, since the world has fewer than a list."""
    network, features, cut = setting
    teacher = Teacher(network, network.surroundings(features, cut.user_mean, cut.item_mean))
    pupil = moved(network, 0.1)
    with torch.no_grad():
        questions = asked(pupil, features, cut)
    scale, weight = 10.0, 0.5
    bias = weight * questions.popularity.numpy()
    old = scale * (teacher.users[questions.asked] @ teacher.items.T).numpy() + bias
    new = scale * questions.cosines.detach().numpy() + bias
    shares = [scores - np.logaddexp.reduce(scores, axis=1, keepdims=True) for scores in (old, new)]
    expected = (np.exp(shares[0]) * (shares[0] - shares[1])).sum(1).mean()
    assert float(teacher.list_loss(questions, scale, weight)) == pytest.approx(expected, rel=1e-3)


def test_following_the_teacher_brings_the_pupil_back(setting) -> None:
    network, features, cut = setting
    teacher = Teacher(network, network.surroundings(features, cut.user_mean, cut.item_mean))
    pupil = moved(network, 0.1)
    optimiser = torch.optim.Adam(pupil.parameters(), lr=1e-3)
    everything = torch.ones(len(features), dtype=torch.bool)
    losses = []
    for _ in range(30):
        questions = asked(pupil, features, cut)
        loss = teacher.vector_loss(questions, everything) + teacher.list_loss(questions, 10.0, 1.0)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
