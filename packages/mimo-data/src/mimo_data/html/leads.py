"""Headings that lead away from the content, such as "Related articles" or "Most read", and what they stand above.

Many sites say what these parts are in words for the reader only.
"""

from __future__ import annotations

import re

from lxml import html

from mimo_data.html.leadphrases import MAX_CHARACTERS, goes_alone, is_a_word, leads_away
from mimo_data.html.outline import Outline
from mimo_data.html.sentences import INLINE_TAGS, ends_a_sentence, goes_on, words_before

# A line that is mostly one link to another page.
_LEADING_LINE = re.compile(
    r"\W*(?:read|watch|listen|more|related|also|next|previous|lesen sie|siehe|lire|leia|leggi|zobacz|don.?t miss)\b",
    re.IGNORECASE,
)
_MAX_LINE_CHARACTERS = 250
_MAX_ELEMENTS_INSIDE = 5
_LINE_TAGS = frozenset(["p", "div"])
_LIST_TAGS = frozenset(["p", "ul", "ol", "div", "section", "article", "table"])
_CELL_TAGS = frozenset(["td", "th", "dt", "li"])
_NOT_HEADINGS = _CELL_TAGS | {"h1", "title", "code", "var", "kbd", "samp", "tt", "dfn"}
# What holds more of the page's text is no list of links.
_MAX_SHARE = 0.3
_MAX_CHARACTERS_BESIDE_BUTTONS = 100


def remove_led_away(outline: Outline) -> None:
    """Removes each such heading with the block that it begins.

    On a page without formulas and code the links that follow a heading go too, and lines such as "Read more: …": in
    documentation these belong to the text.
    """
    body = outline.elements[0]
    whole = outline.good(body)
    is_plain = outline.is_plain
    removed: list[int] = []
    end = 0
    for number in outline.lines(_MAX_LINE_CHARACTERS, _MAX_ELEMENTS_INSIDE):
        element = outline.elements[number]
        tag = element.tag
        if number < end or tag in _NOT_HEADINGS:
            continue
        may_lead = is_plain and tag in _LINE_TAGS and _is_linked(element, outline)
        if not may_lead and outline.text(element) > MAX_CHARACTERS:
            continue
        text = " ".join("".join(element.itertext()).split())
        if leads_away(text):
            is_alone = goes_alone(text)
            if _is_in_a_line(element, outline) or (is_alone and _holds_title(element)):
                continue
            most = _MAX_CHARACTERS_BESIDE_BUTTONS if is_alone else _MAX_SHARE * whole
            blocks = _blocks(element, outline, most, with_links=is_plain)
            if is_alone and any(map(_holds_title, blocks)):
                blocks = [element]
            if not is_plain and is_a_word(text) and not all(_is_linked(block, outline) for block in blocks):
                continue
        elif may_lead and _LEADING_LINE.match(text):
            blocks = [element]
        else:
            continue
        for block in blocks:
            removed.append(outline.number[block])
            end = outline.end(outline.number[block])
    outline.remove(removed)


def _holds_title(element: html.HtmlElement) -> bool:
    return element.find(".//h1") is not None


def _is_in_a_line(element: html.HtmlElement, outline: Outline) -> bool:
    """Whether text stands in the same line; on a page with formulas or code also the only words of a cell."""
    while element.tag in INLINE_TAGS and (parent := element.getparent()) is not None:
        before, more = words_before(element), goes_on(element)
        # Other than "… from source. Read more" at a paragraph's end.
        if before and (more or not ends_a_sentence(before)):
            return True
        if not outline.is_plain and (more or parent.tag in _CELL_TAGS):
            return True
        element = parent
    return False


def _blocks(heading: html.HtmlElement, outline: Outline, most: float, *, with_links: bool) -> list[html.HtmlElement]:
    """The largest element that begins with the heading and has no more unlinked text, and the links after it."""
    blocks: list[html.HtmlElement] = []
    element = heading
    while element in outline.number and element.getparent() in outline.number:
        if outline.marked(element) or outline.good(element) > most:
            break
        blocks = [element]
        parent = element.getparent()
        if (parent.text or "").strip() or any(map(outline.text, element.itersiblings(preceding=True))):
            break
        element = parent
    if blocks and with_links:
        for sibling in blocks[0].itersiblings():
            if sibling.tag not in _LIST_TAGS or (outline.text(sibling) and not _is_linked(sibling, outline)):
                break
            blocks.append(sibling)
    return blocks


def _is_linked(element: html.HtmlElement, outline: Outline) -> bool:
    return 2 * outline.links(element) > outline.text(element) and not outline.marked(element)
