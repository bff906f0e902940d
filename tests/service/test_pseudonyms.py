from __future__ import annotations

import stat
from pathlib import Path

import pytest

from graphrec.errors import ConfigError
from graphrec.service.pseudonyms import FILE, Pseudonyms


def test_a_user_has_one_other_name_in_a_workspace_and_another_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, again = (Pseudonyms(tmp_path / "a", at_the_door=True) for _ in range(2))
    there = Pseudonyms(tmp_path / "b", at_the_door=True)
    assert here.user("17850") == again.user("17850") != there.user("17850")
    assert here.user("17850") != here.user("17851")
    assert "17850" not in here.user("17850")
    assert stat.S_IMODE((tmp_path / "a" / FILE).stat().st_mode) == 0o600


def test_without_the_setting_users_keep_their_names_and_logs_mask_them(tmp_path: Path) -> None:
    plain = Pseudonyms(tmp_path, at_the_door=False)
    assert plain.user("17850") == "17850"
    assert plain.mask("17850") == plain.mask("17850") != Pseudonyms(tmp_path, at_the_door=False).mask("17850")
    assert "17850" not in plain.mask("17850")
    assert not (tmp_path / FILE).exists()


def test_a_key_file_that_is_none_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("oops")
    with pytest.raises(ConfigError, match="holds no key"):
        Pseudonyms(tmp_path, at_the_door=True)
    assert (tmp_path / FILE).read_text() == "oops"
