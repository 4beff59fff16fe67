"""Texts of people's own, or of the log of a server, and their vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shortlist.core import Corpus
from shortlist.data.corrections import is_log, served_texts
from shortlist.data.files import check_file
from shortlist.data.finding import find
from shortlist.data.readers import Columns, read_files
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.overrides import composed
from shortlist.pipeline.compose import build_component
from shortlist.runtime import Runtime

RUNTIME = Runtime(progress=False)


def read_texts(
    paths: Sequence[Path], setting: str, text: str = "text", text_b: str | None = None
) -> tuple[Corpus, Mapping[str, int]]:
    """Returns the distinct texts of files, sorted by id, and counts of their rows by fate.

    Args:
        paths: files as a pool has them, or a log of `shortlist serve`.
        setting: what names them, for messages.
        text: column of the text.
        text_b: column of the second text of a pair, or None.

    Raises:
        Missing: a file is not there.
        InvalidInput: a file cannot be read, or holds no text.
    """
    logs = [path for path in paths if is_log(path)]
    if logs and len(paths) > 1:
        raise InvalidInput(f"{setting}: expected one log or other files, found both; give one log")
    if logs:
        check_file(logs[0])
        texts = served_texts(logs[0], pairs=text_b is not None)
        if not texts:
            raise InvalidInput(f"{logs[0]}: expected predictions, found a log without any")
        unique = list(dict.fromkeys(texts))
        second = None if text_b is None else [one[1] for one in unique]
        corpus = Corpus.build([one[0] for one in unique], texts_b=second)
        counts = {"rows_read": len(texts), "kept": len(unique)}
        counts["exact_copies"] = len(texts) - len(unique)
        return corpus.canonical(), counts
    files = find([str(path) for path in paths], setting).files
    loaded = read_files(files, Columns(text, text_b))
    return loaded.corpus.canonical(), loaded.counts


def featurizer(settings: Sequence[str], name: str = "static") -> Featurizer:
    """Returns a featurizer that needs nothing to be learned first.

    Args:
        settings: overrides of the configuration.
        name: an option of `conf/featurizer`.

    Raises:
        InvalidInput: there is no such featurizer, or it has to learn first.
    """
    with composed([f"featurizer={name}", *settings]) as config:
        found: Featurizer = build_component(config, "featurizer")
    if not usable(found):
        raise InvalidInput(
            f"expected vectors that nothing has to be learned for, found featurizer={name}; choose "
            "static or transformer"
        )
    return found


def usable(found: Featurizer) -> bool:
    """Returns whether a featurizer gives vectors without anything to learn first."""
    return not found.requirements().any and found.inner is None and found.scorer is None


def vectors(found: Featurizer, corpus: Corpus, runtime: Runtime = RUNTIME) -> Any:
    """Returns the (n, d) vectors of a corpus, dense or CSR."""
    with tempfile.TemporaryDirectory() as directory:
        values, _ = found.compute(corpus, Path(directory), runtime)
        return values[:]
