"""The datasheet of a cell: what is written, what it says, what it costs, and that it is only a view."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import toy

from shortlist.store.cache import executions
from shortlist.store.records import report_path

pytestmark = pytest.mark.whole

VIEW = ("runtime.report=true", "until=select")
VIEWS = {"clusters", "reasons", "map"}


def lines(directory: Path, name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (directory / name).read_text(encoding="utf-8").splitlines()
    ]


def ran(home: Path) -> Counter[str]:
    return Counter(stage for stage, _ in executions(home / "cache"))


@pytest.fixture
def gotd(run: Any) -> tuple[Any, Path]:
    return run("selector=gotd", *VIEW)


def test_every_pick_has_a_line_of_reasons(gotd: tuple[Any, Path]) -> None:
    record, directory = gotd
    chosen, reasons = lines(directory, "shortlist.jsonl"), lines(directory, "reasons.jsonl")
    targets = {line["id"]: line["text"] for line in lines(directory, "targets.jsonl")}
    assert (record.status, record.reason) == ("done", "")
    assert [[row[name] for name in ("id", "rank", "score", "domain")] for row in reasons] == [
        [row[name] for name in ("id", "rank", "score", "domain")] for row in chosen
    ]
    gradients = [line["gradient"] for line in reasons]
    assert gradients == sorted(gradients) and gradients[0] < 0
    for line in reasons:
        assert line["potential"] == -line["score"]
        shares = [one["share"] for one in line["targets"]]
        assert len(shares) == 3 and shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
        assert all(targets[one["id"]] == one["text"] for one in line["targets"])


def test_every_target_document_has_a_line_and_the_masses_are_one_on_average(
    gotd: tuple[Any, Path],
) -> None:
    _, directory = gotd
    picks = {line["id"]: line for line in lines(directory, "reasons.jsonl")}
    targets = lines(directory, "targets.jsonl")
    assert len(targets) == 24
    assert np.mean([line["mass"] for line in targets]) == pytest.approx(1)
    for line in targets:
        assert line["nearest"]["id"] in picks
        shares = [one["share"] for one in line["covered_by"]]
        assert shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
        # A pick that brings a target most lists it, if it is among the pick's own three.
        for one in line["covered_by"]:
            mine = {near["id"]: near["share"] for near in picks[one["id"]]["targets"]}
            if line["id"] in mine:
                brought = mine[line["id"]] / (line["mass"] * len(picks) / len(targets))
                assert one["share"] == pytest.approx(brought, rel=1e-4)


def test_of_several_targets_each_is_told_by_its_own_plan(
    small: tuple[str, ...], tmp_path: Path
) -> None:
    def texts(topic: str) -> str:
        rows = [{"text": text} for text in toy.sentences(topic, 12, 9)]
        return str(toy.write_jsonl(tmp_path / f"{topic}.jsonl", rows))

    def told(*typed: str) -> Path:
        ended = cells.command(*small, *VIEW, "selector=gotd", "featurizer=static", *typed)
        assert ended.code == 0, ended
        return max((tmp_path / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)

    both = told(f"targets=[{texts('music')},{texts('stars')}]", "budget=10")
    targets, picks = lines(both, "targets.jsonl"), lines(both, "reasons.jsonl")
    assert Counter(line["of"] for line in targets) == {"music": 12, "stars": 12}
    for line in picks:
        assert Counter(one["of"] for one in line["targets"]) == {"music": 3, "stars": 3}
        assert sum(line["potential"].values()) / 2 == pytest.approx(-line["score"])
    page, text = ((both / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    assert "for music and stars" in text.splitlines()[0]
    assert "Target coverage: music" in text and "Target coverage: stars" in text
    anchors = re.findall(r'<section id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors))
    # What is said of a target is what a cell for it alone says of the same picks.
    alone = told(f"targets=[{texts('stars')}]", "budget=50")
    known = {line["id"]: line for line in lines(alone, "reasons.jsonl")}
    for line in picks:
        own = [{**one, "of": "stars"} for one in known[line["id"]]["targets"]]
        assert [one for one in line["targets"] if one["of"] == "stars"] == own
        assert line["gradient"]["stars"] == known[line["id"]]["gradient"]


def test_the_targets_of_a_topic_that_the_pool_lacks_are_named(run: Any, tmp_path: Path) -> None:
    def texts(topic: str, n: int, seed: int) -> list[dict[str, str]]:
        rng, words = random.Random(f"{topic} {seed}"), toy.TOPICS[topic].split()
        return [{"text": " ".join(rng.sample(words, 10)), "domain": topic} for _ in range(n)]

    def left(name: str, topics: tuple[str, ...]) -> Counter[str]:
        rows = [row for topic in topics for row in texts(topic, 60, 1)]
        pool = toy.write_jsonl(tmp_path / f"{name}.jsonl", rows)
        _, directory = run(
            "selector=gotd", "featurizer=static", *VIEW, "pool=files", f"pool.paths=[{pool}]",
            "pool.domain=domain", "budget=80", "task=own", f"task.train={target}",
        )  # fmt: skip
        page = (directory / "report.html").read_text(encoding="utf-8")
        found = [line["text"] for line in lines(directory, "targets.jsonl") if line["uncovered"]]
        assert sum(text in page for text in found) == min(len(found), 10)
        return Counter(topic_of[text] for text in found)

    served = [*texts("sailing", 30, 2), *texts("baking", 15, 2)]
    topic_of = {row["text"]: row["domain"] for row in served}
    target = toy.write_jsonl(tmp_path / "target.jsonl", served)
    others = ("gardens", "music", "stars")
    whole = left("whole", ("sailing", "baking", *others))
    lacking = left("lacking", ("sailing", *others))
    assert whole == Counter()
    assert set(lacking) == {"baking"}
    # One text in ten is set apart to measure a loss on; the others are the target.
    assert lacking["baking"] >= 10


def test_the_page_says_what_was_chosen_and_how_to_repeat_it(
    gotd: tuple[Any, Path], small: tuple[str, ...]
) -> None:
    record, directory = gotd
    page = (directory / "report.html").read_text(encoding="utf-8")
    text = (directory / "report.md").read_text(encoding="utf-8")
    command = shlex.join(["python", "run.py", *small, "selector=gotd", *VIEW])
    assert command in text
    for part in (
        "10 documents of domains for citation_intent",
        record.inputs["pool_fingerprint"],
        record.selection["sha256"],
        "Transport certificate",
        "Target coverage",
        "Not scored",
    ):
        assert part in page and part in text.replace("\\_", "_")
    best = lines(directory, "shortlist.jsonl")[0]["text"]
    assert best in page and best in text
    costs = text.split("## Cost")[1].split("## Reproduction")[0]
    views = ("near copies (page)", "reasons (page)", "map (page)")
    shown = [row.split(" | ")[0].strip("| ") for row in costs.splitlines() if row.startswith("| ")]
    assert shown == ["stage", "---", *(stage.stage for stage in record.stages), *views]
    assert page.count("<svg") == 4  # scores, map, and the two curves of the advice


def test_a_method_without_a_plan_tells_the_nearest_and_one_without_vectors_says_so(
    run: Any,
) -> None:
    _, sparse = run("selector=dsir", *VIEW)
    assert "By cosine" in (sparse / "report.md").read_text(encoding="utf-8")
    line = lines(sparse, "reasons.jsonl")[0]
    assert len(line["targets"]) == 3 and "gradient" not in line
    _, blind = run("selector=random", *VIEW)
    assert "reads no vectors" in (blind / "report.md").read_text(encoding="utf-8")
    assert not (blind / "targets.jsonl").exists()
    assert all("targets" not in line for line in lines(blind, "reasons.jsonl"))


def test_the_first_that_did_not_get_in_are_the_next_of_a_larger_budget(run: Any) -> None:
    _, directory = run("selector=gotd", *VIEW)
    _, larger = run("selector=gotd", *VIEW, "budget=15")
    page = (directory / "report.md").read_text(encoding="utf-8")
    shown = [block.split("\n")[2].strip() for block in page.split("- **not selected**")[1:]]
    assert shown == [row["text"] for row in lines(larger, "shortlist.jsonl")[10:]]


def test_a_selection_of_nothing_has_no_page(run: Any) -> None:
    record, directory = run("selector=vanilla", *VIEW)
    assert (record.status, record.selection["size"]) == ("done", 0)
    assert not (directory / "report.html").exists()


def test_a_report_is_only_a_view(run: Any, tmp_path: Path) -> None:
    bare, without = run("selector=gotd", "until=select")
    assert not (without / "report.html").exists() and not (without / "reasons.jsonl").exists()
    assert not VIEWS & set(ran(tmp_path))
    seen, directory = run("selector=gotd", *VIEW)
    assert {stage: ran(tmp_path)[stage] for stage in VIEWS} == dict.fromkeys(VIEWS, 1)
    page = (directory / "report.html").read_bytes()
    # Beside the records, where a leaderboard's page links to it.
    assert report_path(tmp_path / "results", seen).read_bytes() == page
    assert (seen.key, seen.stages, seen.selection) == (bare.key, bare.stages, bare.selection)
    before = ran(tmp_path)
    _, again = run("selector=gotd", *VIEW)
    assert ran(tmp_path) == before
    for name in ("reasons.jsonl", "targets.jsonl"):
        assert (again / name).read_bytes() == (directory / name).read_bytes()


def test_another_budget_looks_for_no_copies_again(run: Any, tmp_path: Path) -> None:
    run("selector=random", *VIEW)
    run("selector=random", *VIEW, "budget=12")
    assert ran(tmp_path)["clusters"] == 1 and ran(tmp_path)["reasons"] == 2


def test_copies_of_a_pick_are_counted_in_the_pool_and_among_the_picks(
    run: Any, tmp_path: Path
) -> None:
    text = " ".join(toy.sentences("sailing", 6, 9))
    rows = [{"text": text}, {"text": text.upper()}, {"text": f"{text}!"}]
    rows += [{"text": one} for one in toy.sentences("stars", 20, 4)]
    pool = toy.write_jsonl(tmp_path / "pool.jsonl", rows)
    _, directory = run("selector=random", *VIEW, "pool=files", f"pool.paths=[{pool}]", "budget=22")
    copies = [line for line in lines(directory, "reasons.jsonl") if line["copies_in_pool"]]
    assert len({line["cluster"] for line in copies}) == 1 and len(copies) >= 2
    for line in copies:
        assert (line["copies_in_pool"], line["copies_chosen"]) == (2, len(copies) - 1)
    assert "2 near copies in the pool" in (directory / "report.md").read_text(encoding="utf-8")


def test_licences_and_toxicities_that_the_files_name_are_mixed_like_the_pool(
    run: Any, tmp_path: Path
) -> None:
    texts = toy.sentences("stars", 40, 4)
    rows = [
        {"text": text, "by": ("MIT", "GPL", None)[at % 3], "toxic": at % 2 * 0.9}
        for at, text in enumerate(texts)
    ]
    rows.append({"text": "neither loaf nor boat", "by": "MIT", "toxic": "very"})
    pool = toy.write_jsonl(tmp_path / "pool.jsonl", rows)
    typed = ("selector=random", *VIEW, "pool=files", f"pool.paths=[{pool}]", "budget=12")
    run(*typed)
    record, directory = run(*typed, "pool.licence=by", "pool.toxicity=toxic")
    assert record.counts["pool_quarantined"] == 1
    set_aside = (directory / "pool_quarantine.txt").read_text(encoding="utf-8")
    assert "toxicity 'toxic': expected a number from 0 to 1, found 'very'" in set_aside
    page = (directory / "report.md").read_text(encoding="utf-8")
    known = {row["text"]: row for row in rows}
    picks = Counter(known[row["text"]]["by"] for row in lines(directory, "shortlist.jsonl"))
    mix = page.split("### Licence")[1].split("## ")[0]
    for name, here in picks.items():
        share = f"{100 * sum(row['by'] == name for row in rows[:-1]) / 40:.1f} %"
        assert f"| {name or '(none)'} | {100 * here / 12:.1f} % | {share} |" in mix
    toxic = sum(known[row["text"]]["toxic"] > 0.5 for row in lines(directory, "shortlist.jsonl"))
    assert f"| 0.5 or more | {100 * toxic / 12:.1f} % | 50.0 % |" in page


def test_a_hostile_document_stays_a_text(run: Any, tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script><img src=x onerror=alert(2)> anchor boat captain sail"
    rows = [{"text": nasty, "domain": "<b>bold</b>"}]
    rows += [{"text": one, "domain": "fine"} for one in toy.sentences("stars", 20, 4)]
    pool = toy.write_jsonl(tmp_path / "pool.jsonl", rows)
    _, directory = run(
        "selector=random", *VIEW, "pool=files", f"pool.paths=[{pool}]", "pool.domain=domain",
        "budget=21",
    )  # fmt: skip
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page and "<script" not in page and "<img" not in page
    assert "<b>bold" not in page and "&lt;b&gt;bold&lt;/b&gt;" in page


def test_the_page_of_a_whole_run_shows_its_trainings_and_classes(run: Any, tmp_path: Path) -> None:
    record, directory = run("selector=random", "runtime.report=true", "warmup.learning_rate=find")
    text = (directory / "report.html").read_text(encoding="utf-8")
    assert text.count('id="training"') == text.count('href="#training"') == 1
    for said in ("Loss of the warm-up", "Learning rate of the warm-up", "Loss of the fine-tuning"):
        assert text.count(f"<h3>{said}</h3>") == 1
    assert f"<h3>{record.metrics[0].name} on validation</h3>" in text
    (row,) = (
        one for one in record.selection["evaluation"]["per_class"] if one["class"] == "baking"
    )
    sheet = (directory / "report.md").read_text(encoding="utf-8")
    assert f"| baking | {row['precision']:.3f} | {row['recall']:.3f} |" in sheet
    assert "### Confusion matrix" in sheet and text.count("</main>") == 1
    assert report_path(tmp_path / "results", record).read_text(encoding="utf-8") == text
