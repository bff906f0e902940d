"""Threads that begin in the context of whoever started them, as asyncio's tasks do: their log lines know whose."""

from __future__ import annotations

import threading
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Thread(threading.Thread):
    """A thread whose context variables are, at its beginning, those of the thread that starts it."""

    _context: Context

    def start(self) -> None:
        """Begin, in a copy of the present context."""
        self._context = copy_context()
        super().start()

    def run(self) -> None:
        """Call the target."""
        self._context.run(super().run)


def inherited() -> Callable[[], None]:
    """The same for a pool: `ThreadPoolExecutor(initializer=inherited())`."""
    held = copy_context()

    def begin() -> None:
        for variable, value in held.items():
            variable.set(value)

    return begin
