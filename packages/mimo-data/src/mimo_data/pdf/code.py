"""Rows of typewriter text as fenced code; indentation and blank lines are measured from positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from mimo_data.pdf.layout import Row
from mimo_data.pdf.symbols import ARROWS
from mimo_data.pdf.textlayer import Glyph

_FAR = 5
"""Ems; nothing is indented so far within a listing."""
_HOOK = re.compile(r"\s*(?:,→|↪)\s*")
"""What Sphinx sets in front of the rest of a line that it broke; at a blank it leaves a sign for it."""
_WORD = re.compile(r"[\w.-]+")
# What typewriter fonts name quotes, and what the author typed.
_TYPEWRITER = str.maketrans("’‘“”−", '\'`""-')


def listing_end(rows: Sequence[Row], start: int) -> int:
    """Where the listing ends that begins with row `start`."""
    left = rows[start].x0
    for number in range(start + 1, len(rows)):
        last, row = rows[number - 1], rows[number]
        if not row.code:
            # Some manuals set an arrow on a line of its own.
            following = rows[number + 1 : number + 2]
            if not (following and following[0].code and ARROWS.issuperset(row.text)):
                return number
        far = _FAR * row.size
        # A term stands left of the block that describes it, and so does the next one.
        is_term = number == start + 1 and row.x0 - last.x0 > far and _WORD.fullmatch(last.text)
        if not _goes_on(last, row) or is_term or left - row.x0 > far:
            return number
        left = min(left, row.x0)
    return len(rows)


def _goes_on(last: Row, row: Row) -> bool:
    """Up to one blank line and a half between."""
    return -0.5 * last.size < row.y - last.y < 3.6 * last.size and abs(last.size - row.size) < 0.06 * last.size


def is_title(row: Row, following: Row | None) -> bool:
    """Whether a row is the small or centred word in the frame of a listing ("Terminal", "Example") and no code."""
    if following is None or not following.code:
        return False
    return row.size < 0.7 * following.size or (row.text.isalpha() and row.x0 - following.x0 > 2 * _FAR * row.size)


def indent(group: Sequence[Row], margin: float) -> float:
    """How far from `margin` the rows begin, in characters."""
    return (min(row.x0 for row in group) - margin) / _advance(group)


def fenced(group: Sequence[Row]) -> str:
    """The rows as a fenced block."""
    if len(group) == 1 and len(group[0].text) < 3:
        return group[0].text
    left = min(row.x0 for row in group)
    advance = _advance(group)
    steps = sorted(b.y - a.y for a, b in pairwise(group) if b.y - a.y > 1)
    pitch = steps[len(steps) // 2] if steps else 1.0
    lines: list[str] = []
    for number, row in enumerate(group):
        if number:
            lines += [""] * max(0, round((row.y - group[number - 1].y) / pitch) - 1)
        line = _line(row, left, advance)
        if lines and (hook := _HOOK.match(line)):
            end = lines[-1].removesuffix("␣")
            lines[-1] = end + " " * (end != lines[-1]) + line[hook.end() :]
        else:
            lines.append(line)
    longest = max((len(run) for line in lines for run in line.split("`") if not run), default=0)
    fence = "```" if longest == 0 or not any("```" in line for line in lines) else "````"
    return "\n".join([fence, *lines, fence])


def _advance(group: Sequence[Row]) -> float:
    """Width of a character: the commonest distance from one to the next."""
    steps = sorted(
        b.x0 - a.x0 for row in group for a, b in pairwise(row.glyphs) if not a.text.isspace() and not b.text.isspace()
    )
    return max(0.1, steps[len(steps) // 2]) if steps else 0.6 * group[0].size


def _line(row: Row, left: float, advance: float) -> str:
    """Each character on the column that its position says; after one of another font, as far from it as it stands."""
    line = ""
    last: Glyph | None = None
    for glyph in row.glyphs:
        if glyph.text.isspace():
            continue
        if last is not None and not last.font.monospaced:
            left = glyph.x0 - (len(line) + max(0, round((glyph.x0 - last.x1) / advance))) * advance
        line += " " * (round((glyph.x0 - left) / advance) - len(line)) + glyph.text.translate(_TYPEWRITER)
        last = glyph
    return line
