"""Public data sets: the sample that comes with graphrec, and the plain pair files of the LightGCN papers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from graphrec.errors import InputError


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
    """Read a LightGCN file, a line a user: its number, then its items' numbers (He et al. 2020); raises InputError."""
    users: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
    items = list(users)
    try:
        with Path(path).open(encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                row = np.array(line.split(), np.int32)
                if (row < 0).any():
                    raise ValueError(f"line {number}: a negative number")
                users.append(np.full(max(len(row) - 1, 0), row[0] if len(row) else 0, np.int32))
                items.append(row[1:])
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"cannot read {path}", expected="lines of `user item item …`", got=str(error)[:200]) from None
    return Pairs(np.concatenate(users), np.concatenate(items))
