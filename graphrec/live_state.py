"""Everything that is derived from the log under one generation, kept up with the log.

A state is made from what was learned and, if there is one, the snapshot a generation holds; from then on it only
follows the store. At the same offset and generation two states are equal, whatever batches they followed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.embedding_model import EmbeddingModel
from graphrec.embedding.spectral import fold_in_items, known_rows
from graphrec.errors import GenerationError, NotTrainedError
from graphrec.events.catalogue import Catalogue
from graphrec.generation import Manifest
from graphrec.graph.interaction_graph import InteractionGraph
from graphrec.graph.vocabulary import Vocabulary
from graphrec.ranking.ranker import Ranker
from graphrec.retrieval.choices import Choices
from graphrec.retrieval.cold_items import ColdItems, ColdModel
from graphrec.retrieval.retriever import DAY, Retriever

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.events.store import EventStore
    from graphrec.generation import Generation, Generations

    Float32 = NDArray[np.float32]
    Float64 = NDArray[np.float64]
    Encode = Callable[[Sequence[str]], Float32]
    Progress = Callable[[str, int, int], None]

_BATCH = 20_000  # events applied at once when catching up


@dataclass(frozen=True)
class Learned:
    """What training gave, by item number.

    texts: text vectors, float32 (n, t). basis_items: right singular vectors, float32 (n, k), zero rows = not in the
    basis. basis_users, basis_values: left vectors (n_users, k), to fold later items in, and singular values (k,).
    """

    model: EmbeddingModel
    ranker: Ranker | None
    session_ranker: Ranker | None
    choices: Choices
    texts: Float32
    basis_items: Float32
    basis_users: Float32
    basis_values: Float32
    cold: ColdModel | None = None

    def weights(self) -> dict[str, Float32]:
        """What is small and trained, for safetensors."""
        named = {f"model.{name}": array for name, array in self.model.arrays().items()}
        for part, head in (("ranker", self.ranker), ("session_ranker", self.session_ranker), ("cold", self.cold)):
            if head is not None:
                named |= {f"{part}.{name}": array for name, array in head.arrays().items()}
        return named

    def arrays(self) -> dict[str, Float32]:
        """What has a row a node."""
        rows = {
            "texts": self.texts,
            "basis_items": self.basis_items,
            "basis_users": self.basis_users,
            "basis_values": self.basis_values,
        }
        return rows if self.cold is None else rows | {"cold_vectors": self.cold.vectors}

    @classmethod
    def from_generation(cls, generation: Generation) -> Learned:
        """Read what `weights` and `arrays` wrote; raises GenerationError for parts missing or of another version."""
        heads = [_part(generation.weights, f"{part}.") for part in ("ranker", "session_ranker")]
        cold = _part(generation.weights, "cold.")
        try:
            model = EmbeddingModel.from_arrays(_part(generation.weights, "model."))
            ranker, session_ranker = (Ranker.from_arrays(head) if head else None for head in heads)
            new = ColdModel.from_arrays(cold, np.array(generation.array("cold_vectors"))) if cold else None
        except KeyError as error:
            raise GenerationError("a part of the weights is missing", got=f"no {error}") from None
        try:
            choices = Choices.from_dict(generation.manifest.choices)
        except (KeyError, TypeError) as error:
            raise GenerationError("other numbers were chosen than this version knows", got=str(error)) from None
        names = ("texts", "basis_items", "basis_users", "basis_values")
        texts, items, users, values = (np.array(generation.array(name)) for name in names)
        return cls(model, ranker, session_ranker, choices, texts, items, users, values, new)


class LiveState:
    """Vocabularies, catalogue, graph, vectors and index of one log; one writer.

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
        self._changed: set[int] = set()  # items whose text is not in `texts` yet
        self._store = store
        self._encode = encode
        self.texts = np.zeros((0, 0), np.float32)
        choices = (Choices() if learned is None else learned.choices).under(config)
        self._settings = snapshot_settings(config, choices)
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
        self.catalogue.update(row for row in store.catalogue() if row.seq <= seen)
        self.items.extend(store.items()[: len(self.texts)])
        self.retriever.grow_users(self.retriever.graph.n_users)
        everything = np.arange(len(self.items))
        self.retriever.add_items(self.item_features(), self._centred(everything))
        if snapshot is not None and usable:
            self.retriever.recent.restore(snapshot.part("recent"))
            self.retriever.lasting.restore(snapshot.part("lasting"))
            self.offset = snapshot.manifest.offset
            self.retriever.settle()

    def refresh(self, progress: Progress | None = None) -> int:
        """Apply what the store has and this state has not; returns the number of events."""
        target = self._store.offset  # nodes are written with their events, so those read below include all it names
        self._follow_nodes()
        weights = self.kind_weights()
        tail, applied = target - self.offset, 0
        bulk = tail > max(_BATCH, self.retriever.graph.n_edges // 4)  # then one full pass costs less
        take_in = self.retriever.absorb if bulk else self.retriever.apply
        for events in self._store.scan(self.offset, target, chunk=_BATCH):
            take_in(events.users, events.items, weights[events.kinds], events.timestamps)
            self.offset = int(events.offsets[-1])
            applied += len(events)
            if progress is not None:
                progress("graph", applied, tail)
        if bulk:
            self.retriever.settle()
        return applied

    def _follow_nodes(self) -> None:
        """Learn new users, new items and changed texts; what an interrupted encoder leaves is done the next time."""
        self.users.extend(self._store.users(len(self.users)))
        self.items.extend(self._store.items(len(self.items)))
        self._changed.update(self.catalogue.update(self._store.catalogue(self.catalogue.offset)))
        self.retriever.grow_users(len(self.users))
        new = np.arange(self.retriever.n_items, len(self.items))
        if self.learned is None:
            self.retriever.add_items(np.zeros((len(new), 0), np.float32))
            self._changed.clear()
            return
        old = np.array(sorted(number for number in self._changed if number < self.retriever.n_items), np.int32)
        if not len(old) and not len(new):
            return
        texts = self._text_vectors(np.concatenate([old, new]))
        self.texts = np.vstack([self.texts, texts[len(old) :]])
        self.texts[old] = texts[: len(old)]
        self._changed.clear()
        self.retriever.add_items(self._features(new), self._centred(new))
        if len(old):
            self.retriever.change_items(old, self._features(old), self._centred(old))
            if self.cold is not None:
                self.cold.forget(old)

    def all_text_vectors(self) -> Float32:
        """Text vectors of all items, float32 (n_items, t); t = 0 where no item has a text."""
        texts = [self.catalogue.text(number) for number in range(len(self.items))]
        return self._encode(texts) if any(texts) else np.zeros((len(texts), 0), np.float32)

    def _text_vectors(self, numbers: NDArray[np.integer]) -> Float32:
        """As wide as those that were learned from: zero where there were none."""
        texts = [self.catalogue.text(number) for number in numbers.tolist()]
        width = self.texts.shape[1]
        return self._encode(texts) if width and any(texts) else np.zeros((len(texts), width), np.float32)

    def item_features(self) -> Float32:
        """What GraphSAGE reads of each item, float32 (n_items, d_in); d_in = 0 before the first training."""
        return self._features(np.arange(len(self.items)))

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
        index = self.retriever.index
        if self.learned is None or index is None:
            raise NotTrainedError("there is no model to publish", way_out="graphrec train")
        draft = Manifest(
            number=0,
            offset=self.offset,
            catalogue_offset=self.catalogue.offset,
            made_by=made_by,
            parent=parent,
            settings=self._settings,
            choices=self.learned.choices.to_dict(),
            text_model=text_model(self.config),
            metrics=metrics,
        )
        learned = replace(self.learned, texts=self.texts)
        return generations.publish(
            draft, learned.weights(), {**learned.arrays(), **self._snapshot_arrays()}, index.save, aside=aside
        )

    def rebuilt(self, progress: Progress | None = None) -> LiveState:
        """A second state of the same weights, derived from the log's first event on, later items folded in."""
        if self.learned is None:
            raise NotTrainedError("this workspace has no trained generation yet", way_out="graphrec train")
        learned = replace(self.learned, texts=self.texts, basis_items=self._folded_in(self.learned))
        state = LiveState(self.config, self._store, self._encode, learned, catalogue_offset=self.catalogue.offset)
        state.refresh(progress)
        return state

    def _snapshot_arrays(self) -> dict[str, NDArray[Any]]:
        """What a generation needs beside the learned, to spare the replay."""
        parts = {
            "graph": self.retriever.graph.state(),
            "recent": self.retriever.recent.state(),
            "lasting": self.retriever.lasting.state(),
        }
        return {f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()}


def snapshot_settings(config: Config, choices: Choices) -> dict[str, Any]:
    """The settings that saved arrays depend on: under others the log is replayed from its start."""
    return {
        "kinds": dict(sorted(config.events.kinds.items())),
        "half_life_days": config.graph.half_life_days,
        "popularity_half_life_days": choices.popularity_half_life_days,
    }


def open_state(
    config: Config, store: EventStore, encode: Encode, generations: Generations, warn: Callable[[str], None]
) -> tuple[LiveState, Manifest | None]:
    """The state of the newest generation that fits store and settings, before `refresh`; of no model if none does.

    Raises GenerationError where the generations are pinned to one that does not fit.
    """
    for generation in generations.valid(warn):
        manifest = generation.manifest
        try:
            learned = Learned.from_generation(generation)
            if manifest.offset > store.offset or manifest.catalogue_offset > store.catalogue_offset:
                raise GenerationError("the store is not the one it was made from", got="a shorter log")
            if learned.texts.shape[1] and manifest.text_model != text_model(config):
                raise GenerationError("the settings name another text model", got=text_model(config))
            return LiveState(config, store, encode, learned, generation), manifest
        except GenerationError as error:
            if generations.pinned is not None:
                raise
            warn(f"generation {manifest.number} is skipped: {error.problem} ({error.got})")
    return LiveState(config, store, encode), None


def text_model(config: Config) -> str:
    """What makes text vectors comparable: under another one only training makes sense of them."""
    return f"{Path(config.text.model).name}, {config.text.max_tokens} tokens"


def _part(arrays: Mapping[str, Float32], prefix: str) -> dict[str, Float32]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
