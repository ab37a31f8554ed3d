"""A page's elements in document order, with the text, links, formulas and code below each, measured in one pass."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG


class Outline:
    """Sums over the subtrees of a page.

    Elements are numbered in document order, so that a subtree is a range of numbers: what a removal changes is
    summed again without looking at the page.
    """

    def __init__(self, root: html.HtmlElement) -> None:
        self.elements: list[html.HtmlElement] = list(root.iter(etree.Element))
        self.number: dict[html.HtmlElement, int] = {}
        size = len(self.elements)
        # Local names: a page has thousands of elements, and this loop is a tenth of its time.
        numbers, parents, own_text, tails = self.number, [0] * size, [0] * size, [0] * size
        is_link, is_marked = [0] * size, [0] * size
        for number, element in enumerate(self.elements):
            numbers[element] = number
            tag = element.tag
            if tag == "a":
                is_link[number] = 1
            if tag == CODE_TAG:
                text, is_marked[number] = element.get("text"), 1
            elif tag == FORMULA_TAG:
                text, is_marked[number] = element.get("latex"), 1
            else:
                text = element.text
            if text:
                own_text[number] = len(text.strip())
            if number:
                parents[number] = numbers[element.getparent()]
                if tail := element.tail:
                    tails[number] = len(tail.strip())
        ends = list(range(1, size + 1))
        for number in range(size - 1, 0, -1):
            if ends[parents[number]] < ends[number]:
                ends[parents[number]] = ends[number]
        self._parents, self._own_text, self._tails, self._ends = parents, own_text, tails, ends
        self._is_link, self._is_marked = is_link, is_marked
        self._sum()

    def _sum(self) -> None:
        self._text = self._own_text.copy()
        self._num_links = self._is_link.copy()
        self._marked = self._is_marked.copy()
        self._links = [0] * len(self.elements)
        text, links, parents, tails = self._text, self._links, self._parents, self._tails
        num_links, marked, is_link = self._num_links, self._marked, self._is_link
        for number in range(len(self.elements) - 1, 0, -1):
            parent = parents[number]
            text[parent] += text[number] + tails[number]
            links[parent] += text[number] if is_link[number] else links[number]
            num_links[parent] += num_links[number]
            marked[parent] += marked[number]

    def remove(self, numbers: list[int]) -> None:
        """Takes subtrees out of the page and of the sums; the text after each stays."""
        for number in numbers:
            self.elements[number].drop_tree()
            end = self._ends[number]
            nothing = [0] * (end - number)
            self._own_text[number:end] = self._is_link[number:end] = self._is_marked[number:end] = nothing
            self._tails[number + 1 : end] = nothing[1:]
        if numbers:
            self._sum()

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
        number = self.number[element]
        return self._text[number] if self._is_link[number] else self._links[number]

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
