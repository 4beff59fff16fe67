"""The interface of operations, and how a sequence of them is applied to a collection of texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from shortlist.kernels.words import WORDS

MAX_PASSES = 10
UNSTABLE = "unstable"


class Verdict(NamedTuple):
    """What an operation returns for one document.

    Attributes:
        text: the text, edited or as it was.
        failed: names of the rules that the document fails; one suffices to drop it.
    """

    text: str
    failed: tuple[str, ...] = ()


class Text:
    """One text with its words, computed when first asked for and shared by several operations."""

    def __init__(self, value: str) -> None:
        self.value = value

    @cached_property
    def words(self) -> list[str]:
        """The runs of word characters and the runs of other signs between white space."""
        return WORDS.findall(self.value)

    @cached_property
    def joined_lengths(self) -> tuple[list[int], int]:
        """The characters of each word, and their sum."""
        sizes = list(map(len, self.words))
        return sizes, sum(sizes)


class Operation:
    """One step of a preparation. Settings stand in `conf/prepare/NAME.yaml`.

    Attributes:
        version: raised when the same settings would give another result.
    """

    version: ClassVar[int] = 1

    def identity(self) -> dict[str, str]:
        """Returns digests by name of the files that the operation reads."""
        return {}


class DocumentOperation(Operation, ABC):
    """An operation whose result for a document depends on that document alone."""

    @abstractmethod
    def apply(self, document: Text) -> Verdict:
        """Returns the document's text and the rules that it fails."""


class CollectionOperation(Operation, ABC):
    """An operation that compares documents; it receives those that no earlier rule has dropped.

    The result for a document must not depend on the order of the others.

    Attributes:
        edits: whether it edits documents, beside dropping some.
    """

    edits: ClassVar[bool] = False

    @abstractmethod
    def apply(self, texts: Sequence[str]) -> list[Verdict]:
        """Returns one verdict per text."""


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation, row for row.

    Attributes:
        texts: (n,) the text of every row after the last operation that it reached.
        failed: (n,) the failed rules of every row as `OPERATION.RULE`, in the order of the
            operations; a row without any is kept. Rules of one document are all recorded, also
            after the first failure; comparisons see only documents that have failed none.
        edited: (n,) names of the operations that changed the text of every row.
        operations: names of the operations, in order.
    """

    texts: tuple[str, ...]
    failed: tuple[tuple[str, ...], ...]
    edited: tuple[tuple[str, ...], ...]
    operations: tuple[str, ...]

    @property
    def kept(self) -> list[int]:
        """The rows that fail no rule, ascending."""
        return [row for row, failed in enumerate(self.failed) if not failed]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of rows: `rows_read` = `kept` + `dropped`; rows edited and dropped by operation
        (a dropped row is counted at the first rule that it fails), and rows that fail each rule.
        """
        kept = len(self.kept)
        counts = {"rows_read": len(self.texts), "kept": kept, "dropped": len(self.texts) - kept}
        edited = Counter(name for row in self.edited for name in row)
        dropped = Counter(row[0].split(".")[0] for row in self.failed if row)
        for name in (*self.operations, UNSTABLE):
            counts |= {f"edited.{name}": edited[name]} if edited[name] else {}
            counts |= {f"dropped.{name}": dropped[name]} if dropped[name] else {}
        rules = Counter(rule for row in self.failed for rule in row)
        return counts | {f"failed.{rule}": count for rule, count in sorted(rules.items())}


def prepare(texts: Sequence[str], operations: Mapping[str, Operation]) -> Prepared:
    """Returns the texts after the operations, in order, and which rules each one failed.

    The operations are applied again to the texts that they have changed until nothing changes, so
    that preparing the result changes nothing. A document that still changes after `MAX_PASSES`
    passes (an entity that is escaped many times over) fails the rule `unstable`.

    Args:
        texts: n texts; any strings, also empty ones, and with lone surrogates.
        operations: the operations by name.
    """
    return _Run(texts, operations).result()


class _Run:
    """One call of `prepare`.

    Attributes:
        current: the present text of each row.
        failed: the failed rules of each row.
        edited: the operations that changed each row.
        changed: rows whose text the present pass has changed.
    """

    def __init__(self, texts: Sequence[str], operations: Mapping[str, Operation]) -> None:
        self.operations = operations
        self.current = list(texts)
        self.failed: list[dict[str, None]] = [{} for _ in texts]
        self.edited: list[dict[str, None]] = [{} for _ in texts]
        self.changed: set[int] = set()
        self._compared: dict[str, list[str]] = {}

    def result(self) -> Prepared:
        """Returns the state after the last pass."""
        pending = list(range(len(self.current)))
        for _ in range(MAX_PASSES):
            self.changed = set()
            self._one_pass(pending)
            pending = sorted(row for row in self.changed if not self.failed[row])
            if not pending:
                break
        for row in pending:
            self.failed[row][UNSTABLE] = None
        return Prepared(
            tuple(self.current),
            tuple(map(tuple, self.failed)),
            tuple(map(tuple, self.edited)),
            tuple(self.operations),
        )

    def _one_pass(self, pending: Sequence[int]) -> None:
        group: dict[str, DocumentOperation] = {}
        for name, operation in self.operations.items():
            if isinstance(operation, DocumentOperation):
                group[name] = operation
                continue
            self._each(pending, group)
            group = {}
            assert isinstance(operation, CollectionOperation)
            self._compare(name, operation)
        self._each(pending, group)

    def _each(self, rows: Sequence[int], group: Mapping[str, DocumentOperation]) -> None:
        """Applies operations on single documents to the rows, document by document.

        A row that a comparison has dropped is not looked at again.
        """
        for row in rows if group else ():
            if any(name.split(".")[0] not in group for name in self.failed[row]):
                continue
            document = Text(self.current[row])
            for name, operation in group.items():
                self._note(row, name, operation.apply(document))
                if self.current[row] is not document.value:
                    document = Text(self.current[row])

    def _compare(self, name: str, operation: CollectionOperation) -> None:
        """Applies a comparison to the remaining rows, unless they are as it left them."""
        rows = [row for row, failed in enumerate(self.failed) if not failed]
        texts = [self.current[row] for row in rows]
        if self._compared.get(name) == texts:
            return
        for row, verdict in zip(rows, operation.apply(texts), strict=True):
            self._note(row, name, verdict)
        self._compared[name] = [self.current[row] for row in rows if not self.failed[row]]

    def _note(self, row: int, name: str, verdict: Verdict) -> None:
        if verdict.text != self.current[row]:
            self.current[row] = verdict.text
            self.edited[row][name] = None
            self.changed.add(row)
        for rule in verdict.failed:
            self.failed[row][f"{name}.{rule}"] = None
