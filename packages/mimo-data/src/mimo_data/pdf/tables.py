"""Tables as Markdown, told by cells that stand below each other, with rules between them or without.

A cell that spans columns stands in each of them; lines of one cell are joined. Not covered: cells that
span rows (they stand in the first), and tables turned by 90 degrees.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mimo_data.pdf.layout import Row
from mimo_data.pdf.textlayer import Glyph, Rule

_GAP = 0.9
"""White space between two cells, in ems."""

_MAX_OVERLAP = 0.85
"""Lines of text that are nearer, in ems, would overlap if one stood below the other."""

_LINE_NUMBER = re.compile(r"\d{1,2}:$")
"""Of an algorithm."""


@dataclass(slots=True)
class _Cell:
    glyphs: list[Glyph]
    x0: float
    x1: float
    y: float

    @property
    def text(self) -> str:
        return "".join(glyph.text for glyph in self.glyphs).strip()


def find_tables(
    rows: Sequence[Row], rules: Sequence[Rule], may_be: Sequence[bool], text_of: Callable[[list[Glyph]], str]
) -> list[tuple[int, int, str]]:
    """The tables among a column's rows: first row, row after the last, Markdown.

    Args:
        rules: horizontal ones, longer than a word.
        may_be: whether each row may belong to a table; code and displayed formulas do not.
    """
    cells = [_cells(row) if ok else [] for row, ok in zip(rows, may_be, strict=True)]
    found: list[tuple[int, int, str]] = []
    start = 0
    while start < len(rows):
        if len(cells[start]) < 2:
            start += 1
            continue
        begin, end = start, _end(rows, cells, start, rules)
        # A head over several columns stands alone on its line, with rules below that say how far it goes.
        floor = found[-1][1] if found else 0
        while start > floor and len(cells[start - 1]) == 1 and _is_head(rows[start - 1], rows[start], rules):
            start -= 1
        table = _table(rows, cells, start, end, rules, text_of)
        if table is None:
            start = max(start + 1, begin + 1)
            continue
        found.append((start, end, table))
        start = end
    return found


def _is_head(row: Row, following: Row, rules: Sequence[Rule]) -> bool:
    below = [rule for rule in rules if row.y < rule.y < following.y]
    if not below or following.y - row.y >= 3 * row.size:
        return False
    left, right = min(rule.x0 for rule in below), max(rule.x1 for rule in below)
    return left < row.x0 and right > row.x1 and right - left > 1.3 * (row.x1 - row.x0)


def _cells(row: Row) -> list[_Cell]:
    """What stands together on each baseline of a row."""
    reach = row.x0
    for glyph in row.glyphs:
        if glyph.x0 - reach > _GAP * row.size and not glyph.text.isspace():
            break
        if glyph.x1 > reach and not glyph.text.isspace():
            reach = glyph.x1
    else:
        return [_cell([glyph for glyph in row.glyphs if not glyph.text.isspace()])]
    lines: list[list[Glyph]] = []
    scripts: list[Glyph] = []
    for glyph in row.glyphs:
        if glyph.text.isspace():
            continue
        if glyph.size < 0.85 * row.size or glyph.height:
            scripts.append(glyph)
            continue
        line = next((line for line in lines if abs(line[-1].y - glyph.y) < 0.35 * row.size), None)
        if line is None:
            lines.append([glyph])
        else:
            line.append(glyph)
    for glyph in scripts:
        nearest = min(lines, key=lambda line: abs(line[0].y - glyph.y), default=None)
        if nearest is None:
            lines.append([glyph])
        else:
            nearest.append(glyph)
    for line in lines:
        line.sort(key=lambda glyph: glyph.x0)
    cells: list[_Cell] = []
    for line in lines:
        group: list[Glyph] = []
        for glyph in line:
            apart = bool(group) and glyph.x0 - max(g.x1 for g in group[-3:]) > _GAP * row.size
            if apart and not (len(group) == 1 and group[0].text in "$€£¥"):
                cells.append(_cell(group))
                group = []
            group.append(glyph)
        cells.append(_cell(group))
    return sorted(cells, key=lambda cell: cell.x0)


def _cell(glyphs: list[Glyph]) -> _Cell:
    return _Cell(glyphs, min(g.x0 for g in glyphs), max(g.x1 for g in glyphs), glyphs[0].y)


def _end(rows: Sequence[Row], cells: Sequence[list[_Cell]], start: int, rules: Sequence[Rule]) -> int:
    """The row after the last that may still be of the table that starts here."""
    end = start + 1
    last_full = start
    while end < len(rows):
        gap = rows[end].top - rows[end - 1].bottom
        ruled = any(rows[end - 1].bottom - 2 < rule.y < rows[end].top + 2 for rule in rules)
        if gap > (3.0 if ruled else 1.6) * rows[start].size or not cells[end]:
            break
        if len(cells[end]) >= 2:
            last_full = end
        elif end - last_full > 2 or rows[end].x1 - rows[end].x0 > 0.75 * (
            max(row.x1 for row in rows) - min(row.x0 for row in rows)
        ):
            break
        end += 1
    return last_full + 1


def _table(
    rows: Sequence[Row], cells: Sequence[list[_Cell]], start: int, end: int, rules: Sequence[Rule],
    text_of: Callable[[list[Glyph]], str],
) -> str | None:  # fmt: skip
    full = [line for line in cells[start:end] if len(line) >= 2]
    x0, x1 = min(row.x0 for row in rows[start:end]), max(row.x1 for row in rows[start:end])
    top, bottom = rows[start].top, rows[end - 1].bottom
    own = [
        rule
        for rule in rules
        if top - 15 < rule.y < bottom + 15 and min(rule.x1, x1) - max(rule.x0, x0) > 0.3 * (x1 - x0)
    ]
    columns = _columns(full)
    if len(columns) < 2 or len(full) < 2 or (len(full) < 3 and len(own) < 2):
        return None
    if len(columns) < 3 and len({round(rule.y) for rule in own}) < 2:
        return None
    filled = sum(min(len(line), len(columns)) for line in full) / (len(full) * len(columns))
    lengths = [len(cell.text) for line in full for cell in line]
    if filled < 0.45 or sum(lengths) / len(lengths) > 60:
        return None
    if 2 * sum(bool(_LINE_NUMBER.match(line[0].text)) for line in full) > len(full):
        return None
    if not own and any(re.match(r"[-–•\d]{1,3}[.)]?$", line[0].text) for line in full) and len(columns) < 3:
        return None
    if not own and any(cell.x1 - cell.x0 > 0.6 * (x1 - x0) and len(cell.text) > 40 for line in full for cell in line):
        return None
    # Without rules, cells must be as short as cells are: lines of two texts beside each other are not a table.
    if not own and sum(length > 30 for length in lengths) > 0.3 * len(lengths):
        return None
    lines = []
    for number in range(start, end):
        line = [""] * len(columns)
        for cell in sorted(cells[number], key=lambda cell: (round(cell.y), cell.x0)):
            text = escaped(re.sub(r"^([$€£¥]) ", r"\1", text_of(cell.glyphs)))
            below = (
                [rule for rule in rules if 0 < rule.y - cell.y < 0.8 * rows[number].size]
                if len(cells[number]) == 1
                else []
            )
            for column in _spanned(cell, columns, below):
                line[column] = f"{line[column]} {text}".strip()
        lines.append(line)
    near = [rule for rule in rules if rule.x1 > x0 and rule.x0 < x1]
    grid = _joined(lines, rows[start:end], near)
    return markdown(grid)


def markdown(grid: list[list[str]]) -> str:
    """Rows of cells, the first of which is the head."""
    head, *body = grid
    rule_line = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule_line, *body])


def escaped(text: str) -> str:
    """Without bars, which end a cell: in formulas they have another name."""
    return re.sub(r"\$[^$]*\$", lambda found: re.sub(r"(?<!\\)\|", r"\\vert ", found[0]), text).replace("|", r"\|")


def _spanned(cell: _Cell, columns: Sequence[tuple[float, float]], below: Sequence[Rule]) -> list[int]:
    """The columns that a cell stands in; rules right below it say how far a head reaches."""
    if below:
        left, right = min(rule.x0 for rule in below), max(rule.x1 for rule in below)
        under = [i for i, (x0, x1) in enumerate(columns) if x0 > left - 2 and x1 < right + 2]
        if len(under) > 1 and left < cell.x0 and cell.x1 < right:
            return under
    found = [
        i
        for i, (left, right) in enumerate(columns)
        if min(right, cell.x1) - max(left, cell.x0) > 0.3 * min(right - left, cell.x1 - cell.x0)
    ]
    return found or [min(range(len(columns)), key=lambda i: abs(columns[i][0] - cell.x0))]


def _joined(lines: list[list[str]], rows: Sequence[Row], rules: Sequence[Rule]) -> list[list[str]]:
    """Rows of the table: a line of one cell, nearer to a full row than these are to each other, is of that row."""
    full = [i for i, line in enumerate(lines) if sum(map(bool, line)) > 1]
    pitches = sorted(rows[b].y - rows[a].y for a, b in itertools.pairwise(full))
    pitch = pitches[len(pitches) // 2] if pitches else 0.0

    def ruled(a: int, b: int) -> bool:
        return any(rows[a].y < rule.y < rows[b].y - 0.5 * rows[b].size for rule in rules)

    into: dict[int, int] = {}
    for i, line in enumerate(lines):
        if sum(map(bool, line)) != 1 or len(line) < 3:
            # Cells of a row that stand lower than others, because they span it and the next.
            is_near = i > 0 and i - 1 not in into and rows[i].y - rows[i - 1].y < _MAX_OVERLAP * rows[i].size
            if is_near and not any(a and b for a, b in zip(lines[i - 1], line, strict=True)):
                into[i] = i - 1
            continue
        above = rows[i].y - rows[i - 1].y if i and i - 1 in full and not ruled(i - 1, i) else 1e9
        below = rows[i + 1].y - rows[i].y if i + 1 in full and not ruled(i, i + 1) else 1e9
        if min(above, below) < 0.85 * max(pitch, rows[i].size):
            into[i] = i - 1 if above <= below else i + 1
    grid: list[list[str]] = []
    for i in range(len(lines)):
        if i in into:
            continue
        parts = sorted([i, *(j for j, target in into.items() if target == i)])
        grid.append([" ".join(filter(None, (lines[j][c] for j in parts))) for c in range(len(lines[i]))])
    return grid


def _columns(lines: Sequence[list[_Cell]]) -> list[tuple[float, float]]:
    """Left and right end of each column, from the rows with most cells; wide cells over several are heads."""
    most = sorted(len(line) for line in lines)[int(0.8 * (len(lines) - 1))]
    columns: list[tuple[float, float]] = []
    ordered = sorted(
        (cell for line in lines if len(line) >= 0.7 * most for cell in line), key=lambda cell: cell.x1 - cell.x0
    )
    for cell in ordered:
        touched = [i for i, (left, right) in enumerate(columns) if min(right, cell.x1) > max(left, cell.x0)]
        if not touched:
            columns.append((cell.x0, cell.x1))
        elif len(touched) == 1:
            left, right = columns[touched[0]]
            columns[touched[0]] = (min(left, cell.x0), max(right, cell.x1))
    # Growing may have made two meet.
    columns.sort()
    merged: list[tuple[float, float]] = []
    for left, right in columns:
        if merged and left < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(right, merged[-1][1]))
        else:
            merged.append((left, right))
    return merged
