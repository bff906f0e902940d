from __future__ import annotations

import numpy as np
import pytest

from graphrec.errors import DependencyError, InputError
from graphrec.evaluation import ials
from graphrec.evaluation.ials import ALPHAS, IALS, REGULARISATIONS
from graphrec.events.interactions import Interactions


def world(seed: int = 0, n: int = 400) -> Interactions:
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 30, n)
    items = 2 * rng.integers(0, 10, n) + users % 2
    return Interactions(users.astype(np.int32), items.astype(np.int32), np.arange(n) * 10**9, np.ones(n), 30, 20)


def test_item_factors_solve_the_weighted_least_squares() -> None:
    """After the last half-step: (X'X + (α - 1) X_i'X_i + λI) y_i = α X_i'1, over the users X_i of the item."""
    data = world(n=150)
    fitted = IALS(2.0, 7.0, factors=6, iterations=60).fit(data)
    users = fitted._users
    for item in range(data.n_items):
        own = users[np.unique(data.users[data.items == item])]
        system = users.T @ users + 6.0 * own.T @ own + 2.0 * np.eye(6)
        np.testing.assert_allclose(fitted._items[item], np.linalg.solve(system, 7.0 * own.sum(axis=0)), atol=1e-3)


def test_what_was_chosen_is_kept_and_told() -> None:
    plain = IALS(factors=8)
    fitted = plain.fit(world())
    assert fitted.settings == {"regularisation": fitted.regularisation, "alpha": fitted.alpha}
    assert (fitted.regularisation, fitted.alpha) in {(r, a) for r in REGULARISATIONS for a in ALPHAS}
    assert (plain.regularisation, plain.alpha) == (None, None)
    given = IALS(alpha=3.0, factors=8).fit(world())
    assert given.alpha == 3.0
    assert fitted.fit(world(1)).settings == fitted.settings


def test_without_the_library_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ials, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"graphrec\[evaluation\]"):
        IALS()


@pytest.mark.parametrize("settings", [{"regularisation": 0.0}, {"alpha": -1.0}, {"factors": 0}, {"iterations": 0}])
def test_settings_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="iALS"):
        IALS(**settings)  # type: ignore[arg-type]


def test_an_empty_log_teaches_nothing() -> None:
    nothing = world().take(slice(0))
    assert IALS(factors=4).fit(nothing).recommend(np.array([3], np.int32), 3)[0].tolist() == [0, 1, 2]
