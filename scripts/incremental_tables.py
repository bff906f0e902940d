"""The figures of bench_incremental as Markdown."""

from __future__ import annotations

from typing import Any

CONTENDERS = (  # name in the table, name in the times
    ("graphrec: graph and vectors", "graphrec"),
    ("graphrec: … and popularity and index rows, visible", "visible"),
    ("full recomputation: torch, ready CSR", "full"),
    ("affected nodes: PyG SAGEConv, ready CSR", "affected"),
    ("two-way push, ready CSR", "push"),
    ("two-way push if users had features, ready CSR", "push with user features"),
)
PAPER = ((1e8, 3e6, 1e6), (1e9, 3e7, 1e7), (1e10, 3e8, 1e8))  # edges, users, items
GIB = 1 << 30


def as_markdown(results: list[dict[str, Any]]) -> str:
    """Tables of each world, then those of all together."""
    whole = [result for result in results if "index" in result]
    parts = [targets(results)]
    parts += [part for result in whole for part in (f"### {result['world']}", contenders(result))]
    parts += ["### Everything else, world by world", figures(results)]
    if whole:
        parts += ["### A larger graph, on paper", on_paper(whole[-1])]
    return "\n\n".join(parts)


def targets(results: list[dict[str, Any]]) -> str:
    """What matters, world by world, beside what it must be and what it should be."""
    rows = {
        "one event: full recomputation / graphrec": ("1,000 (1 M), 20,000 (10 M)", "10,000, 150,000"),
        "batch of 1,000: full recomputation / graphrec": ("10 (1 M), 100 (10 M)", "30, 400"),
        "one event: PyG on the affected nodes / graphrec": ("50", "500"),
        "largest difference to full recomputation": ("1e-5", "2e-6"),
        "events a second, exact, batches of 1,000, index rows included": ("20,000", "80,000"),
        "events a second, a twentieth of a message held back": ("100,000", "400,000"),
        "event to visible in a search, p50 / p99, ms": ("0.5 / 5", "0.06 / 0.3"),
        "rows that moved / rows of the index written": ("30", "300"),
        "overlap@20 with exact lists": ("0.999", ""),
        "lists proved exact by 400 rows": ("95 %", "100 %"),
        "user vector, p50 / p99, us": ("50 / 300", "10 / 60"),
        "bytes an edge, both directions": ("24", "18"),
        "a reader's p99 with 2,000 events a second / without, wall": ("1.25", ""),
        "torn or mixed reads": ("0", "0"),
        "items beyond the bound": ("0", "0"),
    }
    columns = [reached(result) for result in results]
    cells = [[name, *goals, *(column.get(name, "–") for column in columns)] for name, goals in rows.items()]
    return table(["CPU time, one core", "must", "goal", *(result["world"] for result in results)], cells)


def reached(result: dict[str, Any]) -> dict[str, str]:
    """The rows of `targets` that a world has a figure for."""
    times = {name: time["cpu_p50"] for name, time in result["times"].items()}
    p99 = {name: time["cpu_p99"] for name, time in result["times"].items()}
    found = {
        "largest difference to full recomputation": f"{max(result['largest_difference'].values()):.1e}",
        "user vector, p50 / p99, us": f"{times['user vector'] * 1e6:.0f} / {p99['user vector'] * 1e6:.0f}",
        "bytes an edge, both directions": f"{result['bytes_per_edge']:.1f}",
    }
    if "index" not in result:
        return found
    index, held_back = result["index"], result["bounded"]
    visible = times["visible, one event"] * 1e3, p99["visible, one event"] * 1e3
    found |= {
        "one event: full recomputation / graphrec": f"{times['full'] / times['graphrec, one event']:,.0f}",
        "batch of 1,000: full recomputation / graphrec": f"{times['full'] / times['graphrec, batch']:,.0f}",
        "one event: PyG on the affected nodes / graphrec": (
            f"{times['affected, one event'] / times['graphrec, one event']:,.0f}"
        ),
        "events a second, exact, batches of 1,000, index rows included": f"{1000 / times['visible, batch']:,.0f}",
        "events a second, a twentieth of a message held back": f"{1000 / times['bounded, batch']:,.0f}",
        "event to visible in a search, p50 / p99, ms": "{:.2f} / {:.2f}".format(*visible),
        "rows that moved / rows of the index written": f"{index['writes_saved']:,.0f}",
        "overlap@20 with exact lists": f"{index['overlap']:.4f}",
        "lists proved exact by 400 rows": f"{index['certified_by_rows_ordered']['400']:.1%}",
        "items beyond the bound": f"{held_back['violations']:,} in {held_back['events']:,} events",
    }
    if "readers" in result:
        waits, torn = result["readers"]["beside_a_writer"], result["readers"]["torn"]
        found |= {
            "a reader's p99 with 2,000 events a second / without, wall": f"{waits['p99_on'] / waits['p99_off']:.2f}",
            "torn or mixed reads": f"{torn['torn']} in {torn['looks']:,}",
        }
    return found


def contenders(result: dict[str, Any]) -> str:
    """One event, and a batch of 1,000: CPU and wall milliseconds, and how often it fits in a full recomputation."""
    times, cells = result["times"], []
    full = times["full"]["cpu_p50"]
    for name, key in CONTENDERS:
        row = [name]
        for size in ("one event", "batch"):
            time = times.get(f"{key}, {size}", times.get(key))
            row += [milliseconds(time[field]) for field in ("cpu_p50", "cpu_p99", "wall_p50")]
            row.append(f"{full / time['cpu_p50']:,.{0 if full > 9.5 * time['cpu_p50'] else 1}f}")
        cells.append(row)
    header = ["ms", "1 event, CPU p50", "p99", "wall p50", "full / this"]
    header += ["1,000, CPU p50", "p99", "wall p50", "full / this"]
    return table(header, cells)


def figures(results: list[dict[str, Any]]) -> str:
    """A column a world; a dash where a world was not asked."""
    rows: dict[str, list[str]] = {}
    for column, result in enumerate(results):
        for name, value in figures_of(result).items():
            rows.setdefault(name, ["–"] * len(results))[column] = value
    return table(["", *(result["world"] for result in results)], [[name, *values] for name, values in rows.items()])


def figures_of(result: dict[str, Any]) -> dict[str, str]:
    """Name and figure, as they are printed."""
    times, resident = result["times"], result["resident_bytes"]
    found = {
        "users, items": f"{result['users']:,}, {result['items']:,}",
        "edges": f"{result['edges']:,}",
        "largest degree of a user, an item": "{user:,}, {item:,}".format(**result["largest_degree"]),
        "bulk insertion, events per CPU-second": f"{result['loaded_events'] / times['insert']['cpu']:,.0f}",
        "bytes an edge, in the graph with its nodes": f"{result['bytes_per_edge']:.1f}",
        "memory before, loaded, with all vectors, MiB": " / ".join(
            f"{size / 2**20:,.0f}" for size in resident.values()
        ),
    }
    found |= {
        "all vectors and rows anew from the graph, CPU s": f"{times['settle']['cpu']:.2f}",
        "sustained at batches of 1,000, events per CPU-second": f"{1000 / times['graphrec, batch']['cpu_p50']:,.0f}",
        "one event, graph and vectors, p50 / p99, CPU us": microseconds(times["graphrec, one event"]),
        "user vector, p50 / p99, CPU us": microseconds(times["user vector"]),
        "batches of 1,000 followed": f"{result['batches']:,}",
        "largest difference to full recomputation, items / users (length of a vector)": (
            "{items:.1e} / {users:.1e}".format(**result["largest_difference"]) + f" ({result['vector_length']:.2f})"
        ),
    }
    if "index" not in result:
        return found
    index, node, theirs = result["index"], result["bytes_per_node"], result["networkx"]
    visits = result["visits"]["push with user features"]["one event"]
    return found | {
        "sorting the edges both ways into CSR, charged to nobody, CPU s": f"{times['sorted both ways']['cpu_p50']:.2f}",
        "sustained … with popularity and index rows": f"{1000 / times['visible, batch']['cpu_p50']:,.0f}",
        "sustained … in bounded mode, a twentieth of a message held back": bounded(result),
        "bound violations": violations(result["bounded"]),
        "event to visible, p50 / p99, CPU us": microseconds(times["visible, one event"]),
        "a user's 20 nearest items, p50 / p99, CPU us": microseconds(times["search"]),
        "items that one event moves": f"{result['items_moved']['one event']:.0f}",
        "neighbours that two-way push visits for one event if users had features, mean / most": (
            f"{visits[0]:,.0f} / {visits[1]:,}"
        ),
        "bytes a user / an item / an index row, beside the graph": (
            f"{node['user']:,.0f} / {node['item']:,.0f} / {node['index row']:,.0f}"
        ),
        "networkx: bytes an edge": f"{theirs['bytes_per_edge']:.0f}",
        "networkx: insertion, events per CPU-second (ours beside it)": (
            f"{theirs['events'] / times['networkx']['cpu']:,.0f} "
            f"({theirs['events'] / times['graph beside networkx']['cpu']:,.0f})"
        ),
        "PyG: cat and coalesce, 100 edges, CPU ms (ours beside it)": edge_list(times),
        "index: growth of the graph while it was followed": f"{index['growth']:.1%}",
        "index: rows that moved, rows written, per event": (
            f"{index['moved_rows_per_event']:.1f}, {index['written_rows_per_event']:.2f}"
        ),
        "index: lists proved exact by 100, 200, 400 rows": ", ".join(
            f"{share:.1%}" for share in index["certified_by_rows_ordered"].values()
        ),
        "index: overlap@20 with exact lists": f"{index['overlap']:.4f}",
        "index: overlap@20 if nothing were ever written, no vector": (
            f"{index['overlap_never_written']:.4f}, {index['overlap_vectors_never_written']:.4f}"
        ),
        "index: lists proved exact": f"{index['certified']:.1%}",
        **(readers(result["readers"]["beside_a_writer"]) if "readers" in result else {}),
    }


def readers(waits: dict[str, float]) -> dict[str, str]:
    """What a reader waits for its list, with and without a writer."""
    shown = {}
    for when, key in (("with a writer", "on"), ("without", "off")):
        both = f"{waits[f'p50_{key}']:.2f} / {waits[f'p99_{key}']:.2f}"
        shown[f"a user's 20 nearest items, wall, p50 / p99, ms, {when}"] = both
    return shown | {"… events a second that the writer took in": f"{waits['events_per_second']:,.0f}"}


def on_paper(result: dict[str, Any]) -> str:
    """Memory of graphs that were not measured, computed from the bytes that were."""
    node, cells = result["bytes_per_node"], []
    for edges, users, items in PAPER:
        graph = edges * result["bytes_per_edge"]
        vectors = users * node["user"] + items * (node["item"] + node["index row"])
        sizes = [f"{size / GIB:,.1f}" for size in (graph, vectors, graph + vectors)]
        cells.append([f"{edges:,.0f}", f"{users:,.0f}", f"{items:,.0f}", *sizes])
    return table(["edges", "users", "items", "graph, GiB", "vectors and index, GiB", "together"], cells)


def milliseconds(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1e3:,.{max(0, 2 - len(str(int(seconds * 1e3))) + (seconds < 1e-3) + 1)}f}"


def microseconds(time: dict[str, float]) -> str:
    """Median and 99th percentile of CPU time."""
    return f"{time['cpu_p50'] * 1e6:,.0f} / {time['cpu_p99'] * 1e6:,.0f}"


def bounded(result: dict[str, Any]) -> str:
    """Events a CPU-second, the error beside its bound, and what making everything exact again takes."""
    held_back, times = result["bounded"], result["times"]
    return (
        f"{1000 / times['bounded, batch']['cpu_p50']:,.0f}; error {held_back['largest_error']:.1e}"
        f" of {held_back['epsilon']:.1e}; exact again in {times['drain']['cpu'] * 1e3:,.0f} ms"
    )


def violations(held_back: dict[str, float]) -> str:
    """How many items were further off than the bound, of how many that were looked at, after how many events."""
    return f"{held_back['violations']:,} of {held_back['items_checked']:,} items in {held_back['events']:,} events"


def edge_list(times: dict[str, dict[str, float]]) -> str:
    """Medians of theirs and ours, and how often ours fits in."""
    theirs, ours = times["edge list"]["cpu_p50"], times["graph beside edge list"]["cpu_p50"]
    return f"{milliseconds(theirs)} ({milliseconds(ours)}: {theirs / ours:,.0f}x)"


def table(header: list[str], cells: list[list[str]]) -> str:
    """A Markdown table; the first column is text."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *cells])
