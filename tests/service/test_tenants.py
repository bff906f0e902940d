"""Which workspaces are served under which names, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphrec.errors import ConfigError, WorkspaceError
from graphrec.service.keys import Keys
from graphrec.service.tenants import tenants_of
from graphrec.workspace import Workspace


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Two new workspaces."""
    return tuple(str(Workspace.create(tmp_path / name).directory) for name in ("shop", "books"))


def names(arguments: list[str]) -> list[str]:
    return [tenant.name for tenant in tenants_of(arguments, {})]


def test_one_path_is_served_alone_and_of_several_each_has_a_name(two: tuple[str, str], tmp_path: Path) -> None:
    shop, books = two
    assert names([shop]) == [""]
    assert names([shop, books]) == ["shop", "books"]
    assert names([f"{shop}/", f"other={books}"]) == ["shop", "other"]
    assert names([f"only={shop}"]) == ["only"]
    odd = str(Workspace.create(tmp_path / "a=b").directory)
    assert names([odd]) == [""]
    assert names([f"odd={odd}", books]) == ["odd", "books"]
    for arguments in ([shop], [f"only={shop}"], [f"odd={odd}", books]):
        told = tenants_of(arguments, {})
        assert tenants_of([tenant.argument for tenant in told], {}) == told


def test_the_name_of_the_directory_counts_wherever_one_stands(
    two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two[0])
    assert names([".", "../books"]) == ["shop", "books"]


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a/b", "../a", "a.b", "-a", "_a", "a b", "é", "a%2fb", "a\n", "x" * 64]
)
def test_a_name_that_is_no_part_of_an_address_is_refused(two: tuple[str, str], name: str) -> None:
    with pytest.raises(ConfigError, match="part of its address"):
        tenants_of([f"{name}={two[0]}", two[1]], {})


def test_the_name_of_a_directory_is_judged_too(two: tuple[str, str], tmp_path: Path) -> None:
    odd = str(Workspace.create(tmp_path / "my shop").directory)
    with pytest.raises(ConfigError, match="NAME="):
        tenants_of([two[0], odd], {})


def test_one_workspace_or_one_name_twice_is_refused(two: tuple[str, str], tmp_path: Path) -> None:
    shop, books = two
    (tmp_path / "link").symlink_to(shop)
    for again in (shop, f"again={shop}", f"{shop}/../shop", str(tmp_path / "link")):
        with pytest.raises(ConfigError, match="twice"):
            tenants_of([shop, again], {})
    with pytest.raises(ConfigError, match="one name"):
        tenants_of([shop, f"shop={books}"], {})


def test_a_path_to_no_workspace_is_refused(two: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        tenants_of([two[0], str(tmp_path)], {})


def test_one_address_for_all(two: tuple[str, str]) -> None:
    (Path(two[1]) / "graphrec.toml").write_text("[serve]\nport = 9000\nthreads = 5\n")
    with pytest.raises(ConfigError, match="--host and --port"):
        tenants_of(two, {})
    shop, books = tenants_of(two, {"port": 7000})
    assert (shop.settings.port, books.settings.port, books.settings.threads) == (7000, 7000, 5)


def test_beyond_loopback_each_needs_a_key_of_its_own(two: tuple[str, str]) -> None:
    def check() -> None:
        for tenant in tenants_of(two, {"host": "0.0.0.0"}):
            tenant.check_address()

    Keys(Path(two[0])).add("one", ["read"])
    with pytest.raises(ConfigError, match="no key of books"):
        check()
    Keys(Path(two[1])).add("one", ["read"])
    check()
