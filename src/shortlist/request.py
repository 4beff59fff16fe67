"""What is asked of the Python interface, as a configuration and files."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput
from shortlist.overrides import INPUTS, check_method, composed, override, path_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from shortlist.data.inputs import Data, Files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What is asked for, before it is settings; the fields are the arguments of `evaluate`.

    Attributes:
        until: `select` reads no labels and writes its records under `paths.runs`.
    """

    pool: Data
    target: Data
    budget: int | None = None
    method: str | None = None
    unit: str | None = None
    text_column: str = "text"
    target_column: str | None = None
    domain_column: str | None = None
    seed: int | None = None
    until: str = "select"
    label_column: str | None = None
    test: Data = None
    validation: Data = None
    settings: Mapping[str, Any] | Iterable[str] = ()
    cascade: bool = False

    @contextmanager
    def opened(self) -> Generator[Opened]:
        """Returns a context whose value is the request as a configuration; Hydra's state is as
        before afterwards.

        Raises:
            ShortlistError: the method is unknown, or an input or a setting cannot be used.
        """
        from omegaconf import OmegaConf

        check_method(self.method)
        values: dict[str, Any] = {
            "pool": "files",
            "pool.text": self.text_column,
            "pool.domain": self.domain_column,
            "task": "own",
            "task.text": self.target_column or self.text_column,
            "task.label": self.label_column,
            "selector": self.method,
            "budget": self.budget,
            "budget_unit": self.unit,
            "seed": self.seed,
            "until": self.until,
        }
        if self.until == "select":
            values |= {"task.holdout": 0, "paths.results": "${paths.runs}"}
        further = self.settings
        if isinstance(further, Mapping):
            further = [override(name, value) for name, value in further.items()]
        further = [*further]
        if self.cascade and not any(text.startswith("cascade=") for text in further):
            values["cascade"] = "on"
        asked = [override(name, value) for name, value in values.items() if value is not None]
        with composed([*asked, *further]) as config:
            folder = path_of(config, "cache") / INPUTS
            files, pool = self._files(folder, config.task.text)
            for name, value in files.items():
                OmegaConf.update(config, name, value)
            named = [override(name, value) for name, value in files.items()]
            yield Opened(config, (*asked, *named, *further), pool)

    def _files(self, folder: Path, column: str) -> tuple[dict[str, Any], Files]:
        """Returns the settings that name files, and the pool as files.

        Args:
            folder: where inputs go that are no files.
            column: the target's column of the text as it is set. Where none was asked for, and the
                target lacks that of the pool but has the column `text`, that one is read.
        """
        from shortlist.data.inputs import column_of, given

        found = column
        if self.target_column is None and column == self.text_column:
            found = column_of(self.target, column, Request.text_column)
        pool = given(self.pool, folder, "pool", [self.text_column], _named(self.domain_column))
        columns = [found, *_named(self.label_column)]
        files: dict[str, Any] = {"pool.paths": list(pool.paths)}
        if found != column:
            files["task.text"] = found
            log.warning("the target has no column %r: its column %r is read", column, found)
        for split, data in (
            ("train", self.target), ("test", self.test), ("validation", self.validation),
        ):  # fmt: skip
            if split == "train" or data is not None:
                name = "target" if split == "train" else split
                paths = given(data, folder, name, columns).paths
                if len(paths) != 1:
                    raise InvalidInput(
                        f"{name}: expected one file, found {len(paths)}; name one of them, or join them"
                    )
                files[f"task.{split}"] = paths[0]
        return {**files, "task.name": _stem(files["task.train"])}, pool


@dataclass(frozen=True)
class Opened:
    """A request as a configuration.

    Attributes:
        config: the composed configuration.
        overrides: the overrides that give it.
        pool: the pool as files.
    """

    config: DictConfig
    overrides: tuple[str, ...]
    pool: Files

    @property
    def choices(self) -> dict[str, str]:
        """Which option of each group was chosen."""
        return dict(self.config.hydra.runtime.choices)


def _named(column: str | None) -> list[str]:
    return [] if column is None else [column]


def _stem(path: str) -> str:
    from shortlist.data.files import stem

    try:
        return stem(path)
    except InvalidInput:  # said with the others when the file is read
        return "own"
