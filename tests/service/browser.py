"""A real Chromium without a window, which speaks with nobody but the service under test."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

Found = TypeVar("Found")

FLAGS = ["headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync", "disable-dev-shm-usage", "force-prefers-reduced-motion"]
DESKTOP, PHONE = (1280, 900), (360, 740)


class Page:
    """The dashboard in a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, address: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        """Load it anew, without a key, in a window of a size and with a colour scheme."""
        self._driver.get_log("browser")
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self._driver.get(address)

    def run(self, script: str, *values: object) -> Any:
        """The value of a script of the page."""
        return self._driver.execute_script(script, *values)

    def text(self, css: str) -> str:
        """What an element says."""
        return str(self.run("return document.querySelector(arguments[0])?.textContent.trim() ?? ''", css))

    def texts(self, css: str) -> list[str]:
        """What every such element says."""
        return list(self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", css))

    def click(self, css: str) -> None:
        """Click where a person would, which needs it to be seen and not covered."""
        found = self._driver.find_element("css selector", css)
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def type(self, css: str, text: str) -> None:
        """Replace what a field holds."""
        field = self._driver.find_element("css selector", css)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        webdriver.ActionChains(self._driver).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What the console has of errors and warnings."""
        return [entry["message"] for entry in self._driver.get_log("browser")]


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile; fails where Chromium is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert program, "no chromium; Debian and Ubuntu: apt-get install -y chromium chromium-driver"
    assert driver, "no chromedriver; Debian and Ubuntu: apt-get install -y chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"user-data-dir={profile}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Page(browser)
    finally:
        browser.quit()


def until(true: Callable[[], Found], seconds: float = 30) -> Found:
    """Wait for something to be true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found
