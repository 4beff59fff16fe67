"""What evaluators need: a model, a store, and the settings of their YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CONF = Path(__file__).parents[3] / "conf" / "evaluator"


@pytest.fixture
def evaluator() -> Callable[..., Any]:
    """A function from a name and changed settings to the evaluator of that YAML."""
    from omegaconf import OmegaConf

    from shortlist.pipeline.compose import build_component as made

    def make(name: str, **changed: Any) -> Any:
        settings = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
        return made(OmegaConf.create({name: {**settings, **changed}}), name)

    return make


@pytest.fixture
def context(tmp_path: Path, tiny_gpt2: Path, machine: Any) -> Callable[..., Any]:
    """A function from models, data and machine to a context whose stages lie in one store."""
    from shortlist.core import Corpus
    from shortlist.data.sources import LocalSource
    from shortlist.data.splits import TaskData
    from shortlist.evaluation.base import EvalContext
    from shortlist.models.pretrained import StoredModel
    from shortlist.store.cache import Store

    store = Store(tmp_path / "cache")

    def make(
        model: Path = tiny_gpt2,
        base: Path = tiny_gpt2,
        test: Any = None,
        runtime: Any = machine,
        data: Path = tmp_path,
    ) -> Any:
        nothing = Corpus.build([])
        held = nothing if test is None else test
        return EvalContext(
            model=StoredModel(lambda: model, str(model)),
            base=StoredModel(lambda: base, str(base)),
            data=TaskData(nothing, nothing, held, nothing, None, {}),
            digests={"test": held.fingerprint},
            source=LocalSource(str(data)),
            stage=store.stage,
            seed=0,
            runtime=runtime,
        )

    return make
