"""The characters of a page, whatever it says of its encoding, and the address that it gives as its own."""

from __future__ import annotations

import contextlib
import re
from urllib.parse import urlsplit

from mimo_data.sources.charsets import codec, guess
from mimo_data.sources.page import PageError

_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_DECLARED = re.compile(
    rb"<meta\b[^>]*\bcharset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml\b[^>]*\bencoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE
)
_DECLARED_WITHIN_BYTES = 4096
# What some programs write for UTF-8: halves of a pair of UTF-16 by themselves, and ASCII in two or three bytes.
_NEARLY_UTF_8 = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]|[\xc0\xc1][\x80-\xbf]|\xe0[\x80-\x9f][\x80-\xbf]")
_NOT_TEXT = "holds bytes that no text has"
_NEVER_IN_TEXT = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\x1b"))


def decode(data: bytes, *, charset: str = "") -> str:
    """The characters of a page or text.

    A byte order mark counts most, then whether the bytes are UTF-8 (save a few broken ones): nothing else is that by
    accident. Then what is stated, by HTTP or else by the page, unless the bytes look clearly like another encoding.
    Bytes that mean nothing become U+FFFD.

    Args:
        charset: what the HTTP header says.

    Raises:
        PageError: `not_text`.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if b"\0" in data and _is_binary(data):
        return _decode_wide(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return data.decode("iso2022_jp_ext", "replace") if b"\x1b$" in data else text
    if _is_binary(data):
        raise PageError("not_text", _NOT_TEXT)
    with contextlib.suppress(UnicodeDecodeError):
        return _NEARLY_UTF_8.sub("\ufffd".encode(), data).decode("utf-8")
    text = data.decode("utf-8", "replace")
    num_broken = text.count("\ufffd")
    if num_broken * 10 < len(text) - len(text.encode("ascii", "ignore")) - num_broken:
        return text
    stated = codec(charset) or codec(_declared(data))
    return data.decode(guess(data, "" if stated == "utf-8" else stated), "replace")


def _decode_wide(data: bytes) -> str:
    """UTF-16 without a mark: every other byte of its markup is zero."""
    for name, zeros, letters in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
        if zeros.count(0) * 2 > len(zeros) and not _is_binary(letters):
            return data.decode(name, "replace")
    raise PageError("not_text", _NOT_TEXT)


def _is_binary(data: bytes) -> bool:
    num_strange = len(data) - len(data.translate(None, _NEVER_IN_TEXT))
    return num_strange * 100 > len(data)


def _declared(data: bytes) -> str:
    found = _DECLARED.search(data, 0, _DECLARED_WITHIN_BYTES)
    return (found[1] or found[2]).decode("ascii", "replace") if found else ""


# No `<` or `>` inside: a page of tags that never end costs no more than its length.
_TAG = re.compile(r"<(?:link|meta)\b[^<>]*>", re.IGNORECASE)
_CANONICAL = re.compile(r"\brel\s*=\s*[\"']?canonical\b|\bog:url\b", re.IGNORECASE)
_ADDRESS = re.compile(r"\b(?:href|content)\s*=\s*[\"']?(https?://[^\s\"'>]+)", re.IGNORECASE)
_ADDRESS_WITHIN_CHARACTERS = 200_000


def page_url(page: str) -> str:
    """The address that a page gives as its own; "" when it gives none, or only its site's."""
    for tag in _TAG.finditer(page, 0, _ADDRESS_WITHIN_CHARACTERS):
        address = _ADDRESS.search(tag[0]) if _CANONICAL.search(tag[0]) else None
        if address is None:
            continue
        try:
            parts = urlsplit(address[1])
        except ValueError:  # half of an IPv6 address
            continue
        if parts.path.strip("/") or parts.query:
            return address[1].replace("&amp;", "&")
    return ""
