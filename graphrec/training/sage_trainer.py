"""GraphSAGE from scratch: PyG's `SAGEConv` on time cuts, started where the spectrum already is.

The layers start as the identity on the spectral coordinates (relu(x) - relu(-x) = x), so step 0 is a spectral
recommender and training only improves on it. The loss is a softmax over the catalogue with the popularity term inside,
the very score that the index computes; never a pairwise one.

Nearly all the cost of a step on a large graph is in its sums over edges. These are formed once for a block of steps, as
constants, and the steps of the block are dense products over the nodes of a batch; a gradient reaches each weight
through a node's own layers.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import SAGEConv

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.graphsage import SageWeights
from graphrec.embedding.moments import Moments
from graphrec.retrieval.retriever import DAY
from graphrec.training.time_cuts import TimeCut, time_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.config import Config, TrainingSettings
    from graphrec.embedding.node_features import FeatureMap
    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.choices import Choices

    Float32 = NDArray[np.float32]

_CUTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares of the log that are history
_WINDOW = 0.1  # share of the log after a cut that its targets come from
_INITIAL_NOISE = 0.1  # length of what is added to a vector of length one
_WARM_UP = 0.05  # share of the steps
_ADAM = (0.9, 0.99)  # a shorter memory than usual, for few steps
_BLOCK_SUMS = 50_000_000  # events times hidden units that a step may cost: a larger sum serves several steps


@dataclass(frozen=True)
class Surroundings:
    """What nodes see of their neighbours under the present weights, without gradient.

    features (n_items, d_in); user_inputs (n_users, d_in) and user_means (n_users, h): of a user's items, their features
    and first layer; item_means (n_items, h): of an item's users, their first layer.
    """

    features: Tensor
    user_inputs: Tensor
    user_means: Tensor
    item_means: Tensor


class Embedded(NamedTuple):
    """What training an embedding gives: the model, and what its optimiser remembers; None = there was no step."""

    model: EmbeddingModel
    moments: Moments | None


class SageNetwork(nn.Module):
    """The two layers of `graphrec.embedding.graphsage`, in PyG's terms."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        # The operators are row-stochastic, so `sum` along them is the weighted mean.
        self.user1 = SAGEConv((inputs, 1), hidden, aggr="sum", root_weight=False)
        self.item1 = nn.Linear(inputs, hidden)
        self.user2 = SAGEConv((hidden, hidden), outputs, aggr="sum")
        self.item2 = SAGEConv((hidden, hidden), outputs, aggr="sum")

    def start_as_identity(self, generator: torch.Generator) -> None:
        """Pass the first inputs through both layers unchanged, plus a little noise."""
        hidden, inputs = self.item1.weight.shape
        outputs = self.item2.lin_r.weight.shape[0]
        half = min(hidden // 2, inputs)
        first, second = torch.zeros(hidden, inputs), torch.zeros(outputs, hidden)
        first[:half, :half] = torch.eye(half)
        first[half : 2 * half, :half] = -torch.eye(half)
        kept = min(outputs, half)
        second[:kept, :kept] = torch.eye(kept)
        second[:kept, half : half + kept] = -torch.eye(kept)
        linears = [(self.user1.lin_l, first), (self.item1, first)]
        linears += [(linear, second) for conv in (self.user2, self.item2) for linear in (conv.lin_l, conv.lin_r)]
        with torch.no_grad():
            for linear, start in linears:
                noise = _INITIAL_NOISE / math.sqrt(start.shape[1]) * torch.randn(start.shape, generator=generator)
                linear.weight.copy_(start + noise)
                if linear.bias is not None:
                    linear.bias.zero_()

    @torch.no_grad()
    def surroundings(self, features: Tensor, user_mean: Tensor, item_mean: Tensor) -> Surroundings:
        """Sum over all edges; features (n_items, d_in), operators sparse CSR (n_users, n_items) and its converse."""
        user_inputs = self.user1.propagate(user_mean, x=(features, None))
        item_hidden = functional.relu(self.item1(features))
        user_hidden = functional.relu(self.user1.lin_l(user_inputs))
        return Surroundings(
            features,
            user_inputs,
            self.user2.propagate(user_mean, x=(item_hidden, None)),
            self.item2.propagate(item_mean, x=(user_hidden, None)),
        )

    def users(self, around: Surroundings, which: Tensor) -> Tensor:
        """Unit vectors of some users, (n, d)."""
        hidden = functional.relu(self.user1.lin_l(around.user_inputs[which]))
        return functional.normalize(self.user2.lin_l(around.user_means[which]) + self.user2.lin_r(hidden))

    def items(self, around: Surroundings, which: Tensor) -> Tensor:
        """Unit vectors of some items, (n, d)."""
        hidden = functional.relu(self.item1(around.features[which]))
        return functional.normalize(self.item2.lin_l(around.item_means[which]) + self.item2.lin_r(hidden))

    def weights(self) -> SageWeights:
        """Copies, for the live path."""
        return _arrays(self.by_name())

    def by_name(self) -> dict[str, nn.Parameter]:
        """Every parameter by its name in `SageWeights`."""
        return {
            "user_neighbour1": self.user1.lin_l.weight,
            "user_bias1": self.user1.lin_l.bias,
            "item_root1": self.item1.weight,
            "item_bias1": self.item1.bias,
            "user_neighbour2": self.user2.lin_l.weight,
            "user_root2": self.user2.lin_r.weight,
            "user_bias2": self.user2.lin_l.bias,
            "item_neighbour2": self.item2.lin_l.weight,
            "item_root2": self.item2.lin_r.weight,
            "item_bias2": self.item2.lin_l.bias,
        }

    @classmethod
    def of(cls, weights: SageWeights) -> Self:
        """A network with these weights."""
        network = cls(weights.input_dimensions, weights.hidden_dimensions, weights.dimensions)
        with torch.no_grad():
            for name, parameter in network.by_name().items():
                parameter.copy_(torch.from_numpy(getattr(weights, name)))
        return network


def train_embedding(
    log: Interactions,
    coordinates: Float32,
    texts: Float32,
    feature_map: FeatureMap,
    config: Config,
    choices: Choices,
    progress: Callable[[int, int], None],
) -> Embedded:
    """Train on a log; coordinates (n_items, k) and text vectors (n_items, t) are fixed inputs.

    A log too short to have any target returns the spectral start.
    """
    settings, shapes = config.training.sized(log.n_items), config.embedding.sized(log.n_items)
    generator = torch.Generator().manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = SageNetwork(feature_map.dimensions, shapes.hidden_dimensions, shapes.dimensions)
    network.start_as_identity(generator)
    network.to(device)
    cuts = [DeviceCut(cut, device) for cut in _cuts(log, config, choices)]
    features = torch.from_numpy(feature_map.features(coordinates, texts)).to(device)
    estimated = torch.from_numpy(feature_map.estimated(texts)).to(device)
    weights = list(network.parameters())
    block = max(1, len(log) * shapes.hidden_dimensions // _BLOCK_SUMS)
    dropout = settings.dropout if texts.any() else 0.0  # without a text nothing would be left of an item
    optimiser = torch.optim.Adam(weights, lr=settings.learning_rate, betas=_ADAM)
    total = settings.steps + 1
    warm_up = max(_WARM_UP, 2 / total)  # OneCycleLR divides by the length of its first phase, in steps, less one
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=total, pct_start=warm_up, cycle_momentum=False
    )
    for step in range(settings.steps if cuts else 0):
        if step % block == 0:
            cut = cuts[int(torch.randint(len(cuts), (1,), generator=generator))]
            unknown = torch.rand(len(features), 1, generator=generator).to(device) < dropout
            around = network.surroundings(torch.where(unknown, estimated, features), cut.user_mean, cut.item_mean)
        questions = draw_questions(network, around, cut, settings, generator)
        loss = cross_entropy(questions, 1 / settings.temperature, settings.popularity_weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        progress(step + 1, settings.steps)
    model = EmbeddingModel(feature_map, network.weights(), 1 / settings.temperature, settings.popularity_weight)
    return Embedded(model, moments_of(network, optimiser))


def moments_of(network: SageNetwork, optimiser: torch.optim.Optimizer) -> Moments | None:
    """What Adam remembers of each parameter; None before its first step."""
    known = {name: optimiser.state[parameter] for name, parameter in network.by_name().items()}
    if not all(known.values()):
        return None
    first, second = (
        _arrays({name: state[part] for name, state in known.items()}) for part in ("exp_avg", "exp_avg_sq")
    )
    return Moments(first, second, int(next(iter(known.values()))["step"]))


def _arrays(tensors: Mapping[str, Tensor]) -> SageWeights:
    return SageWeights(
        **{name: tensor.detach().cpu().numpy().astype(np.float32, copy=True) for name, tensor in tensors.items()}
    )


class DeviceCut:
    """A time cut as tensors."""

    def __init__(self, cut: TimeCut, device: torch.device) -> None:
        self.user_mean = sparse_tensor(cut.user_mean).to(device)
        self.item_mean = sparse_tensor(cut.item_mean).to(device)
        self.log_popularity = torch.from_numpy(cut.log_popularity).to(device)
        self.target_users = torch.from_numpy(cut.target_users).long().to(device)
        self.target_items = torch.from_numpy(cut.target_items).long().to(device)


def _cuts(log: Interactions, config: Config, choices: Choices) -> list[TimeCut]:
    half_lives = config.graph.half_life_days * DAY, choices.popularity_half_life_days * DAY
    n = len(log)
    found = [time_cut(log, int(share * n), int(min(share + _WINDOW, 1.0) * n), *half_lives) for share in _CUTS]
    return [cut for cut in found if len(cut.target_users)]


@dataclass(frozen=True)
class Questions:
    """Targets beside what they are chosen from: n targets, m other items shared by all.

    asked (n,): user numbers; others (m,): item numbers; other_vectors (m, d), of length one; cosines (n, m); same
    (n, m): where the other item is the target itself; popularities are logarithms; share: of the catalogue that the
    others are.
    """

    asked: Tensor
    others: Tensor
    other_vectors: Tensor

    cosines: Tensor
    same: Tensor
    popularity: Tensor  # (m,)
    target_cosines: Tensor  # (n,)
    target_popularity: Tensor  # (n,)
    share: float


def draw_questions(
    network: SageNetwork,
    around: Surroundings,
    cut: DeviceCut,
    settings: TrainingSettings,
    generator: torch.Generator,
) -> Questions:
    """Draw a batch of targets, and what they are chosen from: all items, or uniform negatives of a large catalogue."""
    chosen = torch.randint(len(cut.target_users), (settings.batch_size,), generator=generator)
    asked, rows = torch.unique(cut.target_users[chosen], return_inverse=True)
    wanted, columns = torch.unique(cut.target_items[chosen], return_inverse=True)
    n_items = len(cut.log_popularity)
    if n_items <= settings.full_softmax_items:
        others = torch.arange(n_items)
    else:
        others = torch.randint(n_items, (settings.negatives,), generator=generator)
    others = others.to(wanted.device)
    users = network.users(around, asked)[rows]
    items = network.items(around, torch.cat([wanted, others]))
    other_vectors = items[len(wanted) :]
    return Questions(
        asked[rows],
        others,
        other_vectors,
        users @ other_vectors.T,
        wanted[columns][:, None] == others,
        cut.log_popularity[others],
        (users * items[columns]).sum(1),
        cut.log_popularity[wanted[columns]],
        len(others) / n_items,
    )


def cross_entropy(questions: Questions, scale: float, popularity_weight: float) -> Tensor:
    """Of the targets among all items; drawn others stand for as many as they were drawn from.

    The two scalars stay as they are set: the coordinates have absorbed the targets, so fitted to them a cosine would
    look surer, and popularity less worth, than they are for what comes next.
    """
    logits = (scale * questions.cosines + popularity_weight * questions.popularity).masked_fill(
        questions.same, float("-inf")
    )
    others = logits.logsumexp(1) - math.log(questions.share)
    target = scale * questions.target_cosines + popularity_weight * questions.target_popularity
    return (torch.logaddexp(others, target) - target).mean()


def sparse_tensor(matrix: csr_matrix) -> Tensor:
    """A scipy matrix as a torch CSR tensor: four times faster in SAGEConv than an edge list."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            matrix.shape,
            check_invariants=False,
        )
