"""What every test shares: no network, one hypothesis profile, GPU tests only where there is a GPU, and a tiny world."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from graphrec.events.event import Event, Item
from graphrec.events.interactions import Interactions

# Read by the Hugging Face libraries when they are imported, so before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on matrices this small threads only wait for each other

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


@dataclass(frozen=True)
class World:
    """Two groups of taste: even users choose even items, odd users odd ones; an item's text says its group."""

    events: list[Event]  # in the order of time
    items: list[Item]
    settings: str  # of a graphrec.toml that trains in seconds


@pytest.fixture(scope="session")
def world() -> World:
    """60 users, 40 items, 900 events in 60 days; one event in ten is out of taste."""
    rng = np.random.default_rng(7)
    start, day = 1_700_000_000, 86_400
    events = []
    for moment in np.sort(rng.integers(0, 60 * day, 900)).tolist():
        user = int(rng.integers(60))
        group = (user if rng.random() < 0.9 else user + 1) % 2
        item = 2 * min(int(rng.exponential(8.0)), 19) + group
        kind = "purchase" if rng.random() < 0.2 else "view"
        events.append(Event(f"u{user}", f"i{item}", kind, timestamp=start + moment))
    words = ("red garden flower pot", "blue kitchen coffee mug")
    items = [Item(f"i{n}", f"{words[n % 2].split()[-1]} {n}", f"{words[n % 2]} number {n}") for n in range(40)]
    return World(events, items, TINY_SETTINGS)


TINY_SETTINGS = """
[embedding]
spectral_dimensions = 8
text_dimensions = 4
hidden_dimensions = 16
dimensions = 8
[filter]
dimensions = 12
[retrieval]
sage = 10
filter = 10
popular = 5
[training]
steps = 30
batch_size = 256
slice_share = 0.2
ranker_seeds = 1
"""


@pytest.fixture(scope="session")
def log(world: World) -> Interactions:
    """The world's events by node number, all of one weight, in the order of time."""
    users = np.array([int(event.user[1:]) for event in world.events], np.int32)
    items = np.array([int(event.item[1:]) for event in world.events], np.int32)
    times = np.array([event.microseconds for event in world.events])
    return Interactions(users, items, times, np.ones(len(users)), 60, 40).by_time()


class WordEncoder:
    """Stands in for the text encoder: a text is the sum of its words, each a fixed direction; no model is loaded."""

    identity = "words"
    dimensions = 16
    encoded = 0  # texts, in all

    def __init__(self, settings: object = None) -> None:
        pass

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        matrix = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(matrix, texts, strict=True):
            for word in text.split():
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
                row += np.random.default_rng(seed).standard_normal(self.dimensions, np.float32)
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return matrix

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        type(self).encoded += len(texts)
        yield np.arange(len(texts)), self.encode(texts)


@pytest.fixture(scope="session")
def words() -> type[WordEncoder]:
    return WordEncoder


@pytest.fixture
def word_encoder(monkeypatch: pytest.MonkeyPatch) -> type[WordEncoder]:
    """Workspaces opened in this test read texts word by word."""
    monkeypatch.setattr("graphrec.open_workspace.TextEncoder", WordEncoder)
    return WordEncoder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT of two layers, its weights drawn at random, that knows a few hundred words."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "garden", "kitchen", "flower", "coffee", "pot", "mug"]
    words += ["number", *(f"w{n}" for n in range(100)), *(str(n) for n in range(100))]
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def trained_once(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the world's first 700 events, trained; to be copied, not used."""
    import pandas as pd

    from graphrec.recommender import Recommender
    from graphrec.workspace import Workspace

    path = tmp_path_factory.mktemp("world") / "shop"
    Workspace.create(path)
    (path / "graphrec.toml").write_text(world.settings)
    items = pd.DataFrame([{"id": item.id, "title": item.title, "text": item.text} for item in world.items])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrec.open_workspace.TextEncoder", WordEncoder)
        with Recommender.open(path) as recommender:
            recommender.ingest(world.events[:700], items=items)
            recommender.train()
    return path


@pytest.fixture
def shop(trained_once: Path, word_encoder: type[WordEncoder], tmp_path: Path) -> Path:
    """A copy of the trained workspace."""
    return Path(shutil.copytree(trained_once, tmp_path / "shop"))
