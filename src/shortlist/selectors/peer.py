"""Other authors' code as a selector, run in a process of its own: files in, scores out."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.core.corpus import digest
from shortlist.errors import InvalidInput
from shortlist.selectors.base import UNRANKED, TransductiveSelector
from shortlist.store.atomic import write_jsonl
from shortlist.store.provenance import commit

if TYPE_CHECKING:
    from shortlist.core import Features

# Settings of the process that a peer may need; nothing else of this one's environment is passed on.
PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE")


class Peer(TransductiveSelector):
    """A peer's own code, run in its own environment by an adapter script.

    The adapter is called with one argument, a directory. It finds there `request.json` (`checkout`
    and the YAML's `arguments`), `target.jsonl` and `pool.jsonl` (`id`, `text`), and, where `vectors`
    says so, `target.npy` and `pool.npy`, float32, row for row. It leaves `scores.jsonl`: `id` and
    `score` (larger is chosen first; null: the peer did not rank it) of every document of the pool,
    once each; and, if it likes, `facts.json` with what a reader must know (versions). What it
    prints goes to a log, which is kept when it fails.
    """

    ranking_length = "arguments"

    def __init__(
        self,
        python: str | None,
        script: str,
        checkout: str | None,
        needs_checkout: bool,
        vectors: bool,
        arguments: Mapping[str, Any],
        timeout: float,
    ) -> None:
        """Stores how the peer is called; nothing is run.

        Args:
            python: interpreter of the peer's environment.
            script: the adapter, relative to this repository's root.
            checkout: folder with the peer's published code.
            needs_checkout: whether the adapter calls files of the checkout (or a package that the
                interpreter has).
            vectors: whether the adapter reads vectors.
            arguments: the peer's own settings, under its own names.
            timeout: seconds after which it is stopped.
        """
        super().__init__()
        self.python, self.checkout = python, checkout
        self.script = Path(__file__).parents[3] / script
        self.needs_checkout, self.vectors = needs_checkout, vectors
        self.arguments, self.timeout = dict(arguments), timeout

    def applicable(self, task: str) -> str | None:
        """Returns what is missing on this machine, or None."""
        name = self.script.parent.name
        if not self.script.is_file():
            return f"the adapter of peer {name} is not at {self.script}; run from a checkout"
        if self.python is None or shutil.which(self.python) is None:
            return (
                f"peer {name} runs in its own environment, no interpreter at {self.python}; "
                "set selector.python=PATH"
            )
        if self.needs_checkout and (self.checkout is None or not Path(self.checkout).is_dir()):
            return (
                f"peer {name} runs its authors' code, no checkout at {self.checkout}; "
                "set selector.checkout=DIR"
            )
        return None

    def identity(self) -> dict[str, str]:
        """Returns the digest of the adapter and the commit of the checkout."""
        folder = self.script.parent
        code = sorted([*folder.parent.glob("*.py"), *folder.glob("*.py")])
        found = {"adapter": digest(path.read_bytes() for path in code)}
        if self.checkout is not None and Path(self.checkout).is_dir():
            found["checkout"] = commit(Path(self.checkout))
        return found

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the peer's score of each document of the pool; reports what the peer said of itself.

        Raises:
            InvalidInput: the process failed, took too long, or did not score every document once.
        """
        assert target.documents is not None and pool.documents is not None
        work = Path(tempfile.mkdtemp(prefix="shortlist-peer-"))
        try:
            for name, features in (("target", target), ("pool", pool)):
                self._write(work / name, features)
            self._run(work)
            ids = pool.documents.ids
            scores = self._read(work / "scores.jsonl", ids)
        finally:  # what stays after a failure is what can be looked at: log and scores
            for path in work.glob("*.npy"):
                path.unlink()
        facts = work / "facts.json"
        said = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {}
        self.keep("pool_scores", torch.from_numpy(scores))
        shutil.rmtree(work)
        return {**said, **self.identity(), "not_ranked": int((scores == UNRANKED).sum())}

    def _write(self, path: Path, features: Features) -> None:
        assert features.documents is not None
        documents = zip(features.documents.ids, features.documents.texts, strict=True)
        rows = ({"id": key, "text": text} for key, text in documents)
        write_jsonl(path.with_suffix(".jsonl"), rows)
        if self.vectors:
            values: Any = features.values
            np.save(path.with_suffix(".npy"), np.asarray(values, dtype=np.float32))

    def _run(self, work: Path) -> None:
        name, log = self.script.parent.name, work / "log.txt"
        checkout = str(Path(self.checkout).absolute()) if self.checkout else None
        request = {"checkout": checkout, "arguments": self.arguments}
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        command = [str(self.python), "-s", str(self.script), str(work)]
        try:
            with log.open("wb") as output:
                done = subprocess.run(
                    command,
                    cwd=work,
                    env={**environment, "PYTHONHASHSEED": "0"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=self.timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise InvalidInput(
                f"peer {name} was stopped after {self.timeout:g} s; set selector.timeout larger "
                f"(log: {log})"
            ) from error
        if done.returncode != 0:
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next(
                (line.strip() for line in reversed(lines) if line.strip()), "it said nothing"
            )
            raise InvalidInput(
                f"peer {name} ended with code {done.returncode}: {last} (log: {log})"
            )

    def _read(self, path: Path, ids: list[str]) -> np.ndarray:
        """Returns the (n,) scores in the order of `ids`, every one of them there exactly once."""
        name = self.script.parent.name
        if not path.is_file():
            raise InvalidInput(
                f"peer {name} left no scores.jsonl; look at {path.parent / 'log.txt'}"
            )
        found: dict[str, float] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                row = json.loads(line)
                key, score = row["id"], row["score"]
                value = UNRANKED if score is None else float(score)
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInput(
                    f'peer {name}: expected {{"id": ..., "score": number or null}}, found '
                    f"{line[:60]!r}; look at {path} line {number}"
                ) from error
            if not math.isfinite(value) or key in found:
                what = f"id {key} twice" if key in found else f"the score {score} of id {key}"
                raise InvalidInput(f"peer {name} wrote {what}; look at {path} line {number}")
            found[key] = value
        if found.keys() != set(ids):
            missing, foreign = len(set(ids) - found.keys()), len(found.keys() - set(ids))
            raise InvalidInput(
                f"peer {name} must score each of the pool's {len(ids):,} documents: {missing:,} are "
                f"missing, {foreign:,} are not of the pool; look at {path}"
            )
        return np.array([found[key] for key in ids])
