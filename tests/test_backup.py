"""A backup is of one moment, however busy the workspace; what is restored is that moment, or nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from graphrec import backup as backup_module
from graphrec.ab import SplitTest, note_shown, shown_log
from graphrec.backup import Backup, back_up, restore
from graphrec.bounded_log import BoundedLog
from graphrec.errors import BackupError, GenerationError
from graphrec.events.event import table_of
from graphrec.generation import Generations
from graphrec.jobs.runner import JobRunner, history_of
from graphrec.operation_settings import ScheduleSettings
from graphrec.recommender import Recommender
from graphrec.service.impressions import Impressions
from graphrec.service.keys import Keys
from graphrec.service.pseudonyms import Pseudonyms
from graphrec.service.replies import shown_list
from graphrec.service.running import DRIFT
from graphrec.shadow import shadow_log
from graphrec.workspace import Workspace

ROOT = Path(__file__).parents[1]
EVERY_DAY = ScheduleSettings(prune="every day")
KINDS = ["copy.tar", "copy.tar.gz", "copy.tgz", "copy.tar.zst"]


def digest_of(directory: Path) -> tuple[str, int]:
    with Recommender.open(directory) as recommender:
        return recommender.state_digest(), recommender.offset


def names_of(directory: Path) -> list[str]:
    """Every file, but for what a store has beside it while it is open."""
    passing = ("-wal", "-shm", ".gate", ".door", ".lock")
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(passing))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_restored_is_what_was_backed_up(shop: Path, world, tmp_path: Path, kind: str) -> None:
    with Recommender.open(shop) as recommender:
        recommender.ingest(world.events[700:800])
        (shop / "bad.csv").write_text("user,item,timestamp\nann,,2024-01-01\n")
        recommender.ingest(shop / "bad.csv")
        digest, answer = recommender.state_digest(), recommender.recommend("u1", 5).ids()
        made = back_up(recommender.workspace, tmp_path / kind)
    assert (made.offset, made.generation, made.store) == (800, 1, "events.db")
    assert restore(tmp_path / kind, tmp_path / "again") == made
    with Recommender.open(tmp_path / "again") as again:
        assert (again.state_digest(), again.offset, again.generation) == (digest, 800, 1)
        assert again.recommend("u1", 5).ids() == answer
        assert again.status().quarantined == 1
        assert again.ingest(world.events[750:]).accepted == 100  # a store like any other: 50 of them are known
        assert again.train().generation == 2
    assert names_of(shop) != []
    assert not list(shop.glob("backup-*"))


def test_what_is_kept_beside_the_log_comes_back(shop: Path, tmp_path: Path) -> None:
    _, key = Keys(shop).add("front", ["read"])
    named = Pseudonyms(shop, at_the_door=True).user("somebody")
    test = SplitTest("spring", {"live": 0.5, "other": 0.5})
    with Recommender.open(shop) as recommender, Impressions(shop, 30) as impressions:
        recommender.propose()
        told = list(recommender.gate_log.rows())
        shown = recommender.recommend("u1")
        note_shown(shop, test, shown)
        shadow_log(shop).append({"user": "u1"})
        shadow_log(shop).path.rename(shadow_log(shop).older)  # it was full
        shadow_log(shop).append({"user": "u2"})
        BoundedLog(shop / DRIFT).append({"at": "now"})
        with JobRunner(recommender.workspace, lambda: nullcontext(recommender), EVERY_DAY) as runner:
            runner.plan(runner.now())
            assert runner.run_now("prune").outcome == "done"
        impressions.show(shown_list("recommend", shown))
        impressions.write()
        back_up(recommender.workspace, tmp_path / "copy.tar.gz")  # while the service has its file open
        rates = impressions.rates()
    assert (tmp_path / "copy.tar.gz").stat().st_mode & 0o077 == 0
    again = tmp_path / "again"
    restore(tmp_path / "copy.tar.gz", again)
    assert Keys(again).find(key).name == "front"
    assert Pseudonyms(again, at_the_door=True).user("somebody") == named
    assert all((again / name).stat().st_mode & 0o077 == 0 for name in ("keys.json", "pseudonym.key"))
    assert list(BoundedLog(again / "gate" / "reports.jsonl").rows()) == told != []
    assert list(shown_log(again).rows()) == list(shown_log(shop).rows()) != []
    assert [row["user"] for row in shadow_log(again).rows()] == ["u1", "u2"]
    assert list(BoundedLog(again / DRIFT).rows()) == [{"at": "now"}]
    assert history_of(again)[0] == history_of(shop)[0] != []
    assert (again / "jobs" / "since.json").read_text() == (shop / "jobs" / "since.json").read_text()
    with Impressions(again, 30) as impressions:
        assert impressions.rates() == rates != []
    live = f"generations/{Generations(again).current():06d}/"
    ours = [name for name in names_of(shop) if not name.startswith(("generations/", "text")) or name.startswith(live)]
    assert names_of(again) == ours


def test_only_the_live_generation_is_in_it(shop: Path, tmp_path: Path) -> None:
    with Recommender.open(shop) as recommender:
        recommender.rebuild()
        back_up(recommender.workspace, tmp_path / "copy.tar")
    restore(tmp_path / "copy.tar", tmp_path / "again")
    assert Generations(tmp_path / "again").numbers() == [2]
    expected = [name for name in names_of(shop) if not name.startswith(("generations/000001/", "text"))]
    assert names_of(tmp_path / "again") == expected


def test_before_training_there_is_no_generation(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "new")
    assert back_up(workspace, tmp_path / "copy.tar").generation is None
    restore(tmp_path / "copy.tar", tmp_path / "again")
    assert names_of(tmp_path / "again") == ["events.db", "graphrec.toml"]


WRITER = """
import sys
from graphrec.events.event import Event, table_of
from graphrec.workspace import Workspace
with Workspace(sys.argv[1]).open_store() as store:
    for number in range(10**9):
        some = [Event(f"u{k}", f"i{k % 40}", timestamp=1_720_000_000 + 50 * number + k) for k in range(50)]
        print(store.append(table_of(some)).offset, flush=True)
"""


def test_while_another_process_writes_it_is_of_one_moment(shop: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(shop)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        try:
            for _ in range(3):
                acknowledged = int(writer.stdout.readline())
            made = back_up(Workspace(shop), tmp_path / "copy.tar.gz")
            later = int(writer.stdout.readline())
        finally:
            writer.kill()
    restore(tmp_path / "copy.tar.gz", tmp_path / "again")
    assert acknowledged <= made.offset
    with Workspace(shop).open_store() as store, Workspace(tmp_path / "again").open_store() as copied:
        assert store.offset >= later  # the writer was not harmed
        assert copied.offset == made.offset
        ours, theirs = copied.read(), store.read(until=made.offset)
        assert all((getattr(ours, name) == getattr(theirs, name)).all() for name in vars(ours))
        assert copied.users() == store.users()[: len(copied.users())]
    # the state at that offset, derived from the original log
    shutil.copytree(shop, tmp_path / "original")
    cut = tmp_path / "original" / "events.db"
    shutil.copy(tmp_path / "again" / "events.db", cut)
    for beside in ("-wal", "-shm"):
        Path(f"{cut}{beside}").unlink(missing_ok=True)
    assert digest_of(tmp_path / "again") == digest_of(tmp_path / "original")


def test_the_digest_is_that_of_the_offset_it_was_taken_at(shop: Path, world, tmp_path: Path) -> None:
    with Recommender.open(shop) as recommender, Workspace(shop).open_store() as elsewhere:
        for first in range(700, 900, 50):
            elsewhere.append(table_of(world.events[first : first + 50]))
            made = back_up(recommender.workspace, tmp_path / "copy.tar")  # the old file gives way to the new one
            recommender.refresh()
            restore(tmp_path / "copy.tar", tmp_path / f"at {first}")
            assert digest_of(tmp_path / f"at {first}") == (recommender.state_digest(), made.offset)


def test_a_generation_that_is_replaced_meanwhile_gives_way_to_the_new_one(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, taken = backup_module._linked, []

    def vanishing(source: str, target: str) -> None:
        if len(taken) == 1:
            with Recommender.open(shop) as recommender:
                recommender.rebuild()
            shutil.rmtree(shop / "generations" / "000001")
        taken.append(source)
        linked(source, target)

    monkeypatch.setattr(backup_module, "_linked", vanishing)
    assert back_up(Workspace(shop), tmp_path / "copy.tar").generation == 2
    restore(tmp_path / "copy.tar", tmp_path / "again")
    assert Generations(tmp_path / "again").numbers() == [2]


def test_a_damaged_generation_is_not_backed_up(shop: Path, tmp_path: Path) -> None:
    (shop / "generations" / "000001" / "index.faiss").write_bytes(b"")
    with pytest.raises(GenerationError, match=r"index\.faiss"):
        back_up(Workspace(shop), tmp_path / "copy.tar")
    assert not list(tmp_path.glob("*.tar"))
    assert not list(shop.glob("backup-*"))


def test_a_store_elsewhere_is_refused(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "shop")
    (tmp_path / "shop" / "graphrec.toml").write_text(f'[store]\nurl = "sqlite:///{tmp_path}/elsewhere.db"\n')
    with pytest.raises(BackupError, match="not in the workspace"):
        back_up(Workspace(tmp_path / "shop"), tmp_path / "copy.tar")


def test_a_file_of_another_kind_is_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"\.tar\.zst"):
        back_up(Workspace(shop), tmp_path / "copy.zip")
    for content in (b"", b"no archive at all" * 100):
        (tmp_path / "copy.tar").write_bytes(content)
        with pytest.raises(BackupError):
            restore(tmp_path / "copy.tar", tmp_path / "again")
    with pytest.raises(BackupError, match="No such file"):
        restore(tmp_path / "absent.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_directory_in_use_is_refused_and_an_empty_one_is_filled(shop: Path, tmp_path: Path) -> None:
    back_up(Workspace(shop), tmp_path / "copy.tar")
    (tmp_path / "again").mkdir()
    restore(tmp_path / "copy.tar", tmp_path / "again")
    before = names_of(tmp_path / "again")
    with pytest.raises(BackupError, match="in use"):
        restore(tmp_path / "copy.tar", tmp_path / "again")
    with pytest.raises(BackupError, match="in use"):
        restore(tmp_path / "copy.tar", tmp_path / "copy.tar")
    assert names_of(tmp_path / "again") == before


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A small backup."""
    back_up(Workspace.create(tmp_path / "small"), tmp_path / "small.tar")
    return tmp_path / "small.tar"


def members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(file) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]


def write(file: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(file, "w") as archive:
        for member, content in entries:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def refused(file: Path, directory: Path) -> str:
    with pytest.raises(BackupError) as error:
        restore(file, directory)
    assert not directory.exists()
    return str(error.value)


def test_damage_of_any_member_is_found(copy: Path, tmp_path: Path) -> None:
    for place, (member, content) in enumerate(members(copy)):
        entries = members(copy)
        entries[place] = (member, content[:-1] + bytes([content[-1] ^ 1]))
        write(tmp_path / "damaged.tar", entries)
        refused(tmp_path / "damaged.tar", tmp_path / "again")
        write(tmp_path / "shorter.tar", entries[:place] + entries[place + 1 :])
        assert member.name in refused(tmp_path / "shorter.tar", tmp_path / "again")
    write(tmp_path / "longer.tar", [*members(copy), (tarfile.TarInfo("generations/000001/x.npy"), b"x")])
    assert "too much" in refused(tmp_path / "longer.tar", tmp_path / "again")


def test_a_file_cut_off_is_found(shop: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        back_up(Workspace(shop), tmp_path / kind)
        content = (tmp_path / kind).read_bytes()
        for length in (len(content) // 3, len(content) // 2):
            (tmp_path / kind).write_bytes(content[:length])
            refused(tmp_path / kind, tmp_path / "again")


@pytest.mark.parametrize("field", ["offset", "generation", "store", "format"])
def test_a_manifest_that_lies_is_found(copy: Path, tmp_path: Path, field: str) -> None:
    (member, content), *rest = members(copy)
    told = Backup(**json.loads(content))
    lies = {"offset": 7, "generation": 3, "store": "../small/events.db", "format": 2}
    lie = json.dumps(replace(told, **{field: lies[field]}).to_dict()).encode()
    write(tmp_path / "lying.tar", [(member, lie), *rest])
    refused(tmp_path / "lying.tar", tmp_path / "again")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/graphrec-escaped", "quarantine/../../escaped", "./graphrec.toml"])
def test_nothing_is_written_outside(copy: Path, tmp_path: Path, name: str) -> None:
    write(tmp_path / "evil.tar", [*members(copy), (tarfile.TarInfo(name), b"x")])
    refused(tmp_path / "evil.tar", tmp_path / "deep" / "again")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "deep" / "escaped").exists()
    assert not Path("/tmp/graphrec-escaped").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_nothing_but_plain_files_is_taken(copy: Path, tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("quarantine")
    member.type, member.linkname = kind, "graphrec.toml"
    write(tmp_path / "evil.tar", [*members(copy), (member, b"")])
    assert "plain files" in refused(tmp_path / "evil.tar", tmp_path / "again")
