"""The adapters of the guide "Share a scorer", run by the packages that they are written for."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.distil.distillation import distil
from shortlist.distil.files import open_scorer
from shortlist.distil.linear import Linear

pytestmark = pytest.mark.whole
GUIDE = Path(__file__).parents[3] / "docs/guides/scorers.md"
TEXTS = [text for topic in toy.TOPICS for text in toy.sentences(topic, 20, seed=9)]


def adapter(name: str) -> Any:
    """Returns the class of this name that a block of the guide defines."""
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    (block,) = [block for block in blocks if f"class {name}" in block]
    found: dict[str, Any] = {"__name__": name}
    exec(block, found)
    return found[name]


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    path, corpus = tmp_path / "s.safetensors", Corpus.build(TEXTS)
    scores = np.array([len(text) for text in corpus.texts]) + np.linspace(0, 0.5, len(TEXTS))
    distil(Linear(1, 1024, 500, 0.1), corpus, scores, path)
    return path


def kept(scorer: Path) -> list[str]:
    opened = open_scorer(scorer)
    shares = opened.description.percentiles(opened.score(TEXTS))
    assert shares is not None
    return [text for text, share in zip(TEXTS, shares, strict=True) if share >= 0.7]


def present(*names: str) -> Any:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")


@present("datatrove", "loguru")
@pytest.mark.filterwarnings("ignore")
def test_datatrove_keeps_what_the_scorer_ranks_high(scorer: Path) -> None:
    from datatrove.data import Document  # pyright: ignore

    step = adapter("ScorerFilter")(str(scorer), 0.7)
    found = list(step.run([Document(text, str(row)) for row, text in enumerate(TEXTS)]))
    assert [one.text for one in found] == kept(scorer) and 0 < len(found) < len(TEXTS)
    assert all("shortlist_score" in one.metadata for one in found)
    assert step.filter(Document(found[0].text, "x")) is True


@present("data_juicer")
@pytest.mark.filterwarnings("ignore")
def test_data_juicer_keeps_what_the_scorer_ranks_high(scorer: Path) -> None:
    from data_juicer.utils.constant import Fields  # pyright: ignore

    step = adapter("ShortlistScorerFilter")(str(scorer), 0.7)
    samples: dict[str, Any] = {"text": TEXTS, Fields.stats: [{} for _ in TEXTS]}
    flags = list(step.process_batched(step.compute_stats_batched(samples)))
    assert [text for text, flag in zip(TEXTS, flags, strict=True) if flag] == kept(scorer)
