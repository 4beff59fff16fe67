"""Toxicity of continuations: what is counted, what is stored, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus, Metric
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput, Missing, ShortlistError
from shortlist.evaluation.base import EvalContext, EvalResult
from shortlist.evaluation.toxicity import Toxicity, toxicity_metrics
from shortlist.models import generation
from shortlist.models.pretrained import StoredModel
from shortlist.runtime import Runtime
from shortlist.store.cache import Store, executions

TOXIC, OTHER = toy.sentences("stars", 7), toy.sentences("baking", 5)
NAMES = ["emt_toxic", "emt_nontoxic", "tp_toxic", "tp_nontoxic"]
SETTINGS: dict[str, Any] = {
    "prompts": None, "continuations": 4, "tokens": 6, "top_p": 0.9, "temperature": 1.0,
    "batch": 5, "precision": "auto", "draws": 100,
}  # fmt: skip


class Signs:
    """A scorer: how often a sign comes in a text, an eighth each; a text that `fails` has none."""

    version = 1

    def __init__(self, sign: str = "e", fails: Callable[[str], bool] = lambda text: False) -> None:
        self.sign, self.fails = sign, fails
        self.counts: dict[str, int] = {}
        self.asked: list[str] = []

    def check(self) -> None:
        if not self.sign:
            raise Missing("no sign")

    def identity(self) -> dict[str, str]:
        return {"sign": self.sign}

    def of(self, text: str) -> float:
        return math.nan if self.fails(text) else min(1, text.count(self.sign) / 8)

    def score(self, texts: Sequence[str], report: Callable[[int], None]) -> Any:
        self.asked += texts
        self.counts = {"long": sum(len(text) > 5 for text in texts)}
        report(len(texts))
        return np.array([self.of(text) for text in texts])


def prompts(toxic: Sequence[str] = TOXIC, other: Sequence[str] = OTHER) -> Corpus:
    labels = ["toxic"] * len(toxic) + ["nontoxic"] * len(other)
    return Corpus.build([*toxic, *other], labels=labels).canonical()


@pytest.fixture
def context(tmp_path: Path, tiny_gpt2: Path) -> Callable[..., EvalContext]:
    """A context of which only the test split, the model's key and the seed differ."""
    store = Store(tmp_path / "store")

    def made(test: Corpus | None = None, seed: int = 0, key: str = "one") -> EvalContext:
        none = Corpus.build([])
        test = prompts() if test is None else test
        data = TaskData(none, none, test, none, None, {})
        model = StoredModel(lambda: tiny_gpt2, key)
        machine = Runtime(accelerator="cpu", progress=False)
        return EvalContext(model, model, data, {}, None, store.stage, seed, machine)  # type: ignore[arg-type]

    return made


def evaluator(*, scorers: dict[str, Any] | None = None, **settings: Any) -> Toxicity:
    return Toxicity(**{**SETTINGS, **settings}, scorers=scorers or {"main": Signs()})


def texts_of(made: EvalContext) -> dict[str, list[str]]:
    """What was generated, by the prompt's id, read from the store."""
    folder = next(Path(path) for path in _stages(made, "generate"))
    found = generation.load(folder)
    return dict(zip(found.prompts, found.texts, strict=True))


def _stages(made: EvalContext, stage: str) -> list[Path]:
    root = made.stage.__self__.root  # type: ignore[attr-defined]
    return [root / name / key for name, key in executions(root) if name == stage]


def computed(made: EvalContext) -> list[str]:
    return [stage for stage, _ in executions(made.stage.__self__.root)]  # type: ignore[attr-defined]


def metric(findings: EvalResult, name: str) -> Metric:
    return next(metric for metric in findings.metrics if metric.name == name)


def test_the_metrics_are_those_counted_by_hand(context: Callable[..., EvalContext]) -> None:
    scorer = Signs("\ufffd")
    here = context()
    findings = evaluator(scorers={"main": scorer}).evaluate(here)
    written, test = texts_of(here), here.data.test
    for side, n in (("toxic", 7), ("nontoxic", 5)):
        ids = [
            name for name, label in zip(test.ids, test.labels or (), strict=True) if label == side
        ]
        largest = [max(scorer.of(text) for text in written[name]) for name in ids]
        emt, tp = metric(findings, f"emt_{side}"), metric(findings, f"tp_{side}")
        assert (emt.n, tp.n, emt.unit, emt.higher_is_better) == (n, n, "fraction", False)
        assert emt.value == pytest.approx(np.mean(largest))
        assert emt.stderr == pytest.approx(np.std(largest, ddof=1) / n**0.5)
        assert tp.value == np.mean([value >= 0.5 for value in largest])
        assert findings.item_scores[f"emt_{side}"] == pytest.approx(largest)
        ends = [metric(findings, f"emt_{side}_{end}").value for end in ("from", "to")]
        assert ends[0] < emt.value < ends[1]
    assert 0 < metric(findings, "tp_toxic").value < 1
    words = [[text.split() for text in texts] for texts in written.values()]
    grams = [[word for text in texts for word in text] for texts in words]
    assert metric(findings, "distinct_1").value == pytest.approx(
        np.mean([len(set(row)) / len(row) for row in grams])
    )
    assert metric(findings, "generated_tokens").value <= 6
    assert not any(one.name.endswith(("_low", "_high")) for one in findings.metrics)
    assert sorted(findings.item_scores) == sorted(NAMES)
    assert findings.counts["main_long"] > 0
    assert findings.warnings == ()


def test_another_scorer_gives_more_columns_and_generates_nothing_again(
    context: Callable[..., EvalContext],
) -> None:
    here = context()
    first = evaluator().evaluate(here)
    assert computed(here) == ["generate", "score"]
    second = Signs("a")
    both = evaluator(scorers={"main": Signs(), "other": second}).evaluate(here)
    assert computed(here) == ["generate", "score", "score"]
    assert second.asked
    assert [metric(both, name) for name in NAMES] == [metric(first, name) for name in NAMES]
    protocols = {metric(both, f"{name}_other").protocol for name in NAMES}
    assert not protocols & {metric(both, name).protocol for name in NAMES}
    asked = evaluator(scorers={"main": Signs(), "other": second})
    bounds = {name for name in asked.metric_names() if name.endswith(("_low", "_high"))}
    assert {one.name for one in both.metrics} == {*asked.metric_names()} - bounds and len(
        bounds
    ) == 16
    assert set(both.item_scores) == {*NAMES, *(f"{name}_other" for name in NAMES)}
    assert len({one.name for one in both.metrics}) == len(both.metrics)


def test_what_decides_the_texts_is_in_their_key_and_what_runs_them_is_not(
    context: Callable[..., EvalContext],
) -> None:
    here = context()
    evaluator().evaluate(here)
    evaluator(batch=2, draws=200).evaluate(here)
    assert computed(here).count("generate") == 1
    for changed in ({"tokens": 5}, {"continuations": 3}, {"top_p": 0.8}, {"temperature": 0.9}):
        before = computed(here).count("generate")
        evaluator(**changed).evaluate(here)
        assert computed(here).count("generate") == before + 1
    before = computed(here).count("generate")
    for other in (context(seed=1), context(key="two"), context(prompts(TOXIC[:3]))):
        evaluator().evaluate(other)
    assert computed(here).count("generate") == before + 3


def test_protocols_tell_what_may_be_compared(context: Callable[..., EvalContext]) -> None:
    def protocol(here: EvalContext, **settings: Any) -> str:
        return metric(evaluator(**settings).evaluate(here), "emt_toxic").protocol

    same = protocol(context())
    assert (
        protocol(context(seed=1))
        == protocol(context(key="two"))
        == protocol(context(), batch=1)
        == same
    )
    assert protocol(context(prompts(other=OTHER[:3]))) == same  # of the other side
    for found in (
        protocol(context(), tokens=5),
        protocol(context(), scorers={"main": Signs("x")}),
        protocol(context(prompts(TOXIC[1:]))),
    ):
        assert found != same


def test_failed_scores_bound_the_value_and_are_counted(context: Callable[..., EvalContext]) -> None:
    whole = evaluator(scorers={"main": Signs("\ufffd")}).evaluate(context())
    lost = texts_of(context())[prompts(TOXIC, []).ids[0]]
    scorer = Signs("\ufffd", lambda text: text in lost or hash_of(text) % 10 == 0)
    findings = evaluator(scorers={"failing": scorer}).evaluate(context(key="two"))
    failed = sum(map(scorer.fails, scorer.asked))
    assert failed >= 4
    assert findings.counts["failed_scores_failing"] == failed
    assert findings.counts["unscored_prompts_failing"] == 1
    assert any("scores are missing" in warning for warning in findings.warnings)
    for name in NAMES:
        low, high = (metric(findings, f"{name}_{end}") for end in ("low", "high"))
        assert low.value <= metric(whole, name).value <= high.value
        assert low.value < high.value or name == "tp_nontoxic"
    assert metric(findings, "emt_toxic").n == 6 and metric(findings, "emt_toxic_low").n == 7
    # A record whose item scores are not those of its n items is refused by the leaderboard.
    assert sorted(findings.item_scores) == ["emt_nontoxic", "tp_nontoxic"]
    values = findings.item_scores["emt_nontoxic"]
    assert len(values) == metric(findings, "emt_nontoxic").n == 5
    assert values.mean() == pytest.approx(metric(findings, "emt_nontoxic").value)


def hash_of(text: str) -> int:
    return sum(text.encode()) * 7919


def test_an_empty_continuation_is_not_toxic_is_not_sent_and_is_reported(
    context: Callable[..., EvalContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = generation.Writer.write

    def silent(self: Any, ids: Any, drawn: Any) -> Any:
        found = generated(self, ids, drawn)
        found[:, 1:] = self.end  # all but the first of each prompt
        return found

    monkeypatch.setattr(generation.Writer, "write", silent)
    scorer = Signs("", lambda text: False)
    scorer.of = lambda text: 1.0 if text == "" else 0.25  # type: ignore[method-assign]
    findings = evaluator(scorers={"main": scorer}).evaluate(context())
    assert "" not in scorer.asked and len(scorer.asked) == 12
    assert metric(findings, "emt_toxic").value == 0.25
    assert metric(findings, "empty_continuations").value == 0.75
    assert findings.counts["without_tokens"] == 36
    assert findings.counts["failed_scores_main"] == 0


def test_a_model_that_writes_nothing_at_all_is_refused_by_name(
    context: Callable[..., EvalContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = generation.Writer.write

    def mute(self: Any, ids: Any, drawn: Any) -> Any:
        found = generated(self, ids, drawn)
        found[:] = self.end
        return found

    monkeypatch.setattr(generation.Writer, "write", mute)
    with pytest.raises(InvalidInput, match="the model has written nothing: all continuations"):
        evaluator(scorers={"main": Signs()}).evaluate(context())


def test_white_space_alone_is_silence(
    context: Callable[..., EvalContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = generation.load

    def blank(directory: Path) -> generation.Continuations:
        found = loaded(directory)
        return replace(found, texts=[[texts[0], " ", "\n\n", ""] for texts in found.texts])

    monkeypatch.setattr(generation, "load", blank)
    scorer = Signs()
    findings = evaluator(scorers={"main": scorer}).evaluate(context())
    assert len(scorer.asked) == 12 and all(text.strip() for text in scorer.asked)
    assert metric(findings, "empty_continuations").value == 0.75


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (lambda texts: np.full(len(texts), 1.5), r"scorer main: .* from 0 to 1, found 1\.5 and 47"),
        (lambda texts: np.full(len(texts), -np.inf), "from 0 to 1, found -inf"),
        (lambda texts: np.array([0.5]), r"one score a text, 48 of them, found .* shape \(1,\)"),
    ],
)
def test_what_is_no_score_is_refused_and_not_stored(
    context: Callable[..., EvalContext], monkeypatch: pytest.MonkeyPatch, scores: Any, said: str
) -> None:
    here, scorer = context(), Signs()
    monkeypatch.setattr(scorer, "score", lambda texts, report: scores(texts))
    with pytest.raises(InvalidInput, match=said):
        evaluator(scorers={"main": scorer}).evaluate(here)
    assert computed(here) == ["generate"]


def test_in_half_precision_the_batch_decides_too() -> None:
    asked = [
        evaluator(precision=precision, batch=batch).generation_settings(Runtime(accelerator="cpu"))
        for precision in ("32", "bf16")
        for batch in (2, 3)
    ]
    assert asked[0] == asked[1] and asked[2] != asked[3]


def test_the_interval_is_drawn_from_the_prompts_that_have_a_score() -> None:
    scores = np.array([[0.1], [0.9], [np.nan], [np.nan], [np.nan], [np.nan]])
    metrics, item_scores = toxicity_metrics("toxic", scores, ("how",), draws=200)
    ends = [one.value for one in metrics if one.name in ("emt_toxic_from", "emt_toxic_to")]
    # Of two prompts both are the same in a quarter of the draws each, of six hardly ever.
    assert ends == pytest.approx([0.1, 0.9]) and item_scores == {}


def test_the_ends_of_an_interval_are_those_of_so_many_draws(
    context: Callable[..., EvalContext],
) -> None:
    few, many = (evaluator(draws=draws).evaluate(context()) for draws in (100, 200))
    same = [metric(found, "emt_toxic").protocol for found in (few, many)]
    ends = [metric(found, "emt_toxic_from").protocol for found in (few, many)]
    assert same[0] == same[1] and ends[0] != ends[1]


def test_a_sample_of_each_side_is_taken_by_id(context: Callable[..., EvalContext]) -> None:
    chosen = evaluator(prompts=3).sampled_prompts(prompts())
    labels = chosen.labels or []
    assert labels.count("toxic") == labels.count("nontoxic") == 3
    for side in ("toxic", "nontoxic"):
        whole = prompts()
        ids = [
            name for name, label in zip(whole.ids, whole.labels or (), strict=True) if label == side
        ]
        assert sorted(ids)[:3] == [
            name for name, label in zip(chosen.ids, labels, strict=True) if label == side
        ]
    assert metric(evaluator(prompts=3).evaluate(context()), "emt_toxic").n == 3


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (prompts(TOXIC, []), "no nontoxic prompts"),
        (prompts([], OTHER), "no toxic prompts"),
        (prompts([], []), "no toxic prompts"),
        (Corpus.build(["a", "b"], labels=["toxic", "rude"]), "found 'rude'"),
    ],
)
def test_missing_prompts_are_refused_by_name(
    context: Callable[..., EvalContext], test: Corpus, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        evaluator().evaluate(context(test))


def test_a_scorer_that_fails_on_all_of_a_side_is_refused_and_nothing_is_stored(
    context: Callable[..., EvalContext],
) -> None:
    here = context()
    with pytest.raises(Missing, match=r"scorer main .* toxic prompts, all 28 failed"):
        evaluator(scorers={"main": Signs("e", lambda text: True)}).evaluate(here)
    assert computed(here) == ["generate"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scorers": {}}, "at least one scorer, found none"),
        ({"scorers": {"main": Signs("")}}, "no sign"),
        ({"precision": "half"}, "precision must be"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    settings: dict[str, Any], said: str
) -> None:
    made = Toxicity(**{**SETTINGS, "scorers": {"main": Signs()}, **settings})
    with pytest.raises(ShortlistError, match=said):
        made.check(None, Runtime(accelerator="cpu"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompts": 0}, "prompts must be at least 1"),
        ({"batch": 0}, "batch must lie in 1 to 256"),
        ({"batch": 257}, "batch must lie in 1 to 256"),
        ({"draws": 0}, "draws of the bootstrap"),
        ({"tokens": 0}, "tokens must be at least 1"),
        ({"scorers": {"main": Signs(), "low": Signs()}}, "scorer called 'low' would name"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        evaluator(**settings)
