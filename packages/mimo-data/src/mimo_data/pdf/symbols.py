"""Characters of mathematics and what LaTeX calls them."""

from __future__ import annotations

import re
import unicodedata

from mimo_data.latex import SYMBOLS
from mimo_data.pdf.fonts import Font

RELATIONS = frozenset("=<>≤≥⩽⩾≪≫≈≡∼≃≅∝≺≻⪯⪰∈∉∋⊂⊆⊃⊇⊢⊨→←↔⇒⇐⇔⟹⟸⟺⟶⟵⟷↦≠≐≜≔∣")
OPERATORS = frozenset("+-−±∓×÷·⋅∗*/∘◦∪∩∧∨⊕⊗⊖∖⋆†‡")
BIG = frozenset("∑∏∐∫∬∮⋃⋂⨆⨁⨂⨀⨄⋀⋁")
INTEGRALS = frozenset("∫∬∮")
LIST_MARKS = "•◦▪‣●○■∙·▶►▸"
IDEOGRAPHIC = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uff65]")
"""Characters of Chinese and Japanese, their punctuation among them."""
ARROWS = frozenset("⇒→↦⊣⊢≡")
"""What manuals set in front of what a call returns or prints, in a font of mathematics."""
OPEN = {"(": "(", "[": "[", "{": r"\{", "⟨": r"\langle", "⌊": r"\lfloor", "⌈": r"\lceil", "〈": r"\langle"}
CLOSE = {")": ")", "]": "]", "}": r"\}", "⟩": r"\rangle", "⌋": r"\rfloor", "⌉": r"\rceil", "〉": r"\rangle"}
BARS = {"|": "|", "∣": "|", "⏐": "|", "‖": r"\|", "∥": r"\|"}
ACCENTS = {
    "¯": r"\bar", "ˉ": r"\bar", "ˆ": r"\hat", "˜": r"\tilde", "˙": r"\dot", "¨": r"\ddot", "ˇ": r"\check",
    "˘": r"\breve", "´": r"\acute", "ˊ": r"\acute", "`": r"\grave", "˚": r"\mathring", "⃗": r"\vec",
    "\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0305": r"\overline", "\u0307": r"\dot",
    "\u0308": r"\ddot", "\u1dcd": r"\widehat", "\u0360": r"\widetilde",
}  # fmt: skip
WIDE = {r"\hat": r"\widehat", r"\tilde": r"\widetilde", r"\bar": r"\overline"}
UNDER = frozenset(["lim", "liminf", "limsup", "max", "min", "sup", "inf", "det", "gcd", "Pr", "argmax", "argmin"])
PIECES = {
    **dict.fromkeys("⎛⎜⎝", "("), **dict.fromkeys("⎞⎟⎠", ")"), **dict.fromkeys("⎡⎢⎣", "["), **dict.fromkeys("⎤⎥⎦", "]"),
    **dict.fromkeys("⎧⎨⎩⎪", "{"), **dict.fromkeys("⎫⎬⎭", "}"),
}  # fmt: skip

# Beyond what Unicode says: signs that fonts of TeX have in the place of others, and brackets.
_NAMES = SYMBOLS | {
    "–": "-", "◦": r"\circ", "°": r"^\circ", "⨀": r"\bigodot", "ħ": r"\hbar", "ℎ": "h", "\N{OHM SIGN}": r"\Omega",
    "ﬁ": "fi", "ﬂ": "fl", "\\": r"\backslash", "▷": r"\triangleright", "◁": r"\triangleleft", "~": r"\sim",
    "^": r"\wedge", "⏞": r"\overbrace", "⏟": r"\underbrace", "⎷": r"\surd", **OPEN, **CLOSE, **BARS,
}  # fmt: skip
# What only mathematics writes, whatever the font; letters of living alphabets are not among it.
MATHEMATICAL = frozenset(
    "−≠≤≥⩽⩾≪≫≈≡∼≃≅∝≺≻⪯⪰∈∉∋⊂⊆⊃⊇∪∩∖∅∀∃¬∧∨⊕⊗⊖⊙⊥∴⊢⊨→←↔⇒⇐⇔⟹⟸⟺⟶⟵⟷↦∑∏∐∫∬∮⋃⋂∂∇∞ℏℓℜℑℵ√ℝℂℕℤℚ±∓×÷⋅∗∘◦′″∆⟨⟩⌊⌋⌈⌉ϵϕϑϱ"
)
# Computer Modern calls the straight phi "phi" and the curly one "phi1", as Adobe calls Unicode's curly and straight.
_SWAPPED = {"φ": r"\phi", "ϕ": r"\varphi"}
_VARIANTS = (
    ("DOUBLE-STRUCK", r"\mathbb"), ("FRAKTUR", r"\mathfrak"), ("SCRIPT", r"\mathcal"), ("MONOSPACE", r"\mathtt"),
    ("SANS-SERIF", r"\mathsf"), ("BOLD ITALIC", r"\boldsymbol"), ("BOLD", r"\mathbf"),
)  # fmt: skip


def latex_of(text: str, font: Font) -> str:
    """LaTeX of one character in its font."""
    if len(text) == 1 and ord(text) >= 0x1D400 and unicodedata.name(text, "").startswith("MATHEMATICAL"):
        name = unicodedata.name(text)
        plain = unicodedata.normalize("NFKC", text)
        variant = next((command for word, command in _VARIANTS if word in name), "")
        latex = _NAMES.get(plain, plain)
        return f"{variant}{{{latex}}}" if variant else latex
    latex = _NAMES.get(text, text)
    if font.style == "italic" and text in _SWAPPED:
        return _SWAPPED[text]
    if text.isupper() and text.isascii():
        family = {"symbol": r"\mathcal", "blackboard": r"\mathbb", "script": r"\mathscr", "fraktur": r"\mathfrak"}
        if font.style in family:
            return f"{family[font.style]}{{{latex}}}"
    if font.style == "fraktur" and text.isalpha():
        return rf"\mathfrak{{{latex}}}"
    if font.bold and text.isalpha():
        upright = not font.italic and font.style in ("text", "math") and text.isascii()
        return rf"\{'mathbf' if upright else 'boldsymbol'}{{{latex}}}"
    return latex


def is_mathematical(text: str) -> bool:
    """Whether a character stands in formulas only, in any font."""
    return text in MATHEMATICAL or "\U0001d400" <= text <= "\U0001d7ff"


def braced(latex: str) -> str:
    """As the argument of a script: bare when it is one character."""
    return latex if len(latex) == 1 else f"{{{latex}}}"
