from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.errors import InputError, StoreError
from graphrec.events import database, store
from graphrec.events.event import Event, Item, table_of
from graphrec.events.event_hash import coded, event_hashes
from graphrec.events.store import EventStore

URL = "sqlite:///events.db"
DAY = 86_400


@pytest.fixture(params=["file", "memory"])
def empty(request, tmp_path):
    with EventStore.open(URL if request.param == "file" else "sqlite://", directory=tmp_path) as opened:
        yield opened


def contents(opened, after=0):
    """Everything the log says, by external ids; its offsets have no holes."""
    users, items, kinds, log = opened.users(), opened.items(), opened.kinds(), opened.read(after)
    columns = (log.users, log.items, log.kinds, log.timestamps, log.values)
    assert log.offsets.tolist() == list(range(after + 1, opened.offset + 1))
    return [
        (users[user], items[item], kinds[kind], time, value)
        for user, item, kind, time, value in zip(*columns, strict=True)
    ]


def event(user="u", item="i", kind="view", time=DAY, value=1.0, event_id=None):
    return Event(user, item, kind, timestamp=time, value=value, event_id=event_id)


def test_what_is_appended_is_read_back_in_order(empty):
    table = table_of(
        [event("u1", "i1"), event("u2", "i1", "cart", DAY - 1, 2.5), event("u1", "i2", "view", DAY + 0.000001)]
    )
    assert empty.append(table) == (3, 0, 3)
    assert contents(empty) == [
        ("u1", "i1", "view", DAY * 1_000_000, 1.0),
        ("u2", "i1", "cart", (DAY - 1) * 1_000_000, 2.5),
        ("u1", "i2", "view", DAY * 1_000_000 + 1, 1.0),
    ]
    log = empty.read()
    types = [part.dtype.str[1:] for part in (log.offsets, log.users, log.items, log.kinds, log.timestamps, log.values)]
    assert types == ["i8", "i4", "i4", "i2", "i8", "f8"]
    assert log.users.tolist() == [0, 1, 0]
    assert log.offsets.tolist() == [1, 2, 3]
    assert empty.time_span == ((DAY - 1) * 1_000_000, DAY * 1_000_000 + 1)
    assert empty.counts() == (3, 2, 2, 0)
    assert (empty.users(1), empty.items(2), empty.kinds()) == (["u2"], [], ["view", "cart"])


def test_the_ends_are_those_of_its_parts(empty):
    assert empty.ends() == (0, 0, 0, 0, 0)
    empty.append(table_of([event(), event("v", "j"), event("w")]))
    empty.upsert_items([Item("k", "a"), Item("k", "b")])
    ends = empty.ends()
    assert ends == (3, 2, 3, 3, 0)
    assert ends[:4] == (empty.offset, empty.catalogue_offset, len(empty.users()), len(empty.items()))
    empty.forget(["v"])
    assert empty.ends() == (3, 2, 3, 3, 1)


def test_each_row_of_an_append_is_told_whether_it_was_new(empty):
    empty.append(table_of([event("u")]))
    appended, new = empty.append_each(table_of([event("a"), event("u"), event("a"), event("b")]))
    assert appended == (2, 2, 3)
    assert new.tolist() == [True, False, False, True]


def test_an_empty_store(empty):
    assert (empty.offset, empty.catalogue_offset, empty.time_span, len(empty.read())) == (0, 0, None, 0)
    assert empty.append(table_of([])) == (0, 0, 0)
    assert (list(empty.scan()), empty.users(), empty.catalogue()) == ([], [], [])


DIFFERENT = [
    event(),
    event(user="v"),
    event(item="u"),
    event(user="i", item="u"),
    event(kind="cart"),
    event(value=2),
    event(time=DAY + 1),
    event(event_id="a"),
    event(event_id="b"),
    event(event_id="u"),
]


def test_the_same_content_is_the_same_event_unless_event_ids_differ(empty):
    table = table_of(DIFFERENT)
    assert empty.append(table)[:2] == (len(DIFFERENT), 0)
    assert empty.append(table)[:2] == (0, len(DIFFERENT))
    for one in DIFFERENT:
        assert empty.append(table_of([one, one]))[:2] == (0, 2)
    assert empty.append(table_of([event(value=-0.0), event(value=0.0)]))[:2] == (1, 1)


def test_an_event_id_decides_and_a_repeat_never_makes_a_node(empty):
    empty.append(table_of([event(event_id="a")]))
    again = event("other", "another", "cart", event_id="a")
    assert empty.append(table_of([again, event("new", "i", event_id="b"), again]))[:2] == (1, 2)
    assert (empty.users(), empty.items()) == (["u", "new"], ["i"])
    assert empty.append(table_of([event("other", event_id="a", time=DAY + 1)]))[:2] == (1, 0)


def test_numbers_follow_what_was_accepted_and_not_what_was_given(empty):
    empty.append(table_of([event(event_id="a")]))
    empty.append(table_of([event("late", event_id="a"), event("early", event_id="b"), event("late", event_id="c")]))
    assert empty.users() == ["u", "early", "late"]


def test_hashes_are_the_documented_formula():
    def key(text, what):
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=what).digest(), "little")

    def mixed(x):
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    bits = int.from_bytes(struct.pack("<d", 2.5), "little")
    content = mixed(key("é", b"user"))
    for part in (key("i", b"item"), key("view", b"kind"), bits):
        content = mixed((content + 0x9E3779B97F4A7C15) % 2**64 ^ part)
    table = table_of([event("é", "i", "view", DAY, 2.5), event(event_id="e")])
    hashes = event_hashes(table, coded(table.users), coded(table.items), coded(table.kinds))
    assert hashes.view(np.uint64).tolist() == [content, key("e", b"event")]


EVENTS = st.builds(
    event,
    user=st.sampled_from("abc"),
    item=st.sampled_from("xyz"),
    kind=st.sampled_from(["view", "cart"]),
    time=st.integers(1, 3),
    value=st.sampled_from([1.0, 2.0]),
    event_id=st.one_of(st.none(), st.sampled_from("12")),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(EVENTS, max_size=12), max_size=4), st.integers(1, 5))
def test_appending_is_a_dictionary_by_identity(batches, size):
    with pytest.MonkeyPatch.context() as patch, EventStore.open("sqlite://") as opened:
        patch.setattr(store, "BATCH_ROWS", size)
        kept = {}
        for batch in batches:
            before = len(kept)
            for one in batch:
                identity = one.event_id or (one.user, one.item, one.kind, one.value)
                kept.setdefault((one.timestamp, identity), one)
            accepted = len(kept) - before
            appended = opened.append(table_of(batch))
            assert appended == (accepted, len(batch) - accepted, opened.offset)
        expected = [(one.user, one.item, one.kind, one.microseconds, one.value) for one in kept.values()]
        assert contents(opened) == expected
        assert opened.users() == list(dict.fromkeys(one[0] for one in expected))
        assert opened.items() == list(dict.fromkeys(one[1] for one in expected))


def test_scans_are_chunks_of_the_whole(empty):
    empty.append(table_of([event(time=DAY + n) for n in range(25)]))
    chunks = list(empty.scan(after=3, until=20, chunk=5))
    assert [len(chunk) for chunk in chunks] == [5, 5, 5, 2]
    assert np.concatenate([chunk.offsets for chunk in chunks]).tolist() == list(range(4, 21))
    assert empty.read(after=20, limit=3).offsets.tolist() == [21, 22, 23]


def test_a_scan_that_has_reached_its_end_does_not_ask_once_more(empty, monkeypatch):
    empty.append(table_of([event(time=DAY + n) for n in range(6)]))
    read, asked = empty.read, []
    monkeypatch.setattr(empty, "read", lambda *arguments: asked.append(arguments) or read(*arguments))
    assert [len(chunk) for chunk in empty.scan(chunk=3)] == [3, 3]
    assert len(asked) == 2


def test_a_scan_ends_where_the_log_ended_when_it_began(empty):
    empty.append(table_of([event(time=DAY + n) for n in range(4)]))
    seen = 0
    for chunk in empty.scan(chunk=1):
        seen += len(chunk)
        empty.append(table_of([event(time=2 * DAY + seen)]))
    assert seen == 4


def test_the_catalogue_keeps_versions_and_no_repeats(empty):
    empty.append(table_of([event(item="seen")]))
    first, second = Item("seen", "Mug", "A mug", {"price": 2.5, "é": None}), Item("unseen", "Cup")
    assert empty.upsert_items([first, second, second]) == (2, 0, 1)
    assert empty.upsert_items([first, second]) == (0, 0, 2)
    changed = Item("seen", "Mug", "A red mug", {"é": None, "price": 2.5})
    assert empty.upsert_items([changed, changed, first]) == (0, 2, 1)
    rows = empty.catalogue()
    assert [(row.number, row.item) for row in rows] == [(0, first), (1, second), (0, changed), (0, first)]
    assert [row.seq for row in empty.catalogue(after=2)] == [3, 4]
    assert [row.seq for row in empty.catalogue(after=1, until=3)] == [2, 3]
    assert (empty.catalogue_offset, empty.counts()) == (4, (1, 1, 2, 2))
    assert empty.append(table_of([event(item="later"), event(item="unseen")])).accepted == 2
    assert empty.items() == ["seen", "unseen", "later"]


def test_many_items_go_in_batches(empty):
    items = [Item(f"{n}", f"title {n}") for n in range(1_200)]
    assert empty.upsert_items(iter(items)) == (1_200, 0, 0)
    assert empty.upsert_items(items) == (0, 0, 1_200)
    assert [row.item for row in empty.catalogue()] == items


def test_users_keep_their_attributes(empty):
    empty.append(table_of([event("old")]))
    assert empty.upsert_users([("new", {}), ("old", {"a": 1}), ("new", {"b": 2}), ("new", {"b": 2})]) == (1, 2, 1)
    assert empty.users() == ["old", "new"]
    with pytest.raises(InputError):
        empty.upsert_users([("", {})])
    with pytest.raises(InputError):
        empty.upsert_users([("u", {"a": [1]})])


def test_a_store_is_the_same_after_closing(tmp_path):
    strange = tmp_path / "a b?%20#é"
    strange.mkdir()
    with EventStore.open(URL, directory=strange) as opened:
        opened.append(table_of(DIFFERENT))
        before = contents(opened)
    assert not list(strange.glob("*-wal"))
    with EventStore.open(URL, directory=strange) as opened:
        assert contents(opened) == before
        assert opened.append(table_of([*DIFFERENT, event("w")]))[:2] == (1, len(DIFFERENT))


def test_two_stores_on_one_file_agree_on_numbers(tmp_path):
    with EventStore.open(URL, directory=tmp_path) as one, EventStore.open(URL, directory=tmp_path) as other:
        for n, opened in enumerate([one, other, one, other]):
            opened.append(table_of([event(f"u{n}", f"i{n % 2}", time=DAY + n), event("u0", time=DAY + n)]))
            opened.upsert_items([Item(f"c{n}")])
        assert one.users() == other.users() == ["u0", "u1", "u2", "u3"]
        assert one.read().users.tolist() == [0, 0, 1, 0, 2, 0, 3, 0]
        assert contents(one) == contents(other)


def test_readers_do_not_wait_for_a_writer(tmp_path):
    with EventStore.open(URL, directory=tmp_path) as opened:
        opened.append(table_of([event()]))
        with database.Database.open(URL, tmp_path).writing() as connection:
            connection.exec_driver_sql("DELETE FROM events")
            assert len(opened.read()) == opened.counts().events == 1


def test_threads_may_share_a_store(empty):
    tables = [table_of([event(f"u{n % 7}", f"i{n}", time=DAY + n) for n in range(k, 200, 4)]) for k in range(4)]
    failures = []

    def work(table):
        try:
            for _ in range(3):
                empty.append(table)
                empty.read()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert empty.counts()[:3] == (200, 7, 200)
    assert sorted(empty.read().users.tolist()) == sorted(empty.users().index(f"u{n % 7}") for n in range(200))


def test_an_append_that_fails_leaves_nothing_and_can_be_repeated(tmp_path, monkeypatch):
    with EventStore.open(URL, directory=tmp_path) as opened:
        monkeypatch.setattr(store, "_INSERT_EVENT", "INSERT INTO nowhere VALUES (?, ?, ?, ?, ?, ?)")
        with pytest.raises(StoreError):
            opened.append(table_of([event()]))
        monkeypatch.undo()
        assert opened.counts() == (0, 0, 0, 0)
        assert opened.append(table_of([event("v")])).accepted == 1
        assert opened.users() == ["v"]


@pytest.mark.parametrize("url", ["", "events.db", "mysql://x/y", "postgresql://x/y"])
def test_other_urls_are_refused(url):
    with pytest.raises(StoreError, match="URL"):
        EventStore.open(url)


def test_files_that_are_no_stores_are_refused(tmp_path):
    (tmp_path / "events.db").write_bytes(b"not a database at all" * 1_000)
    with pytest.raises(StoreError, match="not a database"):
        EventStore.open(URL, directory=tmp_path)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(StoreError, match="other tables"):
        EventStore.open("sqlite:///other.db", directory=tmp_path)
    with pytest.raises(StoreError, match="no directory"):
        EventStore.open("sqlite:///missing/events.db", directory=tmp_path)


def test_a_store_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "SCHEMA_VERSION", "0")
    EventStore.open(URL, directory=tmp_path).close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="schema 0"):
        EventStore.open(URL, directory=tmp_path)


def test_a_writer_that_holds_its_turn_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WRITER_PATIENCE", 0.05)
    with (
        EventStore.open(URL, directory=tmp_path) as opened,
        database.Database.open(URL, tmp_path).writing(),
        pytest.raises(StoreError, match="no turn"),
    ):
        opened.append(table_of([event()]))


def test_a_full_disk_is_a_store_error_and_loses_nothing(tmp_path):
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from graphrec.errors import StoreError\n"
        "from graphrec.events.event import Event, table_of\n"
        "from graphrec.events.store import EventStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with EventStore.open('sqlite:///events.db', directory=Path(sys.argv[1])) as store:\n"
        "    store.append(table_of([Event('u', 'i', timestamp=1)]))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        store.append(table_of([Event(f'u{n}', 'i', timestamp=1 + n) for n in range(5000)]))\n"
        "    except StoreError:\n"
        "        print(store.offset)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "    print(store.append(table_of([Event('v', 'i', timestamp=1)])).accepted)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (ran.stdout.split(), ran.stderr) == (["1", "1"], "")


INGEST = """
import sys
from pathlib import Path
from graphrec.events.event import Event, Item, table_of
from graphrec.events.store import EventStore

directory, total = Path(sys.argv[1]), int(sys.argv[2])
with EventStore.open("sqlite:///events.db", directory=directory) as store:
    print(-1, flush=True)
    for first in range(0, total, 20):
        events = [
            Event(f"u{n % 97}", f"i{n * 7 % 53}", timestamp=86_400 + n // 3, event_id=f"e{n}" if n % 2 else None)
            for n in range(first, first + 20)
        ]
        store.append(table_of(events))
        store.upsert_items([Item(events[0].item, f"title {first}")] if first % 100 == 0 else [])
        print(first + 20, flush=True)
"""


def ingest(directory: Path, total: int, kill_after: int | None = None) -> int:
    """Run the ingest in a process; kill it some acknowledgements in. The last acknowledged event."""
    acknowledged = 0
    command = [sys.executable, "-c", INGEST, str(directory), str(total)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            acknowledged = max(acknowledged, int(line))
            if count == kill_after:
                os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == (0 if kill_after is None or count < kill_after else -signal.SIGKILL)
    return acknowledged


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    total, chance = 1_200, random.Random(0)  # when a signal arrives is chance enough
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    killed.mkdir()
    calm.mkdir()
    most = 0
    for kill_after in itertools.chain([0], (chance.randrange(1, 45) for _ in range(5))):
        most = max(most, ingest(killed, total, kill_after))
        with EventStore.open(URL, directory=killed) as opened:
            assert most <= opened.offset <= total
        connection = sqlite3.connect(killed / "events.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    ingest(killed, total)
    ingest(calm, total)
    with EventStore.open(URL, directory=killed) as one, EventStore.open(URL, directory=calm) as other:
        assert contents(one) == contents(other)
        assert one.users() == other.users()
        assert one.counts()[0] == total
        assert {row.number: row.item for row in one.catalogue()} == {row.number: row.item for row in other.catalogue()}


def test_user_attributes_read_back(tmp_path):
    with EventStore.open("sqlite:///events.db", directory=tmp_path) as opened:
        opened.upsert_users([("ann", {"city": "Leeds", "age": 40})])
        assert opened.user_attributes("ann") == {"city": "Leeds", "age": 40}
        opened.upsert_users([("ann", {"city": "York"})])
        assert opened.user_attributes("ann") == {"city": "York"}
        assert opened.user_attributes("nobody") == {}
