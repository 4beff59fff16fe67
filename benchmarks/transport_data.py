"""The vectors that the transport benchmark runs on: clustered synthetic ones, and those of real text."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from shortlist.core import Corpus
from shortlist.data.readers import read
from shortlist.data.sources import LocalSource
from shortlist.errors import ShortlistError
from shortlist.featurizers.transformer import Static
from shortlist.runtime import Runtime

ROOT = Path(__file__).resolve().parent.parent
Pair = tuple[torch.Tensor, torch.Tensor]


def clustered(candidates: int, targets: int, dimensions: int = 384, *, seed: int = 0) -> Pair:
    """Returns unit vectors in 60 clusters of 8 sub-clusters; the target lives in 8 clusters.

    Variances fall as 1 / k over the dimensions, as those of text vectors do: isotropic noise would
    make all costs alike, and every solver done in a few iterations.
    """
    g = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, dimensions + 1) ** -0.5
    coarse = torch.randn(60, dimensions, generator=g) * spread
    fine = 0.6 * torch.randn(480, dimensions, generator=g) * spread

    def draw(count: int, clusters: int) -> torch.Tensor:
        rows = torch.empty(count, dimensions)
        for start in range(0, count, 50000):
            n = min(50000, count - start)
            which = torch.randint(clusters, (n,), generator=g)
            sub = which * 8 + torch.randint(8, (n,), generator=g)
            noise = 0.6 * torch.randn(n, dimensions, generator=g) * spread
            rows[start : start + n] = torch.nn.functional.normalize(
                coarse[which] + fine[sub] + noise
            )
        return rows

    return draw(candidates, 60), draw(targets, 8)


def text(
    folder: Path, candidates: int, targets: int, cache: Path, task: str | None = None
) -> tuple[str, Pair]:
    """Returns name and static MiniLM vectors of real text, computed once and kept in `cache`.

    The pool is all of `pools/`, the first `candidates` documents in the order of their ids (hashes:
    a uniform sample); the target is the training set of `task`, or of the first one in `tasks/` that
    has enough texts.
    """
    source = LocalSource(str(folder))
    files = [file for name in source.pool_names() for file in source.pool_files(name).files["pool"]]
    known = sorted(path.name for path in (folder / "tasks").iterdir() if path.is_dir())
    task, wanted = _target(source, [task] if task else known, targets)
    what = [f"{file.name} {file.stat().st_size}" for file in files]
    key = hashlib.sha256("|".join([*what, task, str(candidates), str(targets)]).encode())
    kept = cache / f"text-{key.hexdigest()[:16]}.npz"
    if not kept.exists():
        pool = Corpus.build([row for file in files for row in read(file).corpus.texts]).unlabelled()
        few = pool.take(range(min(candidates, len(pool))))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, pool=_vectors(few), target=_vectors(wanted))
    arrays = np.load(kept)
    return f"text-{task}", (torch.from_numpy(arrays["pool"]), torch.from_numpy(arrays["target"]))


def _target(source: LocalSource, names: list[str], targets: int) -> tuple[str, Corpus]:
    for name in names:
        try:
            (file,) = source.task_files(name, None).files["train"]
            corpus = read(file).corpus.unlabelled()
        except ShortlistError:  # a task of pairs, or without a training file
            continue
        if len(corpus) >= targets:
            return name, corpus.take(range(targets))
    raise SystemExit(f"no task with {targets:,} training texts in a column `text`: {names}")


def _vectors(corpus: Corpus) -> np.ndarray[Any, Any]:
    model = instantiate(OmegaConf.load(ROOT / "conf/model/minilm.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        values, _ = Static(model, 256, True).compute(
            corpus, Path(folder), Runtime(accelerator="cpu", progress=False)
        )
        return np.array(values)
