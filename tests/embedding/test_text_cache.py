"""The text cache: nothing is encoded twice, nothing is lost, and a full cache needs no torch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from graphrec.config import TextSettings
from graphrec.embedding import text_cache
from graphrec.embedding.text_cache import CACHE_FILE, TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import StoreError

WARM = """
import sys
from graphrec.config import TextSettings
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
vectors, encoded = encode_cached(TextEncoder(TextSettings()), TextCache(sys.argv[1]), ["mug", "cup", "mug"])
assert encoded == 0 and vectors.shape == (3, 384) and (vectors[0] == vectors[2]).all() and vectors.any()
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


class Recorder(TextEncoder):
    """Eight numbers from the text's hash, one text a batch; remembers what it was asked for."""

    def __init__(self, identity: str = "recorder", fail_after: int = 10**9) -> None:
        super().__init__(TextSettings())
        self.identity = identity
        self.dimensions = 8
        self.asked: list[str] = []
        self._fail_after = fail_after

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for row, text in enumerate(texts):
            if row == self._fail_after:
                raise KeyboardInterrupt
            self.asked.append(text)
            yield np.array([row]), vector_of(text)[None]


def vector_of(text: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> TextCache:
    return TextCache(tmp_path)


def test_only_new_and_changed_texts_are_encoded(cache: TextCache) -> None:
    encoder = Recorder()
    vectors, encoded = encode_cached(encoder, cache, ["mug", "cup", "mug", "tray"])
    assert encoded == 3
    assert encoder.asked == ["mug", "cup", "tray"]
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in ("mug", "cup", "mug", "tray")])

    vectors, encoded = encode_cached(encoder, cache, ["tray", "red mug", "cup"])
    assert encoded == 1
    assert encoder.asked[3:] == ["red mug"]
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in ("tray", "red mug", "cup")])
    assert len(cache) == 4


def test_another_model_has_other_vectors(cache: TextCache) -> None:
    encode_cached(Recorder("one"), cache, ["mug"])
    assert encode_cached(Recorder("two"), cache, ["mug"])[1] == 1
    assert encode_cached(Recorder("one"), cache, ["mug"])[1] == 0


def test_vectors_of_the_wrong_length_are_encoded_again(cache: TextCache) -> None:
    key = hashlib.sha256(b"mug").digest()
    cache.save("recorder", [key], np.ones((1, 3), dtype=np.float32))
    vectors, encoded = encode_cached(Recorder(), cache, ["mug"])
    assert encoded == 1
    np.testing.assert_array_equal(vectors[0], vector_of("mug"))
    assert encode_cached(Recorder(), cache, ["mug"])[1] == 0


def test_more_texts_than_one_query_takes(cache: TextCache) -> None:
    texts = [f"item {i}" for i in range(1203)]
    encode_cached(Recorder(), cache, texts)
    vectors, encoded = encode_cached(Recorder(), cache, texts[::-1])
    assert encoded == 0
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts[::-1]])


def test_nothing_to_encode(cache: TextCache) -> None:
    vectors, encoded = encode_cached(Recorder(), cache, [])
    assert vectors.shape == (0, 8)
    assert encoded == 0


def test_an_interrupted_run_resumes(cache: TextCache) -> None:
    texts = [f"item {i}" for i in range(20)]
    with pytest.raises(KeyboardInterrupt):
        encode_cached(Recorder(fail_after=13), cache, texts)
    again = Recorder()
    assert encode_cached(again, cache, texts)[1] == 7
    assert again.asked == texts[13:]


def test_what_is_encoded_is_saved_on_the_way(cache: TextCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_cache, "_SAVE_EVERY", 4)
    kept: list[int] = []
    encode_cached(Recorder(), cache, list("abcdefghij"), progress=lambda done, total: kept.append(len(cache)))
    assert kept == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8]
    assert len(cache) == 10


def test_progress_counts_what_must_be_encoded(cache: TextCache) -> None:
    encode_cached(Recorder(), cache, ["mug"])
    seen: list[tuple[int, int]] = []
    encode_cached(Recorder(), cache, ["mug", "cup", "tray"], progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_several_writers_at_once(tmp_path: Path) -> None:
    def write(part: int) -> int:
        texts = [f"item {i}" for i in range(part * 30, part * 30 + 60)]
        return sum(encode_cached(Recorder(), TextCache(tmp_path), texts[i : i + 5])[1] for i in range(0, 60, 5))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(TextCache(tmp_path)) == 150
    vectors, encoded = encode_cached(Recorder(), TextCache(tmp_path), [f"item {i}" for i in range(150)])
    assert encoded == 0
    np.testing.assert_array_equal(vectors, [vector_of(f"item {i}") for i in range(150)])


def test_a_damaged_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / CACHE_FILE).write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match="delete it"):
        encode_cached(Recorder(), TextCache(tmp_path), ["mug"])


def test_a_full_cache_needs_neither_torch_nor_the_model(cache: TextCache) -> None:
    cold, encoded = encode_cached(TextEncoder(TextSettings(), device="cpu"), cache, ["mug", "cup", "mug"])
    assert encoded == 2
    warm, encoded = encode_cached(TextEncoder(TextSettings(), device="cpu"), cache, ["mug", "cup", "mug"])
    assert encoded == 0
    np.testing.assert_array_equal(warm, cold)  # bit for bit: float32 is kept as float32

    run = subprocess.run([sys.executable, "-c", WARM, str(cache.path.parent)], capture_output=True, text=True)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")
