"""What Prometheus reads: counters that requests move, and gauges that are looked up when somebody asks.

Each service has a registry of its own; docs/service.md lists the names, deploy/alerts.yml watches them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from graphrec.follower import Follower
    from graphrec.recommender import Recommender
    from graphrec.service.impressions import Rates

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class _Labelled(CollectorRegistry):
    """A registry that says of every value whose it is."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._added = dict(labels)

    def collect(self) -> Iterator[Metric]:
        """Every metric, with the labels."""
        for metric in super().collect():
            metric.samples = [one._replace(labels={**self._added, **one.labels}) for one in metric.samples]
            yield metric


class Metrics:
    """The metrics of one service; labels: of every value, so that those of several can be told apart."""

    def __init__(self, labels: Mapping[str, str] = {}) -> None:
        self.registry = registry = _Labelled(labels)
        self._process = ProcessCollector(registry=registry)
        self.requests = Counter("graphrec_http_requests", "Requests.", ["route", "method", "status"], registry=registry)
        self.seconds = Histogram(
            "graphrec_http_request_seconds", "Time of requests.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.refused = Counter(
            "graphrec_refused_requests", "Requests refused at the door.", ["reason"], registry=registry
        )
        self.events = Counter(
            "graphrec_events", "Events posted, by what became of them.", ["outcome"], registry=registry
        )
        self.commits = Histogram(
            "graphrec_commit_seconds", "Time of durable transactions of events.", buckets=_SECONDS, registry=registry
        )
        self.freshness = Histogram(
            "graphrec_freshness_seconds",
            "From the commit of an event to its being in the answers.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.lists = Counter("graphrec_lists", "Lists answered.", ["question", "certified"], registry=registry)
        self.outcomes = Counter("graphrec_feedback", "Outcomes of shown lists.", ["kind"], registry=registry)
        self._shown = self._gauge("graphrec_shown_lists", "Lists shown and kept.", "generation", "question")
        self._ctr = self._gauge("graphrec_ctr", "Share of shown lists with a click.", "generation", "question")
        self._cvr = self._gauge("graphrec_cvr", "Share of shown lists with a purchase.", "generation", "question")

    def watch(
        self,
        recommender: Recommender,
        follower: Follower,
        backlog: Callable[[], int],
        waiting: Callable[[], int],
        dropped: Callable[[], int],
    ) -> None:
        """Look these up whenever somebody asks."""
        looked_up: list[tuple[str, str, Callable[[], float]]] = [
            ("graphrec_offset", "Log offset that the answers know.", lambda: recommender.offset),
            ("graphrec_generation", "Live generation, 0 before the first.", lambda: recommender.generation or 0),
            ("graphrec_backlog_events", "Events of the log that the answers do not know yet.", backlog),
            ("graphrec_waiting_rows", "Rows posted that are not written yet.", waiting),
            ("graphrec_follow_seconds", "Time the last round with events took.", lambda: follower.followed.behind),
            ("graphrec_held_back", "Largest message any user holds back.", lambda: follower.followed.held_back),
            ("graphrec_epsilon", "Length up to which users hold back now.", lambda: _epsilon(recommender)),
            ("graphrec_sums_drift", "Largest relative drift of a running sum.", lambda: follower.followed.drift),
            ("graphrec_sums_repaired", "Nodes whose sums were repaired.", lambda: follower.followed.repaired),
            (
                "graphrec_follower_failing",
                "1 while following the log fails.",
                lambda: float(follower.followed.error is not None),
            ),
            ("graphrec_dropped_impressions", "Lists and outcomes that were not kept under load.", dropped),
            ("graphrec_index_items", "Items of the index.", lambda: _index(recommender)[0]),
            ("graphrec_index_overlay_rows", "Rows scored beside the index.", lambda: _index(recommender)[1]),
        ]
        for name, text, value in looked_up:
            self._gauge(name, text).set_function(value)

    def lists_answered(self) -> dict[str, int]:
        """Lists since the start by whether they are certified, "true" or "false"."""
        counted: dict[str, int] = {}
        for sample in next(iter(self.lists.collect())).samples:
            if sample.name.endswith("_total"):
                proved = sample.labels["certified"]
                counted[proved] = counted.get(proved, 0) + int(sample.value)
        return counted

    def page(self, rates: list[Rates]) -> bytes:
        """The text that Prometheus reads."""
        for rate in rates:
            labels = str(rate.generation), rate.question
            self._shown.labels(*labels).set(rate.lists)
            self._ctr.labels(*labels).set(rate.ctr)
            self._cvr.labels(*labels).set(rate.cvr)
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)


def _epsilon(recommender: Recommender) -> float:
    propagation = recommender.retriever.propagation
    return 0.0 if propagation is None else float(propagation.epsilon)


def _index(recommender: Recommender) -> tuple[int, int]:
    """Items of the index, and rows of its overlay."""
    index = recommender.retriever.index
    return (0, 0) if index is None else (len(index), len(index.view.overlay))
