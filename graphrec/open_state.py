"""From generations on the disk to a state: the newest that fits store and settings, and of no model if none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphrec.errors import GenerationError
from graphrec.learned import Learned, text_model
from graphrec.live_state import LiveState

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphrec.config import Config
    from graphrec.events.store import EventStore
    from graphrec.generation import Generations
    from graphrec.live_state import Encode


def open_state(
    config: Config, store: EventStore, encode: Encode, generations: Generations, warn: Callable[[str], None]
) -> LiveState:
    """The state of the newest generation that fits store and settings, before `refresh`; of no model if none does.

    Raises GenerationError where the generations are pinned to one that does not fit.
    """
    for generation in generations.valid(warn):
        manifest = generation.manifest
        try:
            learned = Learned.from_generation(generation)
            if manifest.offset > store.offset or manifest.catalogue_offset > store.catalogue_offset:
                raise GenerationError("the store is not the one it was made from", got="a shorter log")
            if learned.texts.shape[1] and manifest.text_model != text_model(config, learned.adapter):
                raise GenerationError("the settings name another text model", got=text_model(config, learned.adapter))
            state = LiveState(config, store, encode, learned, generation)
            state.manifest = manifest
            return state
        except GenerationError as error:
            if generations.pinned is not None:
                raise
            warn(f"generation {manifest.number} is skipped: {error.problem} ({error.got})")
    return LiveState(config, store, encode)
