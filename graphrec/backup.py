"""One file that holds a workspace at one moment, made while others read and write it; and the way back.

    backup.json           what it is of, and the SHA-256 of every file
    graphrec.toml · CURRENT · generations/NNNNNN/* · quarantine/* · the store
    keys.json · pseudonym.key · impressions.db · what gate, shadow, tests, drift and jobs have noted

The generation is taken before the store: it may lag behind the log, never run ahead of it. Its files never change, so
they are linked, not copied. The store is copied through SQLite. The text cache is left out: it fills again by itself.
So are the trials of `graphrec tune`. The file is its owner's alone: it holds all there is, and what names pseudonyms.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa

from graphrec import __version__
from graphrec.config import CONFIG_FILE, Config
from graphrec.durable import sync
from graphrec.errors import BackupError
from graphrec.events.database import copy_database
from graphrec.events.store import EventStore
from graphrec.generation import CURRENT, Generations
from graphrec.notes import IMPRESSIONS, LOGS

if TYPE_CHECKING:
    from graphrec.workspace import Workspace

FORMAT = 1
STAGING = "backup-"  # folders in the workspace while a backup is made

_MANIFEST = "backup.json"
_SECRETS = ("keys.json", "pseudonym.key")
_BESIDE = (*_SECRETS, "jobs/since.json", *LOGS, *(f"{name}.old" for name in LOGS))
_CODECS = {".tar": None, ".tar.gz": "gzip", ".tgz": "gzip", ".tar.zst": "zstd"}
_TRIES = 3  # to take the live generation before it is replaced and pruned


@dataclass(frozen=True)
class Backup:
    """What a backup file holds. offset: last event of the log. generation: the live one, None before training."""

    made: str
    version: str
    offset: int
    generation: int | None
    store: str  # path of the store in the workspace
    files: dict[str, dict[str, Any]]  # path -> bytes and sha256
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def back_up(workspace: Workspace, file: Path) -> Backup:
    """Write a workspace into one file, which takes the place of one of that name only when it is whole.

    Raises BackupError for a name of another kind and a store outside the workspace, StoreError, and GenerationError for
    a live generation that is damaged.
    """
    codec = _codec(file)
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=workspace.directory))
    try:
        generation = _stage_generation(workspace.directory, staging)
        shutil.copy(workspace.directory / CONFIG_FILE, staging / CONFIG_FILE)
        if workspace.quarantine.files():
            (staging / "quarantine").mkdir()
        for path in workspace.quarantine.files():
            shutil.copy(path, staging / "quarantine" / path.name)
        _stage_beside(workspace.directory, staging)
        with workspace.open_store() as store:
            name = _place_of(store, workspace.directory)
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            store.copy(staging / name)
        with EventStore.open(f"sqlite:///{name}", directory=staging) as copied:
            offset = copied.offset
        backup = Backup(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            version=__version__,
            offset=offset,
            generation=generation,
            store=name,
            files=_files(staging),
        )
        _write(backup, staging, file, codec)
    except OSError as error:
        raise BackupError("the backup could not be written", got=str(error)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return backup


def restore(file: Path, directory: Path) -> Backup:
    """Make a workspace from a backup, in a new or empty directory, once every checksum has been verified.

    Raises BackupError for a directory in use and a file that is no backup or damaged; nothing is left behind then.
    """
    codec = _codec(file)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BackupError(f"{directory} is in use", expected="a new or empty directory", got="something else in it")
    there = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="restore-", dir=directory))
    try:
        with _read(file, codec) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isreg() or member.name != str(PurePosixPath(member.name)):
                    raise BackupError(f"{file} is no backup of a workspace", expected="plain files", got=member.name)
                archive.extract(member, staging, filter="data")  # refuses what lies outside
        backup = _verified(staging, file)
        (staging / _MANIFEST).unlink()
        for path in staging.rglob("*"):
            sync(path)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            path.replace(directory / path.name)  # settings last: they make it a workspace
        sync(directory)
    except (OSError, ValueError, tarfile.TarError, pa.ArrowException) as error:
        raise BackupError(f"{file} cannot be restored", got=str(error)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not there and not any(directory.iterdir()):
            directory.rmdir()
    return backup


def _stage_beside(directory: Path, staging: Path) -> None:
    """Copy what is kept beside log and generation, as far as there is any."""
    for name in _BESIDE:  # a log before its older half: what moves there meanwhile is there twice, not lost
        (staging / name).parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.copy(directory / name, staging / name)
    if (directory / IMPRESSIONS).exists():
        copy_database(directory / IMPRESSIONS, staging / IMPRESSIONS)
    for folder in {(staging / name).parent for name in _BESIDE} - {staging}:
        if not any(folder.iterdir()):
            folder.rmdir()


def _stage_generation(directory: Path, staging: Path) -> int | None:
    """Link the live generation's files, whole and verified; its number."""
    for left in range(_TRIES - 1, -1, -1):
        generations = Generations(directory)
        number = generations.current()
        if number is None:
            return None
        folder = staging / "generations" / f"{number:06d}"
        try:
            shutil.copytree(generations.directory / folder.name, folder, copy_function=_linked)
            Generations(staging).load(number)
            (staging / CURRENT).write_text(f"{number}\n", encoding="ascii")
            return number
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            if not left or generations.current() == number:
                raise
    return None


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy(source, target)


def _place_of(store: EventStore, directory: Path) -> str:
    """Path of the store within the workspace."""
    path = store.path
    if path is None or not path.is_relative_to(directory.absolute()):
        raise BackupError(
            "the store is not in the workspace",
            expected="a relative path in [store] url",
            got=str(path or "a store in memory"),
            way_out="back its file up by its own means",
        )
    return path.relative_to(directory.absolute()).as_posix()


def _write(backup: Backup, staging: Path, file: Path, codec: str | None) -> None:
    (staging / _MANIFEST).write_text(json.dumps(asdict(backup), indent=1), encoding="utf-8")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}-{os.getpid()}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with _written(temporary, codec) as stream, tarfile.open(fileobj=stream, mode="w|", dereference=True) as archive:
            for name in (_MANIFEST, *backup.files):
                archive.add(staging / name, arcname=name, filter=_anonymous)
        sync(temporary)
        temporary.replace(file)
        sync(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600 if member.name in _SECRETS else 0o644
    return member


def _written(file: Path, codec: str | None) -> IO[bytes]:
    return file.open("wb") if codec is None else cast("IO[bytes]", pa.CompressedOutputStream(str(file), codec))


def _read(file: Path, codec: str | None) -> IO[bytes]:
    return file.open("rb") if codec is None else cast("IO[bytes]", pa.CompressedInputStream(str(file), codec))


def _verified(staging: Path, file: Path) -> Backup:
    """What a folder was extracted from; raises BackupError unless every file is there, as it was, and no other."""
    wrong = f"{file} is no backup of a workspace, or damaged"
    try:
        backup = Backup(**json.loads((staging / _MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(wrong, expected=_MANIFEST, got=str(error)) from None
    if backup.format != FORMAT:
        raise BackupError("the format is another one", expected=str(FORMAT), got=str(backup.format))
    found = _files(staging)
    found.pop(_MANIFEST)
    for name in sorted({*found, *backup.files}):
        if found.get(name) != backup.files.get(name):
            raise BackupError(wrong, expected="every file as it was", got=f"{name} is missing, altered or too much")
    Config.load(staging)
    if backup.store not in found:
        raise BackupError(wrong, expected="a store", got=backup.store)
    with EventStore.open(f"sqlite:///{backup.store}", directory=staging) as store:
        offset = store.offset
    generation = Generations(staging).current()
    if (offset, generation) != (backup.offset, backup.generation):
        raise BackupError(
            wrong,
            expected=f"offset {backup.offset}, generation {backup.generation}",
            got=f"offset {offset}, generation {generation}",
        )
    return backup


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of every file below, by its path."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found


def _codec(file: Path) -> str | None:
    for ending, codec in _CODECS.items():
        if file.name.endswith(ending):
            return codec
    raise BackupError("the kind of file is not known", expected=" or ".join(_CODECS), got=file.name)
