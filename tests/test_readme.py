"""The README's examples are run as they stand, on a small part of the sample."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CUSTOMERS = 150


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path):
    """A directory with a small `data/online-retail`, and settings that make training short."""
    data = tmp_path / "data" / "online-retail"
    data.mkdir(parents=True)
    events = pq.read_table(ROOT / "data" / "online-retail" / "events.parquet").to_pandas()
    customers = sorted(set(events["user_id"]), key=lambda user: user != "17850")[:CUSTOMERS]
    events[events["user_id"].isin(customers)].to_parquet(data / "events.parquet")
    items = pq.read_table(ROOT / "data" / "online-retail" / "items.parquet").to_pandas()
    items[:300].to_parquet(data / "items.parquet")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GRAPHREC_TRAINING__STEPS": "3",
    }
    return tmp_path, environment


def run(command: list[str], place) -> str:
    directory, environment = place
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_examples(place):
    example, live = blocks("python")
    assert len(example.splitlines()) <= 14
    printed = run([sys.executable, "-W", "error::UserWarning:graphrec", "-c", f"{example}\n{live}"], place)
    first, *_, offset = printed.splitlines()
    assert int(offset) > 10_000
    assert first.startswith("['")
    assert first.count("'") == 10
    assert "17850" not in printed


def test_the_command_line_example(place):
    (example,) = blocks("bash")
    assert len(example.splitlines()) == 11
    printed = run(["bash", "-euo", "pipefail", "-c", example], place)
    for expected in (
        "Generation 1 is live",
        "for 17850",
        "similar to 22423",
        "RED RETROSPOT",
        "Generation 2 is live",
        "deleted: 1",
    ):
        assert expected in printed
    assert "problem" not in printed
