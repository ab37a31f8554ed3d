"""What a reader is asked for and gives: parts of the input, and the pages in one of them.

Each module of this package reads one kind of input with two functions:

    parts(paths, recipe) -> list[Part]                         # what is there, in units of work
    read(part, recipe) -> Iterator[Page | Document | Drop]     # one of them, in bounded memory

`parts` looks at names, sizes and tables of contents only. `read` gives every record of its part exactly once: as a
page, from which text is still to be extracted, as a document, or as a drop with a reason. No bytes make it fail.
It raises `DataError` for a recipe that does not fit (a column that is not there), and lets through what the disk says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mimo_data.documents import Drop
from mimo_data.run import Record


class Part(Record, frozen=True):
    """A unit of work: what one call of a reader's `read` covers."""

    id: str
    """Unique among a reader's parts, the same for the same input, and fit for a file's name."""
    path: str
    """The file, repository or data set, or the folder of `names`."""
    names: tuple[str, ...] = ()
    """Files below a folder of pages; of other inputs, the name that ids begin with where nothing better is known."""
    start: int = 0
    """First byte, row group or shard, as the reader counts."""
    stop: int = 0
    """The one after the last; 0 means to the end."""


class Page(Record, frozen=True):
    """An HTML page or a PDF file, as it was published."""

    id: str
    """Unique in the run; its document has the same."""
    data: bytes
    """Transfer and content encodings undone; at most the recipe's `max_page_bytes`."""
    kind: Literal["html", "pdf"]
    source: str
    """In the mixture's words: web, papers, …"""
    url: str = ""
    """The address it was fetched from, if known."""
    charset: str = ""
    """The encoding that the HTTP header named, if any; `decode` weighs it against the bytes."""
    meta: dict[str, str] = msgspec.field(default_factory=dict)


class PageError(Exception):
    """A record that is no page: `broken`, `too_large`, `not_text`, …, and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def drop(self, id: str, *, step: str = "extract") -> Drop:
        """The drop log's line for the record of this id."""
        return Drop(id=id, step=step, reason=self.reason, detail=self.detail)


def printable(name: str) -> str:
    """A file's name as an id: bytes that are not UTF-8, which no JSON can hold, are written as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def labels(files: Sequence[Path]) -> list[str]:
    """A name for each file, to begin ids with: as short as tells them apart, its own where there is one file."""
    paths = [file.absolute() for file in files]
    above = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return [printable(path.relative_to(above).as_posix()) for path in paths]
