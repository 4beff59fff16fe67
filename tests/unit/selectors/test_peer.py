"""The boundary to other people's code: what goes out, what must come back, what is said if not."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import ScoredPool
from shortlist.selectors.peer import Peer

# With characters that end a line for str.splitlines but not for JSON lines.
TEXTS = [
    "one two",
    "two\u2028three\x85",
    'a "quoted"\nline',
    "nul \x00 and tab\t",
    "five",
    "six five",
]
RNG = np.random.default_rng(0)


def features(texts: list[str], columns: int = 4) -> Features:
    corpus = Corpus.build(texts)
    values = RNG.normal(size=(len(texts), columns)).astype(np.float32)
    return Features(values, corpus.fingerprint, "key", corpus)


TARGET, POOL = features(TEXTS[:2]), features(TEXTS)


def peer(script: Path | str, **changed: Any) -> Peer:
    settings: dict[str, Any] = {
        "python": sys.executable,
        "script": str(script),
        "checkout": None,
        "needs_checkout": False,
        "vectors": True,
        "arguments": {},
        "timeout": 60.0,
    }
    return Peer(**{**settings, **changed})


def adapter(folder: Path, body: str) -> Path:
    """A script that has read what it was given into `request`, `pool` and `target`."""
    head = (
        "import json, sys, pathlib\n"
        "work = pathlib.Path(sys.argv[1])\n"
        "read = lambda n: [json.loads(l) for l in (work / n).read_text('utf-8').split('\\n') if l]\n"
        "request = json.loads((work / 'request.json').read_text())\n"
        "pool, target = read('pool.jsonl'), read('target.jsonl')\n"
        "def answer(rows):\n"
        "    (work / 'scores.jsonl').write_text('\\n'.join(json.dumps(r) for r in rows) + '\\n')\n"
    )
    path = folder / "mine" / "adapter.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(head + body + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _files_of_failed_runs_go_with_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


LENGTHS = "answer([{'id': row['id'], 'score': len(row['text'])} for row in reversed(pool)])"


def test_texts_and_vectors_go_out_and_scores_come_back_by_id(tmp_path: Path) -> None:
    body = (
        "import numpy as np\n"
        "assert [len(np.load(work / f'{n}.npy')) for n in ('pool', 'target')] == [6, 2]\n"
        "(work / 'facts.json').write_text(json.dumps({'heard': request['arguments']}))\n"
    )
    found = peer(adapter(tmp_path, body + LENGTHS), arguments={"a": [1]})
    facts = found.fit(TARGET, POOL)
    assert found.pool_scores.tolist() == [len(text) for text in TEXTS]
    assert facts["heard"] == {"a": [1]} and facts["not_ranked"] == 0


def test_the_texts_arrive_as_they_are(tmp_path: Path) -> None:
    kept = tmp_path / "seen.json"
    body = f"open({str(kept)!r}, 'w').write(json.dumps([r['text'] for r in pool]))\n{LENGTHS}"
    peer(adapter(tmp_path, body), vectors=False).fit(TARGET, POOL)
    assert json.loads(kept.read_text()) == TEXTS


def test_the_environment_of_this_process_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    body = f"import os\nassert not {{'PYTHONPATH', 'SOME_TOKEN'}} & set(os.environ)\n{LENGTHS}"
    peer(adapter(tmp_path, body)).fit(TARGET, POOL)


def test_paths_are_those_of_the_folder_that_the_command_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "theirs" / "score.py").write_text("score = 7\n")
    monkeypatch.chdir(tmp_path)
    body = (
        "sys.path.insert(0, request['checkout'])\nimport score\n"
        "answer([{'id': row['id'], 'score': score.score} for row in pool])"
    )
    found = peer(adapter(tmp_path, body), python="./python", checkout="theirs", vectors=False)
    assert found.applicable("classification") is None
    found.fit(TARGET, POOL)
    assert found.pool_scores.tolist() == [7.0] * len(TEXTS)


ONE = "rows = [{'id': row['id'], 'score': 1.0} for row in pool]\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "raise SystemExit('no faiss here')",
            r"peer mine ended with code 1: no faiss here \(log: ",
        ),
        ("pass", "left no scores.jsonl"),
        (ONE + "answer(rows[1:])", "each of the pool's 6 documents: 1 are missing, 0 are not"),
        (ONE + "answer([*rows, {'id': 'x', 'score': 1}])", "0 are missing, 1 are not of the pool"),
        (ONE + "answer([*rows, rows[0]])", "wrote id .* twice"),
        (ONE + "rows[2]['score'] = float('nan')\nanswer(rows)", "wrote the score nan"),
        (ONE + "rows[2] = 7\nanswer(rows)", "expected {\"id\": .*found '7'.* line 3"),
    ],
)
def test_what_goes_wrong_there_is_said_in_one_line_here(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        peer(adapter(tmp_path, body)).fit(TARGET, POOL)
    assert "\n" not in str(refused.value)


def test_the_log_is_kept_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        peer(adapter(tmp_path, "print('first')\nraise SystemExit('last')")).fit(TARGET, POOL)
    log = Path(str(refused.value).split("(log: ")[1].rstrip(")"))
    assert sorted(log.read_text().split()) == ["first", "last"]


def test_a_peer_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"stopped after 0\.3 s; set selector\.timeout larger"):
        peer(adapter(tmp_path, "import time\ntime.sleep(60)"), timeout=0.3).fit(TARGET, POOL)


def test_a_budget_beyond_what_the_peer_ranked_is_refused(tmp_path: Path) -> None:
    body = "answer([{'id': r['id'], 'score': 1.0 if n < 4 else None} for n, r in enumerate(pool)])"
    found = peer(adapter(tmp_path, body))
    facts = found.fit(TARGET, POOL)
    assert facts["not_ranked"] == 2
    scores = ScoredPool(found.pool_scores.numpy(), np.arange(6, dtype=np.uint64))
    draw = torch.Generator()
    assert found.select(scores, Budget(4), draw).rows.tolist() == [0, 1, 2, 3]
    with pytest.raises(InvalidInput, match=r"beyond the 4 documents that Peer put in order"):
        found.select(scores, Budget(5), draw)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"python": None}, "set selector.python=PATH"),
        ({"python": "/nowhere/python"}, "no interpreter at /nowhere/python"),
        ({"needs_checkout": True}, "no checkout at None; set selector.checkout=DIR"),
        ({"needs_checkout": True, "checkout": "/nowhere"}, "no checkout at /nowhere"),
        ({"script": "baselines/peers/nobody/adapter.py"}, "peer nobody is not at"),
    ],
)
def test_what_is_not_on_this_machine_is_a_reason_to_skip(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    script = adapter(tmp_path, LENGTHS)
    assert peer(script).applicable("classification") is None
    assert reason in str(peer(**{"script": script, **changed}).applicable("classification"))


def test_another_adapter_or_another_commit_is_another_identity(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path / "theirs",
            check=True,
            capture_output=True,
        )

    (tmp_path / "theirs").mkdir()
    git("init")
    git("commit", "--allow-empty", "-m", "one")
    found = peer(adapter(tmp_path, LENGTHS), checkout=str(tmp_path / "theirs"))
    first = found.identity()
    assert first == found.identity() and len(first["checkout"]) == 40
    (tmp_path / "theirs" / "new.py").write_text("")
    assert found.identity()["checkout"] == first["checkout"] + "+changes"
    adapter(tmp_path, LENGTHS + "  # another")
    assert found.identity()["adapter"] != first["adapter"]
