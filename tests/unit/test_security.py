"""What SECURITY.md promises of the code, of models and of committed pages."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.precomputed import Precomputed
from shortlist.models import checkpoint
from shortlist.models.pretrained import LocalModel

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "run.py", *sorted((ROOT / "src").rglob("*.py"))]
# Opens a stranger's checkpoint by `torch.load(weights_only=True)`; the module names its exception.
NAMES_AN_EXCEPTION = ROOT / "src/shortlist/evaluation/scorers/detoxify.py"
UNPICKLERS = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def offences(source: str, exception: bool = False) -> Iterator[str]:
    """Yields what a source does that runs code out of data: unpickling, a shell, `eval`, a model's
    own code.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            if {name.split(".")[0] for name in names} & UNPICKLERS and not exception:
                yield f"line {node.lineno}: imports {sorted(names)}"
        inside = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
        if inside and node.attr != "UnpicklingError":
            yield f"line {node.lineno}: pickle.{node.attr}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in ("eval", "exec", "compile", "os.system", "os.popen", "tempfile.mktemp"):
            yield f"line {node.lineno}: {called}"
        if given.get("shell") == "True" or given.get("allow_pickle", "False") != "False":
            yield f"line {node.lineno}: {ast.unparse(node)}"
        if called == "torch.load" and given.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only"
        if called.endswith("from_pretrained") and given.get("trust_remote_code") != "False":
            yield f"line {node.lineno}: from_pretrained without trust_remote_code=False"
        if called.endswith(("yaml.load", "extractall")):
            yield f"line {node.lineno}: {called}"


def test_no_code_is_run_out_of_data() -> None:
    assert len(SOURCES) > 100
    found = {
        str(path.relative_to(ROOT)): list(
            offences(path.read_text(encoding="utf-8"), exception=path == NAMES_AN_EXCEPTION)
        )
        for path in SOURCES
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import os\nos.system('x')", "eval('1')",
        "import subprocess\nsubprocess.run('x', shell=True)", "np.load(p, allow_pickle=True)",
        "torch.load(p)", "torch.load(p, weights_only=False)", "yaml.load(f)",
        "AutoModel.from_pretrained(d)", "M.from_pretrained(d, trust_remote_code=trust)",
    ],
)  # fmt: skip
def test_the_law_finds_what_it_forbids(source: str) -> None:
    assert list(offences(source))


class Code:
    """An object whose unpickling leaves a file."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.ran,))


def test_a_pickle_in_the_place_of_vectors_is_refused_and_not_opened(
    tmp_path: Path, machine: object
) -> None:
    path, ran = tmp_path / "vectors.npy", tmp_path / "ran"
    np.save(path, np.array([Code(ran)], dtype=object), allow_pickle=True)
    path.with_suffix(".ids.txt").write_text("one\n")
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        Precomputed([str(path)]).compute(Corpus.build(["one"]), tmp_path, machine)
    assert not ran.exists()
    np.load(path, allow_pickle=True)
    assert ran.exists()  # the file would have run it


def test_code_in_the_directory_of_a_model_is_not_run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = shutil.copytree(tiny_model, tmp_path / "model")
    ran = tmp_path / "ran"
    (directory / "own.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom transformers import BertConfig as C, BertModel as M\n"
    )
    settings = json.loads((directory / "config.json").read_text())
    own = {"AutoConfig": "own.C", "AutoModel": "own.M", "AutoModelForMaskedLM": "own.M"}
    settings |= {"model_type": "own", "auto_map": own}
    (directory / "config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("builtins.input", lambda prompt="": "y")  # transformers would ask
    for opened in (checkpoint.encoder, checkpoint.masked_lm, checkpoint.causal_lm):
        with pytest.raises(InvalidInput, match=r"needs code of its own .* never run"):
            opened(directory)
    assert not ran.exists()


def test_pickled_weights_beside_another_safetensors_file_are_not_opened(
    tiny_model: Path, tmp_path: Path
) -> None:
    directory = shutil.copytree(tiny_model, tmp_path / "model")
    (directory / "model.safetensors").rename(directory / "adapter.safetensors")
    (directory / "pytorch_model.bin").write_bytes(b"not to be read")
    assert LocalModel(str(directory)).identity()
    with pytest.raises(OSError, match="safetensors"):
        checkpoint.encoder(directory)


PAGES = [ROOT / "results/leaderboard.html", *sorted(ROOT.glob("results/reports/*/*/*.html"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_committed_page_requests_nothing(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None and policy[1].startswith("default-src 'none'")
    assert not re.search(r"https?:", policy[1])
    loads = re.findall(r"<(?:script|img|link|iframe|object|embed|source|video|audio)\b[^>]*>", text)
    assert not [
        tag for tag in loads if re.search(r"\b(?:src|href|data)\s*+=\s*+['\"]?+(?!data:)", tag)
    ]
    style = "".join(re.findall(r"<style\b.*?</style>", text, re.S))
    assert "@import" not in style and not re.search(r"url\((?!['\"]?(?:data:|#))", style)


def test_every_test_that_the_promises_name_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    promises = re.split(r"^- ", text.partition("Not promised")[0], flags=re.M)[1:]
    assert len(promises) >= 9 and all("`tests/" in promise for promise in promises)
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), (path, name)
