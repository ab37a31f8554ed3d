"""Words inside figures: numbers at axes, names in diagrams. They are no part of the text; the caption below them is.

A figure is what is drawn right above a line that begins with "Figure 3". What stands in it is left out if it is short:
a figure of sentences or of code is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mimo_data.pdf.textlayer import Area, Layer, Piece

_CAPTION = re.compile(r"(?:fig(?:ure|\.)?|abb(?:ildung|\.)?|图|圖|図)\s*\d", re.IGNORECASE)
_CAPTION_OF_TABLE = re.compile(r"tab(?:le|\.|elle)?\s*\d|表\s*\d", re.IGNORECASE)
_PANEL = re.compile(r"\([a-z]\)\s+\S")
"""The caption of a part of a figure."""
_CELL = 6.0
"""Points; what is drawn no further apart is one drawing."""
_MAX_CELLS = 200
"""Along a page's side; on a larger page, cells are larger."""
_MIN_SHAPES = 4
"""Of a drawing; fewer are the frame of something else."""
_THIN = 2.0
"""Points; rules of tables, formulas and frames."""
_MIN_IMAGE, _MAX_SHARE = 0.02, 0.8
"""Shares of the page: of a picture, and of a shape that is no background."""
_CLIPPED = 60.0
"""Points that a figure's own page may reach below its caption, where it is not shown."""
_REACH = 40.0
"""Points from a figure to its caption, and between its parts."""
_BESIDE, _ABOVE = 30.0, 15.0
"""Points from a drawing to the numbers at its axes and to its title."""
_MAX_PIECES = 3_000
"""Of a page; more are a drawing."""
_MAX_SIZE = 1.15
"""Of a plot's title, times the caption's; larger is a heading above it."""
_MAX_WORDS = 6
"""Of what stands in a figure; longer is a sentence."""
_MAX_TEXT = 0.25
"""Share of sentences and of code in a figure that is none of text."""


@dataclass(frozen=True, slots=True)
class _Drawing:
    area: Area
    num_shapes: int


def without_figures(layer: Layer) -> list[Piece]:
    """The pieces of a page that stand in none of its figures."""
    captions = [piece for piece in layer.pieces if _CAPTION.match(piece.text)]
    if not captions or len(layer.pieces) > _MAX_PIECES or not (drawings := _drawings(layer)):
        return layer.pieces
    text = [p for p in layer.pieces if _is_sentence(p) or _CAPTION.match(p.text) or _CAPTION_OF_TABLE.match(p.text)]
    taken: set[int] = set()
    for caption in captions:
        area = _figure(caption, drawings, text)
        if area is not None:
            taken.update(map(id, _labels(layer.pieces, text, area, caption)))
    return [piece for piece in layer.pieces if id(piece) not in taken]


def _labels(pieces: Sequence[Piece], text: Sequence[Piece], area: Area, caption: Piece) -> Iterator[Piece]:
    """What stands in a figure or around it, above its caption, and is none of the page's text."""
    around = (area[0] - _BESIDE, area[1] - _ABOVE, area[2] + _BESIDE, caption.y0)
    inside = [piece for piece in pieces if _is_inside(piece, around)]
    is_text = set(map(id, text))
    num_text = sum(len(piece.text) for piece in inside if id(piece) in is_text or _is_code(piece))
    if num_text > _MAX_TEXT * sum(len(piece.text) for piece in inside):
        return
    lines = [piece for piece in text if not _is_inside(piece, area)]
    others = [piece for piece in pieces if not _is_inside(piece, around)] + lines
    for piece in inside:
        if id(piece) in is_text or _PANEL.match(piece.text) or any(_is_below(piece, line) for line in lines):
            continue
        is_at_side = not area[0] < (piece.x0 + piece.x1) / 2 < area[2]
        if _is_inside(piece, area) or not (
            (piece.size > _MAX_SIZE * caption.size and piece.text[:1].isalpha())
            or any(_is_beside(piece, other) for other in others)
            or (is_at_side and any(_is_in_column(piece, line) for line in lines))
        ):
            yield piece


def _is_below(piece: Piece, last: Piece) -> bool:
    """Whether a piece may be the end of a paragraph whose line before is `last`, which may be indented."""
    return 0 < piece.y1 - last.y1 < 1.5 * last.size and -3 * last.size < piece.x0 - last.x0 < 2


def _is_in_column(piece: Piece, line: Piece) -> bool:
    """Whether a line of text near a piece reaches over it, as in the column beside a figure."""
    return line.x0 - 1 < (piece.x0 + piece.x1) / 2 < line.x1 + 1 and abs(piece.y1 - line.y1) < _REACH


def _is_beside(piece: Piece, other: Piece) -> bool:
    """Whether a piece may be in the line of another, or a script of it."""
    apart = max(piece.x0 - other.x1, other.x0 - piece.x1)
    return abs(piece.y1 - other.y1) < 0.8 * other.size and apart < 3 * other.size


def _drawings(layer: Layer) -> list[_Drawing]:
    """What is drawn close together, with how many shapes it has besides rules."""
    page = layer.width * layer.height
    shapes: list[tuple[Area, int]] = [
        ((x0, y0, x1, y1), x1 - x0 > _THIN and y1 - y0 > _THIN)
        for x0, y0, x1, y1 in layer.shapes
        if 0 <= (x1 - x0) * (y1 - y0) < _MAX_SHARE * page
    ]
    shapes += [
        (area, _MIN_SHAPES)
        for area in layer.images
        if _MIN_IMAGE * page < (area[2] - area[0]) * (area[3] - area[1]) < _MAX_SHARE * page
    ]
    side = max(_CELL, max(layer.width, layer.height) / _MAX_CELLS)
    boxes = [
        (_cell(x0, layer.width, side), _cell(y0, layer.height, side),
         _cell(x1, layer.width, side), _cell(y1, layer.height, side))
        for (x0, y0, x1, y1), _ in shapes
    ]  # fmt: skip
    number_of = _components(_covered(boxes))
    drawings: dict[int, _Drawing] = {}
    for (area, num_shapes), (column, row, _, _) in zip(shapes, boxes, strict=True):
        number = number_of[column, row]
        drawing = drawings.setdefault(number, _Drawing(area, 0))
        drawings[number] = _Drawing(_union(drawing.area, area), drawing.num_shapes + num_shapes)
    return list(drawings.values())


def _cell(place: float, end: float, side: float) -> int:
    """The row or column of a place; what is beyond the page's edge counts as at it."""
    return int(min(max(place, 0.0), end) // side)


def _covered(boxes: Sequence[tuple[int, int, int, int]]) -> set[tuple[int, int]]:
    """The cells (column, row) of these boxes, ends included."""
    num_columns = max((right for _, _, right, _ in boxes), default=0) + 2
    num_rows = max((bottom for *_, bottom in boxes), default=0) + 2
    steps = [[0] * num_columns for _ in range(num_rows)]
    for left, top, right, bottom in boxes:
        steps[top][left] += 1
        steps[top][right + 1] -= 1
        steps[bottom + 1][left] -= 1
        steps[bottom + 1][right + 1] += 1
    covered: set[tuple[int, int]] = set()
    above = [0] * num_columns
    for row, line in enumerate(steps):
        above = [count + step for count, step in zip(above, line, strict=True)]
        covered.update((column, row) for column, depth in enumerate(accumulate(above)) if depth)
    return covered


def _components(cells: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A number for the cells that touch each other."""
    number_of: dict[tuple[int, int], int] = {}
    for number, start in enumerate(sorted(cells)):
        if start in number_of:
            continue
        number_of[start] = number
        waiting = [start]
        while waiting:
            column, row = waiting.pop()
            for near in ((column + x, row + y) for x in (-1, 0, 1) for y in (-1, 0, 1)):
                if near in cells and near not in number_of:
                    number_of[near] = number
                    waiting.append(near)
    return number_of


def _union(a: Area, b: Area) -> Area:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _figure(caption: Piece, drawings: Sequence[_Drawing], text: Sequence[Piece]) -> Area | None:
    """The figure of a caption: what is drawn above it and beside that, with no text between."""
    area: Area = (caption.x0, caption.y0, caption.x1, caption.y0)
    num_shapes = 0
    # What a figure's own page has beyond its frame is clipped.
    waiting = [
        drawing
        for drawing in drawings
        if drawing.num_shapes and drawing.area[1] < caption.y0 - _ABOVE and drawing.area[3] < caption.y0 + _CLIPPED
    ]
    while near := next((d for d in waiting if _is_next(d.area, area, text)), None):
        area = _union(area, (*near.area[:3], min(near.area[3], caption.y0)))
        num_shapes += near.num_shapes
        waiting.remove(near)
    return area if num_shapes >= _MIN_SHAPES else None


def _is_next(new: Area, area: Area, text: Sequence[Piece]) -> bool:
    """Whether a drawing is part of a figure of which this much is known."""
    across = max(new[0] - area[2], area[0] - new[2])
    down = max(new[1] - area[3], area[1] - new[3])
    if across > 2 * _REACH or down > _REACH or (across > 0 and down > 0):
        return False
    between = (
        (min(new[2], area[2]), max(new[1], area[1]), max(new[0], area[0]), min(new[3], area[3]))
        if across > 0
        else (max(new[0], area[0]), min(new[3], area[3]), min(new[2], area[2]), max(new[1], area[1]))
    )
    return not any(
        piece.x1 > between[0] and piece.x0 < between[2] and between[1] < (piece.y0 + piece.y1) / 2 < between[3]
        for piece in text
    )


def _is_inside(piece: Piece, area: Area) -> bool:
    x, y = (piece.x0 + piece.x1) / 2, (piece.y0 + piece.y1) / 2
    return area[0] < x < area[2] and area[1] < y < area[3]


def _is_sentence(piece: Piece) -> bool:
    return len(re.findall(r"\b[^\W\d_]+\b", piece.text)) > _MAX_WORDS


def _is_code(piece: Piece) -> bool:
    return all(glyph.font.monospaced for glyph in piece.glyphs)
