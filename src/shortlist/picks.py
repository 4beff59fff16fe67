"""What the Python interface returns: ranked documents, a selection, a cell; and their files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput, Missing

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from shortlist.core import Record

SHOWN = 5  # documents in a notebook's view
FORMATS = (".jsonl", ".parquet", ".csv")


@dataclass(frozen=True)
class Ranking:
    """Documents with their scores, best first.

    Attributes:
        ids: (k,) hashes of the texts; they may repeat where a method draws with replacement.
        scores: (k,) scores; larger is better.
        texts: (k,) texts.
        domains: (k,) domains.
        rows: (k,) row of each document in the pool that was given: of equal texts the first; empty
            where the pool was given as files.
        directory: the run's directory.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    texts: tuple[str, ...] = field(repr=False)
    domains: tuple[str, ...] = field(repr=False)
    rows: tuple[int, ...] = field(repr=False)
    directory: Path

    def __len__(self) -> int:
        return len(self.ids)

    def to_arrow(self) -> pa.Table:
        """Returns an Arrow table with the columns id, rank (from 1), score, domain and text."""
        import pyarrow as pa

        return pa.table(
            {
                "id": pa.array(self.ids, pa.string()),
                "rank": np.arange(1, len(self) + 1),
                "score": self.scores,
                "domain": pa.array(self.domains, pa.string()),
                "text": pa.array(self.texts, pa.large_string()),
            }
        )

    def to_dataset(self) -> Any:
        """Returns a `datasets.Dataset` with the columns of `to_arrow`.

        Raises:
            Missing: the package `datasets` is not installed.
        """
        try:
            from datasets import Dataset
        except ImportError as error:
            raise Missing(
                "to_dataset needs the package datasets, found none; pip install datasets"
            ) from error
        return Dataset(self.to_arrow())

    def save(self, path: str | Path) -> Path:
        """Returns `path` after writing the table there as .jsonl, .parquet or .csv.

        Raises:
            InvalidInput: the name has another ending, or nothing can be written there.
        """
        return write_table(self.to_arrow(), Path(path))

    def _repr_html_(self) -> str:
        cells = (
            f"<tr><td>{row}</td><td>{score:.4g}</td><td>{escape(domain)}</td>"
            f"<td>{escape(text[:160])}</td></tr>"
            for row, (score, domain, text) in enumerate(
                zip(self.scores[:SHOWN], self.domains, self.texts, strict=False), start=1
            )
        )
        heads = "".join(f"<th>{name}</th>" for name in ("rank", "score", "domain", "text"))
        return f"<p>{escape(repr(self))}</p><table><tr>{heads}</tr>{''.join(cells)}</table>"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} documents, {self.directory})"


@dataclass(frozen=True, repr=False)
class Picks(Ranking):
    """A selection, best first; see `Ranking` for the columns.

    Attributes:
        record: configuration, facts and costs of the run.
        command: the command that repeats it.
    """

    record: Record
    command: str

    def card(self, licence: str = "unknown", title: str = "") -> str:
        """Returns the data set card in Markdown: what was selected, from what, how to repeat it.

        Args:
            licence: the hub's identifier of the licence of the texts.
            title: name of the data set.
        """
        from shortlist.hub import dataset_card

        return dataset_card(self.record, self.command, title, licence)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = True,
        licence: str = "unknown",
        title: str = "",
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Returns the address of the commit that brings the selection to the Hugging Face hub
        (HF_ENDPOINT names another one).

        The texts go with it: look at their licence before a data set becomes public.

        Args:
            repository: `organisation/name`; made where it does not exist.
            private: whether a new data set is private.
            licence: the hub's identifier of the licence of the texts.
            title: name of the data set.
            revision: the branch; None for the main one.
            token: a token that may write; None takes that of `hf auth login`.

        Raises:
            ShortlistError: the hub cannot be reached, or refuses the commit.
        """
        import tempfile

        from shortlist.hub import push, write_folder

        page = self.directory / "report.html"
        with tempfile.TemporaryDirectory() as folder:
            files = write_folder(
                Path(folder),
                self.to_arrow(),
                self.card(licence, title),
                {page.name: page} if page.is_file() else {},
            )
            message = f"Add {len(self):,} documents selected by {self.record.axes.selector}"
            return push(
                repository, files, message,
                private=private, revision=revision, token=token,
            )  # fmt: skip

    def report(self, path: str | Path | None = None) -> Path:
        """Returns the datasheet (.html, or .md by the ending of `path`), copied to `path` if given.

        Raises:
            Missing: the run wrote none (`runtime.report=false`).
        """
        markdown = path is not None and Path(path).suffix == ".md"
        page = self.directory / ("report.md" if markdown else "report.html")
        if not page.is_file():
            raise Missing(f"expected the datasheet {page}, found none; set runtime.report=true")
        return page if path is None else Path(shutil.copyfile(page, path))


@dataclass(frozen=True)
class Evaluation:
    """A whole cell: what was selected, and what it did to the model.

    Attributes:
        picks: the selection.
        metrics: value of each metric by its name.
        record: configuration, metrics with errors and protocols, facts and costs of the run.
    """

    picks: Picks
    metrics: Mapping[str, float]
    record: Record = field(repr=False)


def check_format(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuses a file name whose ending is none of `FORMATS`, whose folder does not exist, or which is
    one of the files that are read.

    Args:
        path: the file to write.
        inputs: files, folders and patterns that are read.

    Raises:
        InvalidInput: it is such a name.
    """
    if path.suffix not in FORMATS:
        raise InvalidInput(
            f"{path}: expected a name that ends in {', '.join(FORMATS)}, found "
            f"{path.suffix or 'no ending'!r}; rename it"
        )
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"{path}: expected the folder {path.parent}, found none; make it first")
    if path.exists() and any(_reads(name, path) for name in inputs):
        raise InvalidInput(
            f"{path}: expected a file to write, found one of the files that are read; name another"
        )


def _reads(name: str | Path, path: Path) -> bool:
    """Returns whether a file, a folder or a pattern includes an existing file."""
    from shortlist.data.finding import expand

    whole = path.resolve()
    found = [Path(one).resolve() for one in expand(str(Path(name).expanduser()))]
    return any(one == whole or one in whole.parents for one in found)


def write_table(table: pa.Table, path: Path) -> Path:
    """Returns `path` after writing the table there, in one step, in the format of its ending.

    Raises:
        InvalidInput: the name has another ending, or nothing can be written there.
    """
    import csv
    import io

    import pyarrow.parquet as pq

    from shortlist.store.atomic import replacing, write_jsonl, write_text

    check_format(path)
    try:
        if path.suffix == ".jsonl":
            return write_jsonl(path, table.to_pylist())
        if path.suffix == ".csv":
            # Python's writer, because Arrow's does not round-trip a lone carriage return.
            buffer = io.StringIO(newline="")
            writer = csv.DictWriter(buffer, table.column_names)
            writer.writeheader()
            writer.writerows(table.to_pylist())
            return write_text(path, buffer.getvalue())
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return path
    except OSError as error:
        raise InvalidInput(
            f"{path}: expected a place to write to, found: {error.strerror}; choose another"
        ) from error
