"""WARC files, as crawls are kept: HTML and PDF responses as pages, plain text and WET records as documents.

Covers responses and resources, of any compression and content encoding. Requests, metadata and revisits hold no page of
their own and are passed over; everything else that is not given has its line in the drop log. Record ids are taken as
they are: a file that is read twice gives them twice.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record
from mimo_data.sources.archive import Damage, Entry, entries, is_gzip
from mimo_data.sources.decoding import decode
from mimo_data.sources.http import Response, parse_response
from mimo_data.sources.page import Page, PageError, Part, labels

_ENDINGS = tuple(ending + compression for ending in (".warc", ".wet") for compression in ("", ".gz", ".zst", ".lz4"))
_HOLD_PAGES = ("response", "resource", "conversion", "continuation")
# Room for the headers of HTTP and the seams of chunks beside a page of the largest size.
_OVERHEAD_BYTES = 1 << 20
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNCLEAR_TYPES = ("", "application/octet-stream", "application/xml", "text/xml", "binary/octet-stream", "unk")
_DIGESTS = ("md5", "sha1", "sha256", "sha512")
_PDF_TYPES = ("application/pdf", "application/x-pdf")


class WarcRecipe(Record, frozen=True):
    """How records become pages."""

    max_page_bytes: int = 20_000_000
    """Size of a body with its encodings undone; a larger one is dropped as `too_large`."""
    part_bytes: int = 256_000_000
    """Compressed bytes in a unit of work. Only gzip files are divided; others are one unit each."""
    html_source: str = "web"
    """Source of documents from HTML and plain text, in the mixture's words."""
    pdf_source: str = "papers"
    """Source of documents from PDF."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1 or self.part_bytes < 1:
            raise ValueError("max_page_bytes and part_bytes are at least 1")


def parts(paths: Sequence[Path], recipe: WarcRecipe) -> list[Part]:
    """WARC and WET files, and those below folders, in ranges of bytes.

    Raises:
        DataError: a path is missing, or a folder holds no such file.
    """
    files: list[Path] = []
    for path in paths:
        found = [path]
        if path.is_dir():
            found = [child for child in sorted(path.rglob("*")) if child.name.endswith(_ENDINGS) and child.is_file()]
        if not found or not path.exists():
            raise DataError(
                f"{path}: no WARC file. Name files, or a folder with files that end in .warc.gz or the like."
            )
        files += found
    ranges: list[tuple[Path, str, int, int]] = []
    for file, label in zip(files, labels(files), strict=True):
        size = file.stat().st_size
        num_ranges = max(1, round(size / recipe.part_bytes)) if is_gzip(file) else 1
        bounds = [size * number // num_ranges for number in range(num_ranges)]
        ranges += [(file, label, start, stop) for start, stop in zip(bounds, [*bounds[1:], 0], strict=True)]
    return [
        Part(id=f"warc-{number:06d}", path=str(file), names=(label,), start=start, stop=stop)
        for number, (file, label, start, stop) in enumerate(ranges)
    ]


def read(part: Part, recipe: WarcRecipe) -> Iterator[Page | Document | Drop]:
    """The pages and documents of the records that begin in one part.

    The id is the record's, without `<>`; where none can be read, the file's name and the place in it.
    """
    path = Path(part.path)
    max_block_bytes = recipe.max_page_bytes + _OVERHEAD_BYTES
    found = entries(path, start=part.start, stop=part.stop, max_block_bytes=max_block_bytes, wanted=_holds_page)
    for entry in found:
        place = f"{part.names[0]}@{entry.start}"
        if isinstance(entry, Damage):
            yield PageError("broken", entry.detail).drop(place)
            continue
        id = entry.headers.get("warc-record-id", "").strip("<> ") or place
        try:
            yield _convert(id, entry, recipe)
        except PageError as failure:
            yield failure.drop(id)


def _holds_page(headers: dict[str, str]) -> bool:
    return headers.get("warc-type", "").lower() in _HOLD_PAGES


def _convert(id: str, entry: Entry, recipe: WarcRecipe) -> Page | Document:
    headers = entry.headers
    if entry.block is None:
        raise PageError("too_large", f"a record of {headers['content-length']} bytes")
    if headers["warc-type"].lower() == "continuation" or "warc-segment-number" in headers:
        raise PageError("broken", "a segment of a record")
    _check_digest(entry.block, headers.get("warc-block-digest", ""))
    url = headers.get("warc-target-uri", "").strip("<> ")
    meta = {"date": headers["warc-date"]} if headers.get("warc-date") else {}
    if headers.get("warc-truncated"):
        meta["truncated"] = headers["warc-truncated"]
    content_type = headers.get("content-type", "")
    is_http = content_type.lower().startswith("application/http") or url.lower().startswith(("http:", "https:"))
    if headers["warc-type"].lower() == "response" and is_http:
        response = parse_response(entry.block)
        if response.status != 200:
            raise PageError("http_status", str(response.status))
    else:
        response = Response(200, {"content-type": content_type}, entry.block)
    stated = _stated_kind(response.content_type, headers.get("warc-identified-payload-type", ""))
    body = response.body(recipe.max_page_bytes)
    if not body or body.isspace():
        raise PageError("broken", "empty")
    kind = _seen_kind(stated, body)
    if kind == "text":
        text = decode(body, charset=response.charset)
        return Document(id=id, text=text, source=recipe.html_source, url=url, meta=meta)
    if kind == "pdf":
        if "truncated" in meta:
            raise PageError("broken", f"a PDF file cut off by the crawler ({meta['truncated']})")
        return Page(id=id, data=body, kind="pdf", source=recipe.pdf_source, url=url, meta=meta)
    return Page(id=id, data=body, kind="html", source=recipe.html_source, url=url, charset=response.charset, meta=meta)


def _stated_kind(content_type: str, identified: str) -> Literal["html", "pdf", "text", "unclear"]:
    """What the server says a body is, or else the crawler."""
    if content_type in _UNCLEAR_TYPES:
        content_type = identified.lower()
    if content_type in _HTML_TYPES:
        return "html"
    if content_type in _PDF_TYPES:
        return "pdf"
    if content_type == "text/plain":
        return "text"
    if content_type in _UNCLEAR_TYPES:
        return "unclear"
    raise PageError("not_a_page", content_type[:100])


def _seen_kind(stated: Literal["html", "pdf", "text", "unclear"], body: bytes) -> Literal["html", "pdf", "text"]:
    """What the bytes are, where they say so more plainly than the header."""
    head = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"%pdf-"):
        return "pdf"
    html = head.startswith(b"<") and any(tag in head for tag in (b"<!doctype html", b"<html", b"<head", b"<body"))
    if stated in ("pdf", "unclear") and html:
        return "html"
    if stated == "unclear":
        raise PageError("not_a_page", "neither HTML nor PDF by its first bytes")
    return stated


def _check_digest(block: bytes, stated: str) -> None:
    """Compares a digest that the record gives with its block's; one that cannot be understood is no evidence."""
    name, _, value = stated.strip().partition(":")
    name = name.lower().replace("-", "")
    if name not in _DIGESTS:
        return
    digest = hashlib.new(name, block, usedforsecurity=False)
    if value.upper().rstrip("=") != base64.b32encode(digest.digest()).decode().rstrip("=") and (
        len(value) != 2 * digest.digest_size or value.lower() != digest.hexdigest()
    ):
        raise PageError("broken", f"the block's {name} is not the one that the record gives")
