"""Which pages the text layer cannot give, and a model that sees should read.

The score guesses from what the page draws; it does not compare the text with the picture, so a text layer
that is well formed but wrong (poor recognition below a scan) shows only by being invisible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mimo_data.pdf.textlayer import Layer

VISION_SCORE = 0.5
"""Pages that score so much or more need a vision model."""


@dataclass(frozen=True)
class Routing:
    """How much of a page its text layer misses, 0 to 1, and why."""

    score: float
    reason: str
    """`""`, `scanned`, `recognised` (invisible text below a picture), `drawn` (letters as paths), or `garbled`."""


def routing(layer: Layer, text: str) -> Routing:
    """The routing of a page from what it draws and the text that it gave."""
    num_letters = sum(character.isalnum() for character in text)
    if num_letters < 100 and layer.image_share > 0.3:
        return Routing(1.0, "scanned")
    if num_letters < 50 and len(layer.shapes) > 300:
        return Routing(0.8, "drawn")
    num_glyphs = sum(len(piece.glyphs) for piece in layer.pieces)
    garbled = min(1.0, 5 * _garbled_share(layer, text, num_glyphs))
    recognised = 0.6 if layer.hidden_share > 0 and layer.image_share > 0.6 else 0.0
    score, reason = max((garbled, "garbled"), (recognised, "recognised"))
    return Routing(round(score, 3), reason if score else "")


def _garbled_share(layer: Layer, text: str, num_glyphs: int) -> float:
    unknown = layer.num_unknown / max(1, num_glyphs)
    words = re.findall(r"[A-Za-z]{4,}", text)
    if len(words) < 20:
        return unknown
    # Fonts with a wrong table of characters give words without vowels; code and tables of symbols have some.
    odd = sum(1 for word in words if not re.search(r"[aeiouyAEIOUY]", word)) / len(words)
    return max(unknown, odd - 0.1)
