"""Characters of Adobe's Symbol font and of Wingdings, whose places many files give as private ones (U+F020 to U+F0FE).

Word writes them so, and with them the formulas of its old equation editors. The table is the font's own encoding.
"""

from __future__ import annotations

_SYMBOL = (
    " !∀#∃%&∋()∗+,−./0123456789:;<=>?"
    "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_"
    "‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼ "
    "                                "
    "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵"
    "ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓"
    "◊⟨®©™∑⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪ ⟩∫⌠⎮⌡⎞⎟⎠⎤⎥⎦⎫⎬⎭ "
)
_WINGDINGS = {0xE0: "→", 0xE8: "→", 0xFB: "✗", 0xFC: "✓"}


def public(private: str, font_name: str) -> str:
    """The character that a font draws at one of these places; what is no Symbol's is a mark of a list."""
    place = ord(private) - 0xF000
    if "wingdings" in font_name.lower():
        return _WINGDINGS.get(place, "•")
    return _SYMBOL[place - 0x20].strip() if "symbol" in font_name.lower() else private
