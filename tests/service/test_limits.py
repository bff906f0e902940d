from __future__ import annotations

import pytest

from graphrec.errors import ConfigError
from graphrec.service.limits import RateLimit


def test_each_caller_has_a_rate_of_its_own() -> None:
    limit = RateLimit("3/hour")
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 0]
    assert 0 < limit.wait("a") <= 3600
    assert limit.wait("b") == 0


def test_no_rate_is_no_limit_and_nonsense_is_refused() -> None:
    assert not any(RateLimit("").wait("a") for _ in range(1000))
    with pytest.raises(ConfigError, match="rate"):
        RateLimit("plenty")
