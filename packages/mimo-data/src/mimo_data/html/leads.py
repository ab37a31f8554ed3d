"""Headings that lead away from the content, such as "Related articles" or "Most read", and what they stand above.

Many sites say what these parts are in words for the reader only.
"""

from __future__ import annotations

import re

from lxml import html

from mimo_data.html.outline import Outline
from mimo_data.html.sentences import INLINE_TAGS, ends_a_sentence, goes_on, words_before

_PAGES = (
    r"(?:articles?|stor(?:ies|y)|posts?|contents?|links?|topics?|news|coverage|pages|videos?|items|products|entries|"
    r"headlines)"
)
_PHRASES = (
    # English
    rf"(?:related|similar|recent|latest|popular|featured|more|trending|recommended|top)(?: \w+)? {_PAGES}\b.*",
    r"related|recommended(?: for you| reading)?|trending(?: now)?|popular(?: now)?|more from .*",
    r"most (?:popular|read|viewed|shared|commented|recent)\b.*|editor'?s'? (?:picks?|choice)",
    r"(?:you|readers) (?:may|might|could|will|also)\b.{0,30}\b(?:like|interested|enjoy|read|love)\b.*",
    r"(?:also|next) (?:read|on|from|in)\b.*|read (?:more|next|also|this next)(?::.*)?|what to read next",
    r"keep reading|up next|don'?t miss\b.*|explore (?:further|more)\b.*|around the web|from (?:the web|our partners)",
    r"sponsored\b.*|advertisement",
    r"(?:sign up|subscribe|register) (?:for|to|now|today)\b.*(?:newsletter|e-?mails?|updates|alerts)\b.*",
    r"(?:our |the |join our )?newsletters?\b.*|get (?:the|our) (?:latest|best|newsletter)\b.*",
    r"follow (?:us|me)\b.*|share|share (?:this|on|via|it)\b.*",
    r"leave a (?:reply|comment)|comments?(?: \(\d+\))?|(?:no|\d+) (?:comments?|responses?|replies|thoughts)\b.*",
    r"about the authors?|filed under\b.*|tagged(?: with)?\b.*|tags|categories|archives?",
    # German
    r"mehr zum thema\b.*|mehr (?:von|aus|zu|über) .*|mehr themen|(?:sie|dich|euch|das) k(?:ö|oe)nnten?\b.*interess.*",
    r"(?:lesen sie|lies) auch\b.*|auch interessant\b.*|(?:zum )?weiterlesen|schon gelesen|zum thema|teilen",
    r"(?:ä|ae)hnliche (?:artikel|beitr\w+|themen|produkte)|(?:neueste|verwandte) \w+|meist ?gelesen\w*",
    r"weitere? \w*(?:artikel|beitr\w+|themen|meldungen|nachrichten|news|links?|informationen)\b.*",
    r"empfehlungen?(?: der| aus der)?(?: redaktion)?|(?:ü|ue)ber (?:den autor|die autor\w+)|schlagw(?:ö|oe)rter",
    r"(?:\d+ |(?:bisher )?keine )?kommentare?|(?:jetzt )?(?:newsletter )?abonnieren\b.*|zum newsletter\b.*",
    # French
    r"(?:à|a) lire aussi\b.*|lire (?:aussi|plus)\b.*|sur le m(?:ê|e)me sujet|vous aimerez aussi\b.*",
    r"articles? (?:li(?:é|e)s|similaires|associ(?:é|e)s|connexes)|(?:articles )?les plus lus|vos r(?:é|e)actions",
    # Spanish and Portuguese
    r"te puede interesar\b.*|(?:art(?:í|i)culos|noticias|not(?:í|i)cias|artigos) relacionad[oa]s",
    r"lo m(?:á|a)s (?:le(?:í|i)do|visto)|voc(?:ê|e) pode gostar\b.*|mais lidas|(?:veja|leia) (?:tamb(?:é|e)m|mais)\b.*",
    # Italian, Polish, Dutch
    r"leggi anche\b.*|potrebbe(?:ro)? interessarti\b.*|articoli correlati|lees ook\b.*|polecane",
    r"(?:zobacz|czytaj) (?:te(?:ż|z)|tak(?:ż|z)e|r(?:ó|o)wnie(?:ż|z)|wi(?:ę|e)cej)\b.*",
)
_PHRASE = re.compile(rf"\W*(?:{'|'.join(_PHRASES)})\W*", re.IGNORECASE)
# Also the names of functions, options and chapters.
_WORD = re.compile(r"\W*(?:comments?|share|related|trending|popular|tags|categories|archives?)\W*", re.IGNORECASE)
_MIN_PHRASE_CHARACTERS = 4
_MAX_PHRASE_CHARACTERS = 80
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
        if not may_lead and outline.text(element) > _MAX_PHRASE_CHARACTERS:
            continue
        text = " ".join("".join(element.itertext()).split())
        if _is_phrase(text):
            if _is_in_a_line(element, outline):
                continue
            blocks = _blocks(element, outline, whole, with_links=is_plain)
            if not is_plain and _WORD.fullmatch(text) and not all(_is_linked(block, outline) for block in blocks):
                continue
        elif may_lead and _LEADING_LINE.match(text):
            blocks = [element]
        else:
            continue
        for block in blocks:
            removed.append(outline.number[block])
            end = outline.end(outline.number[block])
    outline.remove(removed)


def _is_phrase(text: str) -> bool:
    return _MIN_PHRASE_CHARACTERS <= len(text) <= _MAX_PHRASE_CHARACTERS and _PHRASE.fullmatch(text) is not None


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


def _blocks(heading: html.HtmlElement, outline: Outline, whole: int, *, with_links: bool) -> list[html.HtmlElement]:
    """The largest element that begins with the heading and is no large part of the page, and the links after it."""
    blocks: list[html.HtmlElement] = []
    element = heading
    while element in outline.number and element.getparent() in outline.number:
        if outline.marked(element) or outline.good(element) > _MAX_SHARE * whole:
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
