"""An open workspace: its store, its live generation and the state derived from both; and what can be seen of them."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from graphrec.answers import Forgot, Status
from graphrec.bounded_log import BoundedLog
from graphrec.digest import state_digest
from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import GenerationError, GraphrecError, InputError, NotTrainedError, UnknownItemError
from graphrec.events.event import iso
from graphrec.events.part_of_log import PartOfLog
from graphrec.generation import Generations
from graphrec.notes import forget
from graphrec.open_state import open_state
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import networkx as nx
    from numpy.typing import NDArray
    from torch_geometric.data import HeteroData

    from graphrec.embedding.low_rank import LowRankUpdate
    from graphrec.embedding.scrubber import Scrubbed
    from graphrec.events.interactions import Interactions
    from graphrec.events.store import EventStore
    from graphrec.generation import Manifest
    from graphrec.graph.interaction_graph import InteractionGraph
    from graphrec.graph.vocabulary import Vocabulary
    from graphrec.live_state import LiveState
    from graphrec.retrieval.retriever import Retriever
    from graphrec.retrieval.text_search import TextSearch

    Float32 = NDArray[np.float32]
    Progress = Callable[[str, int, int], None]

_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class OpenWorkspace:
    """A workspace with its state in memory; raises what its store, settings and generations raise."""

    def __init__(self, opened: Workspace, progress: Progress | None = None, generation: int | None = None) -> None:
        self.workspace = opened
        self._one_writer = threading.RLock()
        self._store = opened.open_store()
        self._encoder = TextEncoder(opened.config.text)
        self._adapted: TextEncoder | None = None  # the newest one with an adapter
        self._cache = TextCache(opened.directory)
        self._generations = Generations(opened.directory, pinned=generation)
        self._text_search: tuple[object, TextSearch] | None = None  # and what it was made of
        self._progress = progress
        self._half_applied = False
        self._making = False  # a generation of our own, whose state takes its place without being read again
        try:
            self._reopen()
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def open(cls, directory: str | Path, *, progress: Progress | None = None, generation: int | None = None) -> Self:
        """Open a workspace: the newest valid generation, then the tail of the log.

        `progress(stage, done, total)` is told of all long work of this object. With a number it answers from that
        `generation`, live or held, and from no other; raises GenerationError when that is missing or damaged.
        """
        return cls(Workspace(directory), progress, generation)

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

    def refresh(self, *, patient: bool = False) -> int:
        """Apply what the store has and this object has not, whoever wrote it; returns the number of events.

        A generation that another process has published since takes the place of this object's, and a state derived anew
        where users have been forgotten. `patient` is for a state that is asked all the while (`LiveState.refresh`,
        `graphrec.follower`).
        """
        with self._one_writer:
            if self._half_applied or not (self._making or self._generations.current() == self._pointer):
                self._reopen()
            try:
                applied = self._state.refresh(self._progress, patient=patient)
                if self._state.is_outdated:
                    self._reopen()
                return applied
            except GraphrecError:  # between batches: the next refresh goes on from there
                raise
            except BaseException:
                self._half_applied = True
                raise

    def erase(self, *users: str) -> Forgot:
        """Delete users from log and notes; answers follow with the next `refresh`, here and in other processes."""
        for user in users:
            _check_id("user", user)
        found = self._store.forget(users)
        notes = forget(self.workspace.directory, users)
        return Forgot(users=found.users, events=found.events, notes=notes, times=found.times)

    def drain(self, visits: int | None = None) -> None:
        """Make item vectors exact again where a patient refresh left them within a bound; see `LiveState.drain`."""
        with self._one_writer:
            self._state.drain(visits)

    def scrub(self, visits: int) -> Scrubbed | None:
        """Hold the next running sums against new ones, and repair what is damaged; see `LiveState.scrub`."""
        with self._one_writer:
            return self._state.scrub(visits)

    @property
    def held_back(self) -> float:
        """How far any item vector may be from the exact one, a length; 0 = exact, infinite = a text has changed."""
        propagation = self._state.retriever.propagation
        return 0.0 if propagation is None else propagation.largest_residual

    def _reopen(self) -> None:
        """Take the state of the newest valid generation, up to where its log ends now."""
        pointer = self._generations.current()
        state = open_state(self.workspace.config, self._store, self._encode, self._generations, _log.warning)
        state.refresh(self._progress)
        self._state, self._pointer, self._half_applied = state, pointer, False

    @contextmanager
    def reading(self) -> Iterator[LiveState]:
        """Hold the live state still, for more than one look at it; its writer waits, so not for long."""
        state = self._state
        with state.turns.reading():
            yield state

    # -- what can be seen ---------------------------------------------------------------------------------------------

    @property
    def offset(self) -> int:
        """Position of the log up to which events count in the answers; 0 = none."""
        return self._state.offset

    @property
    def catalogue_offset(self) -> int:
        """Version of the catalogue that the answers know; 0 = none."""
        return self._state.catalogue.offset

    @property
    def forgotten(self) -> int:
        """How often users had been forgotten when the present answers' state was begun."""
        return self._state.forgotten

    @property
    def store(self) -> EventStore:
        """The log and the catalogue themselves, for whoever writes to them; `refresh` follows."""
        return self._store

    @property
    def generation(self) -> int | None:
        """Number of the live generation, None before the first training."""
        return generation_of(self._state)

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

    @property
    def retriever(self) -> Retriever:
        """The live state by node number; read-only."""
        return self._state.retriever

    def to_pyg(self) -> HeteroData:
        """The live graph for PyTorch Geometric, by node number; items carry their features once there is a model."""
        from graphrec.graph.export import to_pyg

        with self.reading() as state:
            return to_pyg(state.retriever.graph, None if state.learned is None else state.item_features())

    def to_networkx(self, node_limit: int | None = None) -> nx.Graph[tuple[str, str]]:
        """The live graph for networkx, nodes ("user", id) and ("item", id); `node_limit` keeps the best connected."""
        from graphrec.graph.export import to_networkx

        with self.reading() as state:
            return to_networkx(state.retriever.graph, state.users, state.items, node_limit)

    def title(self, item: str) -> str:
        """What the catalogue calls an item; empty where it does not. Raises UnknownItemError."""
        with self.reading() as state:
            return state.catalogue.title(item_number(state, item))

    def log(self) -> Interactions:
        """Every event that counts in the answers, by node number, in the order of time; raises InputError if none."""
        from graphrec.training.trainer import log_of

        return log_of(self._state, self._store)

    def text_vectors(self) -> Float32:
        """Text vectors of all items, float32 (n, t); a zero row = no text, t = 0 = no texts at all.

        By the plain text model: an adapter has learned from the very events that an evaluation asks about.
        """
        return self._state.all_text_vectors(adapted=False)

    def item_vectors(self) -> tuple[list[str], Float32]:
        """All item ids and their GraphSAGE vectors of length one, float32 (n, d), a copy; raises NotTrainedError."""
        with self.reading() as state:
            return list(state.items), unit_item_vectors(state)

    def user_vector(self, user: str) -> Float32:
        """The user's GraphSAGE vector of length one, float32 (d,), from the newest events; zeros without a history.

        Raises NotTrainedError.
        """
        with self.reading() as state:
            if state.learned is None:
                raise not_trained()
            query = state.retriever.query(user_number(state, user))
            if query is None:
                return np.zeros(state.learned.model.sage.dimensions, np.float32)
            vector: Float32 = unit_rows(query[None, :-1])[0]
            return vector

    def state_digest(self) -> str:
        """SHA-256 over vocabulary, graph, catalogue and generation; see `graphrec.digest`."""
        with self.reading() as state:
            generation = "none" if state.manifest is None else state.manifest.digest
            return state_digest(state.users, state.items, state.retriever.graph, state.catalogue, generation)

    def status(self) -> Status:
        """Counts, time span, the live generation and what came since."""
        with self.reading() as state:
            counts, span, live = self._store.counts(), self._store.time_span, state.manifest
            return Status(
                directory=str(self.workspace.directory),
                events=counts.events,
                users=counts.users,
                items=counts.items,
                items_with_text=sum(bool(state.catalogue.text(number)) for number in range(len(state.items))),
                offset=state.offset,
                first_event=None if span is None else iso(span[0]),
                last_event=None if span is None else iso(span[1]),
                generation=generation_of(state),
                generation_offset=None if live is None else live.offset,
                generation_made=None if live is None else live.created,
                events_since=state.offset - (0 if live is None else live.learned_until),
                quarantined=self.workspace.quarantine.count(),
                bytes_on_disk=self.workspace.bytes_on_disk(),
            )

    # -- generations beside the live one ------------------------------------------------------------------------------

    @property
    def gate_log(self) -> BoundedLog:
        """What the gate has said of every candidate, rejected ones too."""
        return BoundedLog(self.workspace.directory / "gate" / "reports.jsonl")

    def manifests(self) -> list[Manifest]:
        """Manifests of all generations that can be read, held ones too, by number."""
        found = []
        for number in self._generations.numbers():
            with suppress(GenerationError):
                found.append(self._generations.manifest(number))
        return found

    def with_generation_state(self, ask: Callable[[LiveState, LiveState, PartOfLog, EventStore], Answer]) -> Answer:
        """Ask about the live state, and a second one of the same generation that follows a part of the log.

        That part ends where the generation does. Raises NotTrainedError where there is none.
        """
        state = self._state
        if state.manifest is None:
            raise not_trained()
        part = PartOfLog(self._store, 0, state.manifest.offset)
        then = open_state(self.workspace.config, part, self._encode, self._generations, _log.warning)
        then.refresh()
        return ask(state, then, part, self._store)

    def events_after(self, offset: int) -> Iterator[tuple[int, str, str, float]]:
        """(offset, user, item, seconds) of the events after an offset that speak for their item, as they came."""
        weights = self._state.kind_weights()
        users, items = self._store.users(), self._store.items()
        for chunk in self._store.scan(offset):
            for place in np.flatnonzero(weights[chunk.kinds] > 0).tolist():
                moment = int(chunk.timestamps[place]) / 1e6
                yield int(chunk.offsets[place]), users[chunk.users[place]], items[chunk.items[place]], moment

    # -- inside -------------------------------------------------------------------------------------------------------

    def _encode(self, texts: Sequence[str], adapter: LowRankUpdate | None = None) -> Float32:
        vectors, _ = encode_cached(
            self._encoder_with(adapter), self._cache, texts, lambda done, total: self._tell("texts", done, total)
        )
        return vectors

    def _encoder_with(self, adapter: LowRankUpdate | None) -> TextEncoder:
        if adapter is None:
            return self._encoder
        kept = self._adapted
        if kept is None or kept.adapter is None or kept.adapter.digest != adapter.digest:
            self._adapted = kept = TextEncoder(self.workspace.config.text, adapter=adapter)
        return kept

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(stage, done, total)


def generation_of(state: LiveState) -> int | None:
    """Number of the generation that a state is of, None before the first training."""
    return None if state.manifest is None else state.manifest.number


def user_number(state: LiveState, user: str) -> int:
    """Node number; one past the last for an unknown user, which nothing is known of."""
    _check_id("user", user)
    number = state.users.number(user)
    return len(state.users) if number is None else number


def item_number(state: LiveState, item: str) -> int:
    """Node number; raises UnknownItemError."""
    _check_id("item", item)
    number = state.items.number(item)
    if number is None:
        raise UnknownItemError(
            f"there is no item {item!r}",
            expected="an item that an event or the catalogue has named",
            way_out="graphrec ingest --items adds to the catalogue",
        )
    return number


def unit_item_vectors(state: LiveState) -> Float32:
    """GraphSAGE vectors of length one of all items, float32 (n, d), a copy; raises NotTrainedError."""
    if state.retriever.propagation is None:
        raise not_trained()
    return unit_rows(state.retriever.propagation.item_vectors)


def not_trained() -> NotTrainedError:
    """The error of an answer that needs a model."""
    return NotTrainedError("this workspace has no trained generation yet", way_out="graphrec train")


def _check_id(node: str, key: object) -> None:
    if not isinstance(key, str):  # else 17850 would pass for a user nobody knows, though there is a "17850"
        raise InputError(f"an id of a {node} is text", expected="str", got=f"{key!r} ({type(key).__name__})")
