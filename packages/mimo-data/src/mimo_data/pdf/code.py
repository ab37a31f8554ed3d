"""Rows of typewriter text as fenced code; indentation and blank lines are measured from positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mimo_data.pdf.layout import Row

# What typewriter fonts name quotes, and what the author typed.
_TYPEWRITER = str.maketrans("’‘“”−", '\'`""-')


def continues(last: Row, row: Row) -> bool:
    """Whether a row of code goes on where the last one stopped, up to one blank line and a half between."""
    return -0.5 * last.size < row.y - last.y < 3.6 * last.size and abs(last.size - row.size) < 0.15 * last.size


def is_title(row: Row, following: Row | None) -> bool:
    """Whether a row is the small word in the frame of a listing ("Terminal") and no code."""
    return following is not None and following.code and row.size < 0.7 * following.size


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
        lines.append(_line(row, left, advance))
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
    """Each character on the column that its position says."""
    line = ""
    for glyph in row.glyphs:
        if glyph.text.isspace():
            continue
        column = round((glyph.x0 - left) / advance)
        line += " " * (column - len(line)) + glyph.text.translate(_TYPEWRITER)
    return line
