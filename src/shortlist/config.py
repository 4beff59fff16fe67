"""The schema of the configuration, and the sizes of experiments.

The schema has names and types; a wrong type or an unknown key is refused before anything runs.
Values are in the YAML files. The settings named in `HASHED` decide what is computed and make up
a cell's key; the others decide how it is run and never enter a key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shortlist.errors import InvalidInput
from shortlist.settings import Count, Positive, Range, Seed, checked

HASHED = (
    "task", "pool", "selector", "featurizer", "model", "warmup", "finetune",
    "budget", "budget_unit", "seed", "until", "source", "leaks", "check",
    "targets", "target_weights", "target_floors", "negative_target", "fold", "cascade", "calibration",
    "compress", "distil",
)  # fmt: skip


# Optional because OmegaConf gives this type to what `${model}` refers to, and a featurizer may
# replace that by null; a component that is null is refused when it is built.
Component = dict[str, Any] | None


Until = Enum("Until", ["select", "warmup", "finetune", "evaluate"])  # the last stage of a cell
BudgetUnit = Enum("BudgetUnit", ["documents", "tokens"])
SourceName = Enum("SourceName", ["local", "hub"])  # where named tasks and pools are read from
CacheMode = Enum("CacheMode", ["reuse", "refresh", "only"])  # use of stored artifacts
Accelerator = Enum("Accelerator", ["auto", "cpu", "cuda"])
Strategy = Enum("Strategy", ["ddp", "fsdp"])  # of several processes that share a training
LeakAction = Enum("LeakAction", ["drop", "report", "refuse"])


@dataclass
class Leaks:
    """Leaks, pool documents that repeat an evaluation text: which count, and what to do with them."""

    action: LeakAction = MISSING
    targets: bool = MISSING
    semantic: float | None = MISSING
    vectors: Component = MISSING


@dataclass
class Check:
    """Does the pool look like what the model was pre-trained on, and does the model forget that?"""

    assumption: bool = MISSING
    reference: str | None = MISSING
    documents: int = MISSING
    vectors: Component = MISSING
    forgetting: bool = MISSING
    probe: bool = MISSING


@dataclass
class Runtime:
    """How a cell is run; never part of a key."""

    cache: CacheMode = MISSING
    accelerator: Accelerator = MISSING
    threads: int | None = MISSING
    inference_tokens: int = MISSING
    progress: bool = MISSING
    checkpoint_seconds: float | None = MISSING
    report: bool = MISSING
    processes: int = MISSING
    strategy: Strategy = MISSING
    offline: bool | None = MISSING
    extensions: list[str] = MISSING  # packages besides this one that `_target_` may name


@dataclass
class Paths:
    """Where things are read and written; relative to the working directory."""

    data: str | None = MISSING
    results: str = MISSING
    cache: str = MISSING
    runs: str = MISSING


@dataclass
class Cascade:
    """The cascade: the encoder reads only the documents that the budget may reach."""

    factor: float = MISSING
    overlap: float = MISSING
    sample: int = MISSING

    def __post_init__(self) -> None:
        checked(Annotated[float, Range(1)], self.factor, "cascade.factor")
        checked(Annotated[float, Range(0, 1, above=True)], self.overlap, "cascade.overlap")
        checked(Annotated[int, Range(2)], self.sample, "cascade.sample")


@dataclass
class Search:
    """Trials of settings that `shortlist search` compares on validation; never part of a key."""

    trials: int = MISSING
    seed: int = MISSING
    startup: int = MISSING
    reduction: int | None = MISSING
    first_epoch: int = MISSING
    space: dict[str, Any] = MISSING

    def __post_init__(self) -> None:
        checked(Count, self.trials, "search.trials")
        checked(Seed, self.seed, "search.seed")
        checked(Count, self.startup, "search.startup")
        if self.reduction is not None:
            checked(Annotated[int, Range(2)], self.reduction, "search.reduction")
        checked(Count, self.first_epoch, "search.first_epoch")


@dataclass
class Advice:
    """Settings of the budget recommendation; never part of a cell's key."""

    documents: int = MISSING
    targets: int = MISSING
    budgets: int = MISSING
    weight: float = MISSING
    relative_epsilon: float = MISSING
    cost: str = MISSING
    slack: float = MISSING

    def __post_init__(self) -> None:
        for name in ("documents", "targets", "budgets"):
            checked(Annotated[int, Range(2)], getattr(self, name), f"advice.{name}")
        for name in ("weight", "relative_epsilon"):
            checked(Positive, getattr(self, name), f"advice.{name}")
        checked(Annotated[float, Range(0, 1, below=True)], self.slack, "advice.slack")


@dataclass
class Config:
    """The root.

    A component is a mapping with the class in `_target_`; its settings are those of the constructor
    (checked by `pipeline.compose.build_component`, which also refuses null).
    """

    task: Component = MISSING
    pool: Component = MISSING
    selector: Component = MISSING
    featurizer: Component = MISSING
    model: Component = MISSING
    warmup: Component = MISSING
    finetune: Component = MISSING
    logger: dict[str, dict[str, Any]] = field(default_factory=dict)
    runtime: Runtime = MISSING
    backend: Component = MISSING  # of a streamed selection; never part of a key
    paths: Paths = MISSING
    protocol: dict[str, Any] | None = None  # read by settings of the hashed groups
    sizes: dict[str, Any] | None = None  # of an experiment, by size; read by `register`
    budget: int = MISSING
    budget_unit: BudgetUnit = MISSING
    seed: int = MISSING
    fold: int | None = None
    until: Until = MISSING
    source: SourceName = MISSING
    targets: Any = None  # null, a name, a mapping or a list of them; so is negative_target
    target_weights: Any = None
    target_floors: Any = None
    negative_target: Any = None
    advice: Advice | None = MISSING
    cascade: Cascade | None = None
    calibration: Component = None
    search: Search | None = None
    compress: dict[str, dict[str, Any]] = field(default_factory=dict)  # in this order
    distil: Component = None
    leaks: Leaks = MISSING
    check: Check = MISSING


SECTIONS = ("task.cross_validation", "task.split", "pool.prefilter")  # of components: mappings


def check_sections(config: DictConfig) -> None:
    """Refuses what stands in place of a section of settings: an interpolation may refer to anything.

    Raises:
        InvalidInput: a section is not a mapping, or holds the settings of another one.
    """
    hints = get_type_hints(Config)
    typed = {
        field.name: get_args(hints[field.name]) or (hints[field.name],) for field in fields(Config)
    }
    wanted = {name: next(filter(is_dataclass, kinds), None) for name, kinds in typed.items()}
    sections = {name: kind for name, kind in wanted.items() if kind is not None}
    for name, kind in (sections | dict.fromkeys(SECTIONS)).items():
        outer = name.rpartition(".")[0]
        try:
            if outer and not isinstance(OmegaConf.select(config, outer), DictConfig):
                continue
            node = OmegaConf.select(config, name)
        except OmegaConfBaseException:
            continue  # refused where it is read, in a line on the interpolation
        if node is None or (
            isinstance(node, DictConfig) and kind in (None, OmegaConf.get_type(node))
        ):
            continue
        found = "the settings of another section" if isinstance(node, DictConfig) else str(node)
        raise InvalidInput(
            f"{name} must be a section of settings of its own, found {found}; set single settings: "
            f"{name}.SETTING=VALUE"
        )


def folder() -> Path:
    """Returns the directory of the configuration: a wheel carries it in the package, a checkout at
    its top.
    """
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


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
