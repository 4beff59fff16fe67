"""A selection on the hub: its card is valid, its folder loads, and one commit brings it there."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toy

import shortlist
from shortlist import hub
from shortlist.errors import InvalidInput, Missing

PLAIN = {"runtime.progress": False}


@pytest.fixture(scope="module")
def picks(tmp_path_factory: pytest.TempPathFactory) -> shortlist.Picks:
    """A selection whose domains and target try to break Markdown and YAML."""
    place = tmp_path_factory.mktemp("picks")
    rows = [
        {"text": text, "domain": domain}
        for domain in ("| a: b", "<b>`c`", "# d")
        for text in toy.sentences("sailing", 8, seed=len(domain))
    ]
    toy.write_jsonl(place / "my target's.jsonl", [{"text": t} for t in toy.sentences("stars", 5)])
    paths = {f"paths.{name}": str(place / name) for name in ("cache", "runs")}
    return shortlist.select(
        rows, str(place / "my target's.jsonl"), 9, "random", domain_column="domain",
        settings={**PLAIN, **paths}, command="shortlist select 'a b.jsonl'",
    )  # fmt: skip


def test_the_card_is_valid_metadata_and_says_how_to_repeat_it(picks: shortlist.Picks) -> None:
    from huggingface_hub import DatasetCard

    text = (picks.directory / "card.md").read_text(encoding="utf-8")
    assert text == picks.card()
    data = DatasetCard(text).data.to_dict()
    assert data["license"] == "unknown" and data["size_categories"] == ["n<1K"]
    assert data["tags"] == ["shortlist", "data-selection", "random"]
    assert data["pretty_name"] == "9 documents for my target's, selected by random"
    assert "shortlist select 'a b.jsonl'" in text
    for said in (picks.record.selection["sha256"], picks.record.inputs["pool_fingerprint"]):
        assert said in text
    assert "| \\| a: b | " in text and "<b>" not in text.replace("\\<b\\>", "")
    licensed = DatasetCard(picks.card(licence="cc-by-4.0", title='q: "x"')).data.to_dict()
    assert (licensed["license"], licensed["pretty_name"]) == ("cc-by-4.0", 'q: "x"')


@pytest.mark.parametrize(
    ("size", "category"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M")]
)
def test_sizes_are_the_hubs_categories(picks: shortlist.Picks, size: int, category: str) -> None:
    from dataclasses import replace

    record = replace(picks.record, selection={**picks.record.selection, "size": size})
    assert f"\n- {category}\n" in hub.dataset_card(record, "")


def test_the_folder_loads_as_a_data_set(picks: shortlist.Picks, tmp_path: Path) -> None:
    from datasets import load_dataset

    hub.write_folder(tmp_path / "set", picks.to_arrow(), picks.card(), {})
    loaded: Any = load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == picks.to_dataset().to_list()


class Hub(BaseHTTPRequestHandler):
    """What of the hub's interface a commit of small files uses."""

    seen: list[tuple[str, Any]]

    @property
    def place(self) -> str:
        return f"http://{self.headers['Host']}/datasets/me/picks"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        lines = [json.loads(line) for line in body.splitlines() if line]
        self.seen.append((self.path, lines))
        if "/denied" in self.path or "denied" in str(lines):
            self.answer(403, {"error": "Forbidden"})
        elif self.path.endswith("/repos/create"):
            self.answer(200, {"url": self.place, "id": "me/picks"})
        elif "/preupload/" in self.path:
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for f in lines[0]["files"]]  # fmt: skip
            self.answer(200, {"files": files})
        else:
            self.answer(200, {"commitUrl": f"{self.place}/commit/1", "success": True,
                              "commitOid": "1", "pullRequestUrl": None})  # fmt: skip

    def do_GET(self) -> None:
        self.answer(200, {"sha": "0", "id": "me/picks"})

    def answer(self, code: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def asked(
    monkeypatch: pytest.MonkeyPatch, socket_enabled: None
) -> Generator[list[tuple[str, Any]]]:
    """What a hub on this machine is asked; it is the hub of the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    Hub.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        yield Hub.seen
        server.shutdown()


def test_one_commit_brings_the_selection_its_card_and_its_datasheet(
    picks: shortlist.Picks, asked: list[tuple[str, Any]], tmp_path: Path
) -> None:
    url = picks.push_to_hub("me/picks", token="t", licence="mit")
    assert url.startswith("http://127.0.0.1:") and url.endswith("/datasets/me/picks/commit/1")
    commits = [lines for path, lines in asked if "/commit/" in path]
    assert len(commits) == 1 and commits[0][0]["value"]["summary"].startswith("Add 9 documents")
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in commits[0] if line["key"] == "file"
    }  # fmt: skip
    assert set(sent) == {hub.CARD, hub.FILE, "report.html"}
    assert sent[hub.CARD].decode() == picks.card(licence="mit")
    (tmp_path / "got.parquet").write_bytes(sent[hub.FILE])
    assert pq.read_table(tmp_path / "got.parquet").equals(picks.to_arrow())
    (created,) = [lines[0] for path, lines in asked if path.endswith("/repos/create")]
    assert created["type"] == "dataset" and "private" in (created.get("visibility"), *created)


def test_a_hub_that_refuses_or_is_away_is_one_line(
    picks: shortlist.Picks, asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="may be written to"):
        picks.push_to_hub("me/denied", token="t")
    with pytest.raises(InvalidInput, match="not a name"):
        picks.push_to_hub("not a name", token="t")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Missing, match=r"expected the hub at http://127\.0\.0\.1:9"):
        picks.push_to_hub("me/picks", token="t")


def test_a_data_set_of_the_hub_is_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from shortlist.data.inputs import given

    home = tmp_path / "datasets--me--texts"
    snapshot = home / "snapshots" / ("0" * 40)
    (snapshot / "data").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text("0" * 40)
    (home / "refs/v1").write_text("0" * 40)
    for split in ("train", "test"):
        toy.write_jsonl(snapshot / f"data/{split}.jsonl", [{"text": f"{split} text"}])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def names(path: str) -> list[str]:
        return [Path(one).name for one in given(path, tmp_path, "pool", ["text"]).paths]

    assert (
        names("hf:me/texts") == names("hf://datasets/me/texts@v1") == ["test.jsonl", "train.jsonl"]
    )
    assert names("hf:me/texts/data/train*") == ["train.jsonl"]
    with pytest.raises(Missing, match=r"hf:me/none: expected me/none .* fetch it: hf download"):
        names("hf:me/none")
    with pytest.raises(Missing, match=r"hf:me/texts/x/\*"):
        names("hf:me/texts/x/*")
