"""The process: where it may listen, how it ends, and that `kill -9` loses nothing it has acknowledged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from graphrec import cli
from graphrec.errors import ConfigError
from graphrec.jobs.owned_lock import OwnedLock
from graphrec.operation_settings import ServeSettings
from graphrec.service.address import is_loopback
from graphrec.service.keys import Keys
from graphrec.service.tenants import Tenant
from graphrec.workspace import Workspace

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port: int, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)


@pytest.fixture
def served(shop: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    """Starts `graphrec serve` and waits until it is ready."""
    processes = []

    def start(*options: str, at: str = "/readyz") -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        command = [sys.executable, "-m", "graphrec.cli", "serve", str(shop), "--port", str(port), *options]
        with (shop / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=log)
        processes.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if ask(port, at)["ready"]:
                    return process, port
            except OSError:
                time.sleep(0.05)
        raise AssertionError((shop / "log").read_text())

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_what_was_acknowledged_survives_a_kill_and_an_end_is_orderly(served, shop: Path) -> None:
    process, port = served()
    event = {"user": "new", "item": "i3", "timestamp": 1_710_000_000}
    assert ask(port, "/v1/events?wait=false", event)["accepted"] == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Workspace(shop).open_store() as store:
        assert (store.offset, store.users()[-1]) == (701, "new")

    process, port = served()
    assert ask(port, "/v1/recommend?user=new&k=3")["personal"]
    assert ask(port, "/v1/events", event)["duplicates"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in (shop / "log").read_text().splitlines()]
    assert any(line.get("route") == "/v1/recommend" and line["status"] == 200 for line in lines)
    assert not any("traceback" in line for line in lines)


def test_of_several_workers_one_may_be_killed_and_nothing_is_lost(served, shop: Path) -> None:
    process, port = served("--workers", "2")
    workers = until(lambda: both(process))
    event = {"user": "new", "item": "i3", "timestamp": 1_710_000_000}
    assert ask(port, "/v1/events", event)["accepted"] == 1
    workers[0].kill()
    until(lambda: workers[0] not in (both(process) or [workers[0]]))  # another has taken its place
    until(lambda: ask(port, "/v1/recommend?user=new&k=3")["personal"])
    assert ask(port, "/v1/events", event)["duplicates"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    with Workspace(shop).open_store() as store:
        assert (store.offset, store.users()[-1]) == (701, "new")


def test_workers_end_in_order_when_the_one_that_looks_after_them_is_killed(served, shop: Path) -> None:
    settings = shop / "graphrec.toml"
    settings.write_text(settings.read_text() + '\n[schedule]\nprune = "every 50000 events"\n')
    place = OwnedLock(shop / "jobs", "scheduler")
    process, port = served("--workers", "2")
    workers = until(lambda: both(process))
    until(lambda: place.owner() is not None)
    assert ask(port, "/v1/events", {"user": "new", "item": "i3", "timestamp": 1_710_000_000})["accepted"] == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(workers, timeout=30)
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    with pytest.raises(OSError, match="refused"):
        ask(port, "/healthz")
    with Workspace(shop).open_store() as store:
        assert (store.offset, store.users()[-1]) == (701, "new")
    assert place.owner() is None  # else it would be "gone": it was left, not lost


def test_tenants_behind_one_port_and_several_workers(served, shop: Path) -> None:
    books = shutil.copytree(shop, shop.parent / "books")
    process, port = served(f"books={books}", "--workers", "2", at="/t/shop/readyz")
    assert ask(port, "/t/books/v1/events", {"user": "new", "item": "i3", "timestamp": 1_710_000_000})["accepted"] == 1
    until(lambda: ask(port, "/t/books/v1/recommend?user=new&k=3")["personal"])
    assert not ask(port, "/t/shop/v1/profile?user=new")["known"]
    assert ask(port, "/readyz")["tenants"] == 2
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/t/books/metrics") as reply:
        assert re.search(r'graphrec_offset\{tenant="books",worker="[12]"\} 701', reply.read().decode())
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    lines = [json.loads(line) for line in (shop / "log").read_text().splitlines()]
    assert {line["tenant"] for line in lines if line.get("route") == "/v1/recommend"} == {"books"}


def both(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The two workers, once both are there."""
    found = [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    return found if len(found) == 2 else []


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):  # the one that was killed had the connection
            if found := true():
                return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_an_address_that_others_reach_needs_a_key(tmp_path: Path) -> None:
    def check(host: str) -> None:
        Tenant("", tmp_path, ServeSettings(host=host)).check_address()

    check("127.0.0.1")
    for host in ("0.0.0.0", "::", "192.168.1.5", "shop.example"):
        with pytest.raises(ConfigError, match="no key"):
            check(host)
    kept, _ = Keys(tmp_path).add("one", ["read"])
    check("0.0.0.0")
    Keys(tmp_path).revoke(kept.id)
    with pytest.raises(ConfigError):
        check("0.0.0.0")


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("[::1]", True), ("10.0.0.1", False), ("local", False)],
)
def test_what_loopback_is(host: str, here: bool) -> None:
    assert is_loopback(host) is here


def test_keys_on_the_command_line(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(cli.app, ["init", str(tmp_path / "shop")]).exit_code == 0
    shop = str(tmp_path / "shop")
    made = json.loads(run(cli.app, ["key", "add", shop, "--name", "front", "--scope", "read", "--json"]).stdout)
    assert Keys(tmp_path / "shop").find(made["key"]).name == "front"
    shown = run(cli.app, ["key", "add", shop, "--name", "back", "--scope", "write", "--scope", "read"]).stdout
    assert Keys(tmp_path / "shop").find(shown.splitlines()[-1]).scopes == ("write", "read")
    listed = run(cli.app, ["key", "list", shop, "--json"]).stdout
    assert made["key"] not in listed
    assert "hash" not in listed
    assert [key["name"] for key in json.loads(listed)] == ["front", "back"]
    assert run(cli.app, ["key", "revoke", shop, made["id"]]).exit_code == 0
    assert Keys(tmp_path / "shop").find(made["key"]) is None
    assert "revoked" in run(cli.app, ["key", "list", shop]).stdout.splitlines()[0]
    Keys(tmp_path / "shop").revoke(json.loads(listed)[1]["id"])
    assert isinstance(run(cli.app, ["serve", shop, "--host", "0.0.0.0"]).exception, ConfigError)
