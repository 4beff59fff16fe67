"""`_target_` names classes of this package or of an extension; nothing else is imported or called."""

from __future__ import annotations

import copy
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shortlist.errors import InvalidInput
from shortlist.pipeline.build import build_plain, check_targets, extensions_of
from shortlist.pipeline.compose import build_component, build_components
from shortlist.settings import parameters

CONF = Path(__file__).parents[3] / "conf"
FOREIGN = ["builtins.open", "os.makedirs", "shutil.copy", "subprocess.Popen", "this.x", "", None, 3]
# Attributes that lead out of the package: Hydra would follow them.
THROUGH = ["shortlist.store.atomic.os.makedirs", "shortlist.data.files.Path", "shortlist.os.path"]


def imported(name: str) -> bool:
    return name in sys.modules


@pytest.mark.parametrize("target", [*FOREIGN, *THROUGH])
@pytest.mark.parametrize("place", ["selector", "selector.cost", "logger.own", "task.evaluators.x"])
def test_a_foreign_target_is_refused_wherever_it_stands(
    composed: Any, tmp_path: Path, target: Any, place: str
) -> None:
    config = copy.deepcopy(composed("task=chemprot"))
    settings = {"_target_": target, "name": str(tmp_path / "made"), "path": str(tmp_path / "made")}
    with pytest.raises(InvalidInput, match=r"_target_"):
        OmegaConf.update(config, place, settings, force_add=True, merge=False)
        check_targets(config)
        build_components(config)
    assert not list(tmp_path.iterdir()) and not imported("this")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("hydra.callbacks.own", {"_target_": "os.makedirs", "name": "/nowhere"}),
        ("hydra.callbacks.own", {"_target_": "shortlist.store.atomic.os.makedirs", "name": "/no"}),
        ("hydra.callbacks.own", {"_target_": "hydra_plugins.os.makedirs", "name": "/nowhere"}),
        ("hydra.callbacks.own", {"x": [{"y": {"_target_": "builtins.open"}}]}),
        ("hydra.callbacks.own", {"_target_": "${oc.env:HOME}"}),
        ("hydra.callbacks.own", {"_target_": "shortlist.${x}"}),
        ("hydra.launcher._target_", "builtins.exec"),
        ("hydra.sweeper._target_", "hydra.utils.call"),
        ("hydra.job_logging.handlers.own", {"()": "os.makedirs", "name": "/nowhere"}),
        ("hydra.job_logging.handlers.own", {"class": "logging.handlers.SocketHandler"}),
        ("hydra.hydra_logging.formatters.own", {"()": "builtins.open", "file": "/nowhere"}),
        ("hydra.job_logging.handlers.console.stream", "ext://os.environ"),
    ],
    ids=str,
)
def test_hydra_is_given_no_foreign_function(composed: Any, place: str, value: Any) -> None:
    config = copy.deepcopy(composed())
    OmegaConf.update(config, place, value, force_add=True)
    with pytest.raises(InvalidInput, match=re.escape(place.partition(".own")[0])):
        check_targets(config)


@pytest.mark.parametrize("launcher", sorted(path.stem for path in (CONF / "launcher").iterdir()))
def test_the_launchers_of_this_package_are_allowed(composed: Any, launcher: str) -> None:
    check_targets(composed(f"launcher={launcher}"))


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a selector of its own, a function, and a class of another package."""
    name = "own_extension_of_a_test"
    (tmp_path / f"{name}.py").write_text(
        "from pathlib import Path\n"
        "from shortlist.selectors.controls import Random\n\n\n"
        "class Mine(Random):\n    def __init__(self, weight: float) -> None:\n"
        "        super().__init__()\n        self.weight = weight\n\n\n"
        "def function() -> None:\n    raise AssertionError\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_an_extension_is_allowed_once_it_is_named(composed: Any, extension: str) -> None:
    typed = [f"selector._target_={extension}.Mine", "selector=random", "+selector.weight=2"]
    with pytest.raises(InvalidInput, match=r"set runtime\.extensions=\[PACKAGE\]"):
        composed(*typed)
    assert not imported(extension)
    config = composed(*typed, f"runtime.extensions=[{extension}]")
    assert build_component(config, "selector").weight == 2
    with pytest.raises(InvalidInput, match=r"selector\.weight must be a number, found 'much'"):
        build_component(
            composed(*typed[:2], "+selector.weight=much", f"runtime.extensions=[{extension}]"),
            "selector",
        )


@pytest.mark.parametrize("attribute", ["function", "Path", "absent"])
def test_of_an_extension_only_classes_of_its_own_are_allowed(
    extension: str, attribute: str
) -> None:
    with pytest.raises(InvalidInput, match=r"x\._target_"):
        build_plain({"_target_": f"{extension}.{attribute}"}, "x", None, (extension,))


@pytest.mark.parametrize(
    "name", ["os", "builtins", "subprocess", "os.path", "", "a b", "a/b", "..x"]
)
def test_python_itself_is_no_extension(composed: Any, name: str) -> None:
    config = copy.deepcopy(composed())
    config.runtime.extensions = [name]
    with pytest.raises(InvalidInput, match=r"runtime\.extensions takes packages of your own"):
        extensions_of(config)


def test_names_are_checked_before_anything_inside_is_built() -> None:
    inside = {"_target_": "shortlist.selectors.absent.Absent"}
    with pytest.raises(InvalidInput, match="x has no setting `odd`"):
        build_plain({"_target_": "shortlist.selectors.controls.Random", "odd": inside}, "x")


def targets() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml")]
    found = {name for text in texts for name in re.findall(r"_target_: ([\w.]+)", text)}
    return sorted(found - {"shortlist.pipeline.hydra_app.Publish"})


def test_every_setting_of_every_class_has_a_type_that_can_be_checked() -> None:
    unknown = []
    for target in targets():
        module, _, name = target.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        written = {
            p.name: p.annotation
            for owner in kind.__mro__
            if "__init__" in vars(owner)
            for p in inspect.signature(owner.__init__).parameters.values()
        }
        unknown += [
            f"{target}.{setting}: {written[setting]}"
            for setting, parameter in parameters(kind).items()
            if parameter.annotation is Any and written[setting] not in ("Any", Any)
        ]
    assert unknown == []
