"""A hub on this machine: the few requests of `huggingface_hub` and `datasets` for the stand-ins.

python -m rehearsal.server FOLDER        prints the port, and serves until it is ended
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rehearsal import models
from rehearsal.layout import REPOSITORIES, commit_of

PATHS = {
    "info": r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>.+))?",
    "tree": r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<path>.*))?",
    "paths": r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)",
    "file": r"/((?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
}


@dataclass(frozen=True)
class Branch:
    """The files of one commit."""

    commit: str
    files: dict[str, bytes]


class Hub:
    """All repositories, by kind and name: their branches."""

    def __init__(self, folder: Path) -> None:
        self.repositories: dict[tuple[str, str], dict[str, Branch]] = {}
        for name, data in REPOSITORIES.items():
            self.repositories["datasets", name] = {
                branch: Branch(commit_of(name, branch, data), data.contents(branch))
                for branch in data.files
            }
        for name, (commit, _, _) in models.MODELS.items():
            place = folder / name
            models.write(place, name)
            files = {path.name: path.read_bytes() for path in place.iterdir()}
            self.repositories["models", name] = {
                "main": Branch(commit or commit_of(name, "main"), files)
            }

    def branch(self, kind: str, name: str, revision: str) -> Branch | None:
        """Returns the files at a branch or commit; None where there is none."""
        branches = self.repositories.get((kind, name), {})
        return branches.get(revision) or next(
            (one for one in branches.values() if one.commit == revision), None
        )


def entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content).hexdigest()
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid}
    if path.endswith((".parquet", ".safetensors", ".gz", ".bin")):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 128}
    return found


class Handler(BaseHTTPRequestHandler):
    """Answers GET, HEAD and POST."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        asked = self.rfile.read(size)
        # `datasets` joins an endpoint and a path that begins with a slash.
        path = re.sub("/+", "/", urlsplit(self.path).path)
        for what, pattern in PATHS.items():
            if match := re.fullmatch(pattern, path):
                parts = {name: unquote(value or "") for name, value in match.groupdict().items()}
                kind = parts.get("kind") or "models"
                branch = self.hub.branch(kind, parts["name"], parts["revision"] or "main")
                if branch is None:
                    known = (kind, parts["name"]) in self.hub.repositories
                    self._missing("RevisionNotFound" if known else "RepoNotFound")
                else:
                    getattr(self, f"_{what}")(branch, parts, asked)
                return
        self._missing("EntryNotFound")

    def _info(self, branch: Branch, parts: dict[str, str], asked: bytes) -> None:
        siblings = [
            {"rfilename": path, "size": len(content)} for path, content in branch.files.items()
        ]
        found = {"id": parts["name"], "sha": branch.commit, "private": False, "tags": [], "downloads": 0,
                 "siblings": siblings, "cardData": {"license": "other"}, "gated": False}  # fmt: skip
        self._json(found)

    def _tree(self, branch: Branch, parts: dict[str, str], asked: bytes) -> None:
        query = parse_qs(urlsplit(self.path).query)
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        folder = f"{parts['path'].rstrip('/')}/" if parts.get("path") else ""
        found: dict[str, dict[str, Any]] = {}
        for path, content in branch.files.items():
            if not path.startswith(folder):
                continue
            levels = path[len(folder) :].split("/")
            for depth in range(1, len(levels)):
                place = folder + "/".join(levels[:depth])
                if recursive or depth == 1:
                    found[place] = {"type": "directory", "path": place, "size": 0, "oid": "0" * 40}
            if recursive or len(levels) == 1:
                found[path] = entry(path, content)
        if folder and not found:
            self._missing("EntryNotFound")
            return
        self._json(list(found.values()))

    def _paths(self, branch: Branch, parts: dict[str, str], asked: bytes) -> None:
        text = asked.decode()
        wanted = (
            json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
        )
        wanted = [wanted] if isinstance(wanted, str) else wanted
        found = [entry(path, branch.files[path]) for path in wanted if path in branch.files]
        folders = [
            path for path in wanted if any(name.startswith(f"{path}/") for name in branch.files)
        ]
        self._json([*found, *({"type": "directory", "path": f, "oid": "0" * 40} for f in folders)])

    def _file(self, branch: Branch, parts: dict[str, str], asked: bytes) -> None:
        content = branch.files.get(parts["path"])
        if content is None:
            self._missing("EntryNotFound", branch.commit)
            return
        known = entry(parts["path"], content)
        first, last, status = 0, len(content) - 1, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or ""):
            first, last, status = int(match[1]), min(int(match[2] or last), last), 206
        headers = {
            "X-Repo-Commit": branch.commit,
            "ETag": f'"{known.get("lfs", known)["oid"]}"',
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(0, usegmt=True),
        }
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(status, content[first : last + 1], "application/octet-stream", headers)

    def _json(self, found: Any) -> None:
        self._send(200, json.dumps(found).encode(), "application/json", {})

    def _missing(self, code: str, commit: str = "") -> None:
        headers = {"X-Error-Code": code, **({"X-Repo-Commit": commit} if commit else {})}
        self._send(404, b"{}", "application/json", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Type": kind,
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def main(folder: Path) -> None:
    """Serves the stand-ins; their models are written under `folder`."""
    Handler.hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
