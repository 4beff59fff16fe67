"""Text of PDF and HTML files, each of which is one document: the optional extra `documents`."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from typing import Any

from shortlist.errors import Missing


class NoText(Exception):
    """A file without text that can be read; the message is the reason."""


def pdf_text(raw: bytes, most: int) -> str:
    """Returns the text of a PDF file, its pages separated by blank lines (pypdf).

    Lines are those of the page, hyphens at their ends included: pypdf knows no paragraphs.

    Args:
        raw: the file.
        most: most characters.

    Raises:
        NoText: it is damaged, protected by a password, larger than `most`, or holds pictures alone.
        Missing: pypdf is not installed.
    """
    try:
        import pypdf
        from pypdf.errors import DependencyError
    except ImportError as error:
        raise _extra("PDF", error) from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of what it repairs
    pages: list[str] = []
    try:
        reader = pypdf.PdfReader(io.BytesIO(raw))
        if reader.is_encrypted and not reader.decrypt(""):
            raise NoText("protected by a password; remove it, as with qpdf --decrypt")
        for page in reader.pages:
            pages.append(page.extract_text().strip())
            if sum(map(len, pages)) > most:
                raise NoText(f"more than {most:,} characters of text")
    except NoText:
        raise
    except DependencyError as error:
        raise NoText("encrypted by AES; remove that, as with qpdf --decrypt") from error
    except Exception as error:  # of a dozen unrelated classes, RecursionError among them
        raise NoText(f"a damaged PDF file ({_reason(error)}); print it to a new file") from error
    text = "\n\n".join(filter(None, pages))
    if not text:
        raise NoText(
            f"{len(pages):,} pages and no text, as of a scan; recognise its characters (OCR) first"
        )
    return text


def html_text(raw: bytes, most: int) -> str:
    """Returns the main text of an HTML file: no menus, notices, comments or scripts (trafilatura).

    Args:
        raw: the file, in any encoding that it declares or that can be told.
        most: most characters.

    Raises:
        NoText: there is no main text, or more than `most` characters.
        Missing: trafilatura, or a package that it needs, is not installed.
    """
    try:
        import trafilatura
    except ImportError as error:
        raise _extra("HTML", error) from error
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # it logs what it finds no text in
    try:
        text: Any = trafilatura.extract(raw, include_comments=False)
    except Exception as error:  # of lxml, justext and its own
        raise NoText(f"a damaged HTML file ({_reason(error)})") from error
    if not text or not text.strip():
        raise NoText("no main text, only menus, scripts or nothing")
    if len(text) > most:
        raise NoText(f"more than {most:,} characters of text")
    return text.strip()


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:120]


def _extra(kind: str, error: ImportError) -> Missing:
    reason = f"no module {error.name}" if error.name else str(error).split(".\n")[0].split("\n")[0]
    return Missing(
        f"{kind} files need packages ({reason}); run: pip install 'shortlist[documents]'"
    )


# By the format of `files.open_rows`.
TEXT_OF: Mapping[str, Callable[[bytes, int], str]] = {
    "pdf": pdf_text,
    "html": html_text,
    "htm": html_text,
}
