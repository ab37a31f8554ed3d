"""Inline elements inside of a sentence: they are words of it, whatever they say or are called."""

from __future__ import annotations

from itertools import takewhile

from lxml import html

INLINE_TAGS = frozenset([
    "a", "abbr", "b", "cite", "code", "dfn", "em", "font", "i", "img", "kbd", "mark", "q", "samp", "small", "span",
    "strong", "sub", "sup", "tt", "u", "var",
])  # fmt: skip


def words_before(element: html.HtmlElement) -> str:
    """The nearest text before an inline element in its line."""
    before = takewhile(_is_inline, element.itersiblings(preceding=True))
    pieces = (sibling.tail if (sibling.tail or "").strip() else "".join(sibling.itertext()) for sibling in before)
    return next(filter(str.strip, pieces), element.getparent().text or "").rstrip()


def goes_on(element: html.HtmlElement) -> bool:
    """Whether the line has text outside of links after an inline element."""
    after = takewhile(_is_inline, element.itersiblings())
    return bool((element.tail or "").strip()) or any(
        (sibling.tail or "").strip() or (sibling.tag != "a" and "".join(sibling.itertext()).strip())
        for sibling in after
    )


def ends_a_sentence(text: str) -> bool:
    return text.endswith((".", "!", "?", "…"))


def is_in_a_sentence(element: html.HtmlElement) -> bool:
    """Whether words stand before and after it."""
    if element.tag not in INLINE_TAGS or element.getparent() is None or not goes_on(element):
        return False
    before = words_before(element)
    return bool(before) and not ends_a_sentence(before)


def _is_inline(element: html.HtmlElement) -> bool:
    return element.tag in INLINE_TAGS
