"""Generations: complete, immutable, checksummed snapshots of derived state; published whole or not at all.

    generations/000007/   weights.safetensors · *.npy · index.faiss · manifest.json
    CURRENT               the live generation's number, replaced by rename

A generation is written under a temporary name, every file synced, then renamed, then the folder synced, and `CURRENT`
replaced last: a crash at any point leaves the old one or the new one. FAISS and safetensors load flipped bits without a
word, so nothing is read before its SHA-256 has been checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from graphrec.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FORMAT = 1
MANIFEST = "manifest.json"
CURRENT = "CURRENT"
WEIGHTS = "weights.safetensors"
INDEX = "index.faiss"


@dataclass(frozen=True)
class Manifest:
    """What a generation is and holds. `digest` is over the contents, not over number, time or parent."""

    number: int
    offset: int  # last event it has absorbed
    catalogue_offset: int  # last catalogue version it has absorbed
    made_by: str  # "train" or "rebuild"
    parent: int | None
    settings: dict[str, Any]  # what the saved arrays depend on
    metrics: dict[str, Any]
    created: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    digest: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class Generation:
    """A verified generation, opened: weights in memory, arrays mapped from disk."""

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
    """The generations of one workspace."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "generations"
        self.pointer = directory / CURRENT

    def numbers(self) -> list[int]:
        """Published numbers, rising; valid or not."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def current(self) -> int | None:
        """The number `CURRENT` names, None if there is none."""
        try:
            return int(self.pointer.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def open(self, warn: Callable[[str], None]) -> Generation | None:
        """The live generation, or the newest valid one before it; `warn` is told of each that is damaged."""
        live = self.current()
        numbers = self.numbers()
        older = [number for number in reversed(numbers) if live is None or number < live]
        for number in ([live] if live in numbers else []) + older:
            try:
                return self.load(number)
            except GenerationError as error:
                warn(f"generation {number} is skipped: {error.problem} ({error.got})")
        return None

    def load(self, number: int) -> Generation:
        """Verify and open one generation; raises GenerationError when anything is missing or altered."""
        folder = self.directory / f"{number:06d}"
        manifest = self.manifest(number)
        for name, entry in manifest.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
                raise GenerationError(
                    "a file is missing or altered",
                    got=name,
                    way_out="graphrec rebuild makes a new generation from the log",
                )
        try:
            weights = load_file(folder / WEIGHTS)
        except SafetensorError as error:
            raise GenerationError("the weights cannot be read", got=str(error)) from None
        arrays = {
            name.removesuffix(".npy"): np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in manifest.files
            if name.endswith(".npy")
        }
        return Generation(manifest, weights, arrays, folder / INDEX)

    def manifest(self, number: int) -> Manifest:
        """Read a manifest; raises GenerationError when it is not one."""
        path = self.directory / f"{number:06d}" / MANIFEST
        try:
            manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise GenerationError("the manifest cannot be read", got=str(error)) from None
        if manifest.format != FORMAT:
            raise GenerationError("the format is another one", expected=str(FORMAT), got=str(manifest.format))
        return manifest

    def publish(
        self, draft: Manifest, weights: Arrays, arrays: Arrays, write_index: Callable[[Path], None]
    ) -> Manifest:
        """Write a generation and make it the live one; number, time, files and digest of the draft are filled in."""
        self.directory.mkdir(exist_ok=True)
        number = max(self.numbers(), default=0) + 1
        temporary = self.directory / f"writing-{number:06d}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, temporary / WEIGHTS)
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            write_index(temporary / INDEX)
            files = {
                path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
                for path in sorted(temporary.iterdir())
            }
            listed = json.dumps({name: entry["sha256"] for name, entry in files.items()}, sort_keys=True)
            manifest = Manifest(
                **{
                    **asdict(draft),
                    "number": number,
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "files": files,
                    "digest": hashlib.sha256(listed.encode()).hexdigest(),
                }
            )
            (temporary / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
            for path in temporary.iterdir():
                _sync(path)
            _sync(temporary)
            temporary.rename(self.directory / f"{number:06d}")
            _sync(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise GenerationError(
                "the generation could not be written; the live one is untouched", got=str(error)
            ) from None
        self.point_to(number)
        return manifest

    def point_to(self, number: int) -> None:
        """Make a published generation the live one."""
        temporary = self.pointer.with_name(f"{CURRENT}-{os.getpid()}")
        temporary.write_text(f"{number}\n", encoding="ascii")
        _sync(temporary)
        temporary.replace(self.pointer)
        _sync(self.pointer.parent)

    def prune(self, keep: int) -> list[int]:
        """Delete all but the newest `keep` generations, never the live one; returns the deleted numbers."""
        live = self.current()
        removed = [number for number in self.numbers()[:-keep] if number != live]
        for number in removed:
            shutil.rmtree(self.directory / f"{number:06d}")
        return removed


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk: none of the libraries that write them does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
