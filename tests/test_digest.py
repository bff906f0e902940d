"""The digest: the same whatever way the log came, another one when anything in it is another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.config import Config
from graphrec.digest import state_digest
from graphrec.events.event import Event, Item, table_of
from graphrec.events.store import EventStore
from graphrec.live_state import LiveState

START = 1_700_000_000
EVENTS = [
    Event("ann", "mug", "view", timestamp=START),
    Event("ann", "mug", "purchase", timestamp=START + 100.5),
    Event("bob", "mug", "purchase", timestamp=START + 400 * 86_400),
    Event("bob", "mug", "return", timestamp=START + 400 * 86_400 + 1),
    Event("bob", "pot", "view", timestamp=START + 86_400),
    Event("eve", "pot", "view", timestamp=START + 7 * 86_400, event_id="e1"),
]
ITEMS = [Item("mug", "A mug", "for coffee", {"price": 5}), Item("pot", "A pot", ""), Item("pen", "A pen")]


def no_texts(texts: object) -> np.ndarray:
    raise AssertionError("nothing is learned, so nothing is encoded")


def digest(
    pieces: Iterable[list[Event]], items: list[Item] = ITEMS, generation: str = "g", config: Config | None = None
) -> str:
    """Of a state that followed a log which came in pieces."""
    with EventStore.open("sqlite://") as store:
        state = LiveState(config or Config(), store, no_texts)
        store.upsert_items(items)
        state.refresh()
        for piece in pieces:
            store.append(table_of(piece))
            state.refresh()
        return state_digest(state.users, state.items, state.retriever.graph, state.catalogue, generation)


def changed(place: int, **fields: object) -> list[list[Event]]:
    events = list(EVENTS)
    events[place] = replace(events[place], **fields)
    return [events]


def test_the_digest_is_a_function_of_what_happened() -> None:
    assert digest([EVENTS]) == digest([EVENTS])
    assert len(digest([EVENTS])) == 64


def test_empty_is_not_nothing() -> None:
    assert digest([], []) != digest([], ITEMS) != digest([EVENTS[:1]], ITEMS)


@pytest.mark.parametrize(
    "other",
    [
        lambda: digest(changed(0, kind="purchase")),
        lambda: digest(changed(0, timestamp=START - 86_400)),
        lambda: digest(changed(2, timestamp=START + 401 * 86_400)),
        lambda: digest(changed(4, user="ann")),
        lambda: digest(changed(4, item="mug")),
        lambda: digest(changed(5, user="Eve")),
        lambda: digest([EVENTS[:-1]]),
        lambda: digest([[*EVENTS, replace(EVENTS[0], event_id="another")]]),
        lambda: digest([[*EVENTS, Event("zoe", "pen", timestamp=START)]]),
        lambda: digest([EVENTS], [replace(ITEMS[0], title="The mug"), *ITEMS[1:]]),
        lambda: digest([EVENTS], [replace(ITEMS[0], text="for tea"), *ITEMS[1:]]),
        lambda: digest([EVENTS], [replace(ITEMS[0], attributes={"price": 6}), *ITEMS[1:]]),
        lambda: digest([EVENTS], ITEMS[:2]),
        lambda: digest([EVENTS], [ITEMS[0], replace(ITEMS[1], id="pot "), ITEMS[2]]),
        lambda: digest([EVENTS], generation="h"),
        lambda: digest([EVENTS], config=Config(events={"kinds": {"view": 2.0, "purchase": 5.0, "return": -5.0}})),
        lambda: digest([EVENTS], config=Config(graph={"half_life_days": 30})),
    ],
)
def test_anything_else_is_another_digest(other: Callable[[], str]) -> None:
    assert other() != digest([EVENTS])


def test_a_time_counts_where_nothing_fades() -> None:
    lasting = Config(graph={"half_life_days": float("inf")})
    later = changed(2, timestamp=START + 401 * 86_400)
    assert digest([EVENTS], config=lasting) != digest(later, config=lasting)


def test_a_name_counts_even_where_the_catalogue_is_silent() -> None:
    events = [Event("ann", "mug", timestamp=START)]
    digests = {digest([[replace(events[0], **name)]], []) for name in ({}, {"item": "cup"}, {"user": "eve"})}
    assert len(digests) == 3


def test_two_users_cannot_swap_what_they_did() -> None:
    ann, bob = Event("ann", "mug", timestamp=START), Event("bob", "pot", timestamp=START)
    swapped = [replace(ann, item="pot"), replace(bob, item="mug")]
    assert digest([[ann, bob]]) != digest([swapped])


@settings(max_examples=30)
@given(data=st.data())
def test_pieces_repeats_and_order_do_not_show(world, data: st.DataObject) -> None:
    """Twenty pieces of a log, some more than once, in any order."""
    events = world.events[:200]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), min_size=19, max_size=19)))
    pieces = [events[first:last] for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    repeats = data.draw(st.lists(st.sampled_from(pieces), max_size=5))
    shuffled = data.draw(st.permutations(pieces + repeats))
    assert digest(shuffled, world.items) == digest([events, events], world.items) == digest([events], world.items)


def test_the_order_of_the_catalogue_does_not_show() -> None:
    assert digest([EVENTS], ITEMS) == digest([EVENTS], ITEMS[::-1]) == digest([EVENTS], [*ITEMS, ITEMS[0]])
