"""GraphSAGE from scratch: PyG's `SAGEConv` on time cuts, started where the spectrum already is.

The layers start as the identity on the spectral coordinates (relu(x) - relu(-x) = x), so step 0 is a spectral
recommender and training only improves on it. The loss is a softmax over the catalogue with the popularity term inside,
the very score that the index computes; never a pairwise one.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import SAGEConv

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.graphsage import SageWeights
from graphrec.retrieval.retriever import DAY
from graphrec.training.time_cuts import TimeCut, time_cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from graphrec.config import Config
    from graphrec.embedding.node_features import FeatureMap
    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.choices import Choices

    Float32 = NDArray[np.float32]

_CUTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)  # shares of the log that are history
_WINDOW = 0.1  # share of the log after a cut that its targets come from
_INITIAL_NOISE = 0.02
_WARM_UP = 0.05  # share of the steps


class SageNetwork(nn.Module):
    """The two layers of `graphrec.embedding.graphsage`, in PyG's terms, and the two scalars of the score."""

    def __init__(self, inputs: int, hidden: int, outputs: int, temperature: float) -> None:
        super().__init__()
        # The operators are row-stochastic, so `sum` along them is the weighted mean.
        self.user1 = SAGEConv((inputs, 1), hidden, aggr="sum", root_weight=False)
        self.item1 = nn.Linear(inputs, hidden)
        self.user2 = SAGEConv((hidden, hidden), outputs, aggr="sum")
        self.item2 = SAGEConv((hidden, hidden), outputs, aggr="sum")
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(1 / temperature))))
        self.popularity_weight = nn.Parameter(torch.tensor(1.0))

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
                linear.weight.copy_(start + _INITIAL_NOISE * torch.randn(start.shape, generator=generator))
                if linear.bias is not None:
                    linear.bias.zero_()

    def forward(self, features: Tensor, user_mean: Tensor, item_mean: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of all users and items; operators sparse CSR (n_users, n_items) and (n_items, n_users)."""
        nothing = features.new_zeros(user_mean.shape[0], 1)
        user_hidden = functional.relu(self.user1((features, nothing), user_mean))
        item_hidden = functional.relu(self.item1(features))
        users = self.user2((item_hidden, user_hidden), user_mean)
        items = self.item2((user_hidden, item_hidden), item_mean)
        return functional.normalize(users), functional.normalize(items)

    def weights(self) -> SageWeights:
        """Copies, for the live path."""

        def array(tensor: Tensor) -> Float32:
            copied: Float32 = tensor.detach().cpu().numpy().astype(np.float32, copy=True)
            return copied

        return SageWeights(
            user_neighbour1=array(self.user1.lin_l.weight),
            user_bias1=array(self.user1.lin_l.bias),
            item_root1=array(self.item1.weight),
            item_bias1=array(self.item1.bias),
            user_neighbour2=array(self.user2.lin_l.weight),
            user_root2=array(self.user2.lin_r.weight),
            user_bias2=array(self.user2.lin_l.bias),
            item_neighbour2=array(self.item2.lin_l.weight),
            item_root2=array(self.item2.lin_r.weight),
            item_bias2=array(self.item2.lin_l.bias),
        )


def train_embedding(
    log: Interactions,
    coordinates: Float32,
    texts: Float32,
    feature_map: FeatureMap,
    config: Config,
    choices: Choices,
    progress: Callable[[int, int], None],
) -> EmbeddingModel:
    """Train on a log; coordinates (n_items, k) and text vectors (n_items, t) are fixed inputs.

    A log too short to have any target returns the spectral start.
    """
    settings, shapes = config.training, config.embedding
    generator = torch.Generator().manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = SageNetwork(feature_map.dimensions, shapes.hidden_dimensions, shapes.dimensions, settings.temperature)
    network.start_as_identity(generator)
    network.to(device)
    cuts = [_DeviceCut(cut, device) for cut in _cuts(log, config, choices)]
    features = torch.from_numpy(feature_map.features(coordinates, texts)).to(device)
    estimated = torch.from_numpy(feature_map.estimated(texts)).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    total = settings.steps + 1
    warm_up = max(_WARM_UP, 2 / total)  # OneCycleLR divides by the length of its first phase, in steps, less one
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=total, pct_start=warm_up
    )
    for step in range(settings.steps if cuts else 0):
        cut = cuts[int(torch.randint(len(cuts), (1,), generator=generator))]
        unknown = torch.rand(len(features), 1, generator=generator).to(device) < settings.dropout
        users, items = network(torch.where(unknown, estimated, features), cut.user_mean, cut.item_mean)
        loss = _loss(network, users, items, cut, config, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress(step + 1, settings.steps)
    return EmbeddingModel(
        feature_map,
        network.weights(),
        float(network.log_scale.detach().exp()),
        float(network.popularity_weight.detach()),
    )


class _DeviceCut:
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


def _loss(
    network: SageNetwork,
    users: Tensor,
    items: Tensor,
    cut: _DeviceCut,
    config: Config,
    generator: torch.Generator,
) -> Tensor:
    """Cross entropy of a batch of targets among all items, or among shared uniform negatives of a large catalogue."""
    settings = config.training
    chosen = torch.randint(len(cut.target_users), (settings.batch_size,), generator=generator)
    batch_users, batch_items = cut.target_users[chosen], cut.target_items[chosen]
    scale, weight = network.log_scale.exp(), network.popularity_weight
    if len(items) <= settings.full_softmax_items:
        logits = users[batch_users] @ items.T * scale + weight * cut.log_popularity
        return functional.cross_entropy(logits, batch_items)
    negatives = torch.randint(len(items), (settings.negatives,), generator=generator).to(items.device)
    logits = users[batch_users] @ items[negatives].T * scale + weight * cut.log_popularity[negatives]
    logits = logits.masked_fill(batch_items[:, None] == negatives, float("-inf"))
    target = (users[batch_users] * items[batch_items]).sum(1) * scale + weight * cut.log_popularity[batch_items]
    return (torch.logsumexp(torch.cat([target[:, None], logits], 1), 1) - target).mean()


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
