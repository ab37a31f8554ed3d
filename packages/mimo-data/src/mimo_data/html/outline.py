"""A page's elements in document order, with the text, links, formulas and code below each, measured in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG

HEADING_TAGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])


class Outline:
    """Sums over the subtrees of a page.

    Elements are numbered in document order, so that a subtree is a range of numbers: a removal
    changes the sums of what stands above it only.
    """

    def __init__(self, root: html.HtmlElement, *, has_raw_formulas: Callable[[], bool] | None = None) -> None:
        self.elements: list[html.HtmlElement] = list(root.iter(etree.Element))
        self.number: dict[html.HtmlElement, int] = {}
        size = len(self.elements)
        # Local names: a page has thousands of elements, and these loops are a tenth of its time.
        numbers, parents, texts, tails = self.number, [0] * size, [0] * size, [0] * size
        is_link, marked = [False] * size, [0] * size
        for number, element in enumerate(self.elements):
            numbers[element] = number
            tag = element.tag
            if tag == "a":
                is_link[number] = True
            if tag == CODE_TAG:
                text, marked[number] = element.get("text"), 1
            elif tag == FORMULA_TAG:
                text, marked[number] = element.get("latex"), 1
            else:
                text = element.text
            if text:
                texts[number] = len(text.strip())
            if number:
                parents[number] = numbers[element.getparent()]
                if tail := element.tail:
                    tails[number] = len(tail.strip())
        ends, links, num_links = list(range(1, size + 1)), [0] * size, [*map(int, is_link)]
        for number in range(size - 1, 0, -1):
            parent = parents[number]
            if ends[parent] < ends[number]:
                ends[parent] = ends[number]
            texts[parent] += texts[number] + tails[number]
            links[parent] += texts[number] if is_link[number] else links[number]
            num_links[parent] += num_links[number]
            marked[parent] += marked[number]
        self._parents, self._ends, self._is_link = parents, ends, is_link
        self._text, self._links, self._num_links, self._marked = texts, links, num_links, marked
        self._has_raw_formulas = has_raw_formulas

    @cached_property
    def is_plain(self) -> bool:
        """Without formulas and code."""
        return not (self._marked[0] or (self._has_raw_formulas is not None and self._has_raw_formulas()))

    def remove(self, numbers: list[int]) -> None:
        """Takes subtrees out of the page and of the sums; the text after each stays."""
        for number in numbers:
            self.elements[number].drop_tree()
            text, num_links, marked = self._text[number], self._num_links[number], self._marked[number]
            links = self._linked(number)
            above = number
            while above:
                above = self._parents[above]
                linked = self._linked(above)
                self._text[above] -= text
                self._links[above] -= links
                self._num_links[above] -= num_links
                self._marked[above] -= marked
                links = linked - self._linked(above)
            inside = slice(number, self._ends[number])
            for sums in (self._text, self._links, self._num_links, self._marked):
                sums[inside] = [0] * (inside.stop - number)

    def _linked(self, number: int) -> int:
        return self._text[number] if self._is_link[number] else self._links[number]

    def end(self, number: int) -> int:
        """The number after those of the elements inside of an element."""
        return self._ends[number]

    def lines(self, max_characters: int, max_elements: int) -> list[int]:
        """The numbers of elements with some text, no more than this much of it, and no more elements inside."""
        return [
            number
            for number, (length, end) in enumerate(zip(self._text, self._ends, strict=True))
            if 0 < length <= max_characters and end - number <= max_elements + 1
        ]

    def text(self, element: html.HtmlElement) -> int:
        """Characters of text, formulas and code below an element."""
        return self._text[self.number[element]]

    def links(self, element: html.HtmlElement) -> int:
        """Characters of text in links."""
        return self._linked(self.number[element])

    def good(self, element: html.HtmlElement) -> int:
        """Characters of text outside of links."""
        number = self.number[element]
        return 0 if self._is_link[number] else self._text[number] - self._links[number]

    def num_links(self, element: html.HtmlElement) -> int:
        return self._num_links[self.number[element]]

    def marked(self, element: html.HtmlElement) -> int:
        """How many formulas and code blocks stand below an element."""
        return self._marked[self.number[element]]


def upwards(elements: Iterable[html.HtmlElement]) -> set[html.HtmlElement]:
    """The elements and everything that they stand in."""
    found: set[html.HtmlElement] = set()
    for element in elements:
        while element is not None and element not in found:
            found.add(element)
            element = element.getparent()
    return found
