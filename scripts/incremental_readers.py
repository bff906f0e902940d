"""Readers beside the writer: how long they wait for each other, and whether any sees a moment that never was.

A reader asks for the 20 nearest items of one user after the other, in reading turns, while the writer rests or takes in
events at a steady rate; both take turns of a few seconds, so that what else the machine does meets both alike. The
second check is about the index alone, which nobody locks: a writer gives all rows of a group one value, batch after
batch, and readers look at whole groups.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from graphrec.config import IndexSettings
from graphrec.retrieval.live_index import LiveIndex
from graphrec.turns import Turns

if TYPE_CHECKING:
    from incremental_worlds import Tail

    from graphrec.retrieval.retriever import Retriever

EVENTS_A_SECOND, INTERVAL = 2_000, 0.01
WINDOW, WINDOWS = 2.0, 10  # seconds that the writer writes or rests, and how many of both
READERS, GROUPS, GROUP, DIMENSIONS = 3, 20, 50, 16


def beside_a_writer(retriever: Retriever, tail: Tail, k: int) -> dict[str, float]:
    """Latency of one reader, milliseconds of wall time, with the writer resting and writing; and what it wrote."""
    turns, rng = Turns(), np.random.default_rng(0)
    users = tail.log.users[rng.integers(0, len(tail.log), 1_000)].tolist()
    found: dict[bool, list[float]] = {False: [], True: []}
    written, asked, windows = 0, 0, []

    def write(stop: threading.Event) -> None:
        nonlocal written
        size, due = round(EVENTS_A_SECOND * INTERVAL), time.perf_counter()
        while not stop.is_set():
            events = tail.next(size)
            with turns.writing():
                retriever.apply(*events)
            written += size
            due += INTERVAL
            time.sleep(max(due - time.perf_counter(), 0))

    for window in range(2 * WINDOWS):
        writes, stop = bool(window % 2), threading.Event()
        writer = threading.Thread(target=write, args=(stop,))
        if writes:
            writer.start()
        ends, before = time.perf_counter() + WINDOW, written
        while (began := time.perf_counter()) < ends:
            user = users[asked % len(users)]
            asked += 1
            with turns.reading():
                retriever.nearest(user, k, retriever.seen(user))
            found[writes].append((time.perf_counter() - began) * 1e3)
        stop.set()
        if writes:
            writer.join()
            windows.append((written - before) / WINDOW)
    rest, busy = (np.array(found[writes]) for writes in (False, True))
    figures = {"events_per_second": float(np.mean(windows)), "reads": len(rest) + len(busy)}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figures |= {f"{name}_off": float(np.quantile(rest, share)), f"{name}_on": float(np.quantile(busy, share))}
    return figures


def torn_reads(looks: int) -> dict[str, int]:
    """Look so often at a group of rows while it is written: how often its rows were not all of one batch."""
    index = LiveIndex(DIMENSIONS, IndexSettings(tolerance=0.2, merge_rows=300))
    members = np.arange(GROUPS * GROUP, dtype=np.int32).reshape(GROUPS, GROUP)
    step, done = np.float32(2.0**-10), threading.Event()
    index.add(np.zeros((members.size, DIMENSIONS), np.float32), np.zeros(members.size, np.float32))
    counts = {"looks": 0, "torn": 0, "batches": 0}
    turn = threading.Lock()

    def read(seed: int) -> None:
        rng, torn, share = np.random.default_rng(seed), 0, -(-looks // READERS)
        groups = rng.integers(0, GROUPS, share)
        for group in groups.tolist():
            vectors, biases = index.view.take(members[group])
            torn += bool((vectors != vectors[0, 0]).any() or (biases != biases[0]).any())
        with turn:
            counts["looks"] += share
            counts["torn"] += torn

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(READERS)]
    for reader in readers:
        reader.start()

    def write() -> None:
        while not done.is_set():
            counts["batches"] += 1
            values = np.full(GROUP, counts["batches"] * step % 64, np.float32)
            group = members[counts["batches"] % GROUPS]
            index.write(group, np.repeat(values[:, None], DIMENSIONS, 1), values)

    writer = threading.Thread(target=write)
    writer.start()
    for reader in readers:
        reader.join()
    done.set()
    writer.join()
    return counts
