"""A warm-up by processes of this machine, each with a share of every batch: DDP or FSDP (FSDP2).

    python -m torch.distributed.run --standalone --nproc-per-node=2 -m shortlist.pipeline.parallel JOB

Every process draws the same batches and masks, and trains on its rows of each; the mean of their
losses, each weighted by its predicted tokens, is the loss of the batch, and so is the gradient.
Sums are taken in another order, and dropout draws other masks: without dropout the losses are those
of one process but for rounding. The first process writes the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput, ShortlistError
from shortlist.pipeline.build import build_plain
from shortlist.processes import last_line
from shortlist.runtime import PROCESSES, BatchShare, Runtime
from shortlist.store.atomic import write_text
from shortlist.store.formats import load_corpus, save_corpus
from shortlist.trainers.base import TrainingModule

if TYPE_CHECKING:
    from shortlist.core import Corpus

JOB, FACTS, REASON, CORPUS = "job.json", "facts.json", "reason.txt", "corpus.arrow"


def train_in_processes(
    settings: Mapping[str, Any],
    start: Path,
    corpus: Corpus,
    directory: Path,
    seed: int,
    runtime: Runtime,
) -> dict[str, Any]:
    """Returns facts of the training; the trained model is written into `directory`.

    Args:
        settings: those of the trainer, with its class in `_target_`.
        start: directory of the initial model.
        corpus: the documents.
        directory: where the model is written.
        seed: seed of order, masks and dropout.
        runtime: the machine, with the number of processes.

    Raises:
        InvalidInput: the rate is to be found, there are fewer accelerators than processes, or a
            process refuses a setting or ends early.
    """
    processes = runtime.processes
    if settings.get("learning_rate") == "find":
        raise InvalidInput(
            f"runtime.processes={processes} needs a learning rate, found learning_rate=find; find it "
            "with one process first"
        )
    if runtime.device.type == "cuda":
        import torch

        if torch.cuda.device_count() < processes:
            raise InvalidInput(
                f"runtime.processes={processes} needs as many accelerators, found "
                f"{torch.cuda.device_count()}; set runtime.processes to that number"
            )
    with tempfile.TemporaryDirectory(prefix="shortlist-") as scratch:
        job = Path(scratch)
        save_corpus(job / CORPUS, corpus)
        alone = replace(runtime, processes=1, checkpoint_seconds=None, progress=False)
        content = {"trainer": dict(settings), "start": str(start), "directory": str(directory),
                   "seed": seed, "runtime": asdict(alone)}  # fmt: skip
        write_text(job / JOB, json.dumps(content))
        run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *run, "-m", "shortlist.pipeline.parallel", scratch],
            env={**os.environ, PROCESSES: str(processes)},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            reason = job / REASON
            raise InvalidInput(
                reason.read_text(encoding="utf-8")
                if reason.is_file()
                else f"runtime.processes={processes}: a process of the warm-up ended with code "
                f"{done.returncode}: {last_line(done.stderr)}; set runtime.processes=1"
            )
        return json.loads((job / FACTS).read_text(encoding="utf-8"))


def main(job: Path) -> int:
    """Trains this process's share; returns the exit code."""
    content = json.loads((job / JOB).read_text(encoding="utf-8"))
    trainer = build_plain(content["trainer"], "warmup", TrainingModule)
    runtime = Runtime(**content["runtime"])
    runtime.settle()
    first = BatchShare.of_process().rank == 0
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(content["directory"] if first else scratch)
        try:
            facts = trainer.train_on(
                Path(content["start"]),
                load_corpus(job / CORPUS),
                directory,
                content["seed"],
                runtime,
            )
        except ShortlistError as error:
            if first:
                write_text(job / REASON, str(error))
            return 1
    if first:
        write_text(job / FACTS, json.dumps(facts))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
