from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from graphrec.errors import ConfigError, InputError
from graphrec.service.keys import FILE, Keys


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert not keys
    kept, key = keys.add("shop front", ["read", "write"])
    text = (tmp_path / FILE).read_text()
    assert key not in text
    assert key.rpartition("_")[2] not in text
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert keys
    assert keys.find(key) == kept
    assert (kept.opens("read"), kept.opens("write"), kept.opens("admin")) == (True, True, False)


def test_nothing_but_the_whole_key_opens(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    first, one = keys.add("one", ["read"])
    _, other = keys.add("other", ["admin"])
    mixed = f"gr_{first.id}_{other.split('_', 2)[2]}"
    for wrong in ("", "gr", f"gr_{first.id}_", one[:-1], f"{one}x", mixed, one.replace("gr_", "xx_"), "gr_00000000_a"):
        assert keys.find(wrong) is None


def test_admin_opens_everything_and_scopes_must_be_known(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    assert all(keys.add("a", ["admin"])[0].opens(scope) for scope in ("read", "write", "admin"))
    for wrong in ([], ["root"]):
        with pytest.raises(InputError, match="scopes"):
            keys.add("b", wrong)


def test_a_revoked_key_opens_nothing_in_a_service_that_runs(tmp_path: Path) -> None:
    running = Keys(tmp_path)
    kept, key = Keys(tmp_path).add("one", ["read"])
    assert running.find(key) is not None
    Keys(tmp_path).revoke(kept.id)
    assert running.find(key) is None
    assert not running
    assert running.all()[0].revoked
    with pytest.raises(InputError, match="no key"):
        running.revoke("nothing")


def test_a_damaged_file_opens_nothing(tmp_path: Path) -> None:
    _, key = Keys(tmp_path).add("one", ["read"])
    (tmp_path / FILE).write_text(json.dumps({"keys": [{"id": "x"}]}))
    with pytest.raises(ConfigError, match="not understood"):
        Keys(tmp_path).find(key)
