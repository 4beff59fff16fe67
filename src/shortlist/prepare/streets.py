"""How streets with house numbers, and post office boxes, are written in some European languages.

Only a street with its number is a place: names of streets alone stand in any news text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_CAPITAL = r"[^\W\d_a-z\u00df-\u00f6\u00f8-\u00ff]"
_NAME = rf"{_CAPITAL}[\w'\u2019-]{{0,24}}"
# After a street's name: `12`, `12a`, `12-14`, `12/3`, `n. 12`, `No: 12`, `nr 12`, `, 12`.
_NUMBER = (
    r",?[ ](?:(?i:n(?:[\u00ba\u00b0o.]|r\.?|\u00fam\.?|um\.?|o[.:])|no:|d\.|h\u00fas)[ ]?)?"
    r"\d{1,4}(?:(?:[A-Za-z]|[ ][A-Hb-df-h])(?![\w'\u2019]))?(?:[-/]\d{1,4}[A-Za-z]?)?(?!\w|[.,:]\d)"
)

# English: the number first.
_KIND = (
    "(?:Street|Avenue|Road|Lane|Drive|Boulevard|Court|Place|Square|Terrace|Way|Close|Crescent|Highway"
    "|Parkway|Row|Gardens|Mews|Circle|Trail|Walk|Grove|Quay|Wharf|Alley|Parade|Embankment|Esplanade"
    r"|Turnpike|Pike|Expressway)\b"
    r"|(?:St|Ave|Rd|Ln|Dr|Blvd|Ct|Pl|Sq|Ter|Cres|Hwy|Pkwy)\b\.?"
)
_APARTMENT = (
    r"(?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Flat|No)\.?[ ]?[\dA-Z]{1,5}\b|[ ]?\#\d{1,5})?"
)
_ENGLISH = (
    r"\d(?<![\w.,$-].)\d{0,4}[A-Za-z]?(?:[-/]\d{1,5})?[ ](?:[NSEW]{1,2}\.?[ ])?"
    rf"(?:(?:[A-Z][\w'\u2019-]{{1,20}}\.?[ ]|\d{{1,3}}(?:st|nd|rd|th)[ ]){{1,3}}(?:{_KIND})"
    rf"|(?:Avenue|Boulevard)[ ]of[ ](?:the[ ])?[A-Z]\w{{1,20}}|Broadway\b){_APARTMENT}"
)

# Germanic, Nordic, Finnish: the kind is the end of the name, the number follows.
_ENDINGS = (  # German, Dutch, Swedish, Norwegian and Danish, Finnish
    "stra\u00dfe", "strasse", "str.", "weg", "platz", "allee", "gasse", "ufer", "damm", "ring", "steig",
    "straat", "laan", "plein", "gracht", "kade", "singel", "dijk", "steeg", "dreef", "hof", "pad", "markt",
    "gatan", "v\u00e4gen", "gr\u00e4nd", "torget", "stigen", "all\u00e9n", "backen",
    "gata", "gate", "gaten", "veien", "vegen", "gade", "vej", "str\u00e6de", "plads", "all\u00e9", "torv",
    "katu", "tie", "kuja", "polku",
)  # fmt: skip
_KIND_ALONE = (
    "stra\u00dfe", "strasse", "str.", "weg", "platz", "allee", "gasse", "straat", "laan", "plein", "gracht",
    "singel", "gata", "gatan", "v\u00e4g", "gate", "vei", "gade", "vej", "all\u00e9",
)  # fmt: skip
_FIRST = (
    "Alte[rsn]?|Neue[rsn]?|Gro\u00dfe|Kleine|Lange|Oude|Nieuwe|Korte|Grote"
    "|Van(?:[ ]de[rn]?)?|Eerste|Tweede|[12]e|Stora|Lilla|Gamla|Nya|Norra"
    "|S\u00f6dra|V\u00e4stra|\u00d6stra|N\u00f8rre|Vester|\u00d8ster|S\u00f8nder"
    "|Store|Lille|Gamle"
)
_ENDING = rf"(?<!\w)(?:(?:{_FIRST})[ ])?{_CAPITAL}[\w'\u2019-]{{1,40}}+\.?{_NUMBER}"
_APART = rf"(?<!\w)(?:{_CAPITAL}[\w.'\u2019-]{{1,20}}[ ]){{1,2}}{_CAPITAL}\w{{2,8}}+\.?{_NUMBER}"
_NAMED = re.compile(r"^(.*?[\w.])(?:,?[ ](?:[Nn]\w{0,2}[.:]?[ ]?)?)\d")

# Romance and Slavic: the kind first, the number last.
_BEFORE = (
    r"(?:(?i:calle|avenida|paseo|plaza|pza|carrera|calzada|camino|ronda|glorieta|carrer|avinguda|passeig"
    r"|via|viale|vicolo|corso|piazza|piazzale|largo|lungotevere|lungarno|strada|contrada"
    r"|rua|travessa|pra\u00e7a|alameda|estrada|rodovia|ladeira|cal\u00e7ada"
    r"|ulica|aleja|aleje|plac|osiedle|ulice|n\u00e1m\u011bst\u00ed|bulevardul|calea|\u0443\u043b\u0438\u0446\u0430|\u043f\u0440\u043e\u0441\u043f\u0435\u043a\u0442)"
    r"|(?i:avda?|pl|pza|p\u00ba|ctra|ul|al|os|v\.le|p\.za|p\.zza|c\.so|trav|estr|bd|bul|str|\u0443\u043b|\u043f\u0440)\."
    r"|[Cc]/|[Aa]v\.?)"
)
_PARTICLE = (
    r"(?:(?i:de[ ]l[ao]s?|de|del|dels|la|las|los|el|do|da|dos|das|e|y|i|di|dei|della|delle|dello|degli|delle"
    r"|san|\u015bw\.|im\.|gen\.|ks\.|dr\.|d\.)[ ]|(?i:dell|d|l|all)['\u2019]|\d{1,2}[ ](?i:de|di)[ ])"
)
_WORD = (
    rf"(?:{_CAPITAL}(?:\.|['\u2019]?[^\W\d_A-Z][\w.'\u2019-]{{0,24}})|[IVX]{{1,4}})"  # no acronym
)
_ROMANCE = (
    rf"(?<!\w){_BEFORE}[ ]?{_PARTICLE}{{0,2}}{_WORD}(?:[ ]{_PARTICLE}{{0,2}}{_WORD}){{0,4}}"
    rf"{_NUMBER}"
)

# French: the number, then the kind.
_FRENCH = (
    r"\d(?<![\w.,-].)\d{0,3}(?:[ ]?(?:bis|ter|quater|[A-D]))?,?[ ](?:rue|avenue|av\.|boulevard|bd\.?|place"
    r"|chemin|all\u00e9e|impasse|quai|cours|route|square|passage|esplanade|faubourg|sentier|ruelle|villa)[ ]"
    r"(?:(?:de[ ]la|des|de|du)[ ]|(?:de[ ])?l['\u2019]|d['\u2019])?"
    rf"{_CAPITAL}[\w'\u2019-]{{1,20}}"
    rf"(?:[ ](?:(?:de[ ]la|des|de|du)[ ])?{_CAPITAL}[\w'\u2019-]{{1,20}}){{0,3}}"
)

_BOX = (
    r"(?<!\w)(?:P\.?[ ]?O\.?[ ]?Box|POB|Post[ ]Office[ ]Box|Postfach|Postbus|Postboks|Postbox"
    r"|Apartado(?:[ ]de[ ][Cc]orreos|[ ][Pp]ostal)?"
    r"|Apdo\.|Bo[i\u00ee]te[ ][Pp]ostale|B\.P\.|Casella[ ][Pp]ostale|Caixa[ ][Pp]ostal|C\.P\."
    r"|Skrytka[ ][Pp]ocztowa|Private[ ]Bag)[ ](?:n[\u00ba\u00b0.][ ]?)?\d{1,7}(?:[ ]\d{2,3}){0,2}(?!\w)"
)


def _ends_in_kind(text: str) -> int:
    """Returns the length of `Keizersgracht 12`, 0 where the name is none of a street."""
    named = _NAMED.match(text)
    name = named[1].casefold() if named else ""
    longer = any(name.endswith(ending) and name != ending for ending in map(str.casefold, _ENDINGS))
    return len(text) if longer else 0


def _kind_apart(text: str) -> int:
    """Returns the length of `Berliner Str. 45`, 0 where the last word is no kind of street."""
    named = _NAMED.match(text)
    last = named[1].rsplit(" ", 1)[-1].casefold() if named else ""
    return len(text) if last in {kind.casefold() for kind in _KIND_ALONE} else 0


# Each way of writing: candidates, and how many characters of one are the street (0: it is none).
STREETS: tuple[tuple[re.Pattern[str], Callable[[str], int]], ...] = (
    (re.compile(_ENGLISH), len),
    (re.compile(_APART), _kind_apart),
    (re.compile(_ENDING), _ends_in_kind),
    (re.compile(_ROMANCE), len),
    (re.compile(_FRENCH), len),
    (re.compile(_BOX), len),
)
