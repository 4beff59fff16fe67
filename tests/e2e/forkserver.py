"""Runs a cell in child after child and kills each in the middle of another stage.

The heavy modules are imported once; a child is a fork of this process. Prints one JSON object:
`killed` (stage and number of its computation, signal, whether an artifact was left of it),
`disturbed` and `undisturbed` (digest of every artifact by stage and key).

    python forkserver.py HOME OVERRIDE...
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import cells
import pandas  # noqa: F401  (pyarrow would import it in every child)
import pyarrow.dataset  # noqa: F401
import torch
import transformers.models.bert.modeling_bert  # noqa: F401
from hydra import compose, initialize_config_dir

import shortlist  # noqa: F401  (settings of the environment that must stand before torch)
from shortlist import config as schema
from shortlist.pipeline import cell, hydra_app  # noqa: F401
from shortlist.pipeline.compose import build_components
from shortlist.store.cache import Store

STAGES = (
    ("pool", 1), ("task", 1), ("leaks", 1), ("features", 1), ("features", 2), ("fit", 1),
    ("scores", 1), ("selection", 1), ("sensitivity", 1),
    ("fit", 1), ("scores", 1), ("selection", 1), ("advice", 1),  # of the ablation baseline; budget
    ("head", 1), ("warmup", 1), ("held_out", 1), ("held_out", 2),
    ("finetune", 1), ("evaluate", 1),
)  # fmt: skip

compute_as_it_is = Store._compute


def killing(stage: str, number: int) -> Any:
    """Returns a `_compute` that dies in the middle of the `number`-th computation of `stage`."""
    seen = [0]

    def compute(self: Store, path: Path, material: Any, work: Any) -> None:
        def half(directory: Path) -> Any:
            facts = work(directory)
            if material["stage"] == stage:
                seen[0] += 1
                if seen[0] == number:
                    sizes = {path: path.stat().st_size for path in directory.rglob("*")}
                    if sizes:  # a stage may have facts alone
                        largest = max(sizes, key=lambda path: sizes[path])
                        os.truncate(largest, sizes[largest] // 2)
                    (Path(directory).parent / "died").write_text(path.name)
                    os.kill(os.getpid(), signal.SIGKILL)
            return facts

        compute_as_it_is(self, path, material, half)

    return compute


def child(config: Any, directory: Path, stage: str = "", number: int = 0) -> int:
    """Returns the status of a fork that runs the cell."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if stage:
            Store._compute = killing(stage, number)
        record = cells.execute(config, directory)
        os._exit(0 if record.status == "done" else 3)
    return os.waitpid(process, 0)[1]


def digests(cache: Path) -> dict[str, str]:
    """Returns the digest of every finished artifact."""
    return {
        f"{path.parts[-3]}/{path.parts[-2]}": json.loads(path.read_text())["digest"]
        for path in sorted(cache.glob("*/*/manifest.json"))
        if not path.parent.name.startswith(".")
    }


def main(home: Path, overrides: list[str]) -> None:
    """Prints what became of the cell."""
    torch.set_num_threads(1)
    os.fsync = lambda descriptor: None  # what is killed are processes, not the power
    schema.register(cells.ROOT / "conf")
    with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
        config, fresh = (
            compose("config", [*overrides, f"paths.cache={at}"], return_hydra_config=True)
            for at in (home / "killed", home / "fresh")
        )
    build_components(
        config
    )  # imports what the configuration names, before there are children to import it
    killed = []
    for stage, number in STAGES:
        # What the child before was killed in, this one computes undisturbed, before it dies itself.
        ended = child(config, home / "runs" / str(len(killed)), stage, number)
        died = home / "killed" / stage / "died"
        key = died.read_text() if died.exists() else ""
        whole = (home / "killed" / stage / key / "manifest.json").exists()
        killed.append([stage, key, os.WTERMSIG(ended), whole])
        died.unlink(missing_ok=True)
    ends = [child(config, home / "runs" / "last"), child(fresh, home / "runs" / "fresh")]
    leftovers = [str(path) for path in (home / "killed").glob("*/.*")]
    print(
        json.dumps(
            {
                "killed": killed,
                "ends": ends,
                "leftovers": leftovers,
                "disturbed": digests(home / "killed"),
                "undisturbed": digests(home / "fresh"),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
