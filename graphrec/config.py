"""Settings: one frozen class a stage, read from graphrec.toml and from GRAPHREC_* environment variables.

An unknown key is an error, never ignored. An environment variable beats the file: the setting `kinds` of the stage
`events` is `GRAPHREC_EVENTS__KINDS` (JSON for anything that is not a number or a word).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from graphrec.errors import ConfigError
from graphrec.operation_settings import (
    GateSettings,
    Positive,
    ScheduleSettings,
    ServeSettings,
    Stage,
    TriggerSettings,
)

CONFIG_FILE = "graphrec.toml"

# Up to so many items: spectral coordinates, optimiser steps, frequencies of the filter. The more items share a space,
# the more directions it takes to tell them apart, and the more steps to learn from each of them.
_SIZES = ((5_000, 64, 100, 256), (20_000, 128, 200, 256), (float("inf"), 256, 300, 512))


class EventSettings(Stage):
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


class StoreSettings(Stage):
    """Where the event log lives."""

    url: str = Field(default="sqlite:///events.db", description="SQLAlchemy URL; a relative path is in the workspace")


class GraphSettings(Stage):
    """How events become edges."""

    half_life_days: float = Field(
        default=90.0, gt=0, description="an event's weight halves in this time (forward decay), days; inf = never"
    )


class TextSettings(Stage):
    """How texts become vectors."""

    model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2", description="any Hugging Face name or a local folder"
    )
    max_tokens: Positive = Field(default=128, description="longer texts are cut, tokens")
    batch_tokens: Positive = Field(default=1024, description="padded size of an encoder batch, tokens")
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        default="float32",
        description="of the encoder's arithmetic; bfloat16 is fast on processors that multiply it, int8 needs "
        "graphrec[onnx] and runs on the CPU",
    )
    adapter: bool = Field(default=True, description="whether training keeps the adapter that the live generation has")

    @property
    def loss(self) -> str:
        """What tells vectors of less than full precision from the exact ones, for names and digests; else empty."""
        return "" if self.precision == "float32" else f", {self.precision}"


class AdapterSettings(Stage):
    """What `graphrec adapt-text` does to the text model, with the extra `lora`."""

    session_minutes: float = Field(default=30.0, ge=0, description="gap that ends a user's session, minutes")
    rank: Positive = Field(default=8, description="of the update of a weight matrix")
    steps: Positive = Field(default=25, description="optimiser steps, at most")
    batch_size: Annotated[int, Field(ge=2)] = Field(default=64, description="pairs of items a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="at its highest")
    temperature: float = Field(default=0.05, gt=0, description="of the softmax over cosines")
    check_steps: Positive = Field(default=25, description="steps between two looks at held-out items")
    patience: Positive = Field(default=2, description="looks without a gain before it stops")


class EmbeddingSettings(Stage):
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


class FilterSettings(Stage):
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


class IndexSettings(Stage):
    """When a row of the vector index is written anew; its searches order by exact rows all the same."""

    tolerance: float = Field(
        default=0.05, ge=0, description="move of a vector of length one that any row may lag behind"
    )
    popularity_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of what an item lacks in log popularity to the top hundredth, its row may lag behind besides",
    )
    popularity_fall: float = Field(
        default=0.5, ge=0, description="weighted log popularity that a row may be shown too high by beyond that"
    )
    merge_rows: Positive = Field(default=1_000, description="rows in the overlay before they join the index")
    flat_items: Positive = Field(default=200_000, description="up to so many items, searches look at every row")


class RetrievalSettings(Stage):
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


class ColdSettings(Stage):
    """Places of a list reserved for items that hardly anybody has chosen yet."""

    slots: tuple[Positive, ...] = Field(default=(20,), description="reserved places, 1 = the first; [] = none")
    auto: bool = Field(default=True, description="reserve none where training finds that texts say too little")
    leave_after: Positive = Field(default=5, description="users after which an item is cold no more")


class TrainingSettings(Stage):
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


class UpdateSettings(Stage):
    """Learning from what came since the live generation, without training from scratch."""

    freeze: Literal["head", "head+sage", "all"] = Field(
        default="all", description="what may move: the heads; and GraphSAGE; and all that is in closed form"
    )
    steps: Annotated[int, Field(ge=0)] = Field(default=30, description="optimiser steps of GraphSAGE")
    batch_size: Positive = Field(default=1024, description="user-item pairs a step, new and replayed")
    negatives: Positive = Field(default=1024, description="sampled items a step, where the catalogue is larger")
    learning_rate: float = Field(default=5e-3, gt=0, description="at its highest")
    warm_up: float = Field(default=0.1, ge=0, le=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(default=0.0, ge=0, description="towards zero, a step, in learning rates")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of items that lose their coordinates in a step")
    moments: bool = Field(default=True, description="whether the optimiser goes on with what it remembers")
    replay: Literal["uniform", "inverse_degree", "recency", "none"] = Field(
        default="uniform", description="which older events are shown again"
    )
    replay_ratio: float = Field(default=1.0, ge=0, description="older pairs shown for a new one")
    replay_half_life: float = Field(default=0.2, gt=0, description="of recency, as a share of the older log")
    distil_vectors: float = Field(
        default=0.0, ge=0, description="weight of the old vectors of items that no new event has touched"
    )
    distil_lists: float = Field(default=0.0, ge=0, description="weight of the old order of replayed users' lists")
    ema: float = Field(default=0.0, ge=0, lt=1, description="memory of an average over the steps; 0 = the last step")
    average: Positive = Field(default=1, description="updates with other draws whose weights are averaged")
    check_share: float = Field(
        default=0.0, ge=0, lt=0.5, description="newest share of the new events that stops it early; 0 = never"
    )
    patience: Positive = Field(default=2, description="checks without a gain before it stops")
    basis_tolerance: float = Field(
        default=0.0,
        ge=0,
        description="bound on the turn of the spectral basis under which it is kept; 0 = always moved",
    )
    mixed_precision: bool = Field(
        default=True, description="products of its steps in bfloat16, where the processor has them"
    )
    ranker_epochs: Annotated[int, Field(ge=0)] = Field(
        default=4, description="of the ranking heads on the new lists; 0 = they stay"
    )
    ranker_learning_rate: float = Field(default=2e-3, gt=0)
    ranker_users: Positive = Field(default=1_000, description="users at most whose lists the returning head learns")
    session_events: Positive = Field(default=200, description="events at most whose lists the session head learns")


class GenerationSettings(Stage):
    """Published snapshots."""

    keep: Positive = Field(default=5, description="newest generations kept on disk; the live one always is")
    texts: Literal["float16", "float32"] = Field(
        default="float16", description="how training keeps the items' text vectors, in memory and on disk"
    )


class Config(BaseSettings):
    """All settings of a workspace."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="GRAPHREC_", env_nested_delimiter="__", toml_file=None
    )

    events: EventSettings = EventSettings()
    store: StoreSettings = StoreSettings()
    graph: GraphSettings = GraphSettings()
    text: TextSettings = TextSettings()
    adapter: AdapterSettings = AdapterSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    filter: FilterSettings = FilterSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    index: IndexSettings = IndexSettings()
    cold: ColdSettings = ColdSettings()
    training: TrainingSettings = TrainingSettings()
    update: UpdateSettings = UpdateSettings()
    generations: GenerationSettings = GenerationSettings()
    gate: GateSettings = GateSettings()
    trigger: TriggerSettings = TriggerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
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
