"""Quotations of earlier posts in a thread: the quoted post stands above, and its repetition says nothing more.

A quotation goes with its title ("Ada said:") when most of its words stand in the same order in earlier posts. One of
a text that is not on the page stays, and so does one with formulas or code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG

_QUOTE_NAME = re.compile(r"(?:^|[\s_-])(?:ips|bb)?quote(?:$|[\s_-])", re.IGNORECASE)
# Boxes that say what they are in their first words only.
_BOX_NAME = re.compile(r"(?:^|\s)(?:alt2|panel)(?:$|\s)")
_BOX_TITLE = re.compile(r"\s*(?:quote:|originally posted by\b)", re.IGNORECASE)
_QUOTE_TAGS = ("blockquote", "div", "table", "td", "aside", "fieldset")
# Stack Exchange sets each post between `\begingroup` and `\endgroup`.
_RAW_FORMULA = re.compile(r"(?!\$\\(?:begin|end)group)\$[^$]*[\\^_{][^$]*\$|\\[(\[]|\\begin\{")
_WORD = re.compile(r"\w+")
# Words in a row that tell a text from any other: fewer are a figure of speech.
_RUN = 4
_MIN_REPEATED_SHARE = 0.5


def remove_repeated_quotes(bodies: Iterable[html.HtmlElement]) -> None:
    """Drops from each post, in the order given, the quotations of the posts before it."""
    posts = [(body, set(filter(_is_quote, body.iterdescendants(*_QUOTE_TAGS)))) for body in bodies]
    while posts and not posts[-1][1]:
        posts.pop()
    seen: set[tuple[str, ...]] = set()
    for body, found in posts:
        words, quotes = _words_and_places(body, found)
        # At each place, how many of the runs that start before it are repeated.
        repeated = list(accumulate((run in seen for run in _runs(words)), initial=0))
        own: list[str] = []
        position = 0
        for quote, start, end in quotes:
            num_runs = end - start - _RUN + 1
            if start < position or num_runs < 1:
                continue
            num_repeated = repeated[start + num_runs] - repeated[start]
            if num_repeated >= _MIN_REPEATED_SHARE * num_runs and not _holds_formula_or_code(quote):
                own += words[position:start]
                position = end
                tail = quote.tail
                quote.clear()
                # What it parted stays parted.
                quote.tag, quote.tail = "div", tail
        seen.update(_runs([*own, *words[position:]]))


def has_raw_formula(element: html.HtmlElement) -> bool:
    """Whether its text seems to hold a formula between delimiters."""
    return _RAW_FORMULA.search("".join(element.itertext())) is not None


def _runs(words: list[str]) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(_RUN)), strict=False)


def _words_and_places(
    body: html.HtmlElement, quotes: set[html.HtmlElement]
) -> tuple[list[str], list[tuple[html.HtmlElement, int, int]]]:
    """The words of a post, and its quotations, outer before inner, with where each starts and ends in the words."""
    if not quotes:
        return _words(" ".join(body.itertext())), []
    words: list[str] = []
    starts: dict[html.HtmlElement, int] = {}
    ends: dict[html.HtmlElement, int] = {}
    for event, element in etree.iterwalk(body, events=("start", "end")):
        if event == "start":
            if element in quotes:
                starts[element] = len(words)
            words += _words(element.text)
        else:
            if element in quotes:
                ends[element] = len(words)
            if element is not body:
                words += _words(element.tail)
    return words, [(quote, start, ends[quote]) for quote, start in starts.items()]


def _holds_formula_or_code(quote: html.HtmlElement) -> bool:
    return next(quote.iter(CODE_TAG, FORMULA_TAG), None) is not None or has_raw_formula(quote)


def _words(text: str | None) -> list[str]:
    return _WORD.findall(text.lower()) if text else []


def _is_quote(element: html.HtmlElement) -> bool:
    """A table is one with its title, where a cell is."""
    if element.tag == "table":
        return any(_QUOTE_NAME.search(cell.get("class") or "") for cell in element.iter("td"))
    names = element.get("class")
    if element.tag == "blockquote" or (names and _QUOTE_NAME.search(names)):
        return True
    is_box = element.tag == "td" or (names and _BOX_NAME.search(names))
    return bool(is_box) and _BOX_TITLE.match(next(filter(str.strip, element.itertext()), "")) is not None
