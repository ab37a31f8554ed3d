"""Web pages to Markdown (§2.1)."""

from __future__ import annotations

from mimo_data.html.page import extract_html

__all__ = ["extract_html"]
