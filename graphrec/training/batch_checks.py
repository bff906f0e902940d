"""Is a batch of events like those before it? What the gate asks of the events themselves, whatever any model says.

Held-out events cannot show that a batch is poisoned where they are poisoned too: a candidate that has learned that
everybody wants one item is then right. So the batch is held against earlier blocks of the same length, and the largest
value seen there is what is usual:

    one user, one item     largest share of the events (a bot; a flooded item)
    kinds                  Jensen-Shannon divergence of the mix from that of all earlier blocks (labels flipped)
    new users              share of the events (made-up accounts)
    coherence              are users near, on the graph before, to what they took? (items shuffled among users)

Coherence is the chance that a user's new item is nearer by a two-hop walk than another user's new item (an AUC whose
negatives are as popular as its positives): one half where nobody's events say anything about taste. No learned weights
take part, so no block is judged by a model that has learned from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.training.time_cuts import new_pairs, positive_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from graphrec.events.interactions import Interactions
    from graphrec.operation_settings import GateSettings

    Floats = NDArray[np.float64]

PUBLISH, HOLD, REJECT = "publish", "hold", "reject"

_LEAST_EVENTS = 40  # in a block: shares of fewer mean little
_WALKED = 300_000  # newest events of the history that coherence walks on
_ASKED = 300  # users of a block that coherence asks about
_LEAST_PAIRS = 40
_NOISE = 3.0  # standard errors that chance may take from a coherence


@dataclass(frozen=True)
class Finding:
    """One figure beside its limit; `verdict` is what passing the limit would call for."""

    name: str
    value: float
    usual: float
    limit: float
    passed: bool
    verdict: str


def batch_findings(log: Interactions, since: int, settings: GateSettings, seed: int = 0) -> list[Finding]:
    """Compare the events from position `since` on with the blocks before; `log` in the order of arrival.

    No finding where there is no history long enough to say what is usual.
    """
    length = min(len(log) - since, since // 4)
    if length < _LEAST_EVENTS:
        return []
    blocks = min(settings.reference_blocks, since // length - 1)
    usual = [since - place * length for place in range(blocks, 0, -1)]
    new = [*range(since, len(log) - length, length), len(log) - length]
    findings = []
    for name, code in (("one user's share of the events", log.users), ("one item's share of the events", log.items)):
        values = [[_largest_share(code[start : start + length]) for start in starts] for starts in (usual, new)]
        findings.append(_at_most(name, values[0], values[1], settings.concentration, 10 / length, REJECT))
    kinds = _kinds(log)
    mixes = [[_mix(kinds[start : start + length], kinds.max() + 1) for start in starts] for starts in (usual, new)]
    mean = np.mean(mixes[0], axis=0)
    drift = [[divergence(mix, mean) for mix in part] for part in mixes]
    findings.append(_at_most("drift of the kinds, bits", drift[0], drift[1], 2.0, settings.mix_drift, REJECT))
    seen = np.zeros(log.n_users, np.int64)
    first = np.unique(log.users, return_index=True)
    seen[first[0]] = first[1]
    fresh_faces = [[float((seen[log.users[s : s + length]] >= s).mean()) for s in starts] for starts in (usual, new)]
    findings.append(
        _at_most("new users' share of the events", fresh_faces[0], fresh_faces[1], settings.concentration, 0.1, HOLD)
    )
    rng = np.random.default_rng(seed)
    nearness = [[coherence(log, s, s + length, rng) for s in starts[-3:]] for starts in (usual, new)]
    earlier, now = ([value for value in part if value is not None] for part in nearness)
    if earlier and now:
        findings.append(_coherent(earlier, now, settings.coherence))
    return findings


def divergence(one: Floats, other: Floats) -> float:
    """Jensen-Shannon divergence of two distributions in bits: 0 = the same, 1 = nothing in common (Lin 1991)."""
    middle = (one + other) / 2
    parts = []
    for side in (one, other):
        some = side > 0
        parts.append(float((side[some] * np.log2(side[some] / middle[some])).sum()))
    return max(sum(parts) / 2, 0.0)


def coherence(log: Interactions, start: int, stop: int, rng: np.random.Generator) -> tuple[float, float] | None:
    """Chance that a user's new item of log[start:stop] is nearer than another's, on the graph of what came before.

    A mean over users, and its standard error; None where too few pairs can be asked about.
    """
    from scipy.sparse import diags

    pairs = positive_pairs(log.take(slice(max(start - _WALKED, 0), start)))
    users, items = new_pairs(log.take(slice(start, stop)), pairs)
    asked = np.unique(users)
    if len(asked) > _ASKED:
        asked = rng.choice(asked, _ASKED, replace=False)
        kept = np.isin(users, asked)
        users, items = users[kept], items[kept]
    if len(users) < _LEAST_PAIRS:
        return None
    witness = diags(1 / np.maximum(np.asarray(pairs.sum(axis=1)).ravel(), 1))
    popular = diags(1 / np.maximum(np.asarray(pairs.sum(axis=0)).ravel(), 1))
    rows, place = np.unique(users, return_inverse=True)
    reached = ((pairs[rows] @ popular) @ (pairs.T @ (witness @ pairs)) @ popular).toarray()
    reached[pairs[rows].nonzero()] = -1.0  # what a user had can neither win nor lose
    others = items[rng.permutation(len(items))]
    own, other = reached[place, items], reached[place, others]
    fair = (other >= 0) & (items != others)
    wins = (own > other) + 0.5 * (own == other)
    if fair.sum() < _LEAST_PAIRS:
        return None
    sums, sizes = (np.bincount(place[fair], weights, len(rows)) for weights in (wins[fair], None))
    chances = sums[sizes > 0] / sizes[sizes > 0]  # users count alike: the pairs of one are not independent
    return float(chances.mean()), float(chances.std() / len(chances) ** 0.5)


def _coherent(earlier: Sequence[tuple[float, float]], now: Sequence[tuple[float, float]], least: float) -> Finding:
    """The least coherent new block against a part of the usual one; passed where none is usual beyond chance."""
    usual = float(np.mean([value for value, _ in earlier]))
    value, error = min(now)
    limit = 0.5 + least * (usual - 0.5)
    passed = value >= limit or usual - 0.5 <= _NOISE * error
    return Finding("nearness of users to their new items", value, usual, limit, passed, REJECT)


def _at_most(
    name: str, usual: Sequence[float], new: Sequence[float], factor: float, least: float, verdict: str
) -> Finding:
    """The largest of the new values against `factor` times the largest usual one, and never less than `least`."""
    limit = max(factor * max(usual), least)
    return Finding(name, max(new), max(usual), limit, max(new) <= limit, verdict)


def _largest_share(numbers: NDArray[np.int32]) -> float:
    return float(np.bincount(numbers).max() / len(numbers))


def _kinds(log: Interactions) -> NDArray[np.int64]:
    """Code of each event's kind; where kinds are not known, whether it speaks for the item."""
    return (log.weights > 0).astype(np.int64) if log.kinds is None else log.kinds.astype(np.int64)


def _mix(kinds: NDArray[np.int64], n: Any) -> Floats:
    counts = np.bincount(kinds, minlength=n).astype(np.float64)
    mix: Floats = counts / counts.sum()
    return mix
