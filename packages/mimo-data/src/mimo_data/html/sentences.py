"""Inline elements inside of a sentence: they are words of it, whatever they say or are called."""

from __future__ import annotations

from itertools import islice

from lxml import html

INLINE_TAGS = frozenset([
    "a", "abbr", "b", "cite", "code", "dfn", "em", "font", "i", "img", "kbd", "mark", "q", "samp", "small", "span",
    "strong", "sub", "sup", "tt", "u", "var",
])  # fmt: skip
_MAX_PIECES = 20


def words_before(element: html.HtmlElement) -> str:
    """The nearest text before an inline element in its line."""
    for sibling in element.itersiblings(preceding=True):
        if words := (sibling.tail or "").rstrip():
            return words
        if sibling.tag not in INLINE_TAGS:
            return ""
        if words := _words(sibling).rstrip():
            return words
    return (element.getparent().text or "").rstrip()


def goes_on(element: html.HtmlElement) -> bool:
    """Whether the line has text outside of links after an inline element."""
    if (element.tail or "").strip():
        return True
    for sibling in element.itersiblings():
        if sibling.tag not in INLINE_TAGS:
            return False
        if (sibling.tag != "a" and _words(sibling).strip()) or (sibling.tail or "").strip():
            return True
    return False


def ends_a_sentence(text: str) -> bool:
    return text.endswith((".", "!", "?", "…"))


def is_in_a_sentence(element: html.HtmlElement) -> bool:
    """Whether words stand before and after it."""
    if element.tag not in INLINE_TAGS or element.getparent() is None or not goes_on(element):
        return False
    before = words_before(element)
    return bool(before) and not ends_a_sentence(before)


def _words(element: html.HtmlElement) -> str:
    """The beginning of its text: some pages stand in one inline element."""
    return "".join(islice(element.itertext(), _MAX_PIECES))
