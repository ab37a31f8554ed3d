"""Folders of pages: `.html`, `.htm`, `.xhtml` and `.pdf` files, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from mimo_data.documents import Document, Drop
from mimo_data.run import DataError, Record
from mimo_data.sources.page import Page, PageError, Part, printable

_ENDINGS = (".html", ".htm", ".xhtml", ".pdf")
_PAGES = (*_ENDINGS, *(ending + ".gz" for ending in _ENDINGS))


class FolderRecipe(Record, frozen=True):
    """How files become pages."""

    max_page_bytes: int = 20_000_000
    """Size after decompression; a larger page is dropped as `too_large`."""
    pages_per_part: int = 128
    """Files in a unit of work."""
    html_source: str = "web"
    """Source of the documents from HTML, in the mixture's words."""
    pdf_source: str = "papers"
    """Source of the documents from PDF."""

    def __post_init__(self) -> None:
        if self.max_page_bytes < 1 or self.pages_per_part < 1:
            raise ValueError("max_page_bytes and pages_per_part are at least 1")


def parts(paths: Sequence[Path], recipe: FolderRecipe) -> list[Part]:
    """The pages below folders, in the order of their paths.

    An id is the path below the folder; where there are several folders, the folder's name goes before it.

    Raises:
        DataError: a folder holds no page, or two folders have the same name, so that ids would not be unique.
    """
    folders = [path.resolve() for path in paths]
    if len({folder.name for folder in folders}) < len(folders):
        raise DataError("two folders of pages have the same name, which begins their pages' ids. Rename one.")
    found: list[Part] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Name a folder of pages.")
        root = folder if len(folders) == 1 else folder.parent
        names = sorted(
            path.relative_to(root).as_posix()
            for path in folder.rglob("*")
            if path.name.lower().endswith(_PAGES) and not path.is_dir()
        )
        if not names:
            raise DataError(f"{folder}: holds no page. It needs files that end in {', '.join(_PAGES)}.")
        for first in range(0, len(names), recipe.pages_per_part):
            chosen = tuple(names[first : first + recipe.pages_per_part])
            found.append(Part(id=f"folder-{len(found):06d}", path=str(root), names=chosen))
    return found


def read(part: Part, recipe: FolderRecipe) -> Iterator[Page | Document | Drop]:
    """The pages of one part."""
    for name in part.names:
        id = printable(name)
        pdf = name.lower().removesuffix(".gz").endswith(".pdf")
        try:
            data = read_page(Path(part.path) / name, recipe.max_page_bytes)
        except PageError as failure:
            yield failure.drop(id)
        else:
            source = recipe.pdf_source if pdf else recipe.html_source
            yield Page(id=id, data=data, kind="pdf" if pdf else "html", source=source)


def read_page(path: Path, max_page_bytes: int) -> bytes:
    """The bytes of a page, decompressed up to the limit.

    Raises:
        PageError: it is damaged, empty, or too large.
    """
    if not path.is_file():
        raise PageError("broken", "no longer there, or not a file")
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(max_page_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        raise PageError("broken", f"cannot be read: {error}") from None
    if len(data) > max_page_bytes:
        raise PageError("too_large", f"more than {max_page_bytes} bytes")
    if not data or data.isspace():
        raise PageError("broken", "empty file")
    return data
