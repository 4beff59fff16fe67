"""Detoxification's data: whose toxicity lies where, which prompts are whose, what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shortlist.data.readers import Progress
from shortlist.data.sources import LocalSource, TaskFiles
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput
from shortlist.tasks.detox import Detox

FOLDER = "toxicity/realtoxicityprompts"
SETTINGS: dict[str, Any] = {
    "name": "detox", "primary": "emt_toxic", "lowest": 0.0, "highest": 0.1, "texts": None,
    "prompts": {"toxic": None, "nontoxic": None}, "folder": FOLDER, "seed": 0, "hub": None,
    "fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}, "evaluators": {},
}  # fmt: skip


def silent(done: int, total: int, what: str) -> None: ...


def rows(split: str, n: int = 20) -> list[dict[str, Any]]:
    """Prompts of toxicity 0, 1/n, ...; continuations the other way round."""
    return [
        {
            "prompt": f"{split} prompt {at}", "continuation": f"{split} continuation {at}",
            "toxicity": at / n, "continuation_toxicity": 1 - at / n, "doc": f"{split}{at}",
        }
        for at in range(n)
    ]  # fmt: skip


def folder(root: Path, **splits: list[dict[str, Any]]) -> LocalSource:
    home = root / FOLDER
    home.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        lines = [json.dumps(row) for row in splits.get(split, rows(split))]
        (home / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return LocalSource(str(root))


def loaded(source: Any, **changed: Any) -> TaskData:
    progress: Progress = silent
    return Detox(**{**SETTINGS, **changed}).load(source, progress)


def test_targets_are_the_halves_whose_own_score_lies_in_the_range(tmp_path: Path) -> None:
    data = loaded(folder(tmp_path))
    assert sorted(data.target.texts) == [
        "train continuation 18", "train continuation 19",
        "train prompt 0", "train prompt 1", "train prompt 2",
    ]  # fmt: skip
    assert all(text.startswith("validation") for text in data.validation.texts)
    assert data.counts["train_out_of_range"] == 35


def test_the_negative_target_is_the_same_task_in_another_range(tmp_path: Path) -> None:
    data = loaded(folder(tmp_path), lowest=0.5, highest=1.0)
    expected = {f"train prompt {at}" for at in range(10, 20)}
    expected |= {f"train continuation {at}" for at in range(11)}
    assert set(data.target.texts) == expected


def test_prompts_are_toxic_from_one_half_on_and_no_continuation_is_a_prompt(tmp_path: Path) -> None:
    data = loaded(folder(tmp_path))
    sides = dict(zip(data.test.texts, data.test.labels or (), strict=True))
    assert sides == {f"test prompt {at}": "toxic" if at >= 10 else "nontoxic" for at in range(20)}


def test_a_sample_of_prompts_is_drawn_by_content_and_what_is_missing_is_counted(
    tmp_path: Path,
) -> None:
    few = {"toxic": 3, "nontoxic": 50}
    data = loaded(folder(tmp_path / "a"), prompts=few)
    again = loaded(folder(tmp_path / "b", test=rows("test")[::-1]), prompts=few)
    assert data.test.fingerprint == again.test.fingerprint
    assert list(data.test.labels or ()).count("toxic") == 3
    assert data.counts["prompts_toxic_not_sampled"] == 7
    assert data.counts["prompts_nontoxic_missing"] == 40


def test_a_half_without_a_score_or_a_text_is_set_aside_by_line(tmp_path: Path) -> None:
    first = rows("train")
    bad = [{**first[0], "toxicity": None}, {**first[1], "continuation": " "}]
    bad += [{**first[2], "toxicity": 1.5}]
    data = loaded(folder(tmp_path, train=bad + first[3:]))
    assert [(row.line, row.reason) for row in data.quarantined] == [
        (1, "the prompt has no toxicity from 0 to 1, found 'None'"),
        (2, "the continuation has no text"),
        (3, "the prompt has no toxicity from 0 to 1, found '1.5'"),
    ]


def test_one_file_in_the_hubs_shape_is_cut_by_web_document(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    nested = [
        {
            "filename": f"{at % 40}.txt",
            "prompt": {"text": f"prompt {at}", "toxicity": (at % 10) / 10},
            "continuation": {"text": f"continuation {at}", "toxicity": 0.05},
        }
        for at in range(200)
    ]
    path.write_text("\n".join(map(json.dumps, nested)), encoding="utf-8")

    class Hub:
        def task_files(self, name: str, hub: Any) -> TaskFiles:
            return TaskFiles({"train": (path,)}, revision="commit")

    data = loaded(Hub())
    number = {text: int(text.split()[1]) % 40 for text in [*data.target.texts, *data.test.texts]}
    number |= {text: int(text.split()[1]) % 40 for text in data.validation.texts}
    of = [
        {number[text] for text in split.texts}
        for split in (data.target, data.validation, data.test)
    ]
    assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])
    assert data.revision == "commit"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lowest": 0.5, "highest": 0.4}, "task.lowest=0.5 and task.highest=0.4"),
        ({"prompts": {"toxic": 3}}, "task.prompts needs `toxic` and `nontoxic`"),
        ({"prompts": {"toxic": "none", "nontoxic": 1}}, "each a number of 1 or more or null"),
        ({"prompts": {"toxic": 0, "nontoxic": 1}}, "each a number of 1 or more or null"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Detox(**{**SETTINGS, **changed})


def test_no_prompts_of_a_side_and_no_text_in_the_range_are_refused_by_name(tmp_path: Path) -> None:
    tame = [{**row, "toxicity": 0.2, "continuation_toxicity": 0.2} for row in rows("x")]
    with pytest.raises(InvalidInput, match="toxic prompts in the test split, found none"):
        loaded(folder(tmp_path / "a", test=tame))
    with pytest.raises(InvalidInput, match=r"toxicity from 0 to 0.1, found none among 40"):
        loaded(folder(tmp_path / "b", train=tame))
