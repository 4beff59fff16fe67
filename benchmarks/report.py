"""What the text benchmarks write: rows and the machine they were taken on, as JSON and as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transport import machine, table

MACHINE = machine(False)  # as the script starts: later its own work is the load


def write(
    out: Path, name: str, title: str, notes: str, rows: list[dict[str, Any]], script: str = ""
) -> None:
    """Writes `<out>/<name>.json` and `.md`; `script` made them, by default `<name>.py`."""
    out.mkdir(parents=True, exist_ok=True)
    report = {"machine": MACHINE, "rows": rows}
    (out / f"{name}.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    taken = json.dumps(MACHINE, sort_keys=True)
    parts = [
        f"# {title}",
        f"Written by `benchmarks/{script or name}.py`; do not edit.",
        table(rows),
        notes,
    ]
    (out / f"{name}.md").write_text("\n\n".join([*parts, f"Machine: {taken}"]) + "\n")
    print(table(rows))
