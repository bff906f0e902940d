"""Other names for users: what the log holds and what the logs show.

A pseudonym is a keyed hash of a user's id (BLAKE2b, 128 bits). With `[serve] pseudonyms` ids become pseudonyms at the
door and the true ones are written nowhere; whoever has no `pseudonym.key` can neither undo them nor try ids out.
Without the setting ids are kept as they are, and only log lines show a short one, of a key that dies with the process.
"""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING

from graphrec.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "pseudonym.key"
_BYTES, _MASK_BYTES = 16, 4


class Pseudonyms:
    """Names users at the door (`user`) and in log lines (`mask`).

    at_the_door: whether ids are replaced. Raises ConfigError where the key file is none.
    """

    def __init__(self, directory: Path, *, at_the_door: bool) -> None:
        self._key = _kept_key(directory / FILE) if at_the_door else None
        self._mask_key = secrets.token_bytes(32)

    def user(self, user: str) -> str:
        """What the log calls a user."""
        return user if self._key is None else f"p{_hashed(user, self._key, _BYTES)}"

    def mask(self, user: str) -> str:
        """What a log line calls a user."""
        return _hashed(user, self._mask_key, _MASK_BYTES)


def _hashed(user: str, key: bytes, size: int) -> str:
    return blake2b(user.encode(errors="surrogatepass"), key=key, digest_size=size).hexdigest()


def _kept_key(path: Path) -> bytes:
    """The key of a workspace, made when it is first asked for and readable by its owner only."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = path.read_text(encoding="ascii", errors="replace").strip()
        if len(text) != 64 or any(letter not in "0123456789abcdef" for letter in text):
            raise ConfigError(
                f"{path} holds no key",
                expected="64 hexadecimal digits",
                way_out="restore it: users cannot be known again",
            ) from None
        return bytes.fromhex(text)
    key = secrets.token_bytes(32)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex())
        file.flush()
        os.fsync(file.fileno())
    return key
