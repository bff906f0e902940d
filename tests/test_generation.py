"""Generations: what is published comes back bit for bit, or not at all; a crash leaves the old one or the new one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphrec.generation as generation_module
from graphrec.errors import GenerationError
from graphrec.generation import CURRENT, INDEX, MANIFEST, WEIGHTS, Generations, Manifest

DRAFT = Manifest(
    number=0,
    offset=12,
    catalogue_offset=3,
    learned_until=11,
    made_by="train",
    parent=None,
    settings={"half_life_days": float("inf"), "kinds": {"view": 1.0}},
    text_model="words",
    metrics={"recall@20": 0.25},
    choices={"popularity_half_life_days": float("inf"), "filter": {"slope": 3.0}},
)
FILES = [WEIGHTS, "texts.npy", "graph.reference.npy", "nothing.npy", INDEX, MANIFEST]


def publish(directory: Path, value: float = 1.0, draft: Manifest = DRAFT) -> Manifest:
    """A generation whose every array holds `value`."""
    weights = {"model.score": np.full(2, value, np.float32), "empty": np.zeros((0, 3), np.float32)}
    arrays = {
        "texts": np.full((3, 2), value, np.float32),
        "graph.reference": np.array([int(value)]),
        "nothing": np.zeros((4, 0), np.float32),
    }
    return Generations(directory).publish(draft, weights, arrays, lambda path: path.write_bytes(b"%f" % value))


def opened(directory: Path) -> tuple[int | None, list[str]]:
    """Number of the generation that opens, all of whose parts must be of one publication, and the warnings."""
    warnings: list[str] = []
    generation = Generations(directory).open(warnings.append)
    if generation is None:
        return None, warnings
    value = float(generation.weights["model.score"][0])
    assert (generation.weights["model.score"] == value).all()
    assert (generation.array("texts") == value).all()
    assert generation.part("graph")["reference"].tolist() == [int(value)]
    assert generation.index.read_bytes() == b"%f" % value
    return generation.manifest.number, warnings


def test_what_is_published_comes_back(tmp_path: Path) -> None:
    published = publish(tmp_path, 5.0)
    generations = Generations(tmp_path)
    generation = generations.load(1)
    assert generation.manifest == published == generations.manifest(1)
    assert replace(published, created="", files={}, digest="", seal="", number=0) == DRAFT
    assert set(published.files) == set(FILES) - {MANIFEST}
    assert generation.weights["empty"].shape == (0, 3)
    assert generation.array("nothing").shape == (4, 0)
    assert opened(tmp_path) == (1, [])
    assert generations.current() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURRENT, "generations"]
    with pytest.raises(GenerationError, match="missing"):
        generation.array("no such")


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    first, again, other = publish(tmp_path, 1.0), publish(tmp_path, 1.0, replace(DRAFT, parent=1)), publish(tmp_path, 2)
    assert first.digest == again.digest != other.digest
    assert len({first.seal, again.seal, other.seal}) == 3


def test_an_empty_workspace_has_none(tmp_path: Path) -> None:
    assert Generations(tmp_path).numbers() == []
    assert opened(tmp_path) == (None, [])


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"{")


@pytest.mark.parametrize("damage", [truncate, empty, flip, lengthen, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_the_previous_one_opens(tmp_path: Path, name: str, damage) -> None:
    publish(tmp_path, 1.0)
    publish(tmp_path, 2.0)
    damage(tmp_path / "generations" / "000002" / name)
    with pytest.raises(GenerationError, match=name.replace(".", r"\.")):
        Generations(tmp_path).load(2)
    number, (warning,) = opened(tmp_path)
    assert number == 1
    assert "generation 2 is skipped" in warning
    assert name in warning


@pytest.fixture(scope="module")
def manifest_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    directory = tmp_path_factory.mktemp("sealed")
    publish(directory)
    return directory, (directory / "generations" / "000001" / MANIFEST).read_bytes()


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_no_bit_of_a_manifest_can_lie(manifest_text: tuple[Path, bytes], place: int, bit: int) -> None:
    directory, text = manifest_text
    content = bytearray(text)
    content[place % len(text)] ^= 1 << bit
    (directory / "generations" / "000001" / MANIFEST).write_bytes(content)
    try:
        read = Generations(directory).manifest(1)
    except GenerationError:
        return
    assert json.loads(content) == json.loads(text)  # white space
    assert read.offset == DRAFT.offset


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"number": 1}', "not JSON", "\xff"])
def test_a_manifest_of_another_shape(tmp_path: Path, text: str) -> None:
    publish(tmp_path)
    (tmp_path / "generations" / "000001" / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(GenerationError, match="manifest"):
        Generations(tmp_path).load(1)


def test_a_manifest_of_another_format(tmp_path: Path) -> None:
    publish(tmp_path)
    path = tmp_path / "generations" / "000001" / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(GenerationError, match="format"):
        Generations(tmp_path).load(1)


def test_a_generation_is_not_taken_for_another(tmp_path: Path) -> None:
    publish(tmp_path, 1.0)
    shutil.copytree(tmp_path / "generations" / "000001", tmp_path / "generations" / "000002")
    with pytest.raises(GenerationError):
        Generations(tmp_path).load(2)


def test_all_damaged_is_none_with_a_warning_each(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        flip(tmp_path / "generations" / f"{publish(tmp_path, value).number:06d}" / WEIGHTS)
    number, warnings = opened(tmp_path)
    assert number is None
    assert [warning.split(" is")[0] for warning in warnings] == ["generation 2", "generation 1"]


@pytest.mark.parametrize("content", [None, b"", b"seven", b"\xff\xfe", b"99\n"])
def test_without_a_pointer_the_newest_opens(tmp_path: Path, content: bytes | None) -> None:
    publish(tmp_path, 1.0)
    publish(tmp_path, 2.0)
    pointer = tmp_path / CURRENT
    pointer.unlink() if content is None else pointer.write_bytes(content)
    number, (warning,) = opened(tmp_path)
    assert number == 2
    assert CURRENT in warning
    publish(tmp_path, 3.0)
    assert opened(tmp_path) == (3, [])


def test_rolling_back_and_on_from_there(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        publish(tmp_path, value)
    generations = Generations(tmp_path)
    generations.point_to(2)
    assert opened(tmp_path) == (2, [])
    flip(tmp_path / "generations" / "000002" / WEIGHTS)
    assert opened(tmp_path)[0] == 1  # never the one that was rolled back
    assert publish(tmp_path, 4.0).number == 4
    assert opened(tmp_path) == (4, [])
    with pytest.raises(GenerationError):
        generations.point_to(9)
    assert generations.current() == 4


@pytest.mark.parametrize(
    ("keep", "live", "left"), [(2, 5, [4, 5]), (2, 1, [1, 4, 5]), (9, 5, [1, 2, 3, 4, 5]), (0, 5, [5])]
)
def test_pruning_keeps_the_newest_and_the_live_one(tmp_path: Path, keep: int, live: int, left: list[int]) -> None:
    for value in range(1, 6):
        publish(tmp_path, value)
    generations = Generations(tmp_path)
    generations.point_to(live)
    removed = generations.prune(keep)
    assert generations.numbers() == left
    assert sorted(removed + left) == [1, 2, 3, 4, 5]
    assert opened(tmp_path) == (live, [])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("could not write (faiss)")])
def test_a_disk_that_is_full_changes_nothing(tmp_path: Path, error: Exception) -> None:
    publish(tmp_path, 1.0)

    def write_index(path: Path) -> None:
        raise error

    with pytest.raises(GenerationError, match="untouched"):
        Generations(tmp_path).publish(DRAFT, {"a": np.zeros(1)}, {}, write_index)
    assert opened(tmp_path) == (1, [])
    assert [path.name for path in (tmp_path / "generations").iterdir()] == ["000001"]


def test_a_pointer_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, 1.0)

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(GenerationError, match="untouched"):
            publish(tmp_path, 2.0)
    assert opened(tmp_path) == (1, [])
    assert publish(tmp_path, 3.0).number == 3
    assert opened(tmp_path) == (3, [])


def test_one_process_at_a_time_makes_a_generation_and_sweeps_what_the_dead_left(tmp_path: Path) -> None:
    publish(tmp_path, 1.0)
    left_over = tmp_path / "generations" / "writing-000002-99999"
    left_over.mkdir()
    (left_over / WEIGHTS).write_bytes(b"half")
    generations = Generations(tmp_path)
    with generations.making():
        assert generations.numbers() == [1]
        assert not left_over.exists()
        with pytest.raises(GenerationError, match="another process"), Generations(tmp_path).making():
            pass
        publish(tmp_path, 2.0)
    with generations.making():
        assert opened(tmp_path) == (2, [])


class Crash(BaseException):
    """The process is gone: nothing it would do afterwards happens, clean-up least of all."""


def crashing(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let the process end before its call number `step` that touches the disk."""
    calls = 0

    def dying(function):
        def call(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Crash
            return function(*arguments, **named)

        return call

    for name in ("mkdir", "write_text", "write_bytes", "rename", "replace"):
        patch.setattr(Path, name, dying(getattr(Path, name)))
    for module, name in ((os, "fsync"), (np, "save"), (shutil, "rmtree"), (generation_module, "save_file")):
        patch.setattr(module, name, dying(getattr(module, name)))


def test_a_crash_at_any_step_leaves_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    publish(tmp_path / "old", 1.0)
    found, step, ended = [], 0, False
    while not ended:
        step += 1
        directory = Path(shutil.copytree(tmp_path / "old", tmp_path / f"crash{step}"))
        with monkeypatch.context() as patch:
            crashing(patch, step)
            try:
                publish(directory, 2.0)
                ended = True
            except Crash:
                pass
        number, warnings = opened(directory)
        assert warnings == []
        found.append(number)
        with Generations(directory).making():
            newest = publish(directory, 3.0).number
        assert opened(directory) == (newest, [])
        assert len(list((directory / "generations").iterdir())) == len(Generations(directory).numbers())
    assert len(found) > 15
    assert found == sorted(found)
    assert set(found) == {1, 2}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads the names of open files from /proc")
def test_everything_is_on_the_disk_before_it_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []
    fsync, rename, replace_ = os.fsync, Path.rename, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (did.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name), fsync(fd)))
    monkeypatch.setattr(Path, "rename", lambda path, to: (did.append("rename"), rename(path, to))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (did.append("replace"), replace_(path, to))[1])
    publish(tmp_path)
    first, second = did.index("rename"), did.index("replace")
    assert set(did[: first - 1]) == set(FILES)
    assert did[first - 1].startswith("writing-")
    assert did[first + 1] == "generations"
    assert did[second - 1].startswith(CURRENT)
    assert did[second + 1 :] == [tmp_path.name]
