"""Files of finished artifacts, of every stage and kind, damaged between two runs.

The next run must compute exactly the damaged artifacts again, with one warning each, and end with
the bytes and numbers of an undisturbed run. Weights that the run opens nowhere are left as they are;
they are put back. Records and the ledger of computations are damaged too.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from soak.ground import Ground, apart, difference, digests, leftovers, numbers, wait
from soak.outcome import Outcome

DAMAGES = 600
AT_ONCE = 6  # artifacts damaged before a run


def flip(raw: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(max(1, len(raw)))
    return (
        raw[:at] + bytes([raw[at] ^ (1 << random_.randrange(8))]) + raw[at + 1 :] if raw else b"x"
    )


def zero_a_block(raw: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(max(1, len(raw)))
    changed = raw[:at] + b"\0" * min(512, len(raw) - at) + raw[at + 512 :]
    return changed if changed != raw else flip(raw, random_)


def all_zero(raw: bytes, random_: random.Random) -> bytes:
    return b"\0" * len(raw) if raw.strip(b"\0") else b"x"


def truncate(raw: bytes, random_: random.Random) -> bytes:
    return raw[: random_.randrange(max(1, len(raw)))] if raw else b"x"


def append(raw: bytes, random_: random.Random) -> bytes:
    return raw + random_.randbytes(16)


def replace_all(raw: bytes, random_: random.Random) -> bytes:
    return random_.randbytes(len(raw) + 1)


def not_a_manifest(raw: bytes, random_: random.Random) -> bytes:
    return random_.choice(
        [b"{}", b"null", b"[]", b"", b"\xff\xfe", b'{"files": {}}', b"[" * 10_000]
    )


DAMAGE: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    function.__name__: function
    for function in (flip, zero_a_block, all_zero, truncate, append, replace_all)
}


def damage(path: Path, random_: random.Random) -> str:
    """Returns what was done to a file."""
    kinds = [*DAMAGE, "remove"] + ["not_a_manifest"] * 4 * (path.name == "manifest.json")
    kind = random_.choice(kinds)
    if kind == "remove":
        path.unlink()
    else:
        change = DAMAGE.get(kind, not_a_manifest)
        path.write_bytes(change(path.read_bytes(), random_))
    return kind


def warnings_to(file: Path, work: Callable[[], int]) -> Callable[[], int]:
    """Returns the work, the warnings of the store written to a file."""

    def warned() -> int:
        handler = logging.FileHandler(file, delay=True)
        handler.setLevel(logging.WARNING)
        logging.getLogger("shortlist.store.cache").addHandler(handler)
        return work()

    return warned


def put_back(
    cache: Path, whole: Path, expected: Mapping[str, str], lines: Sequence[str]
) -> set[Path]:
    """Returns the artifacts of which weights, of the right size, are still damaged after a run that
    says nothing of them, after replacing these files by whole ones.
    """
    found = set[Path]()
    for name, digest in digests(cache).items():
        artifact = cache / Path(*Path(name).parts[:2])
        if (
            name.endswith("/model.safetensors")
            and digest != expected.get(name, digest)
            and (cache / name).stat().st_size == (whole / name).stat().st_size
            and not any(str(artifact) in line for line in lines)
        ):
            shutil.copy(whole / name, cache / name)
            found.add(artifact)
    return found


def harm(seed: int, size: float, home: Path) -> Outcome:
    """Returns the counts; runs in a process of its own."""
    ground, random_ = Ground.prepare(home), random.Random(seed)
    config = ground.compose(*ground.paths("harmed"))
    if wait(ground.start(ground.cell(config, home / "harmed/runs/0"))) != 0:
        return Outcome("damage", 1, lost=1, notes=("the undisturbed cell failed",))
    cache, results = home / "harmed/cache", home / "harmed/results"
    expected, said = digests(cache), numbers(results)
    shutil.copytree(cache, home / "whole")
    files = sorted(path for path in (home / "whole").glob("*/*/**/*") if path.is_file())
    warned = home / "warnings"
    tried = quarantined = lost = tracebacks = unopened = 0
    notes: list[str] = []
    kinds: dict[str, int] = {}
    random_.shuffle(files)  # every file once, before any is damaged again
    left = list(files)
    while tried < max(AT_ONCE, round(DAMAGES * size)):
        harmed: dict[Path, str] = {}
        for _ in range(AT_ONCE):
            path = left.pop() if left else random_.choice(files)
            path = cache / path.relative_to(home / "whole")
            artifact = cache / Path(*path.relative_to(cache).parts[:2])
            if artifact in harmed:
                continue
            kind = damage(path, random_)
            kinds[kind] = kinds.get(kind, 0) + 1
            harmed[artifact] = f"{kind} {path.relative_to(cache)}"
        if random_.random() < 0.3:
            record = random_.choice(sorted(results.glob("records/*/*/*.json")))
            harmed[record] = f"{damage(record, random_)} {record.name}"
        if random_.random() < 0.2:
            damage(cache / "executions.jsonl", random_)
        tried += len(harmed)
        warned.unlink(missing_ok=True)

        run = ground.cell(config, home / "harmed/runs" / str(tried))
        code = wait(ground.start(warnings_to(warned, run)))
        lines = warned.read_text(errors="replace").splitlines() if warned.exists() else []
        again = [line for line in lines if line.endswith("; computing the stage again")]
        artifacts = {path for path in harmed if path.suffix != ".json"}
        quarantined += len(again) + len(harmed) - len(artifacts)
        unread = put_back(cache, home / "whole", expected, lines)
        unopened += len(unread)
        artifacts -= unread
        other = difference(digests(cache), expected)
        try:
            same = numbers(results) == said
        except Exception as error:
            same, other = False, f"records: {error}"
        place = f"seed {seed}: {'; '.join(harmed.values())}"
        if code != 0:
            tracebacks += 1
            notes.append(f"ended with {code} after {place}")
        elif other or not same or leftovers(cache) or len(again) != len(artifacts):
            lost += 1
            warnings = f"{len(again)} warnings for {len(artifacts)} artifacts"
            notes.append(f"{other or leftovers(cache) or warnings} after {place}")
        if code != 0 or other or not same:  # start from whole files again
            shutil.rmtree(cache)
            shutil.copytree(home / "whole", cache)
            shutil.rmtree(results)
            wait(ground.start(ground.cell(config, home / "harmed/runs" / f"{tried}-whole")))
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    notes.append(
        f"{len(files)} files of {len({path.parts[-3:-1] for path in files})} artifacts: {counted}; "
        f"{unopened} damaged weights were not opened"
    )
    return Outcome("damage", tried, 0, quarantined, lost, tracebacks, tuple(notes))


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts of `600 size` damaged files."""
    return apart(harm, seed, size, scratch)
