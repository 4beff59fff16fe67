"""Quality heuristics with their published names and thresholds: Gopher, C4, FineWeb; lengths.

Words are runs of word characters and runs of other signs (`kernels.words`). The published filters
count the tokens of spaCy or NLTK, which cut contractions elsewhere; on one tokenization the
verdicts are those of datatrove 0.10.1 (tests/parity/test_datatrove.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import regex

from shortlist.errors import InvalidInput
from shortlist.prepare.base import DocumentOperation, Text, Verdict
from shortlist.settings import NaturalNumber

# Unicode's punctuation (datatrove lists a part of it), controls, and the symbols that it lists.
_SYMBOL = regex.compile(r"[\p{P}\p{Cc}\s$+<=>^`|~\u00b4\u2236\u2501\u25ba\uff5e]+")
_PARAGRAPHS, _LINES = re.compile(r"\n{2,}"), re.compile(r"\n+")
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")


@dataclass(frozen=True)
class Length(DocumentOperation):
    """Bounds of a document's length; None for no bound.

    Attributes:
        min_chars: fewest characters, white space at the ends not counted.
        max_chars: most characters.
        min_words: fewest words, runs of signs not counted.
        max_words: most words.
    """

    min_chars: NaturalNumber | None
    max_chars: NaturalNumber | None
    min_words: NaturalNumber | None
    max_words: NaturalNumber | None

    def __post_init__(self) -> None:
        _check_bounds(self, ("chars", "words"))

    def apply(self, document: Text) -> Verdict:
        """Rules: `too_few_chars`, `too_many_chars`, `too_few_words`, `too_many_words`."""
        failed = _outside(len(document.value.strip()), self.min_chars, self.max_chars, "chars")
        if self.min_words is not None or self.max_words is not None:
            words = len(_no_symbols(document.words))
            failed += _outside(words, self.min_words, self.max_words, "words")
        return Verdict(document.value, failed)


def _check_bounds(operation: Length | GopherQuality, units: Sequence[str]) -> None:
    """Raises `InvalidInput` where `min_UNIT` is above `max_UNIT`, which would drop every text."""
    for unit in units:
        least, most = (getattr(operation, f"{end}_{unit}") for end in ("min", "max"))
        if least is not None and most is not None and least > most:
            raise InvalidInput(
                f"expected min_{unit} of at most max_{unit}, found {least:g} and {most:g}"
            )


def _outside(count: int, least: int | None, most: int | None, unit: str) -> tuple[str, ...]:
    if least is not None and count < least:
        return (f"too_few_{unit}",)
    return (f"too_many_{unit}",) if most is not None and count > most else ()


@dataclass(frozen=True)
class GopherQuality(DocumentOperation):
    """The quality rules of Gopher (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1).

    Every bound may be None, which switches its rule off. A word of signs alone counts as a word
    except for the number and the mean length of words.

    Attributes:
        min_doc_words: fewest words.
        max_doc_words: most words.
        min_avg_word_length: least mean length of a word in characters.
        max_avg_word_length: largest.
        max_symbol_word_ratio: most `#`, and most ellipses, per word.
        max_bullet_lines_ratio: largest share of lines that begin with a bullet.
        max_ellipsis_lines_ratio: largest share of lines that end with an ellipsis.
        min_alpha_words_ratio: least share of words with a letter.
        min_stop_words: fewest different words of `stop_words`.
        stop_words: the stop words.
    """

    min_doc_words: int | None
    max_doc_words: int | None
    min_avg_word_length: float | None
    max_avg_word_length: float | None
    max_symbol_word_ratio: float | None
    max_bullet_lines_ratio: float | None
    max_ellipsis_lines_ratio: float | None
    min_alpha_words_ratio: float | None
    min_stop_words: int | None
    stop_words: Sequence[str]

    def __post_init__(self) -> None:
        _check_bounds(self, ("doc_words", "avg_word_length"))

    @cached_property
    def _stop_words(self) -> frozenset[str]:
        return frozenset(self.stop_words)

    def apply(self, document: Text) -> Verdict:
        """Rules: `short_doc`, `long_doc`, `below_avg_threshold`, `above_avg_threshold`,
        `too_many_hashes`, `too_many_ellipsis`, `too_many_bullets`, `too_many_end_ellipsis`,
        `below_alpha_threshold`, `enough_stop_words`; a text without words fails `no_words` alone.
        """
        text, words = document.value, document.words
        if not words:
            return Verdict(text, ("no_words",))
        spoken = _no_symbols(words)
        length = sum(map(len, spoken)) / len(spoken) if spoken else 0.0
        hashes = text.count("#") / len(words)
        ellipses = (text.count("...") + text.count("…")) / len(words)
        lines = text.splitlines()
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines)
        ends = sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines)
        alpha = sum(w[0].isalpha() or any(map(str.isalpha, w)) for w in words) / len(words)
        stops = len(self._stop_words.intersection(words))
        return Verdict(
            text,
            _failed(
                ("short_doc", _below(len(spoken), self.min_doc_words)),
                ("long_doc", _above(len(spoken), self.max_doc_words)),
                ("below_avg_threshold", _below(length, self.min_avg_word_length)),
                ("above_avg_threshold", _above(length, self.max_avg_word_length)),
                ("too_many_hashes", _above(hashes, self.max_symbol_word_ratio)),
                ("too_many_ellipsis", _above(ellipses, self.max_symbol_word_ratio)),
                ("too_many_bullets", _above(bullets, self.max_bullet_lines_ratio)),
                ("too_many_end_ellipsis", _above(ends, self.max_ellipsis_lines_ratio)),
                ("below_alpha_threshold", _below(alpha, self.min_alpha_words_ratio)),
                ("enough_stop_words", _below(stops, self.min_stop_words)),
            ),
        )


@dataclass(frozen=True)
class GopherRepetition(DocumentOperation):
    """The repetition rules of Gopher (Rae et al. 2021, table A1), as shares of the characters.

    Attributes:
        dup_para_frac: largest share of paragraphs that repeat an earlier one.
        dup_para_char_frac: of the characters in them.
        dup_line_frac: largest share of lines that repeat an earlier one.
        dup_line_char_frac: of the characters in them.
        top_n_grams: by n, the largest share of characters in the most frequent n-gram of words.
        dup_n_grams: by n, the largest share of characters in repeated n-grams.
    """

    dup_para_frac: float | None
    dup_para_char_frac: float | None
    dup_line_frac: float | None
    dup_line_char_frac: float | None
    top_n_grams: Mapping[int, float]
    dup_n_grams: Mapping[int, float]

    def apply(self, document: Text) -> Verdict:
        """Rules: `dup_para_frac`, `dup_para_char_frac`, `dup_line_frac`, `dup_line_char_frac`,
        `top_N_gram`, `duplicated_N_n_grams`; an empty text fails `empty` alone.
        """
        text = document.value
        if not text:
            return Verdict(text, ("empty",))
        paragraphs, lines = _PARAGRAPHS.split(text.strip()), _LINES.split(text)
        para, para_chars = duplicates(paragraphs)
        line, line_chars = duplicates(lines)
        failed = _failed(
            ("dup_para_frac", _above(para / len(paragraphs), self.dup_para_frac)),
            ("dup_para_char_frac", _above(para_chars / len(text), self.dup_para_char_frac)),
            ("dup_line_frac", _above(line / len(lines), self.dup_line_frac)),
            ("dup_line_char_frac", _above(line_chars / len(text), self.dup_line_char_frac)),
        )
        words = document.words
        sizes, _ = document.joined_lengths
        for n, bound in self.top_n_grams.items():
            if _top_chars(words, int(n)) / len(text) > bound:
                failed += (f"top_{n}_gram",)
        for n, bound in self.dup_n_grams.items():
            repeated = _repeated_chars(words, sizes, int(n))
            if repeated is None:  # no n-gram stands twice, so no longer one does
                if list(self.dup_n_grams) == sorted(self.dup_n_grams):
                    break
                continue
            if repeated / len(text) > bound:
                failed += (f"duplicated_{n}_n_grams",)
        return Verdict(text, failed)


@dataclass(frozen=True)
class C4Quality(DocumentOperation):
    """The rules of C4 for lines and documents (Raffel et al. 2020, JMLR 21:140, section 2.2).

    Lines are dropped that do not end in a terminal punctuation mark, have few words, hold a huge
    word, or name JavaScript or a policy; a document is dropped for `lorem ipsum`, for a curly
    bracket, or for too few sentences in the lines that stay. The published list of bad words is not
    part of it. Sentences are counted by their ends.

    Attributes:
        min_num_sentences: fewest sentences; None for no bound.
        min_words_per_line: fewest words between white space of a line.
        max_word_length: most characters of a word.
        end_punctuation: how a line may end.
        policy_substrings: a line that holds one of them, in lower case, is dropped.
        drop_curly_brackets: whether a document with a `{` is dropped.
    """

    min_num_sentences: int | None
    min_words_per_line: int
    max_word_length: int
    end_punctuation: Sequence[str]
    policy_substrings: Sequence[str]
    drop_curly_brackets: bool

    def apply(self, document: Text) -> Verdict:
        """Rules: `lorem_ipsum`, `curly_bracket`, `too_few_sentences`. The text keeps its lines
        where a rule fails.
        """
        kept: list[str] = []
        failed: dict[str, None] = {}
        sentences, ends = 0, tuple(self.end_punctuation)
        for line in map(str.strip, document.value.splitlines()):
            words = line.split()
            if any(len(word) > self.max_word_length for word in words):
                continue
            line = _CITATION.sub("", line)
            if not line.endswith(ends) or line.endswith("..."):
                continue
            if len(words) < self.min_words_per_line:
                continue
            lower = line.lower()
            if "lorem ipsum" in lower:
                failed["lorem_ipsum"] = None
            if "javascript" in lower:
                continue
            if self.drop_curly_brackets and "{" in line:
                failed["curly_bracket"] = None
            if any(phrase in lower for phrase in self.policy_substrings):
                continue
            sentences += count_sentences(line)
            kept.append(line)
        if _below(sentences, self.min_num_sentences):
            failed["too_few_sentences"] = None
        text = document.value if failed else "\n".join(kept).strip()
        return Verdict(text, tuple(failed))


@dataclass(frozen=True)
class FinewebQuality(DocumentOperation):
    """The additional rules of FineWeb (Penedo et al. 2024, arXiv:2406.17557, section 3.6).

    Attributes:
        line_punct_thr: least share of lines that end with a sentence's terminal mark.
        short_line_thr: largest share of short lines.
        short_line_length: most characters of a short line.
        char_duplicates_ratio: largest share of characters in lines that repeat an earlier one.
        new_line_ratio: most line breaks per word.
    """

    line_punct_thr: float
    short_line_thr: float
    short_line_length: int
    char_duplicates_ratio: float
    new_line_ratio: float

    def apply(self, document: Text) -> Verdict:
        """Rules: `line_punct_ratio`, `short_line_ratio`, `char_dup_ratio`, `list_ratio`; a text of
        white space fails `empty` alone.
        """
        text = document.value
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            return Verdict(text, ("empty",))
        ended = sum(map(_terminal_marks().__contains__, (line[-1] for line in lines)))
        short = sum(len(line) <= self.short_line_length for line in lines)
        breaks = text.count("\n")
        repeated = duplicates(lines)[1] / (len(text) - breaks)
        per_word = breaks / len(document.words) if document.words else 0.0
        return Verdict(
            text,
            _failed(
                ("line_punct_ratio", ended / len(lines) < self.line_punct_thr),
                ("short_line_ratio", short / len(lines) > self.short_line_thr),
                ("char_dup_ratio", repeated > self.char_duplicates_ratio),
                ("list_ratio", per_word > self.new_line_ratio),
            ),
        )


def count_sentences(line: str) -> int:
    """Returns the number of sentences of a line: the ends of sentences in it, and an open rest."""
    ends = list(_SENTENCE_END.finditer(line))
    rest = line[ends[-1].end() :] if ends else line
    return len(ends) + bool(rest.strip())


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """Returns how many parts repeat an earlier one, and their characters."""
    if len(parts) == 1:
        return 0, 0
    seen: set[str] = set()
    count, chars = 0, 0
    for part in parts:
        if part in seen:
            count, chars = count + 1, chars + len(part)
        seen.add(part)
    return count, chars


def _no_symbols(words: Sequence[str]) -> list[str]:
    """Returns the words that do not consist of punctuation alone."""
    return [w for w in words if w[0].isalnum() or not _SYMBOL.fullmatch(w)]


def _top_chars(words: Sequence[str], n: int) -> int:
    """Returns the characters, spaces included, of all copies of the most frequent n-gram; of
    equally frequent ones the first counts.
    """
    if len(words) < n:
        return 0
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    gram = max(counts, key=counts.__getitem__)
    return (sum(map(len, gram)) + n - 1) * counts[gram]


def _repeated_chars(words: Sequence[str], sizes: Sequence[int], n: int) -> int | None:
    """Returns the characters in n-grams that repeat an earlier one, found from left to right
    without overlap; None where no n-gram stands twice.

    n-grams are compared as joined letters, as in datatrove.
    """
    total = len(words) - n + 1
    if total < 2:
        return None
    grams = ["".join(gram) for gram in zip(*(words[start:] for start in range(n)), strict=False)]
    if len(set(grams)) == total:
        return None
    seen: set[str] = set()
    repeated, place = 0, 0
    while place < total:
        if grams[place] in seen:
            repeated += sum(sizes[place : place + n])
            place += n
        else:
            seen.add(grams[place])
            place += 1
    return repeated


def _failed(*rules: tuple[str, bool]) -> tuple[str, ...]:
    return tuple(name for name, fails in rules if fails)


def _below(value: float, bound: float | None) -> bool:
    return bound is not None and value < bound


def _above(value: float, bound: float | None) -> bool:
    return bound is not None and value > bound


@cache
def _terminal_marks() -> frozenset[str]:
    """Returns the characters that end a sentence (Unicode's Sentence_Terminal)."""
    plane = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x20000))))
    return frozenset(regex.findall(r"\p{STerm}", plane))
