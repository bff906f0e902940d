"""How often one caller may ask: a moving window for each key, or each address where there are no keys."""

from __future__ import annotations

import math
import time

import limits
import limits.storage
import limits.strategies

from graphrec.errors import ConfigError


class RateLimit:
    """So many requests in a time, as `limits` writes it ("1000/second"), each caller for itself; "" = no limit.

    The counts of a window and of the one before it, weighed by how much of that is left: two numbers a caller, and no
    burst at the edge of a window. Raises ConfigError for a rate that is none.
    """

    def __init__(self, rate: str) -> None:
        self._limiter = limits.strategies.SlidingWindowCounterRateLimiter(limits.storage.MemoryStorage())
        try:
            self._rate = limits.parse(rate) if rate else None
        except ValueError:
            raise ConfigError("serve.rate is not understood", expected='"1000/second"', got=rate) from None

    def wait(self, caller: str) -> int:
        """Count a request: 0 when it may pass, else in how many seconds to come again."""
        if self._rate is None or self._limiter.hit(self._rate, caller):
            return 0
        window = self._limiter.get_window_stats(self._rate, caller)
        return max(math.ceil(window.reset_time - time.time()), 1)
