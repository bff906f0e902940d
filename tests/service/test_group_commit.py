"""Group commit: one transaction for many, to each what became of its own, by the rules of files."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.config import EventSettings
from graphrec.errors import StoreError
from graphrec.events.store import EventStore
from graphrec.events.tables import read_events
from graphrec.service import group_commit
from graphrec.service.group_commit import GroupCommit

SETTINGS = EventSettings()


def row(user: Any = "u", item: Any = "i", timestamp: Any = 1_700_000_000, **more: Any) -> dict[str, Any]:
    return {"user": user, "item": item, "timestamp": timestamp, **more}


class Held(EventStore):
    """A store whose first transaction waits until it is let go."""

    def append_each(self, table):
        self.appends = getattr(self, "appends", 0) + 1
        if self.appends == 1:
            self.inside.set()
            assert self.release.wait(10)
        return super().append_each(table)


def test_posts_that_wait_share_a_transaction_and_each_hears_of_its_own_rows() -> None:
    with Held.open("sqlite://") as store:
        store.inside, store.release = threading.Event(), threading.Event()
        seen = []
        with GroupCommit(store, SETTINGS, lambda offset, _: seen.append(offset)) as commit:
            first = commit.submit([row()])
            assert store.inside.wait(10)
            posts = [[row("a"), row("b")], [row("b"), row("")], [row(), row("c"), row("c", kind="stare")]]
            futures = [commit.submit(post) for post in posts]
            assert commit.waiting == 8
            store.release.set()
            taken = [future.result(10) for future in futures]
        assert store.appends == 2
        assert first.result().offset == 1
        assert [(one.read, one.accepted, one.duplicates, len(one.rejected)) for one in taken] == [
            (2, 2, 0, 0),
            (2, 0, 1, 1),
            (3, 1, 1, 1),
        ]
        assert [one.new for one in taken] == [(0, 1), (), (1,)]
        assert [one.repeated for one in taken] == [(), (1,), (1,)]
        assert (taken[1].rejected[0].row, taken[1].rejected[0].field) == (2, "user")
        assert (taken[2].rejected[0].row, taken[2].rejected[0].field, taken[2].rejected[0].got) == (3, "kind", "stare")
        assert {one.offset for one in taken} == {4} == {store.offset}
        assert seen == [1, 4]
        assert commit.waiting == 0


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.just([1])
)
moments = values | st.sampled_from([1_700_000_000, "2024-01-01", "2024-01-01T10:00:00+02:00", 1.7e9])
kinds = values | st.sampled_from(sorted(SETTINGS.kinds))
rows = st.fixed_dictionaries(
    {"user": values | st.just("u"), "item": values | st.just("i"), "timestamp": moments},
    optional={"kind": kinds, "value": values, "event_id": values | st.just("e")},
)


@given(st.lists(rows, min_size=1, max_size=8))
def test_rows_are_judged_as_those_of_a_file(tmp_path_factory: pytest.TempPathFactory, posted: list[Any]) -> None:
    lines = [json.dumps({"kind": SETTINGS.default_kind, **one}).encode() for one in posted]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(b"\n".join(lines))
    with EventStore.open("sqlite://") as ours, EventStore.open("sqlite://") as theirs:
        with GroupCommit(ours, SETTINGS, lambda *_: None) as commit:
            taken = commit.submit([msgspec.json.decode(line) for line in lines]).result(10)
        (chunk,) = read_events(path, settings=SETTINGS, now=time.time())
        assert taken.accepted == theirs.append(chunk.table).accepted
        told = [(one.row, one.field, one.expected, one.got) for one in taken.rejected]
        assert told == [(bad.line, bad.field, bad.expected, bad.got) for bad in chunk.rejected]
        assert taken.read == taken.accepted + taken.duplicates + len(taken.rejected)


def test_a_store_that_fails_acknowledges_nothing_and_the_next_post_is_written(monkeypatch) -> None:
    with EventStore.open("sqlite://") as store:
        append, failures = store.append_each, iter([StoreError("the disk is full")])

        def failing(table):
            for failure in failures:
                raise failure
            return append(table)

        monkeypatch.setattr(store, "append_each", failing)
        with GroupCommit(store, SETTINGS, lambda *_: None) as commit:
            with pytest.raises(StoreError, match="full"):
                commit.submit([row()]).result(10)
            assert store.offset == 0
            assert commit.submit([row()]).result(10).accepted == 1


def test_what_was_submitted_before_the_end_is_written(tmp_path: Path) -> None:
    with EventStore.open("sqlite:///events.db", directory=tmp_path) as store:
        with GroupCommit(store, SETTINGS, lambda *_: None) as commit:
            futures = [commit.submit([row(f"u{n}")]) for n in range(50)]
        assert not commit.alive
        assert all(future.result(0).accepted == 1 for future in futures)
        assert store.offset == 50


def test_too_much_that_waits_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(group_commit, "_MOST_WAITING", 2)
    with EventStore.open("sqlite://") as store:
        commit = GroupCommit(store, SETTINGS, lambda *_: None)
        commit.submit([row(), row("v")])
        with pytest.raises(StoreError, match="too many"):
            commit.submit([row("w")])
