"""The five things that travel: Corpus, Features, Selection, Metric, Record. Frozen, small, no I/O.

One rule holds them together: a document *is* its content. Its id is a hash of it, a corpus is the
hash of its ordered ids, and whatever is computed from a corpus carries that hash. Joining two
things that do not belong together is refused by name instead of pairing row 17 with somebody else's
vector.
"""
# pyarrow and scipy.sparse carry no type stubs: what comes out of them is unknown to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from shortlist.errors import ForeignFeatures, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

ID_CHARACTERS = 24  # 96 bits: among 10^8 documents a collision has a chance of about 10^-13


def document_id(text: str, text_b: str | None = None, label: object = None, repeat: int = 0) -> str:
    """Returns the id of a document: 24 hexadecimal digits of the BLAKE2b hash of its content.

    Args:
        text: the text, or the first text of a pair.
        text_b: the second text of a pair.
        label: the label of a labelled example (the same text under two labels is two examples).
        repeat: 0 for the first of several equal rows of one corpus, then 1, 2, ...
    """
    content = (
        [text] if (text_b, label, repeat) == (None, None, 0) else [text, text_b, label, repeat]
    )
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    return hashlib.blake2b(raw, digest_size=ID_CHARACTERS // 2).hexdigest()


def digest(parts: Iterable[str | bytes]) -> str:
    """Returns 24 hexadecimal digits that stand for the ordered `parts`."""
    state = hashlib.blake2b(digest_size=ID_CHARACTERS // 2)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "little"))
        state.update(raw)
    return state.hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, each under the hash of its content.

    Attributes:
        table: Arrow columns `id`, `text`, `domain` (strings) and, where the corpus has them,
            `text_b`
            (second text of a pair), `label` (string or float) and `licence`. May be memory-mapped.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        missing = {"id", "text", "domain"} - set(self.table.column_names)
        if missing:
            raise InvalidInput(
                f"a corpus needs the columns id, text, domain; missing: {sorted(missing)}"
            )

    @staticmethod
    def build(
        texts: Sequence[str],
        domains: Sequence[str] | str = "",
        *,
        texts_b: Sequence[str] | None = None,
        labels: Sequence[Any] | None = None,
        licences: Sequence[str] | None = None,
    ) -> Corpus:
        """Returns the corpus of these rows, in this order, ids computed from the content.

        Equal rows stay: the k-th repeat of a row has an id of its own (hash of content and k).

        Raises:
            InvalidInput: the columns differ in length.
        """
        n = len(texts)
        columns: dict[str, Any] = {
            "text": texts,
            "domain": [domains] * n if isinstance(domains, str) else domains,
        }
        for name, column in (("text_b", texts_b), ("label", labels), ("licence", licences)):
            if column is not None:
                columns[name] = column
        for name, column in columns.items():
            if len(column) != n:
                raise InvalidInput(
                    f"a corpus needs columns of one length: text has {n} rows, {name} has {len(column)}"
                )
        seen: Counter[tuple[Any, Any, Any]] = Counter()
        ids: list[str] = []
        for row in range(n):
            content = (
                texts[row],
                texts_b[row] if texts_b is not None else None,
                labels[row] if labels is not None else None,
            )
            ids.append(document_id(*content, repeat=seen[content]))
            seen[content] += 1
        return Corpus(pa.table({"id": pa.array(ids, pa.string()), **columns}))

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def ids(self) -> list[str]:
        """The ids, one string a document."""
        return self.table["id"].to_pylist()

    @property
    def texts(self) -> list[str]:
        """The texts (of a pair: the first)."""
        return self.table["text"].to_pylist()

    @property
    def texts_b(self) -> list[str] | None:
        """The second texts, or None where the documents are single texts."""
        return self.table["text_b"].to_pylist() if "text_b" in self.table.column_names else None

    @property
    def domains(self) -> list[str]:
        """The domain of each document."""
        return self.table["domain"].to_pylist()

    @property
    def labels(self) -> list[Any] | None:
        """The labels (strings, or floats for a regression), or None where there are none."""
        return self.table["label"].to_pylist() if "label" in self.table.column_names else None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ordered ids and domains: two corpora are the same exactly if it is."""
        return digest([*self.ids, "domains", *self.domains])

    def id_words(self) -> NDArray[np.uint64]:
        """Returns the first 64 bits of each id, shape (n,): the entropy for per-document
        randomness.
        """
        return np.array([int(key[:16], 16) for key in self.ids], dtype=np.uint64)

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Corpus:
        """Returns the documents at `rows`, in that order."""
        return Corpus(self.table.take(pa.array(np.asarray(rows, dtype=np.int64))))

    def canonical(self) -> Corpus:
        """Returns the same documents sorted by id: how rows were ordered or sharded leaves no
        trace.
        """
        return self.take(np.argsort(np.array(self.ids, dtype=f"U{ID_CHARACTERS}"), kind="stable"))

    def unlabelled(self) -> Corpus:
        """Returns one document per distinct text, without labels; a pair is joined by a line break."""
        texts = self.texts
        if self.texts_b is not None:
            texts = [f"{a}\n{b}" for a, b in zip(texts, self.texts_b, strict=True)]
        domain = dict(zip(reversed(texts), reversed(self.domains), strict=True))
        unique = list(dict.fromkeys(texts))
        return Corpus.build(unique, [domain[text] for text in unique]).canonical()


@dataclass(frozen=True)
class Features:
    """Vectors of the documents of one corpus, row for row.

    Attributes:
        values: (n, d) float array, dense (may be memory-mapped) or CSR.
        corpus: fingerprint of the corpus the rows belong to.
        featurizer: key of the stage that computed them.
    """

    values: NDArray[Any] | csr_array
    corpus: str
    featurizer: str

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def dimension(self) -> int:
        """Number of columns d."""
        return int(self.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (n, d) of the values."""
        return tuple(self.values.shape or ())

    def of(self, corpus: Corpus) -> Features:
        """Returns self if the rows belong to `corpus`.

        Raises:
            ForeignFeatures: they belong to another one, or their number differs.
        """
        if self.corpus != corpus.fingerprint or len(self) != len(corpus):
            raise ForeignFeatures(
                f"features belong to corpus {self.corpus[:12]} ({len(self):,} rows), expected corpus "
                f"{corpus.fingerprint[:12]} ({len(corpus):,} documents); compute them from this corpus again"
            )
        return self


@dataclass(frozen=True)
class Budget:
    """How much may be selected: `amount` documents, or tokens where `unit` says so."""

    amount: int
    unit: Literal["documents", "tokens"] = "documents"

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise InvalidInput(
                f"budget must be at least 1 {self.unit.rstrip('s')}, found {self.amount}; set budget=N"
            )


@dataclass(frozen=True)
class Selection:
    """The documents that were chosen, best first.

    Attributes:
        ids: (k,) ids; may repeat where the method samples with replacement.
        scores: (k,) score of each; larger was chosen first.
        weights: (k,) how much each counts in training.
        corpus: fingerprint of the pool it was chosen from.
        budget: what was asked for.
        why: one sentence on how they were chosen.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    corpus: str
    budget: Budget
    why: str

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.scores) == len(self.weights):
            raise InvalidInput(
                f"a selection needs one score and one weight per id: {len(self.ids)} ids, "
                f"{len(self.scores)} scores, {len(self.weights)} weights"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of ids and weights in order: equal hashes train equal models."""
        state = hashlib.sha256("\n".join(self.ids).encode())
        state.update(np.ascontiguousarray(self.weights).tobytes())
        return state.hexdigest()

    def of(self, corpus: Corpus) -> Corpus:
        """Returns the chosen documents out of the pool, best first.

        Raises:
            ForeignFeatures: `corpus` is not the pool the selection was made from.
        """
        if self.corpus != corpus.fingerprint:
            raise ForeignFeatures(
                f"selection was made from pool {self.corpus[:12]}, found pool {corpus.fingerprint[:12]}; "
                "select from this pool again"
            )
        row = {key: index for index, key in enumerate(corpus.ids)}
        return corpus.take([row[key] for key in self.ids])


# What a unit allows: lowest and highest value. A percentage where a fraction belongs is refused.
UNITS: Mapping[str, tuple[float, float]] = {
    "fraction": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "nats": (0.0, math.inf),
    "nats_gained": (-math.inf, math.inf),
    "perplexity": (1.0, math.inf),
    "seconds": (0.0, math.inf),
    "count": (0.0, math.inf),
}


@dataclass(frozen=True)
class Metric:
    """One measured number and how it was measured.

    Attributes:
        name: the field's standard term (`accuracy`, `macro_f1`, `mlm_loss_after`, ...).
        unit: a key of `UNITS`; values outside its range are refused.
        higher_is_better: direction of improvement.
        value: the number.
        n: how many items it was measured on.
        stderr: standard error over these items, where it is known.
        split: the split it was measured on.
        protocol: hash of how it was measured; different protocols never share a column.
        primary: whether it ranks the table of its task.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    n: int
    stderr: float | None = None
    split: str = "test"
    protocol: str = ""
    primary: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InvalidInput(
                f"metric {self.name} has unit {self.unit!r}, expected one of: {', '.join(UNITS)}"
            )
        low, high = UNITS[self.unit]
        if not low <= self.value <= high:
            raise InvalidInput(
                f"metric {self.name} is a {self.unit} and must lie in "
                f"[{low:g}, {high:g}], found: {self.value}"
            )


@dataclass(frozen=True)
class Axes:
    """Where a cell stands in a table."""

    task: str
    pool: str
    selector: str
    featurizer: str
    model: str
    budget: int
    budget_unit: str
    seed: int


@dataclass(frozen=True)
class StageCost:
    """What one stage of a cell cost when it was computed, whether now or earlier."""

    stage: str
    key: str
    seconds: float
    peak_mib: float
    device: str


Status = Literal["done", "skipped", "failed"]


READS = "read."  # prefix, among a record's inputs, of what its key is a hash of


@dataclass(frozen=True)
class Record:
    """Everything that is known of one cell: what ran, what came out, what it cost, on what input.

    Attributes:
        key: hash of the configuration (hashed groups only) and of what is read; the file's name.
        status: `done`, `skipped` (the method does not apply) or `failed`; `reason` says why.
        axes: the cell's place in a table.
        until: the stage the cell stopped after (`select`, `warmup`, `finetune`, `evaluate`).
        metrics: what was measured.
        stages: cost of each stage, in order.
        selection: `size`, `unique`, `sha256`, `domains` (documents per domain), and `fit`: what the
            selector reports of its fit, such as the certificate of a transport solve.
        inputs: fingerprints and digests of what went in (pool, target, model, hub commits).
        counts: what was left out on the way, by name (quarantined rows, exact copies, leaks, ...).
        warnings: what a reader of the numbers must know (a solve that did not converge, ...).
        code: version, commit, lock file, interpreter and libraries.
        config: the resolved configuration, hashed groups only.
        overrides: what was typed, of the hashed groups.
        started: UTC, ISO 8601.
    """

    key: str
    status: Status
    axes: Axes
    until: str = "evaluate"
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    stages: tuple[StageCost, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    started: str = ""
    schema: int = 1

    @property
    def reads(self) -> dict[str, str]:
        """The digests of pool, task and model that the key is a hash of."""
        return {name: value for name, value in self.inputs.items() if name.startswith(READS)}

    def metric(self, name: str) -> Metric | None:
        """Returns the metric called `name`, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> str:
        """Returns the record as sorted, indented JSON that ends in a line break."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Record:
        """Returns the record that `to_json` wrote.

        Raises:
            InvalidInput: the text is no record of this schema.
        """
        try:
            raw = json.loads(text)
            if raw.get("schema") != 1:
                raise InvalidInput(
                    f"a record of schema 1 was expected, found schema {raw.get('schema')!r}"
                )
            raw["axes"] = Axes(**raw["axes"])
            raw["metrics"] = tuple(Metric(**metric) for metric in raw["metrics"])
            raw["stages"] = tuple(StageCost(**stage) for stage in raw["stages"])
            raw["warnings"] = tuple(raw["warnings"])
            raw["overrides"] = tuple(raw["overrides"])
            return Record(**raw)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise InvalidInput(f"not a record: {error}") from error
