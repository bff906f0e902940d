"""The recommender: the way of an event and the way of a question, from the door to the answer.

    ingest      store, then graph, then propagation, then index     (`ingest`, LiveState.refresh, Retriever.apply)
    recommend   user vector, candidates, ranking, reasons           (`recommend`, Retriever.candidates, ranked)

External ids stop here; inside there are only node numbers.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from graphrec.answers import (
    BuildReport,
    Explanation,
    IngestReport,
    Reason,
    Recommendation,
    Recommendations,
    Status,
)
from graphrec.digest import state_digest
from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import InputError, NotTrainedError, UnknownItemError
from graphrec.generation import Generations
from graphrec.live_state import Learned, LiveState
from graphrec.ranking.explanation import evidence
from graphrec.ranking.ranker import ranked
from graphrec.retrieval.retriever import SOURCES
from graphrec.retrieval.text_search import TextSearch
from graphrec.workspace import Workspace, ingest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from graphrec.graph.interaction_graph import InteractionGraph
    from graphrec.graph.vocabulary import Vocabulary

    Float32 = NDArray[np.float32]
    Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)

_REASONS = 2  # shown with each recommendation
_SEARCH_POOL = 100  # texts nearest to a search that a user's taste may re-order
_TASTE = 0.1  # weight of the taste beside the cosine of the texts


class Recommender:
    """A workspace, opened: ingest events, train, ask. Safe to share between threads, which take turns.

    `Recommender.open("shop")`, or `Recommender.create("shop")` for a new one; a context manager. What other processes
    bring into the store becomes visible by `refresh`.
    """

    def __init__(self, opened: Workspace, progress: Progress | None = None) -> None:
        self.workspace = opened
        self._lock = threading.RLock()
        self._store = opened.open_store()
        self._encoder = TextEncoder(opened.config.text)
        self._cache = TextCache(opened.directory)
        self._generations = Generations(opened.directory)
        self._text_search: TextSearch | None = None
        self._progress = progress
        try:
            generation = self._generations.open(_log.warning)
            self._generation = None if generation is None else generation.manifest
            learned = None if generation is None else Learned.from_generation(generation)
            self._state = LiveState(opened.config, self._store, self._encode, learned, generation)
            self.refresh()
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def open(cls, directory: str | Path, *, progress: Progress | None = None) -> Self:
        """Open a workspace: the newest valid generation, then the tail of the log.

        `progress(stage, done, total)` is told of all long work of this object.
        """
        return cls(Workspace(directory), progress)

    @classmethod
    def create(cls, directory: str | Path, *, progress: Progress | None = None) -> Self:
        """Make a workspace and open it."""
        return cls(Workspace.create(directory), progress)

    def close(self) -> None:
        """Close the store; the object answers no more."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- the way of an event ------------------------------------------------------------------------------------------

    def ingest(
        self,
        events: Any | None = None,
        *,
        items: Any | None = None,
        columns: Mapping[str, str] | None = None,
        item_columns: Mapping[str, str] | None = None,
    ) -> IngestReport:
        """Bring in events and items; when it returns they are durable and count in every answer.

        Args:
            events: a file (CSV, TSV, JSON Lines, Parquet), a DataFrame, an arrow table or `Event`s.
            items: the catalogue: a file, a DataFrame or an arrow table.
            columns, item_columns: our names -> the source's names, where they differ.

        Raises InputError when a source cannot be read at all; a bad row goes to the quarantine instead.
        """
        with self._lock:
            report = ingest(
                self.workspace,
                self._store,
                events,
                items=items,
                columns=columns,
                item_columns=item_columns,
                progress=self._progress,
            )
            self.refresh()
            return report

    def refresh(self) -> int:
        """Apply what the store has and this object has not, whoever wrote it; returns the number of events."""
        with self._lock:
            applied = self._state.refresh(self._progress)
            self._text_search = None
            return applied

    # -- the way of a question ----------------------------------------------------------------------------------------

    def recommend(
        self,
        user: str,
        k: int = 10,
        *,
        include_seen: bool = False,
        exclude: Sequence[str] = (),
        reasons: bool = True,
    ) -> Recommendations:
        """The k items that suit a user best, from everything known up to now.

        An unknown user, or one whose every event was taken back, gets the recently popular items and the answer says
        so. `exclude` names items that must not be shown. Raises InputError for k below one.
        """
        _check_k(k)
        with self._lock:
            state, retriever = self._state, self._state.retriever
            row = self._user_number(user)
            hidden = state.items.numbers(exclude)
            hidden = hidden[hidden >= 0]
            if not include_seen:
                hidden = np.union1d(hidden, retriever.seen(row)).astype(np.int32)
            personal = retriever.has_history(row)
            ranker = state.learned.ranker if personal and state.learned is not None else None
            candidates, best, scores = ranked(retriever, ranker, row, hidden, k)
            shown = tuple(
                Recommendation(
                    item=state.items.key(item),
                    title=state.catalogue.title(item),
                    score=float(score),
                    sources=tuple(name for bit, name in SOURCES.items() if sources & bit),
                    reasons=self._reasons(row, item) if reasons else (),
                )
                for item, score, sources in zip(
                    candidates.numbers[best].tolist(), scores.tolist(), candidates.sources[best].tolist(), strict=True
                )
            )
            notes = []
            if not personal:
                notes.append(f"{'no history' if user in state.users else 'unknown user'}: recently popular items")
            if len(shown) < k:
                notes.append(f"only {len(shown)} items qualify")
            return self._list(user, shown, personal=personal, note="; ".join(notes))

    def similar(self, item: str, k: int = 10) -> Recommendations:
        """The k items whose GraphSAGE vectors point most nearly the same way.

        Raises UnknownItemError, NotTrainedError.
        """
        _check_k(k)
        with self._lock:
            number = self._item_number(item)
            vectors = self._unit_item_vectors()
            cosines = vectors @ vectors[number]
            best = np.argsort(-cosines, kind="stable")
            best = best[best != number][:k]
            return self._list(None, self._plain(best, cosines[best]), personal=False)

    def search(self, text: str, k: int = 10, *, user: str | None = None) -> Recommendations:
        """The k items whose texts are nearest in meaning; a user's taste re-orders what is about equally near.

        Loads the text encoder at first use. Raises ModelError without its weights, InputError for an empty text.
        """
        _check_k(k)
        if not text.strip():
            raise InputError("there is nothing to search for", expected="a text", got=repr(text))
        with self._lock:
            state = self._state
            if self._text_search is None:
                self._text_search = TextSearch(state.all_text_vectors() if state.learned is None else state.texts)
            if not len(self._text_search):
                return self._list(user, (), personal=False, note="no item has a text")
            found, scores = self._text_search.search(self._encoder.encode([text])[0], max(k, _SEARCH_POOL))
            taste = None if user is None else state.retriever.query(self._user_number(user))
            if taste is not None and state.retriever.index is not None:
                liking = state.retriever.index.rows[found, :-1] @ taste[:-1]
                scores = scores + _TASTE * liking / max(float(np.abs(liking).max(initial=0)), 1e-9)
            best = np.argsort(-scores, kind="stable")[:k]
            return self._list(user, self._plain(found[best], scores[best]), personal=taste is not None)

    def explain(self, user: str, item: str) -> Explanation:
        """Why an item suits a user, in paths of the graph; raises UnknownItemError."""
        with self._lock:
            number, row = self._item_number(item), self._user_number(user)
            retriever = self._state.retriever
            query = retriever.query(row)
            cosine = None
            if query is not None and retriever.index is not None:
                cosine = float(unit_rows(query[None, :-1])[0] @ retriever.index.rows[number, :-1])
            return Explanation(
                user=user,
                item=item,
                title=self._state.catalogue.title(number),
                reasons=self._reasons(row, number, limit=5),
                cosine=cosine,
                popularity_rank=evidence(retriever, row, number, limit=0).popularity_rank,
            )

    def _reasons(self, user: int, item: int, limit: int = _REASONS) -> tuple[Reason, ...]:
        """Sentences for a pair of node numbers: paths first, then how popular the item is."""
        state = self._state
        found = evidence(state.retriever, user, item, limit)
        reasons = []
        for path in found.paths:
            name = state.catalogue.title(path.seed) or state.items.key(path.seed)
            others = "1 other user" if path.witnesses == 1 else f"{path.witnesses} other users"
            reasons.append(Reason(f"you had {name}; {others} had both", state.items.key(path.seed), path.witnesses))
        if len(reasons) < limit and found.recent_events >= 1:
            reasons.append(Reason(f"number {found.popularity_rank} of the recently popular"))
        return tuple(reasons)

    def _plain(self, numbers: NDArray[np.integer], scores: Float32) -> tuple[Recommendation, ...]:
        items, catalogue = self._state.items, self._state.catalogue
        return tuple(
            Recommendation(items.key(number), catalogue.title(number), float(score))
            for number, score in zip(numbers.tolist(), scores.tolist(), strict=True)
        )

    def _list(
        self, user: str | None, items: tuple[Recommendation, ...], *, personal: bool, note: str = ""
    ) -> Recommendations:
        return Recommendations(user, items, personal, self.generation, self.offset, note)

    # -- making generations -------------------------------------------------------------------------------------------

    def train(self) -> BuildReport:
        """Train everything from scratch on the whole log, publish the generation and answer from it.

        Raises InputError when the log is empty; the live generation stays as it is then.
        """
        from graphrec.training.trainer import train

        with self._lock:
            self.refresh()
            return self._publish("train", lambda: train(self._state, self._store, self._encode, self._tell))

    def rebuild(self) -> BuildReport:
        """Form graph, vectors and index anew from the log with the live weights, and publish the generation.

        Items that came after training get their spectral coordinates folded in. Raises NotTrainedError.
        """
        with self._lock:
            self.refresh()
            return self._publish("rebuild", lambda: (self._state.rebuilt(self._progress), {}))

    def _publish(self, made_by: str, make: Callable[[], tuple[LiveState, dict[str, Any]]]) -> BuildReport:
        """Make a second state, publish it, and only then answer from it."""
        started, cpu = time.perf_counter(), time.process_time()
        state, metrics = make()
        self._generation = state.publish(self._generations, made_by, self.generation, metrics)
        self._state, self._text_search = state, None
        return BuildReport(
            generation=self._generation.number,
            made_by=made_by,
            offset=state.offset,
            events=self._store.counts().events,
            users=len(state.users),
            items=len(state.items),
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
            metrics=metrics,
        )

    # -- for checking from outside ------------------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """Position of the log up to which events count in the answers; 0 = none."""
        return self._state.offset

    @property
    def generation(self) -> int | None:
        """Number of the live generation, None before the first training."""
        return None if self._generation is None else self._generation.number

    @property
    def users(self) -> Vocabulary:
        """All user ids, by node number; read-only."""
        return self._state.users

    @property
    def items(self) -> Vocabulary:
        """All item ids, by node number; read-only."""
        return self._state.items

    @property
    def graph(self) -> InteractionGraph:
        """The live graph, for `graphrec.graph.export`; read-only."""
        return self._state.retriever.graph

    def item_vectors(self) -> tuple[list[str], Float32]:
        """All item ids and their GraphSAGE vectors of length one, float32 (n, d), a copy; raises NotTrainedError."""
        with self._lock:
            return list(self._state.items), self._unit_item_vectors()

    def user_vector(self, user: str) -> Float32:
        """The user's GraphSAGE vector of length one, float32 (d,), from the newest events; zeros without a history.

        Raises NotTrainedError.
        """
        with self._lock:
            learned = self._learned()
            query = self._state.retriever.query(self._user_number(user))
            if query is None:
                return np.zeros(learned.model.sage.dimensions, np.float32)
            vector: Float32 = unit_rows(query[None, :-1])[0]
            return vector

    def state_digest(self) -> str:
        """SHA-256 over vocabulary, graph, catalogue and generation; see `graphrec.digest`."""
        with self._lock:
            state = self._state
            generation = "none" if self._generation is None else self._generation.digest
            return state_digest(state.users, state.items, state.retriever.graph, state.catalogue, generation)

    def status(self) -> Status:
        """Counts, time span, the live generation and what came since."""
        with self._lock:
            counts, span, live, state = self._store.counts(), self._store.time_span, self._generation, self._state
            return Status(
                directory=str(self.workspace.directory),
                events=counts.events,
                users=counts.users,
                items=counts.items,
                items_with_text=sum(bool(state.catalogue.text(number)) for number in range(len(state.items))),
                offset=state.offset,
                first_event=None if span is None else _iso(span[0]),
                last_event=None if span is None else _iso(span[1]),
                generation=self.generation,
                generation_offset=None if live is None else live.offset,
                generation_made=None if live is None else live.created,
                events_since=state.offset - (0 if live is None else live.offset),
                quarantined=self.workspace.quarantine.count(),
                bytes_on_disk=self.workspace.bytes_on_disk(),
            )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _user_number(self, user: str) -> int:
        """Node number; one past the last for an unknown user, which nothing is known of."""
        number = self._state.users.number(user)
        return len(self._state.users) if number is None else number

    def _item_number(self, item: str) -> int:
        number = self._state.items.number(item)
        if number is None:
            raise UnknownItemError(
                f"there is no item {item!r}",
                expected="an item that an event or the catalogue has named",
                way_out="graphrec ingest --items adds to the catalogue",
            )
        return number

    def _learned(self) -> Learned:
        if self._state.learned is None:
            raise NotTrainedError("this workspace has no trained generation yet", way_out="graphrec train")
        return self._state.learned

    def _unit_item_vectors(self) -> Float32:
        propagation = self._state.retriever.propagation
        if propagation is None:
            raise NotTrainedError("this workspace has no trained generation yet", way_out="graphrec train")
        return unit_rows(propagation.item_vectors)

    def _encode(self, texts: Sequence[str]) -> Float32:
        vectors, _ = encode_cached(
            self._encoder, self._cache, texts, lambda done, total: self._tell("texts", done, total)
        )
        return vectors

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(stage, done, total)


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError("the length of a list", expected="k of at least 1", got=str(k))


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1e6, UTC).isoformat(timespec="seconds")
