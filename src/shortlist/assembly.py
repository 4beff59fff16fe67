"""From a composed configuration to the objects it names, and to the key of the cell it describes."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shortlist.core import READS, Budget
from shortlist.data.sources import HubSource, LocalSource
from shortlist.errors import InvalidInput, ShortlistError, near
from shortlist.runtime import Runtime
from shortlist.schema import HASHED, Check
from shortlist.store.keys import key as make_key

if TYPE_CHECKING:
    from shortlist.data.sources import Source
    from shortlist.featurizers.base import Featurizer
    from shortlist.models.pretrained import Pretrained
    from shortlist.selectors.base import Selector


@dataclass(frozen=True)
class Parts:
    """The objects that a configuration names, before any of them has worked."""

    task: Any
    pool: Any
    selector: Selector
    featurizer: Featurizer
    model: Pretrained
    warmup: Any
    finetune: Any
    source: Source
    runtime: Runtime
    loggers: list[Any]
    budget: Budget
    seed: int
    until: str
    leaks: str
    check: Check
    check_vectors: Featurizer


def prepare(config: DictConfig) -> Parts:
    """Returns every object that the configuration names; nothing is read and nothing computed.

    Raises:
        InvalidInput: a setting is missing, unknown to its class or out of range.
    """
    if config.seed < 0:
        raise InvalidInput(f"seed must be 0 or more, found {config.seed}")
    if config.runtime.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is first imported
    made: dict[str, Any] = {}
    for name in ("task", "pool", "selector", "featurizer", "model", "warmup", "finetune"):
        made[name] = make(config, name)
    for name in list(config.logger or {}):
        made[f"logger.{name}"] = make(config, f"logger.{name}")
    runtime, paths = config.runtime, config.paths
    local = config.source.name == "local"
    return Parts(
        **{name: part for name, part in made.items() if "." not in name},
        loggers=[part for name, part in made.items() if name.startswith("logger.")],
        source=LocalSource(absolute(paths.data)) if local else HubSource(runtime.offline, None),
        runtime=Runtime(
            runtime.accelerator.name, runtime.threads, runtime.inference_tokens, runtime.progress
        ),
        budget=Budget(config.budget, config.budget_unit.name),
        seed=config.seed,
        until=config.until.name,
        leaks=config.leaks.action.name,
        check=Check(
            config.check.assumption, absolute(config.check.reference), config.check.documents
        ),
        check_vectors=make(config, "check.vectors"),
    )


def hashed(config: DictConfig) -> dict[str, Any]:
    """Returns the groups that decide what is computed, resolved to plain data."""
    return {name: _plain(OmegaConf.select(config, name)) for name in HASHED}


def cell_key(config: DictConfig, reads: Mapping[str, str]) -> str:
    """Returns the key of a cell: a hash of the hashed groups and of what it reads.

    Without the second half, one command over two data folders would name two results alike.
    """
    return make_key("cell", 2, hashed(config), reads)


def what_is_read(parts: Parts) -> dict[str, str]:
    """Returns the digests of pool, task and model by name, before any of them is loaded.

    Raises:
        ShortlistError: something that would be read is not there.
    """
    found = {
        "pool": parts.pool.identity(parts.source),
        "task": parts.task.identity(parts.source),
        "model": parts.model.identity(),
    }
    return {
        f"{READS}{part}.{name}": value
        for part, names in found.items()
        for name, value in names.items()
    }


def make(config: DictConfig, name: str) -> Any:
    """Returns the object that the node `name` describes.

    Raises:
        InvalidInput: a setting is missing, unknown to the class or refused by it.
    """
    try:
        return instantiate(OmegaConf.select(config, name))
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{name}: {' '.join(str(error).split())}") from error
    except Exception as error:  # Hydra wraps whatever a constructor raises
        cause = error.__cause__ or error
        if isinstance(cause, ShortlistError):
            raise cause from error
        target = OmegaConf.select(config, f"{name}._target_")
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        if unknown:
            known = near(unknown.group(1), _settings(get_class(target)))
            raise InvalidInput(f"{name} has no setting `{unknown.group(1)}`; {known}") from error
        raise InvalidInput(
            f"{name} could not be made by {target}: {' '.join(str(cause).split())}"
        ) from error


def _settings(made: type) -> set[str]:
    """Returns what a constructor takes; `**settings` means what the next class takes."""
    found: set[str] = set()
    for kind in made.__mro__:
        if "__init__" in vars(kind):
            taken = list(inspect.signature(kind.__init__).parameters.values())[1:]
            found |= {one.name for one in taken if one.kind is not one.VAR_KEYWORD}
            if all(one.kind is not one.VAR_KEYWORD for one in taken):
                break
    return found


def absolute(path: str | None) -> Any:
    """Returns the path with the directory the command was typed in before it, or None for None."""
    return Path(path).expanduser().absolute() if path is not None else None


def _plain(value: Any) -> Any:
    return (
        OmegaConf.to_container(value, resolve=True, enum_to_str=True)
        if OmegaConf.is_config(value)
        else getattr(value, "name", value)
    )
