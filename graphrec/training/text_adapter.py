"""The text encoder learns what goes together: LoRA (Hu et al. 2022, by the library peft) on co-interactions.

An item and those that were most often in a session with it are pairs; in a batch of pairs each text has to tell its
partner from all others (InfoNCE, van den Oord et al. 2018). What is wanted are good vectors of items that nobody has
chosen yet, so a tenth of the items is never learned from, and how well these find their partners says when to stop.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphrec.embedding.low_rank import LowRankUpdate
from graphrec.embedding.text_encoder import pooled
from graphrec.errors import DependencyError, InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from graphrec.config import AdapterSettings
    from graphrec.embedding.text_encoder import TextEncoder
    from graphrec.events.interactions import Interactions

    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]

_LONGEST = 50  # events of a session that count as one: a long one is no single purpose
_MOST_SESSIONS = 50_000
_FEWEST_TIMES = 2  # that two items were in one session
_PARTNERS = 10  # of an item
_HELD_OUT = 0.1  # of the items
_ASKED = 256  # held-out pairs looked at
_CHECK_ROWS = 64  # texts encoded at once in a look


class Pairs(NamedTuple):
    """Items that were chosen together: `left` and `right`, int32 (n,), and how likely each pair is drawn, (n,)."""

    left: Int32
    right: Int32
    share: NDArray[np.float64]

    def take(self, which: NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        share = self.share[which]
        return Pairs(self.left[which], self.right[which], share / share.sum() if len(share) else share)


@dataclass(frozen=True)
class Adapted:
    """What came of it; `update` is None where held-out items are not found better than before.

    before, after: mean reciprocal rank of held-out items' partners, by the plain texts and, at best, by adapted ones;
    steps: after which that was.
    """

    update: LowRankUpdate | None
    before: float
    after: float
    steps: int


def co_interactions(log: Interactions, described: NDArray[np.bool_], session: int, seed: int) -> Pairs:
    """The items (n_items,) `described` with those that users wanted most often beside them, session by session.

    A session's events are at most `session` microseconds apart, one from the next. How close two items are is the
    cosine of the sessions that they were in, so that nothing is near to an item because it is popular; an item's pairs
    are drawn by it, and one item as often as another.
    """
    from scipy.sparse import csr_matrix

    wanted = log.positive()
    wanted = wanted.take(described[wanted.items])
    order = np.lexsort((wanted.timestamps, wanted.users))
    users, items, times = wanted.users[order], wanted.items[order], wanted.timestamps[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (users[1:] != users[:-1]) | (np.diff(times) > session)
    starts = np.flatnonzero(begins)
    places = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    sessions = np.cumsum(begins | (places % _LONGEST == 0)) - 1
    n_sessions = int(sessions[-1]) + 1 if len(sessions) else 0
    drawn = np.random.default_rng(seed).permutation(n_sessions)[:_MOST_SESSIONS]
    inside = np.isin(sessions, drawn)
    shape = n_sessions, log.n_items
    had = csr_matrix((np.ones(int(inside.sum()), np.float32), (sessions[inside], items[inside])), shape=shape)
    had.data[:] = 1  # the constructor has added up what came twice
    counts = (had.T @ had).tocoo()
    often = np.asarray(had.sum(axis=0)).ravel()
    some = (counts.row != counts.col) & (counts.data >= _FEWEST_TIMES)
    left, right = counts.row[some], counts.col[some]
    cosine = counts.data[some] / np.sqrt(often[left] * often[right])
    best = np.lexsort((-cosine, left))
    left, right, cosine = left[best], right[best], cosine[best].astype(np.float64)
    firsts = np.searchsorted(left, left)
    kept = np.arange(len(left)) - firsts < _PARTNERS
    left, right, cosine = left[kept], right[kept], cosine[kept]
    totals = np.bincount(left, cosine, minlength=log.n_items)
    return Pairs(left, right, cosine / totals[left]).take(np.ones(len(left), bool))


def adapt(
    encoder: TextEncoder,
    texts: Sequence[str],
    pairs: Pairs,
    settings: AdapterSettings,
    seed: int,
    progress: Callable[[int, int], None],
) -> Adapted:
    """Train an update of a plain encoder's weights on pairs of `texts`.

    Raises InputError where too few pairs are left to learn from or to judge by, DependencyError without peft,
    ModelError where that does not know the model.
    """
    import torch

    rng = np.random.default_rng(seed)
    hidden = rng.random(len(texts)) < _HELD_OUT
    learned = pairs.take(~(hidden[pairs.left] | hidden[pairs.right]))
    judged = pairs.take(hidden[pairs.left] & ~hidden[pairs.right])
    if len(learned.left) < settings.batch_size or not len(judged.left):
        raise InputError(
            "too few items with texts were chosen together to adapt the text model",
            expected=f"{settings.batch_size} pairs of items in sessions, and some of held-out items",
            got=f"{len(learned.left)} and {len(judged.left)}",
        )
    torch.manual_seed(seed)
    tokenizer, plain, longest = encoder.load()
    model = _with_factors(plain, settings.rank)

    def vectors(of: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(of), truncation=True, max_length=longest)["input_ids"]
        return pooled(model, tokens, tokenizer.pad_token_id or 0)

    asked = rng.choice(len(judged.left), _ASKED, p=judged.share)
    questions, answers = np.unique(judged.left[asked]), np.unique(judged.right[asked])
    places = np.searchsorted(questions, judged.left[asked]), np.searchsorted(answers, judged.right[asked])

    def look() -> float:
        with torch.inference_mode():
            both = [
                torch.cat([vectors([texts[i] for i in part]) for part in _parts(which)]).cpu().numpy()
                for which in (questions, answers)
            ]
        return reciprocal_rank(both[0] @ both[1].T, *places)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, settings.steps)
    known = {*zip(learned.left.tolist(), learned.right.tolist(), strict=True)}
    known |= {(right, left) for left, right in known}
    before = look()
    kept, best, best_step, waited = None, -1.0, 0, 0
    for step in range(1, settings.steps + 1):
        drawn = rng.choice(len(learned.left), settings.batch_size, p=learned.share)
        left, right = learned.left[drawn], learned.right[drawn]
        sides = [vectors([texts[i] for i in side]) for side in (left, right)]
        loss = info_nce(sides[0] @ sides[1].T / settings.temperature, _other_partners(left, right, known))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        progress(step, settings.steps)
        if step % settings.check_steps == 0 or step == settings.steps:
            found = look()
            if found > best:
                kept, best, best_step, waited = _factors(model), found, step, 0
            elif (waited := waited + 1) >= settings.patience:
                break
    return Adapted(kept if best > before else None, before, best, best_step)


def info_nce(logits: Tensor, also_right: Tensor) -> Tensor:
    """Cross entropy of the diagonal of (n, n) logits, both ways, without the entries (n, n) that are right as well."""
    import torch

    others = logits.masked_fill(also_right, float("-inf"))
    wanted = torch.arange(len(logits), device=logits.device)
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(others, wanted) + cross_entropy(others.T, wanted)) / 2


def reciprocal_rank(cosines: Float32, asked: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """Mean of 1 / rank of the columns `wanted` in the rows `asked` of cosines (q, a); ties count half."""
    rows = cosines[asked]
    of_wanted = rows[np.arange(len(asked)), wanted][:, None]
    ranks = 1 + (rows > of_wanted).sum(axis=1) + ((rows == of_wanted).sum(axis=1) - 1) / 2
    return float((1 / ranks).mean())


def _other_partners(left: Int32, right: Int32, known: set[tuple[int, int]]) -> Tensor:
    """Where row i's partner may as well be column j's item, or is the item itself, bool (n, n); not on the diagonal."""
    import torch

    right_list = right.tolist()
    table = [[item == other or (item, other) in known for other in right_list] for item in left.tolist()]
    also = np.array(table) | (right[:, None] == right[None, :]) | (left[:, None] == left[None, :])
    np.fill_diagonal(also, False)
    return torch.from_numpy(also)


def _parts(which: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    return [which[start : start + _CHECK_ROWS] for start in range(0, len(which), _CHECK_ROWS)]


def _with_factors(plain: Any, rank: int) -> Any:
    """The model with trainable factors beside queries and values, which change nothing yet; all else is fixed."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise DependencyError(
            "adapting the text model needs the library peft", way_out="pip install 'graphrec[lora]'"
        ) from None
    try:
        # No names: peft knows which layers of a kind of model are its queries and values.
        with warnings.catch_warnings():  # peft asks transformers for a property by its old name
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            return get_peft_model(plain, LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0))
    except ValueError as error:
        raise ModelError("the text model cannot be adapted", got=str(error).splitlines()[0]) from None


def _factors(model: Any) -> LowRankUpdate:
    down, up = {}, {}
    for name, layer in model.base_model.model.named_modules():
        if hasattr(layer, "lora_A"):
            down[name] = layer.lora_A["default"].weight.detach().cpu().numpy().copy()
            up[name] = layer.lora_B["default"].weight.detach().cpu().numpy() * np.float32(layer.scaling["default"])
    return LowRankUpdate(down, up)
