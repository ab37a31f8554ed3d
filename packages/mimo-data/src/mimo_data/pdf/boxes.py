"""Glyphs as boxes, the pieces of a formula that `formulas.py` puts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mimo_data.pdf.symbols import ACCENTS, BIG, PIECES, latex_of
from mimo_data.pdf.textlayer import Glyph

AXIS = 0.25
"""Height of fraction bars over the baseline, in ems (0.25 in Computer Modern)."""


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
            not glyph.font.is_math
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
        else:
            boxes.append(box)
    return boxes
