"""From raw pages and PDFs to token shards, with mathematics and code kept whole (§2.1)."""

from mimo_data.decontaminate import decontaminate
from mimo_data.dedup import deduplicate
from mimo_data.documents import Document, read_documents, write_documents
from mimo_data.html import extract_html
from mimo_data.mixture import Mixture
from mimo_data.pdf import extract_pdf
from mimo_data.run import DataError, Run
from mimo_data.shards import open_shards, write_shards

__all__ = [
    "DataError",
    "Document",
    "Mixture",
    "Run",
    "decontaminate",
    "deduplicate",
    "extract_html",
    "extract_pdf",
    "open_shards",
    "read_documents",
    "write_documents",
    "write_shards",
]
