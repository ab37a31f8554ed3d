"""Glyphs as boxes, the pieces of a formula that `formulas.py` puts together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from mimo_data.pdf.symbols import ACCENTS, BIG, PIECES, latex_of
from mimo_data.pdf.textlayer import Glyph

AXIS = 0.25
"""Height of fraction bars over the baseline, in ems (0.25 in Computer Modern)."""

_MAX_DOTS = 30
"""In one formula; more are leaders or a drawing."""


@dataclass(slots=True)
class Box:
    """A glyph, or something built of several; `y` is its baseline."""

    latex: str
    x0: float
    x1: float
    y: float
    top: float
    bottom: float
    size: float
    text: str = ""
    """The character, if it is one."""
    word: bool = False
    """Upright letters, as in names of functions and in words."""
    roman: bool = False
    """An upright letter among those of a mathematics font: its author asked for that."""
    tall: bool = False
    """Centred on the axis whatever its size."""

    @property
    def middle(self) -> float:
        return (self.x0 + self.x1) / 2


def core(glyph: Glyph) -> tuple[float, float]:
    """The part of a glyph's height that no neighbouring line reaches into."""
    if glyph.height:
        return glyph.top, glyph.bottom
    if glyph.text in BIG:
        return glyph.y - 1.1 * glyph.size, glyph.y + 0.65 * glyph.size
    return glyph.y - 0.5 * glyph.size, glyph.y


def boxes_of(glyphs: Sequence[Glyph]) -> list[Box]:
    boxes: list[Box] = []
    has_math_font = any(glyph.font.is_math for glyph in glyphs)
    for glyph in glyphs:
        if glyph.text.isspace():
            continue
        top, bottom, y = glyph.top, glyph.bottom, glyph.y
        text = PIECES.get(glyph.text, glyph.text)
        tall = glyph.height > 0 and text not in ACCENTS and text != "√"
        if glyph.height:
            y = (top + bottom) / 2 + AXIS * glyph.size
            if text == "√":
                y = glyph.y + 0.7 * glyph.size
        elif text in BIG:
            top, bottom = core(glyph)
        word = (
            glyph.font.style in ("text", "math")
            and not glyph.font.italic
            and text.isalpha()
            and text < "\u0370"
            and not glyph.font.bold
        )
        roman = has_math_font and word and text.isascii()
        box = Box(latex_of(text, glyph.font), glyph.x0, glyph.x1, y, top, bottom, glyph.size, text, word, roman, tall)
        same = next((b for b in boxes if tall and b.tall and b.text == text and abs(b.x0 - box.x0) < 1.5), None)
        if same and (glyph.text in PIECES or (text in "|‖⏐" and same.top - 1 < bottom and top < same.bottom + 1)):
            same.top, same.bottom = min(same.top, top), max(same.bottom, bottom)
            same.y = (same.top + same.bottom) / 2 + AXIS * glyph.size
        elif text == "→" and any(b.text == "↦" and abs(b.x1 - box.x0) < 0.2 * box.size for b in boxes[-1:]):
            boxes[-1].x1 = box.x1
        else:
            boxes.append(box)
    return _with_ellipses(boxes)


def _with_ellipses(boxes: list[Box]) -> list[Box]:
    """Three dots below each other, straight or in a slant, are one sign; those in a row become one later."""
    dots = sorted((box for box in boxes if box.text == "."), key=lambda box: box.y)
    taken: set[int] = set()
    found: list[Box] = []
    for first, second, third in itertools.combinations(dots, 3) if len(dots) <= _MAX_DOTS else ():
        size = first.size
        steps = [(b.x0 - a.x0, b.y - a.y) for a, b in ((first, second), (second, third))]
        (right, down), (right_again, down_again) = steps
        is_even = abs(right - right_again) < 0.1 * size and abs(down - down_again) < 0.1 * size
        if not is_even or not 0.2 * size < down < 0.6 * size or taken & set(map(id, (first, second, third))):
            continue
        if abs(right) < 0.1 * size:
            latex, text = r"\vdots", "⋮"
        elif 0.2 * size < right < 0.8 * size:
            latex, text = r"\ddots", "⋱"
        else:
            continue
        taken.update(map(id, (first, second, third)))
        found.append(Box(latex, first.x0, third.x1, third.y, first.top, third.bottom, size, text))
    return [*(box for box in boxes if id(box) not in taken), *found]
