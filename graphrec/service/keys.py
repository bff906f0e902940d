"""API keys: shown once, kept as hashes, each with scopes.

A key is `gr_ID_SECRET`; its 32 random bytes need no slow hash, since nobody can guess them. The file `keys.json` of a
workspace, readable by its owner only, holds ids, names, scopes and SHA-256 hashes. A service reads it again when it has
changed, so that a key is revoked without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import filelock

from graphrec.errors import ConfigError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READ, WRITE, ADMIN = SCOPES = ("read", "write", "admin")
FILE = "keys.json"
_NOBODY = "0" * 64  # compared with where there is no such id, which takes as long


@dataclass(frozen=True)
class Key:
    """One key as it is kept. revoked: when, ISO 8601; None while it opens anything."""

    id: str
    name: str
    scopes: tuple[str, ...]
    hash: str
    created: str
    revoked: str | None = None

    def opens(self, scope: str) -> bool:
        """Whether it may be used for this; `admin` opens everything."""
        return scope in self.scopes or ADMIN in self.scopes


class Keys:
    """The keys of a workspace; raises ConfigError where their file is not understood."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._read_at: tuple[int, int] | None = None  # what the file was when it was read
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        self._refresh()
        return list(self._keys.values())

    def __bool__(self) -> bool:
        """Whether any key is in force."""
        self._refresh()
        return any(key.revoked is None for key in self._keys.values())

    def add(self, name: str, scopes: Sequence[str]) -> tuple[Key, str]:
        """Make a key; returns what is kept, and the key itself, which nobody can tell again. Raises InputError."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise InputError("the scopes of a key", expected=", ".join(SCOPES), got=", ".join(unknown) or "none")
        secret = secrets.token_urlsafe(32)
        key = Key(secrets.token_hex(4), name, tuple(dict.fromkeys(scopes)), _hash(secret), _now())
        with self._lock():
            self._write([*self.all(), key])
        return key, f"gr_{key.id}_{secret}"

    def revoke(self, key_id: str) -> Key:
        """Have a key open nothing from now on; raises InputError for one that is not there."""
        with self._lock():
            keys = {key.id: key for key in self.all()}
            if key_id not in keys:
                raise InputError(f"there is no key {key_id!r}", expected=", ".join(keys) or "none has been made yet")
            keys[key_id] = replace(keys[key_id], revoked=keys[key_id].revoked or _now())
            self._write(list(keys.values()))
        return keys[key_id]

    def find(self, presented: str) -> Key | None:
        """The key in force that was presented, None if it is none; takes the same time whatever it holds."""
        self._refresh()
        prefix, _, rest = presented.partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        same = hmac.compare_digest(_hash(secret), _NOBODY if key is None else key.hash)
        return key if same and prefix == "gr" and key is not None and key.revoked is None else None

    def _refresh(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._keys, self._read_at = {}, None
            return
        now = found.st_mtime_ns, found.st_ino
        if now == self._read_at:
            return
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
            self._keys = {row["id"]: Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path} is not understood", got=str(error), way_out="remove it and add keys anew"
            ) from None
        self._read_at = now

    def _lock(self) -> filelock.FileLock:
        return filelock.FileLock(f"{self._path}.lock", timeout=10)

    def _write(self, keys: Sequence[Key]) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump({"keys": [asdict(key) for key in keys]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
