"""Which workspaces one service serves, and under which names: alone at the root, or several as tenants."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphrec.errors import ConfigError
from graphrec.service.address import is_loopback
from graphrec.service.keys import Keys
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graphrec.operation_settings import ServeSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Tenant:
    """A workspace that is served. name: its place is /t/NAME/; "" = it is the only one, and at the root."""

    name: str
    directory: Path
    settings: ServeSettings

    @property
    def argument(self) -> str:
        """What `tenants_of` makes it of."""
        return f"{self.name}={self.directory}" if self.name else str(self.directory)

    def check_address(self) -> None:
        """Raise ConfigError where others than this machine could ask and no key is in force."""
        if not (is_loopback(self.settings.host) or Keys(self.directory)):
            raise ConfigError(
                f"a service at {self.settings.host} can be reached from elsewhere, and there is no key of "
                f"{self.name or 'the workspace'}",
                expected="a key, or an address of this machine only",
                way_out=f"graphrec key add {self.directory}, or --host 127.0.0.1",
            )


def tenants_of(arguments: Sequence[str], options: Mapping[str, Any]) -> list[Tenant]:
    """Read the arguments of `graphrec serve`, PATH or NAME=PATH, with options that go before every [serve].

    One path is served alone, at the root. Of several each has a name, that of its directory where none is given. Raises
    ConfigError for a name that cannot be part of an address or comes twice, for a workspace that comes twice, and for
    different hosts or ports; WorkspaceError.
    """
    pairs = [_pair(argument) for argument in arguments]
    alone = len(pairs) == 1 and pairs[0][0] is None
    tenants: list[Tenant] = []
    for given, directory in pairs:
        settings = Workspace(directory).config.serve.model_copy(update=options)
        name = "" if alone else Path(os.path.abspath(directory)).name if given is None else given
        if not alone:
            _check(name, directory, tenants)
        tenants.append(Tenant(name, directory, settings))
    addresses = {(tenant.settings.host, tenant.settings.port) for tenant in tenants}
    if len(addresses) > 1:
        raise ConfigError(
            "the workspaces name different addresses in [serve]",
            expected="one for all",
            got=", ".join(sorted(f"{host} port {port}" for host, port in addresses)),
            way_out="--host and --port",
        )
    return tenants


def _pair(argument: str) -> tuple[str | None, Path]:
    """Name, None where none is given, and directory; a directory whose own name has a `=` is one."""
    name, equals, directory = argument.partition("=")
    return (None, Path(argument)) if not equals or Path(argument).is_dir() else (name, Path(directory))


def _check(name: str, directory: Path, others: Sequence[Tenant]) -> None:
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            "the name of a tenant is part of its address",
            expected="letters, digits, - and _, a letter or digit first, 63 at most",
            got=repr(name),
            way_out=f"NAME={directory}",
        )
    for other in others:
        if other.directory.samefile(directory):
            raise ConfigError("one workspace comes twice", got=f"{other.argument} and {directory}")
        if other.name == name:
            raise ConfigError(
                "two tenants have one name",
                got=f"{name}, of {other.directory} and {directory}",
                way_out=f"OTHER={directory}",
            )
