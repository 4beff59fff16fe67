"""The Python interface: `select`, `rank` and `evaluate` over lists, tables, data sets and files.

The functions compose the configuration that `python run.py` composes and call the same pipeline, so
equal inputs give equal ids. They read and write where the settings `paths.*` say: artifacts in
`.cache/shortlist`, a directory for each run in `outputs`.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import ShortlistError
from shortlist.overrides import path_of, run_directory
from shortlist.picks import Evaluation, Picks, Ranking
from shortlist.request import Request

if TYPE_CHECKING:
    from shortlist.core import Record
    from shortlist.data.inputs import Data, Files
    from shortlist.pipeline.forecast import Step
    from shortlist.pipeline.streaming import Streamed

# transformers imports tqdm, which misses its widgets in a notebook; `progress` needs none.
warnings.filterwarnings("ignore", "IProgress not found")


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


def stream(
    pool: Data,
    target: Data,
    budget: int | None = None,
    method: str | None = None,
    *,
    sample: int = 100_000,
    text_column: str = "text",
    target_column: str | None = None,
    domain_column: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | Iterable[str] = (),
    directory: str | Path | None = None,
) -> Streamed:
    """Returns what `select` returns, of a pool that need not fit into memory, without a record.

    Arguments are those of `select`, and `sample`: the documents of the pool that stand for it where
    the method fits on a sample (gotd, soft_knn). `settings` with `backend=processes` works on
    several files at a time.

    Raises:
        ShortlistError: an input or a setting cannot be used, or the method needs the pool as a
            whole.
    """
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.streaming import stream_selection

    request = Request(
        pool, target, budget, method, None, text_column, target_column, domain_column, seed,
        settings=settings,
    )  # fmt: skip
    with request.opened() as asked:
        place = run_directory(asked.config, directory)
        return stream_selection(open_cell(asked.config, asked.choices, place), sample)


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
    from shortlist.pipeline.candidates import choose_from
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.loading import load_data
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
    """Returns a whole cell: selection, warm-up, fine-tuning on the target's labels, metrics on
    test.

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
            runs, cache = path_of(asked.config, "runs"), path_of(asked.config, "cache")
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
