"""The typed root of the configuration: a wrong type or an unknown key is refused before anything
runs.

The groups named in `HASHED` decide what is computed and make up a cell's key; the others decide how
it is run and never enter one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from shortlist.errors import InvalidInput

HASHED = (
    "task", "pool", "selector", "featurizer", "model", "warmup", "finetune",
    "budget", "budget_unit", "seed", "until", "source", "leaks", "check",
    "targets", "target_weights", "target_floors", "negative_target",
)  # fmt: skip


class Until(Enum):
    """The last thing a cell does."""

    select = "select"
    warmup = "warmup"
    finetune = "finetune"
    evaluate = "evaluate"


class BudgetUnit(Enum):
    """What a budget counts."""

    documents = "documents"
    tokens = "tokens"


class SourceName(Enum):
    """Where tasks and pools with a name are read from."""

    local = "local"
    hub = "hub"


class CacheMode(Enum):
    """What to do with artifacts that are there."""

    reuse = "reuse"
    refresh = "refresh"
    only = "only"


class Accelerator(Enum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class LeakAction(Enum):
    """What to do with documents of the pool that repeat a validation or test text."""

    drop = "drop"
    report = "report"
    refuse = "refuse"


@dataclass
class Leaks:
    """Documents of the pool that repeat evaluation texts."""

    action: LeakAction = LeakAction.drop


@dataclass
class Check:
    """What a method assumes, and whether it holds here."""

    assumption: bool = False
    reference: str | None = None
    documents: int = 500
    vectors: Any = MISSING


@dataclass
class Runtime:
    """How things are run: never part of a key."""

    cache: CacheMode = CacheMode.reuse
    accelerator: Accelerator = Accelerator.auto
    threads: int | None = None
    inference_tokens: int = 2048
    progress: bool = True
    report: bool = True
    offline: bool | None = None


@dataclass
class Paths:
    """Where things are read and written; relative to the directory the command was typed in."""

    data: str | None = None
    results: str = "results"
    cache: str = ".cache/shortlist"
    runs: str = "outputs"


@dataclass
class Advice:
    """How many documents? What the curve beside a selection is taken from: never part of a cell's key."""

    documents: int = 1000
    targets: int = 500
    budgets: int = 8
    weight: float = 10.0
    relative_epsilon: float = 0.05
    cost: str = "sqeuclidean"
    slack: float = 0.01

    def __post_init__(self) -> None:
        if min(self.documents, self.targets, self.budgets) < 2:
            raise InvalidInput(
                "advice needs documents, targets and budgets of at least 2 each, found "
                f"{self.documents}, {self.targets} and {self.budgets}; advice=null leaves it out"
            )
        if not 0 <= self.slack < 1 or min(self.weight, self.relative_epsilon) <= 0:
            raise InvalidInput(
                "advice needs slack from 0 to below 1, weight and relative_epsilon above 0, found "
                f"{self.slack:g}, {self.weight:g} and {self.relative_epsilon:g}"
            )


@dataclass
class Config:
    """The root."""

    task: Any = MISSING
    pool: Any = MISSING
    selector: Any = MISSING
    featurizer: Any = MISSING
    model: Any = MISSING
    warmup: Any = MISSING
    finetune: Any = MISSING
    runtime: Runtime = field(default_factory=Runtime)
    protocol: Any = None  # what settings of hashed groups are made from: hashed there
    sizes: Any = None  # of an experiment: what differs at a size; read by `register`
    logger: Any = None
    paths: Paths = field(default_factory=Paths)
    budget: int = 500
    budget_unit: BudgetUnit = BudgetUnit.documents
    seed: int = 0
    until: Until = Until.evaluate
    source: SourceName = SourceName.local
    targets: Any = None
    target_weights: Any = None
    target_floors: Any = None
    negative_target: Any = None
    advice: Advice | None = field(default_factory=Advice)
    leaks: Leaks = field(default_factory=Leaks)
    check: Check = field(default_factory=Check)


def register(folder: Path) -> None:
    """Makes the schema known to Hydra, and every experiment in `folder` at each of its sizes.

    The schema has the name `schema`, the mini version of an experiment is the option
    `experiment=NAME_mini`. Hydra does not let an interpolated option override other groups, so a
    size cannot be a group of its own.

    Args:
        folder: the directory of the configuration (`conf`).
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    paths = sorted((folder / "experiment").glob("*.yaml"))
    nodes = {path.stem: OmegaConf.load(path) for path in paths}
    for name in nodes:
        for size, node in _sizes(name, nodes).items():
            store.store(group="experiment", name=f"{name}_{size}", node=node, package="_global_")


def _sizes(name: str, nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of an experiment at each of its sizes.

    That is the experiment, then its block `sizes.SIZE`. An experiment that extends another one
    extends its sizes, too.
    """
    blocks: dict[str, Any] = {}
    for ancestor in _lineage(name, nodes):
        for size, block in (nodes[ancestor].get("sizes") or {}).items():
            merged: Any = OmegaConf.merge(blocks.get(size, {}), block)
            # Of two overrides of one group Hydra takes the first.
            inherited = blocks.get(size, {}).get("defaults") or []
            merged["defaults"] = [*(block.get("defaults") or []), *inherited]
            blocks[size] = merged
    for block in blocks.values():
        overrides = [entry for entry in block.defaults if str(entry).startswith("{'override ")]
        added = [entry for entry in block.defaults if entry not in overrides]
        block.defaults = [name, *added, "_self_", *overrides]
        block.sizes = None
    return blocks


def _lineage(name: str, nodes: Mapping[str, Any]) -> list[str]:
    """Returns the experiments that an experiment extends, the first ancestor first, and itself."""
    entries = nodes[name].get("defaults") or []
    bases = [entry for entry in entries if isinstance(entry, str) and entry in nodes]
    return [*(above for base in bases for above in _lineage(base, nodes)), name]
