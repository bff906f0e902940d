"""From the adapter to a generation that the gate has judged, in a world with a text model of two layers."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from graphrec.answers import Proposal
from graphrec.cli import app
from graphrec.embedding.text_encoder import TextEncoder
from graphrec.errors import InputError, NotTrainedError
from graphrec.jobs.trigger import facts_of
from graphrec.recommender import Recommender
from graphrec.training.batch_checks import HOLD, PUBLISH
from graphrec.workspace import Workspace

ADAPTER = """
[adapter]
session_minutes = 1e9
steps = 30
batch_size = 32
learning_rate = 3e-2
temperature = 0.1
check_steps = 10
[gate]
least_questions = 1
"""


@pytest.fixture(scope="module")
def made(world, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world trained on its first 600 events, all 900 in the log, with real text vectors; to be copied."""
    path = tmp_path_factory.mktemp("adapting") / "shop"
    Workspace.create(path)
    (path / "graphrec.toml").write_text(f'[text]\nmodel = "{tiny_bert}"\n{world.settings}{ADAPTER}')
    with Recommender.open(path) as recommender:
        recommender.ingest(world.events[:600], items=catalogue(world, 40))
        recommender.train()
        recommender.ingest(world.events[600:])
    return path


def catalogue(world, n: int) -> pd.DataFrame:
    """One word of three says the group."""
    texts = [f"{('garden', 'kitchen')[k % 2]} w{k % 7} w{k % 5}" for k in range(n)]
    return pd.DataFrame([{"id": item.id, "text": text} for item, text in zip(world.items, texts, strict=False)])


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "shop"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The texts that meet an encoder from here on, with its identity."""
    seen: list[tuple[str, list[str]]] = []
    batches = TextEncoder.encode_batches

    def watched(self: TextEncoder, texts: list[str]):
        seen.append((self.identity, list(texts)))
        return batches(self, texts)

    monkeypatch.setattr(TextEncoder, "encode_batches", watched)
    return seen


def test_an_adapted_model_is_a_candidate_like_others(shop: Path, encoded) -> None:
    with Recommender.open(shop) as recommender:
        plain, before = recommender._state.texts.copy(), recommender._state.manifest
        user, answer = "u3", recommender.recommend("u3", 5).ids()
        proposal = recommender.adapt_text()
        assert proposal.verdict in (PUBLISH, HOLD)
        assert proposal.generation == 2
        if proposal.verdict == HOLD:
            assert recommender.recommend(user, 5).ids() == answer
            recommender.publish(2)
        state = recommender._state
        assert state.manifest is not None
        assert before is not None
        assert state.adapter is not None
        assert state.manifest.text_model.startswith(before.text_model + ", adapter ")
        moment = datetime.fromisoformat(state.manifest.created)
        assert facts_of(recommender, measure=False).trained == moment  # all of it is from scratch
        ranks = state.manifest.metrics["text_adapter"]
        assert ranks["after"] > ranks["before"]
        group = np.array([int(name[1:]) % 2 for name in state.items])
        assert nearness(state.texts, group) > nearness(plain, group) + 0.1

        # Every text of a known item was encoded once, under one new name, and nothing else was.
        names = {identity for identity, texts in encoded if texts}
        assert len(names) == 1
        assert state.adapter.digest in names.pop()
        texts = [text for _, some in encoded for text in some]
        assert sorted(texts) == sorted({state.catalogue.text(number) for number in range(len(state.items))})

        # The question is read by the same model as the texts.
        assert recommender.search(state.catalogue.text(0), 1)[0].score == pytest.approx(1, abs=1e-5)
        changed = recommender.rollback()
        assert changed.number == 1
        np.testing.assert_array_equal(recommender._state.texts, plain)


def test_a_generation_keeps_its_adapter(shop: Path, encoded, world) -> None:
    with Recommender.open(shop) as recommender:
        proposal = recommender.adapt_text()
        assert proposal.generation is not None
        recommender.publish(proposal.generation)
        adapter, texts = recommender._state.adapter, recommender._state.texts.copy()
        assert adapter is not None
    encoded.clear()
    with Recommender.open(shop) as recommender:
        assert recommender._state.adapter is not None
        assert recommender._state.adapter.digest == adapter.digest
        np.testing.assert_array_equal(recommender._state.texts, texts)
        assert not encoded

        # A new item's text, and only that, is read by the adapted model.
        recommender.ingest([], items=pd.DataFrame([{"id": "new", "text": "garden w1 w90"}]))
        assert [texts for _, texts in encoded] == [["garden w1 w90"]]
        assert adapter.digest in encoded[0][0]

        # Updates and trainings keep it; an evaluation's texts are plain.
        recommender.train()
        assert recommender._state.adapter is not None
        assert np.abs(recommender.text_vectors()[: len(texts)] - texts).max() > 1e-3
    (shop / "graphrec.toml").write_text(
        (shop / "graphrec.toml").read_text().replace("[text]", "[text]\nadapter = false")
    )
    with Recommender.open(shop) as recommender:
        recommender.train()
        assert recommender._state.adapter is None
        kept = recommender._state.texts
        np.testing.assert_array_equal(kept, recommender.text_vectors().astype(kept.dtype))


def test_no_model_without_a_gain(shop: Path) -> None:
    settings = (shop / "graphrec.toml").read_text().replace("learning_rate = 3e-2", "learning_rate = 1e-12")
    (shop / "graphrec.toml").write_text(settings)
    with Recommender.open(shop) as recommender:
        with pytest.raises(InputError, match="no better"):
            recommender.adapt_text()
        assert recommender.generation == 1
        assert len(recommender.manifests()) == 1


def test_adapting_needs_a_model_to_compare_with(tmp_path: Path, world) -> None:
    with Recommender.create(tmp_path / "shop") as recommender:
        recommender.ingest(world.events[:50])
        with pytest.raises(NotTrainedError):
            recommender.adapt_text()


def test_the_command_line_says_what_the_gate_says(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = Proposal(HOLD, 2, "adapt-text", ("too few to tell",), None, 1.0, 1.0)
    monkeypatch.setattr(Recommender, "adapt_text", lambda self: proposal)
    said = CliRunner().invoke(app, ["adapt-text", str(shop)])
    assert said.exit_code == 5
    assert "Generation 2 is held" in said.output
    assert "too few to tell" in said.output


def nearness(texts: np.ndarray, group: np.ndarray) -> float:
    """How much nearer the texts of a group are to each other than to those of the other."""
    cosines, same = texts @ texts.T, group[:, None] == group[None, :]
    return float(cosines[same].mean() - cosines[~same].mean())
