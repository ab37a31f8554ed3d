"""Jupyter notebooks as one Markdown document: text cells as they are, code cells fenced, outputs left out."""

from __future__ import annotations

import re

import msgspec

from mimo_data.jsonlines import NOT_JSON
from mimo_data.sources.page import PageError

_FENCE = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)
_MAGIC = re.compile(r"%%(\w+)")
# What a cell's first line makes of it.
_CELL_LANGUAGES = {
    "bash": "bash",
    "sh": "bash",
    "javascript": "javascript",
    "js": "javascript",
    "html": "html",
    "sql": "sql",
}


class _Cell(msgspec.Struct):
    cell_type: str = ""
    source: str | list[str] = ""
    input: str | list[str] = ""
    """What the third version calls a code cell's source."""


class _Sheet(msgspec.Struct):
    cells: list[_Cell] = msgspec.field(default_factory=list)


class _Named(msgspec.Struct):
    name: str = ""
    language: str = ""


class _Metadata(msgspec.Struct):
    language_info: _Named = msgspec.field(default_factory=_Named)
    kernelspec: _Named = msgspec.field(default_factory=_Named)


class _Notebook(msgspec.Struct):
    cells: list[_Cell] = msgspec.field(default_factory=list)
    worksheets: list[_Sheet] = msgspec.field(default_factory=list)
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


def notebook_text(data: bytes) -> str:
    """The Markdown of a notebook of version 3 or later; "" when all its cells are empty.

    Raises:
        PageError: `broken`, it is not a notebook.
    """
    try:
        notebook = msgspec.json.decode(data, type=_Notebook)
    except NOT_JSON as error:
        raise PageError("broken", f"not a notebook: {error}"[:200]) from None
    language = notebook.metadata.language_info.name or notebook.metadata.kernelspec.language or "python"
    cells = [*notebook.cells, *(cell for sheet in notebook.worksheets for cell in sheet.cells)]
    return "\n\n".join(text for cell in cells if (text := _cell_text(cell, language)))


def _cell_text(cell: _Cell, language: str) -> str:
    source = cell.source or cell.input
    text = (source if isinstance(source, str) else "".join(source)).strip("\r\n").rstrip()
    if not text or cell.cell_type not in ("code", "markdown", "raw", "heading"):
        return ""
    if cell.cell_type != "code":
        return text
    magic = _MAGIC.match(text)
    fence = "`" * (1 + max((len(run) for run in _FENCE.findall(text)), default=2))
    return f"{fence}{_CELL_LANGUAGES.get(magic[1], language) if magic else language}\n{text}\n{fence}"
