"""Times `python run.py until=select` on a person's own files: 200,000 documents of 1,000 characters.

The documents are real text cut anew, a third each as JSON Lines under zstd, as CSV and as Parquet,
with the text in a column of another name. Nothing is reused: the cache is a new folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shortlist.data.readers import read
from shortlist.data.sources import LocalSource

ROOT = Path(__file__).resolve().parent.parent
COLUMN = "body"


def documents(data: Path, wanted: int, length: int) -> list[str]:
    """Returns `wanted` texts of `length` characters, cut from the domains of a data folder in turn.

    Where the folder has too little text the passes are cut at other places: no two are equal.
    """
    source = LocalSource(str(data))
    whole = [
        " ".join(read(file).corpus.texts)
        for name in source.pool_names(None)
        for file in source.pool_files(name, None).files["pool"]
    ]
    found: dict[str, None] = {}
    shift = 0
    while len(found) < wanted and shift < length:
        for text in whole:
            for start in range(shift, len(text) - length, length):
                found[text[start : start + length]] = None
        shift += length // 3
    if len(found) < wanted:
        raise SystemExit(f"{data}: expected text for {wanted:,} documents, found {len(found):,}")
    step = len(found) // wanted  # of every domain, where there is more than is wanted
    return list(found)[::step][:wanted]


def write(texts: list[str], folder: Path) -> list[Path]:
    """Returns three files with a third of the texts each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "first.jsonl.zst", folder / "second.csv", folder / "third.parquet"]
    with pa.output_stream(str(files[0]), compression="zstd") as stream:
        for text in texts[0::3]:
            stream.write((json.dumps({COLUMN: text, "n": 1}) + "\n").encode())
    with files[1].open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["n", COLUMN])
        rows.writerows([1, text] for text in texts[1::3])
    pq.write_table(pa.table({COLUMN: texts[2::3]}), files[2])
    return files


def timed(command: list[str]) -> dict[str, float]:
    """Returns wall time, processor time (s) and the largest resident memory (MiB) of a command."""
    begin = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"ended with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return {
        "wall_s": time.perf_counter() - begin,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Writes the files, runs the command on them, and tells what each stage took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument("--task", default="chemprot", help="whose training texts are the target")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--characters", type=int, default=1_000)
    parser.add_argument("--budget", type=int, default=20_000)
    parser.add_argument("--work", type=Path, help="folder for the files; default: a temporary one")
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    given = parser.parse_args()
    work = given.work or Path(tempfile.mkdtemp(prefix="own_files_"))
    files = write(documents(given.data, given.documents, given.characters), work / "pool")
    home = work / "run"
    shutil.rmtree(home, ignore_errors=True)
    train = given.data / "tasks" / given.task / "train.jsonl.gz"
    command = [
        sys.executable, "run.py", "until=select", "pool=files", f"pool.text={COLUMN}",
        f"pool.paths=[{','.join(map(str, files))}]", "task=own", f"task.train={train}",
        "selector=gotd", "featurizer=static", f"budget={given.budget}",
        *(f"paths.{name}={home / name}" for name in ("cache", "results", "runs")),
    ]  # fmt: skip
    found: dict[str, Any] = {
        "documents": given.documents,
        "characters": given.characters,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        **timed(command),
    }
    (kept,) = (home / "results").rglob("*.json")
    record = json.loads(kept.read_text())
    found["stages"] = [
        {name: stage[name] for name in ("stage", "seconds", "peak_mib")}
        for stage in record["stages"]
    ]
    lines = [
        "# A person's own files", "", "Written by `benchmarks/own_files.py`; do not edit.", "",
        f"{given.documents:,} documents of {given.characters:,} characters (JSON Lines under zstd, "
        f"CSV, Parquet), target {given.task}, `selector=gotd featurizer=static "
        f"budget={given.budget}`, nothing reused: {found['wall_s']:.0f} s on {found['cores']} cores, "
        f"at most {found['peak_mib']:,.0f} MiB.", "", "| stage | seconds | MiB |", "|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {s['stage']} | {s['seconds']:.1f} | {s['peak_mib']:,.0f} |" for s in found["stages"]
    ]
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "own_files.json").write_text(json.dumps(found, indent=2) + "\n")
    (given.out / "own_files.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[4:]))
    if given.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
