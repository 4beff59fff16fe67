"""Token classification: entities equal seqeval's, malformed rows are located."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.tasks.token_classification import TokenClassification, entities

TAGS = ("B-PER", "B-LOC", "I-LOC", "I-PER", "O", "O")


def made(folder: Path, train: list[dict[str, Any]], **changed: Any) -> TokenClassification:
    generator = np.random.default_rng(7)
    files = {"train": train, "validation": rows(generator, 4), "test": rows(generator, 40)}
    named = {
        split: str(toy.write_jsonl(folder / f"{split}.jsonl", items))
        for split, items in files.items()
    }
    settings = {
        "name": "tags", **named, "text": "words", "text_b": None, "label": "tags", "domain": None,
        "mass": None, "numeric": False, "metrics": list(TokenClassification.definitions),
        "primary": "entity_f1", "holdout": 0.1, "validation_share": 0.1, "test_share": 0.1,
        "seed": 0, "max_train": None, "positive": None,
    }  # fmt: skip
    return TokenClassification(**{**settings, **changed})


def rows(generator: Any, n: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for _ in range(n):
        words = generator.choice(toy.TOPICS["stars"].split(), generator.integers(4, 12)).tolist()
        made.append({"words": words, "tags": generator.choice(TAGS, len(words)).tolist()})
    return made


def test_metrics_equal_those_of_seqeval(tmp_path: Path) -> None:
    from seqeval import metrics as reference
    from seqeval.metrics.sequence_labeling import get_entities

    generator = np.random.default_rng(0)
    spec = made(tmp_path, rows(generator, 20))
    data = spec.load(LocalSource(None), silent)
    true = [json.loads(label) for label in data.test.labels or ()]
    predicted = [
        [tag if generator.random() < 0.8 else str(generator.choice(TAGS)) for tag in tags]
        for tags in true
    ]
    for tags in predicted:
        assert [tuple(one) for one in get_entities(tags)] == [tuple(one) for one in entities(tags)]
    values = np.array([json.dumps(tags) for tags in predicted])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "entity_f1": reference.f1_score(true, predicted),
            "entity_precision": reference.precision_score(true, predicted),
            "entity_recall": reference.recall_score(true, predicted),
            "macro_entity_f1": reference.f1_score(true, predicted, average="macro"),
            "token_accuracy": reference.accuracy_score(true, predicted),
        }
        report: Any = reference.classification_report(true, predicted, output_dict=True)
    found = {metric.name: metric.value for metric in spec.evaluate(values, data)}
    assert found == pytest.approx(expected, abs=1e-12)
    for row in spec.details(values, data)["per_class"]:
        own = report[row["class"]]
        assert (row["precision"], row["recall"], row["true"]) == pytest.approx(
            (own["precision"], own["recall"], own["support"])
        )
    for name, scores in spec.item_scores(values, data).items():
        assert scores.mean() == pytest.approx(found[name], abs=1e-8)


@pytest.mark.parametrize(
    ("words", "tags", "reason"),
    [
        (["a", "b"], ["O"], "expected a tag for each of 2 words, found 1"),
        (["a b", "c"], ["O", "O"], "expected words without spaces, found 'a b' at place 0"),
        (["a", "b"], ["O", "PER"], "expected O, B-TYPE or I-TYPE, found 'PER' at place 1"),
        (["a", "b"], ["O", "B-ORG"], "unknown tag 'B-ORG' at place 1"),
        ("a b", ["O", "O"], "expected a list of strings, found 'a b'"),
    ],
)
def test_a_malformed_row_is_quarantined_with_its_place(
    tmp_path: Path, words: Any, tags: Any, reason: str
) -> None:
    train = rows(np.random.default_rng(0), 20)
    train[3] = {"words": words, "tags": tags}
    spec = made(tmp_path, train, classes=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    (rejected,) = spec.load(LocalSource(None), silent).quarantined
    assert rejected.line == 4 and reason in rejected.reason


@pytest.mark.parametrize("kind", ["tiny_model", "tiny_gpt2"])
def test_a_word_is_labelled_at_its_first_sub_word(
    kind: str, request: pytest.FixtureRequest
) -> None:
    from shortlist.models import checkpoint
    from shortlist.models.heads.tags import Tags
    from shortlist.models.likelihood import IGNORED

    directory = request.getfixturevalue(kind)
    tags = ("B-X", "I-X", "O")
    head, tokenizer = Tags(tags), checkpoint.tokenizer(directory)
    words = ["anchorage", "boat", "Sturm", "ocean", "zzz", "sail"]
    wanted = ["B-X", "I-X", "O", "O", "B-X", "O"]
    corpus = Corpus.build([" ".join(words)], labels=[json.dumps(wanted)])
    model = head.open(directory)
    read = head.read(corpus, model, tokenizer, 64, labelled=True)
    assert read.labels is not None
    (row,) = read.labels
    assert [tags[number] for number in row if number != IGNORED] == wanted
    places = [place for place, number in enumerate(row) if number != IGNORED]
    starts = tokenizer.backend_tokenizer.encode(" ".join(words)).offsets
    begins = [len(" ".join(words[:place])) + (place > 0) for place in range(len(words))]
    assert all(
        starts[place][0] <= begin < starts[place][1]
        for place, begin in zip(places, begins, strict=True)
    )
    cut = head.read(corpus, model, tokenizer, 3, labelled=False)
    assert cut.tokens.truncated == 1 and cut.places[0][-1] == -1
