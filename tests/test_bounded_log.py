"""A log that never grows beyond its size, and gives back what is left of it."""

from __future__ import annotations

from pathlib import Path

from graphrec.bounded_log import BoundedLog


def test_rows_come_back_in_order_from_a_new_folder(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "new" / "rows.jsonl")
    assert list(log.rows()) == []
    assert log.last() is None
    for n in range(5):
        log.append({"n": n, "text": "é"})
    assert [row["n"] for row in log.rows()] == [0, 1, 2, 3, 4]
    assert log.last() == {"n": 4, "text": "é"}


def test_the_oldest_rows_go_and_the_size_holds(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "rows.jsonl", most_bytes=1_000)
    for n in range(500):
        log.append({"n": n})
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000
    kept = [row["n"] for row in log.rows()]
    assert kept == list(range(500 - len(kept), 500))
    assert len(kept) > 40

    everything = BoundedLog(tmp_path / "all.jsonl", most_bytes=None)
    for n in range(500):
        everything.append({"n": n})
    assert len(list(everything.rows())) == 500


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "rows.jsonl")
    log.append({"n": 1})
    with log.path.open("a") as file:
        file.write('{"n": 2, "te\n')
    log.append({"n": 3})
    assert [row["n"] for row in log.rows()] == [1, 3]
