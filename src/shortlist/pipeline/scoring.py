"""How good each document is: vectors, fitted methods, scores."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from shortlist.pipeline.preparing import prepared, whitened
from shortlist.store import formats

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Features, TargetSpec
    from shortlist.featurizers.base import Featurizer
    from shortlist.pipeline.context import Context
    from shortlist.selectors.base import Selector
    from shortlist.store.cache import Artifact


Scores = Mapping[str, Mapping[str, "Artifact"]]  # by target, then by method


@dataclass(frozen=True)
class Method:
    """A selector that fits and scores by itself, its vectors, and both their settings."""

    selector: Selector
    featurizer: Featurizer
    settings: Mapping[str, Any]
    features: Mapping[str, Any]


@dataclass(frozen=True)
class Judge:
    """A method after it has scored the pool, and the artifacts behind its scores.

    Attributes:
        method: selector and featurizer.
        targets: the file of the target's documents.
        target: vectors of the target.
        pool: vectors of the pool.
        fitted: what the selector has learned.
        scores: the scores of the pool.
    """

    method: Method
    targets: Path
    target: Artifact
    pool: Artifact
    fitted: Artifact
    scores: Artifact


def methods(cell: Context) -> dict[str, Method]:
    """Returns what has to be fitted: the members of the selector by name, or itself as `""`.

    A member is keyed by its own settings: alone in another cell it is the same stage.
    """
    parts, config = cell.parts, cell.config
    return _fitted(parts.selector, parts.featurizer, config["selector"], config["featurizer"])


def _fitted(
    selector: Selector,
    featurizer: Featurizer,
    settings: Mapping[str, Any],
    features: Mapping[str, Any],
) -> dict[str, Method]:
    if not selector.members:
        return {"": Method(selector, featurizer, settings, features)}
    written = settings["members"]
    return {
        name: Method(
            member.selector,
            member.featurizer,
            written[name]["selector"],
            written[name]["featurizer"],
        )
        for name, member in selector.members.items()
    }


def ablated(cell: Context) -> dict[str, Method]:
    """Returns the method that the selector's picks are compared with, on the same vectors: its
    members by name, or itself as `""`; nothing where there is none.
    """
    parts, ablation = cell.parts, cell.parts.ablation
    if ablation is None:
        return {}
    return _fitted(
        ablation.selector, parts.featurizer, ablation.settings, cell.config["featurizer"]
    )


def rate(
    cell: Context, targets: Mapping[str, Artifact], pool: Artifact, rated: Mapping[str, Method]
) -> Scores:
    """Returns the scores of the pool, for each target by each method, by name.

    Each pair of target and method is fitted and scored under its own keys: a cell for several
    targets shares this work with the cells for one of them. A method that looks at no target is
    asked for the first alone.
    """
    found: dict[str, dict[str, Artifact]] = {}
    aims = aims_of(cell)
    for aim, task in targets.items():
        if aim not in aims.weights:
            continue
        own = found.setdefault(aim, {})
        for name, method in rated.items():
            alone = len(aims.weights) == 1
            candidates, target = vectors(cell, method, task, pool, "target" if alone else aim)
            called = name if alone else f"{aim}.{name}".rstrip(".")
            fitted = fit(cell, called, method, (task, target), (pool, candidates))
            own[name] = score(cell, method, fitted, (pool, candidates))
            judge = Judge(method, task.path / "target.arrow", target, candidates, fitted, own[name])
            cell.judges.setdefault(aim, {}).setdefault(name, judge)
    return found


def aims_of(cell: Context) -> TargetSpec:
    """Returns what the cell's selector can aim at: the first target where it looks at none.

    A control looks at none and stands in for picks of a member that does.
    """
    aims, selector = cell.parts.aims, cell.parts.selector
    made_of = (selector, *(member.selector for member in selector.members.values()))
    return aims if any(one.traits.target_aware for one in made_of) else aims.first


def vectors(
    cell: Context, method: Method, task: Artifact, pool: Artifact, name: str
) -> tuple[Artifact, Artifact]:
    """Returns the vectors of the pool and of the task's target, as the method sees them; `name` is
    what the target's counts are called.
    """
    ready = prepared(cell, method, task, pool)
    candidates = featurize(
        cell, ready, pool.path / "corpus.arrow", pool.facts["fingerprint"], "pool"
    )
    target = featurize(cell, ready, task.path / "target.arrow", task.facts["target"], name)
    return whitened(cell, method, candidates, target)


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
    # A copy: of what was learned for one target nothing may stay behind for the next.
    selector = copy.deepcopy(method.selector)

    def compute(directory: Path) -> dict[str, Any]:
        selector.to(cell.parts.runtime.device)
        selector.show_progress = cell.parts.runtime.progress
        facts = selector.fit(
            _joined(target[0].path / "target.arrow", target[1]),
            _joined(pool[0].path / "corpus.arrow", pool[1]),
        )
        state = {key: value.contiguous().clone() for key, value in selector.state_dict().items()}
        save_file(state, directory / "fitted.safetensors")
        return dict(facts)

    inputs = {"target": target[1].key, "pool": pool[1].key, **selector.identity()}
    made = cell.stage("fit", selector.version, method.settings, inputs, compute)
    facts = {**made.facts, **sensitivity(cell, method, made, target, pool)}
    cell.selected["fit"] = {
        **cell.selected.get("fit", {}),
        **{f"{name}.{fact}" if name else fact: value for fact, value in facts.items()},
    }
    if made.facts.get("converged") is False:
        error = made.facts["marginal_error"]
        cell.warnings.append(f"transport not converged: marginal error {error:.1e}")
    return made


def sensitivity(
    cell: Context,
    method: Method,
    fitted: Artifact,
    target: tuple[Artifact, Artifact],
    pool: tuple[Artifact, Artifact],
) -> Mapping[str, Any]:
    """Returns the facts of the selector's diagnostic after its fit; none where it has none."""
    if not method.selector.has_sensitivity:
        return {}
    selector = copy.deepcopy(method.selector)

    def compute(directory: Path) -> dict[str, Any]:
        selector.restore(load_file(fitted.path / "fitted.safetensors"))
        selector.to(cell.parts.runtime.device)
        return dict(
            selector.sensitivity(
                _joined(target[0].path / "target.arrow", target[1]),
                _joined(pool[0].path / "corpus.arrow", pool[1]),
            )
        )

    inputs = {"fit": fitted.key, "target": target[1].key, "pool": pool[1].key}
    return cell.stage("sensitivity", selector.version, {}, inputs, compute).facts


def score(
    cell: Context, method: Method, fitted: Artifact, pool: tuple[Artifact, Artifact]
) -> Artifact:
    """Returns the score of every document of the pool."""
    selector, runtime = copy.deepcopy(method.selector), cell.parts.runtime

    def compute(directory: Path) -> None:
        selector.restore(load_file(fitted.path / "fitted.safetensors"))
        features = _joined(pool[0].path / "corpus.arrow", pool[1])
        np.save(directory / "scores.npy", selector.score_all(features, runtime))

    return cell.stage("scores", 1, {}, {"fit": fitted.key, "pool": pool[1].key}, compute)


def _joined(corpus: Path, vectors: Artifact) -> Features:
    return formats.load_features(vectors.path).of(formats.load_corpus(corpus))
