"""TeX's fonts in files that macOS wrote anew: many characters are named by their places in the font.

A place is named as ASCII does, the first 32 as Apple's keyboards do, whose fonts have signs of keys there. Characters
that are named for what they are stay; where one may be either, as a bar, it is taken for what it is.
"""

from __future__ import annotations

from typing import Any

from mimo_data.pdf.bitmaps import encoding_of
from mimo_data.pdf.fonts import font_of

_KEYS = {
    "⇥": 0x02, "⇤": 0x03, "⌤": 0x04, "⇧": 0x05, "⌃": 0x06, "⌥": 0x07, "⌦": 0x0A, "↩": 0x0B, "↪": 0x0C, "⇣": 0x10,
    "⌘": 0x11, "✓": 0x12, "◆": 0x13, "\uf8ff": 0x14, "⌫": 0x17, "⇠": 0x18, "⇡": 0x19, "⇢": 0x1A, "⎋": 0x1B, "⌧": 0x1C,
}  # fmt: skip
# What no font of the family names so itself.
_PLACES = {
    "symbol": frozenset("!\"#$%&'()+,./0123456789:;<=>?@[]^_`abcdefghijklmnopqrstuvwxyz~"),
    "italic": frozenset(":;=?@[]^_`"),
}


def name_places(content: dict[str, Any]) -> None:
    """Gives the text of these fonts its characters, in PyMuPDF's dictionary of a page with each character."""
    for block in content["blocks"]:
        for line in block.get("lines", ()):
            for span in line["spans"]:
                if not span["font"].startswith("CM"):
                    continue
                font = font_of(span["font"], 0)
                encoding, places = encoding_of(font.name), _PLACES.get(font.style, frozenset())
                for char in span["chars"]:
                    code = _KEYS.get(char["c"], ord(char["c"]) if char["c"] in places else None)
                    if code is not None and not char["synthetic"]:
                        char["c"] = encoding[code]
