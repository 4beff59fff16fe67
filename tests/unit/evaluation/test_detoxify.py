"""The package's own model from a checkpoint of its format: same scores, nothing in it is run."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.evaluation.scorers.detoxify import DetoxifyScorer
from shortlist.pipeline.compose import build_component

pytest.importorskip("detoxify")

CLASSES = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
NAMES = {"model_type": "bert-base-uncased", "model_name": "BertForSequenceClassification"}
TEXTS = [*toy.sentences("stars", 5), "sun", *toy.sentences("baking", 2), ""]


def silent(done: int) -> None:
    pass


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny classifier of random weights, and its folder of configuration and tokenizer."""
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("described")
    topics = [word for words in toy.TOPICS.values() for word in words.split()]
    entries = [*toy.SPECIAL, *toy.COMMON, *topics, ".", ","]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(entries)) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(dict.fromkeys(entries)), hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=32, max_position_embeddings=24,
            num_labels=len(CLASSES), initializer_range=0.3,
        )  # fmt: skip
        model = BertForSequenceClassification(config).eval()
    # As the folder of a base model is: it says nothing of the classifier's classes.
    described = {
        name: value for name, value in config.to_diff_dict().items() if "label" not in name
    }
    (folder / "config.json").write_text(json.dumps(described))
    return model, folder


def save(path: Path, model: Any, **changed: Any) -> Path:
    weights = {**model.state_dict(), "bert.embeddings.position_ids": torch.arange(24)[None]}
    arguments = {**NAMES, "tokenizer_name": "BertTokenizer", "num_classes": len(CLASSES)}
    whole = {
        "config": {
            "arch": {"args": {**arguments, **changed.pop("arguments", {})}},
            "dataset": {"args": {"classes": CLASSES}},
        },
        "state_dict": weights,
    }
    torch.save({**whole, **changed}, path)
    return path


@pytest.fixture
def checkpoint(source: tuple[Any, Path], tmp_path: Path) -> Path:
    return save(tmp_path / "toxic.ckpt", source[0])


def scorer(checkpoint: Any, folder: Any, **changed: Any) -> DetoxifyScorer:
    settings = {"sha256": None, "attribute": "toxicity", "batch_size": 3, "device": "cpu"}
    return DetoxifyScorer(
        None if checkpoint is None else str(checkpoint),
        model=None if folder is None else str(folder),
        **{**settings, **changed},  # type: ignore[arg-type]
    )


def reference(model: Any, folder: Path, text: str, column: int) -> float:
    """The probability by hand: word pieces looked up, one text at a time, no padding."""
    vocabulary = {w: i for i, w in enumerate((folder / "vocab.txt").read_text().split("\n"))}
    words = text.replace(".", " .").lower().split()
    unknown = vocabulary["[UNK]"]
    ids = [vocabulary["[CLS]"], *(vocabulary.get(w, unknown) for w in words)][:23]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*ids, vocabulary["[SEP]"]]])).logits
    return float(torch.sigmoid(logits[0, column]))


@pytest.mark.parametrize(("attribute", "column"), [("toxicity", 0), ("identity_attack", 5)])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_scores_are_those_of_the_model_the_checkpoint_was_made_of(
    source: tuple[Any, Path], checkpoint: Path, attribute: str, column: int, size: int
) -> None:
    done: list[int] = []
    asked = scorer(checkpoint, source[1], attribute=attribute, batch_size=size)
    found = asked.score(TEXTS, done.append)
    expected = [reference(*source, text, column) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected) > 0.01 and sum(done) == len(TEXTS) and asked.counts == {}


def test_a_text_beyond_the_models_length_is_cut_and_counted(
    source: tuple[Any, Path], checkpoint: Path
) -> None:
    whole = " ".join(toy.TOPICS["stars"].split() * 3)  # of which 22 words fit
    asked = scorer(checkpoint, source[1])
    found = asked.score([whole, "sun", " ".join(whole.split()[:22])], silent)
    assert asked.counts == {"truncated": 1}
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    asked.score(["sun"], silent)
    assert asked.counts == {}


def test_a_score_that_is_no_number_is_a_failure(
    source: tuple[Any, Path], checkpoint: Path, tmp_path: Path
) -> None:
    weights = dict(source[0].state_dict())
    weights["classifier.bias"] = torch.full((6,), torch.nan)
    broken = save(tmp_path / "nan.ckpt", source[0], state_dict=weights)
    assert np.isnan(scorer(broken, source[1]).score(TEXTS, silent)).all()


class Code:
    """What a pickle may hold: a call that is made when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_carries_code_does_not_run_it_and_is_refused_by_name(
    source: tuple[Any, Path], tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    evil = save(tmp_path / "evil.ckpt", source[0], optimizer=Code(ran))
    with pytest.raises(BrokenArtifact, match=r"evil\.ckpt.*without running code") as told:
        scorer(evil, source[1]).score(TEXTS, silent)
    assert not ran.exists() and "\n" not in str(told.value)
    plain = tmp_path / "plain.ckpt"
    plain.write_bytes(pickle.dumps({"state_dict": Code(ran)}, protocol=2))
    with pytest.raises(BrokenArtifact, match=r"plain\.ckpt"):
        scorer(plain, source[1]).score(TEXTS, silent)
    assert not ran.exists()
    torch.load(evil, weights_only=False)  # what the package's constructor does
    assert ran.exists()


def test_another_digest_is_refused_before_the_file_is_opened(
    source: tuple[Any, Path], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sha256(checkpoint)
    assert scorer(checkpoint, source[1], sha256=right.upper()).identity()["checkpoint"] == right
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was opened"))
    wrong = scorer(checkpoint, source[1], sha256="0" * 64)
    for ask in (wrong.check, wrong.identity, lambda: wrong.score(["sun"], silent)):
        with pytest.raises(BrokenArtifact, match=rf"toxic\.ckpt has SHA-256 {right}, expected 000"):
            ask()


def test_a_checkpoint_without_an_expected_digest_is_taken_with_a_warning(
    source: tuple[Any, Path], checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        scorer(checkpoint, source[1]).check()
    assert f"set sha256={sha256(checkpoint)}" in caplog.text


def test_the_identity_is_checkpoint_attribute_and_what_describes_the_model(
    source: tuple[Any, Path], checkpoint: Path, tmp_path: Path
) -> None:
    import shutil

    copy = shutil.copytree(source[1], tmp_path / "copy")
    before = scorer(checkpoint, source[1]).identity()
    assert scorer(checkpoint, copy).identity() == before
    assert scorer(checkpoint, copy, attribute="threat").identity() != before
    (copy / "vocab.txt").write_text("other")
    assert scorer(checkpoint, copy).identity()["model"] != before["model"]


def test_what_does_not_fit_the_package_is_refused(
    source: tuple[Any, Path], checkpoint: Path, tmp_path: Path
) -> None:
    model, folder = source
    with pytest.raises(InvalidInput, match="no attribute 'toxcity'; did you mean `toxicity`"):
        scorer(checkpoint, folder, attribute="toxcity").score(TEXTS, silent)
    less = {name: w for name, w in model.state_dict().items() if "classifier" not in name}
    with pytest.raises(BrokenArtifact, match=r"no weights for classifier\.bias and 1 more"):
        scorer(save(tmp_path / "a.ckpt", model, state_dict=less), folder).score(TEXTS, silent)
    other = save(tmp_path / "b.ckpt", model, arguments={"model_name": "pipeline"})
    with pytest.raises(BrokenArtifact, match="found 'pipeline'"):
        scorer(other, folder).score(TEXTS, silent)
    torch.save({"weights": 1}, tmp_path / "c.ckpt")
    with pytest.raises(BrokenArtifact, match="expected `state_dict` and `config`"):
        scorer(tmp_path / "c.ckpt", folder).score(TEXTS, silent)
    (tmp_path / "d.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(BrokenArtifact, match=r"d\.ckpt"):
        scorer(tmp_path / "d.ckpt", folder).score(TEXTS, silent)


def test_what_is_not_there_is_refused_by_the_settings_name(
    source: tuple[Any, Path], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked, error, said in (
        (scorer(None, source[1]), InvalidInput, "set checkpoint=FILE"),
        (scorer(tmp_path / "none.ckpt", source[1]), Missing, "none.ckpt cannot be read: No such"),
        (scorer(checkpoint, None), InvalidInput, "set model=DIR"),
        (scorer(checkpoint, tmp_path), Missing, "folder with config.json was expected"),
    ):
        with pytest.raises(error, match=said):
            asked.check()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install 'shortlist\[toxicity\]'"):
        scorer(checkpoint, source[1]).check()
    with pytest.raises(InvalidInput, match="batch_size"):
        scorer(checkpoint, source[1], batch_size=0)


def test_the_settings_of_the_yaml_reach_it(composed: Any) -> None:
    typed = ("featurizer=toxicity", "scorer@featurizer.scorer=detoxify")
    with pytest.raises(InvalidInput, match="set checkpoint=FILE"):
        build_component(composed(*typed), "featurizer").scorer.check()
    path = build_component(composed(*typed, "featurizer.scorer.checkpoint=/x.ckpt"), "featurizer")
    assert path.scorer.checkpoint == Path("/x.ckpt")
