"""Times the transport engine against one product and against its peers; see README.md beside this."""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transport_data import ROOT, Pair, clustered, text
from transport_gpu import gpu
from transport_measures import EPSILONS, against_one_product, by_instructions, growth, many
from transport_peers import CHEAP, against_peers

from shortlist.store.provenance import commit, processor

TITLES = {
    "product": "One solve (tolerance 1e-2) against one chunked float32 product over the same arrays",
    "growth": "Time and private memory over a memory-mapped float16 pool, epsilon 1 %",
    "peers": "Peers on the same arrays, where all of them fit in memory",
    "online": "ott-jax online with the released settings, or --solvers, on the large pool",
    "processor": "Processor time with all instructions and with AVX2 alone (on demand)",
    "many": "Many targets, once (on demand: --parts many)",
    "gpu": "On a GPU (on demand: --gpu)",
}
DEFAULT = ["product", "growth", "peers", "online"]
NOTES = {
    "product": "`ratio`: over torch's default product. `ratio_onednn`: over oneDNN's float32 "
    "product, which the engine itself uses where this machine has a quick and exact one.",
    "processor": "Medians in seconds of processor time, one thread, runs of product and solve in turn; "
    "`least`: ratio of the least. AVX2: ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA and "
    "MKL_ENABLE_INSTRUCTIONS set so; the engine then takes MKL's product, as on a chip of AVX2. It does "
    "not reach caches, clock and memory, nor MKL on AMD chips.",
    "peers": "Medians of interleaved runs (`runs`); compile time is not counted. `times_ours` is "
    "over the row `ours` of the same data and epsilon. `>`: stopped at the time limit, compile time "
    "included. KeOps compiles at run time and needs a compiler and its headers: where geomloss's "
    "lazy backends do not start, the note says why.",
    "online": "As above: momentum 1.3, threshold 0.1, batches of 2,000; epsilon as in the tables. "
    "The paper's own epsilon is 0.1 absolute, on raw vectors of 768 numbers.",
}
EASY = ["ott dense", "ott released", "ott online", "pot kernel"]
LAZY = ["pot lazy", "geomloss", "geomloss online", "geomloss multiscale", "exact"]
PEERS = {0.05: [*EASY, *LAZY], 0.01: EASY}
QUICK_PEERS = {
    0.05: ["ott dense", "ott released", "pot kernel", *LAZY],
    0.01: ["ott dense", "ott released", "pot kernel"],
}
ONLINE = {epsilon: ["ott released"] for epsilon in EPSILONS}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns rows as a Markdown table."""

    def cell(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def machine(quick: bool) -> dict[str, Any]:
    """Returns what the numbers were taken on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "quick": quick,
        "commit": commit(ROOT)[:12],
    }


def measured(part: str, data: dict[str, Pair], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the rows of one part."""
    repeats, python, limit = given.repeats, given.peers, given.limit
    match part:
        case "product":
            return [
                row
                for name, pair in data.items()
                for row in against_one_product(name, pair, repeats)
            ]
        case "growth":
            sizes = [given.candidates, 5 * given.candidates]
            return growth(sizes, given.targets, 1 if given.quick else repeats)
        case "processor":
            return by_instructions(given.candidates, given.targets, repeats)
        case "many":
            return many(given.candidates, 50_000)
        case "gpu":
            return gpu(5_000_000, 5000)
        case "peers":
            chosen: dict[float, list[str]] = QUICK_PEERS if given.quick else PEERS
            few = {
                name: (pool[: given.peer_candidates].clone(), target)
                for name, (pool, target) in data.items()
            }
            if given.quick:
                few = {"clustered": few["clustered"]}
        case _:
            chosen, few = ONLINE, data
    chosen = {
        epsilon: given.solvers or chosen.get(epsilon, []) for epsilon in given.epsilons or chosen
    }
    return [
        row
        for name, pair in few.items()
        for row in against_peers(name, pair, python, limit, repeats, chosen, given.cheap)
    ]


def write(report: dict[str, Any], out: Path) -> None:
    """Writes the report as JSON and as Markdown."""
    (out / "transport.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    lines = ["# Transport engine", "", "Written by `make bench`; do not edit.", ""]
    for part in [name for name in TITLES if name in report]:
        lines += [f"## {TITLES[part]}", "", table(report[part]["rows"]), ""]
        lines += [NOTES[part], ""] if part in NOTES else []
        taken = json.dumps(report[part]["machine"], sort_keys=True)
        lines += [f"{report[part]['seconds']:.0f} s in all; machine: {taken}", ""]
    (out / "transport.md").write_text("\n".join(lines))


def main() -> None:
    """Runs the parts asked for and puts what they gave beside what was there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--data", type=Path, help="folder with pools/ and tasks/, for real text")
    parser.add_argument("--task", help="whose training texts are the target; default: the first")
    parser.add_argument("--peers", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--quick", action="store_true", help="about 8 minutes on two idle cores")
    parser.add_argument("--parts", nargs="+", choices=TITLES, default=DEFAULT)
    parser.add_argument("--gpu", action="store_true", help="5,000,000 x 5,000 on a GPU, if any")
    parser.add_argument("--candidates", type=int, default=200_000)
    parser.add_argument("--targets", type=int, default=2000)
    parser.add_argument("--peer-candidates", type=int, default=20_000)
    parser.add_argument("--limit", type=float, help="seconds that a peer may take")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--solvers", nargs="+", choices=[*EASY, *LAZY], help="only these peers")
    parser.add_argument("--epsilons", nargs="+", type=float, choices=EPSILONS, help="of peers")
    parser.add_argument("--cheap", type=float, default=CHEAP, help="seconds; slower peers run once")
    given = parser.parse_args()
    given.limit = given.limit or (90.0 if given.quick else 600.0)
    given.repeats = given.repeats or (3 if given.quick else 5)
    given.parts = [*given.parts, *(["gpu"] if given.gpu else [])]
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "transport.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    begin = time.perf_counter()
    data: dict[str, Pair] = {"clustered": clustered(given.candidates, given.targets)}
    if given.data is not None:
        name, pair = text(
            given.data, given.candidates, given.targets, ROOT / ".cache/bench", given.task
        )
        data[name] = pair
    print(f"vectors: {time.perf_counter() - begin:.0f} s", flush=True)
    for part in given.parts:
        here, begin = machine(given.quick), time.perf_counter()
        rows = measured(part, data, given)
        report[part] = {"machine": here, "rows": rows, "seconds": time.perf_counter() - begin}
        write(report, given.out)


if __name__ == "__main__":
    main()
