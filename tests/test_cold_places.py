"""New items in real lists: from the catalogue into their place, with a reason, and out of it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graphrec.events.event import Event
from graphrec.ranking.ranker import ranked
from graphrec.recommender import Recommender
from graphrec.retrieval.cold_items import TEXT_SOURCE
from graphrec.workspace import Workspace

N_ITEMS, N_USERS = 240, 60
WORDS = ("red garden flower pot", "blue kitchen coffee mug", "green paper gift bag")
NEW = pd.DataFrame({"id": ["new pot", "new mug"], "title": ["pot", "mug"], "text": [f"{w} extra" for w in WORDS[:2]]})
SETTINGS = "[cold]\nslots = [3]\nleave_after = 2\n"


@pytest.fixture(scope="module")
def made(world, words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained workspace of three tastes, large enough to hold items out."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("cold") / "shop"
    Workspace.create(path)
    (path / "graphrec.toml").write_text(world.settings + SETTINGS)
    titles = [f"{WORDS[n % 3]} number {n}" for n in range(N_ITEMS)]
    items = pd.DataFrame({"id": [f"i{n}" for n in range(N_ITEMS)], "title": titles, "text": titles})
    pairs = [(user, 3 * int(rng.integers(N_ITEMS // 3)) + user % 3) for user in range(N_USERS) for _ in range(35)]
    pairs += [(n % 3 + 3 * again, n) for n in range(N_ITEMS) for again in range(2)]  # nothing is cold to begin with
    order = rng.permutation(len(pairs))
    events = [
        Event(f"u{pairs[place][0]}", f"i{pairs[place][1]}", timestamp=1_700_000_000 + 60 * minute)
        for minute, place in enumerate(order)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphrec.open_workspace.TextEncoder", words)
        with Recommender.open(path) as recommender:
            recommender.ingest(events, items=items)
            recommender.train()
    return path


@pytest.fixture
def recommender(made: Path, word_encoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recommender]:
    """Opened; as in a large catalogue, retrieval does not come upon an item of fewer than two users by itself."""

    def ranked_warm(retriever, ranker, user, exclude, k):
        few = np.flatnonzero(retriever.graph.arrays.item_length[: retriever.n_items] < 2)
        return ranked(retriever, ranker, user, np.union1d(exclude, few).astype(np.int32), k)

    monkeypatch.setattr("graphrec.recommender.ranked", ranked_warm)
    with Recommender.open(made) as opened:
        yield opened


def in_places(recommender: Recommender, user: str, k: int = 6, **options: bool) -> list[tuple[int, str]]:
    found = recommender.recommend(user, k, **options)
    assert len(set(found.ids())) == len(found)
    return [(place, entry.item) for place, entry in enumerate(found, 1) if TEXT_SOURCE in entry.sources]


def test_a_new_item_has_its_place_until_it_is_known(recommender: Recommender, made: Path) -> None:
    before = recommender.recommend("u0", 6).ids()
    assert in_places(recommender, "u0") == []
    recommender.ingest(items=NEW)

    assert in_places(recommender, "u0") == [(3, "new pot")]
    assert in_places(recommender, "u1") == [(3, "new mug")]
    found = recommender.recommend("u0", 6)
    assert [item for item in found.ids() if item != "new pot"] == before[:5]
    assert in_places(recommender, "u0", k=2) == []
    assert in_places(recommender, "nobody") == []
    reason = found[2].reasons[0]
    assert reason.text.startswith("new here; its text is near red garden flower pot number")
    assert reason.item is not None
    assert recommender.explain("u0", "new pot").reasons[0].text == reason.text
    assert found[2].score == found[1].score

    with Recommender.open(made) as reopened:  # from the generation and the log alone
        assert reopened.recommend("u0", 6).to_dict() == found.to_dict()

    recommender.ingest([Event("u3", "new pot", timestamp=1_700_400_000)])
    assert in_places(recommender, "u0") == [(3, "new pot")]
    assert in_places(recommender, "u3", include_seen=True) == [(3, "new mug")]  # it has the pot already
    recommender.rebuild()
    assert in_places(recommender, "u0") == [(3, "new pot")]
    recommender.ingest([Event("u6", "new pot", timestamp=1_700_400_001)])
    assert in_places(recommender, "u0") == [(3, "new mug")]
    assert recommender.explain("u0", "new pot").reasons == () or "new here" not in str(
        recommender.explain("u0", "new pot")
    )


@pytest.mark.parametrize("setting", ["slots = []", "leave_after = 1"])
def test_places_are_a_setting(recommender: Recommender, made: Path, setting: str) -> None:
    settings = (made / "graphrec.toml").read_text()
    try:
        name = setting.split(" ")[0]
        lines = [setting if line.startswith(name) else line for line in settings.splitlines()]
        (made / "graphrec.toml").write_text("\n".join(lines))
        with Recommender.open(made) as other:
            other.ingest(items=NEW.assign(id=["other pot", "other mug"]))
            shown = in_places(other, "u0")
    finally:
        (made / "graphrec.toml").write_text(settings)
    assert [place for place, _ in shown] == ([] if setting == "slots = []" else [3])
