"""The index that follows, against a plain array of rows that is searched by brute force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from graphrec.config import IndexSettings
from graphrec.embedding.node_features import unit_rows
from graphrec.retrieval import index_lag, live_index, vector_index
from graphrec.retrieval.index_view import Found, IndexView
from graphrec.retrieval.live_index import LiveIndex
from graphrec.retrieval.vector_index import VectorIndex

Float32 = NDArray[np.float32]
DIMENSIONS = 4
SCALE, TOLERANCE, SHARE, FALL = 10.0, 0.1, 0.3, 0.2


@pytest.fixture(scope="module", params=["scan", "sketch"], autouse=True)
def _however_it_is_searched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every index has a sketch, or none has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "_SKETCHED", 0 if request.param == "sketch" else 1 << 60)
        yield


@dataclass
class Mirror:
    """What the index should hold, in the plainest form."""

    vectors: Float32
    biases: Float32
    removed: NDArray[np.bool_]

    @classmethod
    def of(cls, n: int, rng: np.random.Generator) -> Mirror:
        return cls(units(n, rng), rng.standard_normal(n).astype(np.float32), np.zeros(n, np.bool_))

    def copy(self) -> Mirror:
        return Mirror(self.vectors.copy(), self.biases.copy(), self.removed.copy())

    def scores(self, query: Float32, exclude: NDArray[np.int32]) -> NDArray[np.float64]:
        scores = self.vectors.astype(np.float64) @ query[:-1] + float(query[-1]) * self.biases
        scores[self.removed] = -np.inf
        scores[exclude[exclude < len(scores)]] = -np.inf
        return scores


def units(n: int, rng: np.random.Generator) -> Float32:
    return unit_rows(rng.standard_normal((n, DIMENSIONS)).astype(np.float32))


def new_index(mirror: Mirror, kind: type[LiveIndex] = LiveIndex, **settings: float) -> LiveIndex:
    chosen = {"tolerance": TOLERANCE, "popularity_share": SHARE, "popularity_fall": FALL, "merge_rows": 8} | settings
    index = kind(DIMENSIONS, IndexSettings(**chosen), SCALE)  # type: ignore[arg-type]
    index.add(mirror.vectors, mirror.biases)
    return index


def queries(rng: np.random.Generator, n: int = 3) -> Float32:
    return np.column_stack([SCALE * units(n, rng), np.ones(n, np.float32)])


def unusual(rng: np.random.Generator, n: int = 6) -> Float32:
    """Queries of other lengths, and those that like what is not popular."""
    return np.column_stack([rng.choice([1, 10, 30], (n, 1)) * units(n, rng), rng.choice([-2, 0, 1, 3], n)]).astype("f4")


def check(
    view: IndexView, mirror: Mirror, rng: np.random.Generator, k: int = 3, fetch: int = 0, *, proved: bool = True
) -> Found:
    """A certified list is the list of the exact rows, ties counted: place by place it has their best scores."""
    n = len(mirror.biases)
    numbers = rng.permutation(n).astype(np.int32)
    vectors, biases = view.take(numbers)
    np.testing.assert_array_equal(vectors, mirror.vectors[numbers])
    np.testing.assert_array_equal(biases, mirror.biases[numbers])
    exclude = rng.choice(n + 3, rng.integers(n // 2 + 1), replace=False).astype(np.int32)
    asked = np.concatenate([queries(rng), unusual(rng, 2)])
    found = view.search(asked, k, exclude, fetch)
    for query, scores, answer in zip(asked, found.scores, found.numbers, strict=True):
        expected = mirror.scores(query, exclude)
        best = np.sort(expected)[::-1][: min(k, n)]
        real = answer >= 0
        assert len(set(answer[real].tolist())) == real.sum() == np.isfinite(best).sum()
        np.testing.assert_allclose(scores[real], expected[answer[real]], atol=1e-4)
        np.testing.assert_allclose(scores[real], best[: real.sum()], atol=1e-4)
    assert found.certified.all() == proved
    return found


STEPS = ("nudge", "nudge", "jump", "add", "fade", "part", "remove", "restore", "merge", "rebuild")


def step(name: str, index: LiveIndex, mirror: Mirror, rng: np.random.Generator) -> None:
    """One change, of the index and of the mirror."""
    n = len(mirror.biases)
    some = np.sort(rng.choice(n, rng.integers(1, n + 1), replace=False)).astype(np.int32)
    if name in ("nudge", "jump"):
        size = 0.05 if name == "nudge" else 1.0
        mirror.vectors[some] = unit_rows(mirror.vectors[some] + size * units(len(some), rng))
        mirror.biases[some] += (size * rng.standard_normal(len(some))).astype(np.float32)
        index.write(some, mirror.vectors[some], mirror.biases[some])
    elif name == "add":
        new = Mirror.of(int(rng.integers(1, 6)), rng)
        mirror.vectors = np.concatenate([mirror.vectors, new.vectors])
        mirror.biases = np.concatenate([mirror.biases, new.biases])
        mirror.removed = np.concatenate([mirror.removed, new.removed])
        index.add(new.vectors, new.biases)
    elif name in ("fade", "part"):
        mirror.biases = mirror.biases + np.float32(rng.choice([-0.9, 0.9]))
        mirror.biases[some] += np.float32(0.05 if name == "fade" else 0.7)
        index.write_biases(mirror.biases)
    elif name in ("remove", "restore"):
        mirror.removed[some] = name == "remove"
        getattr(index, name)(some)
    else:
        getattr(index, name)()


@given(
    n=st.integers(1, 60),
    k=st.integers(1, 12),
    fetch=st.integers(0, 12),
    steps=st.lists(st.sampled_from(STEPS), max_size=12),
    merge_rows=st.sampled_from([1, 8, 1000]),
    seed=st.integers(0, 10**6),
)
def test_every_list_is_that_of_the_exact_rows_now_and_later(
    n: int, k: int, fetch: int, steps: list[str], merge_rows: int, seed: int
) -> None:
    """After each step, and once more at the end for all the views taken on the way."""
    rng = np.random.default_rng(seed)
    mirror = Mirror.of(n, rng)
    index = new_index(mirror, merge_rows=merge_rows)
    views = [(index.view, mirror.copy())]
    for name in steps:
        step(name, index, mirror, rng)
        assert len(index) == len(mirror.biases)
        views.append((index.view, mirror.copy()))
        check(index.view, mirror, rng, k, fetch)
    versions = [view.version for view, _ in views]
    assert versions == sorted(versions)
    for view, then in views:
        check(view, then, rng, k, fetch)


@given(steps=st.lists(st.sampled_from(STEPS), max_size=10), seed=st.integers(0, 10**6))
def test_no_row_scores_higher_than_it_is_shown(steps: list[str], seed: int) -> None:
    """Nor is it shown much higher than it scores, by the bias alone."""
    rng = np.random.default_rng(seed)
    mirror = Mirror.of(30, rng)
    index = new_index(mirror)
    for name in steps:
        step(name, index, mirror, rng)
        view, lag = index.view, index._lag
        visible = np.flatnonzero(~view.hidden).astype(np.int32)
        shown = view.shown.take(visible)
        biases = mirror.biases[visible].astype(np.float64)
        slack = shown[:, -1] + view.shift - biases
        assert slack.max(initial=0) <= view.slack + 1e-6
        assert (slack <= SCALE * TOLERANCE + SHARE * np.maximum(lag.top - biases, 0) + FALL + 1e-5).all()
        for query in np.concatenate([queries(rng), unusual(rng)]):
            stale = shown @ view.asked(query[None])[0] + query[-1] * view.shift
            exact = mirror.vectors[visible] @ query[:-1] + query[-1] * mirror.biases[visible]
            assert (exact <= stale + view.bound(query)).all()


@given(steps=st.lists(st.sampled_from(STEPS), max_size=10), seed=st.integers(0, 10**6))
def test_every_moment_has_every_item_once(steps: list[str], seed: int) -> None:
    """Those between the beginning and the end of a step too: either in the overlay or shown, and not both."""

    class Watched(LiveIndex):
        def _publish(self, successor: IndexView, *changes: NDArray) -> None:
            super()._publish(successor, *changes)
            shown = np.flatnonzero(~successor.hidden[: len(successor.shown)])
            once = np.concatenate([shown, successor.overlay])
            np.testing.assert_array_equal(np.sort(once), np.flatnonzero(~successor.removed))

    rng = np.random.default_rng(seed)
    mirror = Mirror.of(20, rng)
    index = new_index(mirror, Watched)
    for name in steps:
        step(name, index, mirror, rng)


def one_far_two_near() -> tuple[LiveIndex, Mirror]:
    """A hundred rows in a plane, at angles of 0.0, 0.01, 0.02 ... to the query."""
    angles = np.arange(100) / 100
    vectors = np.zeros((100, DIMENSIONS), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    mirror = Mirror(vectors, np.zeros(100, np.float32), np.zeros(100, np.bool_))
    return new_index(mirror), mirror


QUERY = np.array([[SCALE, 0, 0, 0, 1]], np.float32)


def test_small_moves_stay_out_of_the_index_and_large_ones_enter_it() -> None:
    index, mirror = one_far_two_near()
    writes, shown = index.writes, index.view.shown
    numbers = np.array([20, 50], np.int32)
    mirror.vectors[20] = mirror.vectors[12]  # by 0.08: no further than the tolerance
    mirror.vectors[50] = mirror.vectors[0]
    index.write(numbers, mirror.vectors[numbers], mirror.biases[numbers])
    assert index.writes == writes + 1
    assert index.view.overlay.tolist() == [50]
    assert set(index.search(QUERY, 2).numbers[0].tolist()) == {0, 50}
    assert {12, 20} < set(index.search(QUERY, 15).numbers[0].tolist())
    np.testing.assert_array_equal(shown.take(numbers)[0, :2], SCALE * np.array([np.cos(0.2), np.sin(0.2)], np.float32))
    back = np.array([np.cos(0.21), np.sin(0.21), 0, 0], np.float32)
    index.write(numbers[:1], back[None], mirror.biases[:1])
    assert index.writes == writes + 1


def test_a_list_is_certified_at_once_where_the_rest_is_too_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores fall by 5 angle^2, and all are shown too high by 1, as much as an angle of 0.45 costs."""
    index, mirror = one_far_two_near()
    assert index.view.slack == pytest.approx(1)
    assert index.view.bound(QUERY[0]) < 1e-4
    assert index.view.bound(3 * QUERY[0] * [1, 1, 1, 1, 1 / 3]) == pytest.approx(2, abs=1e-3)
    assert index.view.bound(-QUERY[0]) == pytest.approx(2, abs=1e-3)
    scans: list[int] = []
    scan = IndexView.scan

    def counted(self, query, k, exclude=None):  # type: ignore[no-untyped-def]
        scans.append(k)
        return scan(self, query, k, exclude)

    monkeypatch.setattr(IndexView, "scan", counted)
    found = index.view.search(QUERY, 2, fetch=50)
    assert (found.numbers.tolist(), found.ordered.tolist()) == ([[0, 1]], [50])
    assert scans == []
    found = index.view.search(QUERY, 2, fetch=40)
    assert (found.numbers.tolist(), found.ordered.tolist()) == ([[0, 1]], [100])
    assert scans == [2]
    assert index.view.search(QUERY, 2, fetch=100).certified.tolist() == [True]  # all rows there are
    index.write_biases(mirror.biases - 5)
    assert index.view.search(QUERY, 2, fetch=50).numbers.tolist() == [[0, 1]]
    assert scans == [2]


@pytest.mark.parametrize(("place", "ordered"), [(60, 100), (150, 200), (390, 400), (500, 1000)])
def test_a_list_takes_no_more_rows_than_it_must(place: int, ordered: int) -> None:
    """The row at this place is the first that is too far behind."""
    angles = np.minimum(np.arange(1000) * 0.4511 / place, 3)
    vectors = np.zeros((1000, DIMENSIONS), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    index = new_index(Mirror(vectors, np.zeros(1000, np.float32), np.zeros(1000, np.bool_)))
    found = index.view.search(QUERY, 1, fetch=400)
    assert found.certified.all()
    assert found.ordered.tolist() == [ordered]


def test_rows_that_rise_are_written_and_rows_that_fall_may_lag() -> None:
    index, mirror = one_far_two_near()
    writes, one = index.writes, np.array([50], np.int32)
    for bias, written in ((0.9, 0), (-0.2, 0), (-0.25, 0), (-1.2, 1), (-0.4, 1), (0.2, 2)):
        mirror.biases[50] = bias
        index.write(one, mirror.vectors[one], mirror.biases[one])
        assert index.writes - writes == written
        index.merge()


def test_who_is_hardly_known_may_lag_further() -> None:
    """What an item lacks in popularity to the top counts by a share: 0.3 of 5 and the tolerance are 2.5, so 0.25."""
    index, mirror = one_far_two_near()
    mirror.biases[:50] = 5
    index = new_index(mirror)
    numbers = np.array([10, 90], np.int32)
    moved = unit_rows(mirror.vectors[numbers] + np.array([[0, 0, 0.2, 0]], np.float32))
    index.write(numbers, moved, mirror.biases[numbers])
    assert index.view.overlay.tolist() == [10]
    moved = unit_rows(mirror.vectors[numbers] + np.array([[0, 0, 0.3, 0]], np.float32))
    index.write(numbers, moved, mirror.biases[numbers])
    assert index.view.overlay.tolist() == [10, 90]


def test_a_fall_in_popularity_pays_for_a_move() -> None:
    index, mirror = one_far_two_near()
    one = np.array([50], np.int32)
    moved = unit_rows(mirror.vectors[one] + np.array([[0, 0, 0.11, 0]], np.float32))
    index.write(one, moved, mirror.biases[one] - np.float32(0.15))
    assert index.view.overlay.tolist() == []
    index.write(one, moved, mirror.biases[one])
    assert index.view.overlay.tolist() == [50]


def test_directions_of_rows_are_followed() -> None:
    """`follow` takes rows of any length by their item numbers, and gives the directions that unit_rows gives."""
    rng = np.random.default_rng(11)
    one, other = (new_index(Mirror.of(40, np.random.default_rng(1))) for _ in range(2))
    rows = (rng.uniform(0.1, 9, (40, 1)) * units(40, rng)).astype(np.float32)
    rows[7] = 0
    numbers, biases = np.array([3, 7, 8, 30], np.int32), np.zeros(4, np.float32)
    one.follow(numbers, rows, biases)
    other.write(numbers, unit_rows(rows[numbers]), biases)
    np.testing.assert_allclose(one.rows, other.rows, atol=1e-6)
    assert one.view.overlay.tolist() == other.view.overlay.tolist()
    assert one.view.length == pytest.approx(1, abs=1e-6)


def test_what_all_biases_have_in_common_rewrites_no_row() -> None:
    index, mirror = one_far_two_near()
    writes = index.writes
    for _ in range(10):
        mirror.biases = mirror.biases - np.float32(0.7)
        index.write_biases(mirror.biases)
    assert index.writes == writes
    assert index.view.shift == pytest.approx(-7, abs=1e-5)
    assert index.view.slack == pytest.approx(1, abs=1e-5)
    mirror.biases[:3] += 9
    index.write_biases(mirror.biases)
    assert index.view.overlay.tolist() == [0, 1, 2]
    np.testing.assert_allclose(index.search(QUERY, 1).scores, [[12]], rtol=1e-6)
    mirror.biases[7] += 9  # one row alone is measured against what is common
    index.write(np.array([7, 8], np.int32), mirror.vectors[7:9], mirror.biases[7:9])
    assert index.view.overlay.tolist() == [0, 1, 2, 7]


def test_a_long_overlay_joins_the_index() -> None:
    rng = np.random.default_rng(1)
    mirror = Mirror.of(200, rng)
    index = new_index(mirror)
    for number in range(0, 18, 2):
        before = index.view
        mirror.vectors[[number]] = -mirror.vectors[[number]]
        index.write(np.array([number], np.int32), mirror.vectors[[number]], mirror.biases[[number]])
    assert len(before.overlay) == 8
    assert len(index.view.overlay) == 0
    assert index.view.shown is not before.shown
    shown = index.view.shown.take(np.arange(200, dtype=np.int32))
    np.testing.assert_array_equal(shown[:, :-1], np.float32(SCALE) * mirror.vectors)
    check(index.view, mirror, rng)


def test_a_write_in_the_midst_of_a_read_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a reader reads, it learns afterwards what was overwritten, as that was left before it was."""
    rng = np.random.default_rng(8)
    mirror = Mirror.of(40, rng)
    index = new_index(mirror)
    numbers, waiting = np.arange(0, 40, 3, dtype=np.int32), [Mirror.of(14, rng)]
    overwritten: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            if waiting:
                new = waiting.pop()
                index.write(numbers, new.vectors, new.biases)
            return np.asarray(self)[key]

    def overwrite(*arguments):  # type: ignore[no-untyped-def]
        assert view.replaced is not None
        overwritten.append(len(arguments[0]))
        index_lag.overwrite(*arguments)

    monkeypatch.setattr(live_index, "overwrite", overwrite)
    view = index._view = replace(index.view, vectors=index.view.vectors.view(Watched))
    check(view, mirror, rng)
    assert overwritten == [14]
    assert index.view.version > view.version


def test_removed_items_come_back_as_they_are_now() -> None:
    rng = np.random.default_rng(2)
    mirror = Mirror.of(40, rng)
    index = new_index(mirror)
    index.remove(np.array([3, 4], np.int32))
    mirror.vectors[3] = units(1, rng)[0]
    index.write(np.array([3], np.int32), mirror.vectors[[3]], mirror.biases[[3]])
    index.merge()
    assert not {3, 4} & set(index.search(queries(rng, 1), 40).numbers[0].tolist())
    index.restore(np.array([3, 5, 3], np.int32))
    mirror.removed[4] = True
    check(index.view, mirror, rng, 40)


def test_an_empty_index_finds_nothing() -> None:
    index = LiveIndex(DIMENSIONS, IndexSettings())
    assert len(index) == 0
    assert index.rows.shape == (0, DIMENSIONS + 1)
    found = index.search(QUERY, 5, np.array([2], np.int32))
    assert found.numbers.tolist() == [[-1]]
    index.write_biases(np.zeros(0, np.float32))
    index.rebuild()
    assert index.recall() == 1


def test_the_file_has_the_exact_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mirror = Mirror.of(50, rng)
    index = new_index(mirror)
    step("nudge", index, mirror, rng)
    index.save(tmp_path / "index")
    rows = VectorIndex.read(tmp_path / "index").take(np.arange(50, dtype=np.int32))
    np.testing.assert_array_equal(rows, np.column_stack([mirror.vectors, mirror.biases]))
    np.testing.assert_array_equal(rows, index.rows)


def test_a_snapshot_has_the_rows_of_its_moment(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mirror = Mirror.of(50, rng)
    index = new_index(mirror)
    before, write = index.rows, index.snapshot()
    step("nudge", index, mirror, rng)
    assert (index.rows != before).any()
    write(tmp_path / "index")
    np.testing.assert_array_equal(VectorIndex.read(tmp_path / "index").take(np.arange(50, dtype=np.int32)), before)


# -- cells ------------------------------------------------------------------------------------------------------------


def in_cells(n: int = 3000) -> tuple[LiveIndex, Mirror, np.random.Generator]:
    rng = np.random.default_rng(4)
    mirror = Mirror.of(n, rng)
    index = new_index(mirror, flat_items=1000, merge_rows=100)
    index.wait()
    return index, mirror, rng


def test_a_large_index_lies_in_cells_and_claims_no_proof() -> None:
    index, mirror, rng = in_cells()
    assert index.view.shown.cells > 0
    asked = queries(rng, 40)
    for _ in range(2):
        found = index.search(asked, 10)
        best = np.array([np.sort(mirror.scores(query, np.zeros(0, np.int32)))[:-11:-1] for query in asked])
        assert (found.scores >= best[:, -1:] - 1e-4).mean() > 0.9
        assert not found.certified.any()
        step("nudge", index, mirror, rng)
        np.testing.assert_array_equal(index.rows[:, :-1], mirror.vectors)


def test_growing_beyond_a_scan_changes_the_kind() -> None:
    rng = np.random.default_rng(5)
    mirror = Mirror.of(990, rng)
    index = new_index(mirror, flat_items=1000, merge_rows=100)
    assert index.view.shown.cells == 0
    more = Mirror.of(200, rng)
    index.add(more.vectors, more.biases)
    check(index.view, Mirror(*map(np.concatenate, zip(*(vars(m).values() for m in (mirror, more)), strict=True))), rng)
    index.wait()
    assert index.view.shown.cells > 0
    assert len(index.view.shown) == 1190


def test_cells_made_for_other_rows_are_due_to_be_made_anew() -> None:
    index, _, rng = in_cells()
    assert not index.rebuild_due
    before = index.view.shown.cells
    more = Mirror.of(700, rng)
    index.add(more.vectors, more.biases)
    assert index.rebuild_due
    index.wait()
    assert not index.rebuild_due
    assert index.view.shown.cells > before


def test_a_flat_index_is_never_due() -> None:
    index, mirror, rng = *one_far_two_near(), np.random.default_rng(6)
    for _ in range(3):
        step("add", index, mirror, rng)
        step("jump", index, mirror, rng)
    index.search(QUERY, 5)
    assert index.recall() == 1
    assert not index.rebuild_due
