"""The console script `shortlist`. It composes the configuration that `run.py` composes and calls the
same pipeline; nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput, Missing, ShortlistError
from shortlist.pipeline.signals import Stopped, raised

if TYPE_CHECKING:
    from shortlist.picks import Picks

DONE, REFUSED = 0, 1
EXIT_CODES = """exit codes:
  0    done
  1    an input, a setting or the machine does not allow it: one line says which, and what to do
  2    the command is not understood
  130  stopped by ctrl-C, 143 by SIGTERM; the same command continues where it stopped
  Any other failure is a fault of the program and shows a traceback (exit code 1)."""

# What a message of the pipeline calls a setting, and what this command line calls it.
SETTINGS = {
    r"(set )?task\.text=COLUMN \(pool=files: set pool\.text=COLUMN\)": "name it with "
    "--text-column COLUMN (that of the target with --target-column)",
    r"\bpool\.text=": "--text-column ",
    r"\btask\.text=": "--target-column ",
    r"\bpool\.domain=": "--domain-column ",
    r"\btask\.train=": "--target ",
    r"\bpool\.paths: ": "pool: ",
    r"\bbudget=(\d[\d,]*)": r"--budget \1",
    r"\bselector=": "--method ",
    r"\b((?:runtime|paths|leaks|selector|featurizer|model|task|pool)\.[a-z_.]+=)": r"-- \1",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; see `EXIT_CODES`."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    cut = typed.index("--") if "--" in typed else len(typed)
    options = _parser().parse_args(typed[:cut])
    options.hydra = typed[cut + 1 :]
    options.typed = typed
    try:
        with raised():
            return options.command(options) or DONE
    except Stopped as stopped:
        how = f"stopped by {signal.Signals(stopped.number).name}"
        print(f"error: {how}; the same command continues where it stopped", file=sys.stderr)
        return 128 + stopped.number
    except BrokenPipeError:  # the reader of the output has seen enough
        sys.stderr.close()
        return DONE
    except ShortlistError as error:
        print(f"error: {_as_typed_here(' '.join(str(error).split()))}", file=sys.stderr)
        return REFUSED


def _as_typed_here(message: str) -> str:
    """Returns a message with the settings named as this command line names them."""
    for pattern, name in SETTINGS.items():
        message = re.sub(pattern, name, message)
    return message


def _parser() -> argparse.ArgumentParser:
    from shortlist import __version__

    parser = argparse.ArgumentParser(
        prog="shortlist",
        description="Selects the documents of a pool that a pre-trained model should read before it "
        "is fine-tuned on your task.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"shortlist {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int | None], text: str, more: str = ""
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\n{more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=run)
        return added

    after = (
        "What stands after `--` are settings in Hydra's grammar: -- selector.relative_epsilon=0.05"
    )
    select = command("select", _select, "select documents for a target", after)
    _add_inputs(select)
    select.add_argument(
        "-o", "--out", type=Path, metavar="FILE",
        help="write the selection there: .jsonl, .parquet or .csv; `-` prints JSON lines. With "
        "several methods the name holds {method}",
    )  # fmt: skip
    select.add_argument(
        "--dry-run", action="store_true",
        help="print the stages, what is stored already, and a forecast of time and memory",
    )  # fmt: skip
    select.add_argument("--json", action="store_true", help="print the summary as JSON")
    compare = command("compare", _compare, "select by several methods and compare the picks", after)
    _add_inputs(compare)

    run = command(
        "run", _run, "run one cell: select, warm up, fine-tune, evaluate (as run.py does)",
        "shortlist run -- task=own task.train=t.jsonl selector=gotd selector.relative_epsilon=0.05\n"
        "shortlist run -- --help    lists every group and setting",
    )  # fmt: skip
    sweep = command(
        "sweep", _sweep, "run the cells of a grid (as run.py -m does)",
        "shortlist sweep -- selector=gotd,dsir,random budget=1000,5000 seed=0,1",
    )  # fmt: skip
    explain = command(
        "explain", _explain, "say which file set each option and value",
        "shortlist explain -- selector=gotd",
    )  # fmt: skip
    trainings = command(
        "plan", _trainings, "say what warm-up and fine-tuning would take, before they are run",
        "shortlist plan -- finetune.layer_decay=0.9 budget=2000\n"
        "Parameter groups with their rates, frozen share, tokens, steps, memory, time; measured on a few "
        "batches.",
    )  # fmt: skip
    for one in (run, sweep, explain, trainings):
        one.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="in Hydra's grammar")

    command(
        "leaderboard", _leaderboard, "print and write the comparison tables of the records",
        "shortlist leaderboard -- --help            what it takes\n"
        "shortlist leaderboard -- diff RUN_A RUN_B  two selections side by side",
    ).add_argument("arguments", nargs="*", metavar="ARGUMENT")  # fmt: skip
    ensemble = command(
        "ensemble", _ensemble, "average the predictions of cells that differ in the seed alone",
        "shortlist ensemble -- paths.cache=outputs/cache\n"
        "Writes a record for each ensemble, a row of its own in the tables, with its gain over the mean of "
        "its cells,\npaired by test item.",
    )  # fmt: skip
    ensemble.add_argument("--results", type=Path, metavar="DIR",
        help="the directory that contains records/ (default: paths.results)")  # fmt: skip
    report = command("report", _report, "print the datasheet of a run, and where its page is")
    report.add_argument(
        "run", type=Path, nargs="?", metavar="RUN",
        help="directory of the run (default: the newest in outputs/)",
    )  # fmt: skip
    prepare = command(
        "prepare", _prepare, "clean, filter and deduplicate documents",
        "shortlist prepare posts/*.jsonl.gz --preset forum --out clean.parquet --report prep.html\n"
        "shortlist prepare posts.csv -p forum -p anonymise --out clean.jsonl\n"
        "Operations and presets: conf/prepare. After `--`: -- 'pool.prepare=[{length: {min_words: 3}}]'",
    )  # fmt: skip
    add = prepare.add_argument
    add("paths", nargs="+", metavar="FILE", help="files, patterns or folders of documents")
    add(
        "-p",
        "--preset",
        action="append",
        default=[],
        metavar="NAME",
        help="a preset (web, forum, papers, none) or an operation; may be repeated (default: web)",
    )
    add("-o", "--out", type=Path, metavar="FILE", help="prepared documents: .jsonl, .parquet, .csv")
    add("--report", type=Path, metavar="FILE", help="a page on what was edited and dropped")
    add("-c", "--text-column", default="text", metavar="NAME", help="(default: text)")
    add("--json", action="store_true", help="print the counts as JSON")
    collect = command(
        "collect", _collect, "turn an export of an annotation tool, or chats, into rows",
        "shortlist collect label_studio export.json --out rows.jsonl\n"
        "shortlist collect argilla records.json --out rows.jsonl\n"
        "shortlist collect chats conversations.jsonl --out texts.jsonl",
    )  # fmt: skip
    collect.add_argument("kind", choices=("label_studio", "argilla", "chats"), help="what it is")
    collect.add_argument("path", type=Path, metavar="FILE", help="the export: JSON or JSON Lines")
    collect.add_argument("-o", "--out", type=Path, required=True, metavar="FILE",
        help="rows with text and label: .jsonl, .parquet, .csv")  # fmt: skip
    collect.add_argument("-c", "--text-column", default="text", metavar="NAME",
        help="key of the text in the export (default: text)")  # fmt: skip
    collect.add_argument("--question", metavar="NAME",
        help="the question or control whose answer is the label, where there are several")  # fmt: skip
    check = command(
        "check", _check, "check a task: labels, contradictions, copies across splits, lengths",
        "shortlist check chemprot -- paths.data=DATA\n"
        "shortlist check own -- task.train=mine.csv task.label=label",
    )  # fmt: skip
    check.add_argument("task", metavar="TASK", help="a task of conf/task")
    check.add_argument("--report", type=Path, metavar="FILE",
        help="the page (default: check-TASK.html)")  # fmt: skip
    check.add_argument("--out", type=Path, metavar="FILE",
        help="all findings as JSON (default: check-TASK.json)")  # fmt: skip
    methods = command("methods", _methods, "list the methods: what they need, cost, paper")
    form = methods.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print them as JSON")
    form.add_argument("--names", action="store_true", help="print the names alone")
    command("doctor", _doctor, "check this machine: versions, device, memory, models, extras")
    completion = command(
        "completion", _completion, "print the completion script of a shell",
        'bash: eval "$(shortlist completion bash)"\nzsh:  eval "$(shortlist completion zsh)"\n'
        "fish: shortlist completion fish | source",
    )  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="POOL",
        help="files, patterns, folders of saved data sets, hf:ORGANISATION/NAME, or - (standard "
        "input): .jsonl, .csv, .parquet, .txt, .md, plain or compressed")  # fmt: skip
    add("--pool", action="append", default=[], metavar="POOL", help="likewise; may be repeated")
    add("-t", "--target", required=True, metavar="FILE",
        help="texts like those that the model is to become good at")  # fmt: skip
    add("-n", "--budget", type=_number, metavar="N", help="how much is selected (default: 500)")
    add("--unit", choices=("documents", "tokens"), help="what the budget counts")
    add("-m", "--method", default=None, metavar="NAME[,NAME]",
        help="see `shortlist methods` (default: gotd)")  # fmt: skip
    add("-c", "--text-column", default="text", metavar="NAME",
        help="column of the text (default: text)")  # fmt: skip
    add(
        "--target-column",
        metavar="NAME",
        help="that of the target (default: that of the pool, or text where the target lacks it)",
    )
    add("--domain-column", metavar="NAME", help="column of the domain (default: the file's name)")
    add("--seed", type=_number, metavar="N", help="seed of methods that draw (default: 0)")
    add("--directory", type=Path, metavar="DIR",
        help="the run's directory (default: a new one in outputs/)")  # fmt: skip
    volume = parser.add_mutually_exclusive_group()
    volume.add_argument("-q", "--quiet", action="store_true", help="no progress, no messages")
    volume.add_argument("-v", "--verbose", action="store_true", help="a line for each stage")


def _number(text: str) -> int:
    try:
        return int(text.replace(",", "_"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}") from None


def _select(options: argparse.Namespace) -> None:
    from shortlist.picks import check_format

    methods = _chosen(options)
    out = None if options.out is None or str(options.out) == "-" else options.out
    if len(methods) > 1 and options.out is not None and "{method}" not in str(options.out):
        raise InvalidInput(
            f"{options.out}: one file for {len(methods)} methods; put {{method}} into its name, as "
            "in picks-{method}.jsonl"
        )
    if out is not None:
        check_format(out)
    if options.dry_run:
        _plan(options, methods)
        return
    for method, picks in _picks_of(options, methods):
        written = None
        if out is not None:
            written = picks.save(Path(str(out).replace("{method}", method)))
        if options.out is not None and out is None:
            for row in picks.to_arrow().to_pylist():
                print(json.dumps(row, ensure_ascii=False))
            _print_summary(picks, written, sys.stderr)
        elif options.json:
            print(json.dumps(_facts(picks, written), ensure_ascii=False))
        else:
            _print_summary(picks, written, sys.stdout)


def _compare(options: argparse.Namespace) -> None:
    from rich.table import Table

    methods = _chosen(options)
    if len(methods) < 2:
        raise InvalidInput("compare needs two methods or more: --method gotd,dsir,random")
    done = _picks_of(options, methods)
    table = Table(title=None, header_style="bold")
    for head in ("method", "picks", "domains", "uncovered", "selection", *methods):
        table.add_column(head, justify="left" if head == "method" else "right")
    for name, picks in done:
        facts = _facts(picks, None)
        uncovered = "" if facts["targets"] is None else f"{facts['uncovered']:,}"
        shared = [
            f"{len(set(picks.ids) & set(other.ids)) / max(len(set(picks.ids)), 1):.0%}"
            for _, other in done
        ]
        seconds = f"{facts['seconds']:,.1f} s"
        table.add_row(
            name, f"{len(picks):,}", f"{len(facts['domains']):,}", uncovered, seconds, *shared
        )
    console = _console(sys.stdout)
    console.print(table)
    for name, text in _input_lines(_facts(done[0][1], None)):
        console.print(f"{name:<12} {text}", markup=False)
    console.print(
        "uncovered: target texts far from every pick; percentages: share of the row's picks that the "
        "column's method picks too"
    )
    for name, picks in done:
        console.print(f"{name:<12} {_shown(picks.directory / 'report.html')}")


def _prepare(options: argparse.Namespace) -> None:
    from shortlist.overrides import composed, override
    from shortlist.picks import check_format, write_table
    from shortlist.pipeline.data_tools import prepare_documents
    from shortlist.store.atomic import write_text

    if options.out is not None:
        check_format(options.out)
    typed = [
        "pool=files",
        override("pool.paths", options.paths),
        override("pool.text", options.text_column),
    ]
    if options.preset or not any("pool.prepare=" in setting for setting in options.hydra):
        typed.append(override("pool.prepare", options.preset or ["web"]))
    with composed([*typed, *options.hydra]) as config:
        done = prepare_documents(config)
    if options.out is not None:
        write_table(done.after.table, options.out)
    if options.report is not None:
        write_text(options.report, done.page(", ".join(options.paths)))
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
    for name, path in (("documents", options.out), ("report", options.report)):
        if path is not None:
            print(f"{name:<12} {_shown(path.absolute())}")


def _collect(options: argparse.Namespace) -> None:
    import pyarrow as pa

    from shortlist.data.collections import argilla, chats, label_studio
    from shortlist.picks import check_format, write_table

    check_format(options.out)
    if options.kind == "chats":
        done = chats(options.path)
    else:
        read = {"label_studio": label_studio, "argilla": argilla}[options.kind]
        done = read(options.path, options.text_column, options.question)
    if not done.rows:
        found = done.rejected[0].reason if done.rejected else f"{dict(done.counts)}"
        raise InvalidInput(f"{options.path}: expected rows, found none ({found})")
    write_table(pa.Table.from_pylist([dict(row) for row in done.rows]), options.out)
    print(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in done.counts.items()))
    for row in done.rejected[:5]:
        print(f"rejected: {row.path}, entry {row.line}: {row.reason}")
    print(f"rows         {_shown(options.out.absolute())}")


def _check(options: argparse.Namespace) -> None:
    from shortlist.overrides import composed
    from shortlist.pipeline.data_tools import check, checks_json, checks_page
    from shortlist.store.atomic import write_text

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
    print(f"page         {_shown(page.absolute())}\nfindings     {_shown(plain.absolute())}")


def _chosen(options: argparse.Namespace) -> list[str]:
    """Returns the methods that are asked for, each once; all exist."""
    from shortlist.overrides import check_method, composed

    if options.method is None:
        with composed(options.hydra) as config:
            return [config.hydra.runtime.choices["selector"]]
    names = [name.strip() for name in options.method.split(",") if name.strip()]
    for name in names:
        check_method(name)
    if not names:
        raise InvalidInput("--method: expected a name, found none; see `shortlist methods`")
    return list(dict.fromkeys(names))


def _request(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `api.select` but the method; standard input is written to a file."""
    from shortlist.data.inputs import Files

    pool = [*options.paths, *options.pool]
    if not pool:
        raise InvalidInput("a pool was expected, found none: shortlist select pool/*.jsonl ...")
    if "-" in pool or options.target == "-":
        from shortlist.data.inputs import stdin
        from shortlist.overrides import input_folder

        if [*pool, options.target].count("-") > 1:
            raise InvalidInput("-: standard input can be read once, found it twice")
        if sys.stdin.isatty():
            raise InvalidInput("-: expected documents on standard input, found a terminal")
        read = str(stdin(sys.stdin.buffer, input_folder(options.hydra)))
        pool = [read if path == "-" else path for path in pool]
        options.target = read if options.target == "-" else options.target
    settings = [*options.hydra]
    if options.quiet:
        settings.append("runtime.progress=false")
    return {
        "pool": Files(tuple(pool)),
        "target": options.target,
        "budget": options.budget,
        "unit": options.unit,
        "text_column": options.text_column,
        "target_column": options.target_column,
        "domain_column": options.domain_column,
        "seed": options.seed,
        "settings": settings,
    }


def _picks_of(options: argparse.Namespace, methods: Sequence[str]) -> list[tuple[str, Picks]]:
    from shortlist.api import select

    request = _request(options)
    _log_to_terminal(options)
    command = shlex.join(["shortlist", *options.typed])
    directory, done = options.directory, list[tuple[str, Any]]()
    for method in methods:
        place = directory / method if directory and len(methods) > 1 else directory
        picks = select(**request, method=method, directory=place, command=command)
        done.append((method, picks))
    return done


def _log_to_terminal(options: argparse.Namespace) -> None:
    """Shows warnings and the progress of long work, with --verbose every stage, on standard error."""

    def wanted(entry: logging.LogRecord) -> bool:
        if options.quiet:
            return entry.levelno >= logging.ERROR
        return entry.levelno >= logging.WARNING or entry.name == "shortlist.progress"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    if not options.verbose:
        handler.addFilter(wanted)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def _facts(picks: Picks, written: Path | None) -> dict[str, Any]:
    """Returns the summary of a selection as plain data."""
    from shortlist.data.files import NO_UTF8
    from shortlist.store.atomic import read_jsonl

    record, place = picks.record, picks.directory
    covered = place / "targets.jsonl"
    rows = read_jsonl(covered) if covered.is_file() else None
    fit = record.selection.get("fit") or {}
    last = {name.rpartition(".")[2]: value for name, value in fit.items()}
    return {
        "method": record.axes.selector,
        "documents": len(picks),
        "pool": record.counts.get("pool_kept"),
        "budget": record.axes.budget,
        "unit": record.axes.budget_unit,
        "domains": dict(record.selection["domains"]),
        "targets": None if rows is None else len(rows),
        "uncovered": None if rows is None else sum(bool(row["uncovered"]) for row in rows),
        "of_target": None if rows is None else len({row["id"] for row in rows} & set(picks.ids)),
        "converged": last.get("converged"),
        "marginal_error": last.get("marginal_error"),
        "counts": dict(record.counts),
        "text_columns": [record.config[of].get("text") for of in ("pool", "task")],
        "not_utf8": any(
            NO_UTF8 in path.read_text(encoding="utf-8") for path in place.glob("*_quarantine.txt")
        ),
        "warnings": list(record.warnings),
        "seconds": sum(stage.seconds for stage in record.stages if stage.role == "selection"),
        "recommended": (record.selection.get("recommended") or {}).get("reason"),
        "sha256": record.selection["sha256"],
        "picks": str(written or place / "shortlist.jsonl"),
        "datasheet": str(place / "report.html") if (place / "report.html").is_file() else None,
        "record": str(place / "record.json"),
    }


DOMAINS = 10  # lines of a summary


def _print_summary(picks: Picks, written: Path | None, stream: Any) -> None:
    facts = _facts(picks, written)
    console = _console(stream)
    of = f" of {facts['pool']:,}" if facts["pool"] else ""
    console.print(f"[bold]{facts['method']}[/bold]: {facts['documents']:,}{of} documents selected")
    domains = sorted(facts["domains"].items(), key=lambda item: (-item[1], item[0]))
    width = max((len(name) for name, _ in domains[:DOMAINS]), default=0)
    largest = domains[0][1] if domains else 1
    for name, count in domains[:DOMAINS]:
        bar = "█" * max(1, round(24 * count / largest))
        share = count / max(facts["documents"], 1)
        console.print(f"  {name:<{width}}  {count:>9,}  {share:>6.1%}  {bar}", markup=False)
    if len(domains) > DOMAINS:
        rest = sum(count for _, count in domains[DOMAINS:])
        console.print(f"  and {rest:,} in {len(domains) - DOMAINS:,} further domains")
    for name, text in _lines(facts):
        console.print(f"{name:<12} {text}", markup=False)


def _input_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what was read and left out, which is the same for all methods."""
    from shortlist.data.files import TO_UTF8

    counts, lines = facts["counts"], list[tuple[str, str]]()
    if facts["text_columns"][0] != facts["text_columns"][1]:
        of_pool, of_target = facts["text_columns"]
        lines.append(
            ("texts", f"column '{of_pool}' of the pool, column '{of_target}' of the target")
        )
    rejected = {name: count for name, count in counts.items() if "quarantined" in name and count}
    if rejected:
        where = ", ".join(f"{count:,} ({name})" for name, count in rejected.items())
        lines.append(("rejected", f"rows that are no documents: {where}"))
        if facts["not_utf8"]:
            lines.append(("", f"some are not UTF-8; {TO_UTF8}"))
    for name, text in (
        ("pool_exact_copies", "exact copies in the pool, counted once"),
        ("leaked", "documents that repeat validation or test texts, never selected"),
    ):
        if counts.get(name):
            lines.append((name.removeprefix("pool_").replace("_", " "), f"{counts[name]:,} {text}"))
    return lines


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = list[tuple[str, str]]()
    if facts["targets"] is not None:
        met = facts["targets"] - facts["uncovered"]
        lines.append(("coverage", f"{met:,} of {facts['targets']:,} target texts have a near pick"))
    if facts["of_target"]:
        lines.append(
            (
                "of target",
                f"{facts['of_target']:,} of the picks are texts of the target itself, which the pool "
                "holds too; leave them out of the pool if they are not wanted",
            )
        )
    if facts["converged"] is not None:
        said = "converged" if facts["converged"] else "NOT converged"
        lines.append(
            ("certificate", f"{said}: {facts['marginal_error']:.2%} of the mass misplaced")
        )
    lines += _input_lines(facts)
    if facts["recommended"]:
        lines.append(("budget", facts["recommended"]))
    lines += [("warning", text) for text in facts["warnings"]]
    lines.append(("picks", _shown(Path(facts["picks"]))))
    if facts["datasheet"]:
        lines.append(("datasheet", _shown(Path(facts["datasheet"]))))
    return lines


def _shown(path: Path) -> str:
    """Returns a path as it is short to read: relative where it lies below the working directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _console(stream: Any) -> Any:
    from rich.console import Console

    return Console(
        file=stream, width=None if stream.isatty() else 120, highlight=False, soft_wrap=True
    )


def _hydra(arguments: Sequence[str]) -> None:
    """Runs `run.py` with these arguments."""
    from shortlist.pipeline.hydra_app import main as run_app

    sys.argv = ["shortlist", *arguments]
    run_app()


def _run(options: argparse.Namespace) -> None:
    _hydra([*options.overrides, *options.hydra])


def _sweep(options: argparse.Namespace) -> None:
    _hydra(["--multirun", *options.overrides, *options.hydra])


def _explain(options: argparse.Namespace) -> None:
    _hydra(["--explain", *options.overrides, *options.hydra])


def _leaderboard(options: argparse.Namespace) -> int:
    from shortlist.leaderboard.__main__ import main as leaderboard

    return leaderboard([*options.arguments, *options.hydra])


def _report(options: argparse.Namespace) -> None:
    run = options.run
    if run is None:
        runs = sorted(Path("outputs").glob("*/report.md"), key=lambda path: path.stat().st_mtime)
        if not runs:
            raise Missing("report: expected a run in outputs/, found none; name its directory")
        run = runs[-1].parent
    page = run / "report.md" if run.is_dir() else run.with_name("report.md")
    if not page.is_file():
        raise Missing(f"report: expected {page}, found none; name the directory of a run")
    text = page.read_text(encoding="utf-8")
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        _console(sys.stdout).print(Markdown(text))
    else:
        print(text)
    print(_shown(page.with_name("report.html").absolute()), file=sys.stderr)


def _plan(options: argparse.Namespace, methods: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table

    from shortlist.api import plan

    _log_to_terminal(options)
    request = _request(options)
    for method in methods:
        table = Table(title=method, title_justify="left", box=box.SIMPLE_HEAD)
        for head in ("stage", "state", "time", "memory", ""):
            table.add_column(head, justify="right" if head in ("time", "memory") else "left")
        seconds = memory = 0.0
        for step in plan(**request, method=method):
            known = (0 if value != value else value for value in (step.seconds, step.bytes))
            took, used = known
            seconds, memory = seconds + took * (step.state != "read"), max(memory, used)
            shown = f"{took:,.1f} s" if took else "", f"{used / 2**20:,.0f} MiB" if used else ""
            table.add_row(step.stage, step.state, *shown, step.note)
        table.add_row("in all, where known", "", f"{seconds:,.1f} s", f"{memory / 2**20:,.0f} MiB")
        _console(sys.stdout).print(table)


def _ensemble(options: argparse.Namespace) -> None:
    from shortlist.overrides import composed
    from shortlist.pipeline.compose import absolute
    from shortlist.pipeline.ensembling import GAIN, ensembles
    from shortlist.store.records import write_record

    with composed(options.hydra) as config:
        results = options.results or Path(str(absolute(config.paths.results)))
    for record in ensembles(results, options.hydra, composed):
        path = write_record(results, record)
        seeds = ", ".join(map(str, record.config["ensemble"]["seeds"]))
        axes = record.axes
        print(f"{axes.task}, {axes.selector}, {axes.budget:,} {axes.budget_unit}, seeds {seeds}")
        for metric in record.metrics:
            gain = record.metric(f"{metric.name}_{GAIN}")
            if gain is not None:
                low, high = (gain.value + sign * 1.96 * (gain.stderr or 0.0) for sign in (-1, 1))
                print(
                    f"  {metric.name:<12} {metric.value:.4f}, {gain.value:+.4f} against the mean of its "
                    f"cells (95 %: {low:+.4f} to {high:+.4f}, paired over {gain.n:,} items)"
                )
        print(f"  {_shown(path.absolute())}")


def _trainings(options: argparse.Namespace) -> None:
    import tempfile

    from shortlist.overrides import composed
    from shortlist.pipeline.cell import open_cell
    from shortlist.pipeline.training_plan import training_plans

    typed = [*options.overrides, *options.hydra]
    with composed(typed) as config, tempfile.TemporaryDirectory() as directory:
        choices = dict(config.hydra.runtime.choices)
        for plan, note in training_plans(open_cell(config, choices, Path(directory))):
            print(f"{plan.what}, {note}")
            for line in plan.lines():
                print(f"  {line}")


def _methods(options: argparse.Namespace) -> None:
    if options.names:
        from shortlist.overrides import methods as names

        print(*names(), sep="\n")
        return
    from shortlist.pipeline.catalogue import catalogue

    methods = catalogue()
    if options.json:
        from dataclasses import asdict

        print(json.dumps([asdict(method) for method in methods], ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column()
    for method in methods:
        needs = ", ".join([*(["target"] if method.target else []), *method.vectors])
        paper = f"{method.paper} {f'arXiv {method.arxiv}' if method.arxiv else ''}".strip()
        table.add_row(method.name, "selects", method.summary)
        for what, text in (("needs", needs or "nothing"), ("cost", method.cost), ("paper", paper)):
            if text:
                table.add_row("", what, text)
        table.add_row()
    console = Console(width=_columns(), highlight=False, markup=False)
    with console.capture() as shown:
        console.print(table)
    print(*map(str.rstrip, shown.get().splitlines()), sep="\n")


def _columns() -> int:
    """Returns the width of the terminal; 100 where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100


def _doctor(options: argparse.Namespace) -> int:
    """Returns 1 where something that the defaults need is missing."""
    from shortlist.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = {True: "ok", False: "MISSING", None: "-"}[finding.fine]
        print(f"{mark:<8} {finding.what:<{width}}  {finding.found}")
    return DONE if all(finding.fine is not False for finding in findings) else REFUSED


def _completion(options: argparse.Namespace) -> None:
    from shortlist.completion import script

    print(script(_parser(), options.shell), end="")
