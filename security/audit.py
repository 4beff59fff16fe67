"""Compares requirements.lock with known advisories, without a network.

    python security/audit.py                     with the snapshot in security/advisories.json
    python security/audit.py --advisories CLONE  with a newer clone of github.com/pypa/advisory-database
    python security/audit.py --advisories CLONE --update    and keep its part as the new snapshot

The snapshot holds identifiers and ranges of pypa/advisory-database (CC BY 4.0). Exit code 0 without
a finding, 1 with one. The last lines say what was not checked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

HERE = Path(__file__).parent
LOCK, SNAPSHOT = HERE.parent / "requirements.lock", HERE / "advisories.json"
Advisory = Mapping[str, Any]  # id, aliases, ranges (events of OSV), versions


def locked(text: str) -> dict[str, str]:
    """Returns the version of each package of a lock file.

    Raises:
        ValueError: a line is not `NAME==VERSION`.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        match = re.fullmatch(r"([\w.\-]+)==([\w.+!\-]+)(\s*;.*)?", line)
        if match:
            found[canonicalize_name(match[1])] = match[2]
        elif line:
            raise ValueError(f"line {number}: expected NAME==VERSION, found {line!r}")
    return found


def affects(advisory: Advisory, version: str) -> bool:
    """Returns whether a version is listed by an advisory or lies in one of its ranges."""
    if version in advisory["versions"]:
        return True
    own = Version(version)
    return any(_inside(events, own) for events in advisory["ranges"])


def _inside(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    """Returns whether the last event up to the version opens the range (OSV, `affected.ranges`)."""
    inside = False
    for event in sorted(events, key=lambda event: _version(*event.values())):
        ((kind, at),) = event.items()
        if kind == "last_affected":
            inside = inside and version <= _version(at)
        elif _version(at) <= version:
            inside = kind == "introduced"
    return inside


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


def read_clone(clone: Path, packages: Mapping[str, str]) -> dict[str, Any]:
    """Returns the advisories of some packages in a clone of the database, and its commit and date."""
    import yaml

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(clone), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    commit, day = git("log", "-1", "--format=%H %cs").split()
    found: dict[str, list[Advisory]] = {}
    for path in git("ls-tree", "-r", "--name-only", "HEAD", "vulns/").splitlines():
        package = canonicalize_name(Path(path).parent.name)
        if package not in packages or not path.endswith(".yaml"):
            continue
        content = yaml.safe_load(git("show", f"HEAD:{path}"))
        if content.get("withdrawn"):
            continue
        ranges, versions = list[Any](), list[str]()
        for affected in content["affected"]:
            ranges += [r["events"] for r in affected.get("ranges", ()) if r["type"] == "ECOSYSTEM"]
            versions += affected.get("versions", ())
        names = {"id": content["id"], "aliases": content.get("aliases", [])}
        # Versions that a range covers are not listed again.
        listed = [v for v in versions if not any(_inside(e, _version(v)) for e in ranges)]
        found.setdefault(package, []).append({**names, "ranges": ranges, "versions": listed})
    return {"source": "pypa/advisory-database", "commit": commit, "date": day, "advisories": found}


def report(packages: Mapping[str, str], known: Mapping[str, Any], today: date) -> Iterator[str]:
    """Yields the lines of the report; those of findings begin with `AFFECTED`."""
    advisories = {name: known["advisories"].get(name, []) for name in packages}
    count = sum(map(len, advisories.values()))
    age = (today - date.fromisoformat(known["date"])).days
    unknown = [name for name in packages if not advisories[name]]
    yield f"checked: {len(packages)} packages of {LOCK.name}, each pinned to one version"
    yield (
        f"against: {count} advisories of {len(packages) - len(unknown)} of them, from "
        f"{known['source']} at {known['commit'][:12]} of {known['date']}, {age} days old"
    )
    for name, version in packages.items():
        for advisory in advisories[name]:
            if affects(advisory, version):
                names = ", ".join([advisory["id"], *advisory["aliases"]])
                yield f"AFFECTED: {name} {version}: {names}"
    yield "NOT checked:"
    yield f"- whatever was published after {known['date']}"
    yield f"- {len(unknown)} packages of which the database knew nothing: unknown, not safe"
    yield "- libraries inside wheels (OpenSSL, CUDA), the interpreter, the operating system, peers"
    yield "- the files themselves: the lock pins versions, not hashes"
    yield "with a network: pip-audit --requirement requirements.lock --no-deps --disable-pip"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--advisories", type=Path, metavar="CLONE")
    parser.add_argument("--update", action="store_true", help="write security/advisories.json")
    options = parser.parse_args(arguments)
    packages = locked(LOCK.read_text(encoding="utf-8"))
    if options.advisories:
        known = read_clone(options.advisories, packages)
    else:
        known = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    if options.update:
        SNAPSHOT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    lines = list(report(packages, known, datetime.now(UTC).date()))
    print(*lines, sep="\n")
    return int(any(line.startswith("AFFECTED") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
