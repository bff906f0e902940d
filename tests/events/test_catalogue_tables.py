from __future__ import annotations

import json
import math

import pandas as pd
import pyarrow as pa
import pytest

from graphrec.errors import InputError
from graphrec.events.catalogue_tables import read_items, read_users
from graphrec.events.event import Item


def read(source, reader=read_items, **options):
    chunks = list(reader(source, **options))
    assert all(chunk.rows_read == len(chunk.rows) + len(chunk.rejected) for chunk in chunks)
    return [row for chunk in chunks for row in chunk.rows], [bad.line for chunk in chunks for bad in chunk.rejected]


def test_csv_with_line_ends_in_cells(tmp_path):
    path = tmp_path / "items.csv"
    path.write_bytes(
        b"\xef\xbb\xbfsku,name,description,price\r\n"
        b'1,Mug,"red\nand ""round""",2.5\r\n'
        b"\r\n"
        b"2,Cup,,\r\n"
        b",nameless,,\r\n"
        b"3,short\r\n"
        b"4,bad \xff,,\r\n"
        b'5,"open\r\n'
    )
    items, lines = read(path)
    assert items == [Item("1", "Mug", 'red\nand "round"', {"price": "2.5"}), Item("2", "Cup", "Cup")]
    assert lines == [6, 7, 8, 9]


FRAME = pd.DataFrame(
    {"item_id": [1.0, 2.0, math.nan], "title": ["a", None, "c"], "price": [1.5, math.nan, 1], "n": [1, 2, 3]}
)
ITEMS = [Item("1", "a", "a", {"price": 1.5, "n": 1}), Item("2", "", "", {"n": 2})]


def test_frames_arrow_and_parquet_agree(tmp_path):
    FRAME.to_parquet(tmp_path / "items.parquet")
    for source in (FRAME, pa.Table.from_pandas(FRAME), tmp_path / "items.parquet"):
        assert read(source) == (ITEMS, [3])


def test_json_lines_keep_lists_as_text(tmp_path):
    path = tmp_path / "items.jsonl"
    rows = [{"id": 7, "title": "x", "tags": ["a", "é"], "new": True, "none": None}, {"id": None}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    assert read(path) == ([Item("7", "x", "x", {"tags": '["a", "é"]', "new": True})], [2, 3])


def test_users_share_the_reader():
    frame = pd.DataFrame({"customer": ["a", ""], "country": ["UK", "FR"]})
    assert read(frame, read_users) == ([("a", {"country": "UK"})], [2])


def test_columns_are_chosen_and_doubt_is_an_error(tmp_path):
    frame = pd.DataFrame({"id": ["1"], "item": ["2"], "label": ["t"]})
    with pytest.raises(InputError, match="several columns"):
        read(frame)
    assert read(frame, columns={"id": "item", "title": "label"})[0] == [Item("2", "t", "t", {"id": "1"})]
    for source in (tmp_path / "none.csv", [1, 2]):
        with pytest.raises(InputError):
            read(source)
    with pytest.raises(InputError, match="no column for the id"):
        read(pd.DataFrame({"x": [1]}))
