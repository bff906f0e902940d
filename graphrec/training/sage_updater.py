"""GraphSAGE learns on: a few steps from the weights it has, on new events and older ones shown again.

Each step asks a batch of new pairs from the graph before them, and a batch of replayed pairs from the graph before
those. The rate rises and falls within the update; Adam goes on with the moments of the last one, without which the
first tens of steps, which is all there are, would be spent on finding its scale.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from graphrec.embedding.graphsage import SageWeights
from graphrec.training.distillation import Teacher
from graphrec.training.precision import products
from graphrec.training.replay import replayed
from graphrec.training.sage_trainer import (
    DeviceCut,
    SageNetwork,
    Surroundings,
    cross_entropy,
    draw_questions,
    moments_of,
)
from graphrec.training.time_cuts import TimeCut, cut_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.config import Config, TrainingSettings, UpdateSettings
    from graphrec.embedding.moments import Moments
    from graphrec.events.interactions import Interactions

    Float32 = NDArray[np.float32]

_ADAM = (0.9, 0.99)
_WINDOWS = 3  # of older events: each costs the graph before it
_SURROUNDINGS_STEPS = 4  # a sum over all edges serves so many steps
_CHECKS = 5  # steps between two looks at the newest events
_CHECKED = 1_024  # of these, at most


def update_sage(
    start: SageWeights,
    moments: Moments | None,
    old: Interactions,
    new: Interactions,
    inputs: tuple[Float32, Float32],
    scale: tuple[float, float],
    config: Config,
    half_lives: tuple[float, float],
    progress: Callable[[int, int], None],
) -> tuple[SageWeights, Moments | None]:
    """Learn on from `start`: `old` and `new` events in the order of time; with what the optimiser remembers after it.

    inputs: features of all items (n_items, d_in), as they are and as their texts alone let expect. scale: inverse
    temperature of the cosine and weight of log popularity. half_lives: of edges and popularity, microseconds.
    """
    settings = config.update
    runs = [
        _run(start, moments, old, new, inputs, scale, config, half_lives, number, progress)
        for number in range(settings.average)
    ]
    if len(runs) == 1:
        return runs[0]
    weights = [weights for weights, _ in runs]
    names = [field.name for field in fields(SageWeights)]
    means = [np.stack([getattr(each, name) for each in weights]).mean(axis=0) for name in names]
    return SageWeights(*means), runs[0][1]


def _run(
    start: SageWeights,
    moments: Moments | None,
    old: Interactions,
    new: Interactions,
    inputs: tuple[Float32, Float32],
    scale: tuple[float, float],
    config: Config,
    half_lives: tuple[float, float],
    number: int,
    progress: Callable[[int, int], None],
) -> tuple[SageWeights, Moments | None]:
    settings = config.update
    rng = np.random.default_rng([config.training.seed, len(old), number])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features, estimated = (torch.from_numpy(matrix).to(device) for matrix in inputs)
    learned, checked = _parted(new, settings.check_share)
    fresh = cut_before(old, learned, *half_lives)
    if not len(fresh.target_users):
        return start, moments
    check = cut_before(old, checked, *half_lives) if len(checked) else None
    cuts = [DeviceCut(fresh, device), *(DeviceCut(cut, device) for cut in _older(old, settings, half_lives, rng, new))]
    network = SageNetwork.of(start).to(device)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, betas=_ADAM, weight_decay=settings.weight_decay
    )
    if moments is not None and settings.moments:
        _remember(optimiser, network, moments)
    teachers = _teachers(start, cuts, features, settings)
    untouched = torch.ones(len(features), dtype=torch.bool, device=device)
    untouched[torch.from_numpy(np.unique(new.items)).long()] = False
    asked = _shares(config.training, settings, len(cuts) > 1)
    average = Average(network, settings.ema)
    stop = EarlyStop(network, None if check is None else DeviceCut(check, device), features, scale, asked[0], settings)
    around: dict[int, Surroundings] = {}
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(step, settings.steps, settings.warm_up)
        if step % _SURROUNDINGS_STEPS == 0:
            around.clear()
        places = [0] if len(cuts) == 1 else [0, 1 + step % (len(cuts) - 1)]
        losses, weights = [], []
        for place, share in zip(places, asked, strict=False):
            cut = cuts[place]
            if place not in around:
                unknown = torch.rand(len(features), 1, generator=generator).to(device) < settings.dropout
                dropped = torch.where(unknown, estimated, features) if estimated.any() else features
                around[place] = network.surroundings(dropped, cut.user_mean, cut.item_mean)
            with products(device, mixed=settings.mixed_precision):
                questions = draw_questions(network, around[place], cut, share, generator)
            loss = cross_entropy(questions, *scale)
            if settings.distil_vectors:
                loss = loss + settings.distil_vectors * teachers[place].vector_loss(questions, untouched)
            if settings.distil_lists and place:
                loss = loss + settings.distil_lists * teachers[place].list_loss(questions, *scale)
            losses.append(loss * share.batch_size)
            weights.append(share.batch_size)
        total = torch.stack(losses).sum() / sum(weights)
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.follow(network)
        progress(step + 1, settings.steps)
        if (step + 1) % _CHECKS == 0 and stop.is_due(average.network):
            break
    remembered = moments_of(network, optimiser)
    return stop.best(average.network).weights(), remembered if remembered is not None else moments


def rate(step: int, steps: int, warm_up: float) -> float:
    """Share of the highest learning rate in a step: a straight rise, then a cosine to almost nothing."""
    rising = warm_up * steps
    if step + 1 < rising:
        return (step + 1) / rising
    return 0.5 * (1 + float(np.cos(np.pi * (step - rising) / max(steps - rising, 1)))) if step > rising else 1.0


class Average:
    """A running average of a network over the steps of an update; without memory the network itself."""

    def __init__(self, network: SageNetwork, memory: float) -> None:
        self.network = SageNetwork.of(network.weights()).to(next(network.parameters()).device) if memory else network
        self._memory = memory

    @torch.no_grad()
    def follow(self, network: SageNetwork) -> None:
        """Take a step in."""
        if self._memory:
            for mean, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - self._memory)


class EarlyStop:
    """Looks at the newest events, which are not learned from, and keeps the network that expects them best."""

    def __init__(
        self,
        network: SageNetwork,
        cut: DeviceCut | None,
        features: torch.Tensor,
        scale: tuple[float, float],
        asked: TrainingSettings,
        settings: UpdateSettings,
    ) -> None:
        self._cut, self._features, self._scale, self._patience = cut, features, scale, settings.patience
        self._asked = asked.model_copy(update={"batch_size": _CHECKED})
        self._lowest, self._waited = float("inf"), 0
        self._best: SageWeights | None = None
        self.is_due(network)

    @torch.no_grad()
    def is_due(self, network: SageNetwork) -> bool:
        """Whether there has been no gain for as long as the settings are patient."""
        if self._cut is None or not len(self._cut.target_users):
            return False
        around = network.surroundings(self._features, self._cut.user_mean, self._cut.item_mean)
        same = torch.Generator().manual_seed(0)  # the same questions at each look
        loss = float(cross_entropy(draw_questions(network, around, self._cut, self._asked, same), *self._scale))
        if loss < self._lowest:
            self._lowest, self._best, self._waited = loss, network.weights(), 0
        else:
            self._waited += 1
        return self._waited >= self._patience

    def best(self, last: SageNetwork) -> SageNetwork:
        """The network that expected the newest events best; the last where none was looked at."""
        return last if self._best is None else SageNetwork.of(self._best)


def _parted(new: Interactions, check_share: float) -> tuple[Interactions, Interactions]:
    """New events to learn from, and the newest of them to be checked against."""
    kept = len(new) - int(check_share * len(new))
    return new.take(slice(kept)), new.take(slice(kept, None))


def _older(
    old: Interactions,
    settings: UpdateSettings,
    half_lives: tuple[float, float],
    rng: np.random.Generator,
    new: Interactions,
) -> list[TimeCut]:
    if settings.replay == "none" or not settings.replay_ratio:
        return []
    count = int(settings.replay_ratio * len(new))
    shown = replayed(old, settings.replay, count, _WINDOWS, settings.replay_half_life, rng)
    cuts = [cut_before(old.take(slice(each.moment)), old.take(each.positions), *half_lives) for each in shown]
    return [cut for cut in cuts if len(cut.target_users)]


def _shares(training: TrainingSettings, settings: UpdateSettings, replays: bool) -> list[TrainingSettings]:
    """What a step draws of new pairs, and of older ones."""
    new = round(settings.batch_size / (1 + settings.replay_ratio)) if replays else settings.batch_size
    sizes = [max(new, 1), max(settings.batch_size - new, 1)] if replays else [new]
    return [
        training.model_copy(
            update={"batch_size": size, "negatives": settings.negatives, "full_softmax_items": settings.negatives}
        )
        for size in sizes
    ]


def _remember(optimiser: torch.optim.Optimizer, network: SageNetwork, moments: Moments) -> None:
    for name, parameter in network.by_name().items():
        first, second = (
            torch.from_numpy(getattr(part, name)).clone().to(parameter.device)
            for part in (moments.first, moments.second)
        )
        optimiser.state[parameter] = {
            "step": torch.tensor(float(moments.steps)),
            "exp_avg": first,
            "exp_avg_sq": second,
        }


def _teachers(
    start: SageWeights, cuts: list[DeviceCut], features: torch.Tensor, settings: UpdateSettings
) -> list[Teacher]:
    if not settings.distil_vectors and not settings.distil_lists:
        return []
    network = SageNetwork.of(start).to(features.device)
    return [Teacher(network, network.surroundings(features, cut.user_mean, cut.item_mean)) for cut in cuts]
