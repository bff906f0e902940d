"""The files under deploy/ hold together: what they name is there, and they are what they say they are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import typer
import yaml

from graphrec import cli
from graphrec.service.jobs import PATIENCE
from graphrec.service.server import GRACE

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def test_the_image_copies_what_there_is_and_serves() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    copied = [source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]]
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert steps[0][0] == "FROM"
    extras = re.search(r"'\.\[([\w,]+)\]'", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert extras is not None
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert ["USER", "graphrec"] in steps
    for needed in ("readme", "license-files"):  # the build reads them
        named = project[needed]
        assert set([named] if isinstance(named, str) else named) <= set(copied)


def test_compose_and_prometheus_name_files_that_there_are() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    build = compose["services"]["graphrec"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert all(port.startswith("127.0.0.1:") for one in compose["services"].values() for port in one["ports"])
    mounted = [volume.split(":")[0] for volume in compose["services"]["prometheus"]["volumes"]]
    assert [name for name in mounted if not (DEPLOY / name).exists()] == ["./metrics.key"]  # made once, never shipped
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    assert all((DEPLOY / name).is_file() for name in prometheus["rule_files"])


def commands() -> Iterator[list[str]]:
    """Every call of graphrec under deploy/, as its arguments."""
    docker = (DEPLOY / "Dockerfile").read_text()
    yield json.loads(re.search(r"^CMD (.+)$", docker, re.MULTILINE)[1])
    for path in DEPLOY.iterdir():
        for line in path.read_text().splitlines():
            found = re.search(r"(?:bin/graphrec|run --rm graphrec|… graphrec) (\w.*)$", line)
            if found:
                yield shlex.split(found[1])


def test_every_command_is_one_that_the_program_understands() -> None:
    program, called = typer.main.get_command(cli.app), set()
    assert isinstance(program, typer.core.TyperGroup)
    for arguments in commands():
        group, rest = program, arguments
        while isinstance(group, typer.core.TyperGroup):
            with group.make_context("graphrec", list(rest)) as context:
                name, group, rest = group.resolve_command(context, rest)
        group.make_context(name, list(rest))  # raises where an option or an argument is not understood
        called.add(name)
    assert {"serve", "schedule", "backup", "init", "add"} <= called


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_an_end_is_given_the_time_that_it_may_take() -> None:
    """Requests, then jobs; of several workers all at the same time."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    unit = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "graphrec.service").read_text(), re.MULTILINE)
    for given in (compose["services"]["graphrec"]["stop_grace_period"], unit[1]):
        assert seconds(given) > max(GRACE + PATIENCE, 3 * GRACE)


def test_the_unit_runs_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(DEPLOY / "graphrec.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    program, command, *_ = unit["Service"]["ExecStart"].split()
    assert (Path(program).name, command) == ("graphrec", "serve")
