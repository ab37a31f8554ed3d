"""trafilatura's choice of a page's content, carried out on our own tree: formulas and code stay exact.

Every block of text starts with a mark, formulas and code are plain words; the blocks whose mark comes back are
the content. trafilatura's own text, which escapes LaTeX and flattens code, is never used. It takes about ten times
as long as our own rules, so `extract_html` asks only where those are unsure.
"""

from __future__ import annotations

import copy
import logging
import re

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG

# Their text is a run of inline content; everything else is inline.
_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "legend", "li",
    "main", "nav", "noscript", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead",
    "tr", "ul",
])  # fmt: skip
# From each block to the root, together: trafilatura walks them again and again. Pages have some 20,000.
_MAX_STEPS_UP = 1_000_000
_MARK = re.compile(r"qz(\d+)zq")


def second_opinion(body: html.HtmlElement) -> html.HtmlElement | None:
    """`body` without the blocks that trafilatura leaves out, or None when it finds no content.

    A page of many deep blocks is not asked about: None too.

    Args:
        body: formulas and code marked, without what is never text, furniture still in; it is changed.
    """
    from trafilatura import extract

    # Its complaints about a page go to the log of whoever has one, not to stderr.
    logging.getLogger("trafilatura").addHandler(logging.NullHandler())
    leaves = _split_into_leaves(body)
    if sum(1 for leaf in leaves for _ in leaf.iterancestors()) > _MAX_STEPS_UP:
        return None
    page = html.Element("html")
    page.append(_marked_copy(body, leaves))
    text = extract(page, include_comments=True, include_tables=True)
    numbers = {int(number) for number in _MARK.findall(text or "")}
    kept = {leaf for number, leaf in enumerate(leaves) if number in numbers}
    if not kept:
        return None
    holders = kept.union(*(leaf.iterancestors() for leaf in kept))
    for leaf in leaves:
        if leaf not in holders:
            leaf.drop_tree()
    return body


def _split_into_leaves(body: html.HtmlElement) -> list[html.HtmlElement]:
    """The blocks that hold text and no other block, in order; text beside a block gets a block of its own."""
    blocks = {element for element in body.iter() if element.tag in _BLOCKS or _is_display(element)}
    blocks.update(*(block.iterancestors() for block in list(blocks)))
    leaves = []
    stack = [body]
    while stack:
        element = stack.pop()
        if not any(child in blocks for child in element):
            leaves.append(element)
            continue
        blocks.update(_inline_runs(element, blocks))
        stack.extend(child for child in reversed(element) if child in blocks)
    return [
        leaf
        for leaf in leaves
        if _is_display(leaf) or leaf.find(f".//{FORMULA_TAG}") is not None or "".join(leaf.itertext()).strip()
    ]


def _inline_runs(element: html.HtmlElement, blocks: set[html.HtmlElement]) -> list[html.HtmlElement]:
    """Wraps what stands between the child blocks of `element` into new elements."""
    runs = []
    run = html.Element("div")
    run.text, element.text = element.text, None
    for child in (*element, None):
        if child is None or child in blocks:
            if len(run) or (run.text or "").strip():
                runs.append(run)
                element.insert(len(element) if child is None else element.index(child), run)
            if child is not None:
                run = html.Element("div")
                run.text, child.tail = child.tail, None
        else:
            run.append(child)
    return runs


def _is_display(element: html.HtmlElement) -> bool:
    return element.tag == CODE_TAG or (element.tag == FORMULA_TAG and element.get("display") is not None)


def _marked_copy(body: html.HtmlElement, leaves: list[html.HtmlElement]) -> html.HtmlElement:
    """A copy to give away: each leaf starts with its mark, formulas and code are words."""
    for number, leaf in enumerate(leaves):
        leaf.set("data-leaf", str(number))
    copied = copy.deepcopy(body)
    for element in list(copied.iter(etree.Element)):
        if element.tag in (CODE_TAG, FORMULA_TAG):
            words = re.findall(r"\w+", element.get("text") or element.get("latex") or "")
            element.text = " ".join(words) or "formula"
            element.tag = "p" if _is_display(element) else "span"
        number = element.get("data-leaf")
        if number is not None:
            element.text = f"qz{number}zq {element.text or ''}"
    return copied
