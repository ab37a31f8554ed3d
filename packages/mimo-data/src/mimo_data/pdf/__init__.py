"""PDF files to Markdown (§2.1)."""

from __future__ import annotations

from mimo_data.pdf.pages import PdfError, extract_pdf

__all__ = ["PdfError", "extract_pdf"]
