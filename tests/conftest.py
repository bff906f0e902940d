"""What every test shares: no network, quiet tokenizers, one hypothesis profile, GPU tests only where there is a GPU."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

# Read by the Hugging Face libraries when they are imported, so before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("graphrec", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("graphrec")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu") is not None]
    if on_gpu and not _has_gpu():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False  # without the seconds that importing torch takes
    import torch

    return torch.cuda.is_available()
