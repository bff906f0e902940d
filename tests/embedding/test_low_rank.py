from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphrec.config import TextSettings
from graphrec.embedding.low_rank import LowRankUpdate
from graphrec.embedding.text_cache import TextCache, encode_cached
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import ModelError

QUERY = "encoder.layer.0.attention.self.query"
TEXTS = ["red garden pot", "blue coffee mug", "", "red garden pot"]


def update(scale: float, name: str = QUERY) -> LowRankUpdate:
    rng = np.random.default_rng(0)
    down, up = rng.standard_normal((4, 32)), scale * rng.standard_normal((32, 4))
    return LowRankUpdate({name: down.astype(np.float32)}, {name: up.astype(np.float32)})


@pytest.fixture
def settings(tiny_bert: Path) -> TextSettings:
    return TextSettings(model=str(tiny_bert))


def test_an_update_of_nothing_changes_nothing(settings: TextSettings) -> None:
    plain = TextEncoder(settings, device="cpu").encode(TEXTS)
    np.testing.assert_array_equal(TextEncoder(settings, device="cpu", adapter=update(0.0)).encode(TEXTS), plain)
    moved = TextEncoder(settings, device="cpu", adapter=update(0.5)).encode(TEXTS)
    assert np.abs(moved[:2] - plain[:2]).max() > 1e-3
    assert not moved[2].any()


def test_merged_weights_are_the_weights_and_the_update(settings: TextSettings) -> None:
    _, plain, _ = TextEncoder(settings, device="cpu").load()
    merged = TextEncoder(settings, device="cpu", adapter=update(0.5))._model("cpu", "sdpa")
    before = dict(plain.named_parameters())
    after = {name.removeprefix("model."): weight for name, weight in merged.named_parameters()}
    assert set(before) == set(after)
    for name, weight in after.items():
        expected = before[name].detach().numpy()
        if name == f"{QUERY}.weight":
            expected = expected + update(0.5).up[QUERY] @ update(0.5).down[QUERY]
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)


def test_identity_and_cache_keep_old_and_new_apart(settings: TextSettings, tmp_path: Path) -> None:
    plain, one, other = (
        TextEncoder(settings, device="cpu", adapter=adapter) for adapter in (None, update(0.5), update(0.4))
    )
    assert len({plain.identity, one.identity, other.identity}) == 3
    assert one.identity == TextEncoder(settings, adapter=LowRankUpdate.from_arrays(update(0.5).arrays())).identity
    cache = TextCache(tmp_path)
    vectors, encoded = encode_cached(plain, cache, TEXTS)
    assert encoded == 3
    adapted, encoded = encode_cached(one, cache, TEXTS)
    assert encoded == 3
    assert np.abs(adapted - vectors).max() > 1e-3
    for encoder, expected in ((plain, vectors), (one, adapted)):
        again, encoded = encode_cached(encoder, cache, TEXTS)
        assert encoded == 0
        np.testing.assert_array_equal(again, expected)


@pytest.mark.parametrize("name", ["no.such.layer", "encoder.layer.0.intermediate.dense"])
def test_an_update_of_another_model_is_refused(settings: TextSettings, name: str) -> None:
    with pytest.raises(ModelError, match="another text model"):
        TextEncoder(settings, device="cpu", adapter=update(0.5, name)).encode(TEXTS)
