"""Settings of keeping a model good and of serving it: gate, trigger, schedule and service; the rest is in `config`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]


class Stage(BaseModel):
    """Settings of one stage: fixed once read, and an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GateSettings(Stage):
    """What a new model must show before it is published."""

    fresh_share: float = Field(
        default=0.4, gt=0, lt=1, description="newest share of the new events that the candidate does not learn from"
    )
    panel_moments: tuple[Annotated[float, Field(gt=0, lt=0.9)], ...] = Field(
        default=(0.5, 0.7), description="where the live model's log is cut to ask about older time, as shares of it"
    )
    questions: Positive = Field(default=1_000, description="users asked of each slice, at most")
    least_questions: Positive = Field(default=50, description="with fewer on the fresh slice the candidate is held")
    allowance: float = Field(
        default=1.64,
        ge=0,
        description="standard errors of NDCG that chance may take; 1.64: 1 in 20 that are equal fail",
    )
    panel_loss: float = Field(default=0.05, ge=0, description="share of the NDCG on older slices that may be lost")
    reference_blocks: Annotated[int, Field(ge=2)] = Field(
        default=8, description="earlier blocks as long as the new events, at most, that say what is usual"
    )
    concentration: float = Field(
        default=2.0, ge=1, description="times the largest usual share of one user, one item, or of new users"
    )
    mix_drift: float = Field(default=0.05, ge=0, description="Jensen-Shannon divergence of the kinds of events, bits")
    coherence: float = Field(
        default=0.6, ge=0, le=1, description="least part of the usual nearness of users to their new items"
    )
    flooding: float = Field(default=0.5, ge=0, description="share of lists one item may win over the live model's top")
    coverage: float = Field(default=0.6, ge=0, le=1, description="least part of the items that live lists name")


class TriggerSettings(Stage):
    """When an update is due, and which events it learns from."""

    mode: Literal["blocks", "window", "online"] = Field(
        default="blocks",
        description="blocks: what is new; window: the newest days; online: what is new, in small steps",
    )
    events: Positive = Field(default=50_000, description="new events that call for an update")
    micro_batch: Positive = Field(default=1_000, description="the same in the mode online, and the events of a step")
    window_days: float = Field(default=180.0, gt=0, description="length of the sliding window, days")
    age_days: float = Field(default=7.0, ge=0, description="a generation is no older when events come, days; 0 = any")
    train_days: float = Field(default=30.0, ge=0, description="from scratch so often when events come, days; 0 = never")
    least_events: Positive = Field(default=1_000, description="new events before a drift counts")
    mix_drift: float = Field(default=0.05, ge=0, description="Jensen-Shannon divergence of the kinds of events, bits")
    vector_move: float = Field(default=0.1, ge=0, description="mean 1 - cosine of item vectors, then and now")
    quality_z: float = Field(default=3.0, ge=0, description="standard errors that hit@20 of next events may fall")
    quality_window: Positive = Field(default=200, description="answers compared: the first, and the newest")
    questions: Positive = Field(default=600, description="next events asked for since the generation, at most")
    min_hours: float = Field(default=1.0, ge=0, description="between two models made, published or not")


class ScheduleSettings(Stage):
    """When jobs run: a cron expression, "every 6 hours", "every 50000 events"; empty = never."""

    train: str = Field(default="", description="everything from scratch")
    update: str = Field(default="", description="on from the live weights")
    learn: str = Field(default="", description="looks whether [trigger] calls for an update or a training, and does it")
    rebuild: str = Field(default="", description="graph, vectors and index from the log, with the live weights")
    snapshot: str = Field(default="", description="the present state as a generation, so that opening is quick")
    prune: str = Field(default="", description="deletes old generations and old quarantine files")
    jitter_seconds: float = Field(default=0.0, ge=0, description="jobs of the clock begin up to so much later")
    time_zone: str = Field(default="UTC", description="of cron expressions")
    quarantine_days: float = Field(
        default=90.0, ge=0, description="age of the files that prune deletes; 0 = it never does"
    )


class ServeSettings(Stage):
    """The service: `graphrec serve`."""

    host: str = Field(default="127.0.0.1", description="address to listen at; beyond loopback only with a key")
    port: Annotated[int, Field(ge=0, lt=65_536)] = Field(default=8000, description="0 = any that is free")
    threads: Positive = Field(default=2, description="questions answered side by side")
    waiting: Positive = Field(default=256, description="questions that may wait for a thread; more are refused")
    wait_seconds: float = Field(
        default=1.0, ge=0, le=60, description="how long a post may wait until its events are in the answers"
    )
    rate: str = Field(default="2000/second", description='requests of one key, as "100/minute"; "" = no limit')
    body_bytes: Positive = Field(default=4_194_304, description="largest request body, bytes")
    batch: Positive = Field(default=10_000, description="events, items or users of one post")
    users: Positive = Field(default=100, description="users of one question")
    longest: Positive = Field(default=1_000, description="length of a list")
    origins: tuple[str, ...] = Field(default=(), description="web origins that browsers may ask from (CORS)")
    pseudonyms: bool = Field(default=False, description="replace user ids by a keyed hash before anything is kept")
    impressions: bool = Field(default=True, description="keep what was shown, for click and conversion rates")
    impression_days: float = Field(default=30.0, gt=0, description="how long, days")
    schedule: bool = Field(default=True, description="run the jobs of [schedule] here, if no other process does")
    tracing: bool = Field(default=False, description="OpenTelemetry spans of requests; needs the extra otel")
