"""Other authors' code as a selector, run in a process of its own: files in, scores out."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shortlist.core import Features
from shortlist.core.corpus import digest
from shortlist.errors import InvalidInput
from shortlist.processes import environment, last_line
from shortlist.selectors.base import UNRANKED, TransductiveSelector, documents_of
from shortlist.settings import Positive
from shortlist.store.atomic import write_jsonl
from shortlist.store.provenance import commit


class Peer(TransductiveSelector):
    """A published method's own code, run in its own environment by an adapter script.

    The adapter is called with one argument, a directory. It finds there `request.json` (`checkout`
    and the YAML's `arguments`), `target.jsonl` and `pool.jsonl` (`id`, `text`), and, if `vectors`,
    `target.npy` and `pool.npy`, float32, row for row. It leaves `scores.jsonl` with `id` and
    `score` of every document of the pool, once each (larger is selected first; null: not ranked),
    and optionally `facts.json` with facts for the record, such as versions. Its output goes to a
    log, which is kept when it fails.

    Formula:
        score(x) is what the adapter leaves.

    Paper:
        The peer's; each option of `conf/selector/peer_*.yaml` names its authors' code.

    Deviations:
        Those that the adapter in `baselines/peers` names.

    Cost:
        The peer's own, and one copy of texts and vectors on disk.
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
        timeout: Positive,
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
        self.name = self.script.parent.name
        self.needs_checkout, self.vectors = needs_checkout, vectors
        self.arguments, self.timeout = dict(arguments), timeout

    def applicable(self, task: str) -> str | None:
        """Returns what is missing on this machine, or None."""
        if not self.script.is_file():
            return f"the adapter of peer {self.name} is not at {self.script}; run from a checkout"
        if self._interpreter() is None:
            return (
                f"peer {self.name} runs in its own environment, found no interpreter"
                f"{'' if self.python is None else f' at {self.python}'}; set selector.python=PATH"
            )
        if self.needs_checkout and (self.checkout is None or not Path(self.checkout).is_dir()):
            return (
                f"peer {self.name} runs its authors' code, no checkout at {self.checkout}; "
                "set selector.checkout=DIR"
            )
        return None

    def _interpreter(self) -> str | None:
        """Returns the whole path of the interpreter, as the peer runs in another folder, or None.

        Links stay: an environment's interpreter is one.
        """
        found = self.python and shutil.which(self.python)
        return str(Path(found).absolute()) if found else None

    def identity(self) -> dict[str, str]:
        """Returns the digest of the adapter and the commit of the checkout."""
        folder = self.script.parent
        code = sorted([*folder.parent.glob("*.py"), *folder.glob("*.py")])
        identity = {"adapter": digest(path.read_bytes() for path in code)}
        if self.checkout is not None and Path(self.checkout).is_dir():
            identity["checkout"] = commit(Path(self.checkout))
        return identity

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the peer's score of each document of the pool; returns the facts that it reported.

        Raises:
            InvalidInput: the process failed, took too long, or did not score every document once.
        """
        work = Path(tempfile.mkdtemp(prefix="shortlist-peer-"))
        try:
            for name, features in (("target", target), ("pool", pool)):
                self._write(work / name, features)
            self._run(work)
            scores = self._read(work / "scores.jsonl", documents_of(pool, "a peer").ids)
        finally:  # after a failure, log and scores stay
            for path in work.glob("*.npy"):
                path.unlink()
        file = work / "facts.json"
        facts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self.keep("pool_scores", torch.from_numpy(scores))
        shutil.rmtree(work)
        return {**facts, **self.identity(), "not_ranked": int((scores == UNRANKED).sum())}

    def _write(self, path: Path, features: Features) -> None:
        documents = documents_of(features, "a peer")
        pairs = zip(documents.ids, documents.texts, strict=True)
        write_jsonl(path.with_suffix(".jsonl"), ({"id": key, "text": text} for key, text in pairs))
        if self.vectors:
            values: Any = features.values
            np.save(path.with_suffix(".npy"), np.asarray(values, dtype=np.float32))

    def _run(self, work: Path) -> None:
        log = work / "log.txt"
        python = self._interpreter() or str(self.python)
        checkout = str(Path(self.checkout).absolute()) if self.checkout else None
        request = {"checkout": checkout, "arguments": self.arguments}
        (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
        try:
            with log.open("wb") as output:
                done = subprocess.run(
                    [python, "-s", str(self.script), str(work)],
                    cwd=work,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=self.timeout,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise InvalidInput(
                f"peer {self.name} was stopped after {self.timeout:g} s; set selector.timeout larger "
                f"(log: {log})"
            ) from error
        if done.returncode != 0:
            last = last_line(log.read_bytes()) or "it said nothing"
            raise InvalidInput(
                f"peer {self.name} ended with code {done.returncode}: {last} (log: {log})"
            )

    def _read(self, path: Path, ids: list[str]) -> np.ndarray:
        """Returns the (n,) scores in the order of `ids`, each of which must occur exactly once."""
        if not path.is_file():
            raise InvalidInput(
                f"peer {self.name} left no scores.jsonl; look at {path.parent / 'log.txt'}"
            )
        scores: dict[str, float] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            where = f"look at {path} line {number}"
            try:
                row = json.loads(line)
                key, score = row["id"], row["score"]
                value = UNRANKED if score is None else float(score)
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInput(
                    f'peer {self.name}: expected {{"id": ..., "score": number or null}}, found '
                    f"{line[:60]!r}; {where}"
                ) from error
            if not math.isfinite(value) or key in scores:
                what = f"id {key} twice" if key in scores else f"the score {score} of id {key}"
                raise InvalidInput(f"peer {self.name} wrote {what}; {where}")
            scores[key] = value
        if scores.keys() != set(ids):
            missing, foreign = len(set(ids) - scores.keys()), len(scores.keys() - set(ids))
            raise InvalidInput(
                f"peer {self.name} must score each of the pool's {len(ids):,} documents: {missing:,} "
                f"are missing, {foreign:,} are not of the pool; look at {path}"
            )
        return np.array([scores[key] for key in ids])
