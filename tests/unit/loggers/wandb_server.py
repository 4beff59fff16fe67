"""As much of a W&B server as wandb speaks to, on 127.0.0.1, with what it was sent kept in memory.

Runs are keyed by (entity, project, id). A line of a streamed file lies at the offset that the client
names, and the number of history lines is told to the client, as W&B does: whether sending a run again
replaces or repeats lines is thus the client's doing. A version of an artifact is its digest.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

ENTITY = "owner"
HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
# Clocks, the client's own notes, and references by ids that it draws anew for each upload.
VOLATILE = {"_runtime", "_timestamp", "_wandb", "artifact_path", "_latest_artifact_path"}


@dataclass
class Run:
    """A run: its newest fields, streamed lines by offset, files by name, the exit code."""

    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    streams: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    exit_code: int | None = None

    def lines(self, name: str) -> list[Any]:
        """Returns the decoded lines of a streamed file, in the order of their offsets."""
        return [json.loads(line) for _, line in sorted(self.streams[name].items())]

    def facts(self) -> dict[str, Any]:
        """Returns what a reader sees of the run and what sending it again must not change."""
        config = json.loads(self.fields["config"])
        return {
            "name": self.fields["displayName"],
            "group": self.fields["groupName"],
            "job_type": self.fields["jobType"],
            "config": {key: entry["value"] for key, entry in config.items() if key != "_wandb"},
            "summary": steady(self.lines(SUMMARY)),
            "history": steady(self.lines(HISTORY)),
            "files": sorted(self.files),
            "media": {name: text for name, text in self.files.items() if name.startswith("media")},
            "exit_code": self.exit_code,
        }


@dataclass
class Artifact:
    """A version of an artifact; it counts once it is committed."""

    committed: bool = False
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])


class Server:
    """What was sent, and the answers to it; `unknown` is what it could not answer."""

    def __init__(self) -> None:
        self.lock, self.url = threading.Lock(), ""
        self.runs: dict[tuple[str, str, str], Run] = defaultdict(Run)
        self.artifacts: dict[str, dict[str, Artifact]] = defaultdict(dict)
        self.unknown: list[str] = []
        self.answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ServerFeaturesQuery": lambda given: {"serverInfo": {"features": []}},
            "Viewer": lambda given: {"viewer": {"entity": ENTITY, "username": ENTITY}},
            "ArtifactType": lambda given: {"project": {"artifact": None}},
            "UpsertBucket": self.upsert,
            "CreateRunFiles": self.announce_files,
            "CreateArtifact": self.create_artifact,
            "CreateArtifactManifest": self.announce_manifest,
            "CreateArtifactFiles": self.announce_artifact_files,
            "CommitArtifact": self.commit_artifact,
        }

    def facts(self) -> dict[str, Any]:
        """Returns what a reader sees of all runs, by id."""
        with self.lock:
            return {key[2]: run.facts() for key, run in self.runs.items()}

    def graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = operation[1] if operation else query
        if name not in self.answers:
            self.unknown.append(name)
            return {"errors": [{"message": f"{name} is not known here"}]}
        return {"data": self.answers[name](given)}

    def upsert(self, given: dict[str, Any]) -> Any:
        key = (given["entity"] or ENTITY, given["project"], given["name"])
        inserted, run = key not in self.runs, self.runs[key]
        run.fields |= {name: value for name, value in given.items() if value is not None}
        bucket = {
            "id": key[2],
            "name": key[2],
            "displayName": run.fields["displayName"],
            "project": {"id": key[1], "name": key[1], "entity": {"id": key[0], "name": key[0]}},
            "historyLineCount": len(run.streams[HISTORY]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def announce_files(self, given: dict[str, Any]) -> Any:
        key = [given[name] for name in ("entity", "project", "run")]
        files = [{"name": name, "uploadUrl": self.address(*key, name)} for name in given["files"]]
        return {"createRunFiles": {"runID": key[2], "uploadHeaders": [], "files": files}}

    def create_artifact(self, given: dict[str, Any]) -> Any:
        collection, digest = given["input"]["artifactCollectionName"], given["input"]["digest"]
        version = self.artifacts[collection].setdefault(digest, Artifact())
        artifact = {
            "id": f"{collection}:{digest}",
            "state": "COMMITTED" if version.committed else "PENDING",
            "artifactSequence": {"latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def announce_manifest(self, given: dict[str, Any]) -> Any:
        address = self.address("artifact", given["artifactID"], "manifest")
        file = {"id": given["digest"], "uploadUrl": address, "uploadHeaders": []}
        answer = {"artifactManifest": {"id": given["artifactID"], "file": file}}
        return {"createArtifactManifest": answer}

    def announce_artifact_files(self, given: dict[str, Any]) -> Any:
        nodes = [
            {
                "storagePath": file["name"],
                "uploadUrl": self.address("artifact", file["artifactID"], file["name"]),
                "uploadHeaders": [],
                "artifact": {"id": file["artifactID"]},
            }
            for file in given["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def commit_artifact(self, given: dict[str, Any]) -> Any:
        collection, digest = given["artifactID"].split(":")
        self.artifacts[collection][digest].committed = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": digest}}}

    def address(self, *parts: str) -> str:
        return "/".join([self.url, "upload", *(quote(part, safe="") for part in parts)])

    def keep(self, parts: list[str], content: bytes) -> None:
        """Keeps an uploaded file, replacing the one of the same name."""
        if parts[0] == "artifact":
            collection, digest = parts[1].split(":")
            self.artifacts[collection][digest].files[parts[2]] = content
        else:
            self.runs[parts[0], parts[1], parts[2]].files[parts[3]] = content

    def stream(self, key: tuple[str, str, str], sent: dict[str, Any]) -> None:
        run = self.runs[key]
        for name, part in sent.get("files", {}).items():
            run.streams[name] |= dict(enumerate(part["content"], part["offset"]))
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]


@contextmanager
def serving() -> Iterator[Server]:
    """Yields a server that answers on a free port of 127.0.0.1 until the block ends."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent, parts = json.loads(self.body()), self.parts()
            answer: dict[str, Any] = {}
            with server.lock:
                if parts == ["graphql"]:
                    answer = server.graphql(sent["query"], sent.get("variables") or {})
                elif parts[0] == "files" and parts[-1] == "file_stream":
                    server.stream((parts[1], parts[2], parts[3]), sent)
                else:
                    server.unknown.append(self.path)
            self.reply(json.dumps(answer).encode())

        def do_PUT(self) -> None:
            content = self.body()
            with server.lock:
                server.keep(self.parts()[1:], content)
            self.reply(b"")

        def parts(self) -> list[str]:
            return [unquote(part) for part in self.path[1:].split("/")]

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def reply(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def steady(value: Any) -> Any:
    """Returns the value without what differs between two uploads of the same run."""
    if isinstance(value, dict):
        return {key: steady(entry) for key, entry in value.items() if key not in VOLATILE}
    return [steady(entry) for entry in value] if isinstance(value, list) else value
