"""What Hydra is given before it composes: resolvers, and a check of each configuration."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from shortlist.config import check_sections
from shortlist.pipeline.build import check_targets


def sweep_name() -> str:
    """Returns a unique name of a sweep: the time in seconds and six random hexadecimal digits."""
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime())}_{secrets.token_hex(3)}"


def data(path: str, *, _root_: Any) -> str | None:
    """Returns `path` inside the directory `paths.data`, or None where that is not set."""
    folder = _root_.paths.data
    return None if folder is None else f"{folder}/{path}"


def checking(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Returns `load`, made to refuse a configuration that names foreign classes or functions.

    Hydra has no hook between composing and instantiating callbacks and loggers.
    """

    @functools.wraps(load)
    def checked(*arguments: Any, **settings: Any) -> DictConfig:
        config = load(*arguments, **settings)
        check_targets(config)
        check_sections(config)
        return config

    return checked


ConfigLoaderImpl.load_configuration = checking(ConfigLoaderImpl.load_configuration)
OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)
OmegaConf.register_new_resolver("data", data, replace=True)
