"""Tables with lines between their cells: rules and posts that meet say where each cell is, whatever stands in it.

A cell over several columns stands in each of them, one over several rows in the first. What has lines but no
text in most of its cells, as a plot has, is no table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mimo_data.pdf.layout import Row, lines_of
from mimo_data.pdf.tables import escaped, markdown
from mimo_data.pdf.textlayer import Glyph, Piece, Rule

_NEAR = 2.5
"""Points between lines that meet."""
_MIN_FILLED = 0.5
_MAX_CELLS = 1_000
_MAX_CHARACTERS = 600
"""In one cell; more are columns of text in a frame."""
_MANY_LINES = 5
_PADDING = 8
"""Points between a cell's text and its lines, both sides together."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table's lines."""

    xs: tuple[float, ...]
    """Where columns begin and the last one ends."""
    ys: tuple[float, ...]
    rules: tuple[Rule, ...]
    posts: tuple[Rule, ...]

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is inside."""
        return self.xs[0] < x < self.xs[-1] and self.ys[0] < y < self.ys[-1]

    def place(self, x: float, y: float) -> tuple[int, int]:
        """The row and column of a point, where cells that no line divides count as their first."""
        row = max(0, sum(y > top for top in self.ys) - 1)
        column = max(0, sum(x > left for left in self.xs) - 1)
        while column and not self._is_divided(self.posts, self.xs[column], y):
            column -= 1
        while row and not self._is_divided(self.rules, x, self.ys[row]):
            row -= 1
        return row, column

    def width(self, row: int, column: int) -> int:
        """How many columns the cell that begins there goes over."""
        y = (self.ys[row] + self.ys[row + 1]) / 2
        end = column + 1
        while end < len(self.xs) - 1 and not self._is_divided(self.posts, self.xs[end], y):
            end += 1
        return end - column

    @staticmethod
    def _is_divided(lines: Sequence[Rule], x: float, y: float) -> bool:
        return any(line.x0 - _NEAR < x < line.x1 + _NEAR and line.y0 - _NEAR < y < line.y1 + _NEAR for line in lines)


def find_grids(rules: Sequence[Rule], posts: Sequence[Rule], pieces: Sequence[Piece]) -> list[Grid]:
    """The tables of a page that have lines between their rows and columns."""
    found = []
    for top, bottom in _joined([(post.y0, post.y1) for post in posts]):
        inside = [rule for rule in rules if top - _NEAR < rule.y < bottom + _NEAR]
        for left, right in _joined([(rule.x0, rule.x1) for rule in inside]):
            upright = [p for p in posts if top - _NEAR < p.y < bottom + _NEAR and left - _NEAR < p.x0 < right + _NEAR]
            xs = _places([left, right, *((post.x0 + post.x1) / 2 for post in upright)])
            # Underlined words end elsewhere.
            level = [
                rule for rule in inside if all(min(abs(x - end) for x in xs) < _NEAR for end in (rule.x0, rule.x1))
            ]
            ys = _places([top, bottom, *(rule.y for rule in level)])
            grid = Grid(tuple(xs), tuple(ys), tuple(level), tuple(upright))
            num_lines = len(_places([rule.y for rule in level])), len(_places([post.x0 for post in upright]))
            # The axes of a plot are one of each.
            if len(xs) > 2 and len(ys) > 2 and num_lines[0] > 1 and sum(num_lines) > 3 and _is_table(grid, pieces):
                found.append(grid)
    return found


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that touch as one."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1] + _NEAR:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _places(values: Sequence[float]) -> list[float]:
    """Values, with those near to each other once."""
    places: list[float] = []
    for value in sorted(values):
        if not places or value > places[-1] + _NEAR:
            places.append(value)
    return places


def _is_table(grid: Grid, pieces: Sequence[Piece]) -> bool:
    num_cells = (len(grid.xs) - 1) * (len(grid.ys) - 1)
    if num_cells > _MAX_CELLS:
        return False
    lengths: dict[tuple[int, int], int] = {}
    for piece in pieces:
        x, y = (piece.x0 + piece.x1) / 2, (piece.y0 + piece.y1) / 2
        if grid.holds(x, y):
            place = grid.place(x, y)
            lengths[place] = lengths.get(place, 0) + len(piece.text)
    filled = sum(grid.width(row, column) for row, column in lengths)
    cells_of = Counter(row for row, _ in lengths)
    return (
        filled >= _MIN_FILLED * num_cells
        and sum(count > 1 for count in cells_of.values()) > 1
        and max(lengths.values()) < _MAX_CHARACTERS
    )


def with_grids_whole(pieces: Sequence[Piece], grids: Sequence[Grid]) -> list[Piece]:
    """Pieces, with those of each grid as one, so that its columns are not taken for a page's."""
    rest = list(pieces)
    for grid in grids:
        own = [piece for piece in rest if grid.holds((piece.x0 + piece.x1) / 2, (piece.y0 + piece.y1) / 2)]
        if not own:
            continue
        taken = set(map(id, own))
        rest = [piece for piece in rest if id(piece) not in taken]
        glyphs = [glyph for piece in own for glyph in piece.glyphs]
        x0, y0 = min(piece.x0 for piece in own), min(piece.y0 for piece in own)
        x1, y1 = max(piece.x1 for piece in own), max(piece.y1 for piece in own)
        text = " ".join(piece.text for piece in own)
        rest.append(Piece(glyphs, x0, y0, x1, y1, own[0].size, own[0].block, text, level=False))
    return rest


def grid_tables(
    rows: Sequence[Row], grids: Sequence[Grid], text_of: Callable[[Row], str]
) -> list[tuple[int, int, str]]:
    """The tables of grids among a column's rows: first row, row after the last, Markdown."""
    found = []
    for grid in grids:
        own = [number for number, row in enumerate(rows) if grid.holds((row.x0 + row.x1) / 2, row.y - 0.3 * row.size)]
        outside = any(not grid.xs[0] < g.x0 < grid.xs[-1] for number in own for g in rows[number].glyphs)
        if own and own[-1] - own[0] == len(own) - 1 and not outside:
            found.append((own[0], own[-1] + 1, _table([rows[number] for number in own], grid, text_of)))
    return found


def _table(rows: Sequence[Row], grid: Grid, text_of: Callable[[Row], str]) -> str:
    cells: dict[tuple[int, int], list[Glyph]] = {}
    for row in rows:
        for glyph in row.glyphs:
            place = grid.place((glyph.x0 + glyph.x1) / 2, (glyph.top + glyph.bottom) / 2)
            cells.setdefault(place, []).append(glyph)
    bands: list[dict[int, list[Row]]] = [{} for _ in pairwise(grid.ys)]
    for place, glyphs in cells.items():
        bars = [rule for row in rows for rule in row.rules if grid.place((rule.x0 + rule.x1) / 2, rule.y) == place]
        if lines := lines_of(glyphs, bars):
            bands[place[0]][place[1]] = lines
    columns = sorted({column for band in bands for column in band})
    table = []
    for number, band in enumerate(bands):
        widths = {column: grid.width(number, column) for column in band}
        for cells_of in _rows_of(band, {c: grid.xs[c + widths[c]] - grid.xs[c] for c in band}):
            texts = {column: escaped(" ".join(map(text_of, cells_of[column]))) for column in cells_of}
            over = {first + i: text for first, text in texts.items() for i in range(widths[first])}
            table.append([over.get(column, "") for column in columns])
    return markdown(table)


def _rows_of(band: dict[int, list[Row]], widths: dict[int, float]) -> list[dict[int, list[Row]]]:
    """What stands between two rules as rows of the table: one, unless the lines of its cells could have been longer."""
    if not band:
        return []
    breaks = [
        (last.x1 - last.x0) + _first_word(line) < widths[column] - _PADDING
        for column, lines in band.items()
        for last, line in pairwise(lines)
    ]
    heights: list[tuple[float, list[int]]] = []
    for y, column in sorted((line.y, column) for column, lines in band.items() for line in lines):
        if heights and y - heights[-1][0] < _NEAR:
            heights[-1][1].append(column)
        else:
            heights.append((y, [column]))
    whole = [
        y for y, columns in heights if len(columns) > 1 and (min(band) in columns or 2 * len(columns) >= len(band))
    ]
    is_several = 2 * sum(breaks) > len(breaks) or _is_alike([len(lines) for lines in band.values()])
    if not is_several or not whole:
        return [band]
    rows: list[dict[int, list[Row]]] = [{} for _ in whole]
    for column, lines in band.items():
        for line in lines:
            nearest = min(range(len(whole)), key=lambda i: abs(whole[i] - line.y))
            rows[nearest].setdefault(column, []).append(line)
    return rows


def _is_alike(counts: Sequence[int]) -> bool:
    """Whether most cells of three or more have as many lines, as text that goes on seldom does."""
    most = max(counts)
    least = most if most < _MANY_LINES else most - 1
    alike = sum(count >= least for count in counts)
    return most > 1 and alike > 2 and alike > 0.6 * len(counts)


def _first_word(row: Row) -> float:
    """Its width, with the blank that would be before it."""
    blank = next((glyph for glyph in row.glyphs[1:] if glyph.text.isspace()), None)
    return (row.x1 if blank is None else blank.x0) - row.x0 + 0.25 * row.size
