"""Taking turns: any number of readers at a time, one writer between them, and neither waits long for the other.

The writer changes shared arrays in short slices, each in a turn of its own, so a reader waits for one slice at most. A
writer that comes while readers are busy lets others pass it for `patience` seconds, since there are gaps between
readers as a rule; after that, new readers wait until it has had its turn. So a stream of readers delays a slice by the
patience and one reading, and no more.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 0.002  # seconds


class Turns:
    """Who may touch the shared state now. Both kinds of turns nest within a thread, and reading within writing.

    Raises RuntimeError for a thread that wants to write while it reads: it would wait for itself.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writer: int | None = None  # identity of its thread
        self._closed = False  # a writer has waited long enough
        self._depth = threading.local()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold the state still, beside other readers."""
        depth: int = getattr(self._depth, "value", 0)
        outermost = not depth and self._writer != threading.get_ident()
        if outermost:
            with self._changed:
                while self._writer is not None or self._closed:
                    self._changed.wait()
                self._readers += 1
        self._depth.value = depth + outermost
        try:
            yield
        finally:
            self._depth.value = depth
            if outermost:
                with self._changed:
                    self._readers -= 1
                    if not self._readers:
                        self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have the state alone."""
        me = threading.get_ident()
        if self._writer == me:
            yield
            return
        if getattr(self._depth, "value", 0):
            raise RuntimeError("a reader cannot become the writer")
        with self._changed:
            deadline = time.monotonic() + self._patience
            try:
                while self._readers or self._writer is not None:
                    left = deadline - time.monotonic()
                    self._closed = left <= 0
                    self._changed.wait(left if left > 0 else None)
            finally:  # also where the wait is interrupted
                self._closed = False
            self._writer = me
        try:
            yield
        finally:
            with self._changed:
                self._writer = None
                self._changed.notify_all()
