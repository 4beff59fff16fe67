"""Personal data found by patterns and checksums, and replaced by typed placeholders.

Kinds: e-mail addresses, credentials in URLs, IP addresses, IBANs, payment cards, identity numbers,
telephone numbers, streets with house numbers. Names of persons need a model (`names.py`).
Precision and recall by kind, on sentences written for this project:
docs/guides/data-preparation.md.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from shortlist.errors import InvalidInput, near
from shortlist.kernels.words import PLACEHOLDER
from shortlist.prepare.base import DocumentOperation, Text, Verdict
from shortlist.prepare.names import Names
from shortlist.prepare.streets import STREETS
from shortlist.settings import Positive

PERSON = "person"


class Span(NamedTuple):
    """A place of personal data in a text.

    Attributes:
        start: first character.
        stop: the character after the last.
        kind: name of the kind.
    """

    start: int
    stop: int
    kind: str


class Pattern(NamedTuple):
    """One way in which a kind is written.

    Attributes:
        kind: name of the kind.
        trigger: a text without this string has no match; `DIGIT` stands for any digit, `NUMBER` for
            six digits with at most three signs between two of them.
        expression: matches candidates; the group `value`, where there is one, is what is replaced.
        length: how many characters of a candidate are the value (a checksum may decide it); 0 where
            it is none.
        other: what stands before a candidate that is something else (a version is no address),
            searched at the end of the `_CONTEXT` characters before it.
    """

    kind: str
    trigger: str
    expression: re.Pattern[str]
    length: Callable[[str], int] = len
    other: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Anonymise(DocumentOperation):
    """Replaces personal data by placeholders such as `[EMAIL_1]`.

    Equal values of a document get the same placeholder, and a placeholder that the text already
    holds is not given to another value.

    Attributes:
        kinds: what is replaced by patterns; see `KINDS`.
        names: the outside package that finds names of persons, which become `[PERSON_1]`: a folder
            of `baselines/names`, or an adapter of yours; None for no names.
        python: interpreter of the package's environment.
        timeout: seconds that the package may take for one text, the first with loading its model.
    """

    version = 2

    kinds: Sequence[str]
    names: str | None
    python: str | None
    timeout: Positive

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise InvalidInput(
                    f"anonymise.kinds: there is no kind {kind!r}; {near(kind, KINDS)}"
                )
        _ = self._names  # refuses what cannot run before anything is computed

    def identity(self) -> dict[str, str]:
        """Returns the digest of the adapter that finds names."""
        return {} if self._names is None else self._names.identity()

    @cached_property
    def _names(self) -> Names | None:
        return None if self.names is None else Names(self.names, self.python, self.timeout)

    @cached_property
    def _patterns(self) -> tuple[Pattern, ...]:
        return tuple(pattern for pattern in PATTERNS if pattern.kind in self.kinds)

    def apply(self, document: Text) -> Verdict:
        """Returns the text with placeholders."""
        text = document.value
        spans = find(text, self._patterns)
        if self._names is not None and text.strip():
            known = [*spans, *(Span(*match.span(), "") for match in PLACEHOLDER.finditer(text))]
            spans += [
                Span(start, stop, PERSON)
                for start, stop in self._names.find(text)
                if all(stop <= other.start or other.stop <= start for other in known)
            ]
            spans.sort()
        if not spans:
            return Verdict(text)
        taken = set(PLACEHOLDER.findall(text))
        names: dict[tuple[str, str], str] = {}
        numbers = Counter[str]()
        parts: list[str] = []
        last = 0
        for start, stop, kind in spans:
            value = (kind, re.sub(r"\W", "", text[start:stop]).casefold())
            while value not in names:
                numbers[kind] += 1
                name = f"[{kind.upper()}_{numbers[kind]}]"
                if name not in taken:
                    names[value] = name
            parts += [text[last:start], names[value]]
            last = stop
        return Verdict("".join(parts) + text[last:])


def find_personal_data(text: str) -> list[Span]:
    """Returns the places of personal data of all kinds, in order and without overlap."""
    return find(text, PATTERNS)


def find(text: str, patterns: Sequence[Pattern]) -> list[Span]:
    """Returns the matches of the patterns, in order; of two that overlap the earlier pattern's."""
    held = {name: shape.search(text) is not None for name, shape in _SHAPES.items()}
    found: list[Span] = []
    for kind, trigger, expression, length, other in patterns:
        if not held.get(trigger, trigger in text):
            continue
        for match in expression.finditer(text):
            group = "value" if "value" in expression.groupindex else 0
            start, stop = match.span(group)
            size = length(match[group])
            if size and other is not None and other.search(text[max(0, start - _CONTEXT) : start]):
                size = 0
            if size:
                stop = start + size
                if all(stop <= other.start or other.stop <= start for other in found):
                    found.append(Span(start, stop, kind))
    return sorted(found)


def luhn(digits: str) -> bool:
    """Returns whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _bare(text: str) -> str:
    return re.sub(r"[\s./()-]", "", text)


# First digits and numbers of digits by issuer: Visa, Mastercard, American Express, Diners, JCB,
# Discover, UnionPay, Maestro.
_ISSUERS = (
    (r"4", (13, 16, 19)),
    (r"5[1-5]|2[2-7]", (16,)),
    (r"3[47]", (15,)),
    (r"3[068]", (14,)),
    (r"35|6011|6[45]|62", (16, 17, 18, 19)),
    (r"50|5[6-9]|63|67", (16, 17, 18, 19)),
)


def _card(text: str) -> int:
    digits = _bare(text)
    issued = any(re.match(first, digits) and len(digits) in sizes for first, sizes in _ISSUERS)
    return len(text) if issued and luhn(digits) else 0


# Characters of an IBAN by country (ISO 13616 registry).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IS": 26, "IT": 27, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TN": 24, "TR": 26,
    "UA": 29, "VA": 22, "XK": 20,
}  # fmt: skip


def _iban(text: str) -> int:
    wanted = _IBAN_LENGTHS.get(text[:2], 0)
    places = [place for place, sign in enumerate(text) if sign != " "][:wanted]
    if not wanted or len(places) < wanted:
        return 0
    letters = "".join(text[place] for place in places)
    number = "".join(str(int(sign, 36)) for sign in letters[4:] + letters[:4])
    return places[-1] + 1 if int(number) % 97 == 1 else 0


def _ip(text: str) -> int:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 0
    if address.is_loopback or address.is_unspecified:
        return 0
    written = address.version == 4 or (len(text) > 6 and any(map(str.isdigit, text)))
    return len(text) if written else 0


def _phone(text: str) -> int:
    return len(text) if 7 <= len(re.sub(r"\D", "", text)) <= 15 else 0


def _national(text: str) -> int:
    return len(text) if 9 <= len(re.sub(r"\D", "", text)) <= 12 else 0


def _dni(text: str) -> int:
    bare = _bare(text).upper()
    number = bare[:-1].translate(str.maketrans("XYZ", "012"))
    return len(text) if "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == bare[-1] else 0


def _cpf(text: str) -> int:
    digits = [int(sign) for sign in _bare(text)]
    for size in (9, 10):
        weighted = sum((size + 1 - place) * digits[place] for place in range(size))
        if weighted * 10 % 11 % 10 != digits[size]:
            return 0
    return len(text) if len(set(digits)) > 1 else 0


def _nir(text: str) -> int:
    bare = _bare(text).upper()
    body = bare[:13].replace("2A", "19").replace("2B", "18")
    return len(text) if int(bare[13:]) == 97 - int(body) % 97 else 0


def _german_tax(text: str) -> int:
    digits = [int(sign) for sign in _bare(text)]
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if counts[-1] not in (2, 3) or counts.count(1) != len(counts) - 1:
        return 0
    product = 10  # ISO/IEC 7064, MOD 11,10
    for digit in digits[:10]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return len(text) if (11 - product) % 10 == digits[10] else 0


def _chinese(text: str) -> int:
    weighted = sum(int(sign) * 2 ** (17 - place) for place, sign in enumerate(text[:17]))
    return len(text) if "10X98765432"[weighted % 11] == text[17].upper() else 0


DIGIT, NUMBER = "0", "000000"  # triggers
_SHAPES = {DIGIT: re.compile(r"\d"), NUMBER: re.compile(r"\d(?:[ ()./-]{0,3}\d){5}")}
_CONTEXT = 60

_DOMAIN = r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})"
_DOT = r"\s?[\[({<](?:dot|DOT|\.)[\])}>]\s?"
# Words before a number of four parts that is a version, a section or an object identifier.
_NUMBERED = re.compile(
    r"(?:\b(?:vers?(?:ion(?:s|e|en)?|ie|i\u00f3n|\u00e3o)?|versi(?:\u00f3n|ones|oni)|vers\u00e3o|wersj[ai]|v|rev(?:ision)?"
    r"|releases?|builds?|firmware|driver|kernel|patch|hotfix|sdk|api|oid|sections?|chapters?|clauses?|articles?"
    r"|paragraphs?|figures?|tables?|items?|appendix|rules?|steps?|abschnitt|kapitel|ziffer|secci\u00f3n|se\u00e7\u00e3o"
    r"|sezione|cap\u00edtulo|cap\.|chapitre|paragraphe|par\.|sec\.|ch\.|fig\."
    r"|chrome|chromium|firefox|safari|edge|opera|windows|android|ios|macos|linux|office|acrobat|oracle|java)"
    r"[\s:.,/(=#]{0,3}|\u00a7[ ]?|(?<![/:])\b[A-Za-z]\w*/)"
    r"(?:(?:is|was|were|to|and|the|next|or|from|number|no|nr|und|auf|y|a|et|e|au|r\d+)\b[.:]?[ ]"
    r"|v?\d[\d.]*,?[ ]){0,8}$",
    re.IGNORECASE,
)
_LABEL = r"(?i:tel|telephone|phone|mobile|cell|fax|call|text|whatsapp|ring|dial)"

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "credentials",
        "://",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,15}://(?P<value>[^\s/@:\[\]]{1,128}:[^\s/@\[\]]{1,128})(?=@)"
        ),
    ),
    Pattern(
        "credentials",
        "=",
        re.compile(
            r"[?&;](?:access_token|token|api_?key|auth|password|passwd|pwd|secret|session(?:id)?)="
            r"(?P<value>[^&\s#\"'<>\[\]]{4,512})",
            re.IGNORECASE,
        ),
    ),
    Pattern(
        "email",
        "@",
        re.compile(
            rf"(?<![\w.+%'-])(?<!://)(?:\w[\w.+%'!#$&*=^~-]{{0,63}}|\"[^\"\n@]{{1,62}}\")"
            rf"@(?:{_DOMAIN}|\[[0-9a-fA-F:.]{{7,39}}\])(?![\w-])"
        ),
    ),
    *(
        Pattern(
            "email",
            at,
            re.compile(
                rf"(?<![\w.+-])[^\W_][\w.+-]{{0,63}}\s?{re.escape(at)}\s?[\w-]{{1,63}}"
                rf"(?:(?:\.|{_DOT})[\w-]{{2,24}}){{1,4}}(?![\w-])"
            ),
        )
        for at in (
            f"{left}{at}{right}"
            for left, right in ("[]", "()", "{}", "<>")
            for at in ("at", "AT", "@")
        )
    ),
    *(
        Pattern(
            "email",
            f" {dot} ",
            re.compile(
                rf"(?<![\w.+-])(?:\w{{1,30}}[ ]{dot}[ ])?[^\W_][\w.+-]{{0,63}}[ ](?:at|AT|@)[ ][\w-]{{2,63}}"
                rf"(?:[ ]{dot}[ ][\w-]{{2,24}}){{1,4}}(?![\w-])"
            ),
        )
        for dot in ("dot", "DOT")
    ),
    Pattern(
        "iban",
        DIGIT,
        re.compile(
            r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b"
        ),
        _iban,
    ),
    Pattern(
        "identity",
        "-",
        re.compile(
            r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"  # United States
        ),
    ),
    Pattern(
        "identity",  # United Kingdom
        NUMBER,
        re.compile(
            r"\b(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?\d{2}[ ]?\d{2}[ ]?\d{2}"
            r"[ ]?[A-D]\b"
        ),
    ),
    Pattern("identity", NUMBER, re.compile(r"\b(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]\b"), _dni),  # Spain
    Pattern("identity", "-", re.compile(r"(?<![\w.])\d{3}\.\d{3}\.\d{3}-\d{2}\b"), _cpf),  # Brazil
    Pattern(
        "identity",  # France
        NUMBER,
        re.compile(
            r"(?<![\w-])[12][ ]?\d{2}[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d{2}|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?"
            r"\d{2}(?![\w-])"
        ),
        _nir,
    ),
    Pattern(
        "identity",  # Germany
        NUMBER,
        re.compile(r"(?<![\w.+/-])[1-9]\d(?:[ ]\d{3}[ ]\d{3}[ ]\d{3}|\d{9})(?![\w-]|[ ]\d)"),
        _german_tax,
    ),
    Pattern(
        "identity",  # China
        NUMBER,
        re.compile(
            r"(?<!\w)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx](?!\w)"
        ),
        _chinese,
    ),
    Pattern("card", NUMBER, re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)"), _card),
    Pattern(
        "ip",
        DIGIT,
        re.compile(
            r"\d(?<![\w.-].)\d{0,2}(?:\.\d{1,3}){3}(?![\w-]|\.\d|[ ](?:release|build|version|firmware)\b)"
        ),
        _ip,
        _NUMBERED,
    ),
    Pattern(
        "ip",
        ":",
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4})?(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])"),
        _ip,
    ),
    Pattern(
        "phone",
        "+",
        re.compile(
            r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(0?\d{0,4}\))?(?:[ ./-]?\d{1,6}){2,7}(?![\w]|[.-]\d)"
        ),
        _phone,
    ),
    Pattern(
        "phone",
        NUMBER,
        re.compile(
            r"(?<![\w.+/-])(?<!\d )(?:1[ .-])?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"
            r"(?:[ ]?(?:x|ext\.?)[ ]?\d{1,5})?(?![\w-]|\.\d)"
        ),
    ),
    Pattern(
        "phone",
        NUMBER,
        re.compile(
            r"(?<![\w.+/,-])(?<!\d )(?:\(0[1-9]\d{0,4}\)|0[1-9]\d{0,4})[ /-]{1,3}\d{2,8}(?:[ -]\d{2,8}){0,4}"
            r"(?![\w-]|[.,/]\d)"
        ),
        _national,
    ),
    Pattern(
        "phone",
        NUMBER,
        re.compile(
            rf"\b{_LABEL}(?:[ ](?:me|us|him|her|them|on|at|number|no\.?|is|the|office)){{0,4}}\.?:?[ ]"
            r"(?P<value>\(?\d(?:[ ().-]{0,2}\d){6,13})(?![\w]|[.,-]\d)"
        ),
        _phone,
    ),
    *(Pattern("street", DIGIT, expression, length) for expression, length in STREETS),
)
KINDS: tuple[str, ...] = tuple(dict.fromkeys(pattern.kind for pattern in PATTERNS))


def by_patterns(kinds: Sequence[str] = KINDS) -> Anonymise:
    """Returns the operation that finds no names of persons, and so runs no outside package."""
    return Anonymise(kinds, names=None, python=None, timeout=1.0)
