"""Everything that is derived from the log under one generation, kept up with the log.

A state is made from what was learned and, if there is one, the snapshot a generation holds; from then on it only
follows the store. At the same offset and generation two states are equal, whatever batches they followed in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np

from graphrec.embedding.overload import held_back
from graphrec.embedding.scrubber import Scrubber
from graphrec.embedding.spectral import fold_in_items, known_rows
from graphrec.errors import NotTrainedError
from graphrec.events.catalogue import Catalogue
from graphrec.generation import Manifest, Snapshot
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.graph.vocabulary import Vocabulary
from graphrec.learned import Learned, text_model
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.cold_items import ColdItems
from graphrec.retrieval.retriever import DAY, Retriever
from graphrec.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.embedding.low_rank import LowRankUpdate
    from graphrec.embedding.scrubber import Scrubbed
    from graphrec.events.store import EventStore
    from graphrec.generation import Generation, Generations

    Float32 = NDArray[np.float32]
    Texts = NDArray[np.float16 | np.float32]
    Float64 = NDArray[np.float64]
    Progress = Callable[[str, int, int], None]
    TakeIn = Callable[[NDArray[np.int32], NDArray[np.int32], Float64, NDArray[np.int64]], None]

_BATCH = 20_000  # events applied at once when catching up
_SLICE = 64  # events in a patient turn: about three milliseconds for the widest vectors, one for narrow ones
_ROWS = 1024  # items described at once: what lies between their texts and their features stays in the cache


class Encode(Protocol):
    """Texts -> text vectors, float32 (n, t), by the text model with an adapter or, without one, by the plain one."""

    def __call__(self, texts: Sequence[str], adapter: LowRankUpdate | None = None) -> Float32:
        """Encode."""


class Known(NamedTuple):
    """How much a state knew at one moment, for whoever works on it while it goes on."""

    offset: int
    catalogue_offset: int
    n_users: int
    n_items: int
    texts: Texts  # (n_items, t); never written again


class LiveState:
    """Vocabularies, catalogue, graph, vectors and index of one log.

    One writer at a time calls what changes it, from any thread; readers of other threads hold a reading turn
    (`turns.reading()`) while they look, and see whole slices of events only.

    Args:
        config: settings.
        store: the log it follows.
        encode: texts -> text vectors; called only for texts that are new.
        learned: what a generation knows; None before the first training.
        snapshot: a generation whose arrays spare the replay of its part of the log.
        catalogue_offset: version of the catalogue that the learned texts are of; a snapshot knows its own.
    """

    def __init__(
        self,
        config: Config,
        store: EventStore,
        encode: Encode,
        learned: Learned | None = None,
        snapshot: Generation | None = None,
        catalogue_offset: int = 0,
    ) -> None:
        self.config = config
        self.users, self.items, self.catalogue = Vocabulary(), Vocabulary(), Catalogue()
        self.learned = learned
        self.offset = 0
        self.manifest: Manifest | None = None  # of the generation that it is, None before it is published
        self.turns = Turns()
        self._scrubber: Scrubber | None = None
        self._store = store
        self._encode = encode
        self.forgotten = store.forgotten  # times that users had been forgotten; read before all else
        self.is_outdated = False  # more have been since: what it holds of them, only another state does not
        self.texts: Texts = np.zeros((0, 0), np.float32)
        choices = (Choices() if learned is None else learned.choices).under(config)
        self._settings = snapshot_settings(config, choices, self.forgotten)
        usable = snapshot is not None and snapshot.manifest.settings == self._settings
        graph = None
        if snapshot is not None and usable:
            graph = InteractionGraph.from_state(snapshot.part("graph"), config.graph.half_life_days * DAY)
        self.cold: ColdItems | None = None  # None where there are no texts to tell new items by
        if learned is None:
            self.retriever = Retriever(config, None)
            return
        basis = learned.basis_items, learned.basis_values
        self.retriever = Retriever(config, learned.model, graph, choices, basis)
        if learned.cold is not None:
            self.cold = ColdItems(learned.cold, self.retriever, config.cold)
        self.texts = learned.texts
        seen = catalogue_offset if snapshot is None else snapshot.manifest.catalogue_offset
        self.catalogue.update(store.catalogue(until=seen))
        self.items.extend(store.items()[: len(self.texts)])
        self.users.extend(store.users())  # those of the tail, too: room for all at once
        self.retriever.grow_users(max(self.retriever.graph.n_users, len(self.users)))
        self.retriever.add_items(*self._described(len(self.items)))
        if snapshot is not None and usable:
            self.retriever.recent.restore(snapshot.part("recent"))
            self.retriever.lasting.restore(snapshot.part("lasting"))
            self.offset = snapshot.manifest.offset
            self.retriever.settle()

    @classmethod
    def derived(
        cls, config: Config, store: EventStore, encode: Encode, learned: Learned, seen: int, progress: Progress | None
    ) -> Self:
        """The state of what was learned, from the catalogue `seen` then and a store's first event on."""
        state = cls(config, store, encode, learned, catalogue_offset=seen)
        state.refresh(progress)
        return state

    def refresh(self, progress: Progress | None = None, *, patient: bool = False) -> int:
        """Apply what the store has and this state has not; returns the number of events. Nothing where it is outdated.

        Afterwards everything is exact. A patient refresh is for a state that others are asking all the while: it takes
        short turns, and while many events wait, users hold back what is short (`overload`) until `drain` sends it.
        """
        target, *nodes, forgotten = self._store.ends()  # nodes are written with their events: these are all it names
        self.is_outdated = forgotten != self.forgotten
        if self.is_outdated:
            return 0
        if nodes != [self.catalogue.offset, len(self.users), len(self.items)]:
            self._follow_nodes()
        if patient:
            return self._apply(target, self.retriever.apply, _SLICE, progress)
        if self.retriever.propagation is not None:
            self.retriever.propagation.epsilon = 0.0
        if target - self.offset > max(_BATCH, self.retriever.graph.n_edges // 4):  # then one full pass costs less
            with self.turns.writing():
                applied = self._apply(target, self.retriever.absorb, _BATCH, progress)
                self.retriever.settle()
            return applied
        applied = self._apply(target, self.retriever.apply, _BATCH, progress)
        self.drain()
        return applied

    def _apply(self, target: int, take_in: TakeIn, size: int, progress: Progress | None) -> int:
        """Take the events up to an offset in, so many in a turn; returns how many there were."""
        if target == self.offset:
            return 0
        weights, before, propagation = self.kind_weights(), self.offset, self.retriever.propagation
        for events in self._store.scan(before, target, chunk=_BATCH):
            if size < _BATCH and propagation is not None:
                share = held_back(target - self.offset)
                propagation.epsilon = share * propagation.message_length if share else 0.0
            of_kinds = weights[events.kinds]
            for start in range(0, len(events), size):
                some = slice(start, start + size)
                with self.turns.writing():
                    take_in(events.users[some], events.items[some], of_kinds[some], events.timestamps[some])
                    self.offset = int(events.offsets[some][-1])
            if progress is not None:
                progress("graph", self.offset - before, target - before)
        end = self.offset if self.offset == target else min(target, self._store.offset)
        if self.offset < end:  # what came last is forgotten
            with self.turns.writing():
                self.offset = end
        return self.offset - before

    def drain(self, visits: int | None = None) -> None:
        """Have users send what they hold back, the most first, walking so many edges, all if None."""
        propagation = self.retriever.propagation
        if propagation is not None and propagation.largest_residual > 0:
            with self.turns.writing():
                propagation.epsilon = 0.0
                self.retriever.drain(visits)

    def scrub(self, visits: int) -> Scrubbed | None:
        """Form the sums of the next nodes anew, walking about so many edges; None where there is no model."""
        if self.retriever.propagation is None:
            return None
        if self._scrubber is None:
            self._scrubber = Scrubber(self.retriever.propagation)
        with self.turns.writing():
            found = self._scrubber.step(self.retriever.graph, visits)
            self.retriever.show(found.touched)
        return found

    def _follow_nodes(self) -> None:
        """Learn new users, new items and changed texts, all of them in one turn, or none where encoding fails."""
        rows = self._store.catalogue(self.catalogue.offset)  # before the items, so that it names none of them too many
        users, items = self._store.users(len(self.users)), self._store.items(len(self.items))
        if not (rows or users or items):
            return
        changed = self.catalogue.changed_texts(rows)
        first = len(self.items)
        new = np.arange(first, first + len(items))
        old = np.array([number for number in changed if number < first], np.int32)
        texts = np.zeros((0, 0), np.float32)
        if self.learned is not None:  # encoded before the turn: it takes a while
            wanted = np.concatenate([old, new]).tolist()
            texts = self._text_vectors([changed.get(number, "") for number in wanted])
        with self.turns.writing():
            self.users.extend(users)
            self.items.extend(items)
            self.catalogue.update(rows)
            self.retriever.grow_users(len(self.users))
            if self.learned is None:
                self.retriever.add_items(np.zeros((len(new), 0), np.float32))
                return
            if len(new):
                self.texts = np.vstack([self.texts, texts[len(old) :].astype(self.texts.dtype)])
                self.retriever.add_items(self._features(new), self._centred(new))
            if len(old):
                self.texts = self.texts.copy()  # who has the old one keeps it
                self.texts[old] = texts[: len(old)]
                self.retriever.change_items(old, self._features(old), self._centred(old))
                if self.cold is not None:
                    self.cold.forget(old)

    def known(self) -> Known:
        """What it knows now."""
        with self.turns.reading():
            return Known(self.offset, self.catalogue.offset, len(self.users), len(self.items), self.texts)

    def all_text_vectors(self, n_items: int | None = None, *, adapted: bool = True) -> Float32:
        """Text vectors of the first items, all if None, float32 (n_items, t); t = 0 where no item has a text.

        They are of the text model with its adapter, if it has one and `adapted` says so.
        """
        texts = self.item_texts(n_items)
        if not any(texts):
            return np.zeros((len(texts), 0), np.float32)
        return self._vectors(texts) if adapted else self._encode(texts)

    def item_texts(self, n_items: int | None = None) -> list[str]:
        """What the text encoder reads of the first items, all if None; empty where nothing is known."""
        with self.turns.reading():
            return [self.catalogue.text(number) for number in range(len(self.items) if n_items is None else n_items)]

    @property
    def adapter(self) -> LowRankUpdate | None:
        """Of the text model; None = the plain one."""
        return None if self.learned is None else self.learned.adapter

    def _vectors(self, texts: list[str]) -> Float32:
        return self._encode(texts) if self.adapter is None else self._encode(texts, self.adapter)

    def _text_vectors(self, texts: list[str]) -> Float32:
        """As wide as those that were learned from: zero where there were none."""
        width = self.texts.shape[1]
        return self._vectors(texts) if width and any(texts) else np.zeros((len(texts), width), np.float32)

    def item_features(self) -> Float32:
        """What GraphSAGE reads of each item, float32 (n_items, d_in); d_in = 0 before the first training."""
        return self._features(np.arange(len(self.items)))

    def _described(self, n_items: int) -> tuple[Float32, NDArray[np.float16] | None]:
        """Features of the first items and, if there are any, their centred texts, no more exact than they are kept."""
        if self.learned is None or not self.texts.shape[1]:
            return self._features(np.arange(n_items)), None
        feature_map, basis = self.learned.model.features, self.learned.basis_items
        features = np.zeros((n_items, feature_map.dimensions), np.float32)
        texts = np.zeros((n_items, self.texts.shape[1]), np.float16)
        for first in range(0, n_items, _ROWS):
            rows = slice(first, min(first + _ROWS, n_items))
            centred = feature_map.centred(self.texts[rows])
            features[rows] = feature_map.of_centred(known_rows(basis, np.arange(rows.start, rows.stop)), centred)
            texts[rows] = centred
        return features, texts

    def _features(self, numbers: NDArray[np.integer]) -> Float32:
        if self.learned is None:
            return np.zeros((len(numbers), 0), np.float32)
        coordinates = known_rows(self.learned.basis_items, numbers)
        return self.learned.model.features.features(coordinates, self.texts[numbers])

    def _centred(self, numbers: NDArray[np.integer]) -> Float32 | None:
        if self.learned is None or not self.texts.shape[1]:
            return None
        return self.learned.model.features.centred(self.texts[numbers])

    def kind_weights(self) -> Float64:
        """Configured weight of each kind code of the log; a kind that is configured no more counts as nothing."""
        return np.array([self.config.events.kinds.get(kind, 0.0) for kind in self._store.kinds()])

    def _folded_in(self, learned: Learned) -> Float32:
        """Right vectors of all items, those that came after training folded in from the present graph."""
        vectors = known_rows(learned.basis_items, np.arange(len(self.items)))
        missing = np.flatnonzero(~vectors.any(axis=1))
        edges = self.retriever.graph.to_csr()
        vectors[missing] = fold_in_items(
            edges.indptr, edges.items, edges.weights, missing, learned.basis_users, learned.basis_values
        )
        return vectors

    def publish(
        self,
        generations: Generations,
        made_by: str,
        parent: int | None,
        metrics: dict[str, Any],
        *,
        aside: bool = False,
    ) -> Manifest:
        """Write this state as a generation and make it the live one, or set it aside.

        Raises NotTrainedError, GenerationError.
        """
        self.manifest = generations.publish(*self.snapshot(made_by, parent, metrics), aside=aside)
        return self.manifest

    def snapshot(self, made_by: str, parent: int | None, metrics: dict[str, Any]) -> Snapshot:
        """Copy this state, for `Generations.publish` to write: only the copy needs the writer to wait.

        Raises NotTrainedError.
        """
        index = self.retriever.index
        if self.learned is None or index is None:
            raise NotTrainedError("there is no model to publish", way_out="graphrec train")
        draft = Manifest(
            number=0,
            offset=self.offset,
            catalogue_offset=self.catalogue.offset,
            learned_until=self.learned.until,
            made_by=made_by,
            parent=parent,
            settings=self._settings,
            choices=self.learned.choices.to_dict(),
            text_model=text_model(self.config, self.adapter),
            metrics=metrics,
        )
        learned = replace(self.learned, texts=self.texts)  # replaced, never written: not to be copied
        return Snapshot(draft, learned.weights(), {**learned.arrays(), **self._snapshot_arrays()}, index.snapshot())

    @property
    def is_published(self) -> bool:
        """Whether its generation holds all that it is."""
        live = self.manifest
        now = self.offset, self.catalogue.offset, self._settings
        return live is not None and (live.offset, live.catalogue_offset, live.settings) == now

    def rebuilt(self, progress: Progress | None = None) -> LiveState:
        """A second state of the same weights, derived from the log's first event on, later items folded in."""
        if self.learned is None:
            raise NotTrainedError("this workspace has no trained generation yet", way_out="graphrec train")
        with self.turns.reading():
            learned = replace(self.learned, texts=self.texts, basis_items=self._folded_in(self.learned))
            catalogue_offset = self.catalogue.offset
        return LiveState.derived(self.config, self._store, self._encode, learned, catalogue_offset, progress)

    def _snapshot_arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of what a generation needs beside the learned, to spare the replay."""
        copies = {f"graph.{name}": array for name, array in self.retriever.graph.state().items()}
        for part, popularity in (("recent", self.retriever.recent), ("lasting", self.retriever.lasting)):
            copies |= {f"{part}.{name}": array.copy() for name, array in popularity.state().items()}
        return copies


def snapshot_settings(config: Config, choices: Choices, forgotten: int) -> dict[str, Any]:
    """What saved arrays depend on: under other settings, and once users are forgotten, the log is replayed."""
    return {
        **({"forgotten": forgotten} if forgotten else {}),
        "kinds": dict(sorted(config.events.kinds.items())),
        "half_life_days": config.graph.half_life_days,
        "popularity_half_life_days": choices.popularity_half_life_days,
    }
