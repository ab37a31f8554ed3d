"""What is printed on pages but is no part of the text: running heads, feet and page numbers."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mimo_data.pdf.symbols import IDEOGRAPHIC
from mimo_data.pdf.textlayer import Line, Rule

_NUMBER = re.compile(r"(?:page\s+)?(?:\d{1,5}|[ivxlc]{1,7}|[A-Z]-?\d{1,3})(?:\s*(?:of|/)\s*\d+)?", re.IGNORECASE)
_EDGE_NUMBER = re.compile(r"^(\d{1,4})\s+\D|\D\s+(\d{1,4})$")
_IMPRINT = re.compile(
    r"https?://|www\.|©|\(c\)|copyright|download(?:ed)?\b|all rights reserved|published by|\bdoi\b|issn|isbn|preprint|"
    r"@\w+\.",
    re.IGNORECASE,
)
_CONTINUED = re.compile(r"\(contin(?:ues|ued) (?:on|from) (?:the )?(?:next|previous) page\)", re.IGNORECASE)
_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
_MIN_REPEATS = 3
_MIN_TITLE = 1.25
"""Times the size of the text; running heads are smaller."""
_MAX_MARGIN = 0.2
"""Of the page's height, as in books set on paper that is too large for them."""


@dataclass
class Survey:
    """What the lines of all pages say about a file: its heads, its first page number, its body's size."""

    heads: set[str] = field(default_factory=set)
    titles: set[str] = field(default_factory=set)
    """Those of `heads` that stand on half of the pages at most."""
    first_number: int | None = None
    body_size: float = 10.0
    compounds: set[str] = field(default_factory=set)
    """Pairs of words with a hyphen between them, in small letters."""
    is_typed: bool = False
    """Most of the file is in typewriter letters, its heads too."""

    def is_furniture(self, line: Line, height: float, page: int) -> bool:
        """Whether a line of the margin is no part of the text."""
        if _CONTINUED.fullmatch(line.text):
            return True
        if not in_margin(line, height) or (line.code and not self.is_typed):
            return False
        if self.first_number is not None and _edge_number(line.text) == self.first_number + page:
            return True
        if _NUMBER.fullmatch(line.text.strip("-–—|·• []()")):
            return True
        key = _key(line.text)
        # The title of a slide comes again on the slides that go on with it.
        return key in self.heads and not (key in self.titles and line.size > _MIN_TITLE * self.body_size)


def survey(pages: Iterable[tuple[list[Line], float]]) -> Survey:
    """The survey of a file from each page's lines and height."""
    heads: Counter[str] = Counter()
    offsets: Counter[int] = Counter()
    sizes: Counter[float] = Counter()
    compounds: set[str] = set()
    of_margins: Counter[tuple[str, float]] = Counter()
    num_typed = num_characters = 0
    num_pages = 0
    for index, (lines, height) in enumerate(pages):
        num_pages += 1
        margin = [line for line in lines if in_margin(line, height)]
        heads.update({_key(line.text) for line in margin})
        offsets.update({number - index for line in margin if (number := _edge_number(line.text)) is not None})
        for line in lines:
            for words in _COMPOUND.findall(line.text) if "-" in line.text else ():
                compounds.update(map("-".join, itertools.pairwise(words.lower().split("-"))))
            num_characters += len(line.text)
            if line.code:
                num_typed += len(line.text)
                continue
            size, num_columns = round(line.size * 2) / 2, len(line.text) + len(IDEOGRAPHIC.findall(line.text))
            if in_margin(line, height):
                of_margins[_key(line.text), size] += num_columns
            else:
                sizes[size] += num_columns
    repeated = {key for key, count in heads.items() if count >= _MIN_REPEATS}
    for (key, size), num_columns in of_margins.items():
        if key not in repeated:
            sizes[size] += num_columns
    common = offsets.most_common(1)
    return Survey(
        repeated,
        {key for key in repeated if 2 * heads[key] <= num_pages},
        common[0][0] if common and common[0][1] >= _MIN_REPEATS else None,
        sizes.most_common(1)[0][0] if sizes else 10.0,
        compounds,
        2 * num_typed > num_characters,
    )


def lone_margins(lines: list[Line], height: float, body_size: float) -> set[int]:
    """Lines (by position in `lines`) of a page's outer edge that stand apart from its text: an imprint, a logo's name.

    For files of few pages, whose heads do not repeat. Nothing is dropped from a page with little text.
    """
    found: set[int] = set()
    if len(lines) < 10:
        return found
    last, before = sorted(range(len(lines)), key=lambda i: -lines[i].y1)[:2]
    if _NUMBER.fullmatch(lines[last].text.strip("-– ")) and lines[last].y0 - lines[before].y1 > 1.3 * lines[last].size:
        found.add(last)
    for from_top in (True, False):
        order = sorted(range(len(lines)), key=lambda i: lines[i].y0 if from_top else -lines[i].y1)
        found.update(_numbered_row(lines, order, height, body_size, from_top=from_top))
        group: list[int] = []
        for position, following in itertools.pairwise(order):
            line, other = lines[position], lines[following]
            edge = line.y1 < 0.1 * height if from_top else line.y0 > 0.9 * height
            if not edge or len(line.text) > 150:
                break
            group.append(position)
            gap = other.y0 - line.y1 if from_top else line.y0 - other.y1
            if gap > 1.3 * max(line.size, body_size):
                found.update(
                    i
                    for i in group
                    if lines[i].size < 0.93 * body_size
                    or _IMPRINT.search(lines[i].text)
                    or _edge_number(lines[i].text) is not None
                    or (len(group) <= 2 and gap > 2.5 * body_size and lines[i].size < 1.15 * body_size)
                )
                group = []
    return found


def _numbered_row(lines: list[Line], order: list[int], height: float, body_size: float, *, from_top: bool) -> list[int]:
    """The outermost row of a page when its number stands in it, apart from a title; margins may be wide."""
    outer = lines[order[0]]
    row = [i for i in order if abs(lines[i].y0 - outer.y0) < 0.3 * outer.size]
    number = next((lines[i] for i in row if _NUMBER.fullmatch(lines[i].text)), None)
    # Numbers below each other are a column of a table or list.
    if (
        len(row) != 2
        or number is None
        or any(abs(line.x0 - number.x0) < 3 and line is not number and _NUMBER.fullmatch(line.text) for line in lines)
    ):
        return []
    left, right = sorted((lines[i] for i in row), key=lambda line: line.x0)
    following = lines[order[2]]
    gap = following.y0 - outer.y1 if from_top else outer.y0 - following.y1
    is_edge = outer.y1 < _MAX_MARGIN * height if from_top else outer.y0 > (1 - _MAX_MARGIN) * height
    # The number of a heading is nearer to it, and both are large.
    is_apart = right.x0 - left.x1 > 1.5 * outer.size and max(left.size, right.size) < 1.05 * body_size
    return row if is_edge and is_apart and gap > outer.size else []


def ruled_margins(lines: list[Line], rules: Sequence[Rule], height: float) -> set[int]:
    """Lines (by position in `lines`) of a head or foot that a rule over the text's width divides from it."""
    if len(lines) < 3:
        return set()
    width = max(line.x1 for line in lines) - min(line.x0 for line in lines)
    wide = [rule.y for rule in rules if rule.x1 - rule.x0 > 0.8 * width]
    found: set[int] = set()
    for from_top in (True, False):
        outer = min(lines, key=lambda line: line.y0) if from_top else max(lines, key=lambda line: line.y1)
        line_of = {i for i, line in enumerate(lines) if abs(line.y0 - outer.y0) < 0.3 * line.size}
        rest = [line for i, line in enumerate(lines) if i not in line_of]
        if not rest or not (outer.y1 < 0.125 * height if from_top else outer.y0 > 0.875 * height):
            continue
        # From the line's inner edge towards the text.
        sign = 1 if from_top else -1
        edge, text = (outer.y1, min(r.y0 for r in rest)) if from_top else (outer.y0, max(r.y1 for r in rest))
        distances = [sign * (y - edge) for y in wide]
        # Beside the first or last row of a table the next one follows closely, or a rule stands on the other side.
        divides = any(-2 < d < min(1.2 * outer.size, sign * (text - edge) - 0.5 * outer.size) for d in distances)
        if divides and not any(d < -0.8 * outer.size for d in distances):
            found |= line_of
    return found


def in_margin(line: Line, height: float) -> bool:
    """Whether a line stands in the outer eighth of its page, above or below."""
    return line.y1 < 0.125 * height or line.y0 > 0.875 * height


def _key(text: str) -> str:
    return re.sub(r"[\d\s]+", "", text)


def _edge_number(text: str) -> int | None:
    found = _EDGE_NUMBER.search(text) if len(text) < 120 else None
    return int(found[1] or found[2]) if found else None
