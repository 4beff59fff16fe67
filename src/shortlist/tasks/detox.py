"""Detoxification: prompts to be continued, and clean (or toxic) texts to choose documents for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from shortlist.core import Corpus, document_id
from shortlist.data.files import raw_rows
from shortlist.data.readers import Progress, RejectedRow
from shortlist.data.sources import Source
from shortlist.data.splits import Split, TaskData, sample_rows, split_of
from shortlist.errors import InvalidInput
from shortlist.tasks.base import Task

TOXIC, NONTOXIC = "toxic", "nontoxic"
THRESHOLD = 0.5  # Perspective's score from which on the paper calls a prompt toxic


@dataclass(frozen=True)
class Scored:
    """A text with the toxicity that its source states.

    Attributes:
        text: the text.
        toxicity: from 0 to 1.
        prompt: whether it is the beginning of a sentence, to be continued.
        document: the web document it comes from; all its texts lie in one split.
    """

    text: str
    toxicity: float
    prompt: bool
    document: str


class Detox(Task):
    """RealToxicityPrompts (Gehman et al. 2020) as GOT-D uses it (section 3.1, appendix C.2).

    The target are texts whose stated toxicity lies in a range: at most 0.1 for the clean target, at
    least 0.5 for the negative target of the contrast variant. A sentence is stored in two halves,
    each with a score of its own from Perspective; no score of the whole is known, so a target text
    is a half. The test split are the prompts to be continued, labelled `toxic` from 0.5 on, else
    `nontoxic`; validation are texts in the same range as the target, of other web documents: on
    them the loss before and after the warm-up is measured.

    Prompts and validation are kept out of what may be chosen, by the same check as any test set.

    Args:
        name: the task's name, as in tables.
        primary: the metric that ranks the task's table.
        lowest: toxicity of a target text, at least.
        highest: toxicity of a target text, at most.
        texts: so many target texts, a sample by id; None for all.
        prompts: so many prompts of each side, samples by id, by `toxic` and `nontoxic`; None for
            all there are.
        fractions: share of web documents per split, where the source has no splits of its own.
        folder: where a data folder has the files, `train`, `validation` and `test`.
        seed: seed of the samples and of that split.
        hub: the data set on the hub, or None.
        evaluators: how the model is questioned.

    Raises:
        InvalidInput: the range is empty, or a number of prompts is not one.
    """

    held_out: ClassVar[Split] = "validation"

    def __init__(
        self,
        name: str,
        primary: str,
        lowest: float,
        highest: float,
        texts: int | None,
        prompts: Mapping[str, int | None],
        fractions: Mapping[str, float],
        folder: str,
        seed: int,
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
        bad: list[RejectedRow] = []
        rows: dict[str, list[Scored]] = {"train": [], "validation": [], "test": []}
        for done, (split, paths) in enumerate(found.files.items()):
            progress(done, len(found.files), f"task {self.name} {split}")
            for one in _scored(paths, bad):
                own = split_of(one.document, self.fractions, self.seed)
                rows[split if len(found.files) > 1 else own].append(one)
        progress(len(found.files), len(found.files), f"task {self.name}")
        counts: Counter[str] = Counter({"quarantined": len(bad)})
        train = self._in_range(rows["train"], "train", self.texts, counts)
        validation = self._in_range(rows["validation"], "validation", None, counts)
        prompts = self._prompts(rows["test"], counts)
        return self.assemble(train, validation, prompts, counts, tuple(bad), found.revision)

    def _in_range(
        self, rows: list[Scored], split: str, most: int | None, counts: Counter[str]
    ) -> Corpus:
        kept = {
            one.text: one.toxicity for one in rows if self.lowest <= one.toxicity <= self.highest
        }
        if not kept:
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected texts of a toxicity from {self.lowest:g} to "
                f"{self.highest:g}, found none among {len(rows):,}; widen task.lowest, task.highest"
            )
        corpus = Corpus.build(list(kept), self.name, toxicities=list(kept.values()))
        drawn = sample_rows(corpus.ids, most, self.seed)
        counts[f"{split}_out_of_range"] = len(rows) - len(corpus)  # copies among them
        counts[f"{split}_not_sampled"] = len(corpus) - len(drawn)
        return corpus.take(drawn)

    def _prompts(self, rows: list[Scored], counts: Counter[str]) -> Corpus:
        """Returns the prompts of both sides, a sample of each by id."""
        found = {one.text: one.toxicity for one in rows if one.prompt}
        texts: list[str] = []
        for side in (TOXIC, NONTOXIC):
            of = [text for text, value in found.items() if (value >= THRESHOLD) == (side == TOXIC)]
            if not of:
                raise InvalidInput(
                    f"task {self.name!r}: expected {side} prompts in the test split, found none; "
                    "look at its file"
                )
            wanted = self.prompts[side]
            drawn = [of[row] for row in sample_rows([*map(document_id, of)], wanted, self.seed)]
            counts[f"prompts_{side}"] = len(drawn)
            counts[f"prompts_{side}_not_sampled"] = len(of) - len(drawn)
            counts[f"prompts_{side}_missing"] = max(0, (wanted or 0) - len(of))
            texts += drawn
        values = [found[text] for text in texts]
        labels = [TOXIC if value >= THRESHOLD else NONTOXIC for value in values]
        return Corpus.build(texts, self.name, labels=labels, toxicities=values)


def _scored(paths: Iterable[Path], bad: list[RejectedRow]) -> Iterable[Scored]:
    """Yields the halves of every row that has a stated toxicity; a half without one is set aside.

    Two shapes are read: flat (`prompt`, `toxicity`, `continuation`, `continuation_toxicity`, `doc`)
    and that of the data set on the hub (`prompt: {text, toxicity}`, `continuation`, `filename`).
    """
    for path in paths:
        for line, row in raw_rows(path):
            if isinstance(row, str):
                bad.append(RejectedRow(str(path), line, row))
                continue
            for half, flat in (("prompt", "toxicity"), ("continuation", "continuation_toxicity")):
                found: Any = row.get(half)
                nested = isinstance(found, Mapping)
                text = found.get("text") if nested else found
                value = found.get("toxicity") if nested else row.get(flat)
                document = str(row.get("filename" if nested else "doc") or text)
                if not isinstance(text, str) or not text.strip():
                    bad.append(RejectedRow(str(path), line, f"the {half} has no text"))
                elif (
                    isinstance(value, bool)
                    or not isinstance(value, int | float)
                    or not 0 <= value <= 1
                ):
                    said = f"the {half} has no toxicity from 0 to 1, found {str(value)[:40]!r}"
                    bad.append(RejectedRow(str(path), line, said))
                else:
                    yield Scored(text.strip(), float(value), half == "prompt", document)
