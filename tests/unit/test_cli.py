"""The console script: what is typed, what is printed, how it ends."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy

from shortlist import cli, completion
from shortlist.cli import listings
from shortlist.cli.commands import parser

ROOT = Path(__file__).parents[2]
CHEAP = ("--text-column", "body", "--quiet", "--", "runtime.report=false")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a checkout, with a pool in two files and a target."""
    monkeypatch.chdir(tmp_path)
    texts = [{"body": text} for text in toy.sentences("sailing", 20) + toy.sentences("music", 20)]
    toy.write_jsonl(tmp_path / "a.jsonl", texts[:25])
    toy.write_jsonl(tmp_path / "b.jsonl", texts[25:])
    toy.write_jsonl(tmp_path / "target.jsonl", [{"body": t} for t in toy.sentences("sailing", 5)])
    return tmp_path


def typed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """How a command ends: exit code, standard output, standard error."""
    capsys.readouterr()
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_help_and_version_import_nothing_heavy() -> None:
    heavy = ("hydra", "omegaconf", "torch", "numpy", "pyarrow", "rich", "transformers")
    code = (
        "import sys\nfrom shortlist.cli import main\n"
        "for words in (['--help'], ['--version'], ['select', '--help'], ['completion', 'bash']):\n"
        "    try: main(words)\n    except SystemExit as end: assert not end.code\n"
        f"print('loaded', [name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.stdout.splitlines()[-1] == "loaded []", told.stderr
    assert all(f"  {code}  " in told.stdout for code in (0, 1, 2))


def test_defaults_that_the_help_names_are_those_of_the_configuration(
    composed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told, _ = typed(capsys, "select", "--help")
    words = " ".join(told.split())
    config = composed()
    for said in (config.budget, config.hydra.runtime.choices["selector"], config.seed):
        assert f"(default: {said})" in words
    assert f"(default: {config.pool.get('text', 'text')})" in words


def test_a_selection_needs_no_checkout_and_is_written_where_it_is_asked_for(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told, err = typed(
        capsys, "select", "a.jsonl", "b.jsonl", "--target", "target.jsonl", "-n", "7",
        "--method", "random", "--out", "picks.jsonl", "--text-column", "body", "--quiet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in Path("picks.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in rows] == list(range(1, 8))
    assert "7 of 38 documents selected" in told or "7 of 40 documents selected" in told
    assert "picks        picks.jsonl" in told
    (page,) = place.glob("outputs/*/report.html")
    command = "shortlist select a.jsonl b.jsonl --target target.jsonl -n 7 --method random"
    assert command in page.read_text()
    assert f"datasheet    {page.relative_to(place)}" in told


def test_standard_input_and_output_take_the_place_of_files(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Path("a.jsonl").read_bytes()
    stdin = SimpleNamespace(buffer=io.BytesIO(lines), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    shared = ("--target", "target.jsonl", "-n", "3", "-m", "random", "-o", "-", *CHEAP)
    code, told, err = typed(capsys, "select", "-", *shared)
    assert code == 0 and "3 of " in err
    piped = [json.loads(line)["id"] for line in told.splitlines()]
    _, told, _ = typed(capsys, "select", "a.jsonl", *shared)
    assert piped == [json.loads(line)["id"] for line in told.splitlines()]


@pytest.mark.whole
def test_several_methods_need_a_name_for_each_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ("a.jsonl", "--target", "target.jsonl", "-n", "3", "-m", "random,all_domains", *CHEAP)
    code, _, err = typed(capsys, "select", "-o", "picks.csv", *shared)
    assert code == 1 and err.count("\n") == 1 and "picks-{method}.jsonl" in err
    code, told, _ = typed(capsys, "select", "-o", "{method}.csv", "--json", *shared)
    assert code == 0 and Path("random.csv").is_file() and Path("all_domains.csv").is_file()
    assert [json.loads(line)["method"] for line in told.splitlines()] == ["random", "all_domains"]


@pytest.mark.whole
def test_rows_that_are_not_utf8_are_counted_and_the_summary_says_how_to_convert_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number},caf\u00e9 {number}" if number % 3 == 0 else f"{number},tea {number}"
            for number in range(12)]  # fmt: skip
    Path("latin1.csv").write_bytes("\n".join(["id,body", *rows, ""]).encode("latin-1"))
    words = ("select", "latin1.csv", "-t", "target.jsonl", "-n", "3", "-m", "random", *CHEAP)
    code, told, _ = typed(capsys, *words)
    assert code == 0 and "3 of 8 documents selected" in told
    assert "rows that are no documents: 4 (pool_quarantined)" in told and "iconv" in told
    Path("latin1.csv").write_bytes("id,body\n1,caf\u00e9\n".encode("latin-1"))
    code, _, err = typed(capsys, *words)
    assert code == 1 and err.count("\n") == 1 and "no UTF-8" in err and "latin1.csv" in err
    assert "iconv -f LATIN1" in err


def test_check_says_how_a_file_of_ones_own_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, told = typed(capsys, "check", "a.jsonl")
    assert code == 1 and "own with -- task.train=a.jsonl, -- task.label=COLUMN" in told


@pytest.mark.whole
@pytest.mark.parametrize(
    ("action", "said"), [("drop", "test texts, never selected"), ("report", "test texts, kept")]
)
def test_the_summary_says_what_becomes_of_documents_that_repeat_test_texts(
    place: Path, capsys: pytest.CaptureFixture[str], action: str, said: str
) -> None:
    toy.write_jsonl(Path("test.jsonl"), [{"body": toy.sentences("sailing", 20)[3]}])
    words = ("select", "a.jsonl", "-t", "target.jsonl", "-n", "3", "-m", "random", *CHEAP)
    code, told, _ = typed(capsys, *words, "task.test=test.jsonl", f"leaks.action={action}")
    assert code == 0 and f"leaked       1 documents that repeat validation or {said}" in told


def test_the_summary_names_the_scorer_file_and_its_fidelity_as_its_use_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("select", "a.jsonl", "b.jsonl", "-t", "target.jsonl", "-n", "3", "-m", "dsir", *CHEAP)
    code, told, _ = typed(capsys, *words, "distil=linear", "distil.buckets=64")
    assert code == 0
    (line,) = (line for line in told.splitlines() if line.startswith("scorer "))
    _, path, fidelity = line.split(maxsplit=2)
    files = ("a.jsonl", "b.jsonl", "--text-column", "body", "--out", "scores.parquet")
    code, said, _ = typed(capsys, "score", *files, "--scorer", path)
    assert code == 0 and f"fidelity     {fidelity}" in said.splitlines()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("set leaks.semantic=null", "set -- leaks.semantic=null"),
        ("choose featurizer@leaks.vectors=static", "choose -- featurizer@leaks.vectors=static"),
        ("set check.task.probe=true", "set check.task.probe=true"),
        (
            "task 'a', task.folds=9: found task.folds=9",
            "task 'a', task.folds=9: found task.folds=9",
        ),
    ],
)
def test_a_message_separates_settings_from_options_once_and_cuts_no_name(
    message: str, said: str
) -> None:
    assert cli.as_typed_here(message) == said


def test_a_message_names_no_option_that_the_command_does_not_have() -> None:
    column = "set task.text=COLUMN (pool=files: set pool.text=COLUMN)"
    named = {words: cli.as_typed_here(column, vars(parser().parse_args(words.split())))
             for words in ("score a --scorer s -o o", "check own", "run")}  # fmt: skip
    assert list(named.values()) == [
        "name it with --text-column COLUMN",
        "set -- task.text=COLUMN (pool=files: set -- pool.text=COLUMN)",
        column,
    ]


@pytest.mark.whole
def test_compare_shows_the_share_of_common_picks_and_names_the_columns_that_differ(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.write_jsonl(Path("other.jsonl"), [{"text": text} for text in toy.sentences("sailing", 5)])
    arguments = ("compare", "a.jsonl", "-t", "other.jsonl", "-n", "25", "-m", "random,all_domains")
    code, told, _ = typed(capsys, *arguments, *CHEAP)
    rows = [line.split() for line in told.splitlines() if "random" in line or "all_dom" in line]
    assert code == 0 and len([cell for row in rows for cell in row if cell == "100%"]) == 4
    assert "column 'body' of the pool, column 'text' of the target" in told


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_methods_fit_the_terminal_and_no_word_is_broken(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = json.loads(typed(capsys, "methods", "--json")[1])
    monkeypatch.setattr(listings, "columns", lambda: width)
    code, told, _ = typed(capsys, "methods")
    assert code == 0 and max(map(len, told.splitlines())) <= width
    assert [line.split()[0] for line in told.splitlines() if line[:1].strip()] == [
        method["name"] for method in methods
    ]
    words = set(told.split())
    for method in methods:
        assert {*method["summary"].split(), *method["cost"].split()} <= words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("select", "a.jsonl", "-m", "gotdd"), ("no method `gotdd`", "`gotd`")),
        (("select", "a.jsonl", "-c", "text"), ("column 'text'", "'body'", "--text-column COLUMN")),
        (("select", "none*.jsonl"), ("none*.jsonl",)),
        (("select", "a.jsonl", "-n", "999"), ("--budget 999", "set --budget 25")),
        (("select", "a.jsonl", "-o", "x.xls"), ("x.xls", ".parquet")),
        (("select", "empty.jsonl"), ("empty.jsonl", "found none")),
        (("select", "a.jsonl", "--", "selector.nosuch=1"), ("selector.nosuch",)),
        (("select",), ("pool", "shortlist select pool/*.jsonl")),
        (("select", "-", "--pool", "-"), ("twice",)),
        (("compare", "a.jsonl"), ("two methods",)),
        (("select", "hf:"), ("hf:ORGANISATION/NAME",)),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_to_do(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: Any
) -> None:
    Path("empty.jsonl").touch()
    words, further = list(arguments), list[str]()
    if "--" in words:
        words, further = words[: words.index("--")], words[words.index("--") :]
    words += [] if {"-m", "compare"} & set(words) else ["-m", "random"]
    words += [] if "-c" in words else ["-c", "body"]
    words += [] if "-n" in words else ["-n", "3"]
    code, out, err = typed(capsys, *words, "-t", "target.jsonl", "-q", *further)
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("error: ") and all(part in err for part in said), err


@pytest.mark.parametrize("arguments", [(), ("selct",), ("select", "a", "-n", "many", "-t", "b")])
def test_a_command_that_is_not_understood_ends_with_two(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, _, err = typed(capsys, *arguments)
    assert code == 2 and "usage: shortlist" in err


@pytest.mark.whole
def test_a_plan_says_what_is_stored_and_computes_no_scores(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("select", "a.jsonl", "-t", "target.jsonl", "-n", "3", "-m", "dsir")

    def states() -> dict[str, str]:
        code, told, _ = typed(capsys, *words, "--dry-run", *CHEAP)
        rows = [re.split(r"\s{2,}", line.strip()) for line in told.splitlines()]
        assert code == 0
        return {row[0]: row[1] for row in rows if len(row) > 1}

    first = states()
    assert first["fit"] == first["scores"] == "waiting"
    assert first["features of the pool"] == "to compute"
    assert not (place / ".cache/shortlist/scores").exists() and not (place / "outputs").exists()
    assert typed(capsys, *words, *CHEAP)[0] == 0
    then = states()
    for stage in ("features of the pool", "features of the target", "fit", "scores", "selection"):
        assert then[stage] == "stored"


@pytest.mark.whole
def test_a_plan_lists_the_diagnostics_and_what_is_stored_of_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("select", "a.jsonl", "-t", "target.jsonl", "-n", "3", "-m", "dsir")
    settings = ("-c", "body", "-q")

    def states() -> dict[str, str]:
        code, told, err = typed(capsys, *words, "--dry-run", *settings)
        assert code == 0, err
        rows = [re.split(r"\s{2,}", line.strip()) for line in told.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) > 1}

    assert states()["reasons"] == "waiting"
    code, _, err = typed(capsys, *words, *settings)
    assert code == 0, err
    then = states()
    assert {name: then[name] for name in ("near copies", "reasons", "map")} == dict.fromkeys(
        ("near copies", "reasons", "map"), "stored"
    )
    shutil.rmtree(next((place / ".cache/shortlist/map").iterdir()))
    assert states() == then | {"map": "to compute"}


def test_explain_and_run_take_the_grammar_of_hydra(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shortlist.pipeline import hydra_app

    seen: list[list[str]] = []
    monkeypatch.setattr(hydra_app, "main", lambda: seen.append(sys.argv[1:]))
    for words in (
        ("run", "--", "selector=gotd", "--cfg", "job"),
        ("sweep", "seed=0,1", "--", "budget=1"),
        ("explain", "selector=gotd"),
    ):
        assert typed(capsys, *words)[0] == 0
    assert seen == [
        ["selector=gotd", "--cfg", "job"],
        ["--multirun", "seed=0,1", "budget=1"],
        ["--explain", "selector=gotd"],
    ]


@pytest.mark.whole
def test_the_datasheet_of_a_run_is_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = typed(capsys, "report")
    assert code == 1 and "outputs/" in err
    words = ("select", "a.jsonl", "-t", "target.jsonl", "-n", "3", "-m", "random", "-c", "body")
    assert typed(capsys, *words)[0] == 0
    code, told, err = typed(capsys, "report")
    assert code == 0 and told.startswith("# ") and err.strip().endswith("report.html")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command_and_option_and_is_a_script_of_its_shell(shell: str) -> None:
    written = completion.script(parser(), shell)
    commands = ("select", "compare", "run", "sweep", "leaderboard", "doctor", "methods", "explain")
    assert all(command in written for command in (*commands, "report"))
    assert ("-l text-column" if shell == "fish" else "--text-column") in written
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=written, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = completion.script(parser(), "bash")
    ask = (
        f"{script}\nCOMP_WORDS=(shortlist select --te); COMP_CWORD=2; _shortlist_completion\n"
        'echo "${COMPREPLY[@]}"\nCOMP_WORDS=(shortlist sel); COMP_CWORD=1; _shortlist_completion\n'
        'echo "${COMPREPLY[@]}"'
    )
    told = subprocess.run(
        ["bash", "-c", ask], text=True, capture_output=True, check=True, cwd=tmp_path
    )  # files of the folder are offered, too
    assert told.stdout.split() == ["--text-column", "select"]


def test_a_file_that_is_not_the_models_is_refused_and_a_model_without_a_file_is_shown(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    given = ("--from", str(tmp_path / "other.gguf"), "--", f"paths.cache={tmp_path / 'cache'}")
    code, told, err = typed(capsys, "fetch", "smollm2", *given)
    assert (code, told) == (1, "") and "with SHA-256 b179c9523d0e6a0f, found" in err
    code, told, _ = typed(capsys, "fetch", "local", "--", f"model.path={tiny_model}")
    assert code == 0 and Path(told.split()[-1]).name == tiny_model.name
    code, _, err = typed(capsys, "fetch", "smollm3")
    assert code == 1 and "smollm3" in err


def test_the_power_of_an_experiment_is_that_of_its_axes(capsys: pytest.CaptureFixture[str]) -> None:
    results = str(Path(__file__).parents[2] / "results")
    axes = ["task=rte,chemprot", "selector=gotd,dsir,random", "seed=0,1", "budget=100,200"]
    assert cli.main(["power", *axes, "--results", results, "--difference", "0.05"]) == 0
    rte, chemprot = capsys.readouterr().out.split("chemprot: ")
    assert rte.startswith("rte: 3 methods, 2 seeds\n  accuracy: shows 0.1")
    assert "0.05 needs 4 seeds (24 records, 277 test items)" in rte
    assert chemprot.startswith("3 methods, 2 seeds\n") and "no two methods" in chemprot
    assert cli.main(["power", "task=rte", "--results", results]) == 0
    assert "shows nothing: one seed" in capsys.readouterr().out
