"""Hostile records: what stands in the place of a record, read by check, tables, submit and a re-run.

Every kind starts from a committed record that keeps all rules, beside a good one. Edits of single
fields are tried as they are, and with the digest and the key made again, as a forger would.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import io
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core import Record, pack_item_scores
from shortlist.leaderboard.__main__ import main
from shortlist.overrides import composed
from shortlist.pipeline.identity import hashed_settings
from shortlist.pipeline.targets import with_targets
from shortlist.store.keys import key as make_key
from shortlist.store.records import read_record
from soak.outcome import Outcome

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SECONDS = 1.0  # of the processor, for any command on one hostile record
RANDOM = 300  # mutations drawn at random in the whole soak
Json = dict[str, Any]


@dataclass(frozen=True)
class Hostile:
    """A file in the place of a record.

    Attributes:
        name: the kind.
        put: writes it to a path.
        must_refuse: whether `check` and `submit` have to refuse it.
    """

    name: str
    put: Callable[[Path], Any]
    must_refuse: bool = True


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns what became of every kind: `tried`, `located` (a line that names the file), `lost`
    (passed, slow, or took a good record with it) and `tracebacks`.
    """
    rng = np.random.default_rng(seed)
    paths = sorted((ROOT / "results").glob("records/*/*/*.json"))
    base, good = (paths[at] for at in rng.choice(len(paths), 2, replace=False))
    raw = json.loads(base.read_text(encoding="utf-8"))
    kinds = [
        *edits(raw),
        *determined(raw, rng),
        *files(base.read_bytes()),
        *drawn(raw, rng, RANDOM),
    ]
    if size < 1:
        kept = rng.choice(len(kinds), max(1, round(size * len(kinds))), replace=False)
        kinds = [kinds[at] for at in sorted(kept)]
    place = base.relative_to(ROOT / "results")
    _meet(Hostile("", functools.partial(_write, b"")), scratch / "imports", place, good)
    located, lost, tracebacks, notes = 0, 0, 0, list[str]()
    for number, kind in enumerate(kinds):
        folder = scratch / str(number)
        try:
            trouble = _meet(kind, folder, place, good)
            located += kind.must_refuse and not trouble
        except Exception as error:  # any that a record brings about is what is counted
            tracebacks += 1
            trouble = f"{type(error).__name__}: {str(error)[:200]}"
        else:
            lost += bool(trouble)
        if trouble:
            notes.append(f"{kind.name} (seed {seed}, {base.stem}): {trouble}")
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome("hostile_records", len(kinds), located, 0, lost, tracebacks, tuple(notes))


def _meet(kind: Hostile, folder: Path, place: Path, good: Path) -> str:
    """Returns what went wrong with one kind; empty if nothing did."""
    results, run = folder / "results", folder / "run" / "record.json"
    kept = results / good.relative_to(ROOT / "results")
    kept.parent.mkdir(parents=True)
    shutil.copy(good, kept)
    for path in (results / place, run):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind.put(path)
    checked = _run("check", "--results", str(results), "--conf", str(CONF))
    tables = _run("--results", str(results), "--published", str(folder / "none"))
    fresh = folder / "fresh"
    submitted = _run("submit", str(run), "--results", str(fresh), "--conf", str(CONF))
    start = time.process_time()
    with contextlib.suppress(Exception):  # `pipeline.cell` replaces what cannot be read
        read_record(results, results / place)
    for name, done in (("check", checked), ("tables", tables), ("submit", submitted)):
        if done.seconds > SECONDS:
            return f"{name} took {done.seconds:.1f} s"
        if any(len(line) > 1000 for line in done.err.splitlines()):
            return f"{name}: a line of more than 1,000 characters"
    if time.process_time() - start > SECONDS:
        return "reading it took more than a second"
    if tables.code or good.stem not in (results / "leaderboard.csv").read_text(encoding="utf-8"):
        return f"the tables lack the good record: {tables.err[:200]}"
    if kind.must_refuse:
        if checked.code != 2 or str(results / place) not in checked.err:
            return f"check passed it: {checked.err[:200]}"
        if submitted.code != 2 or not submitted.err or fresh.exists():
            return f"submit passed it: {submitted.err[:200]}"
    return ""


@dataclass(frozen=True)
class Done:
    """Exit code, standard error and seconds of one command."""

    code: int
    err: str
    seconds: float


def _run(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    start = time.process_time()
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        logging.getLogger().removeHandler(handler)
    return Done(code, err.getvalue(), time.process_time() - start)


def forged(raw: Json) -> Json:
    """Returns the record with a key and a digest that agree with its contents, where there can be."""
    with contextlib.suppress(Exception):
        reads = {n: value for n, value in raw["inputs"].items() if n.startswith("read.")}
        raw = {**raw, "key": make_key("cell", 2, raw["config"], reads)}
    with contextlib.suppress(Exception):
        record = Record.from_json(json.dumps({**raw, "digest": ""}))
        raw = {**raw, "digest": record.sealed().digest}
    return raw


def as_file(name: str, raw: Json, must_refuse: bool = True, forge: bool = False) -> Hostile:
    """Returns a record as its program would write it; `forge`: after `forged`."""

    def put(path: Path) -> None:
        contents = forged(raw) if forge else raw
        path.write_text(json.dumps(contents, indent=2, sort_keys=True, ensure_ascii=False) + "\n")

    return Hostile(f"{name}, forged" if forge else name, put, must_refuse)


def changed(raw: Json, path: tuple[Any, ...], value: Any) -> Json:
    """Returns the record with another value at a path."""
    step, *rest = path
    new: Any = copy.copy(raw)
    new[step] = changed(new[step], tuple(rest), value) if rest else value
    return new


def without(raw: Json, path: tuple[Any, ...]) -> Json:
    """Returns the record without what stands at a path."""
    step, *rest = path
    new: Any = copy.copy(raw)
    if rest:
        new[step] = without(new[step], tuple(rest))
    else:
        del new[step]
    return new


@functools.cache
def bomb(items: int) -> str:
    """Returns item scores of zero, packed a thousandfold."""
    return base64.b64encode(zlib.compress(bytes(4 * items), 1)).decode()


ODD: Mapping[str, Any] = {
    "null": None, "a list": [], "a mapping": {}, "a text": "odd", "a number": 7, "true": True,
    "half": 0.5, "a long integer": 10**400, "no number": float("nan"), "infinity": float("inf"),
    "nested": functools.reduce(lambda node, _: [node], range(200), 0),
}  # fmt: skip


def edits(raw: Json) -> Iterator[Hostile]:
    """Yields edits of single fields: of another type, of another value, missing, or too long."""
    for name in raw:
        yield as_file(f"{name} removed", without(raw, (name,)))
        for kind, value in ODD.items():
            if value != raw[name]:
                yield as_file(f"{name} is {kind}", changed(raw, (name,), value))
                if name not in ("key", "digest"):
                    refused = type(value) is not type(raw[name]) or name in ("axes", "metrics")
                    new = changed(raw, (name,), value)
                    yield as_file(f"{name} is {kind}", new, refused, forge=True)
    for name in raw["axes"]:
        for value in ("edited", "../up", "\x1b[2J", "x" * 300, "<script>", 7, -1, None, 2**70):
            edited = changed(raw, ("axes", name), value)
            yield as_file(f"axes.{name} is {value!r:.20}", edited)
            yield as_file(f"axes.{name} is {value!r:.20}", edited, forge=True)
        yield as_file(f"axes.{name} removed", without(raw, ("axes", name)), forge=True)
    for place, metric in enumerate(raw["metrics"]):
        for name, value in (
            ("value", 0.99), ("value", 99.0), ("value", float("nan")), ("value", 10**400),
            ("value", "high"), ("n", 0), ("n", 10**9), ("n", 2**70), ("unit", "percent"),
            ("split", "train"), ("unit", "seconds"),
            ("higher_is_better", not metric["higher_is_better"]),
            ("stderr", -1.0), ("protocol", ""), ("name", 3), ("primary", not metric["primary"]),
        ):  # fmt: skip
            edited = changed(raw, ("metrics", place, name), value)
            yield as_file(f"{metric['name']}.{name} is {value!r:.20}", edited)
            # Without item scores nothing says that 0.99 was not measured.
            known = metric["name"] in raw["item_scores"] or (name, value) != ("value", 0.99)
            known &= not (name == "n" and metric["name"] not in raw["item_scores"])
            yield as_file(
                f"{metric['name']}.{name} is {value!r:.20}",
                edited,
                must_refuse=known or name in ("protocol", "primary"),
                forge=True,
            )
    for name, value in (("pool_kept", 1), ("leaked", -1), ("warmup_documents", 10**6)):
        if name in raw["counts"]:
            added = changed(raw, ("counts", name), raw["counts"][name] + value)
            edited = changed(raw, ("counts", name), value) if value < 0 else added
            yield as_file(f"counts.{name} is another", edited, forge=True)
    typed = [*raw["overrides"], "seed=99"]
    yield as_file("another override", changed(raw, ("overrides",), typed), forge=True)
    for name, packed in raw["item_scores"].items():
        n = next(metric["n"] for metric in raw["metrics"] if metric["name"] == name)
        path = ("item_scores", name)
        yield as_file(f"item scores of {name} removed", without(raw, path), forge=True)
        for kind, value in (
            ("empty", ""), ("no base 64", "?"), ("cut", packed[: len(packed) // 8 * 4]),
            ("a bomb", bomb(30_000_000)), ("ones", pack_item_scores(np.ones(n))),
            ("fewer", pack_item_scores(np.ones(n - 1))),
            ("no numbers", pack_item_scores(np.full(n, np.nan))), ("followed by more", packed + "AAAA"),
        ):  # fmt: skip
            yield as_file(f"item scores of {name}: {kind}", changed(raw, path, value), forge=True)
    large = changed(raw, ("item_scores",), {m["name"]: bomb(10_000_000) for m in raw["metrics"]})
    large["metrics"] = [{**metric, "n": 10_000_000} for metric in raw["metrics"]]
    yield as_file("every item score a bomb of its own size", large, forge=True)
    for kind, warnings in (
        ("one of 10 MB", ["w" * 10_000_000]), ("100,000", ["w" * 100] * 100_000),
    ):  # fmt: skip
        yield as_file(f"warnings: {kind}", changed(raw, ("warnings",), warnings), forge=True)
    for kind, warnings in (("of many", ["w" * 100] * 9_000), ("long", ["w" * 99_000] * 10)):
        new = changed(raw, ("warnings",), warnings)
        yield as_file(f"warnings {kind}", new, must_refuse=False, forge=True)
    text = json.dumps(changed(raw, ("warnings",), ["\udc80"]))
    yield Hostile("half of a surrogate pair", functools.partial(_write, text.encode()))
    for depth in (60, 900, 100_000):
        text = json.dumps(raw)[:-1] + f', "config": {"[" * depth}{"]" * depth}}}'
        yield Hostile(f"{depth} levels", functools.partial(_write, text.encode()))


def determined(raw: Json, rng: np.random.Generator) -> Iterator[Hostile]:
    """Yields forged edits of what the overrides, the inputs or other fields determine: settings,
    overrides, axes together with their configuration, keys of stages, standard errors, counts.
    """
    for place in range(len(raw["overrides"])):
        typed = raw["overrides"][place].split("=")[0]
        edited = without(raw, ("overrides", place))
        yield as_file(f"override {typed} removed", edited, _differs(edited, raw), forge=True)
    yield as_file("all overrides removed", changed(raw, ("overrides",), []), forge=True)
    for axis in ("task", "pool", "selector", "featurizer", "model"):
        options = {path.stem for path in (CONF / axis).glob("*.yaml")} - {raw["axes"][axis]}
        for option in rng.choice(sorted(options), 2, replace=False).tolist():
            edited = changed(raw, ("axes", axis), option)
            yield as_file(f"axes.{axis} is the option {option}", edited, forge=True)
            typed = [one for one in raw["overrides"] if not one.startswith(f"{axis}=")]
            edited = changed(edited, ("overrides",), [*typed, f"{axis}={option}"])
            yield as_file(f"{axis}={option} in axes and overrides", edited, forge=True)
    leaves = [path for path in _places(raw["config"], ()) if type(_at(raw["config"], path)) in LEAF]
    for place in rng.choice(len(leaves), min(30, len(leaves)), replace=False).tolist():
        path = ("config", *leaves[place])
        value = _at(raw, path)
        other = (
            not value
            if isinstance(value, bool)
            else f"{value}x"
            if isinstance(value, str)
            else value + 1
        )
        edited = changed(raw, path, other)
        yield as_file(
            f"{'.'.join(map(str, path))} is {other}", edited, "hub" not in path, forge=True
        )
    for place, stage in enumerate(raw["stages"]):
        for name, value in (
            ("key", f"{rng.integers(2**62):016x}"),
            ("device", "another"),
            ("seconds", 1.0),
        ):
            must = name == "key" and stage["stage"] in ("scores", "held_out")
            must &= stage["role"] != "diagnostics"
            edited = changed(raw, ("stages", place, name), value)
            yield as_file(f"{name} of stage {stage['stage']}", edited, must, forge=True)
    for place, metric in enumerate(raw["metrics"]):
        if metric["stderr"] and metric["name"] in raw["item_scores"]:
            edited = changed(raw, ("metrics", place, "stderr"), metric["stderr"] * 1.02)
            exact = metric["name"] not in ("macro_f1", "micro_f1", "matthews")
            yield as_file(f"stderr of {metric['name']} 2 % larger", edited, exact, forge=True)
        edited = changed(raw, ("metrics", place, "protocol"), "0" * 24)
        yield as_file(f"protocol of {metric['name']} is another", edited, False, forge=True)
    for name, count in raw["counts"].items():
        must = name in (
            "leaked",
            "pool_kept",
            "pool_rows_read",
            "held_out_not_measured",
            "warmup_documents",
        )
        edited = changed(raw, ("counts", name), count + 1)
        yield as_file(f"counts.{name} is one more", edited, must, forge=True)


LEAF = (bool, int, float, str)


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        node = node[step]
    return node


def _differs(edited: Json, raw: Json) -> bool:
    """Whether overrides compose to other settings, the seed apart."""
    with composed(edited["overrides"]) as first, composed(raw["overrides"]) as second:
        return hashed_settings(with_targets(first)) != hashed_settings(with_targets(second))


def files(content: bytes) -> Iterator[Hostile]:
    """Yields what is no text of a record, and what is no file."""
    for part in (0, 1, 100, len(content) // 2, len(content) - 3):
        yield Hostile(f"cut at {part}", functools.partial(_write, content[:part]))
    for name, other in {
        "zeros": bytes(len(content)), "not UTF-8": b"\xff\xfe" + content, "marked": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode().encode("utf-16"), "null": b"null", "a number": b"1" * 5000,
        "a list": b"[]", "twice": content * 2, "deep": b"[" * 1_000_000, "other spaces": content + b"\n",
        "a pickle": b"\x80\x04\x95", "schema 2": content.replace(b'"schema": 3', b'"schema": 2'),
    }.items():  # fmt: skip
        # A line break more is the JSON of the same record: a submission writes it as it should be.
        if name != "other spaces":
            yield Hostile(name, functools.partial(_write, other))
    yield Hostile("a directory", lambda path: path.mkdir())
    yield Hostile("a link to itself", lambda path: path.symlink_to(path))
    yield Hostile("a link to /dev/zero", lambda path: path.symlink_to("/dev/zero"))
    yield Hostile("a link to nothing", lambda path: path.symlink_to("/nowhere"))
    yield Hostile("a FIFO", os.mkfifo)
    yield Hostile("a sparse terabyte", lambda path: os.truncate(_touched(path), 2**40))


def drawn(raw: Json, rng: np.random.Generator, count: int) -> Iterator[Hostile]:
    """Yields records with one value at a random place replaced, and texts with random bytes."""
    places = list(_places(raw, ()))
    content = json.dumps(raw, indent=2, sort_keys=True).encode()
    for number in range(count):
        place = places[rng.integers(len(places))]
        kind = list(ODD)[rng.integers(len(ODD))]
        where = ".".join(map(str, place))
        if number % 3 == 0:
            yield as_file(f"{where} removed", without(raw, place))
        elif number % 3 == 1:
            new = changed(raw, place, ODD[kind])
            refused = place[0] in ("config", "axes") and "hub" not in place and new != raw
            yield as_file(f"{where} is {kind}", new, refused, forge=True)
        else:
            edited = bytearray(content)
            for spot in rng.integers(len(edited), size=1 + number % 8):
                edited[spot] ^= 1 << int(rng.integers(8))
            yield Hostile(f"bytes flipped ({number})", functools.partial(_write, bytes(edited)))


def _places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    steps = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for step in steps:
        yield from _places(node[step], (*path, step))


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _touched(path: Path) -> Path:
    path.touch()
    return path
