"""From candidates to scores: vectors, fitted methods, and the score of every candidate."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_file, save_file

from shortlist.core import Corpus, Features, digest
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import check_computed
from shortlist.featurizers.transformer import Transformer
from shortlist.featurizers.whitening import Whitened, Whitening
from shortlist.models.pretrained import StoredModel
from shortlist.pipeline.base_model import available, with_head
from shortlist.pipeline.cascade import cascaded, reason_against
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.selectors.base import check_scores
from shortlist.store import formats
from shortlist.vectors import row_slices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import TargetSpec
    from shortlist.featurizers.base import Featurizer
    from shortlist.pipeline.candidates import Candidates, CellData
    from shortlist.pipeline.data import TaskSplits
    from shortlist.selectors.base import Selector

log = logging.getLogger(__name__)

FITTED, SCORES = "fitted.safetensors", "scores.npy"
TUNING_SEED = 0  # the vectors of a task serve the cells of all seeds


@dataclass(frozen=True)
class Method:
    """A selector that fits and scores by itself, and its featurizer.

    Attributes:
        selector: the selector, not fitted.
        featurizer: what turns documents into its vectors.
        selector_settings: the selector's settings as plain data.
        featurizer_settings: the featurizer's.
    """

    selector: Selector
    featurizer: Featurizer
    selector_settings: Mapping[str, Any]
    featurizer_settings: Mapping[str, Any]

    def with_featurizer(self, featurizer: Featurizer) -> Method:
        """Returns the method with another featurizer under the same settings."""
        return replace(self, featurizer=featurizer)


@dataclass(frozen=True)
class Vectors:
    """The vectors of a corpus in the store.

    Attributes:
        stage: the stage that computed them.
        corpus: the documents they belong to.
    """

    stage: Stage
    corpus: Corpus

    @cached_property
    def features(self) -> Features:
        """The vectors, joined with their documents.

        Raises:
            ForeignFeatures: they belong to another corpus.
        """
        return formats.load_features(self.stage.path).of(self.corpus)


@dataclass(frozen=True)
class FittedMethod:
    """A method fitted to one target, and its scores of the candidates.

    Attributes:
        method: the method.
        target: vectors of the target.
        candidates: vectors of the candidates.
        fit: the stage of the fit.
        scoring: the stage of the scores.
    """

    method: Method
    target: Vectors
    candidates: Vectors
    fit: Stage
    scoring: Stage

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """(n,) or (n, t) scores of the candidates; larger is chosen first."""
        return np.load(self.scoring.path / SCORES)

    def selector(self) -> Selector:
        """Returns a selector that holds what was learned."""
        fitted = copy.deepcopy(self.method.selector)
        fitted.restore(load_file(self.fit.path / FITTED))
        return fitted


@dataclass(frozen=True)
class MethodScores:
    """The scores of all methods of a selector for all its targets.

    Attributes:
        methods: the fitted methods by target, then by member (`""` for a selector without members).
        notes: what fitting and scoring add to the record.
    """

    methods: Mapping[str, Mapping[str, FittedMethod]]
    notes: Notes

    @property
    def fit_facts(self) -> Mapping[str, Any]:
        """What the fits report, by name: `fact`, `member.fact` or `target.member.fact`."""
        return self.notes.selection.get("fit", {})

    def qualified(self) -> Iterator[tuple[str, FittedMethod]]:
        """Yields each fitted method after the prefix of its facts: `""`, `member.` or
        `target.member.`.
        """
        for target, members in self.methods.items():
            for name, method in members.items():
                yield _prefix(target, name, len(self.methods)), method

    def keys(self) -> dict[str, str]:
        """Returns the keys of the scores as inputs of a stage."""
        return {
            f"scores.{prefix}".rstrip("."): method.scoring.key
            for prefix, method in self.qualified()
        }


def targets_of(spec: TargetSpec, selector: Selector) -> TargetSpec:
    """Returns what a selector can choose for: the first target alone where it reads no target.

    A control that reads no target may draw documents like a member that does: the member counts.
    """
    selectors = (selector, *(member.selector for member in selector.members.values()))
    return spec if any(one.traits.target_aware for one in selectors) else spec.first


def methods_of(
    selector: Selector,
    featurizer: Featurizer,
    selector_settings: Mapping[str, Any],
    featurizer_settings: Mapping[str, Any],
) -> dict[str, Method]:
    """Returns what has to be fitted: the members of the selector by name, or itself as `""`.

    A member is keyed by its own settings: alone in another cell it is the same stage.
    """
    if not selector.members:
        return {"": Method(selector, featurizer, selector_settings, featurizer_settings)}
    written = selector_settings["members"]
    return {
        name: Method(
            member.selector,
            member.featurizer,
            written[name]["selector"],
            written[name]["featurizer"],
        )
        for name, member in selector.members.items()
    }


def score_candidates(
    cell: Cell,
    data: CellData,
    candidates: Candidates,
    selector: Selector,
    settings: Mapping[str, Any],
) -> MethodScores:
    """Returns the scores of the candidates, for each target by each method of the selector.

    Each pair of target and method is fitted and scored under its own keys: a cell for several
    targets shares this work with the cells for one of them.

    Args:
        cell: the cell.
        data: its data.
        candidates: the documents to score.
        selector: the selector.
        settings: its settings as plain data.
    """
    spec = targets_of(cell.parts.target_spec, selector)
    methods = methods_of(selector, cell.parts.featurizer, settings, cell.settings["featurizer"])
    fitted: dict[str, dict[str, FittedMethod]] = {}
    notes, fit_facts = Notes(), dict[str, Any]()
    for target, splits in data.targets.items():
        if target not in spec.weights:
            continue
        for name, method in methods.items():
            count_name = "target" if len(spec.weights) == 1 else target
            pool, aimed, vector_notes = vectors(cell, data, candidates, method, splits, count_name)
            fit_stage = fit(cell, method, aimed, pool)
            score_stage = score(cell, method, fit_stage, pool)
            fitted.setdefault(target, {})[name] = FittedMethod(
                method, aimed, pool, fit_stage, score_stage
            )
            prefix = _prefix(target, name, len(spec.weights))
            fit_facts |= {f"{prefix}{fact}": value for fact, value in fit_stage.facts.items()}
            notes += vector_notes + Notes(
                stages=(fit_stage, score_stage), warnings=_convergence_warning(fit_stage)
            )
    return MethodScores(fitted, notes + Notes(selection={"fit": fit_facts}))


def _prefix(target: str, name: str, targets: int) -> str:
    """Returns the prefix of a method's facts: target and member where there are several."""
    return "".join(f"{part}." for part in ("" if targets == 1 else target, name) if part)


def _convergence_warning(fit_stage: Stage) -> tuple[str, ...]:
    if fit_stage.facts.get("converged") is not False:
        return ()
    return (f"transport not converged: marginal error {fit_stage.facts['marginal_error']:.1e}",)


def vectors(
    cell: Cell,
    data: CellData,
    candidates: Candidates,
    method: Method,
    target: TaskSplits,
    target_name: str,
) -> tuple[Vectors, Vectors, Notes]:
    """Returns the vectors of the candidates and of the target, as the method sees them, and notes.

    Args:
        cell: the cell.
        data: its data.
        candidates: the documents to choose from.
        method: the method.
        target: the target's splits.
        target_name: what the target's counts are called in the record.
    """
    prepared, notes = ready(cell, data, candidates, method, target)
    documents, wanted = candidates.documents, target_texts(method.selector, target.target)
    if cell.parts.cascade is not None:
        against = reason_against(cell, len(documents.corpus))
        if against is None:
            return _cascaded(cell, candidates, prepared, target, target_name, notes)
        log.info("cascade: not applied, %s", against)
        notes += Notes(selection={"cascade": {"applied": False, "reason": against}})
    pool, pool_notes = featurize(cell, prepared, documents.corpus, documents.fingerprint, "pool")
    fingerprint = target.fingerprint("target") if wanted is target.target else wanted.fingerprint
    aimed, target_notes = featurize(cell, prepared, wanted, fingerprint, target_name)
    notes += pool_notes + target_notes
    if method.selector.passage is not None:
        notes += Notes(warnings=length_warning(documents.corpus, method.selector.passage))
    if isinstance(method.featurizer, Whitened):
        return _whitened(cell, method, method.featurizer, pool, aimed, notes)
    return pool, aimed, notes


def target_texts(selector: Selector, texts: Corpus) -> Corpus:
    """Returns the target's texts as the method reads them: joined and cut, or as they are."""
    if selector.passage is None:
        return texts
    joined = " ".join(texts.joined())
    whole = max(len(joined) // selector.passage, 1) * selector.passage
    cuts = range(0, min(whole, len(joined)), selector.passage)
    passages = dict.fromkeys(joined[at : at + selector.passage] for at in cuts)
    return Corpus.build(list(passages), "target").canonical()


def length_warning(pool: Corpus, passage: int) -> tuple[str, ...]:
    """Returns a warning where more than a tenth of the documents are shorter than 0.9 passages."""
    short = sum(len(text) < 0.9 * passage for text in pool.joined())
    if short <= 0.1 * len(pool):
        return ()
    return (
        f"{short:,} of {len(pool):,} documents have fewer than {0.9 * passage:,.0f} characters: the "
        f"mean over padding ranks them by length; set pool.chunk={passage}, or selector=gotd",
    )


def _cascaded(
    cell: Cell,
    candidates: Candidates,
    prepared: Method,
    target: TaskSplits,
    target_name: str,
    notes: Notes,
) -> tuple[Vectors, Vectors, Notes]:
    """Returns vectors of the candidates, exact where the budget may reach, of the target, and
    notes.
    """
    exact, target_notes = featurize(
        cell, prepared, target.target, target.fingerprint("target"), target_name
    )
    assert isinstance(prepared.featurizer, Transformer)  # by `reason_against`
    pool, aimed, own = cascaded(
        cell,
        candidates,
        prepared.featurizer,
        prepared.featurizer_settings,
        exact.features,
        exact.stage.key,
    )
    vectors = Vectors(pool, candidates.corpus), Vectors(aimed, target.target)
    return *vectors, notes + target_notes + own


def featurize(
    cell: Cell, method: Method, corpus: Corpus, fingerprint: str, name: str
) -> tuple[Vectors, Notes]:
    """Returns the vectors of a corpus; `name` is what its counts are called in the record.

    Raises:
        ForeignFeatures: the vectors belong to another corpus, or their number is another.
    """
    featurizer, runtime = method.featurizer, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        values, facts = featurizer.compute(corpus, directory, runtime)
        check_computed(values, corpus, f"{type(featurizer).__name__} of the {name}")
        formats.save_features(directory, corpus.fingerprint, values)
        return facts

    stage = cell.stage(
        "features",
        featurizer.version,
        method.featurizer_settings,
        {"corpus": fingerprint, **featurizer.identity(runtime)},
        compute,
    )
    computed = Vectors(stage, corpus)
    _ = computed.features  # refuses vectors of another corpus before anything is fitted on them
    counts = {f"{name}_{fact}": count for fact, count in stage.facts.items() if count}
    return computed, Notes(stages=(stage,), counts=counts)


def fit(cell: Cell, method: Method, target: Vectors, candidates: Vectors) -> Stage:
    """Returns what the selector learned; neither budget nor seed enters its key."""
    # A copy: what was learned for one target must not reach the fit for the next.
    selector = copy.deepcopy(method.selector)

    def compute(directory: Path) -> Mapping[str, Any]:
        selector.to(cell.parts.runtime.device)
        selector.show_progress = cell.parts.runtime.progress
        facts = selector.fit(target.features, candidates.features)
        state = {key: value.contiguous().clone() for key, value in selector.state_dict().items()}
        save_file(state, directory / FITTED)
        return facts

    inputs = {"target": target.stage.key, "pool": candidates.stage.key, **selector.identity()}
    return cell.stage("fit", selector.version, method.selector_settings, inputs, compute)


def score(cell: Cell, method: Method, fit_stage: Stage, candidates: Vectors) -> Stage:
    """Returns the score of every candidate."""
    selector, runtime = copy.deepcopy(method.selector), cell.parts.runtime

    def compute(directory: Path) -> None:
        selector.restore(load_file(fit_stage.path / FITTED))
        scores = selector.score_all(candidates.features, runtime)
        check_scores(scores, type(selector).__name__)
        np.save(directory / SCORES, scores)

    inputs = {"fit": fit_stage.key, "pool": candidates.stage.key}
    return cell.stage("scores", 1, {}, inputs, compute)


def ready(
    cell: Cell, data: CellData, candidates: Candidates, method: Method, target: TaskSplits
) -> tuple[Method, Notes]:
    """Returns the method with a featurizer whose requirements are met, and notes.

    Of a whitened featurizer that is the inner one; `_whitened` transforms its vectors.
    """
    featurizer = method.featurizer
    if featurizer.inner is not None:
        inner = method.featurizer_settings["inner"]
        inner_method = replace(method, featurizer=featurizer.inner, featurizer_settings=inner)
        return ready(cell, data, candidates, inner_method, target)
    settings, needs, notes = method.featurizer_settings, featurizer.requirements(), Notes()
    if (model := needs.model) is not None:
        model, notes = available(cell, model, settings["model"], data)
        if needs.token_head and model.head is not None:
            with_tokens = with_head(cell, model, settings["model"]["head"], data)
            model, notes = with_tokens.model, notes + with_tokens.notes
        if needs.tuning is not None:
            model, tuning_notes = _tune(cell, needs.tuning, model, settings["tuning"], target)
            notes += tuning_notes
        if model is not needs.model:
            featurizer = featurizer.with_model(model)
    if needs.learns_from is not None:
        featurizer, learned_notes = _learn(
            cell, featurizer, settings, needs.learns_from, candidates, target
        )
        notes += learned_notes
    return method.with_featurizer(featurizer), notes


def _tune(
    cell: Cell, trainer: Any, model: Any, settings: Mapping[str, Any], target: TaskSplits
) -> tuple[StoredModel, Notes]:
    """Returns the featurizer's model after training on the target.

    GOT-D's protocol (Kang et al. 2024, appendix C.3): distilBERT fine-tuned on the target for some
    minutes. A trainer of labels reads the training split, one that predicts tokens the target.

    Raises:
        InvalidInput: the trainer learns labels and the target has none.
    """
    reads_texts = trainer.objective is not None
    train = target.target if reads_texts else target.data.train
    labels = None if reads_texts else target.labels
    if train.labels is None and not reads_texts:
        raise InvalidInput(
            "featurizer.tuning needs a target with labels, this one has none; set "
            "featurizer.tuning=null, or take a trainer that reads texts (trainer@featurizer.tuning=mlm)"
        )

    def compute(directory: Path) -> dict[str, Any]:
        start, runtime = model.directory(), cell.parts.runtime
        if reads_texts:
            return trainer.train_on(start, train, directory, TUNING_SEED, runtime, "tuning")
        return trainer.train_on(start, train, None, target.head, directory, TUNING_SEED, runtime)

    own = {} if reads_texts else dict(target.head.settings)
    head = {"head": own} if own else {}
    inputs = {"train": target.fingerprint("target" if reads_texts else "train")}
    inputs |= {**model.identity(), **trainer.identity(cell.parts.runtime)}
    stage, tuned = cell.model(
        "tuned",
        trainer.version,
        {**settings, "seed": TUNING_SEED, "labels": labels, **head},
        inputs,
        compute,
    )
    truncated = stage.facts.get("truncated")
    counts = {"tuned_truncated": truncated} if truncated else {}
    return tuned, Notes(stages=(stage,), counts=counts)


def _learn(
    cell: Cell,
    featurizer: Featurizer,
    settings: Mapping[str, Any],
    source: str,
    candidates: Candidates,
    target: TaskSplits,
) -> tuple[Featurizer, Notes]:
    """Returns the featurizer with what it learned from the candidates without leaks, or from the
    target, which holds no evaluation text.
    """
    runtime = cell.parts.runtime
    if source == "target":
        inputs = {"target": target.fingerprint("target")}
        documents, excluded = target.target, {}
    else:
        inputs = {"pool": candidates.documents.fingerprint}
        documents, excluded = candidates.corpus, candidates.leaks.excluded

    def compute(directory: Path) -> dict[str, Any]:
        rows = [row for row, key in enumerate(documents.ids) if key not in excluded]
        return featurizer.learn(documents.take(rows), directory, runtime)

    inputs |= featurizer.identity(runtime)
    if excluded:
        inputs["left_out"] = digest(sorted(excluded))
    stage = cell.stage("learned", featurizer.version, settings, inputs, compute)
    counts = {
        f"learned_{fact}": count
        for fact, count in stage.facts.items()
        if isinstance(count, int) and count
    }
    measured = {fact: value for fact, value in stage.facts.items() if isinstance(value, float)}
    return featurizer.with_learned(stage.path, stage.key), Notes(
        stages=(stage,), counts=counts, selection={"learned": measured} if measured else {}
    )


def _whitened(
    cell: Cell,
    method: Method,
    featurizer: Whitened,
    candidates: Vectors,
    target: Vectors,
    notes: Notes,
) -> tuple[Vectors, Vectors, Notes]:
    """Returns the vectors of candidates and target under the whitening of the candidates."""
    settings = {
        name: value for name, value in method.featurizer_settings.items() if name != "inner"
    }

    def learn(directory: Path) -> dict[str, Any]:
        whitening = featurizer.whitening(candidates.features.values)
        np.save(directory / "mean.npy", whitening.mean)
        np.save(directory / "matrix.npy", whitening.matrix)
        return {"rank": whitening.rank, "dimensions": len(whitening.mean)}

    learned = cell.stage(
        "whitening", featurizer.version, settings, {"pool": candidates.stage.key}, learn
    )

    def transform(vectors: Vectors) -> Vectors:
        def compute(directory: Path) -> None:
            mean, matrix = (np.load(learned.path / f"{name}.npy") for name in ("mean", "matrix"))
            whitening = Whitening(mean, matrix, learned.facts["rank"])
            features = vectors.features
            values = formats.allocate(directory / formats.VALUES, (len(features), matrix.shape[1]))
            for rows in row_slices(len(features)):
                values[rows] = featurizer.apply(whitening, np.asarray(features.values[rows]))
            check_computed(values, vectors.corpus, "the whitening")
            formats.save_features(directory, features.corpus, values)

        inputs = {"whitening": learned.key, "vectors": vectors.stage.key}
        stage = cell.stage("features", featurizer.version, settings, inputs, compute)
        return Vectors(stage, vectors.corpus)

    pool, aimed = transform(candidates), transform(target)
    notes += Notes(
        stages=(learned, pool.stage, aimed.stage), selection={"whitening": dict(learned.facts)}
    )
    return pool, aimed, notes
