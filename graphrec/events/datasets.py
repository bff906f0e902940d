"""Public data sets: the sample that comes with graphrec, and the plain pair files of the LightGCN papers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from graphrec.errors import InputError

_LARGEST = np.iinfo(np.int32).max


class SampleFiles(NamedTuple):
    """A data set that `ingest` can read as it is."""

    events: Path
    items: Path


class Pairs(NamedTuple):
    """Who touched what, without time: int32[n] each, numbered by the data set."""

    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]


def online_retail(directory: str | Path) -> SampleFiles:
    """Find the Online Retail sample (Chen 2015, CC BY 4.0) in the `data` directory; raises InputError without it."""
    folder = Path(directory, "online-retail")
    files = SampleFiles(folder / "events.parquet", folder / "items.parquet")
    for path in files:
        if not path.is_file():
            raise InputError(
                f"there is no {path}",
                expected="the data directory of a source checkout of graphrec",
                way_out="name that directory",
            )
    return files


def lightgcn_pairs(path: str | Path) -> Pairs:
    """Read a LightGCN file, a line a user: its number, then its items' numbers (He et al. 2020).

    Raises InputError with the line that is not made of numbers.
    """
    users: list[int] = []
    items: list[int] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", got=str(error)) from None
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not all(field.isdecimal() and int(field) <= _LARGEST for field in fields):
            raise InputError(
                f"{path}, line {number} is not understood", expected="lines of `user item item …`", got=line[:80]
            )
        users.extend([int(fields[0])] * (len(fields) - 1) if fields else [])
        items.extend(map(int, fields[1:]))
    return Pairs(np.array(users, np.int32), np.array(items, np.int32))
