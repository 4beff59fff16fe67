"""The fine-tuned scorer: what it learns, that it is trained once, what it is made of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.scorers.finetuned import FineTunedScorer
from shortlist.models.pretrained import LocalModel
from shortlist.store.cache import executions

SETTINGS: dict[str, Any] = {
    "text": "text", "label": "label", "toxic": "toxic", "source": "source", "sources": None,
    "documents": 200, "epochs": 12, "learning_rate": 3e-3, "batch_size": 8, "max_length": 16, "seed": 0,
}  # fmt: skip
BAD, GOOD = toy.sentences("sailing", 60), toy.sentences("baking", 60)


def silent(done: int) -> None:
    pass


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rows = [{"text": text, "label": "toxic", "source": "a"} for text in BAD[:40]]
    rows += [{"text": text, "label": "other", "source": "b"} for text in GOOD[:40]]
    path = tmp_path / "labelled.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def scorer(labelled: Path, model: Path, cache: Path, **changed: Any) -> FineTunedScorer:
    settings = SETTINGS | changed
    return FineTunedScorer(
        str(labelled), model=LocalModel(str(model)), cache=str(cache), **settings
    )


def test_it_tells_texts_that_it_has_not_read_and_is_trained_once(
    labelled: Path, tiny_model: Path, tmp_path: Path
) -> None:
    first = scorer(labelled, tiny_model, tmp_path / "cache")
    first.check()
    texts = [*BAD[40:], *GOOD[40:]]
    scores = first.score(texts, silent)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[:20].mean() > 0.8 and scores[20:].mean() < 0.2
    assert first.counts["labelled_documents"] == 80 and "scorer_truncated" in first.counts
    second = scorer(labelled, tiny_model, tmp_path / "cache")
    np.testing.assert_array_equal(second.score(texts, silent), scores)
    assert [stage for stage, _ in executions(tmp_path / "cache")] == ["toxicity_classifier"]
    # A text has the same score in other company: padding changes nothing but roundings.
    alone = np.concatenate([second.score([text], silent) for text in (*texts[:5], "")])
    np.testing.assert_allclose(alone[:5], scores[:5], atol=1e-5)
    assert np.isfinite(alone).all() and second.score([], silent).shape == (0,)


def test_the_same_recipe_gives_the_same_classifier_whatever_was_drawn_before(
    labelled: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import torch

    found = []
    for place in ("one", "two"):
        torch.rand(5)
        made = scorer(labelled, tiny_model, tmp_path / place, epochs=1)
        found.append(made.score(BAD[:5], silent))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_what_decides_the_scores_is_in_the_identity(
    labelled: Path, tiny_model: Path, tmp_path: Path
) -> None:
    before = scorer(labelled, tiny_model, tmp_path / "a").identity()
    assert scorer(labelled, tiny_model, tmp_path / "elsewhere").identity() == before
    for changed in ({"seed": 1}, {"documents": 50}, {"sources": ["a", "b"]}, {"toxic": "other"}):
        assert scorer(labelled, tiny_model, tmp_path / "a", **changed).identity() != before
    moved = labelled.with_name("moved.jsonl")
    moved.write_text(labelled.read_text())
    assert scorer(moved, tiny_model, tmp_path / "a").identity() == before
    moved.write_text(labelled.read_text().replace("other", "clean"))
    assert scorer(moved, tiny_model, tmp_path / "a").identity() != before


def test_one_class_or_no_file_is_refused(labelled: Path, tiny_model: Path, tmp_path: Path) -> None:
    made = scorer(labelled, tiny_model, tmp_path / "a", sources=["a"])
    with pytest.raises(InvalidInput, match="found 40 of 40; set the scorer's toxic=LABEL"):
        made.score(BAD, silent)
    with pytest.raises(Missing, match=r"labelled texts: .*none\.jsonl"):
        scorer(labelled.with_name("none.jsonl"), tiny_model, tmp_path / "a").check()
    made = scorer(labelled, tiny_model, tmp_path / "a")
    made.recipe = replace(made.recipe, documents=1)
    with pytest.raises(InvalidInput, match="of one class; raise the scorer's documents"):
        made.score(BAD, silent)
