"""The characters of a page: which of the encodings that it claims, or that its bytes look like, it is in."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mimo_data.sources.page import PageError

_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode(data: bytes, *, charset: str = "") -> str:
    """The characters of an HTML page: by its byte order mark, else UTF-8, else what it declares, else Windows-1252.

    Args:
        charset: what the HTTP header says.

    Raises:
        PageError: it is not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if data.count(b"\0") > len(data) // 100:
        raise PageError("not_text", "holds NUL bytes")
    declared = _CHARSET.search(data[:4096])
    for encoding in ("utf-8", declared[1].decode("ascii", "replace") if declared else "cp1252", "cp1252"):
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeDecodeError):
            continue
    # A few broken characters in a page of UTF-8 are no reason to read all of it as something else.
    broken = data.decode("utf-8", "replace")
    return broken if broken.count("\ufffd") < len(broken) // 100 else data.decode("latin-1")


_CANONICAL = re.compile(r"<link\b[^>]*\brel\s*=\s*[\"']?canonical\b[^>]*>|<meta\b[^>]*\bog:url\b[^>]*>", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:href|content)\s*=\s*[\"']?(https?://[^\s\"'>]+)", re.IGNORECASE)


def page_url(page: str) -> str:
    """The address that a page gives as its own; "" when it gives none, or only its site's."""
    for tag in _CANONICAL.finditer(page[:200_000]):
        address = _ADDRESS.search(tag[0])
        if address and (urlsplit(address[1]).path.strip("/") or urlsplit(address[1]).query):
            return address[1].replace("&amp;", "&")
    return ""
