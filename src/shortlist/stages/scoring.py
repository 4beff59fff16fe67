"""How good each document is: vectors, fitted methods, scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from shortlist.store import formats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.core import Features
    from shortlist.featurizers.base import Featurizer
    from shortlist.selectors.base import Selector
    from shortlist.stages.context import Context
    from shortlist.store.cache import Artifact


@dataclass(frozen=True)
class Method:
    """A selector that fits and scores by itself, its vectors, and both their settings."""

    selector: Selector
    featurizer: Featurizer
    settings: Mapping[str, Any]
    features: Mapping[str, Any]


def methods(cell: Context) -> dict[str, Method]:
    """Returns what has to be fitted: the members of the selector by name, or itself as `""`.

    A member is keyed by its own settings: alone in another cell it is the same stage.
    """
    parts, config = cell.parts, cell.config
    if not parts.selector.members:
        alone = Method(parts.selector, parts.featurizer, config["selector"], config["featurizer"])
        return {"": alone}
    written = config["selector"]["members"]
    return {
        name: Method(
            member.selector,
            member.featurizer,
            written[name]["selector"],
            written[name]["featurizer"],
        )
        for name, member in parts.selector.members.items()
    }


def rate(cell: Context, task: Artifact, pool: Artifact) -> dict[str, Artifact]:
    """Returns the scores of the pool by each method, by name."""
    found: dict[str, Artifact] = {}
    for name, method in methods(cell).items():
        candidates = featurize(
            cell, method, pool.path / "corpus.arrow", pool.facts["fingerprint"], "pool"
        )
        target = featurize(cell, method, task.path / "target.arrow", task.facts["target"], "target")
        fitted = fit(cell, name, method, (task, target), (pool, candidates))
        found[name] = score(cell, method, fitted, (pool, candidates))
    return found


def featurize(cell: Context, method: Method, corpus: Path, fingerprint: str, name: str) -> Artifact:
    """Returns the vectors of the corpus in the file `corpus`; `name` is what its counts are called.

    Raises:
        ForeignFeatures: the vectors belong to another corpus, or their number is another.
    """
    featurizer, runtime = method.featurizer, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(corpus)
        values, facts = featurizer.compute(documents, directory, runtime)
        formats.save_features(directory, documents.fingerprint, values)
        return facts

    inputs = {"corpus": fingerprint, **featurizer.identity(runtime)}
    made = cell.stage("features", featurizer.version, method.features, inputs, compute)
    formats.load_features(made.path).of(formats.load_corpus(corpus))
    cell.counts |= {f"{name}_{fact}": count for fact, count in made.facts.items() if count}
    return made


def fit(
    cell: Context,
    name: str,
    method: Method,
    target: tuple[Artifact, Artifact],
    pool: tuple[Artifact, Artifact],
) -> Artifact:
    """Returns what the selector learned; neither budget nor seed is in its key.

    Args:
        cell: the cell.
        name: what a member is called; `""` where the selector stands alone.
        method: what is fitted.
        target: the task and its target's vectors.
        pool: the pool and its vectors.
    """
    selector = method.selector

    def compute(directory: Path) -> dict[str, Any]:
        selector.to(cell.parts.runtime.device)
        selector.show_progress = cell.parts.runtime.progress
        selector.fit(
            _joined(target[0].path / "target.arrow", target[1]),
            _joined(pool[0].path / "corpus.arrow", pool[1]),
        )
        state = {key: value.contiguous().clone() for key, value in selector.state_dict().items()}
        save_file(state, directory / "fitted.safetensors")
        return selector.report

    inputs = {"target": target[1].key, "pool": pool[1].key, **selector.identity()}
    made = cell.stage("fit", selector.version, method.settings, inputs, compute)
    cell.selected["fit"] = {
        **cell.selected.get("fit", {}),
        **{f"{name}.{fact}" if name else fact: value for fact, value in made.facts.items()},
    }
    if made.facts.get("converged") is False:
        error = made.facts["marginal_error"]
        cell.warnings.append(f"transport not converged: marginal error {error:.1e}")
    return made


def score(
    cell: Context, method: Method, fitted: Artifact, pool: tuple[Artifact, Artifact]
) -> Artifact:
    """Returns the score of every document of the pool."""
    selector, runtime = method.selector, cell.parts.runtime

    def compute(directory: Path) -> None:
        selector.restore(load_file(fitted.path / "fitted.safetensors"))
        features = _joined(pool[0].path / "corpus.arrow", pool[1])
        np.save(directory / "scores.npy", selector.score_all(features, runtime))

    return cell.stage("scores", 1, {}, {"fit": fitted.key, "pool": pool[1].key}, compute)


def _joined(corpus: Path, vectors: Artifact) -> Features:
    return formats.load_features(vectors.path).of(formats.load_corpus(corpus))
