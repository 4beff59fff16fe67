"""Several targets, nearer domains, the ablation's picks and a recommended budget, in whole cells."""

from __future__ import annotations

import copy
import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from shortlist.core import Record
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole

CHEAP = ("until=select", "advice=null")
STATIC = ("selector=gotd", "featurizer=static", "selector.sensitivity=false", *CHEAP)
RANDOM = ("selector=random", *CHEAP)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Texts of two topics of the pool, which no document of the pool repeats."""
    return {
        topic: str(
            toy.write_jsonl(
                tmp_path / f"{topic}.jsonl",
                [{"text": text} for text in toy.sentences(topic, 12, 9)],
            )
        )
        for topic in ("music", "stars")
    }


@pytest.fixture
def record(
    small: tuple[str, ...], tmp_path: Path, composed: Callable[..., Any]
) -> Callable[..., tuple[Record, Path]]:
    """A function from overrides, and root settings, to (record, run directory) of a small cell.

    Targets are composed by the Hydra that runs; one is started here around the cell.
    """
    number = itertools.count()

    def run(*typed: str, **roots: Any) -> tuple[Record, Path]:
        config = copy.deepcopy(composed(*small, *(typed or STATIC)))
        for name, value in roots.items():
            OmegaConf.update(config, name.replace("__", "."), value)
        directory = tmp_path / "runs" / str(next(number))
        with initialize_config_dir(str(cells.ROOT / "conf"), version_base="1.3"):
            return cells.execute(config, directory), directory

    return run


def chosen(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "shortlist.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ids(directory: Path) -> list[str]:
    return [row["id"] for row in chosen(directory)]


def topics(directory: Path) -> dict[str, int]:
    """How many chosen documents have most of their words from each topic."""
    counts = dict.fromkeys(toy.TOPICS, 0)
    for row in chosen(directory):
        words = row["text"].split()
        counts[max(toy.TOPICS, key=lambda t: sum(w in toy.TOPICS[t].split() for w in words))] += 1
    return counts


def test_two_targets_share_the_work_of_each_and_the_selection_serves_both(
    record: Any, files: dict[str, str], tmp_path: Path
) -> None:
    for file in files.values():
        record(targets=[file])
    before = len(executions(tmp_path / "cache"))
    both, directory = record(targets=[*files.values()])
    new = [stage for stage, _ in executions(tmp_path / "cache")[before:]]
    assert sorted(new) == ["pareto", "selection", "selection"]  # its own, and the ablation's
    found = topics(directory)
    assert found["music"] + found["stars"] >= 6 > 4 == 10 * 2 / len(toy.TOPICS)
    assert both.selection["targets"]["weights"] == {"music": 0.5, "stars": 0.5}


def test_a_weight_of_0_and_a_floor(record: Any, files: dict[str, str]) -> None:
    _, music = record(targets=[files["music"]])
    _, stars = record(targets=[files["stars"]], budget=3)
    both = {"targets": [*files.values()], "target_weights": {"music": 1, "stars": 0}}
    _, weighted = record(**both)
    assert ids(weighted) == ids(music)
    made, directory = record(**both, target_floors={"stars": 0.3})
    assert set(ids(directory)) == {*ids(stars), *ids(music)[:7]}
    assert made.selection["targets"]["floors"] == {"stars": {"share": 0.3, "asked": 3, "kept": 3}}
    scores = [row["score"] for row in chosen(directory)]
    assert scores == sorted(scores, reverse=True)


def test_a_control_counts_the_picks_of_its_method_under_the_same_floors(
    record: Any, files: dict[str, str]
) -> None:
    wanted = {"targets": [*files.values()], "target_floors": {"stars": 0.5}}
    _, picks = record(**wanted)
    made, stand_ins = record("selector=random_domain", "featurizer=static", *CHEAP, **wanted)
    assert made.selection["overlap"] == len({*ids(picks)} & {*ids(stand_ins)})


def test_nothing_that_was_learned_for_one_target_stays_for_the_next(
    record: Any, files: dict[str, str], tmp_path: Path
) -> None:
    rows = [{"text": text, "w": at} for at, text in enumerate(toy.sentences("sailing", 12, 9), 1)]
    heavy = {"task": "own", "train": str(toy.write_jsonl(tmp_path / "w.jsonl", rows)), "mass": "w"}
    rows = [{"text": text, "w": 1} for topic in toy.TOPICS for text in toy.sentences(topic, 9)]
    pool = f"pool.paths=[{toy.write_jsonl(tmp_path / 'pool.jsonl', rows)}]"
    typed = (*STATIC, "pool=files", pool, "pool.mass=w", "selector.masses=column")
    both, first = record(
        *typed, targets=[{**heavy, "name": "heavy", "holdout": 0.0}, files["music"]],
        target_weights={"heavy": 0, "music": 1},
    )  # fmt: skip
    _, alone = record(*typed, f"paths.cache={tmp_path / 'other'}", targets=[files["music"]])
    assert both.status == "done"
    pairs = [[(row["id"], row["score"]) for row in chosen(at)] for at in (first, alone)]
    assert pairs[0] == pairs[1]


def test_floors_that_are_more_than_the_budget_fail_by_name(
    record: Any, files: dict[str, str]
) -> None:
    made, _ = record(targets=[*files.values()], target_floors={"music": 0.8, "stars": 0.8})
    assert made.status == "failed"
    # Eight each, and one of them for both.
    assert "target_floors of `music` and `stars` keep 15 documents together" in made.reason


def test_the_front_between_two_targets_is_in_the_record_and_in_a_file(
    record: Any, files: dict[str, str]
) -> None:
    made, directory = record(targets=[*files.values()])
    front = made.selection["pareto"]
    with (directory / "pareto.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert front["targets"] == ["music", "stars"] and front["complete"]
    assert front["of"] == len(rows) >= len(front["points"]) > 2
    points = front["points"]
    assert all(a["value_a"] > b["value_a"] for a, b in itertools.pairwise(points))
    assert all(a["value_b"] < b["value_b"] for a, b in itertools.pairwise(points))
    assert points[0]["changed"] == 0 < points[-1]["changed"]
    # Without a floor the selection is the corner of its own weight.
    at = front["chosen"]["lambda"]
    (own,) = [r for r in rows if float(r["lambda_from"]) <= at < float(r["lambda_to"])]
    assert float(own["value_a"]) == pytest.approx(front["chosen"]["value_a"], abs=1e-12)
    assert float(own["value_b"]) == pytest.approx(front["chosen"]["value_b"], abs=1e-12)


def test_away_from_a_target_leaves_out_what_is_like_it(record: Any, files: dict[str, str]) -> None:
    plain, without = record(targets=[files["music"]], budget=40)
    away = {"targets": [files["music"]], "negative_target": files["stars"], "budget": 40}
    made, directory = record(**away)
    assert topics(directory)["stars"] < topics(without)["stars"]
    assert made.selection["targets"]["weights"] == {"music": 1.0, "stars": -1.0}
    assert made.selection["pareto"]["away"] == ["stars"]
    assert made.key != plain.key
    _, pure = record(**away, target_weights={"music": 0})
    assert topics(pure)["stars"] <= topics(directory)["stars"]
    assert set(ids(pure)) != set(ids(directory))


def test_the_task_among_the_targets_is_the_task_as_it_is_set(
    record: Any, files: dict[str, str]
) -> None:
    made, _ = record(targets=["citation_intent", files["music"]], task__max_train=7)
    assert made.config["targets"]["citation_intent"]["max_train"] == 7
    assert made.counts["task_train"] == 7 and made.warnings == ()
    assert "read.target.music.train" in made.inputs
    assert "read.target.citation_intent.train" not in made.inputs
    other, _ = record(targets=[files["music"]])
    assert any("citation_intent, is not one of them" in told for told in other.warnings)


def test_a_method_that_looks_at_no_target_says_that_weights_change_nothing(
    record: Any, files: dict[str, str]
) -> None:
    _, plain = record(*RANDOM)
    made, directory = record(*RANDOM, targets=[*files.values()], target_floors={"stars": 0.5})
    assert ids(directory) == ids(plain)
    assert made.selection["targets"]["applied"] is False and "pareto" not in made.selection


def test_floors_of_a_budget_of_tokens(record: Any, files: dict[str, str]) -> None:
    made, directory = record(
        *STATIC, "budget_unit=tokens", budget=120,
        targets=[*files.values()], target_floors={"stars": 0.4},
    )  # fmt: skip
    floor = made.selection["targets"]["floors"]["stars"]
    assert floor["asked"] == 48 <= floor["kept"] < 48 + 18
    assert sum(len(row["text"].split()) + 2 for row in chosen(directory)) <= 120


def test_only_the_nearest_domain_is_chosen_from_and_every_method_shares_it(
    record: Any, files: dict[str, str], tmp_path: Path
) -> None:
    plain, _ = record()
    made, directory = record(pool__prefilter__keep=1)
    rows = made.selection["divergences"]
    assert [(row["domain"], row["kept"]) for row in rows] == [("near", True), ("far", False)]
    assert rows[0]["divergence"] < rows[1]["divergence"]
    assert [row["documents"] for row in rows] == [20, 30]
    assert made.counts["prefilter_left_out"] == 30
    assert {row["domain"] for row in chosen(directory)} == {"near"}
    before = len(executions(tmp_path / "cache"))
    other, _ = record(*RANDOM, pool__prefilter__keep=1)
    whole, _ = record(pool__prefilter__keep=2)
    new = [stage for stage, _ in executions(tmp_path / "cache")[before:]]
    assert new == ["features", "features", "fit", "scores", "selection", "prefilter"]
    assert other.inputs["pool_fingerprint"] == made.inputs["pool_fingerprint"]
    assert other.selection["divergences"] == rows
    assert whole.selection["sha256"] == plain.selection["sha256"] and whole.key != plain.key
    away = {"negative_target": "citation_intent", "targets": [files["stars"]]}
    pure, _ = record(*RANDOM, pool__prefilter__keep=1, target_weights={"stars": 0}, **away)
    assert [row["domain"] for row in pure.selection["divergences"]] == ["far", "near"]
    failed, _ = record(pool__prefilter__keep=3)
    assert "keep=3 is more than the pool's 2 domains (near, far)" in failed.reason


def test_a_pool_whose_documents_have_no_domain_is_refused_by_name(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shortlist.core import Corpus
    from shortlist.data.pools import Files
    from shortlist.data.readers import Loaded

    corpus = Corpus.build(toy.sentences("music", 20)).canonical()
    monkeypatch.setattr(Files, "load", lambda *_: Loaded(corpus, {}))
    file = toy.write_jsonl(tmp_path / "pool.jsonl", [{"text": "one"}])
    made, _ = record(*RANDOM, "pool=files", f"pool.paths=[{file}]", pool__prefilter__keep=1)
    assert "no document of the pool has one; name the column with pool.domain" in made.reason


def test_the_ablations_picks_are_those_of_a_cell_of_soft_knn_and_the_same_work(
    record: Any, tmp_path: Path
) -> None:
    made, directory = record()
    before = len(executions(tmp_path / "cache"))
    _, other = record("selector=soft_knn", "featurizer=static", *CHEAP)
    assert executions(tmp_path / "cache")[before:] == []
    found = made.selection["against_soft_knn"]
    differ = len(set(ids(directory)) - set(ids(other)))
    assert (found["differ"], found["of"]) == (differ, 10)
    assert found["same"] == pytest.approx(1 - differ / 10)
    assert found["settings"] == {"cost": "sqeuclidean", "relative_epsilon": 0.01}


def test_the_released_solver_is_compared_at_its_own_absolute_epsilon(record: Any) -> None:
    made, _ = record("selector=gotd_paper", "featurizer=static", *CHEAP)
    found = made.selection["against_soft_knn"]
    assert found["of"] == 10 and found["settings"] == {"cost": "sqeuclidean", "epsilon": 0.1}


def test_where_nothing_is_thinned_out_the_diverse_form_differs_as_gotd_does(record: Any) -> None:
    diverse = ("selector=gotd_diverse", "featurizer=static", *CHEAP)
    loose = ("selector.similarity=1", "selector.most=1000000")
    plain, _ = record()
    made, _ = record(*diverse, *loose)
    assert made.selection["against_soft_knn"] == plain.selection["against_soft_knn"]


def test_a_user_sees_what_the_correction_changed_and_how_many_documents_to_take(
    small: tuple[str, ...], files: dict[str, str]
) -> None:
    targets = f"targets=[citation_intent,{files['music']}]"
    ended = cells.command(
        *small, *STATIC[:-1], targets, "target_weights={citation_intent: 2, music: 1}"
    )
    assert ended.code == 0, ended
    (line,) = [line for line in ended.err.splitlines() if "the correction of GOTD changed" in line]
    assert "against soft_knn at cost=sqeuclidean, relative_epsilon=0.01" in line
    assert [line for line in ended.err.splitlines() if "budget recommendation: " in line]


def test_a_method_whose_features_have_no_columns_gets_no_recommended_budget(record: Any) -> None:
    made, _ = record("selector=moore_lewis", "advice.documents=100")
    assert (made.status, made.reason) == ("done", "") and "recommended" not in made.selection


def test_a_budget_is_recommended_with_its_reason_and_its_curve(record: Any, tmp_path: Path) -> None:
    made, directory = record(*STATIC[:-1])
    found = made.selection["recommended"]
    curve = found["curve"]
    assert [point["budget"] for point in curve][-1] == 50 and 10 in [p["budget"] for p in curve]
    assert len((directory / "curve.csv").read_text().splitlines()) == 1 + len(curve)
    gradients = [point["gradient"] for point in curve]
    assert gradients == sorted(gradients) and gradients[0] < 0 < gradients[-1]
    turn = found["gradient_changes_sign_at"]
    assert all((point["gradient"] < 0) == (point["budget"] <= turn) for point in curve)
    # With the whole pool counted again the mixture is the pool.
    assert curve[-1]["divergence"] == pytest.approx(found["pool_divergence"], abs=2e-3)
    assert min(point["divergence"] for point in curve) < found["pool_divergence"]
    assert found["budget"] == min(turn, found["divergence_stops_falling_at"])
    assert found["reason"].startswith(f"{found['budget']} documents: ")
    before = len(executions(tmp_path / "cache"))
    record(*STATIC[:-1])
    assert executions(tmp_path / "cache")[before:] == []
    # A score that is no gradient changes no sign.
    made, _ = record("selector=soft_knn", "featurizer=static", "until=select")
    assert made.selection["recommended"]["gradient_changes_sign_at"] is None
    assert {point["gradient"] for point in made.selection["recommended"]["curve"]} == {None}


def test_targets_in_spaces_of_their_own_are_no_one_mixture(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    files = [
        toy.write_jsonl(
            tmp_path / f"{name}.jsonl",
            [
                {"text": t, "label": topic}
                for topic in toy.TOPICS
                for t in toy.sentences(topic, 20, at)
            ],
        )
        for at, name in enumerate(("one", "two"), start=7)
    ]
    targets = ",".join(f"{{task: own, name: {f.stem}, train: {f}, label: label}}" for f in files)
    tuned = ("featurizer=tuned", "featurizer.max_length=32", "featurizer.precision=32")
    quick = [f"featurizer.tuning.{name}" for name in ("epochs=1", "precision=32", "max_length=32")]
    ended = cells.command(
        *small, "selector=soft_knn", *tuned, *quick, "until=select", f"targets=[{targets}]",
        "runtime.report=true",
    )  # fmt: skip
    assert ended.code == 0, ended
    assert "budget recommendation: none, each target has vectors of its own" in ended.err
    (directory,) = (tmp_path / "runs").iterdir()
    made = Record.from_json((directory / "record.json").read_text(encoding="utf-8"))
    assert "recommended" not in made.selection and (directory / "report.html").exists()
