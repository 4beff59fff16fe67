"""Real documents for the benchmarks: of a data folder, or of the installed packages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from shortlist.core import Corpus
from shortlist.data.pools import Domains, PackageDocs
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource

ROOT = Path(__file__).resolve().parent.parent


def corpus(data: Path | None, min_chars: int = 1, max_chars: int = 10**9) -> Corpus:
    """Returns the documents whose length in characters is in a range, sorted by id.

    Args:
        data: folder with `pools/`; None for the documentation of the installed packages.
        min_chars: fewest characters.
        max_chars: most characters.
    """
    if data is None:
        found = PackageDocs(None, 400, min_chars, max_chars, [], 0).load(LocalSource(None), silent)
    else:
        found = Domains(None, None, 0).load(LocalSource(str(data)), silent)
    rows = [
        row for row, text in enumerate(found.corpus.texts) if min_chars <= len(text) <= max_chars
    ]
    return found.corpus.take(rows)


def recut(
    documents: Corpus, count: int, min_chars: int, max_chars: int
) -> Iterator[dict[str, str]]:
    """Returns `count` different pieces of `min_chars` to about `max_chars` characters, cut at words.

    The documents of a domain are read as one text, again and again with other cuts, until there are
    enough; which lengths is a hash of the number of the piece.
    """
    domains: dict[str, list[str]] = {}
    for domain, text in zip(documents.domains, documents.texts, strict=True):
        domains.setdefault(domain, []).append(re.sub(r"\s+", " ", text))
    streams = {name: " ".join(texts) for name, texts in domains.items()}
    places, seen, made = dict.fromkeys(streams, 0), set[bytes](), 0
    while made < count:
        for name, stream in streams.items():
            size = min_chars + _number(f"{made} {name}") % (max_chars - min_chars + 1)
            start = places[name]
            stop = stream.find(" ", start + size)
            if stop < 0 or made == count:
                places[name] = _number(f"again {made} {name}") % 500
                continue
            places[name] = stop + 1
            piece = stream[start:stop]
            key = hashlib.blake2b(piece.encode(), digest_size=12).digest()
            if key not in seen:
                seen.add(key)
                made += 1
                yield {"text": piece, "domain": name}


def write_jsonl(path: Path, rows: Iterator[dict[str, str]], shards: int) -> list[Path]:
    """Returns the paths of `shards` files of JSON lines, written by turns."""
    path.mkdir(parents=True, exist_ok=True)
    paths = [path / f"part-{shard}.jsonl" for shard in range(shards)]
    files = [one.open("w", encoding="utf-8") for one in paths]
    for number, row in enumerate(rows):
        files[number % shards].write(json.dumps(row, ensure_ascii=False) + "\n")
    for file in files:
        file.close()
    return paths


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big")
