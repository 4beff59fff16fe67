"""The commands on texts that come back from use: `feedback` and `drift`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from shortlist.cli.terminal import counted, print_rejected, shown


def export(options: argparse.Namespace) -> None:
    """Writes the texts that are most worth a label."""
    from shortlist.deploy.item_files import FORMATS, format_of
    from shortlist.deploy.labelling import export_items
    from shortlist.store.atomic import write_text

    form = format_of(options.out, options.format)
    done = export_items(
        options.run, options.by, options.count, options.hydra,
        measure=options.measure, pool=options.pool, text=options.text_column,
    )  # fmt: skip
    write_text(options.out, FORMATS[form](done))
    print(counted(done.counts))
    largest, least = done.items[0].score, done.items[-1].score
    print(f"{len(done.items):,} texts by {done.measure}, from {largest:.4f} to {least:.4f}")
    print(f"nearest texts by vectors of: {done.vectors}")
    print(f"items        {shown(options.out.absolute())}")


def import_(options: argparse.Namespace) -> None:
    """Writes the corrections that can join the training texts."""
    from shortlist.deploy.feedback import import_feedback

    done = import_feedback(
        options.file, options.run, options.out, options.hydra, options.text_column
    )
    facts = {
        "round": done.round, "earlier": done.earlier, "kept": done.kept, **done.read.counts,
        **done.screened.counts,
    }  # fmt: skip
    if options.json:
        print(json.dumps(facts))
        return
    print(counted(done.read.counts))
    print_rejected(done.read.rejected)
    for fate, count in done.screened.counts.items():
        if count:
            print(f"  left out: {count:,} {fate.replace('_', ' ')}")
    print(f"round {done.round}: {done.kept:,} new corrections, {done.earlier:,} of earlier rounds")
    if done.left_out is not None:
        print(f"left out     {shown(done.left_out.absolute())}")
    print(f"feedback     {shown(options.out.absolute())}: -- task.feedback={options.out}")


def rounds(options: argparse.Namespace) -> None:
    """Prints the rounds and writes their page."""
    from shortlist.deploy.runs import read_run
    from shortlist.diagnostics.datasheet.page import html
    from shortlist.diagnostics.feedback_page import rounds_of, rounds_page
    from shortlist.store.atomic import write_text

    records = [read_run(run)[1] for run in options.run]
    metric, found = rounds_of(records)
    for one in found:
        interval = "" if one.low is None else f" ({one.low:.4f} to {one.high:.4f})"
        print(
            f"round {one.number}: {metric} {one.value:.4f}{interval}, {one.examples:,.10g} training texts, "
            f"{one.joined:,.10g} corrections, {one.conflicting:,.10g} conflicts"
        )
    write_text(options.out, html(rounds_page(records[0].axes.task, metric, found)))
    print(f"page         {shown(options.out.absolute())}")


def drift(options: argparse.Namespace) -> None:
    """Prints whether texts have drifted, and writes the page."""
    from shortlist.deploy.drift import compare
    from shortlist.diagnostics.drift import DriftSettings
    from shortlist.store.atomic import write_text

    settings = DriftSettings(
        permutations=options.permutations, alpha=options.alpha, clusters=options.clusters,
        seed=options.seed,
    )  # fmt: skip
    done = compare(
        options.old, options.new, settings, options.hydra, documents=options.documents,
        vectors_of=options.vectors, text=options.text_column,
    )  # fmt: skip
    if options.out is not None:
        write_text(options.out, done.page(f"{options.new} against {options.old}"))
    if options.json:
        print(json.dumps(done.facts, ensure_ascii=False))
        return
    found, test = done.drift, done.drift.test
    print(found.sentence)
    (low, high), (p_low, p_high) = test.null_interval, test.p_interval
    print(
        f"  divergence {test.value:.4g}; 95 % of {len(test.null)} random deals: {low:.4g} to {high:.4g}"
    )
    print(f"  p {test.p:.3g} (95 % interval of its estimate: {p_low:.3g} to {p_high:.3g})")
    print(f"  {counted(done.counts)}")
    for one in found.clusters:
        print(
            f"  cluster {one.number}: {one.old_share:6.1%} old {one.new_share:6.1%} new, difference "
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f} points, p {one.p:.3g}"
        )
    if options.out is not None:
        print(f"page         {shown(options.out.absolute())}")


def add(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to a parser, whose function `command` makes one."""
    feedback = command("feedback", export, "choose texts to label, and read the labels back")
    kinds = feedback.add_subparsers(title="commands", metavar="COMMAND", required=True)

    one = command(
        "export", export, "write the texts that are most worth a label, each with its reasons",
        "shortlist feedback export RUN --by uncertain --pool texts.jsonl --out items.json\n"
        "shortlist feedback export RUN_A RUN_B --by disagreement --pool texts.jsonl --out items.csv\n"
        "shortlist feedback export RUN --by loss --out items.json -- paths.data=DATA",
        kinds,
    )  # fmt: skip
    one.add_argument("run", type=Path, nargs="+", metavar="RUN",
        help="fine-tuned runs whose models predict; the first gives task and nearest texts")  # fmt: skip
    one.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
        help="the items: .json (Label Studio), .csv or .jsonl")  # fmt: skip
    one.add_argument("--by", choices=("uncertain", "disagreement", "loss"), default="uncertain",
        help="least certain, runs disagree most, or labelled validation items of largest loss "
        "(default: uncertain)")  # fmt: skip
    one.add_argument("--measure", metavar="NAME",
        help="entropy or margin of uncertain, mutual_information or vote_entropy of disagreement "
        "(default: the first)")  # fmt: skip
    one.add_argument("--count", type=int, default=50, metavar="N", help="how many (default: 50)")
    one.add_argument("--format", choices=("labelstudio", "csv", "jsonl"),
        help="that of the items (default: by the name of --out)")  # fmt: skip
    one.add_argument("--pool", type=Path, nargs="+", default=[], metavar="FILE",
        help="texts without labels, or the log of shortlist serve")  # fmt: skip
    _text_column(one)
    two = command(
        "import", import_, "read labels back, and write what the next run learns from",
        "shortlist feedback import export.json --run RUN --out feedback.jsonl\n"
        "shortlist run -- task.feedback=feedback.jsonl ...\n"
        "Reads exports of Label Studio, rows with text and label, and the log of shortlist serve. "
        "Corrections of\nearlier rounds are those of the run. Contradictions, and copies of validation "
        "and test texts, are left out.",
        kinds,
    )  # fmt: skip
    two.add_argument("file", type=Path, metavar="FILE", help="the labels")
    two.add_argument("--run", type=Path, required=True, metavar="RUN",
        help="a fine-tuned run of the task, the last round's")  # fmt: skip
    two.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
        help="the corrections of all rounds, JSON Lines")  # fmt: skip
    _text_column(two)
    two.add_argument("--json", action="store_true", help="print the counts as JSON")
    three = command(
        "rounds", rounds, "show the metric of each round of feedback",
        "shortlist feedback rounds RUN_0 RUN_1 RUN_2 --out rounds.html",
        kinds,
    )  # fmt: skip
    three.add_argument("run", type=Path, nargs="+", metavar="RUN",
        help="runs of one task, of one or more rounds and seeds")  # fmt: skip
    three.add_argument("-o", "--out", type=Path, default=Path("rounds.html"), metavar="FILE",
        help="the page (default: rounds.html)")  # fmt: skip
    _add_drift(command)


def _add_drift(command: Callable[..., argparse.ArgumentParser]) -> None:
    one = command(
        "drift", drift, "compare the texts that a model serves with those it was trained on",
        "shortlist drift outputs/RUN served.sqlite --out drift.html\n"
        "shortlist drift train.jsonl new.jsonl --json\n"
        "OLD and NEW are files of texts, the log of shortlist serve, or a run: its training texts.",
    )  # fmt: skip
    one.add_argument(
        "old", type=Path, metavar="OLD", help="the texts that the model was trained on"
    )
    one.add_argument("new", type=Path, metavar="NEW", help="the texts that it reads now")
    one.add_argument("-o", "--out", type=Path, metavar="FILE", help="write a page there")
    one.add_argument("--json", action="store_true", help="print everything as JSON")
    one.add_argument("--documents", type=int, default=400, metavar="N",
        help="most texts of each side, a sample by id (default: 400)")  # fmt: skip
    one.add_argument("--permutations", type=int, default=199, metavar="N",
        help="random deals of the null distribution (default: 199)")  # fmt: skip
    one.add_argument("--alpha", type=float, default=0.05, metavar="P",
        help="level of the test (default: 0.05)")  # fmt: skip
    one.add_argument("--clusters", type=int, default=8, metavar="K",
        help="most clusters (default: 8)")  # fmt: skip
    one.add_argument("--vectors", default="static", metavar="NAME",
        help="the featurizer: static, transformer, ngrams, ... (default: static)")  # fmt: skip
    one.add_argument("--seed", type=int, default=0, metavar="N",
        help="seed of samples, deals and clusters (default: 0)")  # fmt: skip
    _text_column(one)


def _text_column(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--text-column", default="text", metavar="NAME",
        help="column or key of the text (default: text)")  # fmt: skip
