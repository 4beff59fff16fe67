"""The methods as a table: what each one needs, what it costs, where it was published.

Everything is read from the YAML of `conf/selector` and the docstrings of the classes that it names
(their sections `Paper:` and `Cost:`), without importing them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from shortlist.config import folder

_ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")


@dataclass(frozen=True)
class Method:
    """One option of the group `selector`.

    Attributes:
        name: the option.
        summary: the first sentence of its YAML.
        target: whether it reads the target's texts.
        vectors: the featurizers whose vectors it reads; empty for one that reads texts or nothing.
        cost: what its vectors and its fit cost, as the classes say it.
        paper: authors, venue and year; empty for a method that no paper describes.
        arxiv: arXiv identifier.
        target_class: import path of its class.
    """

    name: str
    summary: str
    target: bool
    vectors: tuple[str, ...]
    cost: str
    paper: str
    arxiv: str
    target_class: str


def catalogue() -> tuple[Method, ...]:
    """Returns all methods, sorted by name."""
    return tuple(_method(path.stem) for path in sorted((folder() / "selector").glob("*.yaml")))


def _method(name: str) -> Method:
    nodes = list(_lineage(name))
    class_path = next((node["_target_"] for _, node in nodes if "_target_" in node), "")
    comment = " ".join(_comment(folder() / "selector" / f"{name}.yaml"))
    vectors = [v for entry in _entries(nodes, "featurizer") for v in entry if v != "none"]
    vectors = list(dict.fromkeys(vectors))
    members = [member for entry in _entries(nodes, "selector") for member in entry]
    costs = [*map(_cost_of, vectors), _first(_section(class_path, "Cost"))]
    paper = _first(_section(class_path, "Paper"))
    numbers = _ARXIV.findall(paper)
    return Method(
        name,
        _summary(comment),
        _reads_target(class_path) or any(_method(member).target for member in members),
        tuple(vectors),
        _joined(dict.fromkeys(cost for cost in costs if cost)),
        re.sub(r" \(arXiv.*|: .*|, (sections?|eq)\b.*", "", paper)
        if re.search(r"\b(19|20)\d\d\b", paper)
        else "",
        numbers[0] if numbers else "",
        class_path,
    )


def _joined(sentences: Iterable[str]) -> str:
    """Returns sentences joined by semicolons."""
    first, *rest = *sentences, ""
    clauses = [f"{one[0].lower()}{one[1:]}" if one[1:2].islower() else one for one in rest if one]
    return "; ".join([first, *clauses])


def _summary(comment: str) -> str:
    """Returns the first sentence, without the reference that the column of papers has."""
    sentence = re.split(r"(?<!al)\.(?:\s|$)|: selector=", comment, maxsplit=1)[0]
    return re.sub(r" \([^()]*\b\d{4}\)", "", sentence)


def _lineage(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields a YAML of the group and those that it extends, itself first."""
    node: Any = OmegaConf.to_container(OmegaConf.load(folder() / "selector" / f"{name}.yaml"))
    yield name, node
    for entry in node.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            yield from _lineage(entry.partition("@")[0])


def _entries(nodes: list[tuple[str, dict[str, Any]]], group: str) -> Iterator[list[str]]:
    """Yields the options of a group that the first YAML of the lineage with any such chooses."""
    for _, node in nodes:
        chosen = [
            str(option)
            for entry in node.get("defaults", [])
            if isinstance(entry, dict)
            for name, option in entry.items()
            if name.removeprefix("override ").startswith(f"/{group}")
        ]
        if chosen:
            yield chosen
            return


@cache
def _cost_of(featurizer: str) -> str:
    node: Any = OmegaConf.to_container(OmegaConf.load(folder() / f"featurizer/{featurizer}.yaml"))
    if "_target_" not in node:
        base = next(e for e in node["defaults"] if isinstance(e, str) and e != "_self_")
        tuned = any("tuning" in str(e) for e in node["defaults"]) and node.get("tuning", 1)
        return _cost_of(base) + (" after training on the target" if tuned else "")
    return _first(_section(node["_target_"], "Cost"))


def _comment(path: Path) -> list[str]:
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ")
        if not text.startswith("@package"):
            lines.append(text)
    return lines


@cache
def _module(name: str) -> ast.Module:
    spec = find_spec(name)
    source = spec.origin if spec else None
    return ast.parse(Path(source).read_text(encoding="utf-8") if source else "")


def _classes(class_path: str) -> list[ast.ClassDef]:
    """Returns the definition of a class, and those of its bases that its module defines or imports
    from this package.
    """
    module, _, name = class_path.rpartition(".")
    if not module.startswith("shortlist."):
        return []
    tree = _module(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            return [
                node,
                *(c for base in bases for c in _classes(f"{_origin(tree, module, base)}")),
            ]
    return []


def _origin(tree: ast.Module, module: str, name: str) -> str:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
            return f"{node.module}.{name}"
    return f"{module}.{name}"


def _section(class_path: str, title: str) -> str:
    """Returns a section of a class's docstring in one line; empty where there is none."""
    text = next((ast.get_docstring(node) or "" for node in _classes(class_path)[:1]), "")
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def _first(text: str) -> str:
    """Returns the first sentence without its full stop; empty for one that begins with None."""
    sentence = re.split(r"(?<!al)\.(?:\s|$)", text, maxsplit=1)[0]
    return "" if re.match(r"None\b", sentence) else sentence


def _reads_target(class_path: str) -> bool:
    for node in _classes(class_path):
        for line in node.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "traits":
                return "target_aware=False" not in ast.unparse(line.value)
    return True
