"""The rules of the house, read from the source: who imports whom, who owns which library, and what is never done."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "graphrec"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module imports from its own layer or from those to its left.
LAYERS = ["errors", "durable", "threads", "operation_settings", "config", "search_space", "settings_file", "answers"]
LAYERS += ["events", "graph", "digest", "embedding", "retrieval", "ranking", "generation", "bounded_log", "notes"]
LAYERS += ["workspace", "turns", "learned", "live_state", "open_state", "training", "open_workspace", "publishing"]
LAYERS += ["recommender", "follower", "shadow", "ab", "backup", "jobs", "doctor", "evaluation", "service"]
LAYERS += ["tuning", "progress", "options", "evaluate_command", "tune_command", "generation_commands"]
LAYERS += ["publish_commands", "job_commands", "backup_commands", "forget_command", "serve_commands", "cli"]

OWNERS = {
    "faiss": ("retrieval/vector_index.py",),
    "fastapi": ("service/",),
    "huggingface_hub": ("embedding/model_folder.py",),
    "implicit": ("evaluation/ials.py",),
    "limits": ("service/limits.py",),
    "onnx": ("embedding/int8_model.py",),
    "onnxruntime": ("embedding/int8_model.py",),
    "optuna": ("tuning.py",),
    "peft": ("training/text_adapter.py",),
    "prometheus_client": ("service/",),
    "sqlalchemy": ("events/",),
    "sqlite3": (
        "events/",
        "embedding/text_cache.py",
        "notes.py",
        "service/impressions.py",
        "doctor.py",
    ),  # the last prints its version
    "tomlkit": ("settings_file.py",),
    "torch_geometric": ("graph/export.py", "training/sage_trainer.py", "open_workspace.py"),  # the last: types
    "transformers": ("embedding/text_encoder.py",),
}

# Loading a pickle runs its code; a second SQLite library in a process drops the first one's locks.
FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN |= {"apsw", "adbc_driver_sqlite", "duckdb"}
FORBIDDEN_CALLS = {"torch.load", "torch.save", "torch.jit.load", "os.fork"}
FORBIDDEN_CALLS |= {f"{module}.read_pickle" for module in ("pd", "pandas")}

HEAVY = {"torch", "torch_geometric", "transformers", "faiss", "implicit", "optuna", "peft"}
LIGHT_MODULES = [
    "graphrec",
    "graphrec.cli",
    "graphrec.config",
    "graphrec.embedding.text_cache",
    "graphrec.embedding.text_encoder",
    "graphrec.events.event",
    "graphrec.events.store",
    "graphrec.events.tables",
    "graphrec.jobs.scheduler",
    "graphrec.graph.interaction_graph",
]


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every import of a file, wherever it stands: the module's full name and the names taken from it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


each_module = pytest.mark.parametrize("path", MODULES, ids=relative)


@each_module
def test_imports_go_one_way_by_full_name(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":  # the one door sees every layer
        allowed = set(LAYERS)
    else:
        assert layer in LAYERS, f"{layer} has no place in the order of layers yet"
        allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    for module, names in imports(path):
        assert not module.startswith("."), f"{module} {names}: write the full name"
        if module.split(".")[0] != "graphrec" or (module == "graphrec" and names == ["__version__"]):
            continue
        file = ROOT / (module.replace(".", "/") + ".py")
        assert file.is_file(), f"{module}: import from the module that defines {', '.join(names) or 'it'}"
        assert layer_of(file) in allowed, f"{layer} is left of {layer_of(file)}, so it may not import {module}"


@each_module
def test_heavy_libraries_have_owners(path: Path) -> None:
    for module, _ in imports(path):
        owners = OWNERS.get(module.split(".")[0])
        if owners is not None:
            assert relative(path).startswith(owners), f"{module} belongs to {', '.join(owners)}"


@each_module
def test_nothing_is_pickled_or_forked(path: Path) -> None:
    for module, names in imports(path):
        assert module.split(".")[0] not in FORBIDDEN, module
        assert not FORBIDDEN_CALLS & {f"{module}.{name}" for name in names}, f"{module}: {names}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_CALLS, f"line {node.lineno}: {called}"
            assert not called.endswith(".to_pickle"), f"line {node.lineno}: {called}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert ast.unparse(keyword.value) == "False", f"line {node.lineno}: allow_pickle"


@each_module
def test_a_module_is_one_documented_idea(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), "no docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    vague = {"utils", "util", "common", "helpers", "base", "core", "models", "misc"}
    assert not vague & set(path.relative_to(PACKAGE).with_suffix("").parts)


def loaded_by(*command: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has imported when it is done."""
    # -X importtime names every module on stderr, whichever way the program ends.
    run = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True)
    lines = run.stderr.splitlines()
    assert run.returncode == 0, "\n".join(line for line in lines if not line.startswith("import time:"))
    names = {line.rsplit("|", 1)[-1].strip() for line in lines if line.startswith("import time:")}
    assert "encodings" in names
    return names & HEAVY


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert loaded_by("-c", f"import {module}") == set()


def test_help_imports_nothing_heavy() -> None:
    assert loaded_by("-m", "graphrec.cli", "--help") == set()


def test_the_readme_tree_lists_every_module() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    listed = set().union(*(files_in_tree(block) for block in blocks))
    modules = {relative(path) for path in MODULES if path.name != "__init__.py"}
    assert listed - {path for path in listed if path.endswith("__init__.py")} == modules


def files_in_tree(block: str) -> set[str]:
    """The .py files below `graphrec/` in a tree drawn by indentation, one entry a line, a folder's name ending in /."""
    files: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        entry = line.lstrip(" │├└─")
        if not entry:
            continue
        depth, name = len(line) - len(entry), entry.split()[0]
        while folders and folders[-1][0] >= depth:
            folders.pop()
        if name.endswith("/"):
            folders.append((depth, name))
        elif name.endswith(".py"):
            before, package, inside = ("".join(folder for _, folder in folders) + name).rpartition("graphrec/")
            if package and not before.startswith("tests"):
                files.add(inside)
    return files


def test_every_script_is_typed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    typed = {path for pattern in settings["files"] for path in ROOT.glob(pattern)}
    assert PACKAGE in typed
    files = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    python = {path for path in files if path.suffix == ".py" or re.match(rb"#!.*python", path.read_bytes())}
    assert len(python) > 10
    assert typed - {PACKAGE} == python


def test_the_tested_set_pins_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    pinned = {canonical(pin.split("==")[0]) for pin in pins}
    assert not any(name.startswith("nvidia") for name in pinned)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in [
        *project["dependencies"],
        *(
            name
            for extra in ("cpu", "evaluation", "serve", "otel", "tune", "onnx", "lora", "dev")
            for name in extras[extra]
        ),
    ]:
        assert canonical(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) in pinned, requirement


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
