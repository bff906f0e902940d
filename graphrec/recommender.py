"""The recommender: the way of an event and the way of a question, from the door to the answer.

    ingest      store, then graph, then propagation, then index     (`ingest`, LiveState.refresh, Retriever.apply)
    recommend   user vector, candidates, ranking, reasons           (`recommend`, Retriever.candidates, ranked)

External ids stop here; inside there are only node numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.answers import (
    Described,
    Explanation,
    IngestReport,
    Profile,
    Reason,
    Recommendation,
    Recommendations,
    Touched,
)
from graphrec.embedding.node_features import unit_rows
from graphrec.errors import InputError
from graphrec.events.catalogue import is_withdrawn
from graphrec.events.event import Item, iso
from graphrec.open_workspace import generation_of, item_number, not_trained, user_number
from graphrec.publishing import Publishing
from graphrec.ranking.explanation import Evidence, evidence, evidence_of
from graphrec.ranking.ranker import head_for, in_session, ranked
from graphrec.retrieval.cold_items import TEXT, TEXT_SOURCE
from graphrec.retrieval.retriever import POPULAR, SOURCES
from graphrec.retrieval.session import with_session
from graphrec.retrieval.text_search import TextSearch
from graphrec.workspace import ingest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from graphrec.live_state import LiveState
    from graphrec.retrieval.cold_items import ColdItems
    from graphrec.retrieval.retriever import Retriever

    Float32 = NDArray[np.float32]

_SOURCES = SOURCES | {TEXT: TEXT_SOURCE}
_REASONS = 2  # shown with each recommendation
_PATHS = 5  # shown of one item that somebody asks about
_SEARCH_POOL = 100  # texts nearest to a search that a user's taste may re-order
_TASTE = 0.1  # weight of the taste beside the cosine of the texts


class Recommender(Publishing):
    """A workspace, opened: ingest events, train, ask. Safe to share between threads: questions run side by side.

    `Recommender.open("shop")`, or `Recommender.create("shop")` for a new one; a context manager. What other processes
    bring into the store becomes visible by `refresh`, or all by itself under a `graphrec.follower.Follower`.
    """

    # -- the way of an event ------------------------------------------------------------------------------------------

    def ingest(
        self,
        events: Any | None = None,
        *,
        items: Any | None = None,
        users: Any | None = None,
        columns: Mapping[str, str] | None = None,
        item_columns: Mapping[str, str] | None = None,
    ) -> IngestReport:
        """Bring in events, items and users; when it returns they are durable and count in every answer.

        Args:
            events: a file (CSV, TSV, JSON Lines, Parquet), a DataFrame, an arrow table or `Event`s.
            items: the catalogue: a file, a DataFrame or an arrow table.
            users: what is known of users, likewise.
            columns, item_columns: our names -> the source's names, where they differ.

        Raises InputError when a source cannot be read at all; a bad row goes to the quarantine instead.
        """
        report = ingest(
            self.workspace,
            self._store,
            events,
            items=items,
            users=users,
            columns=columns,
            item_columns=item_columns,
            progress=self._progress,
        )
        self.refresh()
        return report

    # -- the way of a question ----------------------------------------------------------------------------------------

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        include_seen: bool = False,
        exclude: Sequence[str] = (),
        session: Sequence[str | tuple[str, str]] = (),
        reasons: bool = True,
    ) -> Recommendations:
        """The k items that suit a user best, from everything known up to now.

        An unknown user, or one whose every event was taken back, gets the recently popular items and the answer says
        so. `exclude` names items that must not be shown. `session` names items that the user, known or not, has just
        had to do with, oldest first, each with the kind of the event if it is not the default one; they count in this
        answer only. Raises InputError for k below one or a kind that is not configured.
        """
        _check_k(k)
        with self.reading() as state:
            row, cold = user_number(state, user), state.cold
            retriever = _beside(state, row, session)
            if retriever is not state.retriever and cold is not None:
                cold = cold.seen_by(retriever)
            hidden = _hidden(state, exclude)
            if not include_seen:
                hidden = np.concatenate([hidden, retriever.seen(row)])
            personal = retriever.has_history(row)
            learned = state.learned
            ranker = None
            if learned is not None:
                ranker = head_for(retriever, row, learned.ranker, learned.session_ranker)
            candidates, best, scores = ranked(retriever, ranker, row, hidden, k)
            numbers, offered = candidates.numbers[best], candidates.sources[best]
            if cold is not None:
                numbers, offered, scores = cold.into_places(row, hidden, k, numbers, offered, scores)
            found = evidence_of(retriever, row, numbers, _REASONS) if reasons else [None] * len(numbers)
            shown = tuple(
                Recommendation(
                    item=state.items.key(item),
                    title=state.catalogue.title(item),
                    score=float(score),
                    sources=tuple(name for bit, name in _SOURCES.items() if sources & bit),
                    reasons=() if why is None else _reasons(state, why, cold, row, item),
                )
                for item, score, sources, why in zip(
                    numbers.tolist(), scores.tolist(), offered.tolist(), found, strict=True
                )
            )
            notes = []
            if not personal:
                notes.append(f"{'no history' if user in state.users else 'unknown user'}: recently popular items")
            if len(shown) < k:
                notes.append(f"{len(shown)} of the {k} asked for qualify")
            certified = candidates.certified
            return _list(state, user, shown, personal=personal, note="; ".join(notes), certified=certified)

    def recommend_many(
        self, users: Sequence[str], k: int = 10, *, include_seen: bool = False, reasons: bool = True
    ) -> list[Recommendations]:
        """A list for each of some users, each from everything known when its turn comes; as `recommend`."""
        return [self.recommend(user, k, include_seen=include_seen, reasons=reasons) for user in users]

    def trending(self, k: int = 10, *, exclude: Sequence[str] = ()) -> Recommendations:
        """The k items with the most recent events, and how many, older ones counting less; raises InputError."""
        _check_k(k)
        with self.reading() as state:
            numbers = state.retriever.popular(k, _hidden(state, exclude))
            counts = state.retriever.recent.counts()[numbers].astype(np.float32)
            return _list(state, None, _plain(state, numbers, counts, (SOURCES[POPULAR],)), personal=False)

    def profile(self, user: str, limit: int = 20) -> Profile:
        """What is known of a user, with the newest items; an unknown user's is empty. Raises InputError."""
        _check_k(limit)
        attributes = self._store.user_attributes(user) if user in self.users else {}
        with self.reading() as state:
            row, retriever = user_number(state, user), state.retriever
            if row >= retriever.graph.n_users:
                return Profile(user, False, {}, 0, (), False, generation_of(state), state.offset)
            numbers, weights, times = retriever.graph.user_row(row)
            shares = weights / max(float(weights.sum()), 1e-30)
            newest = tuple(
                Touched(
                    item=state.items.key(int(numbers[place])),
                    title=state.catalogue.title(int(numbers[place])),
                    share=float(shares[place]),
                    last=iso(int(times[place])),
                )
                for place in np.argsort(times, kind="stable")[::-1][:limit]
            )
            known = in_session(retriever, row)
            return Profile(user, True, attributes, len(numbers), newest, known, generation_of(state), state.offset)

    def describe(self, item: str) -> Described:
        """What the catalogue says of an item; raises UnknownItemError."""
        with self.reading() as state:
            number = item_number(state, item)
            content = state.catalogue.get(number) or Item(item)
            return Described(
                item=item,
                title=content.title,
                text=content.text,
                attributes=dict(content.attributes),
                users=int(state.retriever.graph.arrays.item_length[number]),
                withdrawn=is_withdrawn(content),
            )

    def similar(self, item: str, k: int = 10) -> Recommendations:
        """The k items whose GraphSAGE vectors point most nearly the same way.

        Raises UnknownItemError, NotTrainedError.
        """
        _check_k(k)
        with self.reading() as state:
            number = np.array([item_number(state, item)], np.int32)
            if state.retriever.index is None:
                raise not_trained()
            query = np.append(state.retriever.vectors(number)[0], np.float32(0))  # without popularity
            found = state.retriever.index.search(query[None], k, np.append(_hidden(state, ()), number))
            best = found.numbers[0][found.numbers[0] >= 0]
            shown = _plain(state, best, found.scores[0][: len(best)])
            return _list(state, None, shown, personal=False, certified=bool(found.certified[0]))

    def search(self, text: str, k: int = 10, *, user: str | None = None) -> Recommendations:
        """The k items whose texts are nearest in meaning; a user's taste re-orders what is about equally near.

        Loads the text encoder at first use. Raises ModelError without its weights, InputError for an empty text.
        """
        _check_k(k)
        if not text.strip():
            raise InputError("there is nothing to search for", expected="a text", got=repr(text))
        adapter = self._state.adapter
        question = self._encoder_with(adapter).encode([text])[0]  # before the turn: it takes longer than all the rest
        with self.reading() as state:
            if state.adapter is not adapter:  # a generation has taken the other's place meanwhile
                question = self._encoder_with(state.adapter).encode([text])[0]
            texts = self._texts_of(state)
            if not len(texts):
                return _list(state, user, (), personal=False, note="no item has a text")
            withdrawn = state.catalogue.withdrawn
            found, scores = texts.search(question, max(k, _SEARCH_POOL) + len(withdrawn))
            left = ~np.isin(found, withdrawn)
            found, scores = found[left], scores[left]
            taste = None if user is None else state.retriever.query(user_number(state, user))
            if taste is not None and state.retriever.index is not None:
                liking = state.retriever.vectors(found) @ taste[:-1]
                scores = scores + _TASTE * liking / max(float(np.abs(liking).max(initial=0)), 1e-9)
            best = np.argsort(-scores, kind="stable")[:k]
            return _list(state, user, _plain(state, found[best], scores[best]), personal=taste is not None)

    def _texts_of(self, state: LiveState) -> TextSearch:
        """What finds the present texts of a state; made when it is first asked for."""
        made_of = state, state.catalogue.offset, len(state.items)
        kept = self._text_search
        if kept is None or kept[0] != made_of:
            texts = state.texts if state.texts.size else state.all_text_vectors()
            self._text_search = kept = made_of, TextSearch(texts)
        return kept[1]

    def explain(self, user: str, item: str) -> Explanation:
        """Why an item suits a user, in paths of the graph; raises UnknownItemError."""
        with self.reading() as state:
            number, row, retriever = item_number(state, item), user_number(state, user), state.retriever
            query = retriever.query(row)
            cosine = None
            if query is not None and retriever.index is not None:
                cosine = float(unit_rows(query[None, :-1])[0] @ retriever.vectors(np.array([number], np.int32))[0])
            found = evidence(retriever, row, number, limit=_PATHS)
            return Explanation(
                user=user,
                item=item,
                title=state.catalogue.title(number),
                reasons=_reasons(state, found, state.cold, row, number, limit=_PATHS),
                cosine=cosine,
                popularity_rank=found.popularity_rank,
            )


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError("the length of a list", expected="k of at least 1", got=str(k))


def _hidden(state: LiveState, exclude: Sequence[str]) -> NDArray[np.int32]:
    """Numbers of what must not be shown, some perhaps twice: what the question names, and what is withdrawn."""
    numbers = np.append(state.items.numbers(exclude), state.catalogue.withdrawn).astype(np.int32)
    return numbers[numbers >= 0]


def _beside(state: LiveState, user: int, session: Sequence[str | tuple[str, str]]) -> Retriever:
    """The retriever, or one that knows of a session as well; items nobody has named are passed over."""
    events, kinds = state.config.events, state.config.events.kinds
    named = [(event, events.default_kind) if isinstance(event, str) else event for event in session]
    for _, kind in named:
        if kind not in kinds:
            raise InputError("the kind of an event in a session", expected=", ".join(kinds), got=kind)
    known = [(number, kinds[kind]) for item, kind in named if (number := state.items.number(item)) is not None]
    if not known:
        return state.retriever
    items, weights = zip(*known, strict=True)
    return with_session(state.retriever, user, items, weights)


def _reasons(
    state: LiveState, found: Evidence, cold: ColdItems | None, user: int, item: int, limit: int = _REASONS
) -> tuple[Reason, ...]:
    """Sentences for a pair of node numbers: paths first, then what a cold item is like, then how popular it is."""
    reasons = []
    for path in found.paths:
        name = state.catalogue.title(path.seed) or state.items.key(path.seed)
        others = "1 other user" if path.witnesses == 1 else f"{path.witnesses} other users"
        reasons.append(Reason(f"you had {name}; {others} had both", state.items.key(path.seed), path.witnesses))
    if len(reasons) < limit and cold is not None and cold.is_cold(item):
        seed = cold.nearest(user, item)
        if seed is not None:
            name = state.catalogue.title(seed) or state.items.key(seed)
            reasons.append(Reason(f"new here; its text is near {name}, which you had", state.items.key(seed)))
    if len(reasons) < limit and found.recent_events >= 1:
        reasons.append(Reason(f"number {found.popularity_rank} of the recently popular"))
    return tuple(reasons)


def _plain(
    state: LiveState, numbers: NDArray[np.integer], scores: Float32, sources: tuple[str, ...] = ()
) -> tuple[Recommendation, ...]:
    return tuple(
        Recommendation(state.items.key(number), state.catalogue.title(number), float(score), sources)
        for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
    )


def _list(
    state: LiveState,
    user: str | None,
    items: tuple[Recommendation, ...],
    *,
    personal: bool,
    note: str = "",
    certified: bool = True,
) -> Recommendations:
    return Recommendations(user, items, personal, generation_of(state), state.offset, note, certified)
