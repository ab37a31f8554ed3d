"""Folders of pages to documents: reading, decoding, extraction and the reason for each page that has none."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record
from mimo_data.workers import WorkError, map_in_processes

_HTML = (".html", ".htm", ".html.gz", ".htm.gz")
_PAGES = (*_HTML, ".pdf")


class ExtractRecipe(Record, frozen=True):
    """Limits of one page, so that no page can stop a corpus."""

    page_limit_s: float = 30.0
    """Wall time; a page over it is dropped as `time_limit`."""
    max_page_bytes: int = 20_000_000
    """Size after decompression; a larger page is dropped as `too_large`."""
    worker_memory_bytes: int = 4_000_000_000
    """Address space of one process; a page that needs more is dropped as `out_of_memory`."""


class PageError(Exception):
    """A page without a document: `broken`, `too_large`, `not_text`, `encrypted` or `no_content`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def extract_pages(folder: Path, recipe: ExtractRecipe, *, num_workers: int) -> Iterator[Document | Drop]:
    """One document or one drop for each page below `folder`, in the order of their paths.

    HTML gives source "web", PDF gives source "papers"; the id is the path below the folder.

    Raises:
        DataError: there is no page, or there are PDF files and PyMuPDF is missing.
    """
    paths = sorted(path for path in folder.rglob("*") if path.name.lower().endswith(_PAGES) and not path.is_dir())
    if not paths:
        raise DataError(f"{folder}: holds no page. It needs files that end in {', '.join(_PAGES)}.")
    if find_spec("pymupdf") is None:
        pdf = next((path for path in paths if path.name.lower().endswith(".pdf")), None)
        if pdf is not None:
            raise DataError(f"{pdf}: reading PDF needs PyMuPDF. Run `pip install 'mimo-data[pdf]'`.")
    results = map_in_processes(
        partial(_extract_page, max_page_bytes=recipe.max_page_bytes),
        paths,
        num_workers=min(num_workers, len(paths)),
        task_limit_s=recipe.page_limit_s,
        memory_limit_bytes=recipe.worker_memory_bytes,
    )
    for path, result in results:
        name = path.relative_to(folder).as_posix()
        if isinstance(result, (WorkError, Drop)):
            yield Drop(id=name, step="extract", reason=result.reason, detail=result.detail)
        else:
            text, url = result
            source = "papers" if name.lower().endswith(".pdf") else "web"
            yield Document(id=name, text=text, source=source, url=url)


def _extract_page(path: Path, *, max_page_bytes: int) -> tuple[str, str] | Drop:
    """Text and address of one page."""
    try:
        data = read_page(path, max_page_bytes)
        if path.name.lower().endswith(".pdf"):
            from mimo_data.pdf import PdfError, extract_pdf

            try:
                text, url = extract_pdf(data), ""
            except PdfError as error:
                raise PageError(error.reason, str(error)) from None
        else:
            from mimo_data.html import extract_html

            page = decode_page(data)
            url = page_url(page)
            text = extract_html(page, url=url)
        if not text.strip():
            raise PageError("no_content", "no text was found")
    except PageError as failure:
        return Drop(id=path.name, step="extract", reason=failure.reason, detail=failure.detail)
    # Half a surrogate pair cannot be written as UTF-8.
    return text.encode("utf-8", "replace").decode("utf-8"), url


def read_page(path: Path, max_page_bytes: int) -> bytes:
    """The bytes of a page, decompressed up to the limit.

    Raises:
        PageError: it cannot be read, is empty, or is too large.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(max_page_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise PageError("broken", f"cannot be read: {error}") from None
    if len(data) > max_page_bytes:
        raise PageError("too_large", f"more than {max_page_bytes} bytes")
    if not data.strip():
        raise PageError("broken", "empty file")
    return data


_CHARSET = re.compile(rb"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def decode_page(data: bytes) -> str:
    """The characters of an HTML page: by its byte order mark, else UTF-8, else what it declares, else Windows-1252.

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
