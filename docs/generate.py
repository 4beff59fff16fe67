"""Generates the pages of the documentation that follow from code, configuration and records.

MkDocs runs this module as a hook (`mkdocs.yml`). Nothing that it writes is committed:

- `on_config` builds the navigation, `on_files` adds the generated pages and the pages that lie
  elsewhere in the repository (`results/`, `CONTRIBUTING.md`, `CHANGELOG.md`);
- `on_page_markdown` replaces `<!-- generated: NAME -->` by a table of `BLOCKS` and points links to
  files of the repository at the pages that show them.

Classes are read by griffe, without importing them. Numbers come from `results` alone.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import logging
import os
import re
import sys
import unittest.mock
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import griffe
import numpy as np
import yaml

from shortlist.core import Record, unpack_item_scores
from shortlist.stats.comparison import compare, half_width, holm
from shortlist.store.records import read_records

ROOT = Path(__file__).parents[1]
CONF, RESULTS = ROOT / "conf", ROOT / "results"
SECTIONS = ("Formula", "Paper", "Deviations", "Cost")
NOT_MEASURED = "not measured"

# Pages that lie elsewhere in the repository, and where the site has them.
ELSEWHERE = {
    "results/README.md": "results/index.md",
    "results/leaderboard.md": "results/leaderboard.md",
    "benchmarks/README.md": "results/benchmarks/index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
IMAGES = ("results/report.png", "results/leaderboard.png")
# Groups of `conf`, in the order of the navigation, and what an option of each is.
GROUPS = {
    "selector": "how documents are chosen",
    "featurizer": "documents to vectors",
    "pool": "what is selected from",
    "prepare": "operations on texts, and presets of them",
    "augment": "changed copies of training rows",
    "task": "what is trained and evaluated on",
    "model": "what is trained",
    "trainer": "how it is trained: `warmup` and `finetune`",
    "peft": "what is trained in place of all weights",
    "practice": "one practice of fine-tuning, for comparisons",
    "evaluator": "how language models are measured without fine-tuning",
    "scorer": "toxicity scorers",
    "protocol": "how a paper trains",
    "runtime": "how a cell is run; never part of a key",
    "backend": "where the shards of a streamed selection are worked on; never part of a key",
    "paths": "where things are read and written",
    "logger": "where results are sent",
    "launcher": "where the cells of a sweep run",
    "cascade": "whether the encoder reads every document of the pool",
    "calibration": "maps the probabilities of the fine-tuned model",
    "compress": "makes smaller models of the fine-tuned one",
    "distil": "makes a scorer file of the scores of the pool",
    "search": "settings that `shortlist search` tries",
}
NO_GROUPS = (
    "experiment",
    "task_defaults",
    "trainer_defaults",
    "local",
)  # folders of `conf` that have no page in the settings
ROOT_GROUPS = ("runtime", "paths", "cascade", "search")  # typed by the schema, without a class
PAGES_OF = {
    "selector": ("Methods", "../methods/index.md"),
    "featurizer": ("Vectors", "../vectors.md"),
}
# Methods by what they are for, in reading order; a method in no list is placed by what it reads.
FAMILIES = {
    "Toward a target, by vectors": (
        "gotd", "soft_knn", "gotd_diverse", "gotd_paper", "tsds", "tarot", "rds_plus",
        "tapt_curated", "centroid", "facility_location", "submodular", "herding",
        "ot_batches",
    ),
    "Toward a target, by words": (
        "dsir", "classifier", "bm25", "moore_lewis", "mixture", "betr",
    ),
    "Toward a target, by a model's losses or gradients": (
        "less", "influence", "moore_lewis_models", "target_path",
    ),
    "Several methods together": ("ensemble",),
    "Away from toxic text": ("gotd_clean", "gotd_contrast", "least_toxic"),
    "Without a target": ("perplexity", "k_center", "semdedup", "quality"),
    "Controls": (
        "random", "random_domain", "random_length", "random_tokens", "all_domains", "dapt", "tapt",
        "vanilla",
    ),
    "Other people's code": (
        "peer_dsir", "peer_less", "peer_ott", "peer_rds_plus", "peer_tarot", "peer_tsds",
    ),
}  # fmt: skip
# What a method reads, by its name or by the featurizer that its YAML chooses.
NEEDS = {
    "moore_lewis": "the words",
    "mixture": "the words and domains",
    "betr": "the words, and vectors of a sample",
    "quality": "the words",
    "tapt": "the task's texts",
    "none": "ids and domains",
    "ngrams": "the words",
    "unigrams": "the words",
    "transformer": "one vector a document",
    "transformer_paper": "one vector a document",
    "position_weighted": "one vector a document",
    "minilm": "one vector a document",
    "toxicity": "one toxicity score a document",
    "model_loss": "one model loss a document",
    "two_losses": "two model losses a document",
    "target_path": "two model losses a document",
    "gradients": "a gradient a document",
    "landmarks": "one vector a document, a gradient a landmark",
    "gradients_adam": "a gradient a document and checkpoint",
}
FAMILY_OF = {
    "the words": "Toward a target, by words",
    "ids and domains": "Controls",
    "its authors' environment": "Other people's code",
    "what its members read": "Several methods together",
}


# --- The configuration ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A value in a YAML file: its dotted name, the value as written, and the comment beside it."""

    name: str
    default: str
    comment: str


@dataclass(frozen=True)
class Option:
    """One YAML file of a group, together with what its defaults bring into the same place.

    Attributes:
        group: folder in `conf`.
        name: name of the file.
        comment: the comment that it starts with.
        target: the class that the option makes, or "" for plain values.
        settings: values by dotted name, those of the class without the class's own prefix.
        chosen: other groups' options that it overrides, by group.
    """

    group: str
    name: str
    comment: str
    target: str
    settings: Mapping[str, Setting]
    chosen: Mapping[str, str]

    @property
    def path(self) -> str:
        """The file, relative to the repository."""
        return f"conf/{self.group}/{self.name}.yaml"

    @property
    def composed(self) -> bool:
        """Whether it is made of other methods."""
        return any(name.startswith("members.") for name in self.settings)


def header(text: str) -> str:
    """Returns the comment that a YAML file starts with, without `@package`."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def comment_beside(lines: Sequence[str], row: int, column: int) -> str:
    """Returns the comment after `column` of a line, and the lines of comment below it."""
    marked = re.search(r"#.*", lines[row][column:])
    if marked is None:
        return ""
    place = column + marked.start()
    words = [marked.group()[1:].strip()]
    for line in lines[row + 1 :]:
        if not line.strip().startswith("#") or line.index("#") < place:
            break
        words.append(line.strip()[1:].strip())
    return " ".join(words)


def as_written(node: yaml.Node, text: str) -> str:
    """Returns a value's text in one line; a list of lines is set in brackets."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        items = [as_written(one, text) for one in node.value]
        quoted = [f'"{one}"' if one.startswith("$") else one for one in items]
        return f"[{', '.join(quoted)}]"
    return one_line(text[node.start_mark.index : node.end_mark.index])


def settings_in(text: str) -> Iterator[Setting]:
    """Yields every value of a YAML text under its dotted name; a block of values has none itself."""
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[Setting]:
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if name in ("defaults", "hydra", "sizes"):
                continue
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                yield from walk(value, f"{name}.")
                continue
            column = value.end_mark.column if value.start_mark.line == value.end_mark.line else 0
            beside = comment_beside(lines, value.start_mark.line, column)
            yield Setting(name, as_written(value, text) or "null", beside)

    node = yaml.compose(text)
    if isinstance(node, yaml.MappingNode):
        yield from walk(node, "")


def own_place(group: str) -> str:
    """Returns where a group's option stands in the configuration."""
    return group.removesuffix("_defaults")


def inherited(group: str, defaults: Sequence[Any]) -> Iterator[tuple[str, str, str]]:
    """Yields (group, option, place) of what a defaults list brings in; place "" is the option's
    own.
    """
    for entry in defaults:
        if isinstance(entry, str):
            name, _, place = entry.partition("@")
            brought = [(group, name, place)] if name != "_self_" else []
        else:
            brought = [
                (key.removeprefix("/").partition("@")[0], str(name), key.partition("@")[2])
                for key, name in entry.items()
                if not key.startswith("override ")
            ]
        for other, name, place in brought:
            own = place in ("_here_", "_global_", group)
            yield other, name, "" if own else place.removeprefix(f"{own_place(group)}.")


@functools.cache
def option(group: str, name: str) -> Option:
    """Returns an option of a group; its own values replace those that its defaults bring in."""
    text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
    defaults = (yaml.safe_load(text) or {}).get("defaults") or []
    found: dict[str, Setting] = {}
    chosen: dict[str, str] = {}
    target = ""
    for other, base, place in inherited(group, defaults):
        if place:
            found[place] = Setting(place, f"{other}={base}", f"an option of `conf/{other}`")
        elif (CONF / other / f"{base}.yaml").exists():
            extended = option(other, base)
            target, chosen = extended.target or target, {**chosen, **extended.chosen}
            found |= extended.settings
    for entry in defaults:
        if isinstance(entry, dict):
            chosen |= {
                key.removeprefix("override /").partition("@")[0]: str(value)
                for key, value in entry.items()
                if key.startswith("override ")
            }
    own = {setting.name: setting for setting in settings_in(text)}
    places = ("", f"{name}.")
    prefix = next((place for place in places if f"{place}_target_" in own), "")
    if "# @package _global_" in text:
        prefix = f"{own_place(group)}."
    for setting in own.values():
        short = setting.name.removeprefix(prefix)
        if short == "_target_":
            target = setting.default
        elif setting.name.startswith(prefix) and not short.endswith("_target_"):
            beside = setting.comment or (found[short].comment if short in found else "")
            found[short] = Setting(short, setting.default, beside)
    return Option(group, name, header(text), target, found, chosen)


def groups() -> dict[str, str]:
    """Returns what an option of each group is, by group; a group that is not described comes last."""
    folders = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    new = [name for name in folders if name not in GROUPS and name not in NO_GROUPS]
    return {name: GROUPS.get(name, "") for name in (*GROUPS, *new) if (CONF / name).is_dir()}


def options(group: str) -> list[Option]:
    """Returns the options of a group by name."""
    return [option(group, path.stem) for path in sorted((CONF / group).glob("*.yaml"))]


# --- The code ------------------------------------------------------------------------------------


@functools.cache
def package() -> griffe.Module:
    """Returns the package as griffe reads it from the source."""
    logging.getLogger("griffe").setLevel(logging.ERROR)  # mkdocstrings reports them, strictly
    loader = griffe.GriffeLoader(search_paths=[ROOT / "src"], docstring_parser=griffe.Parser.google)
    loaded = loader.load("shortlist")
    loader.resolve_aliases(implicit=False)
    assert isinstance(loaded, griffe.Module)
    return loaded


def class_of(target: str) -> griffe.Class:
    """Returns the class that a `_target_` names."""
    found = package()[target.removeprefix("shortlist.")]
    assert isinstance(found, griffe.Class), target
    return found


@dataclass(frozen=True)
class Description:
    """A class docstring: its first sentence, the paragraphs after it, and its named sections."""

    summary: str
    body: str
    sections: Mapping[str, str]


def described(cls: griffe.Class) -> Description:
    """Returns the parts of a class docstring."""
    parsed = cls.docstring.parsed if cls.docstring else []
    text = "\n\n".join(part.value for part in parsed if part.kind.value == "text")
    summary, _, body = text.partition("\n\n")
    sections = {
        str(part.title): str(part.value.contents)
        for part in parsed
        if part.kind.value == "admonition"
    }
    return Description(one_line(summary), body, sections)


@dataclass(frozen=True)
class Parameter:
    """An argument of a constructor: type and default as written, and what the docstring says."""

    type: str
    meaning: str
    default: str = ""


def spelled(annotation: Any, module: griffe.Module) -> str:
    """Returns a type as text; aliases of choices and ranges are replaced by what they allow."""
    text = str(annotation or "")
    for name in dict.fromkeys(re.findall(r"\b[A-Z]\w+\b", text)):
        found = module.members.get(name)
        if found is None or (found.is_alias and not found.target_path.startswith("shortlist.")):
            continue
        value = str(getattr(found, "value", "") or "")
        if value.startswith("Enum("):  # the first text is its name
            value = f"Literal[{value.partition(',')[2].strip(' [])')}]"
        if value.startswith(("Literal[", "Annotated[")):
            text = re.sub(rf"\b{name}\b", lambda _, value=value: value, text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda found: choices(found.group(1)), text)
    return re.sub(r"Annotated\[(\w+), Range\(([^)]*)\)\]", ranged, text)


def choices(values: str) -> str:
    """Returns the values of a `Literal` as alternatives: `"a" | "b"`."""
    words = re.findall(r"'([^']*)'|\"([^\"]*)\"|([\w.-]+)", values)
    return " | ".join(number or f'"{one or other}"' for one, other, number in words)


def ranged(found: re.Match[str]) -> str:
    """Returns a number's type with its range: `int >= 1`, `float from 0 to 1`."""
    kind, given = found.groups()
    ends = [one.strip() for one in given.split(",") if "=" not in one]
    open_end = "above=True" in given
    if len(ends) == 2 and not open_end and "below=True" not in given:
        return f"{kind} from {ends[0]} to {ends[1]}"
    upper = f", {'<' if 'below=True' in given else '<='} {ends[1]}" if len(ends) == 2 else ""
    return f"{kind} {'>' if open_end else '>='} {ends[0]}{upper}"


def parameters(cls: griffe.Class) -> dict[str, Parameter]:
    """Returns the arguments of the constructors of a class and its bases by name."""
    found: dict[str, Parameter] = {}
    for owner in reversed((cls, *cls.mro())):
        constructor = owner.members.get("__init__")
        docstrings = [one.docstring for one in (owner, constructor) if one and one.docstring]
        said = {
            item.name: one_line(item.description)
            for docstring in docstrings
            for part in docstring.parsed
            if part.kind.value in ("parameters", "attributes")
            for item in part.value
        }
        if isinstance(constructor, griffe.Function):
            for each in constructor.parameters:
                known = found.get(each.name, Parameter("", ""))
                found[each.name] = Parameter(
                    spelled(each.annotation, owner.module) or known.type,
                    said.get(each.name) or known.meaning,
                    str(each.default or ""),
                )
    return found


# --- Text ----------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Returns the text with every run of white space as one space."""
    return re.sub(r"\s+", " ", text).strip()


def cell(text: str) -> str:
    """Returns the text as a cell of a table; a bar inside of code needs no escape."""
    parts = one_line(text).split("`")
    parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
    return "`".join(parts)


def code_cell(text: str) -> str:
    """Returns the text as code in a cell; nothing for the empty text."""
    return f"`{one_line(text)}`" if text else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Returns a Markdown table; the columns `right` are aligned to the right."""
    marks = ["---:" if place in right else "---" for place in range(len(head))]
    lines = [head, marks, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def sentence(text: str) -> str:
    """Returns the first sentence of a comment, without the command that may follow a colon."""
    return re.split(r"(?<=[.])\s(?=[A-Z])", one_line(text))[0]


def seconds(value: float) -> str:
    """Returns seconds with two or three digits."""
    return f"{value:.1f}" if value < 9.95 else f"{value:,.0f}"


# --- Results -------------------------------------------------------------------------------------


@functools.cache
def leaderboard() -> list[dict[str, str]]:
    """Returns the rows of `results/leaderboard.csv`: one value of one method and task each."""
    with (RESULTS / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(selector: str) -> list[dict[str, str]]:
    """Returns the rows of a method with a value: one of which a cell is missing or failed has none."""
    return [
        row
        for row in leaderboard()
        if row["selector"] == selector and row["mean"] and row["task"] != "all tasks"
    ]


def values(selector: str, column: str) -> list[dict[str, str]]:
    """Returns the rows of a method and column with a value, one a task and budget."""
    return [row for row in measured(selector) if row["column"] == column]


def selection_cost(selector: str) -> str:
    """Returns the mean seconds of a method's selection over tasks, from the records."""
    rows = values(selector, "selection_seconds")
    if not rows:
        return NOT_MEASURED
    return seconds(mean(float(row["mean"]) for row in rows))


def million(selector: str) -> tuple[str, str]:
    """Returns seconds and MB on a million documents, from `results/benchmarks/million.json`."""
    rows = json.loads((RESULTS / "benchmarks/million.json").read_text(encoding="utf-8"))["rows"]
    found = [row for row in rows if row["what"] == selector and row["code"] == 0]
    if not found:
        return NOT_MEASURED, ""
    return seconds(found[0]["seconds"]), f"{found[0]['peak_MB']:,.0f}"


def verdicts(selector: str, column: str) -> tuple[str, list[dict[str, str]]]:
    """Returns how many tasks a method is better and worse on than the control, and these rows."""
    rows = values(selector, column)
    compared = [row for row in rows if row["gain_over"] and row["verdict"] != "not compared"]
    if not compared:
        return NOT_MEASURED, []
    better, worse = (
        sum(row["verdict"] == verdict for row in compared) for verdict in ("better", "worse")
    )
    return f"{better} better, {worse} worse of {len(compared)}", compared


def evidence_table(selector: str) -> str:
    """Returns what the records say of a method: costs and gains by task."""
    rows: list[list[str]] = []
    for row in values(selector, "selection_seconds"):
        same = [one for one in measured(selector) if one["records"] == row["records"]]
        metric = [one for one in same if one["primary"] == "true"]
        drop = [one for one in same if re.match("(mlm|clm)_loss_drop", one["column"])]
        rows.append(
            [
                ", ".join(filter(None, (row["task"], row["settings"]))),
                f"{int(row['budget']):,}",
                row["n"],
                " ".join(f"{one['column']} {with_comparison(one)}" for one in metric[:1])
                or NOT_MEASURED,
                " ".join(with_comparison(one) for one in drop[:1]),
                seconds(float(row["mean"])),
            ]
        )
    if not rows:
        return ""
    head = ("task", "budget", "seeds", "metric", "drop of the loss, nats", "selection, s")
    return table(head, rows, right=(1, 2, 5))


def with_comparison(row: Mapping[str, str]) -> str:
    """Returns a mean and its comparison with the control: gain, what it is over, verdict."""
    value = f"{float(row['mean']):.3f}"
    if not row["gain_over"]:
        return value
    return f"{value} ({float(row['gain']):+.3f} over {row['gain_over']}: {row['verdict']})"


# --- Pages ---------------------------------------------------------------------------------------


def settings_table(of: Sequence[Option]) -> str:
    """Returns the settings of options of one class: name, type, default, meaning."""
    known = parameters(class_of(of[0].target))
    found: dict[str, list[Setting]] = {}
    for one in of:
        for name, setting in one.settings.items():
            found.setdefault(name, []).append(setting)
    rows: dict[str, list[str]] = {}
    for name, each in found.items():
        parent = name.partition(".")[0]
        comments = {one.comment for one in each if one.comment}
        said = comments.pop() if len(comments) == 1 else ""
        if name not in known and not said and parent in known:
            rows[parent] = setting_row(parent, known[parent], "see the file", "")
            continue
        if not said and not (name in known and known[name].meaning):
            raise ValueError(
                f"{of[0].path}: the setting {name} has no meaning; give it an entry under Args in "
                f"the docstring of {of[0].target}, or a comment in the YAML"
            )
        values = {one.default for one in each}
        if len(each) < len(of) and name in known:
            values.add(known[name].default)
        default = code_cell(each[0].default) if len(values) == 1 else "by option"
        rows[name] = setting_row(name, known.get(name), default, said)
    return table(("name", "type", "default", "meaning"), list(rows.values()))


def setting_row(name: str, known: Parameter | None, default: str, comment: str) -> list[str]:
    """Returns a row of a table of settings; the docstring's meaning goes before the YAML's comment."""
    said = (known.meaning if known else "") or comment
    return [f"`{name}`", code_cell(known.type) if known else "", default, cell(capital(said))]


def capital(text: str) -> str:
    """Returns the text with a capital first letter and a full stop, a list of values as it is."""
    if re.fullmatch(r"[\w.]+( \| [\w.]+)+", text):
        return f"`{text}`"
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


@functools.cache
def families() -> dict[str, list[str]]:
    """Returns every option of `conf/selector` once, by family.

    Raises:
        ValueError: a list of `FAMILIES` names a method that does not exist, or names one twice.
    """
    found = {family: list(names) for family, names in FAMILIES.items()}
    listed = [name for names in FAMILIES.values() for name in names]
    existing = {one.name for one in options("selector")}
    if len(set(listed)) < len(listed) or not existing.issuperset(listed):
        raise ValueError(
            "docs/generate.py: FAMILIES must name existing methods once each, found "
            f"{sorted(set(listed) - existing) or 'a name twice'}"
        )
    for name in sorted(existing.difference(listed)):
        place = FAMILY_OF.get(kind_of(option("selector", name)), "Toward a target, by vectors")
        found[place].append(name)
    return found


def kind_of(selector: Option) -> str:
    """Returns what a method reads."""
    if selector.name.startswith("peer_"):
        return "its authors' environment"
    if selector.composed:
        return "what its members read"
    featurizer = selector.chosen.get("featurizer", "none")
    return NEEDS.get(selector.name) or NEEDS.get(featurizer, f"the vectors of `{featurizer}`")


def methods_index() -> str:
    """Returns the page of all methods: a row each."""
    parts = [
        "# Methods\n\nEvery method is a class of `shortlist.selectors` and a YAML file of "
        "`conf/selector`. The pages are made of the class docstrings; costs and evidence come from "
        "[the records](../results/index.md). `selector=NAME` chooses one.\n"
    ]
    for family, names in families().items():
        rows = []
        for name in names:
            one = option("selector", name)
            said = described(class_of(one.target))
            first = sentence(one.comment) if one.target.endswith("Peer") else said.summary
            rows.append(
                [
                    f"[`{name}`]({name}.md)",
                    cell(first),
                    kind_of(one),
                    selection_cost(name),
                    million(name)[0],
                    cell(sentence(said.sections["Paper"])),
                ]
            )
        head = ("method", "what it selects", "reads", "seconds", "seconds, 1M documents", "paper")
        parts.append(f"## {family}\n\n{table(head, rows, right=(3, 4))}")
    parts.append(
        "*seconds*: selection, mean over the tasks of the records (small pools, two cores; "
        "[what is counted](../results/index.md#costs)). *seconds, 1M documents*: the whole command "
        "on a million documents ([benchmark](../results/benchmarks/million.md)). "
        f"*{NOT_MEASURED}*: there is no record of it.\n"
    )
    return "\n".join(parts)


def method_page(name: str) -> str:
    """Returns the page of one method."""
    one = option("selector", name)
    cls = class_of(one.target)
    said = described(cls)
    summary = one.comment if one.target.endswith("Peer") else said.summary
    lines = [f"# {name}\n", f"{summary}\n"]
    if not one.target.endswith("Peer") and one_line(one.comment) != summary:
        lines.append(f"{one.comment}\n")
    vectors = one.chosen["featurizer"]
    facts = [
        ["choose it by", f"`selector={name}`"],
        ["class", f"[`{cls.path.removeprefix('shortlist.')}`][{cls.path}]"],
        ["reads", kind_of(one)],
        ["vectors", f"[`featurizer={vectors}`](../vectors.md#{vectors})"],
    ]
    lines.append(table(("", ""), facts))
    lines.append(f"{said.body}\n")
    for title in SECTIONS:
        lines.append(f"## {title}\n\n{section(title, said.sections[title])}\n")
    million_seconds, megabytes = million(name)
    if megabytes:
        lines.append(
            f"Measured on a million documents: {million_seconds} s and {megabytes} MB at most "
            "([benchmark](../results/benchmarks/million.md)).\n"
        )
    found = evidence_table(name)
    lines.append("## Evidence\n")
    lines.append(
        f"{found}\nFrom [the records](../results/index.md), which say what can be concluded.\n"
        if found
        else "There is no record of this method yet.\n"
    )
    lines.append(f"## Settings\n\n`selector.NAME=VALUE`\n\n{settings_table([one])}")
    return "\n".join(lines)


def section(title: str, text: str) -> str:
    """Returns a section; the first paragraph of a formula that is one is set as code."""
    if title != "Formula":
        return text
    parts = text.split("\n\n")
    return "\n\n".join(
        f"```text\n{part}\n```" if re.search(r" = |[(\[]x[_)\]]", part.split(":")[0] + part[:60])
        and not part.rstrip().endswith(".") else part
        for part in parts
    )  # fmt: skip


def vectors_page() -> str:
    """Returns the page of all featurizers: a row and a section each."""
    rows, parts = [], []
    for one in options("featurizer"):
        said = described(class_of(one.target))
        rows.append([f"[`{one.name}`](#{one.name})", cell(sentence(one.comment))])
        sections = "\n\n".join(
            f"**{title}.** {one_line(said.sections[title])}" for title in SECTIONS
        )
        cls = class_of(one.target)
        parts.append(
            f"## {one.name}\n\n{one.comment}\n\nClass [`{cls.name}`][{cls.path}]: {said.summary} "
            f"{one_line(said.body)}\n\n{sections}\n\n{settings_table([one])}"
        )
    return (
        "# Vectors\n\nA featurizer turns documents into vectors; a method brings its own, and "
        "`featurizer=NAME` chooses another. Measured speed: "
        "[featurizers](results/benchmarks/featurizers.md).\n\n"
        f"{table(('featurizer', 'what it gives'), rows)}\n" + "\n".join(parts)
    )


def settings_index() -> str:
    """Returns the page of the settings that belong to no group, and of all groups."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    types = root_types()
    unset = re.findall(r"^#   (\w+) +(.+)$", text, flags=re.MULTILINE)
    targets = [[f"`{name}`", code_cell(types.get(name, "")), cell(what)] for name, what in unset]
    listed = [
        [f"[`{group}`]({group}.md)", what, str(len(options(group)))]
        for group, what in groups().items()
    ]
    return (
        "# Settings\n\n`NAME=VALUE` sets a value, `GROUP=OPTION` chooses a file of "
        "`conf/GROUP`. `python run.py --explain selector=gotd` prints which file set what, "
        "`--cfg job` the whole configuration. Types are checked before anything runs.\n\n"
        f"## Groups\n\n{table(('group', 'an option is', 'options'), listed, right=(2,))}\n"
        f"## Settings of a cell\n\n{root_table(settings_in(text))}\n"
        "## Targets\n\nUnset unless given, so that a method can set them: the targets of the "
        f"selection, where they differ from the task.\n\n{table(('name', 'type', 'example'), targets)}"
    )


def root_types() -> dict[str, str]:
    """Returns the types of the schema (`shortlist.config`) by dotted name."""
    module = package()["config"]
    assert isinstance(module, griffe.Module)
    found: dict[str, str] = {}

    def walk(cls: griffe.Class, prefix: str) -> None:
        for name, attribute in cls.attributes.items():
            annotation = str(getattr(attribute, "annotation", "") or "")
            inner = module.members.get(annotation.partition(" ")[0])
            if isinstance(inner, griffe.Class):
                walk(inner, f"{prefix}{name}.")
            else:
                found[f"{prefix}{name}"] = spelled(annotation, cls.module)

    root = module["Config"]
    assert isinstance(root, griffe.Class)
    walk(root, "")
    walk(class_of("shortlist.pipeline.compose.Prefilter"), "pool.prefilter.")
    return found


def settings_page(group: str) -> str:
    """Returns the settings of all options of a group, by class."""
    found = options(group)
    parts = [f"# {group}\n\n{capital(groups()[group])} What each does: [{PAGES_OF[group][0]}]"
             f"({PAGES_OF[group][1]}).\n" if group in PAGES_OF else
             f"# {group}\n\n{capital(groups()[group])}\n"]  # fmt: skip
    rows = [[f"`{one.name}`", cell(sentence(one.comment))] for one in found]
    parts.append(table(("option", "what it is"), rows))
    by_class: dict[str, list[Option]] = {}
    for one in found:
        by_class.setdefault(one.target, []).append(one)
    for target, members in by_class.items():
        names = ", ".join(f"`{one.name}`" for one in members)
        if target:
            cls = class_of(target)
            parts.append(f"## {cls.name}\n\nClass [`{cls.path}`][{cls.path}]: {names}.\n")
            if any(one.settings for one in members):
                parts.append(settings_table(members))
        elif group in ROOT_GROUPS:
            parts.append(
                root_table(
                    max(members, key=lambda one: len(one.settings)).settings.values(), f"{group}."
                )
            )
        parts += [yaml_block(one) for one in members]
    return "\n".join(parts)


def yaml_block(one: Option) -> str:
    """Returns an option's file, folded."""
    text = (ROOT / one.path).read_text(encoding="utf-8")
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return f'??? note "{one.path}"\n    ```yaml\n{indented}    ```\n'


def root_table(settings: Iterable[Setting], prefix: str = "") -> str:
    """Returns settings that the schema types: name, type, default, meaning."""
    types = root_types()
    rows = [
        [f"`{one.name}`", code_cell(types.get(f"{prefix}{one.name}", "")), code_cell(one.default),
         cell(capital(one.comment))]
        for one in settings
    ]  # fmt: skip
    return table(("name", "type", "default", "meaning"), rows)


FIELDS = ("Command", "Reproduces", "Hardware", "Hours", "Deviations")


def experiment_fields(comment: str) -> dict[str, str]:
    """Returns the parts of the header of an experiment: `What`, and the `FIELDS` it has."""
    found: dict[str, list[str]] = {"What": []}
    current = "What"
    for line in comment.splitlines():
        name, colon, rest = line.partition(":")
        if colon and name in FIELDS:
            current, line = name, rest
        found.setdefault(current, []).append(line.strip())
    return {
        name: "\n".join(lines) if name == "Command" else one_line(" ".join(lines))
        for name, lines in found.items()
    }


def experiments_page() -> str:
    """Returns the page of all experiments: a row and a section each."""
    rows, parts = [], []
    for one in options("experiment"):
        said = experiment_fields(one.comment)
        rows.append(
            [
                f"[`{one.name}`](#{one.name})",
                cell(said["What"]),
                linked(cell(said.get("Hours", ""))),
            ]
        )
        lines = [f"## {one.name}\n", f"{said['What']}\n"]
        if "Command" in said:
            lines.append(f"```bash\n{command_lines(said['Command'])}\n```\n")
        facts = [[name, linked(cell(said[name]))] for name in FIELDS[1:] if name in said]
        lines.append(table(("", ""), facts))
        parts.append("\n".join(lines))
    return (
        "# Experiments\n\n`experiment=NAME` runs a table of a paper or a comparison of our own; "
        "any axis can be narrowed (`task=chemprot seed=0`), `size=mini` is the version for two "
        "cores. How long the small versions took: [minis](results/benchmarks/minis.md). Published "
        "numbers beside ours: `python -m shortlist.leaderboard gotd_table3`.\n\n"
        f"{table(('experiment', 'what it compares', 'hours'), rows)}\n" + "\n".join(parts)
    )


def linked(text: str) -> str:
    """Returns the text with links to the pages of `results` that it names."""
    return re.sub(r"results/(benchmarks/\w+)\.md", r"[\1](results/\1.md)", text)


def command_lines(text: str) -> str:
    """Returns the commands of a header; what is no command becomes a comment."""
    lines = [line for line in text.splitlines() if line]
    return "\n".join(line if line.startswith("python ") else f"# {line}" for line in lines)


def command_line_page() -> str:
    """Returns the page of the console script: the help of each command, as it is printed."""
    sys.path.insert(0, str(ROOT / "src"))
    from shortlist.cli.commands import EXIT_CODES, parser

    sys.path.pop(0)
    with unittest.mock.patch.dict(os.environ, COLUMNS="96"):
        (commands,) = (
            one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)
        )
        rows = [
            [f"[`shortlist {one.dest}`](#{one.dest})", cell(capital(one.help or ""))]
            for one in commands._choices_actions
        ]
        parts = [
            "# Command line\n\n`shortlist` composes the configuration that `run.py` composes and calls "
            "the same pipeline; `python -m shortlist` is the same. What stands after `--` are "
            f"[settings](settings/index.md).\n\n{table(('command', 'what it does'), rows)}\n"
            f"```text\n{EXIT_CODES}\n```\n"
        ]
        for name, command in commands.choices.items():
            parts.append(f"## {name}\n\n```text\n{command.format_help().rstrip()}\n```\n")
            for one in command._actions:
                if isinstance(one, argparse._SubParsersAction):
                    parts += [
                        f"### {name} {kind}\n\n```text\n{inner.format_help().rstrip()}\n```\n"
                        for kind, inner in one.choices.items()
                    ]
    return "\n".join(parts)


# --- Blocks of pages written by hand -------------------------------------------------------------


def decision_table() -> str:
    """Returns the methods with a measured cost or evidence, and what was measured."""
    rows = []
    for names in families().values():
        for name in names:
            cost, (large, megabytes) = selection_cost(name), million(name)
            drop, _ = verdicts(name, "mlm_loss_drop")
            toxicity, found = verdicts(name, "emt_toxic")
            if {cost, large, drop, toxicity} == {NOT_MEASURED}:
                continue
            gain = "; ".join(f"{float(row['gain']):+.3f} ({row['verdict']})" for row in found)
            rows.append(
                [
                    f"[`{name}`](methods/{name}.md)",
                    kind_of(option("selector", name)),
                    cost,
                    f"{large} s, {megabytes} MB" if megabytes else NOT_MEASURED,
                    drop,
                    gain or NOT_MEASURED,
                ]
            )
    head = (
        "method", "reads", "selection (s)", "1M documents", "loss on the target's texts",
        "toxicity of continuations",
    )  # fmt: skip
    return table(head, rows, right=(2,))


def unmeasured_methods() -> str:
    """Returns the methods without any record or benchmark, by name."""
    names = [
        f"[`{name}`](methods/{name}.md)"
        for names in families().values()
        for name in names
        if (selection_cost(name), million(name)[0]) == (NOT_MEASURED, NOT_MEASURED)
    ]
    return ", ".join(names) + "\n"


def practices_table() -> str:
    """Returns, for each number of labels, the gain of each practice of fine-tuning over none on each
    task, with its 95 % interval over seeds and test items; in bold what stays significant after
    Holm's correction for the practices.
    """
    runs: dict[int, dict[str, dict[str, dict[int, Record]]]] = {}
    for record in read_records(RESULTS / "practices"):
        typed = dict(text.split("=", 1) for text in record.overrides)
        if "practice" in typed and record.status == "done":
            tasks = runs.setdefault(record.counts["task_train"], {})
            by_seed = tasks.setdefault(record.axes.task, {}).setdefault(typed["practice"], {})
            by_seed[record.axes.seed] = record
    blocks: list[str] = []
    for labels, tasks in sorted(runs.items()):
        columns = [(task, *practice_gains(found)) for task, found in sorted(tasks.items())]
        names = [name for name in columns[0][2] if all(name in cells for _, _, cells in columns)]
        rows = [[f"`{name}`", *(cells[name] for _, _, cells in columns)] for name in names]
        head = [f"{task.replace('_', ' ')}, {seeds} seeds" for task, seeds, _ in columns]
        blocks.append(table([f"{labels:,} labels", *head], rows))
    return "\n\n".join(blocks)


def practice_gains(
    by_practice: Mapping[str, Mapping[int, Record]],
) -> tuple[int, dict[str, str]]:
    """Returns the number of seeds that all practices have, and the cell of each practice: its gain
    in the primary metric over `plain`, paired by seed and test item; of `plain` the mean.
    """
    names = ["plain", *sorted(set(by_practice) - {"plain"})]
    seeds = sorted(set.intersection(*(set(by_practice[name]) for name in names)))
    chosen = [[by_practice[name][seed] for seed in seeds] for name in names]
    metric = next(one.name for one in chosen[0][0].metrics if one.primary)
    found = [
        [(record.metric(metric), record.item_scores[metric]) for record in row] for row in chosen
    ]
    values = np.array([[one.value for one, _ in row] for row in found])
    items = np.array([[unpack_item_scores(packed, one.n) for one, packed in row] for row in found])
    differences = compare(values, items)
    p = holm(differences.p[1:, 0])
    cells = {"plain": f"{values[0].mean():.3f}"}
    for place, name in enumerate(names[1:], start=1):
        gain = differences.mean[place, 0]
        half = half_width(float(differences.stderr[place, 0]), float(differences.df[place, 0]))
        text = f"{gain:+.3f} [{gain - half:+.3f}, {gain + half:+.3f}]"
        cells[name] = f"**{text}**" if p[place - 1] < 0.05 else text
    return len(seeds), cells


def own_files_cost() -> str:
    """Returns what a selection from own files took, from `results/benchmarks/own_files.md`."""
    text = (RESULTS / "benchmarks/own_files.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "documents of" in line)
    return f"{line}\n"


BLOCKS: dict[str, Callable[[], str]] = {
    "decision table": decision_table,
    "methods without a measurement": unmeasured_methods,
    "own files": own_files_cost,
    "practices": practices_table,
}


def expand(markdown: str) -> str:
    """Returns a page with its generated blocks.

    Raises:
        KeyError: the page names a block that does not exist.
    """
    return re.sub(r"<!-- generated: (.+?) -->", lambda marked: BLOCKS[marked.group(1)](), markdown)


# --- The site ------------------------------------------------------------------------------------


def packages() -> list[str]:
    """Returns the packages and top-level modules of the API reference, what users import first."""
    found = (
        name
        for name, member in package().members.items()
        if not member.is_alias and member.is_module and name[0] != "_"
    )
    return sorted(found, key=lambda name: (name not in ("api", "transport"), name))


def reference_page(name: str) -> str:
    """Returns the page of a package: its modules, read by mkdocstrings."""
    return f"# shortlist.{name}\n\n::: shortlist.{name}\n"


def notebooks() -> list[Path]:
    """Returns the notebooks in `docs/notebooks`."""
    return sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def notebook_page(path: Path) -> str:
    """Returns a notebook as Markdown, with the outputs of `make notebooks` where it has run."""
    executed = ROOT / "outputs/notebooks" / path.name
    current = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = json.loads(executed.read_text("utf-8"))["cells"] if executed.exists() else current
    if [one["source"] for one in cells] != [one["source"] for one in current]:
        cells = current  # executed before the last change
    parts: list[str] = []
    for each in cells:
        text = "".join(each["source"])
        parts.append(text if each["cell_type"] == "markdown" else f"```python\n{text}\n```")
        shown = [
            "".join(output.get("text") or output.get("data", {}).get("text/plain") or "")
            for output in each.get("outputs", ())
            if output.get("name") != "stderr"
        ]
        printed = re.sub(r"\x1b\[[0-9;]*m", "", "".join(shown)).rstrip()
        parts += [f"```text\n{printed}\n```"] if printed else []
    parts.insert(1, f"The notebook `{path.relative_to(ROOT)}`; `make notebooks` runs it.")
    return "\n\n".join(parts) + "\n"


def generated_pages() -> dict[str, str]:
    """Returns the Markdown of every generated page by its path in the site."""
    pages = {
        "methods/index.md": methods_index(),
        **{
            f"methods/{name}.md": method_page(name)
            for names in families().values()
            for name in names
        },
        "vectors.md": vectors_page(),
        "settings/index.md": settings_index(),
        **{f"settings/{group}.md": settings_page(group) for group in groups()},
        "experiments.md": experiments_page(),
        "command-line.md": command_line_page(),
        **{f"reference/{name}.md": reference_page(name) for name in packages()},
        **{f"notebooks/{path.stem}.md": notebook_page(path) for path in notebooks()},
    }
    for source, page in copied_pages().items():
        pages[page] = relink((ROOT / source).read_text(encoding="utf-8"), source, page)
    return pages


def copied_pages() -> dict[str, str]:
    """Returns the pages that lie elsewhere: path in the repository -> path in the site."""
    benchmarks = sorted((RESULTS / "benchmarks").rglob("*.md"))
    found = {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
             for path in benchmarks}  # fmt: skip
    return ELSEWHERE | found


def relink(markdown: str, source: str, page: str) -> str:
    """Returns Markdown with links into the repository pointed at the pages of the site.

    A link to a file that has no page becomes its text.

    Args:
        markdown: the text.
        source: path of the text in the repository, to which its links are relative.
        page: path of the page in the site.
    """
    pages = copied_pages() | {image: image for image in IMAGES}

    def replaced(link: re.Match[str]) -> str:
        bang, text, address = link.groups()
        if re.match(r"[a-z]+:|#|/", address):
            return link.group()
        path, _, anchor = address.partition("#")
        found = os.path.normpath(f"{Path(source).parent}/{path}").replace(os.sep, "/")
        module = re.fullmatch(r"src/(shortlist/[\w/]+?)(?:/__init__)?\.py", found)
        if module:
            return f"[{text}][{module.group(1).replace('/', '.')}]"
        if found == "README.md":
            found = "docs/index.md"
        if found in ("docs/decisions", "results", "results/benchmarks", "benchmarks"):
            found += "/README.md" if found != "results/benchmarks" else "/transport.md"
        target = pages.get(found)
        if target is None and found.startswith("docs/"):
            target = found.removeprefix("docs/")
        if target is None:
            return text
        relative = os.path.relpath(target, Path(page).parent).replace(os.sep, "/")
        return f"{bang}[{text}]({relative}{'#' + anchor if anchor else ''})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", replaced, markdown)


def navigation(nav: list[Any]) -> list[Any]:
    """Returns the navigation with the generated pages in place of their markers."""
    lists: dict[str, list[Any]] = {
        "methods": [
            "methods/index.md",
            *({family: [{name: f"methods/{name}.md"} for name in names]}
              for family, names in families().items()),
        ],
        "settings": ["settings/index.md", *({group: f"settings/{group}.md"} for group in groups())],
        "reference": [{f"shortlist.{name}": f"reference/{name}.md"} for name in packages()],
        "benchmarks": [
            {"How they are measured": ELSEWHERE["benchmarks/README.md"]},
            *({Path(page).with_suffix("").as_posix().removeprefix("results/benchmarks/"): page}
              for page in copied_pages().values()
              if page.startswith("results/benchmarks/") and not page.endswith("index.md")),
        ],
        "decisions": [
            "decisions/README.md",
            *(f"decisions/{path.name}" for path in
              sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))),
        ],
    }  # fmt: skip

    def filled(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: filled(inner) for title, inner in entry.items()}
        if isinstance(entry, list):
            return [
                one
                for inner in entry
                for one in (lists[inner[1:-1]] if str(inner).startswith("<") else [filled(inner)])
            ]
        return entry

    return filled(nav)


def on_config(config: Any) -> Any:
    """Fills the navigation of `mkdocs.yml`."""
    config.nav = navigation(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages and the pictures of the results."""
    from mkdocs.structure.files import File

    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    for image in IMAGES:
        files.append(File.generated(config, image, abs_src_path=str(ROOT / image)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Expands generated blocks, and links of pages in `docs` to files of the repository."""
    path = page.file.src_uri
    if page.file.generated_by is None:
        markdown = relink(expand(markdown), f"docs/{path}", path)
    return markdown


def outside_request(text: str) -> str:
    """Returns the first address on another machine that a page or style sheet loads, or ""."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|link(?![^>]*rel=["']?(?:canonical|next|prev)))\b[^>]*"""
        r"""(?:src|href)=["']?((?:https?:)?//[^"' >]+)|url\(["']?((?:https?:)?//[^"')]+)"""
        r"""|@import\s+["']((?:https?:)?//[^"']+)"""
    )
    found = loads.search(text)
    return next(filter(None, found.groups())) if found else ""


def on_post_build(config: Any) -> None:
    """Checks that no page loads anything from another machine.

    Raises:
        ValueError: a page does.
    """
    for path in Path(config.site_dir).rglob("*"):
        if path.suffix in (".html", ".css"):
            address = outside_request(path.read_text(encoding="utf-8"))
            if address:
                raise ValueError(f"{path}: expected no request to other machines, found {address}")
