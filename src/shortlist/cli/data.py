"""The commands on data and models: `prepare`, `collect`, `check`, `fetch`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from shortlist.cli.terminal import LISTED, counted, print_rejected, shown
from shortlist.errors import InvalidInput


def prepare(options: argparse.Namespace) -> None:
    """Prints what was edited and dropped; writes the documents and the page."""
    from shortlist.overrides import composed, override
    from shortlist.picks import check_format, write_table
    from shortlist.pipeline.data_tools import prepare_documents
    from shortlist.store.atomic import write_text

    if options.out is not None:
        check_format(options.out, options.paths)
    typed = [
        "pool=files",
        override("pool.paths", options.paths),
        override("pool.text", options.text_column),
    ]
    set_apart = [setting for setting in options.hydra if setting.startswith("pool.prepare=")]
    if options.preset and set_apart:
        raise InvalidInput(
            f"expected --preset or pool.prepare, found --preset {options.preset[0]} and "
            f"{set_apart[0]}; name all operations in one of them"
        )
    if not set_apart:
        typed.append(override("pool.prepare", options.preset or ["web"]))
    with composed([*typed, *options.hydra]) as config:
        done = prepare_documents(config)
    if options.report is not None:
        write_text(options.report, done.page(", ".join(options.paths)))
    if options.out is not None and not len(done.after):
        raise InvalidInput(
            f"{options.out}: expected documents to write, found none of {len(done.before):,} kept; "
            "--report FILE shows the rules that they fail"
        )
    if options.out is not None:
        write_table(done.after.table, options.out)
    if options.json:
        print(json.dumps(done.facts, ensure_ascii=False))
        return
    facts = done.facts
    print(
        f"{facts['rows_read']:,} documents read, {facts['kept']:,} kept, {facts['dropped']:,} dropped"
    )
    for name in done.prepared.operations:
        edited, dropped = (facts.get(f"{what}.{name}", 0) for what in ("edited", "dropped"))
        print(f"  {name:<20} {edited:>9,} edited {dropped:>9,} dropped")
    for reason, count in done.left_out.items():
        print(f"  left out before: {count:,} {reason}")
    for row in done.quarantined[:LISTED]:
        print(f"    {shown(Path(row.path))}:{row.line}: {row.reason}")
    if len(done.quarantined) > LISTED:
        print(f"    and {len(done.quarantined) - LISTED:,} more: --json lists all")
    for name, path in (("documents", options.out), ("report", options.report)):
        if path is not None:
            print(f"{name:<12} {shown(path.absolute())}")


def collect(options: argparse.Namespace) -> None:
    """Writes the rows of an export."""
    import pyarrow as pa

    from shortlist.data.collections import argilla, chats, label_studio
    from shortlist.picks import check_format, write_table

    check_format(options.out, [options.path])
    if options.kind == "chats":
        if options.text_column != "text" or options.question is not None:
            raise InvalidInput(
                "chats have no --text-column and no --question, found one; leave it out"
            )
        done = chats(options.path)
    else:
        read = {"label_studio": label_studio, "argilla": argilla}[options.kind]
        done = read(options.path, options.text_column, options.question)
    if not done.rows:
        found = done.rejected[0].reason if done.rejected else counted(done.counts)
        raise InvalidInput(f"{options.path}: expected rows, found none ({found})")
    write_table(pa.Table.from_pylist([dict(row) for row in done.rows]), options.out)
    print(counted(done.counts))
    print_rejected(done.rejected)
    print(f"rows         {shown(options.out.absolute())}")


def check(options: argparse.Namespace) -> None:
    """Prints the findings on a task; writes the page and the JSON."""
    from shortlist.overrides import composed
    from shortlist.pipeline.data_tools import check, checks_json, checks_page
    from shortlist.store.atomic import write_text

    if Path(options.task).exists():
        raise InvalidInput(
            f"TASK: expected a name of conf/task, found the path {options.task}; check the task own with "
            f"task.train={options.task}, task.label=COLUMN and, unless it is text, task.text=COLUMN"
        )
    page = options.report or Path(f"check-{options.task}.html")
    plain = options.out or Path(f"check-{options.task}.json")
    with composed([f"task={options.task}", *options.hydra]) as config:
        checks = check(config)
    write_text(page, checks_page(checks))
    write_text(plain, json.dumps(checks_json(checks), ensure_ascii=False, indent=1) + "\n")
    sizes = ", ".join(f"{count:,} {split}" for split, count in checks.sizes.items())
    print(f"{checks.task}: {sizes}")
    for name, count in checks.counts.items():
        print(f"  {name.replace('_', ' '):<42} {count:>9,}")
    if checks.why_not:
        print(f"  label errors were not looked for: {checks.why_not}")
    print(f"page         {shown(page.absolute())}\nfindings     {shown(plain.absolute())}")


def score(options: argparse.Namespace) -> None:
    """Writes the scores of files by a scorer file."""
    import sys

    from shortlist import progress
    from shortlist.data.finding import find
    from shortlist.data.readers import Columns, DocumentStream
    from shortlist.distil.files import open_scorer
    from shortlist.distil.pools import score_documents
    from shortlist.picks import check_format

    check_format(options.out, options.paths)
    scorer = open_scorer(options.scorer, options.label)
    stream = DocumentStream(find(options.paths, "POOL").files, Columns(options.text_column))
    with progress.bar("scores", None, "documents", show=sys.stderr.isatty()) as report:
        count = score_documents(scorer, stream, options.out, report)
    said = scorer.description
    made = ", ".join(f"{name} {value}" for name, value in said.made.items() if name != "pool")
    print(f"scorer       {shown(options.scorer.absolute())}  {said.kind}{made and f' of {made}'}")
    if said.fidelity is not None:
        print(f"fidelity     {said.fidelity}")
    print(counted({"documents_scored": count, "rows_rejected": len(stream.rejected)}))
    print_rejected(stream.rejected)
    print(f"scores       {shown(options.out.absolute())}")


def fetch(options: argparse.Namespace) -> None:
    """Brings a model onto this machine and prints where it lies."""
    from shortlist.models.pretrained import Pretrained
    from shortlist.overrides import composed
    from shortlist.pipeline.build import build

    with composed([f"model={options.model}", *options.hydra]) as config:
        model: Pretrained = build(config.model, "model", Pretrained)
        place = model.fetch(options.source)
    print(f"model        {shown(place)}")
    if model.remark:
        print(f"note         {model.remark}")
