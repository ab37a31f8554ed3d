"""What a font's name says about its glyphs, TeX's mathematics fonts above all.

The names are those of Computer Modern, Latin Modern and the AMS fonts, of KaTeX and MathJax, and of OpenType fonts of
mathematics (style "math"). The extension font's glyphs have no Unicode in most files; their codes are the positions
of TeX's OMX encoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from mimo_data.pdf.adobesymbol import public

_MONOSPACED = re.compile(
    r"mono|courier|consol|typewriter|cmtt|cmsltt|cmitt|sftt|menlo|inconsolata|fira ?code|txtt|pcr[rbo]|code|"
    r"lettergothic",
    re.IGNORECASE,
)
MONOSPACED_FLAG = 8
_ITALIC_FLAG, _BOLD_FLAG = 2, 16
_STYLES = (
    ("extension", re.compile(r"^(?:lm|cm)?(?:mathextension|ex\d)|^(?:tx|px|esint|mt)ex|mathextension", re.IGNORECASE)),
    ("blackboard", re.compile(r"^msbm|bbm|bbold|dsrom|^(?:katex|mathjax)_ams", re.IGNORECASE)),
    ("fraktur", re.compile(r"^eu[fsr][mb]|^(?:katex|mathjax)_frak", re.IGNORECASE)),
    ("script", re.compile(r"^rsfs|^eusm|^(?:katex|mathjax)_script", re.IGNORECASE)),
    (
        "symbol",
        re.compile(
            r"^cmb?sy\d|mathsymbols|^msam|^txsy|^pxsy|^stmary|^lasy|^wasy|^mtsy|^(?:katex|mathjax)_cal", re.IGNORECASE
        ),
    ),
    (
        "italic",
        re.compile(
            r"^cmmib?\d|mathitalic|^txmi|^pxmi|^rmtmi|^mtmi|^eurm|^zplmr7m|^(?:katex|mathjax)_math", re.IGNORECASE
        ),
    ),
    ("math", re.compile(r"math|^katex_|^stix\w*(?:size|sym)", re.IGNORECASE)),
)
_DELIMITERS = "()[]⌊⌋⌈⌉{}⟨⟩|‖/\\"
# TeX's OMX encoding: big, Big, bigg and Bigg delimiters, then pieces, operators, accents and roots.
_EXTENSION = dict(enumerate([
    *_DELIMITERS, *"()", *"()[]⌊⌋⌈⌉{}⟨⟩/\\", *"()[]⌊⌋⌈⌉{}⟨⟩/\\", *"/\\", *"⎛⎞⎡⎤⎣⎦⎢⎥⎧⎫⎩⎭⎨⎬⎪⏐⎝⎠⎜⎟",
    *"⟨⟩⨆⨆∮∮⨀⨀⨁⨁⨂⨂", *"∑∏∫⋃⋂⨄⋀⋁", *"∑∏∫⋃⋂⨄⋀⋁", *"∐∐", *"\u1dcd\u1dcd\u1dcd\u0360\u0360\u0360", *"[]⌊⌋⌈⌉{}",
    *"√√√√", "⎷", "", "", "‖", "↑", "↓", *"⏞⏞⏟⏟", "", "",
]))  # fmt: skip
_HEIGHTS = (
    (0x0C, 0x0E, 0.6),
    (0x00, 0x10, 1.2), (0x10, 0x12, 1.8), (0x12, 0x20, 2.4), (0x20, 0x2E, 3.0), (0x2E, 0x30, 1.8), (0x30, 0x38, 1.8),
    (0x38, 0x3C, 0.9), (0x3C, 0x3E, 1.8), (0x3E, 0x40, 0.6), (0x40, 0x42, 1.8), (0x42, 0x44, 0.6), (0x44, 0x46, 1.8),
    (0x48, 0x49, 1.11), (0x49, 0x4A, 2.22), (0x52, 0x53, 1.11), (0x5A, 0x5B, 2.22),
    (0x46, 0x58, 1.0), (0x58, 0x60, 1.4), (0x60, 0x61, 1.0), (0x61, 0x62, 1.4), (0x62, 0x68, 0.0), (0x68, 0x70, 1.8),
    (0x70, 0x71, 1.2), (0x71, 0x72, 1.8), (0x72, 0x73, 2.4), (0x73, 0x75, 3.0), (0x75, 0x80, 0.6),
)  # fmt: skip
_CMSY = re.compile(r"^cmb?sy\d|mathsymbols", re.IGNORECASE)
# Adobe's private characters for pieces of tall delimiters, which some fonts name.
_PIECES = {
    0xF8E6: "⏐", 0xF8EB: "⎛", 0xF8EC: "⎜", 0xF8ED: "⎝", 0xF8EE: "⎡", 0xF8EF: "⎢", 0xF8F0: "⎣", 0xF8F1: "⎧",
    0xF8F2: "⎨", 0xF8F3: "⎩", 0xF8F4: "⎪", 0xF8F5: "⎮", 0xF8F6: "⎞", 0xF8F7: "⎟", 0xF8F8: "⎠", 0xF8F9: "⎤",
    0xF8FA: "⎥", 0xF8FB: "⎦", 0xF8FC: "⎫", 0xF8FD: "⎬", 0xF8FE: "⎭",
    # The small sum of newtx, by its code.
    0xCD: "∑",
}  # fmt: skip
_UNICODE_HEIGHTS = {
    symbol: next(height for low, high, height in _HEIGHTS if low <= code < high)
    for code, symbol in _EXTENSION.items()
    if symbol
}
_UNICODE_HEIGHTS |= {"(": 1.2, ")": 1.2, "[": 1.2, "]": 1.2, "{": 1.2, "}": 1.2, "√": 1.2, "∫": 2.22, "∑": 1.4}
_UNICODE_HEIGHTS |= dict.fromkeys("ˆ˜\u0302\u0303", 0.0)


# Latin Modern's files write after a large symbol which of its sizes it is, as a variation selector.
_INVISIBLE = frozenset("\u200b\u200c\u200d\ufeff\u2060\u2061\u2062\u2063") | set(map(chr, range(0xFE00, 0xFE10)))
# Widths of big, Big, bigg and Bigg delimiters.
_WIDTHS = (
    ("()", (0.458, 0.597, 0.736, 0.792)),
    ("[]⌊⌋⌈⌉", (0.417, 0.472, 0.528, 0.583)),
    ("{}", (0.583, 0.667, 0.75, 0.806)),
    ("⟨⟩", (0.472, 0.611, 0.75, 0.806)),
)


@dataclass(frozen=True, slots=True)
class Font:
    """A font by its name: `style` is "text", one of TeX's families, or "unicode" for its letters with Unicode's phi."""

    name: str
    style: str
    monospaced: bool
    italic: bool
    bold: bool
    is_extension: bool
    is_math: bool

    def read_named(self, text: str, width: float) -> tuple[str, float]:
        """As `read`, in a file that names the glyphs of the extension font: their size shows in their width, in ems."""
        if text in _INVISIBLE:
            return "", 0.0
        if text < " ":
            # Some are left unnamed.
            return self.read(text)
        symbol = _PIECES.get(ord(text), text)
        steps = next((steps for symbols, steps in _WIDTHS if symbol in symbols), None)
        if steps is None:
            return symbol, _UNICODE_HEIGHTS.get(symbol, 1.0)
        nearest = min(range(4), key=lambda i: abs(steps[i] - width))
        return symbol, (1.2, 1.8, 2.4, 3.0)[nearest]

    def read(self, text: str) -> tuple[str, float]:
        """The character that is drawn, "" for none; and its height in ems below its origin, 0 when it stands on it."""
        if self.style == "extension":
            if text < "\x80":
                code = ord(text)
                return _EXTENSION[code], next(height for low, high, height in _HEIGHTS if low <= code < high)
            symbol = _PIECES.get(ord(text), text)
            return symbol, _UNICODE_HEIGHTS.get(symbol, 1.0)
        if self.style == "symbol" and text == "√":
            return text, 1.0
        if text == "7" and _CMSY.search(self.name):
            # Its code: the bar before the arrow of a mapping, which no Unicode character is.
            return "↦", 0.0
        if text == "\xad" and not self.monospaced:
            return "-", 0.0
        if text in "\x88\x95":
            # Codes of TeX's and of Windows' bullet that a font gives no character.
            return "•", 0.0
        if "\uf020" <= text <= "\uf0ff":
            return public(text, self.name), 0.0
        if self.style == "math" and text in "^~":
            # As accents: the operators have characters of their own.
            return {"^": "ˆ", "~": "˜"}[text], 0.0
        return "" if text in _INVISIBLE or (text < " " and text != "\t") else text, 0.0


@lru_cache(maxsize=4096)
def font_of(name: str, flags: int) -> Font:
    """What the name of a font, with or without its subset's prefix, says."""
    if len(name) > 7 and name[6] == "+":
        name = name[7:]
    monospaced = bool(flags & MONOSPACED_FLAG) or bool(_MONOSPACED.search(name))
    style = next((style for style, pattern in _STYLES if pattern.search(name)), "text")
    bold = bool(flags & _BOLD_FLAG) or bool(
        re.search(r"bold|demi|^cmb|^sfb|black|heavy|-medi$|^cmmib", name, re.IGNORECASE)
    )
    italic = bool(flags & _ITALIC_FLAG) or bool(re.search(r"ital|obliq|slant|^cmti|^cmsl|^sfti", name, re.IGNORECASE))
    return Font(name, style, monospaced and style == "text", italic, bold, style == "extension", style != "text")
