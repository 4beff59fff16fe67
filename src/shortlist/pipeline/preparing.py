"""What must be learned before or after documents become vectors: heads, labels, warm-ups, whitening."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.featurizers.whitened import Whitened
from shortlist.featurizers.whitening import Whitening, blocks
from shortlist.models.pretrained import StoredModel
from shortlist.pipeline.starting import existing, with_head
from shortlist.store import formats

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Method
    from shortlist.store.cache import Artifact

TUNING_SEED = 0  # vectors of one task serve all seeds of its cells: a pool is read once


def prepared(cell: Context, method: Method, task: Artifact, pool: Artifact) -> Method:
    """Returns the method with a featurizer that is ready to `compute`, and with its settings.

    Of a whitened featurizer that is the one inside; `whitened` does the rest afterwards.
    """
    featurizer = method.featurizer
    if featurizer.inner is not None:
        inner = method.features["inner"]
        return prepared(
            cell, replace(method, featurizer=featurizer.inner, features=inner), task, pool
        )
    for step in (_existing, _headed, _tuned, _learned):
        method = step(cell, method, task, pool)
    return method


def _existing(cell: Context, method: Method, task: Artifact, pool: Artifact) -> Method:
    """With a model that is there, where the featurizer's is one to be pre-trained first."""
    featurizer = method.featurizer
    if featurizer.model is None:
        return method
    model = existing(cell, featurizer.model, method.features["model"])
    return replace(method, featurizer=featurizer.with_model(model))


def _headed(cell: Context, method: Method, task: Artifact, pool: Artifact) -> Method:
    """With a head, where the featurizer's model must predict tokens and comes without one."""
    needs = method.featurizer.requirements()
    model = needs.model
    if not needs.token_head or model is None or model.head is None:
        return method
    written = method.features["model"]["head"]
    start = with_head(cell, model, written, cell.made("pool"), cell.made("leaks"))
    made = StoredModel(start.path, start.key)
    return replace(method, featurizer=method.featurizer.with_model(made))


def _tuned(cell: Context, method: Method, task: Artifact, pool: Artifact) -> Method:
    """With a model that has learned the target first, where the featurizer asks for it.

    GOT-D's protocol (Kang et al. 2024, appendix C.3: distilBERT fine-tuned on the target, minutes).
    A trainer of labels sees the training split, one that predicts tokens the target's texts.

    Raises:
        InvalidInput: the trainer learns labels and the target has none.
    """
    needs = method.featurizer.requirements()
    trainer, model = needs.tuning, needs.model
    if trainer is None or model is None:
        return method
    reads = trainer.objective is not None
    train = formats.load_corpus(task.path / ("target.arrow" if reads else "train.arrow"))
    labels = None if reads else task.facts["labels"]
    if train.labels is None and not reads:
        raise InvalidInput(
            "featurizer.tuning needs a target with labels, this one has none; set "
            "featurizer.tuning=null, or take a trainer that reads texts (trainer@featurizer.tuning=mlm)"
        )

    def compute(directory: Path) -> dict[str, Any]:
        home, machine = model.directory(), cell.parts.runtime
        if reads:
            return trainer.train_on(home, train, directory, TUNING_SEED, machine, "tuning")
        return trainer.train_on(home, train, None, labels, directory, TUNING_SEED, machine)

    settings = {**method.features["tuning"], "seed": TUNING_SEED, "labels": labels}
    inputs = {"train": task.facts["target" if reads else "train"], **model.identity()}
    inputs |= trainer.identity(cell.parts.runtime)
    made = cell.stage("tuned", trainer.version, settings, inputs, compute)
    if made.facts.get("truncated"):
        cell.counts["tuned_truncated"] = made.facts["truncated"]
    tuned = StoredModel(made.path, made.key)
    return replace(method, featurizer=method.featurizer.with_model(tuned))


def _learned(cell: Context, method: Method, task: Artifact, pool: Artifact) -> Method:
    """With what it learns from the pool's documents, those that repeat evaluation texts left out;
    or from the target's, none of which is an evaluation text.
    """
    featurizer, runtime = method.featurizer, cell.parts.runtime
    source = featurizer.requirements().learns_from
    if source is None:
        return method
    if source == "target":
        inputs = {"target": task.facts["target"]}
        documents, excluded = formats.load_corpus(task.path / "target.arrow"), {}
    else:
        inputs = {"pool": pool.facts["fingerprint"]}
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        leaks = (cell.made("leaks").path / "leaks.json").read_text(encoding="utf-8")
        excluded = json.loads(leaks)

    def compute(directory: Path) -> dict[str, Any]:
        kept = [row for row, key in enumerate(documents.ids) if key not in excluded]
        return featurizer.learn(documents.take(kept), directory, runtime)

    inputs |= featurizer.identity(runtime)
    if excluded:
        inputs["left_out"] = digest(sorted(excluded))
    made = cell.stage("learned", featurizer.version, method.features, inputs, compute)
    cell.counts |= {
        f"learned_{fact}": count
        for fact, count in made.facts.items()
        if isinstance(count, int) and count
    }
    return replace(method, featurizer=featurizer.with_learned(made.path, made.key))


def whitened(
    cell: Context, method: Method, candidates: Artifact, target: Artifact
) -> tuple[Artifact, Artifact]:
    """Returns the vectors of pool and target, both under the map that the pool's taught, where the
    method's featurizer whitens; else as they are.
    """
    featurizer = method.featurizer
    if not isinstance(featurizer, Whitened):
        return candidates, target
    settings = {name: value for name, value in method.features.items() if name != "inner"}

    def learn(directory: Path) -> dict[str, Any]:
        found = featurizer.whitening(formats.load_features(candidates.path).values)
        np.save(directory / "mean.npy", found.mean)
        np.save(directory / "matrix.npy", found.matrix)
        return {"rank": found.rank, "dimensions": len(found.mean)}

    inputs = {"pool": candidates.key}
    learned = cell.stage("whitening", featurizer.version, settings, inputs, learn)
    cell.selected["whitening"] = dict(learned.facts)

    def apply(vectors: Artifact) -> Artifact:
        def compute(directory: Path) -> None:
            mean, matrix = (np.load(learned.path / f"{name}.npy") for name in ("mean", "matrix"))
            found = Whitening(mean, matrix, learned.facts["rank"])
            features = formats.load_features(vectors.path)
            values = np.lib.format.open_memmap(
                directory / "values.npy",
                mode="w+",
                dtype=np.float32,
                shape=(len(features), matrix.shape[1]),
            )
            start = 0
            for block in blocks(np.asarray(features.values)):
                values[start : start + len(block)] = featurizer.apply(found, block)
                start += len(block)
            formats.save_features(directory, features.corpus, values)

        inputs = {"whitening": learned.key, "vectors": vectors.key}
        return cell.stage("features", featurizer.version, settings, inputs, compute)

    return apply(candidates), apply(target)
