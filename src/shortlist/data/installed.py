"""The documentation of the installed packages: real English wherever the project runs.

Docstrings are read with `ast` from the files that a distribution lists, long descriptions from its
metadata. Nothing is imported, nothing depends on the order of the file system or on where it
stands.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import metadata
from pathlib import PurePosixPath

from shortlist.core import digest
from shortlist.data.prose import passages
from shortlist.errors import Missing, near

OURSELVES = "shortlist"
_TESTS = frozenset(("tests", "test", "testing", "_testing", "__pycache__"))
# Copies of other packages: their text would stand in the pool under two names.
_VENDORED = frozenset(
    ("vendor", "_vendor", "vendored", "_vendored", "externals", "extern", "third_party", "_click")
)


@dataclass(frozen=True)
class Passage:
    """A few sentences of documentation.

    Attributes:
        text: the sentences.
        package: normalised name of the distribution.
        document: the file they stand in, `package:path`.
    """

    text: str
    package: str
    document: str


def normalised(name: str) -> str:
    """Returns a distribution name in its one normal spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, metadata.Distribution]:
    """Returns the installed distributions by normalised name, sorted, without this project."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            # The first on the path is the one that an import would find.
            found.setdefault(normalised(name), distribution)
    found.pop(OURSELVES, None)
    return dict(sorted(found.items()))


def chosen(names: Sequence[str], among: dict[str, metadata.Distribution]) -> list[str]:
    """Returns the normalised `names`, sorted.

    Raises:
        Missing: one of them is not installed.
    """
    wanted = sorted({normalised(name) for name in names})
    for name in wanted:
        if name not in among:
            raise Missing(
                f"package {name!r} is not installed, expected one that is; {near(name, among)}"
            )
    return wanted


def digest_of(distribution: metadata.Distribution) -> str:
    """Returns what stands for the files that would be read: version, paths and recorded hashes."""
    parts = [distribution.metadata["Name"], distribution.version]
    for path in _sources(distribution):
        parts.append(str(path))
        recorded = getattr(path, "hash", None)
        parts.append(recorded.value if recorded else "")
    return digest(parts)


def _sources(distribution: metadata.Distribution) -> list[metadata.PackagePath]:
    files = [
        path
        for path in distribution.files or []
        if path.suffix == ".py" and _is_documentation(path)
    ]
    return sorted(files, key=str)


def _is_documentation(path: PurePosixPath) -> bool:
    *folders, name = path.parts
    if ".." in folders or (_TESTS | _VENDORED).intersection(folders):
        return False
    return not name.startswith("test_") and name != "conftest.py" and not name.endswith("_test.py")


def read_package(
    name: str,
    distribution: metadata.Distribution,
    *,
    max_files: int,
    min_chars: int,
    max_chars: int,
) -> tuple[list[Passage], Counter[str]]:
    """Returns the passages of one distribution, and how much was dropped, by reason.

    Args:
        name: its normalised name.
        distribution: the distribution.
        max_files: at most so many files are read, those whose hashed path comes first
            (`files_not_read`).
        min_chars: shortest passage.
        max_chars: longest passage.
    """
    found: list[Passage] = []
    dropped: Counter[str] = Counter()
    sources = sorted(
        _sources(distribution), key=lambda path: blake2b(f"{name}:{path}".encode()).digest()
    )
    dropped["files_not_read"] += max(0, len(sources) - max_files)
    texts = [(f"{name}:README", _long_description(distribution))]
    for path in sources[:max_files]:
        texts += [(f"{name}:{path}", text) for text in _docstrings(path, dropped)]
    for document, text in texts:
        kept, reasons = passages(text, min_chars=min_chars, max_chars=max_chars)
        found += [Passage(passage, name, document) for passage in kept]
        dropped.update(reasons)
    return found, dropped


def _long_description(distribution: metadata.Distribution) -> str:
    # The body of the metadata file, or, in old ones, its field.
    text = str(distribution.metadata.json.get("description") or "")
    return re.sub(r"<[^>\n]*>", "", text)


def _docstrings(path: metadata.PackagePath, dropped: Counter[str]) -> Iterator[str]:
    try:
        source = path.locate().read_bytes()  # type: ignore[attr-defined]
        if b'"""' not in source and b"'''" not in source:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError):
        dropped["unreadable_files"] += 1
        return
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield text
            stack += [
                child
                for child in reversed(node.body)
                if isinstance(
                    child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try
                )
            ]
        elif isinstance(node, ast.If | ast.Try):
            stack += reversed(node.body)
