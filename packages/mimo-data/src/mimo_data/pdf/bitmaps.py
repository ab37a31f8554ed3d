"""TeX's fonts as dvips writes them: bitmaps without a name, known again by the widths of their characters.

Ghostscript and Distiller keep them so, in points of a printer, which makes each font a quarter of a point large: then
what MuPDF takes for lines are words. Here sizes are the fonts' own, and lines whole.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import log
from typing import Any

_NAMELESS = re.compile(r"[A-Za-z]{0,2}\d*")
_SIZES = (5, 6, 7, 8, 9, 10, 10.95, 12, 14.4, 17.28, 20.74, 24.88)
"""Points; what LaTeX sets text in."""
_MAX_ERROR, _MAX_ERROR_OF_ONE = 0.025, 0.1
"""Of a font's widths and of one of them, as shares: a bitmap's are whole pixels."""
_FEW = 4
"""Characters; a font with fewer is one of mathematics rather than of words."""
_UNLIKELY = 0.05
"""Added to the error of a font."""
_RANGES = {
    f"{family}{design}": sizes
    for family in ("CMR", "CMMI", "CMSY")
    for design, sizes in ((5, (0.0, 6.5)), (7, (5.5, 8.5)), (10, (7.5, float("inf"))))
}
"""The sizes in points for which a design is made."""
_MAX_RATIO = 1.5
"""Of a font's size to what MuPDF takes for it; beyond it, what MuPDF takes for lines is wrong, too."""
_LEAST = 1e-6
"""Points; a broken file may have a font of no size."""
_BLANK, _BREAK = 0.2, 2.0
"""Ems between the words of a line, and between lines."""
_UNKNOWN = "\ufffd"
_BIG_OPERATORS = frozenset(range(0x46, 0x62))
"""Their places in the extension font."""

_GREEK = "ΓΔΘΛΞΠΣΥΦΨΩ"
_ASCII = "".join(map(chr, range(32, 127)))
_ACCENTS = "ıȷ`´ˇ˘¯˚¸ßæœøÆŒØ"
# TeX's encodings of words (OT1), of typewriter text, of letters (OML) and of symbols (OMS); "\0" for none.
_WORDS = [*_GREEK, "ff", "fi", "fl", "ffi", "ffl", *_ACCENTS, *_ASCII, "¨"]
for _place, _character in {
    0x22: "”", 0x27: "’", 0x3C: "¡", 0x3E: "¿", 0x5C: "“", 0x5E: "ˆ", 0x5F: "˙", 0x60: "‘", 0x7B: "–", 0x7C: "—",
    0x7D: "˝", 0x7E: "˜",
}.items():  # fmt: skip
    _WORDS[_place] = _character
_TYPED = [*_GREEK, *"↑↓'¡¿", *_ACCENTS, *_ASCII, "¨"]
_LETTERS = [
    *_GREEK, *"αβγδϵζηθικλμνξπρστυφχψωεϑϖϱςϕ↼↽⇀⇁\0\0▷◁0123456789.,</>⋆∂ABCDEFGHIJKLMNOPQRSTUVWXYZ♭♮♯⌣⌢ℓ",
    *"abcdefghijklmnopqrstuvwxyzıȷ℘\u20d7\0",
]  # fmt: skip
_SYMBOLS = [
    *"−⋅×∗÷⋄±∓⊕⊖⊗⊘⊙○∘•≍≡⊆⊇≤≥⪯⪰∼≈⊂⊃≪≫≺≻←→↑↓↔↗↘≃⇐⇒⇑⇓⇔↖↙∝′∞∈∋△▽/7∀∃¬∅ℜℑ⊤⊥ℵABCDEFGHIJKLMNOPQRSTUVWXYZ∪∩⊎∧∨",
    *"⊢⊣⌊⌋⌈⌉{}⟨⟩|‖↕⇕\\≀√⨿∇∫⊔⊓⊑⊒§†‡¶♣♢♡♠",
]  # fmt: skip
_ENCODINGS = {"CMTT": _TYPED, "CMMI": _LETTERS, "CMSY": _SYMBOLS, "CMEX": list(map(chr, range(128)))}


def encoding_of(name: str) -> list[str]:
    """The characters of one of TeX's fonts by place; of the extension font the places themselves."""
    return next((table for start, table in _ENCODINGS.items() if name.startswith(start)), _WORDS)


@dataclass(frozen=True, slots=True)
class Bitmaps:
    """A nameless font of bitmaps."""

    name: str
    """Of the font it is, such as "CMMI10"; "" when none fits."""
    characters: Mapping[str, Sequence[tuple[str, float]]]
    """What may be drawn and its width in ems, by the character that MuPDF reads."""
    is_known: bool = True
    """Whether the file says which characters these are."""


def is_nameless(name: str) -> bool:
    """Whether a font's name says nothing of it, as `F38` and `Type3 (12 0 R)`."""
    return bool(_NAMELESS.fullmatch(name))


def find_bitmaps(encoding: str, widths: Mapping[int, float], points: float) -> Bitmaps:
    """The font of TeX's with these widths.

    Args:
        encoding: the font's `Encoding`, as the file writes it.
        widths: by place in the font, in a unit of its own.
        points: how many points that unit is.
    """
    names = _names(encoding)
    if len(names) > 1 and all(names.get(place) == f"a{place}" for place in range(len(names))):
        # An old Ghostscript numbers characters in the order in which the file needs them.
        return Bitmaps("", {}, is_known=False)
    codes = {place: _code(place, name) for place, name in names.items()}
    by_code = {codes.get(place, place): width for place, width in widths.items() if width > 0}
    name, metrics = _nearest(by_code, points)
    table = encoding_of(name)
    characters: dict[str, list[tuple[str, float]]] = {}
    for place, code in (codes or {place: place for place in widths}).items():
        if code < 128:
            read = _as_read(place, names.get(place, ""), code)
            characters.setdefault(read, []).append((table[code] if name else chr(code), metrics[code] / 1000))
    return Bitmaps(name, characters)


def _as_read(place: int, name: str, code: int) -> str:
    """What MuPDF gives for a character: its place if it does not know its name; the name `4` it takes for a number."""
    if _is_digit(place, name) and name != "0":
        return chr(int(name))
    return chr(place) if len(name) == 1 and not name.isalnum() else chr(code)


def read_bitmaps(content: dict[str, Any], fonts: Mapping[str, Bitmaps]) -> None:
    """Gives the text of these fonts its characters and sizes, in PyMuPDF's dictionary of a page with each character.

    Spans have their text, too, as in the dictionary without characters.
    """
    spans = [span for line in _lines(content) for span in line["spans"] if span["font"] in fonts]
    sizes = _sizes(spans, fonts)
    common = sorted(sizes.values())[len(sizes) // 2] if sizes else 0.0
    is_off = False
    for span in spans:
        font, given = fonts[span["font"]], span["size"]
        size = sizes.get((span["font"], given), common) or given
        if not 1 / _MAX_RATIO < size / max(given, _LEAST) < _MAX_RATIO:
            is_off = True
            span["size"] = size
        span["font"] = font.name or span["font"]
        for char in span["chars"]:
            if not char["synthetic"]:
                char["c"] = _drawn(char, font, size)
    if is_off:
        content["blocks"] = [{"lines": [line]} for line in _joined(content)]
    for line in _lines(content):
        for span in line["spans"]:
            span["text"] = "".join([char["c"] for char in span["chars"]])


def _sizes(spans: Sequence[dict[str, Any]], fonts: Mapping[str, Bitmaps]) -> dict[tuple[str, float], float]:
    """Sizes in points, by font and the size that MuPDF gives."""
    sums: dict[tuple[str, float], list[float]] = {}
    for span in spans:
        both = sums.setdefault((span["font"], span["size"]), [0.0, 0.0])
        for char in span["chars"]:
            choices = fonts[span["font"]].characters.get(char["c"], ())
            if len(choices) == 1 and not char["synthetic"]:
                both[0] += char["bbox"][2] - char["bbox"][0]
                both[1] += choices[0][1]
    return {key: drawn / ems for key, (drawn, ems) in sums.items() if ems}


def _drawn(char: dict[str, Any], font: Bitmaps, size: float) -> str:
    if not font.is_known:
        return _UNKNOWN
    choices = font.characters.get(char["c"], ())
    width = (char["bbox"][2] - char["bbox"][0]) / max(size, _LEAST)
    return min(choices, key=lambda choice: abs(choice[1] - width))[0] if choices else str(char["c"])


def _lines(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (line for block in content["blocks"] for line in block.get("lines", ()))


def _joined(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines of what stands side by side, with blanks where room is left."""
    line: dict[str, Any] | None = None
    last: dict[str, Any] = {}
    for found in _lines(content):
        for span in found["spans"]:
            for char in span["chars"]:
                if char["synthetic"]:
                    continue
                x0, y = char["bbox"][0], char["origin"][1]
                size = span["size"]
                gap = x0 - last["bbox"][2] if last else 0.0
                if (
                    line is None
                    or line["dir"] != found["dir"]
                    or abs(y - last["origin"][1]) > 0.1 * size
                    or not -size < gap < _BREAK * size
                ):
                    if line is not None:
                        yield line
                    line, gap = {"dir": found["dir"], "spans": [], "bbox": (x0, y, x0, y)}, 0.0
                if not line["spans"] or line["spans"][-1]["font"] != span["font"] or line["spans"][-1]["size"] != size:
                    line["spans"].append({**span, "chars": []})
                own = line["spans"][-1]
                if gap > _BLANK * size:
                    blank = {"c": " ", "synthetic": True, "origin": (last["bbox"][2], y)}
                    own["chars"].append({**blank, "bbox": (last["bbox"][2], y, x0, y)})
                own["chars"].append(char)
                left, top, right, bottom = line["bbox"]
                top, bottom = min(top, y - 0.75 * size), max(bottom, y + 0.25 * size)
                line["bbox"] = (left, top, max(right, char["bbox"][2]), bottom)
                last = char
    if line is not None:
        yield line


def _names(encoding: str) -> dict[int, str]:
    """The names of a font's characters by their place: `Differences` of an encoding."""
    found = re.search(r"/Differences\s*\[([^]]*)\]", encoding)
    names: dict[int, str] = {}
    place = 0
    for word in re.findall(r"/[^\s/]*|\d+", found[1] if found else ""):
        if word.startswith("/"):
            names[place] = re.sub(r"#([0-9A-Fa-f]{2})", lambda code: chr(int(code[1], 16)), word[1:])
            place += 1
        else:
            place = int(word)
    return names


def _code(place: int, name: str) -> int:
    """The place of a character in TeX's own font: its number or itself is its name, or it kept its place."""
    number = re.fullmatch(r"[A-Za-z]?(\d{1,3})", name)
    if number and not _is_digit(place, name):
        return int(number[1])
    # A zero is written as another sign.
    return ord(name) if len(name) == 1 and not (place == 0 and name in ",;") else place


def _is_digit(place: int, name: str) -> bool:
    return len(name) == 1 and name in "0123456789" and place == ord(name)


@cache
def _metrics() -> dict[str, list[int]]:
    metrics: dict[str, list[int]] = tomllib.loads((files(__package__) / "computer_modern.toml").read_text())
    return metrics


def _nearest(widths: Mapping[int, float], points: float) -> tuple[str, list[int]]:
    """The font whose widths are nearest to these, up to their size; its metrics, those of CMR10 if none is near."""
    best, name = float("inf"), ""
    for candidate, metrics in _metrics().items() if max(widths, default=128) < 128 else ():
        if not all(metrics[code] for code in widths):
            continue
        em = sum(width * metrics[code] for code, width in widths.items())
        em /= sum(metrics[code] ** 2 for code in widths)
        errors = {code: abs(width - em * metrics[code]) for code, width in widths.items()}
        if any(error > max(1, _MAX_ERROR_OF_ONE * widths[code]) for code, error in errors.items()):
            continue
        error = sum(errors.values()) / sum(widths.values())
        rank = error + _unlikeliness(candidate, widths, 1000 * em * points)
        # A single width fits every font: its size tells.
        if (error if len(widths) > 1 else 2 * rank) < _MAX_ERROR and rank < best:
            best, name = rank, candidate
    return name, _metrics()[name or "CMR10"]


def _unlikeliness(candidate: str, widths: Mapping[int, float], size: float) -> float:
    """What tells fonts apart of which a file has a few characters only: what they are for, and the sizes of text."""
    least, most = _RANGES.get(candidate, (0.0, float("inf")))
    is_rare = len(widths) < _FEW and not candidate.startswith(("CMMI", "CMSY", "CMEX"))
    # Brackets come in pairs.
    is_single = len(widths) == 1 and candidate == "CMEX10" and not widths.keys() <= _BIG_OPERATORS
    odds = is_rare + is_single + (not least < size < most)
    return _UNLIKELY * odds + 0.5 * min(abs(log(max(size, _LEAST) / usual)) for usual in _SIZES)
