"""Shadow mode: the live answer is what it would be anyway, and the candidate's is written beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import GenerationError, GraphrecError
from graphrec.events.event import Event
from graphrec.recommender import Recommender
from graphrec.shadow import ShadowedRecommender, overlaps, shadow_log


@pytest.fixture
def held(shop: Path, world) -> Path:
    """Generation 1 is live, generation 2 was trained on more and is set aside."""
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:])
        recommender.train()
        recommender.rollback()
    return shop


def test_the_live_answer_is_untouched_and_the_candidates_is_noted(held: Path) -> None:
    with (
        Recommender.open(held) as live,
        Recommender.open(held, generation=2) as candidate,
        ShadowedRecommender.open(held) as shadowed,
    ):
        shadowed.shadow(2)
        for user in ("u1", "u2", "nobody"):
            assert shadowed.recommend(user, 7).to_dict() == live.recommend(user, 7).to_dict()
        rows = list(shadow_log(held).rows())
        assert [row["user"] for row in rows] == ["u1", "u2", "nobody"]
        for row in rows:
            assert row["live"] == {"generation": 1, "items": live.recommend(row["user"], 7).ids()}
            assert row["candidate"]["generation"] == 2
            assert row["candidate"]["items"] == candidate.recommend(row["user"], 7).ids()
        shadowed.shadow(None)
        shadowed.recommend("u1")
        assert len(list(shadow_log(held).rows())) == 3


def test_the_candidate_follows_the_log(held: Path) -> None:
    with ShadowedRecommender.open(held) as shadowed:
        shadowed.shadow(2)
        shadowed.ingest([Event("u1", "i2", "purchase", timestamp=1_710_000_000)])
        shadowed.recommend("u1", 40)
        row = shadow_log(held).last()
        assert row["offset"] == row["candidate"]["offset"] == 901
        assert "i2" not in row["candidate"]["items"]


def test_a_candidate_that_fails_costs_no_answer(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise GraphrecError("the candidate is ill")

    with ShadowedRecommender.open(held) as shadowed:
        shadowed.shadow(2)
        monkeypatch.setattr(shadowed._candidate, "refresh", fails)
        assert len(shadowed.recommend("u1", 5)) == 5
        (summary,) = shadowed.overlap()
        assert (summary.lists, summary.failed) == (0, 1)
        with pytest.raises(GenerationError):
            shadowed.shadow(9)


def test_overlap_is_counted_by_candidate() -> None:
    def row(candidate: int, live: list[str], other: list[str]) -> dict:
        return {"live": {"items": live}, "candidate": {"generation": candidate, "items": other}}

    rows = [row(2, ["a", "b"], ["a", "b"]), row(2, ["a", "b"], ["b", "c"]), row(3, ["a"], ["z"]), row(3, [], [])]
    two, three = overlaps(rows)
    assert (two.candidate, two.lists, two.shared, two.same_first, two.identical) == (2, 2, 0.75, 0.5, 0.5)
    assert (three.candidate, three.shared, three.same_first) == (3, 0.5, 0.5)
    assert overlaps([]) == []


def test_the_command_prints_the_summary(held: Path) -> None:
    runner = CliRunner()
    assert "No list" in runner.invoke(cli.app, ["shadow", str(held)]).stdout
    with ShadowedRecommender.open(held) as shadowed:
        shadowed.shadow(2)
        shadowed.recommend("u1")
    assert "generation 2: 1 lists" in runner.invoke(cli.app, ["shadow", str(held)]).stdout
