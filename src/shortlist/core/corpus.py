"""Documents under the hash of their content, and vectors that know whose they are."""

# pyarrow and scipy.sparse carry no type stubs: what comes out of them is unknown to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from shortlist.errors import ForeignFeatures, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

# Masses are kept to the digits of float32: beyond its range they would become infinite or 0.
SMALLEST_MASS, LARGEST_MASS = (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max))
ID_CHARACTERS = 24  # 96 bits: among 10^8 documents a collision has a chance of about 10^-13


def document_id(text: str, text_b: str | None = None, label: object = None, repeat: int = 0) -> str:
    """Returns the id of a document: 24 hexadecimal digits of the BLAKE2b hash of its content.

    Args:
        text: the text, or the first text of a pair.
        text_b: the second text of a pair.
        label: the label of a labelled example (the same text under two labels is two examples).
        repeat: 0 for the first of several equal rows of one corpus, then 1, 2, ...
    """
    if (text_b, label, repeat) == (None, None, 0):
        content = f"[{encode_basestring(text)}]"  # what json.dumps gives, in a fifth of the time
    else:
        content = json.dumps(
            [text, text_b, label, repeat], ensure_ascii=False, separators=(",", ":")
        )
    raw = content.encode("utf-8", "surrogatepass")
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
            (second text of a pair), `label` (string or float), `licence`, `toxicity` (float, 0 to
            1), `mass` (float: how much a document counts). May be memory-mapped.
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
        toxicities: Sequence[float] | None = None,
        masses: Sequence[float] | NDArray[Any] | None = None,
    ) -> Corpus:
        """Returns the corpus of these rows, in this order, ids computed from the content.

        Equal rows stay: the k-th repeat of a row has an id of its own (hash of content and k).

        Raises:
            InvalidInput: the columns differ in length, or a mass is negative or not finite.
        """
        n = len(texts)
        columns: dict[str, Any] = {
            "text": texts,
            "domain": [domains] * n if isinstance(domains, str) else domains,
        }
        optional = {
            "text_b": texts_b, "label": labels, "licence": licences, "toxicity": toxicities,
            "mass": masses,
        }  # fmt: skip
        for name, column in optional.items():
            if column is not None:
                columns[name] = column
        for name, column in columns.items():
            if len(column) != n:
                raise InvalidInput(
                    f"a corpus needs columns of one length: text has {n} rows, {name} has {len(column)}"
                )
        if masses is not None:
            _check_masses(np.asarray(masses, dtype=np.float64))
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
        columns = {"id": ids, **columns}
        for name in ("id", "text", "domain"):  # of no row pyarrow could not tell the type
            columns[name] = pa.array(columns[name], pa.string())
        return Corpus(pa.table(columns))

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

    def utf8(self, start: int, stop: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Returns the texts of rows `start` to `stop` as bytes, one after the other, and the
        (n + 1,) offsets where each begins and the last one ends: no string is made of them.
        """
        rows = self.table["text"].slice(start, stop - start).cast(pa.large_string())
        array = pa.concat_arrays(rows.chunks) if rows.num_chunks else pa.array([], rows.type)
        _, places, data = array.buffers()
        offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
        first = int(offsets[0]) if len(array) else 0
        raw = np.frombuffer(data or b"", np.uint8)[first : int(offsets[-1]) if len(array) else 0]
        return raw, offsets - first

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

    @property
    def masses(self) -> NDArray[np.float64] | None:
        """How much each document counts, (n,), or None where they count alike."""
        if "mass" not in self.table.column_names:
            return None
        return np.array(self.table["mass"].to_numpy(), dtype=np.float64)

    def trait(self, name: str) -> list[Any] | None:
        """Returns `licence` or `toxicity` of each document, or None where it is not known."""
        return self.table[name].to_pylist() if name in self.table.column_names else None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ordered ids and domains, and of masses, licences and toxicities where there
        are some: two corpora are the same exactly if it is.
        """
        parts: list[str | bytes] = [*self.ids, "domains", *self.domains]
        if self.masses is not None:
            parts += ["masses", self.masses.tobytes()]
        for name in ("licence", "toxicity"):
            column = self.trait(name)
            parts += [] if column is None else [name, *map(str, column)]
        return digest(parts)

    def id_bits(self) -> NDArray[np.uint64]:
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

    def joined(self) -> list[str]:
        """Returns the texts; those of a pair as one, with a line break between them."""
        if self.texts_b is None:
            return self.texts
        return [f"{a}\n{b}" for a, b in zip(self.texts, self.texts_b, strict=True)]

    def unlabelled(self) -> Corpus:
        """Returns one document per distinct text, without labels; a pair is joined by a line break.

        Masses of equal texts are added.
        """
        texts = self.joined()
        domain = dict(zip(reversed(texts), reversed(self.domains), strict=True))
        unique = list(dict.fromkeys(texts))
        masses = None if self.masses is None else added_masses(texts, self.masses.tolist(), unique)
        domains = [domain[text] for text in unique]
        return Corpus.build(unique, domains, masses=masses).canonical()


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _check_masses(masses: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~(np.isfinite(masses) & (masses >= 0)))
    if len(bad):
        raise InvalidInput(
            f"masses of 0 or more were expected, found {masses[bad[0]]} in row {int(bad[0])} "
            f"({len(bad):,} such rows); repair or leave them out"
        )


def added_masses(
    keys: Sequence[Any], masses: Sequence[float], wanted: Sequence[Any]
) -> NDArray[np.float64]:
    """Returns the sum of the masses of each wanted key, (len(wanted),).

    Correctly rounded sums, kept to float32's digits: no order of the rows, and hardly any cut of
    them into files, leaves a trace.

    Raises:
        InvalidInput: a sum is beyond the range of float32.
    """
    of: dict[Any, list[float]] = {}
    for key, mass in zip(keys, masses, strict=True):
        of.setdefault(key, []).append(mass)
    sums = [_sum(of[key]) for key in wanted]
    for key, total in zip(wanted, sums, strict=True):
        if not (total == 0 or SMALLEST_MASS <= total <= LARGEST_MASS):
            raise InvalidInput(
                f"masses that add up to 0, or to {SMALLEST_MASS:.3g} to {LARGEST_MASS:.3g}, were "
                f"expected, found {total:.3g} over the {len(of[key])} copies of "
                f"{str(key)[:40]!r}; scale the masses"
            )
    return np.array(sums, dtype=np.float32).astype(np.float64)


@dataclass(frozen=True)
class Features:
    """Vectors of the documents of one corpus, row for row.

    Attributes:
        values: (n, d) float array, dense (may be memory-mapped) or CSR.
        corpus: fingerprint of the corpus the rows belong to.
        featurizer: key of the stage that computed them.
        documents: the corpus itself, where `of` has joined the two: for methods that look at
            texts, lengths or domains.
    """

    values: NDArray[Any] | csr_array
    corpus: str
    featurizer: str
    documents: Corpus | None = None

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

    @property
    def dense(self) -> NDArray[Any]:
        """The values, where they are dense.

        Raises:
            InvalidInput: they are sparse counts.
        """
        if not isinstance(self.values, np.ndarray):
            raise InvalidInput(
                f"dense vectors were expected, found sparse counts of {self.dimension:,} columns; "
                "choose another featurizer, such as featurizer=transformer"
            )
        return np.asarray(self.values)

    def of(self, corpus: Corpus) -> Features:
        """Returns these vectors joined to `corpus`, if the rows belong to it.

        Raises:
            ForeignFeatures: they belong to another one, or their number differs.
        """
        if self.corpus != corpus.fingerprint or len(self) != len(corpus):
            raise ForeignFeatures(
                f"features belong to corpus {self.corpus[:12]} ({len(self):,} rows), expected corpus "
                f"{corpus.fingerprint[:12]} ({len(corpus):,} documents); compute them from this corpus again"
            )
        return replace(self, documents=corpus)
