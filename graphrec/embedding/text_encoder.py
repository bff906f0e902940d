"""Texts to unit vectors with a BERT-like encoder: masked mean pooling, as in Sentence-BERT (Reimers & Gurevych 2019).

Nothing heavy happens before the first text is encoded: `identity` and `dimensions` are read from the model's folder
without torch, so that a run whose texts are all cached never imports it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.embedding.int8_model import int8_vectors
from graphrec.embedding.model_folder import first_line, model_error, model_folder
from graphrec.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from graphrec.config import TextSettings
    from graphrec.embedding.int8_model import Vectors
    from graphrec.embedding.low_rank import LowRankUpdate

# Sorted by length together: enough that batches hardly pad, few enough that their token ids fit in memory.
_WINDOW = 16_384
# A fine-tuned model has the size of its parent, so the fingerprint reads blocks of the weights, spread evenly.
_BLOCKS, _BLOCK_BYTES = 256, 4096

# Of several lengths: int8 vectors are held against exact ones by them.
_PROBE = ("mug", "white hanging heart t-light holder", "A mountain bicycle with disc brakes, two bottles and a bell.")

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
        """The folder that holds the model."""
        return model_folder(self.settings.model)

    @cached_property
    def identity(self) -> str:
        """Name the function text -> vector: model, a digest of files, longest text and precision, and the adapter."""
        digest = hashlib.sha256(f"mean pooling, {self.settings.max_tokens} tokens{self.settings.loss}".encode())
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
        tokenizer, longest = self._tokenizer
        encoded = tokenizer(
            texts, truncation=True, max_length=longest, return_attention_mask=False, return_token_type_ids=False
        )
        tokens: list[list[int]] = encoded["input_ids"]
        return tokens

    def _forward(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        return self._vectors(*self._padded(tokens))

    def _padded(self, tokens: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask, (n, longest)."""
        tokenizer, _ = self._tokenizer
        lengths = np.array([len(ids) for ids in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(mask.shape, tokenizer.pad_token_id or 0, np.int64)
        ids[mask] = np.concatenate(tokens)
        return ids, mask.astype(np.int64)

    @cached_property
    def _vectors(self) -> Vectors:
        """What turns ids and mask into vectors."""
        asked = self._device or ""
        if self.settings.precision == "int8":
            if asked.startswith("cuda"):
                raise _device_error(asked, "int8 runs on the CPU")
            probe = self._padded(self._tokenise(list(_PROBE)))
            return int8_vectors(f"{self.identity}.onnx", lambda: self._model("cpu", "eager"), probe)

        import torch

        device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise _device_error(device, "a CUDA device and a torch built for it")
        model = self._model(device, "sdpa")

        def vectors(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = (
                    model(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)).cpu().numpy()
                )
            return found

        return vectors

    def _model(self, device: str, attention: str) -> nn.Module:
        """The weights with mean pooling behind: ids and mask, tensors (n, width) -> float32 (n, d) of length 1."""
        import torch

        model = self._weights(attention, torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32)
        if self.adapter is not None:
            self.adapter.merge_into(model)

        class Pooled(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return _mean_pooled(self.model, ids, mask)

        return Pooled().to(device).eval()

    def load(self) -> tuple[Any, Any, int]:
        """A tokenizer, a torch module without the adapter, for the caller alone, and the longest text in tokens."""
        import torch

        tokenizer, longest = self._tokenizer
        return tokenizer, self._weights("sdpa", torch.float32), longest

    def _weights(self, attention: str, dtype: Any) -> Any:
        """The model of the folder."""
        from transformers import AutoModel

        try:
            with _quiet_transformers():
                # A dtype and safetensors by name: the file may say half precision, and a .bin is a pickle.
                return AutoModel.from_pretrained(
                    self.folder,
                    local_files_only=True,
                    use_safetensors=True,
                    dtype=dtype,
                    attn_implementation=attention,
                )
        except Exception as error:  # whatever a damaged file makes the loaders raise
            raise model_error(self.settings.model, f"{type(error).__name__}: {first_line(error)}") from None

    @cached_property
    def _tokenizer(self) -> tuple[Any, int]:
        """The tokenizer, and the longest text in tokens."""
        from transformers import AutoConfig, AutoTokenizer

        try:
            with _quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
                config = AutoConfig.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # as above
            raise model_error(self.settings.model, f"{type(error).__name__}: {first_line(error)}") from None
        most = self.settings.max_tokens
        return tokenizer, min(most, tokenizer.model_max_length, getattr(config, "max_position_embeddings", most))


def pooled(model: Any, tokens: list[list[int]], padding: int) -> Tensor:
    """Mean of the last layer over each text's tokens, of length one, float32 (n, d); may be differentiated."""
    import torch

    lengths = torch.tensor([len(ids) for ids in tokens])
    width = int(lengths.max())
    padded = torch.tensor([ids + [padding] * (width - len(ids)) for ids in tokens], device=model.device)
    return _mean_pooled(model, padded, (torch.arange(width) < lengths[:, None]).to(model.device).long())


def _mean_pooled(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    from torch.nn import functional

    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    weight = mask[:, :, None].to(hidden.dtype)
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return functional.normalize(mean, dim=1)


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


def _device_error(device: str, expected: str) -> ModelError:
    return ModelError(
        f"the text encoder cannot run on {device}",
        expected=expected,
        way_out='use device="cpu", or leave the device out',
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
