"""The loop of feedback at toy size: export, labels of a person, import, the next run, the rounds."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist import cli
from shortlist.data.feedback import read_feedback
from shortlist.deploy.feedback import import_feedback
from shortlist.deploy.serving.interactions import Interactions
from shortlist.errors import InvalidInput, Missing
from shortlist.leaderboard.consistency import count_problems, override_problems
from shortlist.store import formats

pytestmark = pytest.mark.whole

QUICK = ("selector=gotd", "featurizer=static", "advice=null", "selector.sensitivity=false")


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def unlabelled(path: Path) -> Path:
    texts = [*toy.sentences("sailing", 12, 7), *toy.sentences("baking", 12, 7)]
    return toy.write_jsonl(path, [{"text": text} for text in texts])


def truth(text: str) -> str:
    words = text.split()
    counts = {t: sum(w in toy.TOPICS[t].split() for w in words) for t in ("sailing", "baking")}
    return max(counts, key=counts.__getitem__)


def annotated(path: Path, out: Path) -> Path:
    tasks = json.loads(path.read_text(encoding="utf-8"))
    for number, task in enumerate(tasks):
        value = {"choices": [truth(task["data"]["text"])]}
        result = {"from_name": "label", "to_name": "text", "type": "choices", "value": value}
        task["annotations"] = [
            {
                "completed_by": {"id": 3, "email": "ann@example.org"},
                "result": [result],
                "was_cancelled": number == 0,
                "updated_at": "2026-11-30T10:00:00Z",
            }
        ]
    out.write_text(json.dumps(tasks), encoding="utf-8")
    return out


def write_log(path: Path, predictions: Sequence[Any], corrections: Sequence[Any]) -> Path:
    """Returns the log of a server with (id, texts, label, probability) and (id, label)."""
    with closing(Interactions(path, "abc", "d")) as log:
        log.add(predictions)
        assert all([log.correct(key, label) for key, label in corrections])
    return path


def test_a_round_of_feedback_joins_train_alone_weighs_targets_and_is_a_record(
    run: Any, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, items = unlabelled(tmp_path / "texts.jsonl"), tmp_path / "items.json"
    first, directory = run(*QUICK)
    assert first.status == "done", first.reason
    code, out, err = typed(
        capsys, "feedback", "export", directory, "--pool", pool, "--count", 10, "--out", items,
        "--", *small,
    )  # fmt: skip
    assert code == 0, err
    assert "10 texts by entropy" in out and "24 read" in out
    (task, *_) = tasks = json.loads(items.read_text(encoding="utf-8"))
    scores = [one["data"]["score"] for one in tasks]
    assert scores == sorted(scores, reverse=True)
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == task["data"]["model_version"]
    assert prediction["result"][0]["value"]["choices"] == [task["data"]["predicted"]]
    assert sum(task["data"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(task["data"]["near_train"]) == len(task["data"]["near_selected"]) == 3
    similar = [one["similarity"] for one in task["data"]["near_train"]]
    assert similar == sorted(similar, reverse=True) and -1 <= similar[-1] <= similar[0] <= 1

    feedback = tmp_path / "feedback.jsonl"
    done = annotated(items, tmp_path / "done.json")
    code, out, err = typed(
        capsys, "feedback", "import", done, "--run", directory, "--out", feedback, "--", *small
    )
    assert code == 0, err
    rows = read_feedback(feedback)
    assert len(rows) == 9 and "1 skipped" in out and "round 1: 9 new corrections" in out
    known = {one["data"]["text"]: one["data"] for one in tasks}
    for row in rows:
        data = known[row.text]
        assert row.error == pytest.approx(1 - data["probabilities"][row.label])
        assert row.annotator == "ann@example.org" and row.time == "2026-11-30T10:00:00Z"
        assert row.model_version == data["model_version"] and row.record == first.key
        assert row.source == "done.json"

    second, next_directory = run(*QUICK, f"task.feedback={feedback}")
    assert second.status == "done", second.reason
    facts = second.selection["feedback"]
    assert facts["round"] == 1 and facts["joined"] == 9 and facts["annotators"] == {
        "ann@example.org": 9
    }  # fmt: skip
    assert second.inputs["feedback_fingerprint"] == facts["fingerprint"]
    assert second.counts["task_feedback_joined"] == 9
    assert second.config["selector"]["masses"] == "column"
    assert second.key != first.key and "feedback" not in first.config["task"]
    assert {m.name: m.protocol for m in second.metrics} == {
        m.name: m.protocol for m in first.metrics
    }
    stage = next(stage for stage in second.stages if stage.stage == "feedback")
    path = tmp_path / "cache/feedback" / stage.key
    train, target, test = (
        formats.load_corpus(path / f"{n}.arrow") for n in ("train", "target", "test")
    )
    assert {row.text for row in rows} <= set(train.texts)
    assert not {row.text for row in rows} & set(test.texts)
    masses = dict(zip(target.texts, target.masses.tolist(), strict=True))
    for row in rows:
        assert masses.pop(row.text) == pytest.approx(1 + 4 * row.error, rel=1e-6)
    assert set(masses.values()) == {1.0}

    assert not [*count_problems(second), *override_problems(second)]

    pages = tmp_path / "rounds.html"
    code, out, err = typed(capsys, "feedback", "rounds", directory, next_directory, "--out", pages)
    assert code == 0, err
    assert "round 0" in out and "round 1" in out and "33 training texts, 9 corrections" in out
    assert "<svg" in pages.read_text(encoding="utf-8")

    # The next round continues from the corrections of the run.
    texts = toy.write_jsonl(
        tmp_path / "more.jsonl", [{"text": "rope and sail near the mast", "label": "sailing"}]
    )
    done_again = import_feedback(texts, next_directory, tmp_path / "second.jsonl", small)
    assert (done_again.round, done_again.earlier, done_again.kept) == (2, 9, 1)
    assert {row.round for row in read_feedback(tmp_path / "second.jsonl")} == {1, 2}
    feedback.write_text("\n".join(feedback.read_text().splitlines()[1:]) + "\n")
    with pytest.raises(InvalidInput, match="is not the feedback that the run learned from"):
        import_feedback(texts, next_directory, tmp_path / "third.jsonl", small)


def test_runs_disagree_losses_are_of_validation_and_formats_come_back(
    run: Any, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, one = run("selector=random", "advice=null")
    _, two = run("selector=random", "advice=null", "seed=1")
    pool = unlabelled(tmp_path / "texts.jsonl")
    table = tmp_path / "items.csv"
    code, out, err = typed(
        capsys, "feedback", "export", one, two, "--by", "disagreement", "--pool", pool, "--count", 4,
        "--out", table, "--", *small,
    )  # fmt: skip
    assert code == 0, err
    assert "vectors of: static" in out  # random reads no vectors
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and all(row["label"] == "" for row in rows)
    assert "+" in rows[0]["model_version"]
    rows[0]["label"] = truth(rows[0]["text"])
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = import_feedback(table, one, tmp_path / "feedback.jsonl", small)
    assert done.kept == 1 and done.read.counts == {"read": 4, "corrections": 1, "without_label": 3}
    (row,) = read_feedback(tmp_path / "feedback.jsonl")
    assert row.error == pytest.approx(1 - json.loads(rows[0]["probabilities"])[row.label])

    lines = tmp_path / "items.jsonl"
    code, _, err = typed(
        capsys,
        "feedback",
        "export",
        one,
        "--by",
        "loss",
        "--count",
        5,
        "--out",
        lines,
        "--",
        *small,
    )
    assert code == 0, err
    losses = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert len(losses) == 5 and all(one["given"] in ("sailing", "baking") for one in losses)
    for first, second in itertools.pairwise(losses):
        assert first["probabilities"][first["given"]] <= second["probabilities"][second["given"]]
    for arguments, reason in (
        (("--by", "loss", "--pool", pool), "leave out --pool"),
        (("--by", "uncertain"), "name them with --pool"),
        (("--by", "disagreement", "--pool", pool), "compares two runs or more"),
        (("--pool", pool, "--measure", "vote_entropy"), "does not go with --by uncertain"),
        (("--pool", pool, "--count", 0), "expected 1 or more"),
        (("--pool", tmp_path / "none.jsonl"), "expected a file, found none"),
    ):
        code, _, err = typed(
            capsys, "feedback", "export", one, *arguments, "--out", lines, "--", *small
        )
        assert code == 1 and err.startswith("error:") and reason in err, (arguments, err)
    code, _, err = typed(capsys, "feedback", "export", one, "--out", tmp_path / "a.txt")
    assert code == 1 and "ends in" in err


def test_corrections_of_a_server_are_read_from_its_log_and_bad_files_are_refused(
    run: Any, small: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    _, directory = run("selector=random", "advice=null")
    test = toy.sentences("baking", 10, 3)[0]
    log = write_log(
        tmp_path / "log.sqlite",
        [
            ("p1", ["mast and sail in the harbour"], "baking", 0.9),
            ("p2", ["flour and butter with an oven"], "baking", 0.8),
            ("p3", [test], "sailing", 0.6),
            ("p4", ["a keel near the reef of the island"], "sailing", 0.7),
            ("p5", ["a knot of rope"], "sailing", None),
        ],
        [
            ("p1", "baking"),
            ("p2", "baking"),
            ("p3", "baking"),
            ("p4", "knitting"),
            ("p5", "sailing"),
            ("p1", "sailing"),
        ],
    )
    out = tmp_path / "feedback.jsonl"
    done = import_feedback(log, directory, out, small)
    assert done.read.counts == {"read": 6, "corrections": 5, "superseded": 1}
    rows = {row.text: row for row in read_feedback(out)}
    assert len(rows) == done.kept == 3
    assert rows["mast and sail in the harbour"].error == pytest.approx(0.9)  # a lower bound
    assert rows["flour and butter with an oven"].error == pytest.approx(0.2)
    assert rows["a knot of rope"].error == 0.0  # right, at a probability that is not known
    assert {row.model_version for row in rows.values()} == {"abc"}
    assert all(row.time.startswith("20") and row.source == "log.sqlite" for row in rows.values())
    assert {n: c for n, c in done.screened.counts.items() if c} == {
        "repeats_test": 1, "unknown_label": 1
    }  # fmt: skip
    listed = [json.loads(line) for line in done.left_out.read_text(encoding="utf-8").splitlines()]
    assert {one["fate"] for one in listed} == {"repeats_test", "unknown_label"}

    raw = log.read_bytes()
    cases: list[tuple[str, bytes, str]] = [
        ("empty.json", b"", "found an empty file"),
        ("empty.sqlite", b"", "found an empty file"),
        ("damaged.sqlite", raw[:100] + bytes(4096), "expected the log of shortlist serve"),
        (
            "no.db",
            b"not a database at all, whatever its name says",
            "expected the log of shortlist",
        ),
        ("list.json", b"[]", "found an empty list"),
        ("broken.json", b"[{", "expected a JSON list"),
        ("rows.csv", b"a,b\n1,2\n", "expected the columns text and label"),
        ("none.jsonl", b'{"text": "rope and mast", "label": ""}\n', "found none (0 corrections"),
        ("classes.jsonl", b'{"text": "rope and mast", "label": "sail"}\n', "1 unknown_label"),
    ]
    for name, content, reason in cases:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidInput) as refused:
            import_feedback(path, directory, tmp_path / "never.jsonl", small)
        assert reason.replace("0 corrections", "") in str(refused.value), (name, str(refused.value))
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "never.jsonl").exists()
    with pytest.raises(Missing):
        import_feedback(tmp_path / "nothing.json", directory, tmp_path / "never.jsonl", small)


def test_a_held_text_that_a_log_has_masked_is_neither_offered_nor_imported(
    run: Any, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {
        "train": "call joe@example.org about rope",
        "validation": "an oven of ann@example.org",
        "test": "write to bob@example.org",
    }
    files = []
    for number, (split, text) in enumerate(held.items()):
        rows = [
            {"text": one, "label": topic}
            for topic in ("sailing", "baking")
            for one in toy.sentences(topic, 8, 20 + number)
        ]
        file = tmp_path / f"{split}.jsonl"
        toy.write_jsonl(file, [*rows, {"text": text, "label": "sailing"}])
        files.append(f"task.{split}={file}")
    _, directory = run("task=own", *files, "task.label=label", "selector=random", "advice=null")
    texts = [*held.values(), "bread for eve@example.org"]
    log = write_log(
        tmp_path / "log.sqlite",
        [(str(number), [text], "baking", 0.9) for number, text in enumerate(texts)],
        [(str(number), "baking") for number in range(len(texts))],
    )
    items = tmp_path / "items.jsonl"
    places = [text for text in small if text.startswith("paths.")]
    code, out, err = typed(
        capsys, "feedback", "export", directory, "--pool", log, "--out", items, "--", *places
    )
    assert code == 0, err
    assert [json.loads(line)["text"] for line in items.read_text().splitlines()] == [
        "bread for [EMAIL_1]"
    ]
    assert "4 read" in out and "2 repeats validation or test" in out.replace("_", " ")
    assert "1 already in train" in out.replace("_", " ")
    done = import_feedback(log, directory, tmp_path / "feedback.jsonl", places)
    assert {fate: n for fate, n in done.screened.counts.items() if n} == {
        "repeats_test": 1, "repeats_validation": 1, "conflicting": 1
    }  # fmt: skip
    assert done.kept == 1


def test_a_feedback_file_that_cannot_join_is_refused_in_one_line(run: Any, tmp_path: Path) -> None:
    test = toy.sentences("baking", 10, 3)[0]
    for rows, reason in (
        ([{"text": "rope", "label": "sail"}], "expected a class of task citation_intent"),
        ([{"text": test, "label": "baking"}], "found none of 1 (1 repeats_test)"),
        ([{"text": "rope", "label": "sailing", "error": 2.0}], "expected an error from 0 to 1"),
        ([{"text": "rope", "label": "sailing", "colour": "red"}], "is unknown"),
        ([{"text": "rope", "text_b": "mast", "label": "sailing"}], "found a pair"),
        ([], "found"),
    ):
        file = toy.write_jsonl(tmp_path / "feedback.jsonl", rows)
        record, _ = run(*QUICK, f"task.feedback={file}", "until=select")
        assert record.status == "failed" and reason in record.reason, record.reason
    record, _ = run(*QUICK, f"task.feedback={tmp_path / 'none'}", "until=select")
    assert record.status == "failed" and "expected a file, found none" in record.reason
    record, _ = run("task=stsb", *QUICK, f"task.feedback={file}", "until=select")
    assert "task.feedback needs a task of one class a text" in record.reason


def test_a_target_beside_the_task_has_no_feedback(small: tuple[str, ...], tmp_path: Path) -> None:
    file = toy.write_jsonl(tmp_path / "feedback.jsonl", [{"text": "rope", "label": "sailing"}])
    target = f"targets=[citation_intent,{{task: ag_news, feedback: {file}}}]"
    ended = cells.command(*small, *QUICK, target, "until=select")
    assert ended.code == 1
    (refusal,) = ended.refusals
    assert "targets.ag_news.feedback: corrections join the task that is fine-tuned on" in refusal


def test_a_fold_screens_the_corrections_again_and_pairs_stay_pairs(
    run: Any, tmp_path: Path
) -> None:
    train = tmp_path / "train.jsonl"
    rows = [
        {"text": text, "second": f"about {topic}", "label": topic}
        for topic in ("sailing", "baking")
        for text in toy.sentences(topic, 12, 1)
    ]
    toy.write_jsonl(train, rows)
    new = [{"text": text, "label": "sailing"} for text in toy.sentences("sailing", 3, 9)]
    known = [{"text": row["text"], "label": row["label"]} for row in rows]
    feedback = toy.write_jsonl(tmp_path / "feedback.jsonl", [*new, *known])
    own = ("task=own", f"task.train={train}", "task.label=label", "until=select", *QUICK)
    fates = []
    for fold in (0, 1):
        record, _ = run(*own, "task.folds=3", f"fold={fold}", f"task.feedback={feedback}")
        assert record.status == "done", record.reason
        facts = record.selection["feedback"]
        assert facts["joined"] == 3
        fates.append(facts["left_out"])
        assert sum(facts["left_out"].values()) == 24
        assert facts["left_out"]["repeats_test"] == record.counts["task_fold_test"]
    pairs = [{**row, "text_b": "about nothing"} for row in new]
    toy.write_jsonl(feedback, pairs)
    record, _ = run(*own, "task.text_b=second", f"task.feedback={feedback}")
    assert record.status == "done", record.reason
    stage = next(stage for stage in record.stages if stage.stage == "feedback")
    path = tmp_path / "cache/feedback" / stage.key
    joined = formats.load_corpus(path / "train.arrow")
    assert joined.texts_b.count("about nothing") == 3
    target = formats.load_corpus(path / "target.arrow")
    assert {f"{row['text']}\nabout nothing" for row in new} <= set(target.texts)
