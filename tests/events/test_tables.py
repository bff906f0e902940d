from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphrec.config import EventSettings
from graphrec.errors import ConfigError, InputError
from graphrec.events import csv_rows, raw_rows, text_lines
from graphrec.events.event import Event
from graphrec.events.tables import read_events

NOW = 1_700_000_000.0
HEADER = b"user,item,kind,timestamp,value\n"


def read(source, *, columns=None, now=NOW, **changes):
    """Rows as tuples, and rejections as (line, field)."""
    rows, rejected, total = [], [], 0
    for chunk in read_events(source, settings=EventSettings(**changes), columns=columns, now=now):
        table = chunk.table
        ids = [None] * len(table) if table.event_ids is None else table.event_ids.to_pylist()
        columns_ = (table.users.to_pylist(), table.items.to_pylist(), table.kinds.to_pylist())
        rows += list(zip(*columns_, table.timestamps.tolist(), table.values.tolist(), ids, strict=True))
        rejected += chunk.rejected
        total += chunk.rows_read
        assert chunk.rows_read == len(table) + len(chunk.rejected)
    assert total == len(rows) + len(rejected)
    return rows, rejected


def written(tmp_path, content, name="events.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def places(rejected):
    return [(rejection.line, rejection.field) for rejection in rejected]


def test_a_plain_file(tmp_path):
    content = HEADER + b"u1,i1,view,1600000000,2\nu2,i1,cart,2020-09-13 12:26:40.5,\n"
    rows, rejected = read(written(tmp_path, content))
    assert rows == [
        ("u1", "i1", "view", 1_600_000_000_000_000, 2.0, None),
        ("u2", "i1", "cart", 1_600_000_000_500_000, 1.0, None),
    ]
    assert rejected == []


def test_every_bad_field_is_named_once_with_its_line(tmp_path):
    content = HEADER + (
        b"u,i,view,1600000000,1\n"
        b",i,view,1600000000,1\n"
        b"u,,nonsense,1600000000,1\n"
        b"\n"
        b"u,i,nonsense,,1\n"
        b"u,i,,1600000000,1\n"
        b"u,i,view,soon,1\n"
        b"u,i,view,,1\n"
        b"u,i,view,0,1\n"
        b"u,i,view,0x5F5E1000,1\n"
        b"u,i,view,1800000000,1\n"
        b"u,i,view,2020-02-30,1\n"
        b"u,i,view,1600000000,nan\n"
        b"u,i,view,1600000000,1e999\n"
        b"u,i,view,1600000000,many\n"
        b"u,i,view,1600000000\n"
        b"u,i,view,1600000000,1,2\n"
        b'u,i,view,1600000000,"1\n'
        b"u\xff,i,view,1600000000,1\n"
        b"u,i,vi\0ew,1600000000,1\n" + b"u" * 513 + b",i,view,1600000000,1\n"
        b"u,i,view,1600000000,1"
    )
    rows, rejected = read(written(tmp_path, content))
    assert rows == [("u", "i", "view", 1_600_000_000_000_000, 1.0, None)] * 2
    assert places(rejected) == [
        (3, "user"), (4, "item"), (6, "kind"), (7, "kind"), (8, "timestamp"), (9, "timestamp"), (10, "timestamp"),
        (11, "timestamp"), (12, "timestamp"), (13, "timestamp"), (14, "value"), (15, "value"), (16, "value"),
        (17, "row"), (18, "row"), (19, "row"), (20, "user"), (21, "row"), (22, "user"),
    ]  # fmt: skip
    assert rejected[2].expected.startswith("one of view, click")
    assert (rejected[4].got, rejected[4].row) == ("soon", "u,i,view,soon,1")
    assert (rejected[5].got, rejected[0].source) == ("nothing", str(tmp_path / "events.csv"))
    assert all(len(rejection.row) <= 4096 for rejection in rejected)


WHOLE = [b"u,i,view,1600000000,1", b'"u ""1""",i,cart,1600000000,', b"u,i,view,2020-01-01,2"]
TRAPS = [  # arrow reads one row too few, one too many, or something that is not there
    b'u,i,view,1600000000,"1',
    b"u,i,view,1600000000,1\ru,i,view,1600000000,1",
    b"u\0,i,view,1600000000,1",
    b'"u"u,i,view,1600000000,1',
    b"u\xff,i,view,1600000000,1",
]
PIECES = [b"u", b",", b'"', b"\r", b"\0", b"\xff", b"1600000000", b"view", b"\xc3\xa9", b" "]
LINE = st.one_of(
    st.sampled_from([*WHOLE, *TRAPS, b"", b"\r", b" "]), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINE, max_size=8), st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
def test_a_line_is_judged_alone_whatever_surrounds_it(tmp_path_factory, lines, last_end, end):
    path = tmp_path_factory.mktemp("csv") / "events.csv"

    def outcome(some):
        path.write_bytes(HEADER + end.join(some) + (end if last_end else b""))
        rows, rejected = read(path)
        return rows, [(rejection.field, rejection.got) for rejection in rejected], places(rejected)

    together = outcome(lines)
    alone = [outcome([line]) for line in lines]
    assert together[0] == [row for one in alone for row in one[0]]
    assert together[1] == [fault for one in alone for fault in one[1]]
    assert [line for line, _ in together[2]] == [2 + at for at, one in enumerate(alone) for _ in one[2]]


def test_arrow_and_the_csv_module_agree_on_good_files(tmp_path, monkeypatch):
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp", "note"])
        for n in range(500):
            writer.writerow([f'u"{n}', f"i, {n}", 1_600_000_000 + n, "a\tb" if n % 3 else ""])
    quick = read(path)
    assert len(quick[0]) == 500
    monkeypatch.setattr(csv_rows, "_split_fast", lambda *_: None)
    assert read(path) == quick


def test_good_files_never_take_the_slow_way(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_rows, "_split_exactly", None)
    assert len(read(written(tmp_path, HEADER + b'"u,1",i,view,1600000000,1\r\n' * 9))[0]) == 9


def test_blocks_change_nothing(tmp_path, monkeypatch):
    lines = [b"u%d,i%d,view,%d,1" % (n, n % 7, 1_600_000_000 + n) for n in range(300)]
    lines[100] = b"u,i,view,x,1"
    lines[200] = b'u,i,view,"1600000000,1'
    path = written(tmp_path, HEADER + b"\n".join(lines))
    whole = read(path)
    assert places(whole[1]) == [(102, "timestamp"), (202, "row")]
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 100)
    assert read(path) == whole


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("block", [4 << 20, 1000])
def test_a_huge_line_is_one_bad_row(tmp_path, monkeypatch, at, block):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    lines = [b"u,i,view,1600000000,1"] * 2
    lines.insert(at, b"u" * 300_000 + b",i,view,1600000000,1")
    rows, rejected = read(written(tmp_path, HEADER + b"\n".join(lines)))
    assert (len(rows), places(rejected)) == (2, [(2 + at, "row")])
    assert "131,072 bytes" in rejected[0].expected


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.tsv", "E.TSV.gz", "e.jsonl", "e.ndjson.gz", "e.parquet"])
def test_every_format_gives_the_same_events(tmp_path, name):
    frame = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "ProductID": [1, 2, 3],
            "action": ["view", "cart", "what"],
            "ts": [1.6e9, 1.6e9 + 0.25, 1.6e9],
            "quantity": [1, 2, 3],
        }
    )
    path = tmp_path / name
    plain = name.lower().removesuffix(".gz")
    if plain.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        if plain.endswith("sv"):
            text = "\ufeff" + frame.to_csv(
                sep="\t" if plain.endswith("tsv") else ",", index=False, lineterminator="\r\n"
            )
        else:
            text = "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    rows, rejected = read(path)
    assert rows == [
        ("a", "1", "view", 1_600_000_000_000_000, 1.0, None),
        ("b", "2", "cart", 1_600_000_000_250_000, 2.0, None),
    ]
    assert places(rejected) == [(4 if plain.endswith("sv") else 3, "kind")]
    assert "what" in rejected[0].row


def test_json_lines(tmp_path):
    lines = [
        {"user": 17850, "item": 17850.0, "timestamp": "2020-01-01", "event_id": None},
        {"user": "u", "item": 1.5, "timestamp": 1},
        {"user": True, "item": "i", "timestamp": 1},
        {"user": "u", "item": ["i"], "timestamp": 1},
        {"user": "u", "item": "i"},
        {"user": 123456789012345678901234567890, "item": "i", "timestamp": 1600000000123, "value": None},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"user"\n[1]\n\r\n{"user":"\\ud800"}\n'
    rows, rejected = read(written(tmp_path, text.encode(), "e.jsonl"))
    assert rows == [("17850", "17850", "view", 1_577_836_800_000_000, 1.0, None)]
    expected = [
        (2, "item"),
        (3, "user"),
        (4, "item"),
        (5, "timestamp"),
        (6, "timestamp"),
        (7, "row"),
        (8, "row"),
        (10, "row"),
    ]
    assert places(rejected) == expected
    assert rejected[2].got == "['i']"
    assert rejected[6].got == "list"


def test_frames(monkeypatch):
    frame = pd.DataFrame(
        {
            "user": [17850.0, math.nan, 3.5, 4.0],
            "item": ["a", "b", "c", None],
            "timestamp": pd.to_datetime(["2020-01-01"] * 4).tz_localize("Europe/Paris"),
            "value": [math.nan, 1, 1, 1],
        }
    )
    expected = [("17850", "a", "view", 1_577_833_200_000_000, 1.0, None)]
    rows, rejected = read(frame)
    assert (rows, places(rejected)) == (expected, [(2, "user"), (3, "user"), (4, "item")])
    assert rejected[0].source == "DataFrame"
    rows, rejected = read(pa.Table.from_pandas(frame))
    assert (rows, places(rejected)) == (expected, [(2, "user"), (3, "user"), (4, "item")])
    monkeypatch.setattr(raw_rows, "BLOCK_ROWS", 1)
    assert places(read(frame)[1]) == [(2, "user"), (3, "user"), (4, "item")]


def test_frames_of_mixed_columns():
    when = [1_600_000_000, "2020-09-13T12:26:40Z", datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC), b"?"]
    frame = pd.DataFrame({"user": [1, "1", 1.0, None], "item": pd.Categorical(["i"] * 4), "timestamp": when})
    rows, rejected = read(frame)
    assert rows == [("1", "i", "view", 1_600_000_000_000_000, 1.0, None)] * 3
    assert places(rejected) == [(4, "user")]


def test_events_are_a_source():
    good = [Event(f"u{n}", "i", "cart", timestamp=1.5e9, value=n, event_id="e" if n else None) for n in range(2)]
    rows, rejected = read([*good, Event("u", "i", "unheard", timestamp=1), Event("u", "i", timestamp=2e9)])
    assert rows == [
        ("u0", "i", "cart", 1_500_000_000_000_000, 0.0, None),
        ("u1", "i", "cart", 1_500_000_000_000_000, 1.0, "e"),
    ]
    assert places(rejected) == [(3, "kind"), (4, "timestamp")]
    with pytest.raises(InputError, match="Event"):
        read([("u", "i")])
    with pytest.raises(InputError):
        read(7)


@pytest.mark.parametrize(
    ("unit", "cell", "expected"),
    [
        ("s", "1600000000", 1_600_000_000_000_000),
        ("s", "1.6e9", 1_600_000_000_000_000),
        ("s", "1600000000.000001", 1_600_000_000_000_001),
        ("ms", "1600000000123", 1_600_000_000_123_000),
        ("us", "1600000000123456", 1_600_000_000_123_456),
        ("ns", "1600000000123456789", 1_600_000_000_123_456),
        ("ms", "2020-09-13T12:26:40+00:00", 1_600_000_000_000_000),
        ("s", "999999999999999999", None),
        ("s", "9999999999999999999999", None),
        ("s", "-1600000000", None),
        ("s", "nan", None),
        ("s", "inf", None),
        ("s", "1_600_000_000", None),
    ],
)
def test_time_stamps_in_every_unit_and_company(tmp_path, unit, cell, expected):
    for company in ("1500000000" if unit == "s" else "2020-01-01", "2020-01-01T00:00:00Z", "3.5e0", "x"):
        content = f"user,item,timestamp\nu,i,{cell}\nu,i,{company}\n"
        rows, _ = read(written(tmp_path, content.encode()), timestamp_unit=unit)
        assert [row[3] for row in rows][: expected is not None] == ([expected] if expected else [])


def test_the_likely_unit_is_suggested(tmp_path):
    for cell, unit in (("1600000000000", "ms"), ("1600000000000000", "us"), ("1600000000000000000", "ns")):
        _, [rejected] = read(written(tmp_path, f"user,item,timestamp\nu,i,{cell}\n".encode()))
        assert f'timestamp_unit = "{unit}"' in rejected.expected
    _, [rejected] = read(written(tmp_path, b"user,item,timestamp\nu,i,-5\n"))
    assert "timestamp_unit" not in rejected.expected


@pytest.mark.parametrize("late", [0, 1])
def test_the_future_is_refused_beyond_the_tolerance(tmp_path, late):
    path = written(tmp_path, f"user,item,timestamp\nu,i,{int(NOW) + 2 * 86_400 + late}\n".encode())
    assert len(read(path, max_future_days=2)[0]) == 1 - late


def test_event_ids(tmp_path):
    content = b"user,item,timestamp,event_id\nu,i,1600000000,e\nu,i,1600000000,\nu,i,1600000000," + b"x" * 513 + b"\n"
    rows, rejected = read(written(tmp_path, content))
    assert [row[5] for row in rows] == ["e", None]
    assert places(rejected) == [(4, "event_id")]
    rows, rejected = read(pd.DataFrame({"user": "u", "item": "i", "ts": 1, "event_id": [1.0, math.nan, 1.5]}))
    assert ([row[5] for row in rows], places(rejected)) == (["1", None], [(3, "event_id")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"who,what,when\n1,2,3\n", "--column user=NAME --column item=NAME --column timestamp=NAME"),
        (b"user,item,date,time\n", "several columns that could be the timestamp"),
        (b"user,user,item,timestamp\n", "two columns of one name"),
        (b"\xff\xfeu\0,\n", "header"),
        (b'user,item,"timestamp\n', "header"),
    ],
)
def test_a_file_that_cannot_be_read_at_all(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, content))


def test_sources_that_are_not_there_or_not_tables(tmp_path):
    for name in ("missing.csv", "events.xlsx"):
        with pytest.raises(InputError):
            read(tmp_path / name)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="directory"):
        read(tmp_path / "folder.csv")
    cut = gzip.compress(HEADER * 1000)[:-20]
    with pytest.raises(InputError, match="cannot read"):
        read(written(tmp_path, cut, "cut.csv.gz"))
    with pytest.raises(InputError, match="Parquet"):
        read(written(tmp_path, b"PAR1 and nothing else", "cut.parquet"))


def test_a_header_alone_is_no_rows(tmp_path):
    assert read(written(tmp_path, HEADER)) == ([], [])
    assert read(written(tmp_path, HEADER.strip())) == ([], [])


def test_columns_are_chosen(tmp_path):
    path = written(tmp_path, b"who,item,time,date,x\nu,i,1600000000,never,7\n")
    for chosen in ({"user": "who", "timestamp": "time"}, {"user": "who", "timestamp": "time", "value": "x"}):
        [row], _ = read(path, columns=chosen)
        assert row[4] == (7.0 if "value" in chosen else 1.0)
    with pytest.raises(InputError, match="no column 'nobody'"):
        read(path, columns={"user": "nobody"})
    with pytest.raises(InputError, match="no field 'buyer'"):
        read(path, columns={"buyer": "who"})


def test_columns_of_the_settings_yield_to_the_argument(tmp_path):
    path = written(tmp_path, b"a,b,item,ts\nu1,u2,i,1600000000\n")
    by_settings = EventSettings(columns={"user": "a"})
    for columns, user in ((None, "u1"), ({"user": "b"}, "u2")):
        [chunk] = read_events(path, settings=by_settings, columns=columns, now=NOW)
        assert chunk.table.users.to_pylist() == [user]


def test_a_default_kind_must_be_a_kind(tmp_path):
    with pytest.raises(ConfigError, match="default_kind"):
        read(written(tmp_path, HEADER), default_kind="glance")


def test_columns_of_hopeless_types_are_input_errors(tmp_path):
    good = {"user": pa.array(["u"]), "item": pa.array(["i"]), "timestamp": pa.array([1])}
    for field, column in (
        ("user", [["a"]]),
        ("item", [True]),
        ("timestamp", [True]),
        ("value", [b"1"]),
        ("user", [datetime(2020, 1, 1)]),
    ):
        with pytest.raises(InputError, match=f"the {field} column has the wrong type"):
            read(pa.table({**good, field: pa.array(column)}))


def test_numbers_that_are_no_times():
    cells = [math.nan, math.inf, 1e300, None, 1.6e9]
    rows, rejected = read(pa.table({"user": ["u"] * 5, "item": ["i"] * 5, "timestamp": pa.array(cells)}))
    assert [row[3] for row in rows] == [1_600_000_000_000_000]
    assert places(rejected) == [(line, "timestamp") for line in (1, 2, 3, 4)]


def test_parquet_of_unusual_types(tmp_path):
    table = pa.table(
        {
            "user": pa.array([b"u", b"\xff"]),
            "item": pa.array(["i", "i"]).dictionary_encode(),
            "timestamp": pa.array([datetime(2020, 1, 1), datetime(2020, 1, 1)], pa.timestamp("ns")),
            "value": pa.array([1, None], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    rows, rejected = read(tmp_path / "e.parquet")
    assert rows == [("u", "i", "view", 1_577_836_800_000_000, 1.0, None)]
    assert places(rejected) == [(2, "user")]


def test_damaged_parquet_never_crashes(tmp_path):
    buffer = io.BytesIO()
    pq.write_table(pa.table({"user": ["u"] * 50, "item": ["i"] * 50, "ts": [1] * 50}), buffer)
    whole, rng = buffer.getvalue(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(InputError):
            read(written(tmp_path, bytes(damaged), "e.parquet"))


def test_reading_needs_no_heavy_library():
    code = (
        "import sys, graphrec.events.tables, graphrec.events.store, graphrec.events.catalogue_tables\n"
        "print([m for m in ('torch', 'pandas', 'transformers', 'faiss', 'scipy', 'networkx') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_parquet_file_of_many_row_groups_is_read_in_constant_memory(tmp_path):
    path, rows = tmp_path / "events.parquet", 20_000
    users = pa.array([f"user {number:032d}" for number in range(rows)])
    table = pa.table({"user": users, "item": users, "timestamp": pa.array(np.arange(rows) + 1_700_000_000)})
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(20):
            writer.write_table(table)
    before, held = pa.total_allocated_bytes(), []
    for chunk in read_events(path, settings=EventSettings(), now=2e9):
        assert chunk.rows_read == len(chunk.table)
        held.append(pa.total_allocated_bytes() - before)
    assert held[-1] < 0.5 * path.stat().st_size
