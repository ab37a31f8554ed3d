"""A web page to Markdown, formulas and code first (§2.1)."""

from __future__ import annotations

import re

from lxml import etree
from lxml import html as lxml_html

from mimo_data.codeblocks import mark_code
from mimo_data.content import main_content
from mimo_data.formulas import mark_formulas
from mimo_data.markdown import render

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MATH_ENGINE = re.compile(r"mathjax|katex|math/tex", re.IGNORECASE)


def extract_html(page: str, *, url: str = "") -> str:
    """The main content of a page as Markdown; "" when it has none.

    Formulas are written `$…$` or `$$…$$`, each once, from whatever the page draws them with; code blocks are
    fenced with their language when the page names it.
    """
    text = _CONTROL.sub("", _DECLARATION.sub("", page))
    if not text.strip():
        return ""
    try:
        root = lxml_html.document_fromstring(text, parser=lxml_html.HTMLParser(huge_tree=True, remove_pis=True))
    except (etree.ParserError, ValueError):
        return ""
    mark_code(root)
    wraps = mark_formulas(root)
    return render(main_content(root), rendered_math=bool(_MATH_ENGINE.search(text)), escape_dollars=wraps)
