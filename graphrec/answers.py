"""What graphrec answers: lists with reasons and provenance, and reports of what it did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Answer:
    """Turns a frozen dataclass into plain data for JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for `json.dumps`."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    def to_json(self) -> bytes:
        """The same as one line of JSON, UTF-8: what the command line prints and the service sends."""
        return msgspec.json.encode(self)


@dataclass(frozen=True)
class Reason(_Answer):
    """One sentence that speaks for an item, and the item it refers to, if any."""

    text: str
    item: str | None = None
    witnesses: int = 0  # other users on this path


@dataclass(frozen=True)
class Recommendation(_Answer):
    """One place of a list."""

    item: str
    title: str
    score: float  # comparable within one list only
    sources: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Recommendations(_Answer):
    """A list, best first, and what it was computed from.

    generation: number of the model, None before the first training. offset: position of the log that was known.
    note: why the list is not personal or shorter than asked for; empty otherwise. certified: whether the items of the
    index are proved to be the best of all, not only of those that a search has visited.
    """

    user: str | None
    items: tuple[Recommendation, ...]
    personal: bool
    generation: int | None
    offset: int
    note: str = ""
    certified: bool = True

    def __iter__(self) -> Iterator[Recommendation]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Recommendation:
        return self.items[place]

    def ids(self) -> list[str]:
        """Item ids, best first."""
        return [item.item for item in self.items]


@dataclass(frozen=True)
class Explanation(_Answer):
    """Why an item suits a user: reasons, and where the item stands."""

    user: str
    item: str
    title: str
    reasons: tuple[Reason, ...]
    cosine: float | None  # of the GraphSAGE vectors; None before the first training or without a history
    popularity_rank: int  # 1 = most events lately


@dataclass(frozen=True)
class Touched(_Answer):
    """An item that a user had to do with."""

    item: str
    title: str
    share: float  # of all that speaks for the user; 0 = taken back or faded away
    last: str  # when, ISO 8601


@dataclass(frozen=True)
class Profile(_Answer):
    """What is known of a user: attributes of the user table, and the items of the graph, newest first.

    items: how many there are in all. in_session: whether the newest event of the log is so near that the next of this
    user is about to follow.
    """

    user: str
    known: bool
    attributes: dict[str, Any]
    items: int
    newest: tuple[Touched, ...]
    in_session: bool
    generation: int | None
    offset: int


@dataclass(frozen=True)
class Described(_Answer):
    """What the catalogue says of an item, and how many users have had it."""

    item: str
    title: str
    text: str
    attributes: dict[str, Any]
    users: int
    withdrawn: bool


@dataclass(frozen=True)
class Counted(_Answer):
    """What became of the rows of one table; read = accepted + duplicates + quarantined."""

    read: int = 0
    accepted: int = 0
    duplicates: int = 0  # an event known already, an item or user that says nothing new
    quarantined: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.read + other.read,
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
        )


@dataclass(frozen=True)
class IngestReport(_Answer):
    """What became of an ingest; the counts at the top are those of the events."""

    read: int
    accepted: int
    duplicates: int
    quarantined: int
    items: Counted
    users: Counted
    offset: int  # of the log afterwards
    seconds: float
    quarantine: tuple[str, ...]  # files with the bad rows


@dataclass(frozen=True)
class BuildReport(_Answer):
    """A published generation."""

    generation: int
    made_by: str
    offset: int
    events: int
    users: int
    items: int
    seconds: float
    cpu_seconds: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Forgot(_Answer):
    """What was deleted of some users. users: who were known. notes: lists shown to them.

    times: how often this workspace has forgotten by now. generation: the snapshot without them, if one was made.
    """

    users: int
    events: int
    notes: int
    times: int
    generation: int | None = None


@dataclass(frozen=True)
class Status(_Answer):
    """Where a workspace stands."""

    directory: str
    events: int
    users: int
    items: int
    items_with_text: int
    offset: int
    first_event: str | None
    last_event: str | None
    generation: int | None
    generation_offset: int | None
    generation_made: str | None
    events_since: int  # that the live weights have not learned from
    quarantined: int
    bytes_on_disk: int


@dataclass(frozen=True)
class Proposal(_Answer):
    """A model that was made, and what became of it.

    verdict: "publish" = it is live; "hold" = it is generation `generation`, and `publish` would make it live; "reject"
    = it is gone, and `generation` is None. report: what the gate found; None for the first model of a workspace.
    """

    verdict: str
    generation: int | None
    made_by: str
    reasons: tuple[str, ...]
    report: dict[str, Any] | None
    seconds: float
    cpu_seconds: float
