"""The recommender from outside: what it answers, what it refuses, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graphrec.errors import GenerationError, InputError, NotTrainedError, UnknownItemError
from graphrec.events.event import Event
from graphrec.generation import Generations
from graphrec.recommender import Recommender
from graphrec.workspace import Workspace

ROOT = Path(__file__).parents[1]
LATE = 1_710_000_000  # after everything in the world


@pytest.fixture
def recommender(shop: Path) -> Iterator[Recommender]:
    with Recommender.open(shop) as opened:
        yield opened


@pytest.fixture
def fresh(tmp_path: Path, world, word_encoder) -> Iterator[Recommender]:
    """An empty workspace that would train in no time."""
    Workspace.create(tmp_path / "fresh")
    (tmp_path / "fresh" / "graphrec.toml").write_text(world.settings)
    with Recommender.open(tmp_path / "fresh") as opened:
        yield opened


def group(ids: list[str]) -> float:
    """Share of odd items."""
    return float(np.mean([int(key.removeprefix("i")) % 2 for key in ids]))


# -- recommend --------------------------------------------------------------------------------------------------------


def test_taste_is_found(recommender: Recommender) -> None:
    shares = [abs(group(recommender.recommend(f"u{n}", 5).ids()) - (n + 1) % 2) for n in range(60)]
    assert np.mean(shares) > 0.7


def test_what_was_seen_is_never_shown_unless_asked_for(recommender: Recommender) -> None:
    graph = recommender.graph
    shown_again = 0
    for number, user in enumerate(recommender.users):
        seen = set(recommender.items.keys(graph.user_row(number)[0]))
        assert not seen & set(recommender.recommend(user, 40).ids())
        shown_again += len(seen & set(recommender.recommend(user, 10, include_seen=True).ids()))
    assert shown_again > 60


def test_excluded_items_are_not_shown(recommender: Recommender) -> None:
    before = recommender.recommend("u1", 5).ids()
    after = recommender.recommend("u1", 5, exclude=[before[0], before[3], "nobody knows this"]).ids()
    assert not {before[0], before[3]} & set(after)
    assert {before[1], before[2]} <= set(after)
    assert not set(after) & {before[0], before[3]}


def test_a_list_says_where_it_comes_from(recommender: Recommender) -> None:
    found = recommender.recommend("u1", 3)
    assert (found.user, found.personal, found.generation, found.offset, found.note) == ("u1", True, 1, 700, "")
    assert len(found) == 3
    assert [found[place].score for place in range(3)] == sorted((item.score for item in found), reverse=True)
    assert {source for item in recommender.recommend("u1", 10) for source in item.sources} == {
        "graphsage",
        "graph filter",
        "popular",
        "recent taste",
    }
    assert found[0].title.split()[1] == found[0].item.removeprefix("i")
    assert json.loads(json.dumps(found.to_dict()))["items"][0]["item"] == found[0].item


def test_reasons_name_items_the_user_has(recommender: Recommender) -> None:
    graph, items = recommender.graph, recommender.items
    paths = 0
    for user in ("u1", "u2", "u3"):
        had = set(items.keys(graph.user_row(recommender.users.number(user))[0]))
        for found in recommender.recommend(user, 5):
            assert 1 <= len(found.reasons) <= 2
            for reason in found.reasons:
                if reason.item is None:
                    assert "recently popular" in reason.text
                    continue
                paths += 1
                assert reason.item in had
                assert recommender.title(reason.item) in reason.text
                both = set(graph.item_row(items.number(found.item))) & set(graph.item_row(items.number(reason.item)))
                assert reason.witnesses == len(both - {recommender.users.number(user)})
                assert f"{reason.witnesses} other user" in reason.text
    assert paths > 10
    assert all(found.reasons == () for found in recommender.recommend("u1", 5, reasons=False))


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(recommender: Recommender) -> None:
    found = recommender.recommend("nobody", 3)
    assert (found.personal, found.note) == (False, "unknown user: recently popular items")
    assert {item.sources for item in found} == {("popular",)}
    ranks = [recommender.explain("nobody", key).popularity_rank for key in found.ids()]
    assert ranks == [1, 2, 3]
    assert "nobody" not in recommender.users


def test_a_user_who_gave_everything_back(recommender: Recommender) -> None:
    bought = Event("regret", "i1", "purchase", timestamp=LATE)
    recommender.ingest([bought])
    assert recommender.recommend("regret", 3).personal
    recommender.ingest([replace(bought, kind="return", timestamp=LATE + 1)])
    found = recommender.recommend("regret", 3)
    assert (found.personal, found.note) == (False, "no history: recently popular items")
    assert "i1" not in found.ids()
    assert not recommender.user_vector("regret").any()
    recommender.ingest([Event("only returns", "i1", "return", timestamp=LATE)])
    assert recommender.recommend("only returns", 3).note == "no history: recently popular items"


def test_fewer_than_asked_for_is_said(recommender: Recommender) -> None:
    found = recommender.recommend("u1", 1000)
    assert 10 < len(found) < 40
    assert found.note == f"{len(found)} of the 1000 asked for qualify"
    assert recommender.recommend("u1", len(found) + 1).note == f"{len(found)} of the {len(found) + 1} asked for qualify"
    assert recommender.recommend("u1", len(found)).note == ""
    assert recommender.recommend("u1", 3, exclude=list(recommender.items)).note == "0 of the 3 asked for qualify"


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_has_a_length(recommender: Recommender, k: int) -> None:
    for ask in (
        lambda: recommender.recommend("u1", k),
        lambda: recommender.similar("i1", k),
        lambda: recommender.search("mug", k),
    ):
        with pytest.raises(InputError, match="at least 1"):
            ask()


def test_an_id_is_text(recommender: Recommender) -> None:
    for ask in (
        lambda: recommender.recommend(17850),  # type: ignore[arg-type]
        lambda: recommender.similar(22423),  # type: ignore[arg-type]
        lambda: recommender.explain("u1", 22423),  # type: ignore[arg-type]
        lambda: recommender.user_vector(17850),  # type: ignore[arg-type]
    ):
        with pytest.raises(InputError, match=r"is text[\s\S]*(17850|22423) \(int\)"):
            ask()


# -- similar, search, explain -----------------------------------------------------------------------------------------


def test_similar_is_the_cosine_of_the_vectors(recommender: Recommender) -> None:
    ids, vectors = recommender.item_vectors()
    found = recommender.similar("i4", 39)
    cosines = dict(zip(ids, vectors @ vectors[ids.index("i4")], strict=True))
    del cosines["i4"]
    assert {item.item: item.score for item in found} == pytest.approx(cosines, abs=1e-5)
    assert [item.score for item in found] == pytest.approx(sorted(cosines.values(), reverse=True), abs=1e-6)
    assert group(found.ids()[:10]) < 0.3
    assert not found.personal


def test_search_reads_texts_and_taste_only_tips_the_balance(recommender: Recommender) -> None:
    found = recommender.search("coffee mug", 10)
    assert group(found.ids()) == 1
    assert recommender.search("blue kitchen coffee mug number 7").ids()[0] == "i7"
    for user in ("u1", "u2"):  # the one has a taste for mugs, the other for pots
        personal = recommender.search("coffee mug", 10, user=user)
        assert personal.personal
        assert group(personal.ids()) == 1
        assert personal.ids() != found.ids()
    stranger = recommender.search("coffee mug", 10, user="nobody")
    assert (stranger.ids(), stranger.personal) == (found.ids(), False)
    with pytest.raises(InputError, match="nothing to search for"):
        recommender.search("  ")


def test_search_sees_new_and_changed_texts_at_once(recommender: Recommender) -> None:
    assert recommender.search("velvet").ids()[0] not in ("i5", "new")
    recommender.ingest(items=pd.DataFrame({"id": ["new", "i5"], "title": ["velvet", "a velvet thing"]}))
    assert recommender.search("velvet").ids()[:2] == ["new", "i5"]


def test_explain_shows_paths_and_where_the_item_stands(recommender: Recommender) -> None:
    item = recommender.recommend("u1", 1)[0].item
    found = recommender.explain("u1", item)
    ids, vectors = recommender.item_vectors()
    assert found.cosine == pytest.approx(float(recommender.user_vector("u1") @ vectors[ids.index(item)]), abs=1e-5)
    assert len(found.reasons) > 2
    assert found.title == recommender.title(item)
    assert 1 <= found.popularity_rank <= 40
    stranger = recommender.explain("nobody", item)
    assert stranger.cosine is None
    assert all(reason.item is None for reason in stranger.reasons)


def test_unknown_items_are_errors(recommender: Recommender) -> None:
    for ask in (
        lambda: recommender.similar("no such"),
        lambda: recommender.explain("u1", "no such"),
        lambda: recommender.title("no such"),
    ):
        with pytest.raises(UnknownItemError, match="no such"):
            ask()


def test_before_training(fresh: Recommender, world) -> None:
    assert fresh.recommend("u1").note == "unknown user: recently popular items; 0 of the 10 asked for qualify"
    assert fresh.search("mug").note == "no item has a text"
    fresh.ingest(world.events[:300], items=pd.DataFrame({"id": ["i1", "i2"], "title": ["a mug", "a pot"]}))
    found = fresh.recommend("u1", 5)
    assert (found.generation, found.personal, len(found)) == (None, True, 5)
    assert fresh.search("mug").ids()[0] == "i1"
    assert fresh.search("mug", user="u1").personal is False
    assert fresh.explain("u1", "i1").cosine is None
    for ask in (
        lambda: fresh.similar("i1"),
        lambda: fresh.item_vectors(),
        lambda: fresh.user_vector("u1"),
        lambda: fresh.rebuild(),
    ):
        with pytest.raises(NotTrainedError, match="graphrec train"):
            ask()


# -- vectors ----------------------------------------------------------------------------------------------------------


def test_vectors_have_length_one_and_are_what_the_index_holds(recommender: Recommender) -> None:
    ids, vectors = recommender.item_vectors()
    assert ids == list(recommender.items)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    index, model = recommender.retriever.index, recommender.retriever.model
    assert index is not None
    assert model is not None
    np.testing.assert_allclose(index.rows[:, :-1], vectors, atol=1e-6)
    for user in ("u1", "u2", "u59"):
        vector = recommender.user_vector(user)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
        candidates = recommender.retriever.candidates(recommender.users.number(user), np.zeros(0, np.int32))
        np.testing.assert_allclose(candidates.cosine, vectors[candidates.numbers] @ vector, atol=1e-5)
        scores = model.scale * candidates.cosine + index.rows[candidates.numbers, -1]
        np.testing.assert_allclose(candidates.score, scores, atol=1e-4)
    vectors[:] = 0
    assert recommender.item_vectors()[1].any()


def test_an_event_counts_in_the_next_answer(recommender: Recommender) -> None:
    before = recommender.user_vector("u1")
    report = recommender.ingest([Event("u1", "i2", "purchase", timestamp=LATE), Event("new", "i2", timestamp=LATE)])
    assert (report.read, report.accepted, report.offset) == (2, 2, 702)
    assert recommender.offset == 702
    assert np.abs(recommender.user_vector("u1") - before).max() > 1e-3
    assert "i2" not in recommender.recommend("u1", 40).ids()
    assert recommender.recommend("new", 3).personal


# -- ingest -----------------------------------------------------------------------------------------------------------


def frame(world, first: int, last: int) -> pd.DataFrame:
    rows = [(e.user, e.item, e.kind, float(e.timestamp), e.value) for e in world.events[first:last]]
    return pd.DataFrame(rows, columns=["user", "item", "kind", "timestamp", "value"])


def test_a_bad_row_goes_to_the_quarantine_and_nothing_else_is_lost(recommender: Recommender, world) -> None:
    table = frame(world, 700, 720)
    table.loc[3, "value"] = np.nan  # nothing given: 1
    table.loc[5, "value"] = np.inf
    table.loc[7, "timestamp"] = 4e9
    table.loc[11, "user"] = None
    table.loc[13, "kind"] = "stare"
    items = pd.DataFrame({"id": ["i1", None], "title": ["a title", "of nothing"]})
    report = recommender.ingest(table, items=items)
    assert (report.read, report.accepted, report.duplicates, report.quarantined) == (20, 16, 0, 4)
    assert (report.items.accepted, report.items.quarantined) == (1, 1)
    kept = list(recommender.workspace.quarantine.rejections())
    assert sorted((row.line, row.field) for row in kept if row.field != "no id") == [
        (6, "value"),
        (8, "timestamp"),
        (12, "user"),
        (14, "kind"),
    ]
    assert [row.line for row in kept if row.field == "no id"] == [2]
    assert len(report.quarantine) == 2
    assert all(Path(path).is_file() for path in report.quarantine)
    assert recommender.status().quarantined == 5

    again = recommender.ingest(table, items=items)
    assert (again.accepted, again.duplicates, again.quarantined) == (0, 16, 4)
    assert recommender.status().quarantined == 5
    assert recommender.offset == 716


def test_ingesting_twice_or_in_pieces_gives_one_digest(fresh: Recommender, world, tmp_path: Path, word_encoder) -> None:
    path = tmp_path / "events.csv"
    table = frame(world, 0, 300)
    table.to_csv(path, index=False)
    fresh.ingest(path)
    once = fresh.state_digest()
    report = fresh.ingest(path)
    assert (report.read, report.accepted, report.duplicates) == (300, 0, 300)
    assert fresh.state_digest() == once

    with Recommender.create(tmp_path / "pieces") as other:
        order = np.random.default_rng(0).permutation(20)
        for piece in [*order, *order[:5]]:
            other.ingest(table[piece * 15 : piece * 15 + 15])
        assert other.offset == 300
        assert other.state_digest() == once


def test_a_source_that_cannot_be_read_is_an_error(recommender: Recommender, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        recommender.ingest(tmp_path / "nothing.csv")
    with pytest.raises(InputError):
        recommender.ingest(pd.DataFrame({"user": ["u1"]}))
    assert recommender.offset == 700


def test_events_of_another_writer_become_visible_by_refresh(recommender: Recommender, shop: Path, world) -> None:
    with Recommender.open(shop) as writer:
        writer.ingest(world.events[700:750])
        writer.ingest([Event("from there", "brought along", timestamp=LATE)])
        assert recommender.offset == 700
        assert "from there" not in recommender.users
        assert recommender.refresh() == 51
        assert recommender.state_digest() == writer.state_digest()
        np.testing.assert_allclose(recommender.item_vectors()[1], writer.item_vectors()[1], atol=1e-5)
        assert recommender.recommend("from there", 3).ids() == writer.recommend("from there", 3).ids()
        assert recommender.refresh() == 0


def test_reopening_gives_the_same_state(recommender: Recommender, shop: Path, world) -> None:
    recommender.ingest(world.events[700:])
    with Recommender.open(shop) as again:
        assert again.state_digest() == recommender.state_digest()
        np.testing.assert_allclose(again.item_vectors()[1], recommender.item_vectors()[1], atol=1e-5)
        for user in ("u1", "u2"):
            np.testing.assert_allclose(again.user_vector(user), recommender.user_vector(user), atol=1e-5)


def test_a_number_in_the_settings_wins_over_what_was_chosen(recommender: Recommender, shop: Path, world) -> None:
    chosen = recommender.retriever.choices
    settings = world.settings.replace("[filter]", "[filter]\nslope = 1.25").replace(
        "[retrieval]", "[retrieval]\npopularity_half_life_days = 0.25"
    )
    (shop / "graphrec.toml").write_text(settings)
    with Recommender.open(shop) as again:
        assert (again.generation, again.offset) == (1, 700)
        fixed = replace(chosen, popularity_half_life_days=0.25, filter=replace(chosen.filter, slope=1.25))
        assert again.retriever.choices == fixed
        assert again.recommend("nobody").ids() != recommender.recommend("nobody").ids()  # what is popular now
        assert again.rebuild().generation == 2
    (shop / "graphrec.toml").write_text(world.settings)
    with Recommender.open(shop) as back:
        assert back.generation == 2
        assert back.retriever.choices == chosen  # "auto" is what training chose, whatever was fixed meanwhile
        assert back.recommend("u1").ids() == recommender.recommend("u1").ids()


def test_threads_take_turns(recommender: Recommender, world) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            while not done.is_set():
                assert len(recommender.recommend("u1", 5)) == 5
                recommender.similar("i1", 5)
                recommender.search("mug", 5)
                recommender.status()
        except BaseException as error:
            errors.append(error)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for first in range(700, 900, 10):
            recommender.ingest(world.events[first : first + 10])
    finally:
        done.set()
        for thread in asking:
            thread.join()
    assert errors == []
    assert recommender.offset == 900


KILLED = """
import sys
from pathlib import Path
from graphrec.events.event import Event
from graphrec.recommender import Recommender
recommender = Recommender.open(sys.argv[1])
for number in range(100_000):
    report = recommender.ingest([Event(f"u{number}", f"i{number % 50}", timestamp=1_700_000_000 + number)])
    print(report.offset, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "killed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    with Recommender.open(tmp_path / "killed") as survivor:
        assert survivor.offset in (len(acknowledged), len(acknowledged) + 1)
        assert list(survivor.users) == [f"u{number}" for number in range(survivor.offset)]
        assert survivor.graph.n_edges == survivor.offset


# -- training ---------------------------------------------------------------------------------------------------------


def test_training_makes_a_generation_and_answers_from_it(
    recommender: Recommender, shop: Path, world, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender.ingest(world.events[700:])
    monkeypatch.setattr("graphrec.training.ranker_trainer._is_positive", lambda gains: True)
    report = recommender.train()
    assert (report.generation, report.made_by, report.offset, report.events) == (2, "train", 900, 900)
    assert report.metrics["ranking_head"] is True
    assert recommender.generation == 2
    status = recommender.status()
    assert (status.generation, status.generation_offset, status.events_since) == (2, 900, 0)
    assert (status.events, status.users, status.items, status.items_with_text) == (900, 60, 40, 40)
    assert status.first_event is not None
    assert status.first_event.startswith("2023-11-1")
    assert status.bytes_on_disk > 10_000
    with Recommender.open(shop) as again:
        assert again.generation == 2
        assert again.state_digest() == recommender.state_digest()
        found = [answer.recommend("u1", 10, include_seen=True) for answer in (recommender, again)]
        assert [item.score for item in found[0]] == pytest.approx([item.score for item in found[1]], abs=1e-3)
    assert Generations(shop).manifest(2).parent == 1


def test_rebuilding_changes_the_generation_and_no_answer(recommender: Recommender, world) -> None:
    recommender.ingest(world.events[700:])
    before, digest = recommender.recommend("u1", 10), recommender.state_digest()
    report = recommender.rebuild()
    assert (report.generation, report.made_by, report.offset) == (2, "rebuild", 900)
    after = recommender.recommend("u1", 10)
    assert after.generation == 2
    assert [item.score for item in after] == pytest.approx([item.score for item in before], abs=1e-3)
    assert recommender.state_digest() != digest


def test_texts_that_come_after_the_first_training_are_learned_by_the_second(fresh: Recommender, world) -> None:
    fresh.ingest(world.events[:400])
    fresh.train()
    items = pd.DataFrame([{"id": item.id, "text": item.text} for item in world.items])
    fresh.ingest(items=items)
    assert group(fresh.search("coffee mug").ids()) == 1
    fresh.train()
    fresh.ingest(items=pd.DataFrame({"id": ["new"], "text": ["blue kitchen coffee mug"]}))
    assert group(fresh.similar("new", 5).ids()) == 1


def test_training_that_fails_changes_nothing(recommender: Recommender, shop: Path, monkeypatch) -> None:
    before, digest = recommender.recommend("u1", 10), recommender.state_digest()
    for where, error in (
        ("graphrec.training.trainer.train_rankers", RuntimeError("in the middle")),
        ("graphrec.training.trainer.train_embedding", KeyboardInterrupt()),
        ("graphrec.generation.save_file", OSError(28, "No space left on device")),
    ):

        def failing(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(where, failing)
            with pytest.raises((RuntimeError, KeyboardInterrupt, GenerationError)):
                recommender.train()
        assert (recommender.generation, recommender.state_digest()) == (1, digest)
        assert recommender.recommend("u1", 10) == before
        assert Generations(shop).numbers() == [1]
    with Recommender.open(shop) as again:
        assert again.state_digest() == digest
    assert recommender.train().generation == 2


def test_a_damaged_generation_is_skipped_with_a_warning(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recommender.open(shop) as opened:
        opened.rebuild()
    weights = shop / "generations" / "000002" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with Recommender.open(shop) as opened:
        assert opened.generation == 1
        assert "generation 2 is skipped" in caplog.text
        assert opened.rebuild().generation == 3


def test_only_so_many_generations_are_kept(shop: Path) -> None:
    with (shop / "graphrec.toml").open("a") as file:
        file.write("[generations]\nkeep = 2\n")
    with Recommender.open(shop) as opened:
        for _ in range(3):
            opened.rebuild()
    assert Generations(shop).numbers() == [3, 4]


def test_there_is_nothing_to_learn_from_an_empty_log(fresh: Recommender) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="nothing to learn from"):
            fresh.train()
        fresh.ingest(items=pd.DataFrame({"id": ["i1"], "title": ["a mug"]}))
    assert fresh.generation is None


ONE = Event("ann", "mug", timestamp=LATE)
SMALL = {
    "one event": [ONE],
    "one user": [replace(ONE, item=f"i{n}", timestamp=LATE + n) for n in range(30)],
    "one item": [replace(ONE, user=f"u{n}", timestamp=LATE + n) for n in range(30)],
    "one moment": [replace(ONE, user=f"u{n % 7}", item=f"i{n % 5}") for n in range(35)],
    "only returns": [replace(ONE, user=f"u{n}", kind="return", timestamp=LATE + n) for n in range(10)],
}


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("events", SMALL.values(), ids=SMALL)
def test_logs_too_small_to_learn_much_from(fresh: Recommender, events: list[Event], texts: bool) -> None:
    if texts:
        fresh.ingest(items=pd.DataFrame({"id": ["mug", "pot"], "title": ["a mug", "a pot"]}))
    fresh.ingest(events)
    report = fresh.train()
    assert (report.generation, report.events) == (1, len(events))
    user = events[0].user
    assert np.isfinite(fresh.item_vectors()[1]).all()
    assert np.isfinite(fresh.user_vector(user)).all()
    assert all(np.isfinite(found.score) for found in fresh.recommend(user, 5, include_seen=True))
    fresh.ingest([Event("new", "new", timestamp=LATE + 100), Event(user, "new", timestamp=LATE + 101)])
    assert np.isfinite(fresh.item_vectors()[1]).all()
    assert len(fresh.recommend("new", 5, include_seen=True)) > 0
    with Recommender.open(fresh.workspace.directory) as again:
        assert again.state_digest() == fresh.state_digest()
        np.testing.assert_allclose(again.item_vectors()[1], fresh.item_vectors()[1], atol=1e-5)


def test_a_generation_of_another_process_takes_over_at_refresh(recommender: Recommender, shop: Path) -> None:
    with Recommender.open(shop) as other:
        other.rebuild()
        assert (recommender.generation, other.generation) == (1, 2)
        recommender.refresh()
        assert recommender.generation == 2
        assert recommender.state_digest() == other.state_digest()


def test_an_interrupted_refresh_applies_nothing_twice(recommender: Recommender, shop: Path, world, monkeypatch) -> None:
    propagate = recommender.retriever.propagation.follow

    def interrupted(*arguments: object) -> None:
        propagate(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(recommender.retriever.propagation, "follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recommender.ingest(world.events[700:])
    recommender.refresh()
    with Recommender.open(shop) as other:
        assert recommender.offset == other.offset == len(world.events)
        assert recommender.state_digest() == other.state_digest()


def test_a_list_may_be_longer_than_the_sources_usually_offer(recommender: Recommender) -> None:
    for user in ("u1", "nobody"):
        assert len(recommender.recommend(user, 30, include_seen=True)) == 30


def test_the_graph_goes_to_other_libraries(recommender: Recommender) -> None:
    pyg, drawn = recommender.to_pyg(), recommender.to_networkx(node_limit=60)
    assert pyg["user", "interacts", "item"].edge_index.shape[1] == recommender.graph.n_edges
    assert pyg["item"].x.shape == (40, 12)
    assert len(drawn) == 60
    assert {side for side, _ in drawn} == {"user", "item"}
