"""Generations: complete, immutable, checksummed snapshots of derived state; published whole or not at all.

    generations/000007/   weights.safetensors · *.npy · index.faiss · manifest.json
    CURRENT               the live generation's number, replaced by rename
    generations/000008/SET_ASIDE   held by the gate, or rolled back: nobody opens it unless a person asks for it

A generation is written under a temporary name, every file synced, then renamed, then the folder synced, and `CURRENT`
replaced last: a crash at any point leaves the old one or the new one. FAISS and safetensors load flipped bits without a
word, so nothing is read before its SHA-256 has been checked; the manifest, which holds them, has one of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from graphrec.durable import sync
from graphrec.errors import BusyError, GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]
    ArrayDict = dict[str, NDArray[Any]]

FORMAT = 1
MANIFEST = "manifest.json"
CURRENT = "CURRENT"
WEIGHTS = "weights.safetensors"
INDEX = "index.faiss"
SET_ASIDE = "SET_ASIDE"

_WRITING = "writing-"  # what is not published yet
_READERS = 4  # files checked at a time: hashing leaves the interpreter to others


@dataclass(frozen=True)
class Manifest:
    """What a generation is and holds.

    `digest` is over the contents, not over number, time or parent; `seal` is over all the rest of the manifest.
    """

    number: int
    offset: int  # last event it has absorbed
    catalogue_offset: int  # last catalogue version it has absorbed
    learned_until: int  # last event that its weights have learned from
    made_by: str  # "train", "adapt-text", "update", "rebuild" or "snapshot"
    parent: int | None
    settings: dict[str, Any]  # what the saved arrays depend on
    text_model: str  # what the text vectors are of
    metrics: dict[str, Any]
    choices: dict[str, Any]  # what training chose on validation
    created: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    digest: str = ""
    format: int = FORMAT
    seal: str = ""


class Snapshot(NamedTuple):
    """A state at one moment, in memory: what `Generations.publish` writes, whatever the state does meanwhile."""

    draft: Manifest
    weights: ArrayDict
    arrays: ArrayDict
    write_index: Callable[[Path], None]


@dataclass(frozen=True)
class Generation:
    """A verified generation, opened: weights in memory, arrays mapped from disk and not to be written."""

    manifest: Manifest
    weights: dict[str, NDArray[np.float32]]
    arrays: dict[str, NDArray[Any]]
    index: Path

    def array(self, name: str) -> NDArray[Any]:
        """One array by name; raises GenerationError when it is missing."""
        if name not in self.arrays:
            raise GenerationError("an array is missing", expected=name, got=", ".join(sorted(self.arrays)))
        return self.arrays[name]

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Arrays whose name starts with `prefix.`, without it."""
        return {
            name.removeprefix(f"{prefix}."): array
            for name, array in self.arrays.items()
            if name.startswith(f"{prefix}.")
        }


class Generations:
    """The generations of one workspace; with a `pinned` number that one counts as the live one, and none is made."""

    def __init__(self, directory: Path, pinned: int | None = None) -> None:
        self.directory = directory / "generations"
        self.pointer = directory / CURRENT
        self.pinned = pinned

    def numbers(self) -> list[int]:
        """Published numbers, rising; valid or not."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def current(self) -> int | None:
        """The number `CURRENT` names, None if there is none."""
        if self.pinned is not None:
            return self.pinned
        try:
            return int(self.pointer.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def open(self, warn: Callable[[str], None]) -> Generation | None:
        """The live generation, or the newest valid one before it; see `valid`."""
        return next(self.valid(warn), None)

    def valid(self, warn: Callable[[str], None]) -> Iterator[Generation]:
        """The live generation and those before it, newest first; `warn` is told of each that is damaged.

        Where `CURRENT` names none, the newest counts as the live one, and `warn` is told of that. One that is set aside
        is passed over in both cases; a pinned one has nothing before it. Raises GenerationError where that is missing.
        """
        if self.pinned is not None:
            yield self.load(self.pinned)
            return
        live = self.current()
        numbers = self.numbers()
        usable = [number for number in numbers if number == live or not self.is_aside(number)]
        if usable and live not in usable:
            warn(f"{CURRENT} names no generation that is there: the newest one is taken for it")
            live = usable[-1]
        for number in reversed(usable):
            if live is not None and number <= live:
                try:
                    yield self.load(number)
                except GenerationError as error:
                    warn(f"generation {number} is skipped: {error.problem} ({error.got})")

    def load(self, number: int) -> Generation:
        """Verify and open one generation; raises GenerationError when anything is missing or altered."""
        folder = self.directory / f"{number:06d}"
        manifest = self.manifest(number)
        try:
            found = _sha256s(folder / name for name in manifest.files)
            for (name, entry), sha256 in zip(manifest.files.items(), found, strict=True):
                if sha256 != entry["sha256"]:
                    raise GenerationError(
                        "a file is missing or altered",
                        got=name,
                        way_out="graphrec rebuild makes a new generation from the log",
                    )
            weights = load_file(folder / WEIGHTS)
            arrays: ArrayDict = {
                name.removesuffix(".npy"): np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
                for name in manifest.files
                if name.endswith(".npy")
            }
        except (OSError, ValueError, SafetensorError) as error:  # also: deleted by another process meanwhile
            raise GenerationError("a file cannot be read", got=str(error)) from None
        return Generation(manifest, weights, arrays, folder / INDEX)

    def manifest(self, number: int) -> Manifest:
        """Read a manifest; raises GenerationError when it is none, is altered or of another format."""
        path = self.directory / f"{number:06d}" / MANIFEST
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise GenerationError(f"{MANIFEST} cannot be read", got=str(error)) from None
        if manifest.format != FORMAT:
            raise GenerationError("the format is another one", expected=str(FORMAT), got=str(manifest.format))
        if manifest.seal != _seal(manifest) or manifest.number != number:
            raise GenerationError("a file is missing or altered", got=MANIFEST)
        return manifest

    @contextmanager
    def making(self) -> Iterator[None]:
        """Hold the workspace's one place for making a generation; raises BusyError when it is taken."""
        lock = FileLock(self.pointer.with_name("making.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise BusyError(
                "another process is making a generation of this workspace",
                way_out="wait for it: what it publishes includes all events stored before it began",
            ) from None
        try:
            for left_over in self.directory.glob(f"{_WRITING}*"):  # of a process that died
                shutil.rmtree(left_over, ignore_errors=True)
            yield
        finally:
            lock.release()

    def publish(
        self,
        draft: Manifest,
        weights: Arrays,
        arrays: Arrays,
        write_index: Callable[[Path], None],
        *,
        aside: bool = False,
    ) -> Manifest:
        """Write a generation and make it the live one, or set it aside; what the draft leaves out is filled in.

        Raises GenerationError when it cannot be written; the live one stays as it is then.
        """
        if self.pinned is not None:
            raise GenerationError(
                "this workspace is opened at one generation, to be asked only",
                got=f"generation {self.pinned}",
                way_out="open it without a generation to make one",
            )
        self.directory.mkdir(exist_ok=True)
        number = max(self.numbers(), default=0) + 1
        temporary = self.directory / f"{_WRITING}{number:06d}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, temporary / WEIGHTS)
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            write_index(temporary / INDEX)
            paths = sorted(temporary.iterdir())
            files = {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256}
                for path, sha256 in zip(paths, _sha256s(paths), strict=True)
            }
            listed = json.dumps({name: entry["sha256"] for name, entry in files.items()}, sort_keys=True)
            manifest = replace(
                draft,
                number=number,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                files=files,
                digest=hashlib.sha256(listed.encode()).hexdigest(),
            )
            manifest = replace(manifest, seal=_seal(manifest))
            (temporary / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
            if aside:  # before it has a name: a crash never leaves a held one that looks like any other
                (temporary / SET_ASIDE).write_text("held by the gate\n", encoding="ascii")
            for path in temporary.iterdir():
                sync(path)
            sync(temporary)
            temporary.rename(self.directory / f"{number:06d}")
            sync(self.directory)
            if not aside:
                self.point_to(number)
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError is what FAISS makes of a full disk
            raise GenerationError(
                "the generation could not be written; the live one is untouched", got=str(error)
            ) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return manifest

    def point_to(self, number: int) -> None:
        """Make a published generation the live one; raises GenerationError when there is none of that number."""
        self.manifest(number)
        temporary = self.pointer.with_name(f"{CURRENT}-{os.getpid()}")
        temporary.write_text(f"{number}\n", encoding="ascii")
        sync(temporary)
        temporary.replace(self.pointer)
        sync(self.pointer.parent)
        (self.directory / f"{number:06d}" / SET_ASIDE).unlink(missing_ok=True)

    def is_aside(self, number: int) -> bool:
        """Whether a generation is held by the gate or rolled back."""
        return (self.directory / f"{number:06d}" / SET_ASIDE).exists()

    def make_live(self, number: int) -> Manifest:
        """Verify a generation that exists and make it the live one, whether it is older, held or rolled back.

        Raises GenerationError when it is not there or damaged.
        """
        generation = self.load(number)
        self.point_to(number)
        return generation.manifest

    def rollback(self, to: int | None = None) -> Manifest:
        """Return to an older generation, by default the newest good one before the live one; set aside what is newer.

        Before a live snapshot is what was before its origin, which answers as it does. Nothing opens those set aside,
        not even when all others are damaged, and their numbers are not given again. Raises GenerationError when there
        is nothing older, or the one asked for is not older, missing or damaged.
        """
        live = self.current()
        older = [number for number in self.numbers() if live is not None and number < live]
        if to is None:
            older = [number for number in older if number < self._origin(live)]
            generation = next((found for number in reversed(older) if (found := self._usable(number))), None)
        elif to in older:
            generation = self.load(to)
        else:
            generation = None
        if generation is None:
            raise GenerationError(
                "there is no such generation to return to",
                expected=f"one of {', '.join(map(str, older))}" if older else "a generation older than the live one",
                got=f"{'the one before' if to is None else to}, with {'none' if live is None else live} live",
                way_out="graphrec publish makes a newer one live, graphrec train makes another",
            )
        target = generation.manifest.number
        for number in self.numbers():
            if number > target:
                (self.directory / f"{number:06d}" / SET_ASIDE).write_text("rolled back\n", encoding="ascii")
        self.point_to(target)  # last: until then the live one is opened, set aside or not
        return generation.manifest

    def _origin(self, number: int | None) -> int:
        """The generation that a snapshot, or a snapshot of a snapshot, is of; of others the number itself."""
        with suppress(GenerationError):
            while number is not None and (manifest := self.manifest(number)).made_by == "snapshot":
                number = manifest.parent
        return number or 0

    def _usable(self, number: int) -> Generation | None:
        """A generation, unless it is set aside or damaged."""
        try:
            return None if self.is_aside(number) else self.load(number)
        except GenerationError:
            return None

    def drop(self, number: int) -> None:
        """Delete a generation, unless it is the live one."""
        if number != self.current():
            shutil.rmtree(self.directory / f"{number:06d}", ignore_errors=True)

    def prune(self, keep: int) -> list[int]:
        """Delete all but the newest `keep` generations, and as many that are not set aside, and the live one.

        Returns the deleted numbers. The newest stays, so that no number is given twice.
        """
        live = self.current()
        numbers = self.numbers()
        good = [number for number in numbers if not self.is_aside(number)]
        kept = {*numbers[max(len(numbers) - keep, 0) :], *good[max(len(good) - keep, 0) :]}
        removed = [number for number in numbers if number != live and number not in kept]
        for number in removed:
            shutil.rmtree(self.directory / f"{number:06d}", ignore_errors=True)
        return removed


def _seal(manifest: Manifest) -> str:
    unsealed = json.dumps(asdict(replace(manifest, seal="")))
    return hashlib.sha256(unsealed.encode()).hexdigest()


def _sha256s(paths: Iterable[Path]) -> list[str]:
    """Checksum of each file, several at a time; empty for one that is missing."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_sha256, paths))


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
