"""From raw pages and PDFs to token shards, with mathematics and code kept whole (§2.1)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mimo_data.decontaminate import decontaminate
from mimo_data.documents import Document, read_documents, write_documents
from mimo_data.html import extract_html
from mimo_data.pdf import extract_pdf
from mimo_data.run import Run

if TYPE_CHECKING:
    from mimo_data.dedup.minhash import deduplicate
    from mimo_data.mixture import Mixture
    from mimo_data.shards import open_shards, write_shards
    from mimo_data.tag.tagger import Tagger

# These load numpy, which `mimo-data --help` must not wait for. `decontaminate` cannot be one of them: it would hide
# behind the module of its name.
_EXPORTS = {
    "Mixture": "mimo_data.mixture",
    "Tagger": "mimo_data.tag.tagger",
    "deduplicate": "mimo_data.dedup.minhash",
    "open_shards": "mimo_data.shards",
    "write_shards": "mimo_data.shards",
}


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Document",
    "Mixture",
    "Run",
    "Tagger",
    "decontaminate",
    "deduplicate",
    "extract_html",
    "extract_pdf",
    "open_shards",
    "read_documents",
    "write_documents",
    "write_shards",
]
