"""The gate: publish a candidate, hold it for a person, or reject it.

Both models answer the same questions by the whole pipeline (`panels.py`): on the newest slice, which neither has
learned from, and on older slices, which show what would be forgotten. Differences are paired, user by user, with
bootstrap intervals (Efron & Tibshirani 1993). A candidate is published if

    fresh    NDCG_new >= NDCG_old - `allowance` standard errors of the difference
    older    NDCG_new >= (1 - `panel_loss`) NDCG_old, with the same allowance
    lists    no item floods them, and they still name most of the items that they named
    events   the new ones are like those before (`batch_checks.py`)

It is rejected where the loss is beyond chance (the interval ends below what is allowed) or the batch looks poisoned; in
between, and where there are too few questions, it is held.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphrec.training.batch_checks import HOLD, PUBLISH, REJECT, Finding, batch_findings
from graphrec.training.panels import ndcg_and_recall, panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rich.table import Table

    from graphrec.events.interactions import Interactions
    from graphrec.operation_settings import GateSettings
    from graphrec.training.panels import Answers, Panel

    Float64 = NDArray[np.float64]
    Int32 = NDArray[np.int32]

K = 20
FRESH, OLDER = "fresh", "older"
_RESAMPLES, _CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Comparison:
    """Live and candidate on one slice: means over users; difference = candidate - live, of NDCG@20.

    low, high: 95 % bootstrap interval of the difference over users, paired. standard_error: of the difference.
    """

    name: str
    questions: int
    ndcg_live: float
    ndcg_candidate: float
    recall_live: float
    recall_candidate: float
    difference: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class GateReport:
    """A verdict and everything it rests on.

    reasons: what speaks against publishing; empty for "publish". new_events: since the live generation; held_out: of
    those, the newest, which the candidate has not learned from.
    """

    verdict: str
    reasons: tuple[str, ...]
    new_events: int
    held_out: int
    comparisons: tuple[Comparison, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest or a log."""
        return asdict(self)


def judge(
    log: Interactions,
    since: int,
    cut: int,
    live: Answers,
    candidate: Answers,
    settings: GateSettings,
    seed: int = 0,
) -> GateReport:
    """Compare a candidate that has learned from log[:cut] with the live model, which has learned from log[:since].

    `log` in the order of arrival, since <= cut <= len(log).
    """
    rng = np.random.default_rng(seed)
    asked = [panel(FRESH, log, cut, len(log), settings.questions, rng)]
    length = max(len(log) - cut, 1)
    for share in settings.panel_moments:
        moment = int(share * since)
        asked.append(panel(OLDER, log, moment, min(moment + length, since), settings.questions, rng))
    answered = [_answered(questions, live, candidate) for questions in asked if len(questions)]
    compared = [
        _compare(name, answers, rng)
        for name, answers in (
            (FRESH, [each for each in answered if each.panel.name == FRESH]),
            (OLDER, [each for each in answered if each.panel.name == OLDER]),
        )
        if answers
    ]
    findings = batch_findings(log, since, settings, seed)
    if answered:
        old, new = (np.concatenate([getattr(each, side) for each in answered]) for side in ("live", "candidate"))
        findings += list_findings(old, new, settings)
    verdict, reasons = decide(compared, findings, settings)
    return GateReport(verdict, reasons, len(log) - since, len(log) - cut, tuple(compared), tuple(findings))


def list_findings(live: Int32, candidate: Int32, settings: GateSettings) -> list[Finding]:
    """Whether one item has come into the candidate's lists (n, k) everywhere, or most items have left them."""
    most, named = [], []
    for lists in (live, candidate):
        exposure = np.bincount(lists[lists >= 0])
        most.append(float(exposure.max(initial=0) / max(len(lists), 1)))
        named.append(float(np.count_nonzero(exposure)))
    limit = most[0] + settings.flooding * (1 - most[0])
    least = settings.coverage * named[0]
    return [
        Finding("one item's share of the lists", most[1], most[0], limit, most[1] <= limit, REJECT),
        Finding("items named by the lists", named[1], named[0], least, named[1] >= least, REJECT),
    ]


def decide(
    compared: Sequence[Comparison], findings: Sequence[Finding], settings: GateSettings
) -> tuple[str, tuple[str, ...]]:
    """The verdict, and what speaks against publishing."""
    against: list[tuple[str, str]] = []
    for row in compared:
        allowed = 0.0 if row.name == FRESH else settings.panel_loss * row.ndcg_live
        floor = -allowed - settings.allowance * row.standard_error
        if row.difference < floor:
            verdict = REJECT if row.high < -allowed else HOLD
            against.append((verdict, f"{row.name}: NDCG@{K} {row.ndcg_live:.4f} -> {row.ndcg_candidate:.4f}"))
    fresh = next((row.questions for row in compared if row.name == FRESH), 0)
    if fresh < settings.least_questions:
        needed = settings.least_questions
        against.append((HOLD, f"{fresh} questions that neither model has learned from, of the {needed} needed"))
    against += [
        (finding.verdict, f"{finding.name}: {finding.value:.3g}, usual {finding.usual:.3g}, limit {finding.limit:.3g}")
        for finding in findings
        if not finding.passed
    ]
    verdicts = {verdict for verdict, _ in against}
    verdict = REJECT if REJECT in verdicts else HOLD if verdicts else PUBLISH
    return verdict, tuple(reason for _, reason in against)


def as_table(report: GateReport) -> Table:
    """Lay a report out for a terminal of 80 columns."""
    from rich.table import Table

    table = Table(title=f"{report.verdict}: {report.new_events} new events, {report.held_out} held out", box=None)
    for place, heading in enumerate(("", "live / usual", "candidate / new", "difference or limit", "")):
        table.add_column(heading, justify="right" if place else "left")
    for row in report.comparisons:
        spread = f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
        table.add_row(f"NDCG@{K} {row.name}", f"{row.ndcg_live:.4f}", f"{row.ndcg_candidate:.4f}", spread, "")
    for finding in report.findings:
        figures = (f"{figure:.3g}" for figure in (finding.usual, finding.value, finding.limit))
        table.add_row(finding.name, *figures, "" if finding.passed else finding.verdict)
    return table


@dataclass(frozen=True, eq=False)
class _Answered:
    """One panel and the lists of both models, int32 (n, k) each."""

    panel: Panel
    live: Int32
    candidate: Int32


def _answered(questions: Panel, live: Answers, candidate: Answers) -> _Answered:
    history, users = questions.history, questions.users
    return _Answered(questions, live(history, users, K), candidate(history, users, K))


def _compare(name: str, answered: Sequence[_Answered], rng: np.random.Generator) -> Comparison:
    """Figures over the questions of some panels together: few may be asked at each moment."""
    wanted = [items for each in answered for items in each.panel.wanted]
    lists = [np.concatenate([getattr(each, side) for each in answered]) for side in ("live", "candidate")]
    (ndcg_old, recall_old), (ndcg_new, recall_new) = (ndcg_and_recall(side, wanted) for side in lists)
    gains = ndcg_new - ndcg_old
    low, high, error = bootstrap(gains, rng)
    return Comparison(
        name,
        len(wanted),
        float(ndcg_old.mean()),
        float(ndcg_new.mean()),
        float(recall_old.mean()),
        float(recall_new.mean()),
        float(gains.mean()),
        error,
        low,
        high,
    )


def bootstrap(values: Float64, rng: np.random.Generator) -> tuple[float, float, float]:
    """Percentile interval and standard error of a mean over users, (n,)."""
    n = len(values)
    means = np.array([values[rng.integers(n, size=n)].mean() for _ in range(_RESAMPLES)])
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail)).tolist()
    return low, high, float(means.std())
