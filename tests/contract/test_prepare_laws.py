"""Laws of data preparation, over every YAML of conf/prepare."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shortlist.errors import InvalidInput
from shortlist.pipeline.preparation import Preparation, resolve
from shortlist.prepare.base import DocumentOperation, Operation, prepare

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "prepare").glob("*.yaml"))

PLAIN = (
    "The keeper of the lighthouse wrote that the sea had been calm for a week, and that no ship with"
    " a sail had come by. He was glad of it; he had time to paint the door and to mend the stairs.\n"
    "On Sunday the supply boat is going to arrive with bread, oil and letters. He will have to be up"
    " early to help the crew, because the tide does not wait for a man who is still in his bed."
)
HOSTILE = [
    "", " ", "a", "\x00", "a\x00b", "\ud800", "ok \udfff end", "\ufeff\u200b", "#" * 50, "...", "\n" * 9,
    "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 20, "\U0001f3f3\ufe0f\u200d\U0001f308 \u270a\U0001f3fd",
    "e\u0301" * 30, "Привет, мир. 你好世界。 שלום שלום. नमस्ते", "&amp;amp;amp;lt;b&gt;",
    "<script>a<b</script><p>one<br>two</p> a < b <unk>", "**bold** [x](http://e.org/(y)) > no\n> quoted",
    "schÃ¶n â€” Ã©tÃ©", "\r\nx\r\r\ny\u2028z\x85", "word " * 500, "[[[[" * 500, "<a <a <a" * 300, "*" * 3000,
    PLAIN, PLAIN.upper(), PLAIN + " Again.", f"<p>{PLAIN}</p>", PLAIN,
]  # fmt: skip
LETTERS = st.text(
    alphabet=st.sampled_from("aé ß\n\r\t\u200d\ud800\x00<>&;*_[]()#`~'\"-.!?1@:/😀你")
)
TEXTS = st.lists(st.one_of(LETTERS, st.text(), st.sampled_from(HOSTILE)), max_size=6)
FEW = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def hydra() -> Generator[None]:
    """Makes conf/ known to Hydra, as a running command does."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def operations(hydra: None, tiny_model: Path) -> Any:
    """The operations of an option; embeddings come from a tiny model of random weights."""

    @cache
    def of(name: str) -> Mapping[str, Operation]:
        found = resolve(name, "pool.prepare")
        for entry in found:
            if "featurizer" in entry:
                model = {
                    "_target_": "shortlist.models.pretrained.LocalModel",
                    "path": str(tiny_model),
                }
                entry["featurizer"] |= {"model": model, "max_length": 16}
        return Preparation.of(found, "pool.prepare").operations

    return of


@pytest.mark.parametrize("name", NAMES)
class TestLaws:
    """Each with arbitrary texts, hostile ones among them."""

    @FEW
    @given(texts=TEXTS)
    @example(texts=HOSTILE)
    def test_a_second_preparation_changes_nothing(
        self, operations: Any, name: str, texts: list[str]
    ) -> None:
        first = prepare(texts, operations(name))
        kept = [first.texts[row] for row in first.kept]
        again = prepare(kept, operations(name))
        assert list(again.texts) == kept
        assert not any(again.failed) and not any(again.edited)

    @FEW
    @given(texts=TEXTS)
    @example(texts=HOSTILE)
    def test_every_row_is_kept_or_dropped_and_counted(
        self, operations: Any, name: str, texts: list[str]
    ) -> None:
        prepared = prepare(texts, operations(name))
        counts = prepared.counts
        assert counts["rows_read"] == len(texts) == counts["kept"] + counts["dropped"]
        by_operation = [n for key, n in counts.items() if key.startswith("dropped.")]
        assert sum(by_operation) == counts["dropped"]
        assert len(prepared.failed) == len(prepared.edited) == len(texts)
        for before, after, edits in zip(texts, prepared.texts, prepared.edited, strict=True):
            assert before == after or edits

    @FEW
    @given(texts=TEXTS, order=st.randoms(use_true_random=False))
    def test_the_order_of_the_rows_has_no_effect(
        self, operations: Any, name: str, texts: list[str], order: Any
    ) -> None:
        shuffled = list(texts)
        order.shuffle(shuffled)
        one, other = (prepare(rows, operations(name)) for rows in (texts, shuffled))
        assert sorted(one.texts[row] for row in one.kept) == sorted(
            other.texts[row] for row in other.kept
        )

    @FEW
    @given(texts=TEXTS, cut=st.integers(0, 6))
    def test_operations_on_single_documents_do_not_see_shards(
        self, operations: Any, name: str, texts: list[str], cut: int
    ) -> None:
        alone = {
            key: one for key, one in operations(name).items() if isinstance(one, DocumentOperation)
        }
        whole = prepare(texts, alone)
        shards = [prepare(part, alone) for part in (texts[:cut], texts[cut:])]
        assert whole.texts == shards[0].texts + shards[1].texts
        assert whole.failed == shards[0].failed + shards[1].failed

    @pytest.mark.parametrize("size", [9_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
    def test_a_long_line_is_read(self, operations: Any, name: str, size: int) -> None:
        texts = [
            sign * (size // len(sign))
            for sign in ("a", "<a ", "[](", "*_", "&lt;", "> ", "1", "@.")
        ]
        prepared = prepare(texts, operations(name))
        assert prepared.counts["rows_read"] == len(texts)


@pytest.mark.parametrize("name", ["web", "forum", "papers"])
def test_a_preset_keeps_an_ordinary_text_once(operations: Any, name: str) -> None:
    prepared = prepare([PLAIN, f"<p>{PLAIN}</p>" if name != "papers" else PLAIN], operations(name))
    assert [prepared.texts[row] for row in prepared.kept] == [PLAIN]
    assert prepared.counts["dropped.exact_duplicates"] == 1


def test_settings_of_a_list_are_those_of_its_entries(hydra: None) -> None:
    found = resolve(["forum", {"semantic_duplicates": {"threshold": 0.5}}], "here")
    assert found[-1]["threshold"] == 0.5 and found[0]["name"] == "repair_text"
    changed = resolve({"forum": {"length": {"min_words": 2}}}, "here")
    assert next(entry for entry in changed if entry["name"] == "length")["min_words"] == 2
    assert (
        resolve(found, "here") == found and resolve("none", "here") == resolve(None, "here") == []
    )


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("forun", "there is no operation or preset `forun`; did you mean `forum`"),
        (["web", "whitespace"], "expected each operation once, found `whitespace` 2 times"),
        (
            {"forum": {"lenght": {"min_words": 2}}},
            "forum has no operation `lenght`; did you mean `length`",
        ),
    ],
)
def test_a_wrong_name_is_refused(hydra: None, node: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        resolve(node, "pool.prepare")


def test_a_wrong_setting_is_refused_by_the_constructor(hydra: None) -> None:
    entries = resolve({"length": {"min_word": 3}}, "pool.prepare")
    with pytest.raises(InvalidInput, match="no setting `min_word`; did you mean"):
        Preparation.of(entries, "pool.prepare")
