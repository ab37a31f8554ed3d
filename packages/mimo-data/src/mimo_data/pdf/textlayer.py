"""A PDF file's pages as glyphs, rules and images: the only module that uses PyMuPDF, whose licence is the AGPL.

That is why PDF is an extra of its own (`pip install 'mimo-data[pdf]'`). Text that runs another way than most of
its page is left out. A crash inside MuPDF's C code is not caught here; whoever reads files of strangers runs this in a
process that may die.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeAlias

from mimo_data.pdf.bitmaps import Bitmaps, find_bitmaps, is_nameless, read_bitmaps
from mimo_data.pdf.fonts import MONOSPACED_FLAG, Font, font_of
from mimo_data.pdf.quartz import name_places
from mimo_data.pdf.symbols import BIG, CLOSE, OPEN, PIECES
from mimo_data.pdf.turn import Turn, set_upright
from mimo_data.run import DataError

_MAX_PAGES = 20_000
"""A file that claims more is refused: the claim costs its author nothing."""
_MAX_GLYPHS = 60_000
_MAX_PATHS = 20_000
_MAX_NAME_LETTERS = 31
_MAX_TEXTS = 50_000
_MAX_SHORT_PIECE = 0.7
"""Ems; the first piece of TeX's own brackets is taller."""
# Brackets, sums and integrals of an extension font, whose characters are else places in it; LaTeX's package `cmap`
# names the pieces of brackets only.
_NAMED = re.compile(rb"<00(?:28|29|5B|5D|7B|7D)|<22(?:11|0F|2B)", re.IGNORECASE)
# What TeX's fonts of letters have at 1E and 27, \phi and \varphi, as Unicode and newer files name them.
_NAMED_PHI = re.compile(rb"<1E>\s*(?:<1E>\s*)?<03D5>|<27>\s*(?:<27>\s*)?<03C6>", re.IGNORECASE)
_MAY_BE_TALL = BIG | frozenset("|‖∥√") | OPEN.keys() | CLOSE.keys() | PIECES.keys()
_MIN_HEIGHT = 1.15
"""Ems; brackets of the usual size are lower."""
_MARKS = {
    "`": "\u0300", "´": "\u0301", "ˆ": "\u0302", "˜": "\u0303", "¯": "\u0304", "˘": "\u0306",
    "˙": "\u0307", "¨": "\u0308", "˚": "\u030a", "˝": "\u030b", "ˇ": "\u030c", "¸": "\u0327",
}  # fmt: skip
"""Accents that are drawn by themselves, and what adds them to a letter."""
_DOTLESS = {"ı": "i", "ȷ": "j"}
_MAX_THICKNESS = 1.6
"""Of a rule, in points."""
_MAX_RULES = 400
"""A page with more of them is a drawing."""
_MAX_BULLETS = 500
"""A page with more small squares is a drawing, too."""
_MIN_BULLETS, _MIN_ITEM = 3, 18
"""Drawn marks below each other, and characters beside them."""
_ENDLESS = 5
"""Times a page's width."""
_ROOT = 400
"""Ems: how wide KaTeX draws a root, to show as much of it as it needs."""


Area: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom."""
Reaches: TypeAlias = dict[tuple[str, float, float], tuple[float, float]]
"""Top and bottom of characters, by character and origin."""


class PdfError(DataError):
    """A file that is not a readable PDF.

    Attributes:
        reason: `broken`, `encrypted` or `too_large`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class Glyph:
    """One character as drawn; coordinates in points from the page's top left."""

    text: str
    x0: float
    x1: float
    y: float
    """The baseline."""
    size: float
    font: Font
    height: float = 0.0
    """Of a glyph that hangs from its origin, as TeX's tall ones do: ems below it; 0 for all others."""

    @property
    def top(self) -> float:
        return self.y - (0.04 if self.height else 0.7) * self.size

    @property
    def bottom(self) -> float:
        return self.y + (self.height or 0.2) * self.size


@dataclass(slots=True)
class Rule:
    """A straight line, or a filled rectangle as thin as one."""

    x0: float
    y0: float
    x1: float
    y1: float
    reach: float = 5.0
    """How far above and below what it divides starts, if it is the bar of a fraction."""

    @property
    def y(self) -> float:
        return (self.y0 + self.y1) / 2


@dataclass(slots=True)
class Piece:
    """Glyphs that the file writes side by side, blanks among them."""

    glyphs: list[Glyph]
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    block: int
    """Pieces of one block stand close together."""
    text: str
    level: bool
    """Whether all glyphs stand on one baseline."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line's text and box, without its glyphs."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    code: bool


@dataclass(slots=True)
class Layer:
    """What one page draws."""

    width: float
    height: float
    pieces: list[Piece] = field(default_factory=list)
    rows: list[Rule] = field(default_factory=list)
    """Horizontal rules."""
    posts: list[Rule] = field(default_factory=list)
    """Vertical rules."""
    shapes: list[Area] = field(default_factory=list)
    """Every path, rules among them."""
    images: list[Area] = field(default_factory=list)
    image_share: float = 0.0
    """Share of the page that images cover."""
    hidden_share: float = 0.0
    """Share of the drawn text that is invisible, as a scan's recognised text is."""
    num_unknown: int = 0
    """Glyphs whose font does not say which character they are."""


class Reader:
    """An open file. Pages are read one by one, so that a long file needs the memory of one page."""

    # PyMuPDF's functions have no types: its documents are `Any` here.
    def __init__(self, document: Any, flags: int) -> None:
        self._document = document
        self._flags = flags
        self._is_naming: dict[int, bool] = {}
        self._is_fixed: dict[int, bool] = {}
        self._bitmaps: dict[int, Bitmaps] = {}
        self._described: dict[int, str] = {}
        producer = document.metadata.get("producer") or ""
        self._is_printed, self._is_by_quartz = "Skia" in producer, "Quartz" in producer
        self.num_pages = document.page_count

    def lines(self, number: int) -> tuple[list[Line], float]:
        """The lines of page `number`, from 0, and its height: a third of the time of its `layer`."""
        try:
            page = self._document[number]
            _check_texts(page.get_bboxlog())
            fonts = self._document.get_page_fonts(number)
            content, turn = self._content(page, fonts, "dict")
            font_at = self._fonts(fonts)
        except Exception as error:  # MuPDF's errors have no common base but RuntimeError and ValueError
            _raise_unless_damage(error)
            return [], 1.0
        lines = []
        for block in content["blocks"]:
            for line in block.get("lines", ()):
                spans = [span for span in line["spans"] if not span["text"].isspace()]
                if spans and line["dir"][0] > 0.9:
                    text = "".join(span["text"] for span in line["spans"]).strip()
                    largest = max(spans, key=lambda span: len(span["text"]))
                    x0, y0, x1, y1 = line["bbox"]
                    lines.append(Line(text, x0, y0, x1, y1, largest["size"], font_at(largest).monospaced))
        return lines, turn.height

    def layer(self, number: int) -> Layer:
        """What page `number`, from 0, draws; empty when the page is damaged."""
        try:
            page = self._document[number]
            log = page.get_bboxlog()
            _check_texts(log)
            fonts = self._document.get_page_fonts(number)
            content, turn = self._content(page, fonts, "rawdict")
            named = set() if self._is_by_quartz else self._naming(fonts, "extension", _NAMED)
            font_at = self._fonts(fonts)
        except Exception as error:  # as in `lines`
            _raise_unless_damage(error)
            return Layer(1.0, 1.0)
        if self._is_by_quartz:
            name_places(content)
        layer = Layer(turn.width, turn.height)
        _read_pieces(content, layer, named, font_at, cache(lambda: self._reaches(page)))
        _read_paths(log, turn, layer)
        if any(kind == "fill-path" and box[2] - box[0] > _ENDLESS * turn.width for kind, box in log[:_MAX_PATHS]):
            _read_roots(page.get_drawings(extended=True), layer)
        _read_bullets(log, layer, is_printed=self._is_printed)
        return layer

    def _content(self, page: Any, fonts: list[Any], kind: str) -> tuple[dict[str, Any], Turn]:
        """PyMuPDF's dictionary of a page's text, upright; with each character where fonts have no names."""
        nameless = {
            name or f"Type3 ({xref} 0 R)": xref
            for xref, _, kind_of_font, name, *_ in fonts
            if kind_of_font == "Type3" and is_nameless(name) and not (name == "" and self._described_name(xref))
        }
        content = page.get_text("rawdict" if nameless else kind, flags=self._flags)
        turn = set_upright(content)
        if nameless:
            sizes = {
                span["font"]: span["size"]
                for block in content["blocks"]
                for line in block.get("lines", ())
                for span in line["spans"]
                if span["font"] in nameless
            }
            read_bitmaps(content, {name: self._bitmaps_of(nameless[name], size) for name, size in sizes.items()})
        return content, turn

    def _bitmaps_of(self, font: int, size: float) -> Bitmaps:
        if font not in self._bitmaps:
            first, widths = self._widths(font)
            matrix = re.findall(r"-?\d*\.?\d+", self._document.xref_get_key(font, "FontMatrix")[1])
            points = size * abs(float(matrix[0])) if matrix else size
            self._bitmaps[font] = find_bitmaps(self._encoding(font), dict(enumerate(widths, first)), points)
        return self._bitmaps[font]

    def _encoding(self, font: int) -> str:
        kind, value = self._document.xref_get_key(font, "Encoding")
        return str(self._document.xref_object(int(value.split()[0]), compressed=True) if kind == "xref" else value)

    def _reaches(self, page: Any) -> Reaches:
        """The top and bottom of what each character of a page draws, which MuPDF measures in a pass of its own."""
        import pymupdf

        try:
            content = page.get_text("rawdict", flags=self._flags | pymupdf.TEXT_ACCURATE_BBOXES)
            set_upright(content)
        except Exception:  # as in `layer`
            return {}
        return {
            (char["c"], *char["origin"]): (char["bbox"][1], char["bbox"][3])
            for block in content["blocks"]
            for line in block.get("lines", ())
            for span in line["spans"]
            for char in span["chars"]
        }

    def _naming(self, fonts: list[Any], style: str, characters: re.Pattern[bytes]) -> set[str]:
        """Fonts of a page, of one of TeX's families, for which the file names these characters."""
        naming = set()
        for xref, _, _, name, *_ in fonts:
            # MuPDF's text has the first letters of a long name only.
            name = name[:_MAX_NAME_LETTERS].rpartition("+")[2]
            if font_of(name, 0).style != style:
                continue
            if xref not in self._is_naming:
                self._is_naming[xref] = characters.search(self._cmap(xref)) is not None
            if self._is_naming[xref]:
                naming.add(name)
        return naming

    def _cmap(self, font: int) -> bytes:
        kind, stream = self._document.xref_get_key(font, "ToUnicode")
        return self._document.xref_stream(int(stream.split()[0])) or b"" if kind == "xref" else b""

    def _fonts(self, fonts: list[Any]) -> Callable[[dict[str, Any]], Font]:
        """The font of a span of a page's text."""
        fixed = self._fixed_fonts(fonts)
        naming_phi = self._naming(fonts, "italic", _NAMED_PHI)
        names: dict[str, str] = {}
        for xref, _, kind, name, *_ in fonts:
            if kind == "Type3" and not name:
                # Chrome writes OpenType fonts so; MuPDF names them by their number.
                names[f"Type3 ({xref} 0 R)"] = self._described_name(xref)

        def font_at(span: dict[str, Any]) -> Font:
            name: str = span["font"]
            font = font_of(names.get(name, name), span["flags"] | (MONOSPACED_FLAG if name in fixed else 0))
            return replace(font, style="unicode") if name in naming_phi else font

        return font_at

    def _described_name(self, font: int) -> str:
        if font not in self._described:
            kind, descriptor = self._document.xref_get_key(font, "FontDescriptor")
            key = self._document.xref_get_key(int(descriptor.split()[0]), "FontName") if kind == "xref" else ("", "")
            self._described[font] = key[1].removeprefix("/") if key[0] == "name" else ""
        return self._described[font]

    def _fixed_fonts(self, fonts: list[Any]) -> set[str]:
        """Fonts of a page that have no telling name, as TeX's bitmaps, and whose letters are all of one width."""
        fixed = set()
        for xref, _, kind, name, *_ in fonts:
            if kind == "Type3":
                if xref not in self._is_fixed:
                    first, widths = self._widths(xref)
                    self._is_fixed[xref] = _is_fixed({chr(code): width for code, width in enumerate(widths, first)})
                if self._is_fixed[xref]:
                    fixed.add(name)
        return fixed

    def _widths(self, xref: int) -> tuple[int, list[float]]:
        """The first place of a simple font's characters, and their widths."""
        kind, array = self._document.xref_get_key(xref, "Widths")
        if kind == "xref":
            array = self._document.xref_object(int(array.split()[0]))
        first = re.fullmatch(r"\d{1,3}", self._document.xref_get_key(xref, "FirstChar")[1])
        widths = re.findall(r"-?\d*\.?\d+", array)[:256] if first and kind in ("xref", "array") else []
        return int(first[0]) if first else 0, list(map(float, widths))

    def image(self, number: int, *, longest_px: int = 1536) -> bytes:
        """Page `number` drawn as PNG."""
        import pymupdf

        page = self._document[number]
        zoom = longest_px / max(1.0, page.rect.width, page.rect.height)
        matrix = pymupdf.Matrix(zoom, zoom)  # type: ignore[no-untyped-call]
        return bytes(page.get_pixmap(matrix=matrix, alpha=False).tobytes("png"))


@contextmanager
def open_pdf(data: bytes) -> Iterator[Reader]:
    """The file, open.

    Raises:
        PdfError: it is damaged, has no page or far too many, or needs a password.
        DataError: PyMuPDF is not installed.
    """
    try:
        import pymupdf
    except ImportError:
        raise DataError("reading PDF needs PyMuPDF. Run `pip install 'mimo-data[pdf]'`.") from None
    pymupdf.TOOLS.mupdf_display_errors(False)  # type: ignore[no-untyped-call]
    pymupdf.TOOLS.mupdf_display_warnings(False)  # type: ignore[no-untyped-call]
    flags = (
        pymupdf.TEXT_PRESERVE_WHITESPACE
        | pymupdf.TEXT_MEDIABOX_CLIP
        # Glyphs of TeX's symbol fonts often have no Unicode; their place in the font says what they are.
        | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
    )
    try:
        document = pymupdf.open(stream=data, filetype="pdf")  # type: ignore[no-untyped-call]
        encrypted, num_pages = bool(document.needs_pass), 0 if document.needs_pass else document.page_count
    except Exception as error:
        raise PdfError("broken", f"not a readable PDF: {error}. Get the file again.") from None
    with document:
        if encrypted:
            raise PdfError("encrypted", "the PDF needs a password. Decrypt it, or leave it out.")
        if not num_pages:
            raise PdfError("broken", "not a readable PDF: it has no page. Get the file again.")
        if num_pages > _MAX_PAGES:
            raise PdfError("too_large", f"the PDF has {num_pages} pages, the limit is {_MAX_PAGES}. Split it.")
        yield Reader(document, flags)


def _check_texts(log: list[Any]) -> None:
    """Forms that draw each other make text without end of a small file, and a character costs a kilobyte."""
    if sum(kind.endswith("text") for kind, *_ in log) > _MAX_TEXTS:
        raise PdfError("too_large", f"a page draws more than {_MAX_TEXTS} pieces of text. Leave the file out.")


def _raise_unless_damage(error: Exception) -> None:
    """Too much text, and a lack of memory that MuPDF tells in an error like its others, are no damage of a page."""
    if isinstance(error, PdfError):
        raise error
    if "alloc" in str(error):
        raise MemoryError from None


def _is_fixed(widths: dict[str, float]) -> bool:
    drawn = {letter: width for letter, width in widths.items() if width > 0}
    if drawn.keys().isdisjoint("ijl.,") or drawn.keys().isdisjoint("mwMW"):
        return False
    return max(drawn.values()) < 1.01 * min(drawn.values())


def _read_pieces(
    content: dict[str, Any],
    layer: Layer,
    named: set[str],
    font_at: Callable[[dict[str, Any]], Font],
    reaches: Callable[[], Reaches],
) -> None:
    num_glyphs = num_hidden = 0
    bracket: Glyph | None = None
    step = 0.0
    for number, block in enumerate(content["blocks"]):
        for line in block.get("lines", ()):
            if line["dir"][0] < 0.9:
                continue
            glyphs: list[Glyph] = []
            for span in line["spans"]:
                size = span["size"]
                font = font_at(span)
                hidden = span.get("alpha", 255) == 0
                for char in span["chars"]:
                    text = char["c"]
                    x0, _, x1, _ = char["bbox"]
                    y, height = char["origin"][1], 0.0
                    # Nearly all characters are plain ones: the rest of this loop is about others.
                    if char["synthetic"]:
                        text = " "
                    elif font.is_math or not " " <= text < "\x7f":
                        if text == "\ufffd" or "\ue000" <= text <= "\uf8ff" or (text < " " and not font.is_extension):
                            layer.num_unknown += not (font.is_extension or "\uf8e5" <= text <= "\uf8fe")
                        if font.is_extension and span["font"] in named:
                            text, height = font.read_named(text, (x1 - x0) / max(size, 0.1))
                        else:
                            text, height = font.read(text)
                        if text in _MAY_BE_TALL and not height and (font.style == "math" or text in BIG or text == "√"):
                            y, height = _hung(char, size, reaches())
                    if x1 - x0 < 0.01 and glyphs and abs(glyphs[-1].x1 - x0) < 0.01 and text.isalpha():
                        # The second letter of a ligature comes without a width: the next may be set before it.
                        glyphs[-1].x1 = x0 = (glyphs[-1].x0 + x1) / 2
                    if height and text in PIECES:
                        if bracket is not None and _goes_on(bracket, text, x0, y):
                            step = step or (y - bracket.y) / bracket.size
                            # newtx's pieces are all as short as the first.
                            height = step if step < _MAX_SHORT_PIECE else height
                            bracket.height = height + (y - bracket.y) / bracket.size
                            continue
                        bracket, step = Glyph(text, x0, x1, y, size, font, height), 0.0
                        glyphs.append(bracket)
                    elif text:
                        glyph = Glyph(text, x0, x1, y, size, font, height)
                        marked = glyphs and (text in _MARKS or glyphs[-1].text in _MARKS)
                        if not (marked and _is_composed(glyphs[-1], glyph)):
                            glyphs.append(glyph)
                num_hidden += len(span["chars"]) if hidden else 0
            num_glyphs += len(glyphs)
            if num_glyphs > _MAX_GLYPHS or not all(map(math.isfinite, line["bbox"])):
                continue
            layer.pieces += [_piece(part, number) for part in _parts(glyphs)]
    layer.hidden_share = num_hidden / max(1, num_glyphs)


def _is_composed(last: Glyph, glyph: Glyph) -> bool:
    """Whether one of two glyphs is the other's accent, as TeX's older fonts draw them: the first becomes both then."""
    mark, letter = (last, glyph) if last.text in _MARKS else (glyph, last)
    text = unicodedata.normalize("NFC", _DOTLESS.get(letter.text, letter.text) + _MARKS[mark.text])
    if (
        letter.font != mark.font
        or not letter.x0 - 0.1 * letter.size < (mark.x0 + mark.x1) / 2 < letter.x1 + 0.1 * letter.size
        or not letter.text.isalpha()
        or len(text) > 1
    ):
        return False
    last.text, last.x0, last.x1, last.y, last.size = text, letter.x0, letter.x1, letter.y, letter.size
    return True


def _goes_on(bracket: Glyph, piece: str, x0: float, y: float) -> bool:
    """Whether a piece stands where those of a tall bracket before it end."""
    return (
        PIECES[bracket.text] == PIECES[piece]
        and abs(bracket.x0 - x0) < 0.2 * bracket.size
        and bracket.y < y < bracket.bottom + 0.3 * bracket.size
    )


def _hung(char: dict[str, Any], size: float, reaches: Reaches) -> tuple[float, float]:
    """Origin and height in ems of a character as if it hung from its origin, as TeX's tall ones do; 0 if it is low."""
    text, origin = char["c"], char["origin"]
    top, bottom = reaches.get((text, *origin), (0.0, 0.0))
    if bottom - top < _MIN_HEIGHT * size and not (text == "√" and bottom > top):
        return origin[1], 0.0
    return top + 0.04 * size, (bottom - top) / size - 0.04


def _parts(glyphs: list[Glyph]) -> list[list[Glyph]]:
    """Glyphs of one line, divided where columns or cells are."""
    parts: list[list[Glyph]] = [[]]
    end: float | None = None
    for glyph in glyphs:
        blank = glyph.text.isspace()
        if not blank and end is not None and glyph.x0 - end > 2 * glyph.size and not glyph.font.monospaced:
            parts.append([])
        parts[-1].append(glyph)
        end = end if blank else glyph.x1
    return [part for part in parts if any(not glyph.text.isspace() for glyph in part)]


def _piece(glyphs: list[Glyph], block: int) -> Piece:
    visible = [glyph for glyph in glyphs if not glyph.text.isspace()]
    text = "".join([glyph.text for glyph in glyphs]).strip()
    x0 = min([glyph.x0 for glyph in visible])
    x1 = max([glyph.x1 for glyph in visible])
    sizes = Counter([glyph.size for glyph in visible])
    size = max(sizes, key=lambda size: (sizes[size], size))
    baseline = max([glyph.y for glyph in visible if glyph.size == size])
    level = len(sizes) == 1 and not any(abs(g.y - baseline) > 0.05 or g.height or g.text in BIG for g in visible)
    return Piece(glyphs, x0, baseline - 0.75 * size, x1, baseline + 0.25 * size, size, block, text, level)


def _read_roots(drawings: list[dict[str, Any]], layer: Layer) -> None:
    """Roots on web pages of KaTeX, whose sign and bar are one clipped path."""
    start = end = 0.0
    for drawing in drawings:
        if drawing["type"] == "clip":
            start, _, end, _ = drawing["scissor"]
        elif drawing["type"] == "f" and drawing["rect"].width > _ENDLESS * layer.width:
            x0, y0, x1, y1 = drawing["rect"]
            size = (x1 - x0) / _ROOT
            sign = Glyph("√", x0, x0 + 0.75 * size, y0 + 0.04 * size, size, font_of("KaTeX_Main", 0), (y1 - y0) / size)
            # Arrows and braces over formulas are lower.
            if sign.height > 0.9 and abs(start - x0) < 2 and sign.x1 < end < layer.width:
                layer.pieces.append(_piece([sign], -1))
                layer.rows.append(Rule(sign.x1, y0, end, y0 + 0.04 * size))


def _read_bullets(log: list[Any], layer: Layer, *, is_printed: bool) -> None:
    """Marks of lists, which Chrome draws: filled dots and squares, and circles with room for the end of their line.

    Beamer draws squares; elsewhere than in prints of browsers several stand below each other, before more than names,
    as in legends.
    """
    kinds = ("fill-path", "stroke-path") if is_printed else ("fill-path",)
    marks = [
        (x0, y0, x1, y1)
        for kind, (x0, y0, x1, y1) in log[:_MAX_PATHS]
        if kind in kinds and 2 < x1 - x0 < 14 and abs((x1 - x0) - (y1 - y0)) < 0.6
    ]
    if len(marks) > _MAX_BULLETS:
        return
    found: dict[int, dict[int, tuple[float, float]]] = {}
    for number, piece in enumerate(layer.pieces):
        baseline, size = piece.y1 - 0.25 * piece.size, piece.size
        for x0, y0, x1, y1 in marks:
            gap, height = piece.x0 - (x0 + x1) / 2, baseline - (y0 + y1) / 2
            if 0.5 * size < gap < 1.8 * size and 0.1 * size < height < 0.6 * size and x1 - x0 < 0.9 * size:
                found.setdefault(round(x0), {})[number] = (x0, x1)
                break
    for column in found.values():
        length = sum(len(layer.pieces[number].text) for number in column) / len(column)
        if not is_printed and (len(column) < _MIN_BULLETS or length < _MIN_ITEM):
            continue
        for number, (x0, x1) in column.items():
            piece = layer.pieces[number]
            baseline, size, font = piece.y1 - 0.25 * piece.size, piece.size, piece.glyphs[0].font
            mark = [Glyph("•", x0, x1, baseline, size, font), Glyph(" ", x1, piece.x0, baseline, size, font)]
            layer.pieces[number] = _piece(mark + piece.glyphs, piece.block)


def _read_paths(log: list[Any], turn: Turn, layer: Layer) -> None:
    area = 0.0
    for kind, box in log[:_MAX_PATHS]:
        x0, y0, x1, y1 = turn.box(box)
        is_image = kind in ("fill-image", "fill-imgmask")
        # Ghostscript makes the rules of dvips bitmaps.
        if kind.endswith("path") or (is_image and min(x1 - x0, y1 - y0) < _MAX_THICKNESS):
            layer.shapes.append((x0, y0, x1, y1))
            if y1 - y0 < _MAX_THICKNESS and x1 - x0 > 2.5:
                layer.rows.append(Rule(x0, y0, x1, y1))
            elif x1 - x0 < _MAX_THICKNESS and y1 - y0 > 5:
                layer.posts.append(Rule(x0, y0, x1, y1))
        elif is_image:
            layer.images.append((x0, y0, x1, y1))
            area += max(0.0, min(x1, layer.width) - max(x0, 0)) * max(0.0, min(y1, layer.height) - max(y0, 0))
        elif kind == "ignore-text":
            layer.hidden_share = max(layer.hidden_share, 0.01)
    if len(layer.rows) > _MAX_RULES:
        layer.rows.clear()
    layer.image_share = min(1.0, area / max(1.0, layer.width * layer.height))
