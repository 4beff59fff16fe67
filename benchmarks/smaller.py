"""Tables and reliability diagrams of runs with smaller models, out of what `shortlist compress` wrote.

    python benchmarks/smaller.py RUN [RUN ...]

writes `results/benchmarks/smaller.{json,md}` and `docs/assets/reliability-TASK.svg`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from shortlist.core import Record
from shortlist.pipeline.compression import names_of
from shortlist.rendering.tables import TextCell, TextTable, markdown_table

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results/benchmarks/smaller.json"
COLOURS = {
    "ink": "#1f2328",
    "soft": "#626a73",
    "line": "#c9c8c3",
    "pool": "#8b9096",
    "chosen": "#d55e00",
}
MEASURES = ("ece", "log_loss")


def diagram(page: Path, title: str) -> str:
    """Returns the reliability diagram of a calibration page as a group of SVG."""
    text = page.read_text(encoding="utf-8")
    found = re.search(
        r"<svg viewBox=\"0 0 ([\d.]+) ([\d.]+)\"[^>]*>(.*?)</svg>", text, flags=re.DOTALL
    )
    assert found is not None, page
    inside = found[3]
    for name, colour in COLOURS.items():
        inside = inside.replace(f"var(--{name})", colour)
    number = re.sub(r"\W", "", title)
    inside = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{number}-", inside)
    return (
        f'<g font-family="sans-serif" font-size="10">{inside}'
        f'<text x="{float(found[1]) - 8:g}" y="22" text-anchor="end" font-weight="600">{title}</text></g>'
    )


def reliability(run: Path, names: tuple[str, ...], width: int = 380, height: int = 270) -> str:
    """Returns the diagrams of a run's models side by side, two in a row."""
    parts = []
    for place, name in enumerate(("", *names)):
        page = run / f"calibration{f'_{name}' if name else ''}.html"
        x, y = width * (place % 2), height * (place // 2)
        parts.append(f'<g transform="translate({x} {y})">{diagram(page, name or "finetune")}</g>')
    rows = -(-len(parts) // 2)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {rows * height}">'
        f'<rect width="100%" height="100%" fill="#fcfcfa"/>{"".join(parts)}</svg>\n'
    )


def described(run: Path) -> dict[str, Any]:
    """Returns what is known of a run."""
    record = Record.from_json((run / "record.json").read_text(encoding="utf-8"))
    found = json.loads((run / "compression.json").read_text(encoding="utf-8"))
    names = names_of(record)
    measures = {
        name: {
            f"{measure}_{side}": record.metric(
                f"{measure}_{side}" + (f"_{name}" if name != "finetune" else "")
            )
            for measure in MEASURES
            for side in ("uncalibrated", "calibrated")
        }
        for name in ("finetune", *names)
    }
    return {
        "task": found["task"],
        "train": record.counts["task_train"],
        "validation": record.counts["task_validation"],
        "settings": list(record.overrides),
        "models": found["models"],
        "timed": found["timed"],
        "seconds": {stage.stage: round(stage.seconds, 1) for stage in record.stages},
        "measures": {
            name: {of: [m.value, m.stderr] for of, m in own.items() if m is not None}
            for name, own in measures.items()
        },
    }


def page(runs: list[dict[str, Any]]) -> str:
    """Returns the tables as Markdown."""
    lines = [
        "# Smaller models", "", "Written by `benchmarks/smaller.py`; do not edit.", "",
        "Each model is made of the one before; the ONNX models are made of `prune`. The runs predict in "
        "the precision that `precision=auto` chose (bfloat16 products on this processor), ONNX in "
        "float32. Latency is float32 or int8, on one thread, while other work of the machine was "
        "paused; the load stated is a mean over the minutes before.", "",
    ]  # fmt: skip
    for run in runs:
        models, times = run["models"], run["timed"]["latencies"]
        metric = models[0]["metric"]["name"]
        rows = []
        for one in models:
            value, gain = one["metric"], one["gain"]
            low, high = (
                (gain["value"] + s * 1.96 * gain["stderr"]) if gain else 0 for s in (-1, 1)
            )
            cells = [
                one["name"], f"{one['parameters']:,}", f"{one['bytes'] / 1e6:.1f}",
                f"{value['value']:.3f}",
                f"{gain['value']:+.3f} ({low:+.3f} to {high:+.3f})" if gain else "",
            ]  # fmt: skip
            for size in times.values():
                t = size[one["name"]]
                cells.append(
                    f"{1e3 * t['median']:.1f} ({1e3 * t['low']:.1f} to {1e3 * t['high']:.1f})"
                )
            rows.append(tuple(TextCell(cell) for cell in cells))
        headings = ("model", "parameters", "MB", metric, "difference (95 %)",
                    *(f"ms, batch {size}" for size in times))  # fmt: skip
        lines += [
            f"## {run['task']}", "",
            f"{run['train']:,} training, {run['validation']:,} validation and "
            f"{models[0]['metric']['n']:,} test examples. Latency: median (quartiles) of a pass, models "
            f"in turn; {run['timed']['machine']}. Training took "
            + ", ".join(f"{run['seconds'][name]:.0f} s ({name})" for name in run["seconds"]
                        if name == "finetune" or name.startswith("compress_")) + ".",
            "", markdown_table(TextTable("", headings, tuple(rows))), "",
        ]  # fmt: skip
        rows = [
            tuple(map(TextCell, (name, *(f"{value:.3f} ± {1.96 * error:.3f}"
                                         for value, error in own.values()))))
            for name, own in run["measures"].items() if own
        ]  # fmt: skip
        if rows:
            headings = (
                "model",
                *(name.replace("_", " ") for name in next(iter(run["measures"].values()))),
            )
            lines += [markdown_table(TextTable("", headings, tuple(rows))), ""]
        lines += ["```bash", "python run.py " + " ".join(run["settings"]), "```", ""]
    return "\n".join(lines)


def main() -> None:
    """Writes tables and diagrams of the runs that are named."""
    folders = [Path(text) for text in sys.argv[1:]]
    runs = [described(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        names = tuple(name for name in run["measures"] if name != "finetune")
        path = ROOT / f"docs/assets/reliability-{run['task'].replace('_', '-')}.svg"
        path.write_text(reliability(folder, names), encoding="utf-8")
    OUT.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    OUT.with_suffix(".md").write_text(page(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
