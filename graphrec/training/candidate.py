"""A candidate: learned from the log without its newest events, judged on these, then brought up to the end of the log.

A fair comparison needs events that neither model has learned from. So whoever makes the candidate is given a store that
ends where the newest slice begins (`PartOfLog`), the gate asks both models about that slice, and the candidate that was
judged is the one that is published: refitted on everything it would be another model, which nobody has asked. Its
graph, vectors and popularity follow the whole log all the same; the next update learns from the slice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.errors import NotTrainedError
from graphrec.events.part_of_log import PartOfLog
from graphrec.live_state import LiveState
from graphrec.training.batch_checks import REJECT
from graphrec.training.gate import GateReport, judge
from graphrec.training.panels import answers_of
from graphrec.training.trainer import interactions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from graphrec.config import Config
    from graphrec.events.interactions import Interactions
    from graphrec.events.store import EventStore
    from graphrec.learned import Learned
    from graphrec.live_state import Encode, Known

    Float32 = NDArray[np.float32]
    Int64 = NDArray[np.int64]
    Progress = Callable[[str, int, int], None]
    Make = Callable[[LiveState, EventStore, Encode, Progress], tuple[LiveState, dict[str, Any]]]


@dataclass(frozen=True)
class Candidate:
    """What was made, and what the gate says; `state` is at the end of the log, None where it was rejected."""

    state: LiveState | None
    metrics: dict[str, Any]
    report: GateReport


def arrivals(store: EventStore, state: LiveState, known: Known) -> tuple[Interactions, Int64]:
    """Every event that a state had absorbed at one moment, in the order of arrival, and their offsets."""
    log = store.stretch(0, known.offset)
    return interactions_of(log, state, store, known), log.offsets


def propose(
    state: LiveState,
    store: EventStore,
    encode: Encode,
    make: Make,
    progress: Progress,
    *,
    after: int = 0,
) -> Candidate:
    """Make a candidate beside the live state and judge it.

    Args:
        state: the live state; it may follow the log all the while.
        make: training or an update: (state, store, encode, progress) -> a second state and metrics. The store it is
            given ends before the newest `gate.fresh_share` of the events that the live model has not learned from.
        after: offset up to which the oldest events are left out, for a sliding window; the graph of the candidate that
            is published knows them all the same.

    Raises NotTrainedError without a live model, and what `make` raises.
    """
    live, config = state.learned, state.config
    if live is None:
        raise NotTrainedError("there is no live model to compare with", way_out="graphrec train")
    known = state.known()
    log, offsets = arrivals(store, state, known)
    since = int(np.searchsorted(offsets, live.until, side="right"))
    cut = since + int((1 - config.gate.fresh_share) * (len(log) - since))
    part = PartOfLog(store, after, int(offsets[cut - 1]) if cut else 0)
    made, metrics = make(_copy(known, live, config, part, encode, progress), part, encode, progress)
    learned = made.learned
    if learned is None:
        raise NotTrainedError("the maker of the candidate has learned nothing")
    progress("gate", 0, 1)
    report = judge(
        log,
        since,
        cut,
        answers_of(live, known.texts, config),
        answers_of(learned, made.texts, config),
        config.gate,
        config.training.seed,
    )
    progress("gate", 1, 1)
    metrics = {**metrics, "gate": report.to_dict()}
    known = known._replace(texts=made.texts)  # its text model may be another one
    followed = None if report.verdict == REJECT else _copy(known, learned, config, store, encode, progress)
    return Candidate(followed, metrics, report)


def _copy(
    known: Known, learned: Learned, config: Config, store: EventStore, encode: Encode, progress: Progress
) -> LiveState:
    """A second state of the same model, derived from the first event of a store on."""
    learned = replace(learned, texts=known.texts)
    return LiveState.derived(config, store, encode, learned, known.catalogue_offset, progress)
