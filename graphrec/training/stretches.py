"""Which events an update learns from, by the mode of `[trigger]`.

blocks   the events since the last update, every `events` of them
window   the newest `window_days`, every `events`
online   the events since the last update, in steps of `micro_batch`, one update after the other
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphrec.events.part_of_log import PartOfLog
from graphrec.live_state import LiveState
from graphrec.training.updater import update

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from graphrec.events.store import EventStore
    from graphrec.live_state import Encode
    from graphrec.operation_settings import TriggerSettings

    Progress = Callable[[str, int, int], None]

DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Stretch:
    """Events with an offset above `after` and at most `until`."""

    after: int
    until: int


def stretches(
    offsets: NDArray[np.int64], timestamps: NDArray[np.int64], absorbed: int, settings: TriggerSettings
) -> list[Stretch]:
    """What updates learn from, in order, given the log's offsets (rising) and time stamps in microseconds, (n,)."""
    new = offsets[offsets > absorbed]
    if not len(new):
        return []
    end = int(new[-1])
    if settings.mode == "window":
        inside = timestamps > timestamps.max() - settings.window_days * DAY
        return [Stretch(int(offsets[inside][0]) - 1, end)]
    if settings.mode == "online":
        ends = [*new[settings.micro_batch - 1 : -1 : settings.micro_batch].tolist(), end]
        return [Stretch(after, until) for after, until in zip([absorbed, *ends[:-1]], ends, strict=True)]
    return [Stretch(absorbed, end)]


def stretches_of(state: LiveState, store: EventStore) -> list[Stretch]:
    """The stretches of a store's log that the model of a state is to learn from next."""
    known, learned = state.known(), state.learned
    log = store.stretch(0, known.offset)
    return stretches(log.offsets, log.timestamps, 0 if learned is None else learned.until, state.config.trigger)


def update_in_steps(
    state: LiveState, store: EventStore, encode: Encode, progress: Progress
) -> tuple[LiveState, dict[str, Any]]:
    """As `update`, in the steps of the mode online: each begins where the one before has ended."""
    steps = stretches_of(state, store)
    if state.learned is None or len(steps) < 2:
        return update(state, store, encode, progress)
    known = state.known()
    learned, metrics = replace(state.learned, texts=known.texts), []
    for step in steps:
        part = PartOfLog(store, 0, step.until)
        then = LiveState.derived(state.config, part, encode, learned, known.catalogue_offset, None)
        made, found = update(then, part, encode, progress)
        assert made.learned is not None
        learned = made.learned
        metrics.append(found)
    return made, {"steps": metrics}
