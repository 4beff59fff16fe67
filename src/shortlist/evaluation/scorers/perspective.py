"""Perspective's scores (perspectiveapi.com) over HTTP, within a quota."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from shortlist.core import digest
from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation.scorers.base import Scorer
from shortlist.evaluation.scorers.quota import Pace, Reply, post

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shortlist import progress

log = logging.getLogger(__name__)

KEY = "PERSPECTIVE_API_KEY"

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_REFUSALS = {"http_401", "http_403"}
_PASSING = re.compile(r"http_(408|429|5\d\d)|timeout|unreachable|not_json")


@dataclass(frozen=True)
class _Answer:
    """The score of one text, or NaN and why; and how often it was asked for again."""

    score: float = math.nan
    reason: str = ""
    retries: int = 0


class PerspectiveScorer(Scorer):
    """The probability that a reader perceives a text as having one attribute, as Google's and
    Jigsaw's service estimates it.

    Requests are spaced by the quota. What may pass is asked again: throttling (429; the pause that
    the server names holds all requests back), errors of the server, silence, answers that are no
    JSON. What will not pass is a failure at once: a refused text, a score that is missing or outside
    [0, 1]. A failure is NaN, and `counts` says of which kinds there were how many. A refused key
    ends everything. Equal texts are asked once; answers are kept in a file as they come, so a run
    that was stopped goes on where it was.

    The service changes its models without notice: scores are those of the day they were asked on.
    The key is read from the environment, travels in a header alone, and is in no setting, key,
    record, message or log.
    """

    def __init__(
        self,
        url: str,
        attribute: str,
        languages: Sequence[str],
        rate: float,
        workers: int,
        timeout: float,
        retries: int,
        first_wait: float,
        longest_wait: float,
        seed: int,
        kept: str | None,
    ) -> None:
        """Stores the settings.

        Args:
            url: of the service's method `comments:analyze`.
            attribute: `TOXICITY`, or another one of the service's.
            languages: of the texts; empty: the service guesses.
            rate: requests a second, the quota.
            workers: requests under way at a time.
            timeout: seconds of silence.
            retries: how often a text is asked for again.
            first_wait: seconds before the first of them, twice as long before each next one, and
                between half and one and a half of that by chance.
            longest_wait: a text for which the server, or the doubling, wants a longer wait has
                failed.
            seed: of that chance.
            kept: file of the answers so far, or None.

        Raises:
            InvalidInput: a setting is out of range, or the key would travel unencrypted.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise InvalidInput(
                f"scorer=perspective sends a key: url must begin with https://, found {url!r}"
            )
        if min(rate, workers, timeout, first_wait, longest_wait) <= 0 or retries < 0:
            raise InvalidInput(
                "scorer=perspective needs rate, workers, timeout, first_wait and longest_wait above "
                f"0 and retries of at least 0, found {rate}, {workers}, {timeout}, {first_wait}, "
                f"{longest_wait} and {retries}"
            )
        self.url, self.attribute, self.languages = url, attribute, list(languages)
        self.rate, self.workers, self.timeout = rate, workers, timeout
        self.retries, self.first_wait, self.longest_wait = retries, first_wait, longest_wait
        self.seed, self.kept = seed, None if kept is None else Path(kept).expanduser()

    def check(self) -> None:
        """Refuses a key that is not there, or cannot be one.

        Raises:
            Missing: the environment has no key.
            InvalidInput: it holds what no header may.
        """
        _key()

    def identity(self) -> dict[str, str]:
        """Returns the service, the attribute and the languages; the service's model has no name."""
        return {
            "scorer": f"perspective {self.version}",
            "url": self.url,
            "attribute": self.attribute,
            "languages": ",".join(self.languages),
        }

    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) scores; `counts` has `retries` and the failed texts by kind
        (`failed_timeout`, `failed_http_400`).

        Raises:
            Missing: the environment has no key.
            InvalidInput: the service refuses the key.
        """
        key, pace = _key(), Pace(self.rate)
        times, answers = Counter(texts), dict[str, _Answer]()
        for text, value in self._remembered(times).items():
            answers[text] = _Answer(value)
            report(times[text])
        pool = ThreadPoolExecutor(self.workers)
        try:
            asked = {
                pool.submit(self._ask, text, key, pace): text
                for text in times
                if text not in answers
            }
            for done in as_completed(asked):
                text = asked[done]
                answers[text] = done.result()
                self._keep(text, answers[text])
                report(times[text])
        finally:
            pace.close()  # or those who wait would send what nobody reads
            pool.shutdown(cancel_futures=True)
        counts: Counter[str] = Counter()
        for text, answer in answers.items():
            counts["retries"] += answer.retries
            counts[f"failed_{answer.reason}"] += times[text] if answer.reason else 0
        self.counts = {name: number for name, number in sorted(counts.items()) if number}
        return np.array([answers[text].score for text in texts], dtype=np.float64)

    def _ask(self, text: str, key: str, pace: Pace) -> _Answer:
        headers = {"Content-Type": "application/json", "X-Goog-Api-Key": key}
        body = json.dumps(
            {
                "comment": {"text": text},
                "requestedAttributes": {self.attribute: {}},
                "doNotStore": True,
                **({"languages": self.languages} if self.languages else {}),
            }
        ).encode()
        dice = random.Random(f"{self.seed} {text}")
        attempt = 0
        while True:
            pace.turn()
            reply = post(self.url, headers, body, self.timeout)
            if reply.kind in _REFUSALS or b"API_KEY_INVALID" in reply.body:
                raise InvalidInput(
                    f"{urlsplit(self.url).netloc} refuses the key in {KEY} "
                    f"({reply.kind.replace('_', ' ').upper()}); set one that may use the service"
                )
            value, reason = self._read(reply)
            wait = self.first_wait * 2**attempt * dice.uniform(0.5, 1.5)
            wait = wait if reply.after is None else reply.after
            spent = attempt == self.retries or wait > self.longest_wait
            if not reason or spent or not _PASSING.fullmatch(reason):
                return _Answer(value, reason, attempt)
            if reply.after is not None:
                pace.hold(wait)
            else:
                pace.wait(wait)
            attempt += 1

    def _read(self, reply: Reply) -> tuple[float, str]:
        """Returns the score, or NaN and why there is none."""
        if reply.kind != "http_200":
            return math.nan, reply.kind
        try:
            found: Any = json.loads(reply.body)
        except (ValueError, RecursionError):
            return math.nan, "not_json"
        try:
            value = found["attributeScores"][self.attribute]["summaryScore"]["value"]
        except (KeyError, TypeError, IndexError):
            return math.nan, "no_score"
        if not _is_score(value):
            return math.nan, "not_in_0_1"
        return float(value), ""

    def _remembered(self, texts: Counter[str]) -> dict[str, float]:
        """Returns the kept answers to these texts; lines that a killed run left torn are none."""
        if self.kept is None or not self.kept.is_file():
            return {}
        known: dict[str, float] = {}
        with self.kept.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    asked, value = row["asked"], row["score"]
                except (ValueError, KeyError, TypeError):
                    continue
                if _is_score(value):
                    known[asked] = float(value)
        return {text: known[name] for text in texts if (name := self._name(text)) in known}

    def _keep(self, text: str, answer: _Answer) -> None:
        if self.kept is None or answer.reason:
            return
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        row = json.dumps({"asked": self._name(text), "score": answer.score})
        with self.kept.open("a", encoding="utf-8") as file:
            # The first line break ends what a killed run may have left half-written.
            file.write(f"\n{row}\n")

    def _name(self, text: str) -> str:
        return digest([self.url, self.attribute, ",".join(self.languages), text])


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise Missing(
            f"scorer=perspective needs a key, found none in the environment; set {KEY} (a key of a "
            "Google Cloud project that may use the Comment Analyzer API)"
        )
    # http.client would quote a value that no header may have.
    if not re.fullmatch(r"[!-~]+", key):
        raise InvalidInput(
            f"{KEY} holds characters that no key has (a space, a line break); set it again"
        )
    return key
