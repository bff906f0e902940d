"""What is due, and why: a pure function of facts, settings and the clock.

New events call for an update. Drift and age call for one earlier: the mix of kinds, the vectors, the quality of the
answers, the days since. Two are never made closer together than `min_hours`, and what the gate refused is not made
again of the same events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from graphrec.training.batch_checks import PUBLISH
from graphrec.training.drift import Facts, measured

if TYPE_CHECKING:
    from graphrec.operation_settings import TriggerSettings
    from graphrec.recommender import Recommender

TRAIN, UPDATE = "train", "update"
FROM_SCRATCH = (TRAIN, "adapt-text")
NEW_WEIGHTS = (*FROM_SCRATCH, UPDATE)
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Due:
    """A job and why it is due; `not_before` is when the rate limit lets it run, None = now."""

    job: str
    reason: str
    not_before: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        moment = None if self.not_before is None else self.not_before.isoformat(timespec="seconds")
        return {**asdict(self), "not_before": moment}


def what_is_due(facts: Facts, settings: TriggerSettings, now: datetime) -> list[Due]:
    """Jobs and reasons, the most urgent first; empty when there is nothing to do."""
    if facts.generation is None:
        return [Due(TRAIN, f"no generation yet, {facts.events} events")] if facts.events else []
    untried = facts.new_events - facts.tried
    if not untried:
        return []
    reasons = []
    if settings.train_days and facts.trained is not None:
        days = (now - facts.trained) / timedelta(days=1)
        if days >= settings.train_days:
            reasons.append((TRAIN, f"trained from scratch {days:.1f} days ago, due after {settings.train_days:g}"))
    every = settings.micro_batch if settings.mode == "online" else settings.events
    if untried >= every:
        reasons.append((UPDATE, f"{untried} new events, due every {every}"))
    if settings.age_days and facts.made is not None:
        days = (now - facts.made) / timedelta(days=1)
        if days >= settings.age_days:
            reasons.append(
                (UPDATE, f"generation {facts.generation} is {days:.1f} days old, at most {settings.age_days:g}")
            )
    if untried >= settings.least_events:
        reasons += [(UPDATE, reason) for reason in _drifts(facts, settings)]
    earliest = None
    if facts.attempted is not None:
        earliest = facts.attempted + timedelta(hours=settings.min_hours)
    waits = earliest if earliest is not None and earliest > now else None
    return [Due(job, reason, waits) for job, reason in reasons]


def _drifts(facts: Facts, settings: TriggerSettings) -> list[str]:
    reasons = []
    if facts.quality is not None and facts.quality.z > settings.quality_z:
        found = facts.quality
        reasons.append(
            f"hit@20 of next events fell from {found.at_first:.3f} to {found.lately:.3f} (z = {found.z:.1f})"
        )
    if facts.kinds_drift is not None and facts.kinds_drift > settings.mix_drift:
        reasons.append(f"the mix of kinds moved by {facts.kinds_drift:.3f} bits, limit {settings.mix_drift:g}")
    if facts.vector_move is not None and facts.vector_move > settings.vector_move:
        reasons.append(f"item vectors turned by {facts.vector_move:.3f} (1 - cosine), limit {settings.vector_move:g}")
    return reasons


def facts_of(recommender: Recommender, *, measure: bool = True) -> Facts:
    """What `what_is_due` reads, of an open workspace; without `measure` no drift, which takes some seconds."""
    status, manifests = recommender.status(), recommender.manifests()
    attempts = [manifest.created for manifest in manifests if manifest.made_by in NEW_WEIGHTS]
    proposed = recommender.gate_log.last() or {}
    attempts += [proposed["at"]] if proposed else []
    learned = status.offset - status.events_since
    facts = Facts(
        generation=status.generation,
        events=status.events,
        new_events=status.events_since,
        made=_moment(status.generation_made),
        trained=_moment(max((m.created for m in manifests if m.made_by in FROM_SCRATCH), default=None)),
        attempted=max((datetime.fromisoformat(moment) for moment in attempts), default=None),
        tried=max(proposed.get("offset", 0) - learned, 0) if proposed.get("verdict") != PUBLISH else 0,
    )
    if not measure or facts.generation is None:
        return facts
    drift, move, quality = recommender.with_generation_state(
        lambda now, then, part, store: measured(facts, now, then, part, store, recommender.workspace.config.trigger)
    )
    return replace(facts, kinds_drift=drift, vector_move=move, quality=quality)


def due_now(recommender: Recommender) -> list[Due]:
    """What is due of an open workspace at this moment."""
    return what_is_due(facts_of(recommender), recommender.workspace.config.trigger, datetime.now(UTC))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
