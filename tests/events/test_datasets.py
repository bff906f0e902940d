from __future__ import annotations

from pathlib import Path

import pytest

from graphrec.config import EventSettings
from graphrec.errors import InputError
from graphrec.events.catalogue_tables import read_items
from graphrec.events.datasets import lightgcn_pairs, online_retail
from graphrec.events.store import EventStore
from graphrec.events.tables import read_events

DATA = Path(__file__).parents[2] / "data"


def test_the_shipped_sample_reads_without_a_rejection():
    files = online_retail(DATA)
    assert sum(path.stat().st_size for path in files) < 1_400_000
    with EventStore.open("sqlite://") as store:
        for chunk in read_events(files.events, settings=EventSettings(), now=1.4e9):
            assert chunk.rejected == []
            store.append(chunk.table)
        for chunk in read_items(files.items):
            assert chunk.rejected == []
            store.upsert_items(chunk.rows)
        assert store.counts() == (404_909 - 5_267, 4_363, 3_830, 3_830)
        assert store.kinds() == ["purchase", "return"]
        mug = next(row.item for row in store.catalogue() if row.item.id == "22423")
        assert mug.title == "REGENCY CAKESTAND 3 TIER"
        assert mug.attributes["price"] > 0


def test_a_missing_sample_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="way out"):
        online_retail(tmp_path)


def test_lightgcn_lines_become_pairs(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("0 5 3\n1\n\n7 0\n")
    pairs = lightgcn_pairs(path)
    assert list(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True)) == [(0, 5), (0, 3), (7, 0)]


@pytest.mark.parametrize("text", ["0 x\n", "0 -1\n", "0 99999999999\n", "0 \xe9\n"])
def test_a_damaged_lightgcn_file_is_an_input_error(tmp_path, text):
    path = tmp_path / "train.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"train\.txt"):
        lightgcn_pairs(path)
