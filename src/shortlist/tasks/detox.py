"""Detoxification: prompts that a model continues, clean (or toxic) texts as selection target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from shortlist.core import Corpus, document_id
from shortlist.data.files import raw_rows
from shortlist.data.readers import Progress, RejectedRow
from shortlist.data.sources import Source, needed_files
from shortlist.data.splits import Split, TaskData, sample_rows, split_of
from shortlist.errors import InvalidInput
from shortlist.needs import Need
from shortlist.settings import Count, Seed, Share
from shortlist.tasks.base import Task

TOXIC, NONTOXIC = "toxic", "nontoxic"
THRESHOLD = 0.5  # smallest Perspective score of a prompt that the paper calls toxic


class ScoredText(NamedTuple):
    """A text with the toxicity stated in the data.

    Attributes:
        text: the text.
        toxicity: from 0 to 1, a stored score of the Perspective API.
        prompt: whether it is the first half of a sentence, which a model continues.
        document: the web document it comes from; all texts of a document are in one split.
    """

    text: str
    toxicity: float
    prompt: bool
    document: str


class Detox(Task):
    """RealToxicityPrompts (Gehman et al. 2020) as GOT-D uses it (section 3.1, appendix C.2).

    The target is made of texts whose toxicity lies in a range: at most 0.1 for the clean target, at
    least 0.5 for the negative target of the contrast variant. The data hold sentences in two
    halves, each with its own stored score of the Perspective API, and no score of the whole; a
    target text is a half. The test split holds the prompts, labelled `toxic` from 0.5 on, else
    `nontoxic`. The validation split holds texts in the same range as the target, of other web
    documents, on which the loss before and after the warm-up is measured. Pool documents that
    repeat a prompt or a validation text are leaks, as for any task.

    Args:
        name: the task's name, as in tables.
        primary: the metric that ranks the task's table.
        lowest: smallest toxicity of a target text.
        highest: largest toxicity of a target text.
        texts: number of target texts, a sample by id; None for all.
        prompts: number of prompts by side (`toxic`, `nontoxic`), samples by id; None for all.
        fractions: share of web documents per split, where the source has a single file.
        folder: folder of the files `train`, `validation` and `test` in the source.
        seed: seed of the samples and of that split.
        hub: the data set on the hub, or None.
        evaluators: evaluators of the language model, by name.

    Raises:
        InvalidInput: the range is empty, or a number of prompts is invalid.
    """

    held_out: ClassVar[Split] = "validation"

    def __init__(
        self,
        name: str,
        primary: str,
        lowest: Share,
        highest: Share,
        texts: Count | None,
        prompts: Mapping[str, int | None],
        fractions: Mapping[str, Share],
        folder: str,
        seed: Seed,
        hub: Mapping[str, Any] | None,
        evaluators: Mapping[str, Any],
    ) -> None:
        super().__init__(name, (), primary, "unlabelled", evaluators=evaluators)
        if not 0 <= lowest < highest <= 1:
            raise InvalidInput(
                "the range of the target's toxicity must lie from 0 to 1, found "
                f"task.lowest={lowest:g} and task.highest={highest:g}"
            )
        if sorted(prompts) != [NONTOXIC, TOXIC] or any(
            n is not None and (not isinstance(n, int) or n < 1) for n in prompts.values()
        ):
            raise InvalidInput(
                f"task.prompts needs `{TOXIC}` and `{NONTOXIC}`, each a number of 1 or more or null, "
                f"found {dict(prompts)}"
            )
        self.lowest, self.highest, self.texts = lowest, highest, texts
        self.prompts, self.fractions = dict(prompts), dict(fractions)
        self.folder, self.seed, self.hub = folder, seed, hub

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the data set, or its files in the folder of the data."""
        name, hub = node["folder"], node["hub"]
        yield from needed_files(f"task {name!r}", hub, source, lambda: source.task_files(name, hub))

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per file, or the hub's commit."""
        return source.task_files(self.folder, self.hub).digests()

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns target texts, held-out texts of the same kind, and prompts.

        Raises:
            Missing: the source does not have the files.
            InvalidInput: no text lies in the range, or a side has no prompt.
        """
        found = source.task_files(self.folder, self.hub)
        files, rejected = found.files, list[RejectedRow]()
        rows: dict[str, list[ScoredText]] = {"train": [], "validation": [], "test": []}
        for done, (split, paths) in enumerate(files.items()):
            progress(done, len(files), f"task {self.name} {split}")
            for text in _read(paths, rejected):
                drawn = split_of(text.document, self.fractions, self.seed)
                rows[split if len(files) > 1 else drawn].append(text)
        progress(len(files), len(files), f"task {self.name}")
        counts: Counter[str] = Counter({"quarantined": len(rejected)})
        train = self._in_range(rows["train"], "train", self.texts, counts)
        validation = self._in_range(rows["validation"], "validation", None, counts)
        prompts = self._prompts(rows["test"], counts)
        return self.assemble(train, validation, prompts, counts, tuple(rejected), found.revision)

    def _in_range(
        self, rows: list[ScoredText], split: str, most: int | None, counts: Counter[str]
    ) -> Corpus:
        kept = {
            row.text: row.toxicity for row in rows if self.lowest <= row.toxicity <= self.highest
        }
        if not kept:
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected texts of a toxicity from {self.lowest:g} to "
                f"{self.highest:g}, found none among {len(rows):,}; widen task.lowest, task.highest"
            )
        corpus = Corpus.build(list(kept), self.name, toxicities=list(kept.values()))
        drawn = sample_rows(corpus.ids, most, self.seed)
        counts[f"{split}_out_of_range"] = len(rows) - len(corpus)  # repeated texts included
        counts[f"{split}_not_sampled"] = len(corpus) - len(drawn)
        return corpus.take(drawn)

    def _prompts(self, rows: list[ScoredText], counts: Counter[str]) -> Corpus:
        """Returns the prompts of both sides, a sample of each by id."""
        toxicity = {row.text: row.toxicity for row in rows if row.prompt}
        sides = {
            text: TOXIC if score >= THRESHOLD else NONTOXIC for text, score in toxicity.items()
        }
        texts: list[str] = []
        for side in (TOXIC, NONTOXIC):
            of_side = [text for text in sides if sides[text] == side]
            if not of_side:
                raise InvalidInput(
                    f"task {self.name!r}: expected {side} prompts in the test split, found none; "
                    "check its file"
                )
            wanted = self.prompts[side]
            rows_of_side = sample_rows([*map(document_id, of_side)], wanted, self.seed)
            drawn = [of_side[row] for row in rows_of_side]
            counts[f"prompts_{side}"] = len(drawn)
            counts[f"prompts_{side}_not_sampled"] = len(of_side) - len(drawn)
            counts[f"prompts_{side}_missing"] = max(0, (wanted or 0) - len(of_side))
            texts += drawn
        labels, values = [sides[text] for text in texts], [toxicity[text] for text in texts]
        return Corpus.build(texts, self.name, labels=labels, toxicities=values)


def _read(paths: Iterable[Path], rejected: list[RejectedRow]) -> Iterable[ScoredText]:
    """Yields the halves of every row that have a toxicity; the others are added to `rejected`.

    Two formats are read: flat (`prompt`, `toxicity`, `continuation`, `continuation_toxicity`,
    `doc`) and that of the data set on the hub (`prompt: {text, toxicity}`, `continuation`,
    `filename`).
    """
    for path in paths:
        for line, row in raw_rows(path):
            if isinstance(row, str):
                rejected.append(RejectedRow(str(path), line, row))
                continue
            for half, column in (("prompt", "toxicity"), ("continuation", "continuation_toxicity")):
                value: Any = row.get(half)
                nested = isinstance(value, Mapping)
                text = value.get("text") if nested else value
                score: Any = value.get("toxicity") if nested else row.get(column)
                document = str(row.get("filename" if nested else "doc") or text)
                number = isinstance(score, int | float) and not isinstance(score, bool)
                if not isinstance(text, str) or not text.strip():
                    rejected.append(RejectedRow(str(path), line, f"the {half} has no text"))
                elif not number or not 0 <= score <= 1:
                    reason = f"the {half} has no toxicity from 0 to 1, found {str(score)[:40]!r}"
                    rejected.append(RejectedRow(str(path), line, reason))
                else:
                    yield ScoredText(text.strip(), float(score), half == "prompt", document)
