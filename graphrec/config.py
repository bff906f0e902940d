"""Settings: one frozen class a stage, read from graphrec.toml and from GRAPHREC_* environment variables.

An unknown key is an error, never ignored. An environment variable beats the file: the setting `kinds` of the stage
`events` is `GRAPHREC_EVENTS__KINDS` (JSON for anything that is not a number or a word).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from graphrec.errors import ConfigError

CONFIG_FILE = "graphrec.toml"

# Up to so many items: spectral coordinates, optimiser steps, frequencies of the filter. The more items share a space,
# the more directions it takes to tell them apart, and the more steps to learn from each of them.
_SIZES = ((5_000, 64, 100, 256), (20_000, 128, 200, 256), (float("inf"), 256, 300, 512))

Positive = Annotated[int, Field(gt=0)]


class _Stage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EventSettings(_Stage):
    """What an event is and how a table's columns name it."""

    kinds: dict[str, float] = Field(
        default={
            "view": 1.0,
            "click": 1.0,
            "cart": 3.0,
            "purchase": 5.0,
            "rating": 3.0,
            "like": 3.0,
            "return": -5.0,
        },
        description="weight each kind of event adds to its user-item edge; negative takes away",
    )
    default_kind: str = Field(default="view", description="kind of an event whose table has no kind column")
    columns: dict[str, str] = Field(
        default={}, description="our name = the file's column name, for user, item, kind, timestamp, value, event_id"
    )
    timestamp_unit: Literal["s", "ms", "us", "ns"] = Field(default="s", description="unit of numeric time stamps")
    max_future_days: float = Field(default=1.0, ge=0, description="time stamps further ahead are quarantined, days")


class StoreSettings(_Stage):
    """Where the event log lives."""

    url: str = Field(default="sqlite:///events.db", description="SQLAlchemy URL; a relative path is in the workspace")


class GraphSettings(_Stage):
    """How events become edges."""

    half_life_days: float = Field(
        default=90.0, gt=0, description="an event's weight halves in this time (forward decay), days; inf = never"
    )


class TextSettings(_Stage):
    """How texts become vectors."""

    model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2", description="any Hugging Face name or a local folder"
    )
    max_tokens: Positive = Field(default=128, description="longer texts are cut, tokens")
    batch_tokens: Positive = Field(default=4096, description="padded size of an encoder batch, tokens")


class EmbeddingSettings(_Stage):
    """Shapes of the vectors; 0 = by the size of the catalogue."""

    spectral_dimensions: Annotated[int, Field(ge=0)] = Field(default=0, description="spectral coordinates of an item")
    text_dimensions: Annotated[int, Field(ge=0)] = Field(default=32, description="principal text directions; 0 = none")
    hidden_dimensions: Annotated[int, Field(ge=0)] = Field(default=0, description="first GraphSAGE layer")
    dimensions: Annotated[int, Field(ge=0)] = Field(default=0, description="GraphSAGE output = indexed vector")

    def sized(self, n_items: int) -> EmbeddingSettings:
        """These settings with every shape decided for a catalogue of `n_items`.

        Layer 1 needs two units a coordinate to start as the identity.
        """
        width = self.spectral_dimensions or next(width for most, width, _, _ in _SIZES if n_items <= most)
        return self.model_copy(
            update={
                "spectral_dimensions": width,
                "hidden_dimensions": self.hidden_dimensions or 2 * width,
                "dimensions": self.dimensions or width,
            }
        )


class FilterSettings(_Stage):
    """The closed-form graph filter; "auto" numbers are chosen on validation by training."""

    dimensions: Annotated[int, Field(ge=0)] = Field(
        default=0, description="frequencies at which it is exact, at most; 0 = by the size of the catalogue"
    )
    seed_exponent: float | Literal["auto"] = Field(default="auto", description="holds the user's popular items back")
    target_exponent: float | Literal["auto"] = Field(default="auto", description="holds popular targets back")
    slope: float | Literal["auto"] = Field(default="auto", description="of the response at the middle frequencies")
    lift: float | Literal["auto"] = Field(default="auto", description="added to the response of the low frequencies")

    @property
    def is_open(self) -> bool:
        """Whether training has a number to choose."""
        return "auto" in self.model_dump().values()

    def sized(self, n_items: int) -> FilterSettings:
        """These settings with the number of frequencies decided for a catalogue of `n_items`."""
        most = self.dimensions or next(frequencies for most, *_, frequencies in _SIZES if n_items <= most)
        return self.model_copy(update={"dimensions": most})


class IndexSettings(_Stage):
    """When a row of the vector index is written anew; its searches order by exact rows all the same."""

    tolerance: float = Field(default=0.02, ge=0, description="move of a vector of length one that a row may lag behind")
    popularity_tolerance: float = Field(default=0.25, ge=0, description="change of weighted log popularity likewise")
    merge_rows: Positive = Field(default=2_000, description="rows in the overlay before they join the index")
    flat_items: Positive = Field(default=200_000, description="up to so many items, searches look at every row")


class RetrievalSettings(_Stage):
    """How many candidates each source may offer."""

    sage: Positive = Field(default=200, description="from the GraphSAGE index")
    filter: Positive = Field(default=200, description="from the graph filter")
    popular: Positive = Field(default=100, description="from the recently popular")
    taste: Positive = Field(default=100, description="from the walk that starts at the user's newest items")
    popularity_half_life_days: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        default="auto", description="of the recent popularity, days; auto = chosen on validation by training"
    )
    session_minutes: float = Field(
        default=30.0,
        ge=0,
        description="a user with an event so recent is in the middle of a session, minutes; 0 = no sessions",
    )
    history: Positive = Field(default=200, description="newest items of a user that walk and ranking look at")


class ColdSettings(_Stage):
    """Places of a list reserved for items that hardly anybody has chosen yet."""

    slots: tuple[Positive, ...] = Field(default=(20,), description="reserved places, 1 = the first; [] = none")
    auto: bool = Field(default=True, description="reserve none where training finds that texts say too little")
    leave_after: Positive = Field(default=5, description="users after which an item is cold no more")


class TrainingSettings(_Stage):
    """Training from scratch."""

    steps: Annotated[int, Field(ge=0)] = Field(
        default=0, description="optimiser steps; 0 = by the size of the catalogue"
    )
    batch_size: Positive = Field(default=2048, description="user-item pairs a step")
    learning_rate: float = Field(default=5e-3, gt=0)
    temperature: float = Field(default=0.1, gt=0, description="of the softmax over cosines")
    popularity_weight: float = Field(
        default=1.0, ge=0, description="of log popularity beside the cosine over the temperature"
    )
    negatives: Positive = Field(default=2048, description="sampled items a step, where the catalogue is large")
    full_softmax_items: Positive = Field(default=5_000, description="up to this many items no sampling is needed")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of items that lose their coordinates in a step")
    slice_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="newest share of the log that the ranking heads learn from"
    )
    ranker_seeds: Positive = Field(default=3, description="ranking heads averaged")
    seed: int = 0

    def sized(self, n_items: int) -> TrainingSettings:
        """These settings with the number of steps decided for a catalogue of `n_items`."""
        return self.model_copy(
            update={"steps": self.steps or next(steps for most, _, steps, _ in _SIZES if n_items <= most)}
        )


class GenerationSettings(_Stage):
    """Published snapshots."""

    keep: Positive = Field(default=5, description="newest generations kept on disk; the live one always is")


class ServeSettings(_Stage):
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
    tracing: bool = Field(default=False, description="OpenTelemetry spans of requests; needs the extra otel")


class Config(BaseSettings):
    """All settings of a workspace."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="GRAPHREC_", env_nested_delimiter="__", toml_file=None
    )

    events: EventSettings = EventSettings()
    store: StoreSettings = StoreSettings()
    graph: GraphSettings = GraphSettings()
    text: TextSettings = TextSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    filter: FilterSettings = FilterSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    index: IndexSettings = IndexSettings()
    cold: ColdSettings = ColdSettings()
    training: TrainingSettings = TrainingSettings()
    generations: GenerationSettings = GenerationSettings()
    serve: ServeSettings = ServeSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def template(cls) -> str:
        """Text of a graphrec.toml with every default written out and explained."""
        lines = ["# Settings of this workspace. An unknown key is an error; delete a line to have its default.", ""]
        for stage, value in cls.model_construct():
            lines.append(f"[{stage}]  # {(type(value).__doc__ or '').rstrip('.')}")
            for name, field in type(value).model_fields.items():
                comment = f"  # {field.description}" if field.description else ""
                lines.append(f"{name} = {_toml(getattr(value, name))}{comment}")
            lines.append("")
        return "\n".join(lines)

    @classmethod
    def load(cls, directory: str | Path) -> Config:
        """Read `graphrec.toml` of a workspace; raises ConfigError with the path of each key that is wrong."""
        path = Path(directory) / CONFIG_FILE

        class _FileConfig(cls):  # type: ignore[valid-type, misc]
            model_config = SettingsConfigDict(toml_file=path)

        try:
            loaded = _FileConfig()
            return cls.model_construct(**{name: getattr(loaded, name) for name in cls.model_fields})
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()
            )
            raise ConfigError(
                f"the settings in {path} are not understood",
                got=problems,
                way_out="graphrec init writes a full example",
            ) from None
        except ValueError as error:  # TOML syntax
            raise ConfigError(f"{path} is not valid TOML", got=str(error)) from None


def _toml(value: object) -> str:
    """A default as TOML: the kinds that occur are text, numbers, truth values, lists, and tables of them."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }" if value else "{}"
    return json.dumps(value) if isinstance(value, str | bool | tuple) else str(value)
