"""Products in bfloat16 where the processor has them: another rounding, the same lessons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_updater import hits, learned_head, planted
from update_world import CONFIG, NO_TEXTS, log_of, nothing, trained_on, updating

from graphrec.ranking.pair_features import NAMES
from graphrec.ranking.ranker import Ranker
from graphrec.training import precision
from graphrec.training.ranker_updater import continued_head
from graphrec.training.updater import continued

CPU = torch.device("cpu")


@pytest.mark.parametrize(("found", "gains"), [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({}, False)])
def test_a_processor_gains_by_what_it_can_do(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], gains: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert precision.gains(CPU) is gains
    matrix = torch.ones(4, 4)
    with precision.products(CPU, mixed=True):
        assert (matrix @ matrix).dtype == (torch.bfloat16 if gains else torch.float32)
    with precision.products(CPU, mixed=False):
        assert (matrix @ matrix).dtype == torch.float32


def test_a_head_learns_the_same_with_another_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gains", lambda device: True)
    head, changed = learned_head(NAMES.index("walk")), planted(NAMES.index("taste"))

    def learned(mixed: bool) -> Ranker:
        changes = {"ranker_epochs": 30, "ranker_learning_rate": 1e-2, "mixed_precision": mixed}
        found = continued_head(changed, head, 2, CONFIG.update.model_copy(update=changes), nothing)
        assert found is not None
        return found

    exact, mixed = learned(False), learned(True)
    assert mixed.weight1.dtype == np.float32
    assert not np.array_equal(exact.weight1, mixed.weight1)
    assert hits(mixed, changed) == pytest.approx(hits(exact, changed), abs=0.1)
    assert hits(mixed, changed) > hits(head, changed) + 0.3


def test_graphsage_learns_the_same_with_another_rounding(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gains", lambda device: True)
    log = log_of(world)
    old, new = log.take(slice(600)), log.take(slice(600, None))
    parent = trained_on(old)
    start, exact, mixed = (
        parent.model.sage.item_root2,
        *(
            continued(
                parent, old, new, NO_TEXTS, updating(ranker_epochs=0, mixed_precision=mixed), nothing
            ).model.sage.item_root2
            for mixed in (False, True)
        ),
    )
    assert mixed.dtype == np.float32
    assert not np.array_equal(exact, mixed)
    assert np.linalg.norm(exact - mixed) < 0.1 * np.linalg.norm(exact - start)
