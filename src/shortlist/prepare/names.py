"""Names of persons by an outside package, in a process of its own: JSON lines in, JSON lines out.

Protocol: for each line `{"id": 7, "text": "..."}` on its standard input the adapter writes one line
`{"id": 7, "spans": [[start, stop], ...]}` to its standard output, in the same order: places of
names in characters (Unicode code points), `start` before `stop`. It ends when its input ends. What
it writes to standard error is kept for messages. Decision 57.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import Any

from shortlist.core import digest
from shortlist.errors import InvalidInput, Missing, near
from shortlist.processes import environment, last_line

ADAPTERS = Path(__file__).parents[3] / "baselines/names"
_ANSWER = 1 << 16  # bytes that an answer may have, beside some for each character of the text


def adapter(names: str) -> Path:
    """Returns the script of an adapter: that of a folder in `baselines/names`, or a file of yours.

    Raises:
        Missing: there is none.
    """
    own = names.endswith(".py")
    path = Path(names).expanduser().absolute() if own else ADAPTERS / names / "adapter.py"
    if not path.is_file():
        known = [folder.parent.name for folder in ADAPTERS.glob("*/adapter.py")]
        raise Missing(
            f"anonymise.names={names}: expected an adapter, found none at {path}; "
            f"{near(names, known)}, or the path of a .py file"
        )
    return path


class Names:
    """Names of persons as an adapter finds them. Its process starts with the first text."""

    def __init__(self, names: str, python: str | None, timeout: float) -> None:
        """Stores how the adapter is run.

        Args:
            names: see `adapter`.
            python: interpreter of the package's environment.
            timeout: seconds that one answer may take; the first includes loading the model.

        Raises:
            InvalidInput: there is no interpreter, or the time is none.
            Missing: there is no such adapter.
        """
        self.name, self.script = names, adapter(names)
        if python is None or shutil.which(python) is None:
            raise InvalidInput(
                f"anonymise.names={names} runs in an environment of its own, found no interpreter"
                f"{'' if python is None else f' at {python}'}; set anonymise.python=PATH (its "
                "packages: requirements.txt beside the adapter)"
            )
        if timeout <= 0:
            raise InvalidInput(f"anonymise.timeout must be above 0, found {timeout:g}")
        self.python, self.timeout = python, timeout
        self.asked = 0
        self._process: _Process | None = None

    def identity(self) -> dict[str, str]:
        """Returns the digest of the adapter and of its pinned requirements."""
        files = [self.script, self.script.with_name("requirements.txt")]
        return {"names.adapter": digest(file.read_bytes() for file in files if file.is_file())}

    def find(self, text: str) -> list[tuple[int, int]]:
        """Returns the places of names in a text, sorted and without overlap.

        Raises:
            InvalidInput: the adapter ended, took too long, or did not answer by the protocol.
        """
        if self._process is None:
            self._process = _Process(self.python, self.script)
        self.asked += 1
        readable = text.encode("utf-8", "replace").decode()  # lone surrogates: one sign each
        question = json.dumps({"id": self.asked, "text": readable}) + "\n"
        try:
            answer = self._process.ask(question.encode(), self.timeout, _ANSWER + 32 * len(text))
            return _spans(answer, self.asked, len(text))
        except _Broken as reason:
            said = self._process.close()
            self._process = None
            raise InvalidInput(
                f"anonymise.names={self.name}: {reason} at text {self.asked:,}"
                + (f"; it said: {said}" if said else "")
            ) from None


class _Broken(Exception):
    """The adapter did not answer by the protocol; the message is what it did."""


def _spans(line: bytes, number: int, length: int) -> list[tuple[int, int]]:
    try:
        row: Any = json.loads(line)
        key, spans = row["id"], [(start, stop) for start, stop in row["spans"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _Broken(f'expected {{"id": ..., "spans": ...}}, found {line[:60]!r}') from None
    if key != number:
        raise _Broken(f"expected the answer to text {number:,}, found that to {key!r:.40}")
    for start, stop in spans:
        whole = type(start) is int and type(stop) is int
        if not whole or not 0 <= start < stop <= length:
            raise _Broken(
                f"expected places in a text of {length:,} characters, found {[start, stop]!r:.60}"
            )
    kept: list[tuple[int, int]] = []
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, stop))
    return kept


class _Process:
    """A running adapter."""

    def __init__(self, python: str, script: Path) -> None:
        log: Any = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        process = subprocess.Popen(
            [python, "-s", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
        )
        assert process.stdin is not None and process.stdout is not None
        self.process, self.log = process, log
        self.stdin, self.stdout = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self.stdin, False)
        self.read = b""
        self._end = weakref.finalize(self, _ended, process, log)  # also when Python ends

    def ask(self, question: bytes, timeout: float, most: int) -> bytes:
        """Returns the line that the adapter answers; both directions are served at once, so that
        neither pipe blocks.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self.read:
            left = deadline - time.monotonic()
            writing = [self.stdin] if question else []
            ready, writable, _ = select.select([self.stdout], writing, [], max(left, 0))
            if left <= 0 and not ready:
                raise _Broken(f"no answer within {timeout:g} s (anonymise.timeout)")
            if ready:
                piece = os.read(self.stdout, 1 << 16)
                if not piece:
                    raise _Broken(f"the adapter ended with code {self.process.wait()}")
                self.read += piece
            elif writable:
                try:
                    question = question[os.write(self.stdin, question[:4096]) :]
                except BrokenPipeError:
                    raise _Broken(f"the adapter ended with code {self.process.wait()}") from None
            if len(self.read) > most:
                raise _Broken(f"an answer of more than {most:,} bytes")
        if question:
            raise _Broken("an answer before the text was read")
        line, _, self.read = self.read.partition(b"\n")
        return line

    def close(self) -> str:
        """Ends the process; returns the last line that it wrote to standard error."""
        self.log.seek(0)
        said = last_line(self.log.read())
        self._end()
        return said[:200]


def _ended(process: subprocess.Popen[bytes], log: Any) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, log):
        if pipe is not None:
            pipe.close()
