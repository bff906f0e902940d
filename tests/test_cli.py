from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graphrec import __version__, cli

runner = CliRunner()

EVENTS = """user,item,kind,timestamp
ann,mug,purchase,2024-01-01 10:00
ann,cup,view,2024-01-01 10:05
bob,mug,purchase,2024-01-02 09:00
bob,bike,purchase,2024-01-03 09:00
bob,,view,2024-01-03 09:01
"""


def run(*arguments: object):
    return runner.invoke(cli.app, [str(argument) for argument in arguments])


def printed(*arguments: object, code: int = 0):
    """What a command prints as JSON."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def shop(tmp_path):
    assert run("init", tmp_path / "shop").exit_code == 0
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "items.csv").write_text("id,title\nmug,A red mug\ncup,A blue cup\nbike,A bicycle\n")
    return tmp_path / "shop"


def test_a_quarantined_row_has_its_own_exit_code_and_nothing_else_is_lost(shop):
    found = printed("ingest", shop, shop.parent / "events.csv", "--items", shop.parent / "items.csv", code=3)
    items, events = found["files"]
    assert (items["read"], items["accepted"], items["quarantined"]) == (3, 3, 0)
    assert (events["read"], events["accepted"], events["duplicates"], events["quarantined"]) == (5, 4, 0, 1)
    (path,) = events["quarantine"]
    rejection = json.loads(Path(path).read_text().splitlines()[0])
    assert (rejection["line"], rejection["field"]) == (6, "item")


def test_the_count_table_adds_up(shop):
    run("ingest", shop, shop.parent / "events.csv")
    result = run("ingest", shop, shop.parent / "events.csv")
    assert result.exit_code == 3
    header, row = result.stdout.splitlines()[:2]
    assert header.split() == ["file", "read", "accepted", "duplicate", "quarantined", "seconds"]
    assert row.split()[-5:-1] == ["5", "0", "4", "1"]
    assert "quarantine" in result.stdout.splitlines()[2]


def test_columns_are_named_by_option(shop):
    (shop.parent / "other.csv").write_text("who,what,at\nann,mug,2024-01-01\n")
    mapping = ("--column", "user=who", "--column", "item=what", "--column", "timestamp=at")
    assert printed("ingest", shop, shop.parent / "other.csv", *mapping)["files"][0]["accepted"] == 1


def test_recommend_before_training_is_popular_and_says_nothing_else(shop):
    run("ingest", shop, shop.parent / "events.csv", "--items", shop.parent / "items.csv")
    known = printed("recommend", shop, "ann", "-k", 2)
    assert known["items"][0]["item"] == "bike"
    assert known["items"][0]["title"] == "A bicycle"
    assert known["generation"] is None
    unknown = printed("recommend", shop, "nobody")
    assert not unknown["personal"]
    assert "unknown user" in unknown["note"]
    assert run("recommend", shop, "nobody").stdout.startswith("for nobody  (unknown user")


def test_recommend_prints_one_json_line_a_user(shop):
    run("ingest", shop, shop.parent / "events.csv")
    result = run("recommend", shop, "ann", "bob", "--json")
    assert [json.loads(line)["user"] for line in result.stdout.splitlines()] == ["ann", "bob"]


def test_status_and_doctor(shop):
    run("ingest", shop, shop.parent / "events.csv")
    assert printed("status", shop)["events"] == 4
    assert "events" in run("status", shop).stdout
    found = printed("doctor", shop)
    assert found["healthy"]
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["quarantine"]["level"] == "warning"
    assert by_name["generations"]["way_out"] == "graphrec train"


def test_doctor_has_an_exit_code_for_a_problem(shop):
    folder = shop / "generations" / "000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    assert printed("doctor", shop, code=4)["healthy"] is False


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("init", "shop"), "already is a workspace"),
        (("recommend", "nowhere", "ann"), "is not a workspace"),
        (("train", "shop"), "nothing to learn from"),
        (("similar", "shop", "mug"), "no item 'mug'"),
        (("ingest", "shop"), "nothing to ingest"),
        (("ingest", "shop", "absent.csv"), "there is no file"),
        (("ingest", "shop", "events.csv", "--column", "user"), "column mapping"),
        (("evaluate",), "what to evaluate"),
        (("recommend", "shop", "ann", "-k", "0"), "length of a list"),
    ],
)
def test_an_error_is_explained_not_traced(shop, arguments, problem, monkeypatch, capsys):
    monkeypatch.chdir(shop.parent)
    monkeypatch.setattr(sys, "argv", ["graphrec", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    text = capsys.readouterr().err
    assert text.startswith("Error: ")
    assert problem in text
    monkeypatch.setattr(sys, "argv", ["graphrec", *arguments, "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert problem in json.loads(capsys.readouterr().out)["error"]["problem"]


def test_help_and_ingest_import_nothing_heavy(shop):
    code = (
        "import sys; from graphrec import cli; sys.argv = ['graphrec', *sys.argv[1:]]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert stop.code in (0, 3), stop.code\n"
        "heavy = {'torch', 'torch_geometric', 'transformers', 'faiss'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ingest = ["ingest", str(shop), str(shop.parent / "events.csv"), "--items", str(shop.parent / "items.csv")]
    for arguments in (["--help"], ingest):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_recommend_and_status_run_without_torch(shop):
    run("ingest", shop, shop.parent / "events.csv", "--items", shop.parent / "items.csv")
    code = (
        "import sys; from graphrec import cli; sys.argv = ['graphrec', 'recommend', sys.argv[1], 'ann']\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shop)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version():
    assert run("--version").stdout.strip() == f"graphrec {__version__}"
