"""The page at /, in a real browser: what it shows, what its buttons do, and for whom it can be read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import DESKTOP, PHONE, Page, chromium, until
from listening import at_a_port

from graphrec.operation_settings import ServeSettings
from graphrec.recommender import Recommender
from graphrec.service.app import create_app
from graphrec.service.keys import Keys
from graphrec.service.server import opened
from graphrec.service.tenants import tenants_of

MARKUP = "<img src=x onerror=alert(1)>"
NAMES = "#try-list b"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def served(trained_once: Path, tmp_path_factory: pytest.TempPathFactory, words) -> Iterator[tuple[str, Recommender]]:
    """The address of a service of the tiny world with two generations, and its recommender."""
    path = shutil.copytree(trained_once, tmp_path_factory.mktemp("shown") / "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrec.open_workspace.TextEncoder", words)
        with Recommender.open(path) as recommender:
            recommender.rebuild()
            with serving(recommender) as address:
                yield address, recommender


@contextmanager
def serving(recommender: Recommender) -> Iterator[str]:
    """The address of a service in a thread of this process."""
    with at_a_port(create_app(recommender, ServeSettings())) as address:
        yield address


def shown(page: Page, address: str, **how) -> None:
    page.open(address, **how)
    until(lambda: len(page.texts(NAMES)) == 10 and page.texts("#generation-table tbody tr"))


def wide(page: Page) -> int:
    return page.run("return document.documentElement.scrollWidth")


def contrast(page: Page, css: str) -> float:
    """Of a text and the card it stands on (WCAG 2.2, relative luminance)."""
    colours = page.run(
        """const read = (node, name) => getComputedStyle(node)[name].match(/[\\d.]+/g).slice(0, 3).map(Number);
        const node = document.querySelector(arguments[0]);
        return [read(node, 'color'), read(node.closest('section'), 'backgroundColor')];""",
        css,
    )

    def luminance(colour: list[float]) -> float:
        linear = [v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, colours))
    return (light + 0.05) / (dark + 0.05)


def test_it_shows_figures_a_list_and_its_paths_and_asks_nobody_else(page: Page, served) -> None:
    address, recommender = served
    shown(page, address)
    user = page.run("return document.querySelector('#try-user').value")
    wanted = [entry.title or entry.item for entry in recommender.recommend(user, 10)]
    assert page.texts(NAMES) == wanted
    assert page.run("return document.querySelectorAll('#path .node.item').length") >= 1
    assert "700" in page.text("#tiles")
    until(lambda: "%" in page.texts("#tiles dd")[3])
    until(lambda: page.run("return document.querySelectorAll('#charts .line')[0].getAttribute('d').length > 20"))
    assert page.text("#generation-table .live") == "2 live"
    assert "Nothing is scheduled" in page.text("#schedule")
    assert wide(page) <= DESKTOP[0]
    names = page.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert {urlsplit(name).netloc for name in names} == {urlsplit(address).netloc}
    assert page.complaints() == []


def test_an_event_changes_the_list_and_the_history(page: Page, served) -> None:
    address, recommender = served
    shown(page, address)
    offset, bought = recommender.store.offset, page.texts(NAMES)[2]
    before = page.texts(NAMES)
    page.click("#try-list li:nth-child(3) .acts button:last-child")
    until(lambda: "in every answer" in page.text("#try-note"))
    after = page.texts(NAMES)
    assert bought in before
    assert bought not in after
    marks = page.texts("#try-list .mark")
    assert len(marks) == sum(
        before.index(name) != place if name in before else True for place, name in enumerate(after)
    )
    assert "new" in marks
    assert page.text("#try-history li b") == bought
    assert recommender.store.offset == offset + 1


def test_a_user_and_an_event_may_be_typed(page: Page, served) -> None:
    address, recommender = served
    shown(page, address)
    page.type("#try-user", "somebody new")
    page.click("#try-form button")
    until(lambda: "unknown user" in page.text("#try-note"))
    page.type("#event-item", "i3")
    page.click("#event-form button")
    until(lambda: page.text("#try-history li b") == recommender.title("i3"))
    assert recommender.recommend("somebody new", 3).personal
    assert page.texts(NAMES) == [entry.title for entry in recommender.recommend("somebody new", 10)]


def test_what_the_service_says_is_never_markup(page: Page, served) -> None:
    address, _ = served
    page.open(address)
    until(lambda: page.texts(NAMES))
    page.type("#try-user", MARKUP)
    page.click("#try-form button")
    until(lambda: "unknown user" in page.text("#try-note"))
    page.type("#event-item", MARKUP)
    page.click("#event-form button")
    until(lambda: page.text("#try-history li b") == MARKUP)
    assert page.run("return document.querySelectorAll('main img').length") == 0
    assert page.complaints() == []


def test_rolling_back_asks_first_and_then_answers_from_the_generation_before(page: Page, served) -> None:
    address, recommender = served
    shown(page, address)
    page.click("#rollback")
    page.click("#confirm button[value=no]")
    assert recommender.generation == 2
    page.click("#rollback")
    assert "Generation 1" in page.text("#confirm-text")
    page.click("#confirm-yes")
    until(lambda: page.text("#generation-table .live") == "1 live")
    assert recommender.generation == 1
    page.click("#generation-table tbody tr:first-child button")
    page.click("#confirm-yes")
    until(lambda: recommender.generation == 2)


def test_a_job_runs_when_somebody_asks(page: Page, served) -> None:
    address, _ = served
    shown(page, address)
    page.click("#job-buttons button:last-child")
    page.click("#confirm-yes")
    until(lambda: "done" in page.text("#runs .outcome"))
    assert "prune" in page.text("#runs tbody")


def test_it_can_be_read_on_a_phone_and_in_the_dark(page: Page, served) -> None:
    address, _ = served
    for scheme in ("light", "dark"):
        shown(page, address, size=PHONE, scheme=scheme)
        assert wide(page) == PHONE[0]
        assert all(contrast(page, css) >= 4.5 for css in ("h2", ".note", "#try-list .reason", "#tiles dt", "th"))
    ground = page.run("return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(ground) < 64
    small = "[...document.querySelectorAll('button, input, select')].filter(e => e.offsetHeight && e.offsetHeight < 24)"
    assert page.run(f"return {small}.filter(e => e.type !== 'radio').length") == 0


def test_it_works_by_keyboard_alone(page: Page, served) -> None:
    address, _ = served
    shown(page, address)
    page.press("\ue004")
    assert page.run("return document.activeElement.className") == "skip"
    page.run("document.querySelector('#try-user').focus()")
    page.press("\ue004")
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.run("document.querySelector('#try-list button').focus()")
    page.press("\ue004", "\ue007")  # from "Why" to "View"
    until(lambda: "View" in page.text("#try-note"))
    unnamed = """return [...document.querySelectorAll('button, input, select')].filter(node => node.checkVisibility() &&
        !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).length"""
    assert page.run(unnamed) == 0


def test_a_workspace_without_anything_says_what_to_do(page: Page, tmp_path: Path, word_encoder) -> None:
    with Recommender.create(tmp_path / "empty") as recommender, serving(recommender) as address:
        page.open(address)
        until(lambda: "run train" in page.text("#generation-table"))
        until(lambda: "no model yet" in page.text("#tiles"))
        page.type("#try-user", "anybody")
        page.click("#try-form button")
        until(lambda: "The list is empty." in page.text("#path"))
        assert page.complaints() == []
        assert page.text("#problem") == ""


def test_nothing_moves_under_the_readers_eyes(page: Page, served) -> None:
    """The cumulative layout shift of loading; up to 0.1 is good (web.dev)."""
    address, _ = served
    for size in (DESKTOP, PHONE):
        page.open(address, size=size)
        page.run(
            """window.shift = 0;
            const add = (list) => list.getEntries().forEach((entry) => { window.shift += entry.value; });
            new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });"""
        )
        until(lambda: len(page.texts(NAMES)) == 10 and page.texts("#generation-table tbody tr"))
        time.sleep(1)
        assert page.run("return window.shift") < 0.1


def test_it_says_when_the_service_is_away_and_when_it_is_back(page: Page, served) -> None:
    address, _ = served
    shown(page, address)
    page.run("window.kept = fetch; window.fetch = () => Promise.reject(new TypeError('away'));")
    until(lambda: page.text("#problem") == "The service does not answer.")
    assert page.text("#health-text") == "no answer"
    page.run("window.fetch = window.kept")
    until(lambda: page.text("#health-text") == "answering" and page.text("#problem") == "")


def test_a_key_is_asked_for_and_kept_in_the_tab_only(page: Page, served) -> None:
    address, recommender = served
    kept, key = Keys(recommender.workspace.directory).add("engineer", ["admin"])
    try:
        page.open(address)
        until(lambda: "a key" in page.text("#health-text"))
        page.click("#key-button")
        page.type("#key-input", key)
        page.click("#key-dialog button.primary")
        until(lambda: len(page.texts(NAMES)) == 10)
        assert page.run("return [Object.values(sessionStorage), Object.keys(localStorage), document.cookie]") == [
            [key],
            [],
            "",
        ]
    finally:
        Keys(recommender.workspace.directory).revoke(kept.id)
        page.run("sessionStorage.clear()")


def test_each_tenant_has_its_dashboard_and_a_key_goes_to_its_own_only(
    page: Page, shop: Path, word_encoder, tmp_path: Path
) -> None:
    other = shutil.copytree(shop, tmp_path / "other")
    keys = {name: Keys(path).add("engineer", ["admin"])[1] for name, path in (("a", shop), ("b", other))}
    with ExitStack() as stack:
        app = opened(stack, tenants_of([f"a={shop}", f"b={other}"], {}))
        address = stack.enter_context(at_a_port(app))
        for name, key in keys.items():  # in one tab: the second must not be asked with the key of the first
            page.open(f"{address}t/{name}")
            until(lambda: "a key" in page.text("#health-text"))
            page.click("#key-button")
            page.type("#key-input", key)
            page.click("#key-dialog button.primary")
            until(lambda: len(page.texts(NAMES)) == 10 and page.texts("#generation-table tbody tr"))
        page.open(f"{address}t/a/")
        until(lambda: len(page.texts(NAMES)) == 10)
        assert set(page.run("return Object.values(sessionStorage)")) == set(keys.values())
        page.run("sessionStorage.clear()")
