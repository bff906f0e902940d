"""Points are what came between two looks, each second and each minute, and no more of them than are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphrec.service.live import LiveSeries, Standing

START = Standing(100, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0)


class Time:
    """A clock that is moved by hand, and how things stand."""

    now = 1_000.0
    standing = START


@pytest.fixture
def series() -> LiveSeries:
    return LiveSeries(lambda: Time.standing, lambda: Time.now)


@pytest.fixture(autouse=True)
def anew() -> None:
    Time.now, Time.standing = 1_000.0, START


def after(series: LiveSeries, seconds: float, **changes: float) -> None:
    Time.now += seconds
    Time.standing = replace(Time.standing, **changes)
    series.look()


def test_a_point_holds_rates_shares_and_quantiles_of_its_second(series: LiveSeries) -> None:
    series.look()
    for milliseconds in range(1, 101):
        series.answered(milliseconds / 1e3)
    series.fresh(0.004)
    series.fresh(0.02)
    after(series, 2.0, offset=120, lists=8, certified=6, asked=4, hits=3, popular=1, backlog=5, overlay=7)
    (point,) = series.since("seconds", 0)
    assert (point["events"], point["questions"]) == (10, 50)
    assert (point["p50"], point["p99"]) == (pytest.approx(0.0505), pytest.approx(0.09901))
    assert (point["freshness"], point["certified"], point["asked"]) == (0.02, 0.75, 4)
    assert (point["hit"], point["popular"], point["backlog"], point["overlay"]) == (0.75, 0.25, 5, 7)


def test_what_nothing_is_known_of_is_none_and_an_endless_bound_is_below_zero(series: LiveSeries) -> None:
    series.look()
    after(series, 1.0, held_back=float("inf"))
    (point,) = series.since("seconds", 0)
    assert [point[name] for name in ("p50", "p99", "freshness", "certified", "hit", "popular")] == [None] * 6
    assert point["held_back"] == -1


def test_a_minute_is_over_all_its_seconds(series: LiveSeries) -> None:
    series.look()
    for second in range(1, 61):
        series.answered(second / 1e3)
        after(series, 1.0, offset=100 + 3 * second)
    (minute,) = series.since("minutes", 0)
    assert (minute["events"], minute["questions"], minute["p50"]) == (3, 1, pytest.approx(0.0305))
    assert len(series.since("seconds", 0)) == 60


def test_only_what_came_after_a_moment_and_never_more_than_is_kept(series: LiveSeries) -> None:
    series.look()
    for _ in range(700):
        after(series, 1.0)
    points = series.since("seconds", 0)
    assert len(points) == 600
    assert series.since("seconds", points[-3]["at"]) == points[-2:]
    assert points[-1]["at"] == 1_700.0


def test_a_thread_makes_points_while_the_context_lasts(series: LiveSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr("graphrec.service.live.SECOND", 0.01)
    running = LiveSeries(lambda: Time.standing)
    running._kinds["seconds"].period = 0.01
    with running:
        deadline = time.monotonic() + 20
        while len(running.since("seconds", 0)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
