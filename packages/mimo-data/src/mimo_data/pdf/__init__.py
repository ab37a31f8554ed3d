"""PDF files to Markdown (§2.1)."""

from __future__ import annotations

from mimo_data.pdf.pages import Page, extract_pdf, read_pages
from mimo_data.pdf.routing import VISION_SCORE, Routing
from mimo_data.pdf.textlayer import PdfError

__all__ = ["VISION_SCORE", "Page", "PdfError", "Routing", "extract_pdf", "read_pages"]
