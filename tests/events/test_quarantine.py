from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.events.quarantine import Quarantine, Rejection


def rejection(source="a.csv", line=2, row="u,,5"):
    return Rejection(source, line, "item", "an id", "nothing", row)


def test_what_is_written_is_read_back(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine")
    written = [rejection(), rejection(line=7, row='é"\n\ud800')]
    with quarantine.writing("a.csv") as writer:
        writer.add(written[:1])
        writer.add(written[1:])
    assert list(quarantine.rejections()) == written
    assert quarantine.count() == writer.count == 2


def test_the_newest_rows_are_read_from_the_end_of_a_file(tmp_path):
    quarantine = Quarantine(tmp_path)
    rows = [Rejection("a.csv", line, "user", "text", "nothing", "é" * 20) for line in range(1, 100)]
    with quarantine.writing("a.csv") as writer:
        writer.add(rows)
    path = quarantine.path("a.csv")
    assert quarantine.newest(path, path.stat().st_size) == rows
    found = quarantine.newest(path, 1_000)
    assert 2 <= len(found) < 10
    assert found == rows[-len(found) :]
    path.unlink()
    assert quarantine.newest(path, 1_000) == []


def test_a_source_is_rewritten_and_never_grows(tmp_path):
    quarantine = Quarantine(tmp_path)
    for source in ("x/a.csv", "y/a.csv", "x/a.csv", "x/a.csv"):
        with quarantine.writing(source) as writer:
            writer.add([rejection(source)])
    assert quarantine.count() == len(quarantine.files()) == 2
    with quarantine.writing("x/a.csv"):
        pass
    assert [found.source for found in quarantine.rejections()] == ["y/a.csv"]


def test_an_ingest_that_fails_leaves_what_was_kept(tmp_path):
    quarantine = Quarantine(tmp_path)
    with quarantine.writing("a.csv") as writer:
        writer.add([rejection()])

    def fails():
        with quarantine.writing("a.csv") as writer:
            writer.add([rejection(line=9)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [found.line for found in quarantine.rejections()] == [2]
    assert list(tmp_path.iterdir()) == quarantine.files()


@given(st.text())
def test_any_name_is_a_safe_file_name(source):
    quarantine = Quarantine("/quarantine")
    path = quarantine.path(source)
    assert path.parent == quarantine.path("other").parent
    assert path.name.isascii()
    assert len(path.name) < 100
    assert re.fullmatch(r"\w+-[0-9a-f]{12}\.jsonl", path.name)
