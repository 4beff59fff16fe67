"""Malformed files of every format, by mutation of good ones and by hypothesis, through the readers.

A try holds if the file is read with every row accounted for, or refused by one line that names it. The
whole soak runs 10,000 tries in processes of their own: a crash or a hang is counted as a traceback.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from toy import pdf

from shortlist.core import Corpus
from shortlist.data.pools import Files
from shortlist.data.quotes import DIALECTS
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import ShortlistError
from shortlist.featurizers.precomputed import Precomputed
from soak.outcome import Outcome

TRIES = 10_000
SECONDS = 20  # a try that takes longer hangs
CHUNK = 500  # tries of one process
ROWS = 12
TEXTS = [f"case-{n:03} of {'a clinical' if n % 2 else 'a legal'} study" for n in range(ROWS)]
CORPUS = Corpus.build(TEXTS)


def table() -> pa.Table:
    """Rows of several types; `text`, `mass` and `domain` are read."""
    return pa.table(
        {
            "id": list(range(ROWS)),
            "text": TEXTS,
            "mass": [1.0 + n for n in range(ROWS)],
            "domain": pa.array(["de", "en"] * (ROWS // 2)).dictionary_encode(),
            "tags": [["a", "b"]] * ROWS,
            "at": pa.array(range(ROWS), pa.timestamp("ns", "UTC")),
        }
    )


def text_of(delimiter: str) -> bytes:
    """The rows as CSV, some texts of several lines."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["id", "text", "mass", "domain"])
    for n, text in enumerate(TEXTS):
        writer.writerow([n, text + ("\nin two lines" if n % 4 == 3 else ""), 1 + n, "de"])
    return out.getvalue().encode()


def saved(write: Callable[[Any], Any]) -> bytes:
    """What `write` writes into a sink."""
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def ipc(sink: Any, new: Any) -> None:
    """Writes the rows as an Arrow file or stream."""
    with new(sink, table().schema) as writer:
        writer.write_table(table())


def seeds() -> dict[str, bytes]:
    """Good files by suffix; those of vectors begin with `v`."""
    rows = [
        {"text": text, "mass": 1.0 + n, "domain": "de", "more": {"n": [n, None]}}
        for n, text in enumerate(TEXTS)
    ]
    jsonl = "".join(json.dumps(row) + "\n" for row in rows).encode()
    vectors = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
    own = pa.table({"text": TEXTS, "vector": list(vectors)})
    found = {
        ".jsonl": jsonl,
        ".jsonl.gz": gzip.compress(jsonl, mtime=0),
        ".jsonl.zst": pa.compress(jsonl, codec="zstd", asbytes=True),
        ".csv": text_of(","),
        ".csv.gz": gzip.compress(text_of(","), mtime=0),
        ".tsv": text_of("\t"),
        ".txt": "\n\n".join(TEXTS).encode(),
        ".txt.zst": pa.compress("\n".join(TEXTS).encode(), codec="zstd", asbytes=True),
        ".parquet": saved(lambda sink: pq.write_table(table(), sink, compression="none")),
        ".zstd.parquet": saved(lambda sink: pq.write_table(table(), sink, compression="zstd")),
        ".arrow": saved(lambda sink: ipc(sink, pa.ipc.new_file)),
        ".stream.arrow": saved(lambda sink: ipc(sink, pa.ipc.new_stream)),
        ".pdf": pdf(*TEXTS[:2]),
        "v.parquet": saved(lambda sink: pq.write_table(own, sink)),
        "v.npy": saved(lambda sink: np.save(sink, vectors)),
        "v.ids.txt": "".join(f"{text}\n" for text in TEXTS).encode(),
    }
    return found


SPECIAL = (b'"', b"\n", b",", b"\\", b"\0", b"\r", b"\xff\xfe", b"{", b"}", b"[" * 3000, b"9" * 500)
SPECIAL += (b"NaN", b"1e999", b"\\ud800", b"\xef\xbb\xbf", b'""', b"\t", b"null", b"\x1f\x8b")


def mutated(raw: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """Returns `raw` with one to four changes."""
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(raw) + 1)
        end = min(len(raw), place + draw.choice((1, 4, 40)))
        match draw.randrange(8):
            case 0 if raw:
                place = min(place, len(raw) - 1)
                raw = raw[:place] + bytes([raw[place] ^ 1 << draw.randrange(8)]) + raw[place + 1 :]
            case 1:
                raw = raw[:place] + draw.choice(SPECIAL) + raw[place:]
            case 2:
                raw = raw[:place] + raw[end:]
            case 3:
                raw = raw[:place] + raw[place:end] * draw.choice((2, 9)) + raw[end:]
            case 4:
                raw = raw[:place]
            case 5:
                raw = raw[:place] + draw.randbytes(end - place) + raw[end:]
            case 6:
                other = draw.choice(others)
                raw = raw[:place] + other[draw.randrange(len(other)) :]
            case _:
                number = draw.choice((0, 1, 0x7F, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4, "little")
                raw = raw[:place] + number + raw[place + 4 :]
    return raw


def quoted(raw: bytes, draw: random.Random) -> bytes:
    """Returns CSV with one to three quotes more, where fields begin and end."""
    places = [place for place, byte in enumerate(raw) if byte in b",\t\n"]
    for place in sorted(draw.sample(places, draw.randint(1, 3)), reverse=True):
        at = place + draw.randrange(2)
        raw = raw[:at] + b'"' + raw[at:]
    return raw


class Tally:
    """Counts of the tries so far, and notes on those that did not hold."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []

    def add(self, what: str, path: Path, attempt: Callable[[], int], said: str) -> None:
        """Carries out one try: `attempt` returns how many rows were rejected."""
        self.counts["tried"] += 1
        try:
            with alarm():
                self.counts["quarantined"] += attempt()
        except ShortlistError as error:
            message = str(error)
            if "\n" in message or said not in message or len(message) > 2000:
                self.fault("lost", f"{what}: {path} is refused by {message[:200]!r}")
            else:
                self.counts["located"] += 1
        except AssertionError as error:
            self.fault("lost", f"{what}: {path}: {error}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            self.fault(
                "tracebacks", f"{what}: {path}: {error!r:.200} at {where.filename}:{where.lineno}"
            )

    def fault(self, kind: str, note: str) -> None:
        self.counts[kind] += 1
        self.notes.append(note)


@contextmanager
def alarm() -> Any:
    """Ends what takes longer than `SECONDS`."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"hangs for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_pool(path: Path, draw: random.Random, marked: bool) -> int:
    """Returns how many rows are rejected; every row must be accounted for.

    Args:
        path: the file.
        draw: chooses columns and dialect.
        marked: whether two texts of the seed in one document mean that rows were merged.
    """
    chosen = draw.choice(({}, {"mass": "mass"}, {"domain": "domain"}, {"licence": "domain"}))
    if ".txt" in path.name:
        chosen = {"lines": draw.random() < 0.5}
    elif path.suffix == ".pdf":
        chosen = {}
    pool = Files([os.fspath(path)], csv=draw.choice(DIALECTS), longest_mb=1, **chosen)
    pool.identity(LocalSource(None))
    loaded = pool.load(LocalSource(None), silent)
    counts, kept = loaded.counts, loaded.corpus.texts
    fates = counts["kept"] + counts["quarantined"] + counts["exact_copies"]
    assert counts["rows_read"] == fates, f"{counts} of rows"
    assert len(loaded.quarantined) == counts["quarantined"], "rejected rows without a place"
    assert all(text.strip() and text.encode() for text in kept), "an empty document"
    merged = [text for text in kept if text.count("case-") > 1]
    assert not (marked and merged), f"rows merged into {merged[:1]}"
    return counts["quarantined"]


def read_vectors(path: Path, folder: Path) -> int:
    """Returns 0; vectors that are read are finite and of one dimension."""
    (folder / "values.npy").unlink(missing_ok=True)
    machine: Any = SimpleNamespace()
    featurizer = Precomputed([os.fspath(path)])
    featurizer.identity(machine)
    values, _ = featurizer.compute(CORPUS, folder, machine)
    assert values.shape[0] == ROWS and np.isfinite(values).all(), "vectors that are not finite"
    return 0


def mutations(first: int, count: int, drawn: int, folder: Path, tally: Tally) -> None:
    """Tries `first` to `first + count` of the mutation fuzzer; a try depends on its number alone."""
    good = seeds()
    names, others = list(good), list(good.values())
    for number in range(first, first + count):
        (folder / "now").write_text(str(number))
        draw = random.Random(drawn << 32 | number)
        name = names[number % len(names)]
        path = folder / f"m{number}{name}"
        marks = number % 4 == 0 and name in (".csv", ".tsv", ".csv.gz")
        if marks:
            raw = text_of("\t" if name == ".tsv" else ",").replace(b"\nin two lines", b"")
            raw = quoted(raw, draw)
            path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        else:
            path.write_bytes(mutated(good[name], draw, others))
        if not name.startswith("v"):
            tally.add(f"mutation {number}", path, partial(read_pool, path, draw, marks), path.name)
        else:
            beside = path
            if name == "v.npy":
                path.with_suffix(".ids.txt").write_bytes(good["v.ids.txt"])
            if name == "v.ids.txt":
                beside = folder / f"m{number}v.npy"
                beside.write_bytes(good["v.npy"])
            said = f"m{number}"
            tally.add(f"mutation {number}", path, partial(read_vectors, beside, folder), said)
        if not any(note.startswith(f"mutation {number}:") for note in tally.notes):
            for file in folder.glob(f"m{number}*"):
                file.unlink()


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(min_value=10**300, max_value=10**420),
        st.floats(),
        st.text(st.characters(), max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {}, optional={name: JSON for name in ("text", "mass", "domain", "other", "")}
)
LINE = st.one_of(
    ROW.map(lambda row: json.dumps(row).encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")),
    st.just(b'{"text": "good"}'),
)
CELL = st.text(st.sampled_from('",\n\r\\\t a1'), max_size=6)
FILES = st.one_of(
    st.tuples(st.just(".jsonl"), st.lists(LINE, max_size=8).map(b"\n".join)),
    st.tuples(
        st.just(".csv"),
        st.lists(CELL, max_size=8).map(lambda lines: "\n".join(["text,mass", *lines]).encode()),
    ),
    st.tuples(
        st.sampled_from((".csv", ".tsv", ".txt", ".parquet", ".arrow")), st.binary(max_size=60)
    ),
    st.tuples(st.sampled_from((".jsonl.gz", ".csv.zst", ".txt.gz")), st.binary(max_size=60)),
)


def generated(count: int, drawn: int, folder: Path, tally: Tally) -> None:
    """Tries files that hypothesis makes of arbitrary values, cells and bytes."""

    @seed(drawn)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(FILES, st.integers(0, 2**32))
    def run(file: tuple[str, bytes], chosen: int) -> None:
        suffix, raw = file
        path = folder / f"h{suffix}"
        path.write_bytes(raw)
        draw = random.Random(chosen)
        tally.add(
            f"hypothesis {raw[:60]!r}", path, partial(read_pool, path, draw, False), path.name
        )

    run()


def attack(seed: int, size: float, scratch: Path) -> Outcome:
    """Returns the counts over 10,000 * `size` files, one fifth by hypothesis."""
    tally = Tally()
    total = max(round(TRIES * size), 1)
    by_hypothesis = total // 5
    first, limit = 0, total - by_hypothesis
    while first < limit:
        count = min(CHUNK, limit - first)
        folder = scratch / f"from-{first}"
        folder.mkdir()
        worker = [sys.executable, "-m", "soak.malformed", *map(str, (first, count, seed, folder))]
        paths = [str(Path(__file__).parents[1]), *sys.path]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            done = subprocess.run(
                worker, env=environment, capture_output=True, timeout=CHUNK * SECONDS, check=False
            )
            code: int | str = done.returncode
        except subprocess.TimeoutExpired:
            code = "a hang"
        report = folder / "report.json"
        if code == 0 and report.is_file():
            counts, notes = json.loads(report.read_text())
            tally.counts.update(counts)
            tally.notes += notes
            first += count
            continue
        now = folder / "now"
        number = int(now.read_text()) if now.is_file() else first
        tally.counts["tried"] += number - first + 1
        tally.fault("tracebacks", f"mutation {number} ended its process ({code}); see {folder}")
        first = number + 1
    generated(by_hypothesis, seed, scratch, tally)
    return Outcome("malformed", **tally.counts, notes=tuple(tally.notes[:20]))


def taste(seed: int, tries: int, scratch: Path) -> Outcome:
    """Returns the counts over a few files, in this process."""
    tally = Tally()
    mutations(0, tries, seed, scratch, tally)
    generated(tries, seed, scratch, tally)
    return Outcome("malformed", **tally.counts, notes=tuple(tally.notes))


if __name__ == "__main__":
    begin, number_of, drawn_from, place = *map(int, sys.argv[1:4]), Path(sys.argv[4])
    found = Tally()
    mutations(begin, number_of, drawn_from, place, found)
    (place / "report.json").write_text(json.dumps([found.counts, found.notes]))
