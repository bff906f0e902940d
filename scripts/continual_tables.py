"""The figures of bench_continual as Markdown: means over blocks and seeds, paired with a full retrain."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from continual_contenders import RETRAIN

METRICS = ("recall", "ndcg", "recall, returning", "ndcg, returning")


def as_markdown(found: list[dict[str, Any]]) -> str:
    """One table a data set; `found` are the files of the jobs."""
    of_data: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in found:
        of_data[job["data"]].append(job)
    return "\n\n".join(f"### {name}\n\n{table_of(jobs)}" for name, jobs in of_data.items())


def table_of(jobs: list[dict[str, Any]]) -> str:
    """Contenders as rows; a ratio is over the blocks and seeds that the full retrain has too."""
    figures: dict[str, dict[tuple[int, int], dict[str, float]]] = defaultdict(dict)
    transfers: dict[str, list[dict[str, float]]] = defaultdict(list)
    for job in jobs:
        for block in job["blocks"]:
            figures[job["contender"]][job["seed"], block["block"]] = block
        if "backward transfer" in job:
            transfers[job["contender"]].append(job["backward transfer"])
    reference = figures.get(RETRAIN, {})
    cells = []
    for name, measured in figures.items():
        own = [np.mean([block[metric] for block in measured.values()]) for metric in METRICS]
        paired = sorted(measured.keys() & reference.keys())
        ratios = ["", "", ""]
        if paired:
            ratios = [
                ratio([measured[key] for key in paired], [reference[key] for key in paired], metric)
                for metric in ("recall", "ndcg")
            ]
            ratios.append(share([measured[key] for key in paired], [reference[key] for key in paired]))
        seconds = np.mean([block["fit_cpu_seconds"] for block in measured.values()])
        transfer = transferred(transfers[name])
        cells.append(
            [
                f"**{name}**" if name == "ours" else name,
                *(f"{value:.4f}".removeprefix("0") for value in own),
                *ratios[:2],
                f"{seconds:.2f}",
                ratios[2],
                transfer,
                f"{len(measured)}",
            ]
        )
    header = [
        "follows by",
        "recall@20",
        "NDCG@20",
        "recall, returning users",
        "NDCG, returning users",
        "recall / retrain",
        "NDCG / retrain",
        "CPU-s a block",
        "CPU / retrain",
        "backward transfer",
        "blocks",
    ]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *cells])


def ratio(measured: list[dict[str, float]], reference: list[dict[str, float]], metric: str) -> str:
    """Of the means, with half of the 95 % interval of Student's for the paired differences of blocks and seeds."""
    from scipy.special import stdtrit

    ours, theirs = (np.array([block[metric] for block in blocks]) for blocks in (measured, reference))
    value = ours.mean() / theirs.mean()
    if len(ours) < 2:
        return f"{value:.3f}"
    apart = ours - value * theirs
    half = float(stdtrit(len(ours) - 1, 0.975)) * apart.std(ddof=1) / np.sqrt(len(ours)) / theirs.mean()
    return f"{value:.3f} ±{half:.3f}"


def transferred(changes: list[dict[str, float]]) -> str:
    """Mean over seeds, with half of the 95 % interval over questions, which are the same ones under every seed."""
    if not changes:
        return ""
    change, error = (np.mean([each[name] for each in changes]) for name in ("change", "standard_error"))
    return f"{100 * change:+.1f} ±{196 * error:.1f} %"


def share(measured: list[dict[str, float]], reference: list[dict[str, float]]) -> str:
    """CPU-seconds over those of the reference."""
    ours, theirs = (sum(block["fit_cpu_seconds"] for block in blocks) for blocks in (measured, reference))
    return f"{100 * ours / theirs:.1f} %"
