"""The Python interface: `select`, `rank` and `evaluate` over lists, tables, data sets and files.

The functions compose the configuration that `python run.py` composes and call the same pipeline, so
equal inputs give equal ids. They read and write where the settings `paths.*` say: artifacts in
`.cache/shortlist`, a directory for each run in `outputs`.
"""

from __future__ import annotations

import logging
import re
import shlex
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput, Missing, ShortlistError, near

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from omegaconf import DictConfig

    from shortlist.core import Record
    from shortlist.data.inputs import Data, Files
    from shortlist.pipeline.forecast import Step

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # texts that Hydra's grammar takes without quotes
log = logging.getLogger(__name__)
SHOWN = 5  # documents in a notebook's view


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


def select(
    pool: Data,
    target: Data,
    budget: int | None = None,
    method: str | None = None,
    *,
    unit: str | None = None,
    text_column: str = "text",
    target_column: str | None = None,
    domain_column: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    directory: str | Path | None = None,
    command: str = "",
) -> Picks:
    """Returns the documents of `pool` that a method selects for the texts of `target`.

    All texts of the target count (`task.holdout=0`). None leaves a setting to the configuration.
    An encoder reads only the documents that the budget may reach (`cascade=on`); `settings` with
    `cascade=off` has it read all.

    Args:
        pool: a list of texts; rows as a list of dictionaries; a pyarrow, pandas or polars table; a
            `datasets.Dataset`; a path or pattern; a list of `pathlib.Path`; the folder of a saved
            data set; `hf:ORGANISATION/NAME[@REVISION][/PATTERN]`.
        target: texts like those that the model is to become good at, likewise.
        budget: how much is selected.
        method: an option of the group `selector`; `shortlist methods` lists them.
        unit: what the budget counts, `documents` or `tokens`.
        text_column: column of the text in the pool.
        target_column: column of the text in the target; None: as in the pool, or `text` where the
            target lacks that one.
        domain_column: column of the domain in the pool; None: the name of the file.
        seed: seed of methods that draw.
        settings: further settings, by name, or as Hydra's overrides (`["selector.cost=cosine"]`).
        directory: the run's directory; None: a new one in `paths.runs`.
        command: the command that repeats the selection, for the datasheet.

    Raises:
        ShortlistError: an input or a setting cannot be used; the message says what to do.
    """
    request = Request(
        pool, target, budget, method, unit, text_column, target_column, domain_column, seed,
        settings=settings, cascade=True,
    )  # fmt: skip
    return _run(request, directory, command)


def rank(
    pool: Data,
    target: Data,
    method: str | None = None,
    *,
    text_column: str = "text",
    target_column: str | None = None,
    domain_column: str | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
) -> Ranking:
    """Returns all documents of `pool` that may be selected, with a method's scores, best first.

    Documents without a score stand last, with the score -inf. Arguments are those of `select`.

    Raises:
        ShortlistError: an input or a setting cannot be used.
    """
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.data import choose_from, load_data
    from shortlist.pipeline.prefilter import prefilter
    from shortlist.pipeline.selection import rank as rank_candidates
    from shortlist.stats.sampling import order

    request = Request(
        pool, target, None, method, None, text_column, target_column, domain_column, None,
        settings=settings,
    )  # fmt: skip
    with request.opened() as asked:
        place = run_directory(asked.config, None)
        cell = open_cell(asked.config, asked.choices, place)
        data = load_data(cell)
        candidates = choose_from(cell, data, prefilter(cell, data))
        ranking = rank_candidates(
            cell, data, candidates, cell.parts.selector, cell.settings["selector"]
        )
        total = ranking.combined.total
    rows = order(total.values, total.id_bits)
    rows = rows[candidates.selectable[rows]]
    corpus = candidates.corpus.take(rows)
    texts = tuple(corpus.texts)
    return Ranking(
        tuple(corpus.ids),
        total.values[rows],
        texts,
        tuple(corpus.domains),
        _rows_of(texts, asked.pool),
        place,
    )


def evaluate(
    pool: Data,
    target: Data,
    budget: int | None = None,
    method: str | None = None,
    *,
    label_column: str = "label",
    test: Data = None,
    validation: Data = None,
    unit: str | None = None,
    text_column: str = "text",
    target_column: str | None = None,
    domain_column: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    directory: str | Path | None = None,
    command: str = "",
) -> Evaluation:
    """Returns a whole cell: selection, warm-up, fine-tuning on the target's labels, metrics on test.

    Args:
        pool: as in `select`.
        target: labelled examples, as in `select`.
        budget: how much is selected.
        method: an option of the group `selector`.
        label_column: column of the label in the target.
        test: test examples; None cuts them from the target.
        validation: validation examples; None cuts them from the target.
        unit: what the budget counts.
        text_column: column of the text in the pool.
        target_column: column of the text in the target; None: as in the pool, or `text` where the
            target lacks that one.
        domain_column: column of the domain in the pool.
        seed: seed of everything that is drawn.
        settings: further settings, as in `select`.
        directory: the run's directory.
        command: the command that repeats the run, for the datasheet.

    Raises:
        ShortlistError: an input or a setting cannot be used.
    """
    request = Request(
        pool, target, budget, method, unit, text_column, target_column, domain_column, seed,
        "evaluate", label_column, test, validation, settings,
    )  # fmt: skip
    picks = _run(request, directory, command)
    metrics = {metric.name: metric.value for metric in picks.record.metrics}
    return Evaluation(picks, metrics, picks.record)


@dataclass(frozen=True)
class Request:
    """What is asked for, before it is settings; the fields are the arguments of `evaluate`.

    Attributes:
        until: `select` reads no labels and writes its records under `paths.runs`.
    """

    pool: Data
    target: Data
    budget: int | None = None
    method: str | None = None
    unit: str | None = None
    text_column: str = "text"
    target_column: str | None = None
    domain_column: str | None = None
    seed: int | None = None
    until: str = "select"
    label_column: str | None = None
    test: Data = None
    validation: Data = None
    settings: Mapping[str, Any] | Iterable[str] = ()
    cascade: bool = False

    @contextmanager
    def opened(self) -> Generator[Opened]:
        """Returns a context whose value is the request as a configuration; Hydra's state is as before
        afterwards.

        Raises:
            ShortlistError: the method is unknown, or an input or a setting cannot be used.
        """
        from omegaconf import OmegaConf

        check_method(self.method)
        values: dict[str, Any] = {
            "pool": "files",
            "pool.text": self.text_column,
            "pool.domain": self.domain_column,
            "task": "own",
            "task.text": self.target_column or self.text_column,
            "task.label": self.label_column,
            "selector": self.method,
            "budget": self.budget,
            "budget_unit": self.unit,
            "seed": self.seed,
            "until": self.until,
        }
        if self.until == "select":
            values |= {"task.holdout": 0, "paths.results": "${paths.runs}"}
        further = self.settings
        if isinstance(further, Mapping):
            further = [override(name, value) for name, value in further.items()]
        further = [*further]
        if self.cascade and not any(text.startswith("cascade=") for text in further):
            values["cascade"] = "on"
        asked = [override(name, value) for name, value in values.items() if value is not None]
        with composed([*asked, *further]) as config:
            folder = Path(config.paths.cache).expanduser().absolute() / "inputs"
            files, pool = self._files(folder, config.task.text)
            for name, value in files.items():
                OmegaConf.update(config, name, value)
            named = [override(name, value) for name, value in files.items()]
            yield Opened(config, (*asked, *named, *further), pool)

    def _files(self, folder: Path, column: str) -> tuple[dict[str, Any], Files]:
        """Returns the settings that name files, and the pool as files.

        Args:
            folder: where inputs go that are no files.
            column: the target's column of the text as it is set. Where none was asked for, and the
                target lacks that of the pool but has the column `text`, that one is read.
        """
        from shortlist.data.inputs import column_of, given

        found = column
        if self.target_column is None and column == self.text_column:
            found = column_of(self.target, column, Request.text_column)
        pool = given(self.pool, folder, "pool", [self.text_column], _named(self.domain_column))
        columns = [found, *_named(self.label_column)]
        files: dict[str, Any] = {"pool.paths": list(pool.paths)}
        if found != column:
            files["task.text"] = found
            log.warning("the target has no column %r: its column %r is read", column, found)
        for split, data in (
            ("train", self.target), ("test", self.test), ("validation", self.validation),
        ):  # fmt: skip
            if split == "train" or data is not None:
                name = "target" if split == "train" else split
                paths = given(data, folder, name, columns).paths
                if len(paths) != 1:
                    raise InvalidInput(
                        f"{name}: expected one file, found {len(paths)}; name one of them, or join them"
                    )
                files[f"task.{split}"] = paths[0]
        return {**files, "task.name": _stem(files["task.train"])}, pool


@dataclass(frozen=True)
class Opened:
    """A request as a configuration.

    Attributes:
        config: the composed configuration.
        overrides: the overrides that give it.
        pool: the pool as files.
    """

    config: DictConfig
    overrides: tuple[str, ...]
    pool: Files

    @property
    def choices(self) -> dict[str, str]:
        """Which option of each group was chosen."""
        return dict(self.config.hydra.runtime.choices)


def plan(
    pool: Data,
    target: Data,
    budget: int | None = None,
    method: str | None = None,
    **arguments: Any,
) -> tuple[Step, ...]:
    """Returns the stages that `select` would run with these arguments, and what is stored of them.

    Pool and target are read; nothing else is computed but the vectors of a small sample.

    Raises:
        ShortlistError: an input or a setting cannot be used, or the work would not fit into memory.
    """
    import tempfile

    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.forecast import forecast_selection

    request = Request(pool, target, budget, method, **arguments, cascade=True)
    with request.opened() as asked, tempfile.TemporaryDirectory() as directory:
        return forecast_selection(open_cell(asked.config, asked.choices, Path(directory)))


def input_folder(settings: Iterable[str]) -> Path:
    """Returns the folder for inputs that are no files, under the cache that `settings` name."""
    with composed([text for text in settings if text.startswith("paths.")]) as config:
        return Path(config.paths.cache).expanduser().absolute() / "inputs"


def methods() -> tuple[str, ...]:
    """Returns the names of the methods, sorted."""
    from shortlist.config import folder

    return tuple(sorted(path.stem for path in (folder() / "selector").glob("*.yaml")))


def check_method(name: str | None) -> None:
    """Refuses a method that does not exist.

    Raises:
        InvalidInput: there is none of this name; near ones are named.
    """
    if name is not None and name not in methods():
        raise InvalidInput(
            f"there is no method `{name}`; {near(name, methods())} (`shortlist methods` lists them)"
        )


def override(name: str, value: object) -> str:
    """Returns `NAME=VALUE` in Hydra's grammar; texts are quoted where they need it."""
    return f"{name}={_literal(value)}"


def _literal(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    reference = text.startswith("${") and text.endswith("}")
    plain = _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf")
    if not isinstance(value, str | Path) or reference or plain:
        return text
    escaped = text.replace("${", "\\${")
    # In Hydra's grammar backslashes are escapes before a quote alone.
    pieces = escaped.split("'")
    doubled = [piece + "\\" * (len(piece) - len(piece.rstrip("\\"))) for piece in pieces]
    return "'" + "\\'".join(doubled) + "'"


def _named(column: str | None) -> list[str]:
    return [] if column is None else [column]


def _stem(path: str) -> str:
    from shortlist.data.files import stem

    try:
        return stem(path)
    except InvalidInput:  # said with the others when the file is read
        return "own"


@contextmanager
def composed(overrides: Sequence[str]) -> Generator[DictConfig]:
    """Returns a context whose value is the configuration; Hydra's state is as before afterwards.

    Raises:
        InvalidInput: an override cannot be applied.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from shortlist.config import folder
    from shortlist.pipeline.hydra_app import describe

    _register()
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        with initialize_config_dir(str(folder()), version_base="1.3"):
            try:
                config = compose("config", overrides=list(overrides), return_hydra_config=True)
            except (HydraException, OmegaConfBaseException) as error:
                raise InvalidInput(describe(error, overrides)) from error
            yield config
    finally:
        GlobalHydra.instance().hydra = before


@cache
def _register() -> None:
    from shortlist.config import folder, register

    register(folder())


def run_directory(config: DictConfig, directory: str | Path | None) -> Path:
    """Returns the directory of a run: the given one, or a new one in `paths.runs`."""
    from shortlist.pipeline.hydra_app import sweep_name
    from shortlist.store.atomic import make_directory

    runs = Path(config.paths.runs).expanduser().absolute()
    chosen = runs / sweep_name() if directory is None else Path(directory).expanduser().absolute()
    return make_directory(chosen, "paths.runs")


def _run(request: Request, directory: str | Path | None, command: str) -> Picks:
    """Returns the selection of a finished run.

    Raises:
        ShortlistError: it failed, or the method cannot serve the task.
    """
    from shortlist.pipeline.cell import execute
    from shortlist.store.atomic import write_text

    def raised(entry: logging.LogRecord) -> bool:
        return entry.msg != "error: %s"  # the reason is raised below

    cell_log = logging.getLogger("shortlist.pipeline.cell")
    cell_log.addFilter(raised)
    try:
        with request.opened() as asked:
            runs = Path(asked.config.paths.runs).expanduser().absolute()
            cache = Path(asked.config.paths.cache).expanduser().absolute()
            new = [path for path in (runs, cache.parent, cache) if not path.exists()]
            place = run_directory(asked.config, directory)
            command = command or shlex.join(["shortlist", "run", "--", *asked.overrides])
            record = execute(asked.config, asked.choices, asked.overrides, place, command=command)
    finally:
        cell_log.removeFilter(raised)
    if record.status != "done":
        # Of a refusal nothing stays that its reason does not name; a fault keeps its traceback.
        if request.until == "select" and directory is None and str(place) not in record.reason:
            _withdraw(place, runs, record)
        for path in reversed(new):
            _prune(path)
        raise ShortlistError(record.reason)
    picks = _picks(record, place, asked.pool, command)
    write_text(place / "card.md", picks.card())
    return picks


def _withdraw(place: Path, runs: Path, record: Record) -> None:
    """Deletes the directory of a refused selection if it holds its record alone, and that record."""
    from shortlist.store.records import record_path

    if {path.name for path in place.iterdir()} <= {"record.json", "traceback.txt"}:
        kept = record_path(runs, record)
        own = (place / "record.json").read_bytes()
        if kept.is_file() and kept.read_bytes() == own:  # not an earlier selection of this cell
            kept.unlink()
        shutil.rmtree(place)


def _prune(folder: Path) -> None:
    """Deletes a folder and those in it, as far as they are empty."""
    for path in (*sorted(folder.glob("**/"), reverse=True), folder):
        with suppress(OSError):
            path.rmdir()


def _picks(record: Record, directory: Path, given: Files, command: str) -> Picks:
    from shortlist.store.atomic import read_jsonl

    documents = read_jsonl(directory / "shortlist.jsonl")
    texts = tuple(row["text"] for row in documents)
    return Picks(
        tuple(row["id"] for row in documents),
        np.array([row["score"] for row in documents], dtype=np.float64),
        texts,
        tuple(row["domain"] for row in documents),
        _rows_of(texts, given),
        directory,
        record,
        command,
    )


def _rows_of(texts: Sequence[str], given: Files) -> tuple[int, ...]:
    """Returns the row of each text in the pool that was given in memory; () for files."""
    from shortlist.data.inputs import texts_of

    if given.table is None:
        return ()
    wanted, first = set(texts), dict[str, int]()
    for row, text in enumerate(texts_of(given.table, given.table.column_names[0])):
        if isinstance(text, str) and text in wanted:
            first.setdefault(text, row)
    return tuple(first[text] for text in texts)


FORMATS = (".jsonl", ".parquet", ".csv")


def check_format(path: Path) -> None:
    """Refuses a file name whose ending is none of `FORMATS`, or whose folder does not exist.

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


def write_table(table: pa.Table, path: Path) -> Path:
    """Returns `path` after writing the table there, in one step, in the format of its ending.

    Raises:
        InvalidInput: the name has another ending, or nothing can be written there.
    """
    import csv
    import io

    import pyarrow.parquet as pq

    from shortlist.store.atomic import write_jsonl, write_text

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
        temporary = path.with_name(f".{path.name}")
        pq.write_table(table, temporary, compression="zstd")
        return temporary.replace(path)
    except OSError as error:
        raise InvalidInput(
            f"{path}: expected a place to write to, found: {error.strerror}; choose another"
        ) from error
