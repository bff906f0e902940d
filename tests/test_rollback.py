"""Returning to an older generation: the lists it gave, byte for byte; nothing newer comes back by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from graphrec import cli
from graphrec.errors import GenerationError
from graphrec.events.event import Event
from graphrec.recommender import Recommender


def lists(recommender: Recommender) -> bytes:
    """Every user's answer with scores, reasons and provenance."""
    return json.dumps([recommender.recommend(user, 10).to_dict() for user in recommender.users]).encode()


@pytest.fixture
def two(shop: Path, world) -> tuple[Path, bytes]:
    """A workspace whose second generation is live, and what the first answered at the same offset."""
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:])
    with Recommender.open(shop) as recommender:
        before = lists(recommender)
        recommender.train()
        assert recommender.generation == 2
        assert lists(recommender) != before
    return shop, before


def test_the_lists_are_those_it_gave_byte_for_byte(two: tuple[Path, bytes]) -> None:
    shop, before = two
    with Recommender.open(shop) as recommender:
        assert recommender.rollback().number == 1
        assert recommender.generation == 1
        assert lists(recommender) == before
    with Recommender.open(shop) as reopened:
        assert lists(reopened) == before


def test_a_running_process_follows_and_loses_no_event(two: tuple[Path, bytes], world) -> None:
    shop, _ = two
    with Recommender.open(shop) as running, Recommender.open(shop) as person:
        person.rollback(1)
        running.ingest([Event("u1", "i2", "purchase", timestamp=1_710_000_000)])
        assert (running.generation, running.offset) == (1, 901)
        assert "i2" not in running.recommend("u1", 40).ids()


def test_what_was_rolled_back_stays_away_and_its_number_too(two: tuple[Path, bytes], tmp_path: Path) -> None:
    shop, _ = two
    with Recommender.open(shop) as recommender:
        recommender.rollback()
    copy = Path(shutil.copytree(shop, tmp_path / "copy"))
    (copy / "CURRENT").unlink()
    with Recommender.open(copy) as recommender:
        assert recommender.generation == 1
    with Recommender.open(shop) as recommender:
        assert recommender.rebuild().generation == 3
    (shop / "generations" / "000003" / "index.faiss").write_bytes(b"damaged")
    with Recommender.open(shop) as recommender:
        assert recommender.generation == 1  # not 2, which is older than 3 but was rolled back
        assert recommender.publish(2).number == 2
        assert recommender.generation == 2


def test_there_must_be_an_older_one_and_a_good_one(two: tuple[Path, bytes]) -> None:
    shop, _ = two
    with Recommender.open(shop) as recommender:
        for number in (2, 9):
            with pytest.raises(GenerationError, match="no such generation"):
                recommender.rollback(number)
        (shop / "generations" / "000001" / "index.faiss").write_bytes(b"damaged")
        with pytest.raises(GenerationError, match="missing or altered"):
            recommender.rollback(1)
        with pytest.raises(GenerationError, match="no such generation"):
            recommender.rollback()
        assert recommender.generation == 2


def test_pruning_leaves_room_for_good_ones_beside_those_set_aside(two: tuple[Path, bytes]) -> None:
    shop, _ = two
    with Recommender.open(shop) as recommender:
        for _ in range(2):
            recommender.rebuild()
        generations = recommender._generations
        recommender.rollback(2)
        assert generations.prune(1) == [1, 3]
        assert generations.numbers() == [2, 4]  # 4 so that its number is not given again
        assert recommender.rebuild().generation == 5


def test_a_generation_can_be_asked_without_being_live(two: tuple[Path, bytes]) -> None:
    shop, before = two
    with Recommender.open(shop, generation=1) as pinned:
        assert pinned.generation == 1
        assert lists(pinned) == before
        pinned.refresh()
        assert pinned.generation == 1
        with pytest.raises(GenerationError, match="one generation"):
            pinned.rebuild()
    with pytest.raises(GenerationError):
        Recommender.open(shop, generation=9)


def test_the_command_line_returns_and_goes_on(two: tuple[Path, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    shop, before = two
    runner = CliRunner()
    found = json.loads(runner.invoke(cli.app, ["rollback", str(shop), "--json"]).stdout)
    assert found["generation"] == 1
    with Recommender.open(shop) as recommender:
        assert lists(recommender) == before
    assert "Generation 2 is live" in runner.invoke(cli.app, ["publish", str(shop), "2"]).stdout
    assert isinstance(runner.invoke(cli.app, ["rollback", str(shop), "5"]).exception, GenerationError)
