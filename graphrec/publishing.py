"""Making generations of an open workspace: trained, updated, rebuilt, copied; judged, published, returned to.

Every one is made as a second state, which only its maker knows. Answers come from the first, which follows the log,
until the second is on disk and takes its place.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from graphrec.answers import BuildReport, Forgot, Proposal
from graphrec.errors import BusyError
from graphrec.open_workspace import OpenWorkspace, generation_of, not_trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from graphrec.generation import Manifest
    from graphrec.live_state import LiveState
    from graphrec.training.candidate import Make


class Publishing(OpenWorkspace):
    """An open workspace that makes generations, one at a time of all processes."""

    def train(self) -> BuildReport:
        """Train everything from scratch on the whole log, publish the generation and answer from it.

        Answers come from the live generation until then. Raises InputError when the log is empty, GenerationError when
        another process is at it or the disk is full; the live generation stays as it is then.
        """
        from graphrec.training.trainer import train

        self.refresh()
        return self._publish("train", lambda: train(self._state, self._store, self._encode, self._tell))

    def rebuild(self) -> BuildReport:
        """Form graph, vectors and index anew from the log with the live weights, and publish the generation.

        Items that came after training get their spectral coordinates folded in. Raises NotTrainedError, and
        GenerationError as `train` does.
        """
        self.refresh()
        return self._publish("rebuild", lambda: (self._state.rebuilt(self._progress), {}))

    def propose(self, make: Make | None = None, made_by: str = "train", *, after: int = 0) -> Proposal:
        """Make a model without the newest events, and publish, hold or reject it by what it answers about them.

        `make` is training from scratch unless another maker is given; with `after` it does not see the events up to
        that offset. A held candidate is a generation that `publish` makes live; of a rejected one only the report is
        kept, in the workspace's gate log. The first model of a workspace is published as it is. Raises what `train`
        does.
        """
        from graphrec.training.batch_checks import HOLD, PUBLISH, REJECT
        from graphrec.training.candidate import propose
        from graphrec.training.trainer import train

        maker = train if make is None else make
        started, cpu = time.perf_counter(), time.process_time()

        def took() -> tuple[float, float]:
            return time.perf_counter() - started, time.process_time() - cpu

        self.refresh()
        live = self._state.manifest
        if live is None:
            first = self._publish(made_by, lambda: maker(self._state, self._store, self._encode, self._tell))
            return Proposal(PUBLISH, first.generation, made_by, (), None, *took())
        with self._making_one():
            offset = self._state.offset
            found = propose(self._state, self._store, self._encode, maker, self._tell, after=after)
            verdict, reasons, number = found.report.verdict, found.report.reasons, None
            if verdict == PUBLISH and self._generations.current() != live.number:
                verdict, reasons = HOLD, ("another generation was made live meanwhile",)
            if found.state is not None and verdict != REJECT:
                aside = verdict == HOLD
                number = found.state.publish(self._generations, made_by, live.number, found.metrics, aside=aside).number
                if not aside:
                    self._answer_from(found.state)
            row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "verdict": verdict, "generation": number}
            row["offset"] = offset
            report = found.report.to_dict() | {"verdict": verdict, "reasons": reasons}
            self.gate_log.append(row | {"made_by": made_by, "parent": live.number, "report": report})
        self.refresh()
        return Proposal(verdict, number, made_by, reasons, report, *took())

    def update(self) -> Proposal:
        """Have the live model learn from the events that came since it last did; the gate decides, as in `propose`.

        `[trigger] mode` says from which: what is new, the newest days, or what is new in small steps. Raises
        NotTrainedError, InputError where nothing is new, and GenerationError as `train` does.
        """
        from graphrec.training.stretches import stretches_of, update_in_steps
        from graphrec.training.updater import update

        self.refresh()
        if self._state.manifest is None:
            raise not_trained()
        mode = self.workspace.config.trigger.mode
        if mode == "window" and (found := stretches_of(self._state, self._store)):
            return self.propose(update, "update", after=found[0].after)
        return self.propose(update_in_steps if mode == "online" else update, "update")

    def adapt_text(self) -> Proposal:
        """Adapt the text model to what is chosen together, fit everything to texts encoded anew; the gate decides.

        Raises NotTrainedError, InputError where held-out items are found no better, DependencyError without peft, and
        GenerationError as `train` does.
        """
        from graphrec.training.adapting import train_adapted

        if self._state.manifest is None:
            raise not_trained()
        return self.propose(train_adapted, "adapt-text")

    def publish(self, generation: int) -> Manifest:
        """Make a generation the live one, held, rolled back or older, and answer from it; raises GenerationError."""
        manifest = self._generations.make_live(generation)
        self.refresh()
        return manifest

    def rollback(self, to: int | None = None) -> Manifest:
        """Answer from an older generation again, by default the one before, with all events since; newer are set aside.

        At the same log offset it gives the lists it gave. Raises GenerationError when there is none to return to.
        """
        manifest = self._generations.rollback(to)
        self.refresh()
        return manifest

    def snapshot(self) -> BuildReport:
        """Publish the present state as it is, so that opening replays no long log; nothing is trained or formed anew.

        It takes the place of the snapshot before it, if that is live. Where nothing has come since the live generation
        nothing is written. Raises NotTrainedError, and GenerationError as `train` does.
        """
        started, cpu = time.perf_counter(), time.process_time()
        with self._making_one():
            self.refresh()
            with self.reading() as state:
                before = state.manifest
                if before is None:
                    raise not_trained()
                live, again = before, before.made_by == "snapshot"
                parent = before.parent if again else before.number
                copied = None if state.is_published else state.snapshot("snapshot", parent, before.metrics)
            if copied is not None:
                live = self._generations.publish(*copied)
                with self._one_writer:
                    state.manifest = live
                    if self._state is state:
                        self._pointer = live.number
                if again:
                    self._generations.drop(before.number)
        return self._report(state, live, started, cpu)

    def forget(self, *users: str) -> Forgot:
        """Delete users for good: ids, attributes, events, and what was noted of their lists.

        Afterwards the state is that of a log in which their events never were, as opening it anew would derive it, and
        is published as a snapshot. What the model has learned stays in it, under no name, until the next training, and
        older generations hold edges of nobody until they are pruned. Raises InputError, StoreError.
        """
        found = self.erase(*users)
        self.refresh()
        if found.users and self._state.manifest is not None:
            with suppress(BusyError):  # whoever makes one just now publishes the next
                return replace(found, generation=self.snapshot().generation)
        return found

    def _publish(self, made_by: str, make: Callable[[], tuple[LiveState, dict[str, Any]]]) -> BuildReport:
        """Make a second state, publish it, and only then answer from it; the first goes on until then."""
        started, cpu = time.perf_counter(), time.process_time()
        with self._making_one():
            state, metrics = make()
            live = state.publish(self._generations, made_by, self.generation, metrics)
            self._answer_from(state)
        return self._report(state, live, started, cpu)

    def _report(self, state: LiveState, live: Manifest, started: float, cpu: float) -> BuildReport:
        return BuildReport(
            generation=live.number,
            made_by=live.made_by,
            offset=live.offset,
            events=self._store.counts().events,
            users=len(state.users),
            items=len(state.items),
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
            metrics=live.metrics,
        )

    @contextmanager
    def _making_one(self) -> Iterator[None]:
        """Hold the place for making a generation, and clear old ones away afterwards."""
        with self._generations.making():
            self._making = True
            try:
                yield
            finally:
                self._making = False
            self._generations.prune(self.workspace.config.generations.keep)

    def _answer_from(self, state: LiveState) -> None:
        """Let a state that was just published take the place of the present one."""
        state.refresh()  # most of what has come meanwhile, before the old state stands still
        with self._one_writer:
            state.refresh()
            self._state, self._pointer, self._half_applied = state, generation_of(state), False
            if state.is_outdated:
                self._reopen()
