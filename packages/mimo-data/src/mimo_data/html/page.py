"""A web page to Markdown, formulas and code first (§2.1)."""

from __future__ import annotations

import re

from lxml import etree, html

from mimo_data.html.codeblocks import mark_code
from mimo_data.html.content import main_content, remove_silent, unlinked_text
from mimo_data.html.delimiters import Notation
from mimo_data.html.formulas import mark_formulas
from mimo_data.html.markdown import render
from mimo_data.html.secondopinion import second_opinion

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# With less than this share of the page's text the own rules may have taken a part for the whole: a second opinion
# is asked, and followed when it holds this many times the text. Measured on labelled pages (README, "The second
# opinion"): both have room to either side.
_UNSURE_SHARE = 0.5
_MORE_TEXT = 1.5
# The slowest shape of page tried, a list of links, takes trafilatura 6 s at this size.
_MAX_SECOND_OPINION_CHARACTERS = 2_000_000


def extract_html(page: str, *, url: str = "") -> str:
    """The main content of a page as Markdown; "" when it has none.

    Formulas are written `$…$` or `$$…$$`, each once, from whatever the page draws them with; code blocks are
    fenced with their language when the page names it.
    """
    text = _CONTROL.sub("", _DECLARATION.sub("", page))
    if not text.strip():
        return ""
    try:
        body, notation = _marked_body(text)
    except (etree.ParserError, ValueError):
        return ""
    content, share = main_content(body)
    if share < _UNSURE_SHARE and len(text) <= _MAX_SECOND_OPINION_CHARACTERS:
        other = second_opinion(_marked_body(text)[0])
        if other is not None and unlinked_text(other) > _MORE_TEXT * unlinked_text(content):
            content = other
    return render(content, notation)


def _marked_body(text: str) -> tuple[html.HtmlElement, Notation]:
    """The page's body with its code and formulas marked, and how it writes the formulas in its text."""
    root = html.document_fromstring(text, parser=html.HTMLParser(huge_tree=True, remove_pis=True))
    mark_code(root)
    notation = mark_formulas(root, text)
    found = root.find(".//body")
    body = root if found is None else found
    remove_silent(body)
    return body, notation
