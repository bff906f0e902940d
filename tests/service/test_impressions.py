from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from graphrec.service import impressions as module
from graphrec.service.impressions import Impressions, Outcome, Shown

NOW = 1_700_000_000.0


def shown(name: str, generation: int | None = 1, at: float = NOW, question: str = "recommend") -> Shown:
    return Shown(name, at, question, "u", generation, 7, ("i1", "i2"))


def test_rates_are_of_lists_by_generation_and_question(tmp_path: Path) -> None:
    kept = Impressions(tmp_path, days=30)
    for one in (shown("a"), shown("b"), shown("c", 2), shown("d", None), shown("e", 1, question="similar")):
        kept.show(one)
    kept.choose([Outcome("a", "i1", "click", NOW), Outcome("a", "i2", "click", NOW), Outcome("a", "i1", "click", NOW)])
    kept.choose(
        [Outcome("a", "i1", "purchase", NOW), Outcome("c", "i1", "click", NOW), Outcome("x", "i1", "click", NOW)]
    )
    rates = {(rate.generation, rate.question): rate for rate in kept.rates()}
    assert rates[1, "recommend"].lists == 2
    assert (rates[1, "recommend"].ctr, rates[1, "recommend"].cvr) == (0.5, 0.5)
    assert rates[1, "recommend"].chosen == {"click": 1, "purchase": 1}
    assert (rates[2, "recommend"].ctr, rates[2, "recommend"].cvr) == (1.0, 0.0)
    assert rates[module.UNTRAINED, "recommend"].lists == 1
    assert rates[1, "similar"].ctr == 0


def test_a_list_is_found_before_it_is_written_and_by_the_next_process(tmp_path: Path) -> None:
    with Impressions(tmp_path, days=30) as kept:
        kept.show(shown("a", None))
        assert kept.find("a") == shown("a", None)
        kept.write()
        assert kept.find("a") == shown("a", None)
        kept.show(shown("b"))
    again = Impressions(tmp_path, days=30)
    assert again.find("b") == shown("b")
    assert again.find("c") is None


def test_too_many_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 2)
    kept = Impressions(tmp_path, days=30)
    for name in "abc":
        kept.show(shown(name))
    assert kept.dropped == 1
    assert kept.find("c") is None


def test_what_cannot_be_written_is_dropped_and_the_next_is_kept(tmp_path: Path) -> None:
    kept = Impressions(tmp_path, days=30)
    kept._connection.execute("ALTER TABLE outcomes RENAME TO elsewhere")
    kept.show(shown("a"))
    kept.choose([Outcome("a", "i1", "click", NOW)])
    with pytest.raises(sqlite3.Error):
        kept.write()
    assert kept.dropped == 2
    assert kept.find("a") is None
    kept._connection.execute("ALTER TABLE elsewhere RENAME TO outcomes")
    kept.show(shown("b"))
    kept.write()
    assert kept.find("b") == shown("b")


def test_old_lists_go_with_their_outcomes(tmp_path: Path) -> None:
    kept = Impressions(tmp_path, days=30)
    kept.show(shown("old", at=NOW - 10))
    kept.show(shown("new"))
    kept.choose([Outcome(name, "i1", "click", NOW) for name in ("old", "new")])
    kept.write()
    kept._prune(NOW - 5)
    assert kept.find("old") is None
    assert [(rate.lists, rate.ctr) for rate in kept.rates()] == [(1, 1.0)]
