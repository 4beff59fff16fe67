"""What decides a cell: its hashed settings, the digests of what it reads, and the key of both."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from shortlist.config import HASHED
from shortlist.core import READS
from shortlist.data.files import file_digest
from shortlist.pipeline.build import plain
from shortlist.settings import parameters
from shortlist.store.keys import key as make_key
from shortlist.trainers.classify import Classifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.data.sources import Source
    from shortlist.models.pretrained import Pretrained
    from shortlist.pipeline.compose import Components


def hashed_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the settings that decide what is computed, resolved to plain data.

    Settings that are null or switched off are left out, so that a new setting does not change the
    keys of cells without it. Paths of this machine are replaced by their names (`<paths.data>`):
    what is read there enters keys by its digest.
    """
    config = copy.deepcopy(config)
    for name in config.paths:
        config.paths[name] = f"<paths.{name}>"
    settings = {name: plain(OmegaConf.select(config, name)) for name in HASHED}
    if ((settings["pool"] or {}).get("prefilter") or {}).get("keep", 0) is None:
        settings["pool"].pop("prefilter")
    steps = settings["compress"] or {}  # in their order, which a mapping's key would lose
    settings["compress"] = [{"name": name, **step} for name, step in steps.items()] or None
    for setting in ("forgetting", "probe"):
        if settings["check"] and not settings["check"].get(setting):
            settings["check"].pop(setting, None)
    leaks = settings["leaks"] or {}
    if leaks.get("semantic") is None:
        for setting in ("semantic", "vectors"):
            leaks.pop(setting, None)
    if not leaks.get("targets"):
        leaks.pop("targets", None)
    groups = [settings[name] for name in ("targets", "negative_target")]
    named = [node for group in groups if isinstance(group, dict) for node in group.values()]
    for part in (settings["pool"], settings["task"], *named):
        if isinstance(part, dict):
            for setting in ("prepare", "augment"):
                if part.get(setting, 0) is None:
                    part.pop(setting)
            if part.get("folds", 0) is None:
                part.pop("folds")
                part.pop("cross_validation")
            else:
                folds = part.get("cross_validation") or {}
                off = {"column": None, "test": "fold"}
                for name in [name for name in off if folds.get(name, 0) == off[name]]:
                    folds.pop(name)
            if part.get("feedback", 0) is None:
                part.pop("feedback")
                part.pop("feedback_weight", None)
            if (part.get("split") or {}).get("by", 0) is None:
                part.pop("split")
    return {name: _trained(value) for name, value in settings.items() if value is not None}


def _trained(node: Any) -> Any:
    """Returns settings without those of trainers that are switched off: a trainer's setting is off
    where it has the constructor's default.
    """
    if isinstance(node, list):
        return [_trained(item) for item in node]
    if not isinstance(node, dict):
        return node
    off: dict[str, Any] = {}
    if "learning_rate" in node and "_target_" in node:
        off = {name: known.default for name, known in parameters(Classifier).items()}
    return {
        name: _trained(value)
        for name, value in node.items()
        if name not in off or value != off[name]
    }


def cell_key(config: DictConfig, reads: Mapping[str, str]) -> str:
    """Returns the key of a cell: a hash of the hashed settings and of the digests it reads.

    Without the digests, one command over two data folders would give two results one key.
    """
    return make_key("cell", 2, hashed_settings(config), reads)


def input_digests(components: Components) -> dict[str, str]:
    """Returns the digests of pool, tasks, model, scorer and evaluators' inputs by name, before any
    of them is loaded.

    Raises:
        ShortlistError: an input is not there.
    """
    source, selector, featurizer = components.source, components.selector, components.featurizer
    digests = {
        "pool": components.pool.identity(source),
        "task": components.task.identity(source),
        "model": components.model.identity(),
        "featurizer.intermediate_task": _intermediate_task(featurizer.model, source),
        "intermediate_task": _intermediate_task(components.model, source),
        "selector": selector.identity(),
        **{
            f"selector.{name}": member.selector.identity()
            for name, member in selector.members.items()
        },
    }
    digests |= {f"prepare.{place}": one.identity for place, one in components.prepare.items()}
    digests |= {f"compress.{name}": one.reads() for name, one in components.compressions.items()}
    if components.distiller is not None:
        digests["distil"] = components.distiller.identity()
    if (how := components.augmentation) is not None and how.masked_lm is not None:
        digests["augment"] = how.masked_lm.identity()
    if components.feedback is not None:
        digests["feedback"] = {"file": file_digest(components.feedback.path)}
    if featurizer.scorer is not None:
        featurizer.scorer.check()
        digests["scorer"] = featurizer.scorer.identity()
    if components.until == "evaluate":
        for name, evaluator in components.task.evaluators.items():
            digests[f"evaluator.{name}"] = evaluator.identity(source)
    for name, target in components.targets.items():
        if target is not components.task:
            digests[f"target.{name}"] = target.identity(source)
    return {
        f"{READS}{part}.{name}": value
        for part, names in digests.items()
        for name, value in names.items()
    }


def _intermediate_task(model: Pretrained | None, source: Source) -> dict[str, str]:
    """Returns the digests of the task that a model is fine-tuned on first."""
    task = None if model is None else model.intermediate_task
    return {} if task is None else task.identity(source)
