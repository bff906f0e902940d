"""What freshness is worth: ask for the item of the next event, given only what a refresh policy has seen by then.

The model is trained once, on the oldest part of the log. The rest is a stream (prequential, Gama et al., KDD 2009):
before each sampled event its user is asked about, and policies differ only in which earlier events have reached them
(`visible_from`). What the user has already had is hidden by the newest knowledge under every policy, so that a stale
one is not punished for offering it.

"user vector" and "recent taste" ask one source alone, of item tables that are the same for every policy: those of the
base, or those refreshed at each block, as a nightly job would. "whole product" asks retrieval and ranking heads of a
product in which everything is as late as the policy says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graphrec.errors import InputError
from graphrec.evaluation.metrics import PER_USER, ItemSets, bootstrap_interval, score
from graphrec.ranking.ranker import head_for, ranked
from graphrec.retrieval.taste import NEWEST, recency_weights
from graphrec.training.trainer import fit, retriever_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from rich.table import Table

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.retrieval.retriever import Retriever

    Bools = NDArray[np.bool_]
    Float32 = NDArray[np.float32]
    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Progress = Callable[[str, int, int], None]

NEVER, PER_BLOCK, SECONDS_LATE, EVENT_LATE, PER_EVENT = "never", "per block", "10 s late", "1 event late", "per event"
POLICIES = (NEVER, PER_BLOCK, SECONDS_LATE, EVENT_LATE, PER_EVENT)
TABLES = {"frozen": NEVER, "per block": PER_BLOCK}  # whose item vectors, popularity and graph are asked
ALL = "all"
USER_VECTOR, TASTE, PRODUCT = "user vector", "recent taste", "whole product"

_SECOND = 1_000_000  # microseconds
_LATE = 10 * _SECOND


@dataclass(frozen=True)
class FreshnessResult:
    """Quality of one refresh policy over the `n` sampled events of one kind.

    tables: when items are refreshed, "frozen" or "per block"; "by policy" for the whole product. asked: "user vector",
    "recent taste" or "whole product". events: "all", "first of session" or "inside a session". hit_rate and ndcg at k
    are means over events; the intervals are (low, high) of a 95 % bootstrap over events.
    """

    tables: str
    asked: str
    policy: str
    events: str
    k: int
    n: int
    hit_rate: float
    hit_rate_interval: tuple[float, float]
    ndcg: float
    ndcg_interval: tuple[float, float]


def one_step_ahead(
    interactions: Interactions,
    texts: Float32,
    config: Config,
    progress: Progress,
    *,
    session_gap: float = 1800.0,
    k: int = 20,
    sample: int = 12_000,
    base_share: float = 0.6,
    block_share: float = 0.04,
    seed: int = 0,
) -> list[FreshnessResult]:
    """Train on the oldest `base_share` of the events and ask about a sample of the others, one event ahead.

    Targets have a positive weight and are the first event of their user and item. Events of one time stamp are taken in
    the order of the log.

    Args:
        interactions: the log.
        texts: text vectors of the items, float32 (n_items, t), t = 0 without texts.
        session_gap: a session ends when its user pauses for longer, seconds; 0 = one time stamp is one session.
        block_share: share of the log after which a "per block" policy is refreshed.

    Raises InputError for shares outside (0, 1), for k or a sample under 1, or where there is nothing to learn from or
    to ask for.
    """
    if not 0.0 < base_share < 1.0 or not 0.0 < block_share < 1.0:
        raise InputError("a share is not a share", expected="between 0 and 1", got=f"{base_share}, {block_share}")
    if k < 1 or sample < 1:
        raise InputError(
            "there is nothing to ask", expected="k and events of at least 1", got=f"k = {k}, {sample} events"
        )
    log = interactions.by_time()
    start, block = int(base_share * len(log)), max(int(block_share * len(log)), 1)
    targets = new_targets(log, start)
    if start == 0 or len(targets) == 0:
        raise InputError(
            "the interactions cannot be asked one step ahead",
            expected="events to learn from, and items new to their users after them",
            got=f"{start} events to learn from, {len(targets)} to ask for",
        )
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.choice(targets, min(sample, len(targets)), replace=False))
    base = log.take(slice(start))
    trained = fit(base, texts, config, progress)
    followers = {}
    for policy in POLICIES:
        retriever = retriever_of(base, trained, texts, config)
        followers[policy] = Follower(retriever, log, visible_from(log, policy, start, block))
    lists: dict[tuple[str, str, str], Int32] = {}
    for row, position in enumerate(asked.tolist()):
        user = int(log.users[position])
        for follower in followers.values():
            follower.advance(position)
        hidden = followers[PER_EVENT].retriever.seen(user)
        for policy in POLICIES:
            informed = followers[policy].retriever
            answers = {}
            for name, source in TABLES.items():
                tables = followers[source].retriever
                answers[name, USER_VECTOR, policy] = by_user_vector(tables, informed, user, k, hidden)
                answers[name, TASTE, policy] = by_taste(tables, informed, user, k, hidden)
            head = head_for(informed, user, trained.ranker, trained.session_ranker)
            candidates, best, _ = ranked(informed, head, user, hidden, k)
            answers["by policy", PRODUCT, policy] = candidates.numbers[best]
            for key, answer in answers.items():
                lists.setdefault(key, np.full((len(asked), k), -1, np.int32))[row, : len(answer)] = answer
        progress("next events", row + 1, len(asked))
    return _results(lists, log.items[asked], session_starts(log, session_gap)[asked], k, rng)


def new_targets(log: Interactions, start: int) -> Int64:
    """Positions from `start` on of positive events whose user had no event with their item before, ascending."""
    keys = log.users.astype(np.int64) * log.n_items + log.items
    first = np.sort(np.unique(keys, return_index=True)[1])
    targets: Int64 = first[(first >= start) & (log.weights[first] > 0)]
    return targets


def session_starts(log: Interactions, gap: float) -> Bools:
    """Mark the events of a log in the order of time that come more than `gap` seconds after their user's last one."""
    order = np.argsort(log.users, kind="stable")
    pauses = np.diff(log.timestamps[order]) > gap * _SECOND
    starts = np.ones(len(log), np.bool_)
    starts[order[1:]] = pauses | (np.diff(log.users[order]) != 0)
    return starts


def visible_from(log: Interactions, policy: str, start: int, block: int) -> Int64:
    """From which position of the log on each event is known to a policy, int64 (m,); m = never.

    Whoever asks about the event at position p knows every event with `visible_from` <= p. The first `start` events are
    always known; blocks are counted from there. `log` in the order of time. Raises InputError for an unknown policy.
    """
    m = len(log)
    positions = np.arange(m)
    if policy == NEVER:
        visible = np.full(m, m)
    elif policy == PER_BLOCK:
        visible = start + ((positions - start) // block + 1) * block
    elif policy == SECONDS_LATE:
        visible = np.searchsorted(log.timestamps, log.timestamps + _LATE)
    elif policy == EVENT_LATE:  # when the user's next event has passed
        order = np.argsort(log.users, kind="stable")
        follows = np.diff(log.users[order]) == 0
        visible = np.full(m, m)
        visible[order[:-1][follows]] = order[1:][follows] + 1
    elif policy == PER_EVENT:
        visible = positions + 1
    else:
        raise InputError("there is no such refresh policy", expected=", ".join(POLICIES), got=policy)
    return np.where(positions < start, 0, np.minimum(visible, m)).astype(np.int64)


class Follower:
    """A retriever that takes in each event of a log when it becomes visible; at first it knows those visible from 0."""

    def __init__(self, retriever: Retriever, log: Interactions, visible: Int64) -> None:
        self.retriever = retriever
        self._order = np.argsort(visible, kind="stable")
        self._visible = visible[self._order]
        self._log = log
        self._done = int(np.searchsorted(self._visible, 0, side="right"))
        retriever.grow_users(log.n_users)

    def advance(self, position: int) -> None:
        """Know what is visible to a question about the event at `position`."""
        stop = int(np.searchsorted(self._visible, position, side="right"))
        if stop > self._done:
            events = self._log.take(self._order[self._done : stop])
            self.retriever.apply(events.users, events.items, events.weights, events.timestamps)
            self._done = stop


def by_user_vector(tables: Retriever, informed: Retriever, user: int, k: int, hidden: Int32) -> Int32:
    """The k items of `tables` nearest to the vector that `informed` has of a user, hidden ones left out, int32.

    Recently popular ones for a user without a history.
    """
    query = informed.query(user)
    if query is None or tables.index is None:
        return tables.popular(k, hidden)
    found = tables.index.search(query[None], k, hidden).numbers[0]
    nearest: Int32 = found[found >= 0]
    return nearest


def by_taste(tables: Retriever, informed: Retriever, user: int, k: int, hidden: Int32) -> Int32:
    """The k items that a walk on the graph of `tables` reaches from the newest items that `informed` knows of a user.

    As `by_user_vector` otherwise.
    """
    items = informed.speaking(user)[0]
    if not len(items):
        return tables.popular(k, hidden)
    scores = tables.filter.walk(tables.graph.arrays, user, items[:NEWEST], recency_weights(len(items)))
    scores[hidden] = 0
    best: Int32 = np.argsort(-scores, kind="stable")[:k].astype(np.int32)
    reached: Int32 = best[scores[best] > 0]
    return reached


def as_table(results: Sequence[FreshnessResult]) -> Table:
    """Lay the results over all events out for a terminal of 80 columns."""
    from rich.table import Table

    table = Table(title="the next event, by what the answer knew of the user", box=None)
    for place, heading in enumerate(("asked", "items", "known", f"hit@{results[0].k}", f"ndcg@{results[0].k}")):
        table.add_column(heading, justify="right" if place > 2 else "left", no_wrap=True)
    for row in results:
        if row.events == ALL:
            half = (row.hit_rate_interval[1] - row.hit_rate_interval[0]) / 2
            table.add_row(row.asked, row.tables, row.policy, f"{row.hit_rate:.4f} ±{half:.4f}", f"{row.ndcg:.4f}")
    return table


def _results(
    lists: dict[tuple[str, str, str], Int32], items: Int32, first: Bools, k: int, rng: np.random.Generator
) -> list[FreshnessResult]:
    """Score each set of lists against the items that came, all together and by the event's place in its session."""
    wanted = ItemSets(np.arange(len(items) + 1), items)
    kinds = {ALL: np.ones(len(items), np.bool_), "first of session": first, "inside a session": ~first}
    columns = [PER_USER.index(name) for name in ("hit_rate", "ndcg")]
    results = []
    for (tables, asked, policy), found in lists.items():
        values = score(found, wanted, k).matrix()[:, columns]
        for events, chosen in kinds.items():
            if not chosen.any():
                continue
            hit_rate, ndcg = values[chosen].mean(axis=0).tolist()
            low, high = bootstrap_interval(values[chosen], rng)
            (hit_low, ndcg_low), (hit_high, ndcg_high) = low.tolist(), high.tolist()
            intervals = (hit_low, hit_high), (ndcg_low, ndcg_high)
            n = int(chosen.sum())
            results.append(
                FreshnessResult(tables, asked, policy, events, k, n, hit_rate, intervals[0], ndcg, intervals[1])
            )
    return results
