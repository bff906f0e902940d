"""Is this workspace healthy? One line a check, each with what to do when it is not."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from graphrec.embedding.node_features import unit_rows
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import ConfigError, GenerationError, GraphrecError
from graphrec.generation import Generations
from graphrec.jobs.runner import JobRunner
from graphrec.recommender import Recommender
from graphrec.retrieval.vector_index import import_faiss
from graphrec.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

_FREE_BYTES = 1 << 30
_WAL_RESET_FIXED = (3, 51, 3)
_SETTINGS = "correct graphrec.toml"
_PROBES = 50  # users whose lists from the index are compared with a brute-force scan
_PACKAGES = ("torch", "torch-geometric", "transformers", "faiss-cpu", "faiss-gpu", "numpy", "numba", "SQLAlchemy")


@dataclass(frozen=True)
class Check:
    """One finding: `level` is ok, warning or problem."""

    name: str
    level: str
    finding: str
    way_out: str = ""


def examine(directory: str | Path) -> list[Check]:
    """Run every check on a workspace; raises WorkspaceError where there is none to examine."""
    try:
        workspace = Workspace(directory)
    except ConfigError as error:
        return [_versions(), _sqlite(), _faiss(), Check("settings", "problem", str(error), _SETTINGS)]
    checks = [_versions(), _sqlite(), _faiss(), _disk(workspace), _text_model(workspace), *_generations(workspace)]
    try:
        with Recommender(workspace) as recommender:
            checks.append(Check("store", "ok", f"{recommender.status().events} events, offset {recommender.offset}"))
            checks.append(_sums(recommender))
            checks.append(_index(recommender))
    except GraphrecError as error:
        checks.append(Check("opening", "problem", str(error), error.way_out or ""))
    checks += _schedule(workspace)
    bad_rows = workspace.quarantine.count()
    if bad_rows:
        where = f"read {workspace.directory / 'quarantine'}, correct the rows, ingest again"
        checks.append(Check("quarantine", "warning", f"{bad_rows} rows", where))
    return checks


def _versions() -> Check:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return Check("versions", "ok", f"python {platform.python_version()}, {', '.join(found)}")


def _sqlite() -> Check:
    if sqlite3.sqlite_version_info >= _WAL_RESET_FIXED:
        return Check("sqlite", "ok", sqlite3.sqlite_version)
    # Two connections that write and checkpoint at once may corrupt a log; our writers take turns, which avoids it.
    return Check("sqlite", "ok", f"{sqlite3.sqlite_version}; writers take turns, as versions before 3.51.3 need")


def _faiss() -> Check:
    try:
        faiss = import_faiss()
    except GraphrecError as error:
        return Check("faiss", "problem", error.problem, error.way_out or "")
    gpus = faiss.get_num_gpus()
    return Check("faiss", "ok", f"{faiss.__version__}, {gpus} GPU{'' if gpus == 1 else 's'}")


def _disk(workspace: Workspace) -> Check:
    free = shutil.disk_usage(workspace.directory).free
    level = "ok" if free > max(_FREE_BYTES, 2 * workspace.bytes_on_disk()) else "warning"
    way_out = "" if level == "ok" else "a new generation needs as much room as the workspace has now"
    return Check("disk", level, f"{free / 2**30:.1f} GiB free", way_out)


def _text_model(workspace: Workspace) -> Check:
    try:
        return Check("text model", "ok", TextEncoder(workspace.config.text).identity)
    except GraphrecError as error:
        return Check("text model", "problem", error.problem, error.way_out or "")


def _generations(workspace: Workspace) -> list[Check]:
    generations = Generations(workspace.directory)
    live, checks = generations.current(), []
    for number in generations.numbers():
        name = f"generation {number}" + (" (live)" if number == live else "")
        try:
            manifest = generations.load(number).manifest
            checks.append(Check(name, "ok", f"{manifest.made_by} at offset {manifest.offset}, checksums right"))
        except GenerationError as error:
            checks.append(Check(name, "problem", f"{error.problem}: {error.got}", error.way_out or "graphrec rebuild"))
    if not checks:
        checks.append(Check("generations", "warning", "none yet", "graphrec train"))
    return checks


def _schedule(workspace: Workspace) -> list[Check]:
    """When each job of [schedule] runs next, or why it never would."""
    try:
        with JobRunner(workspace, _opens_nothing) as runner:
            now = runner.now()
            plan = runner.plan(now, remember=False)
    except ConfigError as error:
        return [Check("schedule", "problem", str(error), error.way_out or _SETTINGS)]
    except GraphrecError:
        return []  # the store, of which another check speaks
    checks = []
    for run in plan:
        when = "now" if run.is_due(now) else "" if run.at is None else f"{run.at:%Y-%m-%d %H:%M:%S} UTC"
        checks.append(Check(f"schedule of {run.job}", "ok", f"next {when}: {run.reason}" if when else run.reason))
    return checks or [Check("schedule", "ok", "nothing is scheduled")]


def _opens_nothing() -> NoReturn:
    raise AssertionError("doctor runs no job")


def _sums(recommender: Recommender) -> Check:
    """Whether the running sums are those of the graph."""
    found = recommender.scrub(visits=sys.maxsize)
    if found is None:
        return Check("sums", "ok", "none before the first training")
    damaged = len(found.repaired_users) + len(found.repaired_items)
    finding = f"{found.users} users, {found.items} items formed anew, largest drift {found.drift:.1e}"
    if not damaged:
        return Check("sums", "ok", finding)
    return Check("sums", "problem", f"{finding}, {damaged} damaged", "open the workspace again: this copy is repaired")


def _index(recommender: Recommender) -> Check:
    """Whether index rows are the item vectors, and its answers those of a brute-force scan."""
    index, propagation = recommender.retriever.index, recommender.retriever.propagation
    if index is None or propagation is None:
        return Check("index", "ok", "none before the first training")
    rows = index.rows
    drift = float(np.abs(rows[:, :-1] - unit_rows(propagation.item_vectors)).max(initial=0))
    found = wanted = 0
    for user in np.random.default_rng(0).permutation(len(recommender.users))[:_PROBES]:
        query = recommender.retriever.query(int(user))
        if query is None:
            continue
        k = min(20, len(index))
        scores = index.search(query[None], k).scores
        exact = np.sort(rows @ query)[::-1][:k]
        wanted += k
        found += int((scores[0] >= exact[-1] - 1e-4).sum())
    recall = found / wanted if wanted else 1.0
    finding = f"{len(index)} rows, largest drift {drift:.1e}, recall {recall:.4f} against brute force"
    good = drift < 1e-4 and recall > 0.99
    return Check("index", "ok" if good else "problem", finding, "" if good else "graphrec rebuild")
