"""Where things stand on a page: columns in reading order, and the rows of each column.

Columns are found by the white gaps between them, so there may be any number; what crosses a gap (a title, a
wide figure's caption) divides the page into bands that are read one after the other.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mimo_data.pdf.boxes import core
from mimo_data.pdf.symbols import ARROWS, IDEOGRAPHIC, LIST_MARKS
from mimo_data.pdf.textlayer import Glyph, Piece, Rule

_MIN_LINES = 5
"""A column has at least so many lines."""
_MIN_GAP = 0.9
"""Ems of white between a wide table or figure and columns of text."""
_MAX_BANDS = 60
"""Parts of a page between such gaps; with more it is no page of text."""
_MIN_WIDE_GAP = 2.6
"""Ems of white that divide a page, as between rows of cards."""
_MIN_LINE = 25
"""Characters; lines of text in columns are longer on average."""
_MIN_LETTERS = 12
"""On one baseline: more are a line of words."""
_MAX_LETTERS_OF_CASE = 40
_MIN_HEIGHT_OF_CASES = 1.7
"""Ems."""
_MAX_GAP_OF_NUMBER = 2.5
"""Ems between a number and its line of a listing."""
_MAX_WIDTH = 20_000.0
"""Points; no page of text is wider (14,400 is the format's own limit)."""


_LONG_ARROWS = {"=⇒": "⟹", "⇐⇒": "⟺", "⇐=": "⟸", "−→": "⟶", "←→": "⟷", "←−": "⟵"}
# What stands apart before an item of a list, often without a blank.
_BULLETS = frozenset(LIST_MARKS + "–—-")


@dataclass(slots=True)
class Row:
    """What stands on one line of a column, from left to right, blanks among it."""

    glyphs: list[Glyph]
    rules: list[Rule]
    x0: float
    x1: float
    y: float
    """The baseline of most of it."""
    top: float
    bottom: float
    size: float
    code: bool
    bold: bool
    text: str


def columns(pieces: Sequence[Piece], width: float, *, depth: int = 0) -> list[list[Piece]]:
    """Pieces by column and band, in reading order."""
    if not pieces:
        return []
    gutter = _gutter(pieces, width) if depth < 4 and len(pieces) >= 2 * _MIN_LINES else None
    if gutter is None:
        parts = _with_columns_apart(pieces, width) if depth < 2 else []
        return [column for part in parts for column in columns(part, width, depth=depth + 1)] or [list(pieces)]
    # A white band over the whole width, as between rows of cards, divides before columns do.
    return [column for band in _bands(pieces, _MIN_WIDE_GAP) for column in _divided(band, gutter, width, depth)]


def _with_columns_apart(pieces: Sequence[Piece], width: float) -> list[list[Piece]]:
    """The upper and the lower part of a page of which one is in two columns, below or above a wide table or figure."""
    middle = (min(p.x0 for p in pieces) + max(p.x1 for p in pieces)) / 2
    if min(sum(p.x1 < middle for p in pieces), sum(p.x0 > middle for p in pieces)) < _MIN_LINES:
        return []
    bands = _bands(pieces, _MIN_GAP)
    if len(bands) > _MAX_BANDS:
        return []
    parts = [
        ([p for band in bands[:end] for p in band], [p for band in bands[end:] for p in band])
        for end in range(1, len(bands))
    ]
    # The largest part first, so that it has all of the columns.
    for upper, lower in parts:
        if _is_in_two(lower, width):
            return [upper, lower]
    for upper, lower in reversed(parts):
        if _is_in_two(upper, width):
            return [upper, lower]
    return []


def _is_in_two(pieces: Sequence[Piece], width: float) -> bool:
    """Whether two columns of text, alike, stand beside each other; columns of a table seldom are."""
    gutter = _gutter(pieces, width) if len(pieces) >= 2 * _MIN_LINES else None
    if gutter is None:
        return False
    left, right = [p for p in pieces if p.x1 <= gutter + 1], [p for p in pieces if p.x0 >= gutter - 1]
    widths = [max(p.x1 for p in side) - min(p.x0 for p in side) for side in (left, right)]
    is_text = all(sum(len(p.text) for p in side) > _MIN_LINE * len(side) for side in (left, right))
    return is_text and len(left) + len(right) == len(pieces) and min(widths) > 0.85 * max(widths)


def _divided(pieces: Sequence[Piece], gutter: float, width: float, depth: int) -> list[list[Piece]]:
    """Pieces left of the gutter before those right of it, between what crosses it."""
    ordered: list[list[Piece]] = []
    band: list[Piece] = []
    across: list[Piece] = []

    def close() -> None:
        for side in ([p for p in band if p.x1 <= gutter + 1], [p for p in band if p.x1 > gutter + 1]):
            ordered.extend(columns(side, width, depth=depth + 1))
        band.clear()

    for piece in sorted(pieces, key=lambda piece: (piece.y0, piece.x0)):
        crosses = piece.x0 < gutter - 1 and piece.x1 > gutter + 1
        if crosses or (across and _same_row(piece, across[-1])):
            if band:
                overlapping = [p for p in band if _same_row(p, piece)]
                for other in overlapping:
                    band.remove(other)
                close()
                across.extend(overlapping)
            across.append(piece)
        else:
            if across:
                ordered.append(list(across))
                across.clear()
            band.append(piece)
    if across:
        ordered.append(list(across))
    close()
    return ordered


def _bands(pieces: Sequence[Piece], gap: float) -> list[list[Piece]]:
    """Pieces divided where nothing stands for a height of `gap` ems."""
    sizes = sorted(piece.size for piece in pieces)
    least = gap * sizes[len(sizes) // 2]
    bands: list[list[Piece]] = []
    reach = float("-inf")
    for piece in sorted(pieces, key=lambda piece: piece.y0):
        if piece.y0 - reach > least:
            bands.append([])
        bands[-1].append(piece)
        reach = max(reach, piece.y1)
    return bands


def _same_row(a: Piece, b: Piece) -> bool:
    return min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5 * min(a.y1 - a.y0, b.y1 - b.y0)


def _gutter(pieces: Sequence[Piece], width: float) -> float | None:
    """The middle of a vertical white gap with columns on both sides; the one that fewest pieces cross."""
    left_end, right_end = min(p.x0 for p in pieces), max(p.x1 for p in pieces)
    if right_end - left_end < 0.3 * width or right_end - left_end > _MAX_WIDTH:
        return None
    start, num_bins = int(left_end), int(right_end - left_end) + 2
    cover = [0] * (num_bins + 1)
    for piece in pieces:
        cover[max(0, int(piece.x0) - start)] += 1
        cover[min(num_bins, int(piece.x1) - start + 1)] -= 1
    running, counts = 0, []
    for change in cover[:num_bins]:
        running += change
        counts.append(running)
    limit = 0.2 * len(pieces)
    best: tuple[float, float] | None = None
    position = 0
    while position < num_bins:
        if counts[position] > limit:
            position += 1
            continue
        low = min(counts[position : position + 300])
        end = position
        while end < num_bins and counts[end] <= limit:
            end += 1
        low = min(counts[position:end])
        inner = [i for i in range(position, end) if counts[i] == low]
        middle = start + (inner[0] + inner[-1] + 1) / 2
        if end - position >= 6 and _divides(pieces, middle, width) and (best is None or low < best[0]):
            best = (low, middle)
        position = end
    return best[1] if best else None


def _divides(pieces: Sequence[Piece], x: float, width: float) -> bool:
    """Whether lines stand on both sides of x beside each other, long enough to be text and not cells."""
    # Bits of formulas and marks of lists say nothing about columns.
    left = [piece for piece in pieces if piece.x1 <= x + 1 and len(piece.text) > 8]
    right = [piece for piece in pieces if piece.x0 >= x - 1 and len(piece.text) > 8]
    for side in (left, right):
        if len(side) < _MIN_LINES:
            return False
        extent = max(p.x1 for p in side) - min(p.x0 for p in side)
        long = sum(1 for p in side if p.x1 - p.x0 > min(0.6 * extent, 0.18 * width))
        if extent < 0.14 * width or long < 0.25 * len(side) or sum(len(p.text) for p in side) < 16 * len(side):
            return False
    heights = sorted((p.y0, p.y1) for p in left)
    beside = sum(1 for a in right if any(y0 < a.y1 and a.y0 < y1 for y0, y1 in heights))
    return beside >= 0.4 * min(len(right), len(left))


def lines_of(glyphs: list[Glyph], rules: Sequence[Rule]) -> list[Row]:
    """The rows of what stands together, as in a cell of a table."""
    return rows([Piece(glyphs, 0.0, 0.0, 0.0, 0.0, 0.0, 0, "", level=False)], rules)


def rows(pieces: Sequence[Piece], rules: Sequence[Rule]) -> list[Row]:
    """The rows of one column, from the top; short rules (of fractions and roots) belong to them."""
    spans: list[tuple[float, float, list[Glyph], Rule | None]] = []
    for piece in pieces:
        if piece.level:
            baseline = piece.y1 - 0.25 * piece.size
            spans.append((baseline - 0.5 * piece.size, baseline, piece.glyphs, None))
            continue
        by_line: dict[float, list[Glyph]] = {}
        for glyph in piece.glyphs:
            by_line.setdefault(round(glyph.y, 1) if not glyph.height else -glyph.y - glyph.height, []).append(glyph)
        for glyphs in by_line.values():
            if all(glyph.text.isspace() for glyph in glyphs):
                continue
            top = min(core(glyph)[0] for glyph in glyphs)
            bottom = max(core(glyph)[1] for glyph in glyphs)
            spans.append((top, bottom, glyphs, None))
    spans += [(rule.y - rule.reach, rule.y + rule.reach, [], rule) for rule in rules]
    spans.sort(key=lambda span: span[0])
    found: list[tuple[list[Glyph], list[Rule]]] = []
    reach = float("-inf")
    for top, bottom, glyphs, rule in spans:
        if top > reach or not found:
            found.append(([], []))
            reach = bottom
        reach = max(reach, bottom)
        found[-1][0].extend(glyphs)
        if rule is not None:
            found[-1][1].append(rule)
    result: list[Row] = []
    for glyphs, own in _with_limits(found):
        if any(not glyph.text.isspace() for glyph in glyphs):
            result += [row_of(*part) for part in _untangled(glyphs, own)]
    return _without_line_numbers(result)


def _without_line_numbers(found: list[Row]) -> list[Row]:
    """Rows of listings without the numbers before them, which count lines and stand on empty ones, too."""
    numbered = {place: split for place, row in enumerate(found) if (split := _line_number(row)) is not None}
    values = [number for number, _, _ in numbered.values()]
    gaps = [start.x0 - end for _, end, start in numbered.values()]
    count = sum(after == before + 1 for before, after in itertools.pairwise(values))
    if 2 * count < len(values) or not gaps or min(gaps) > _MAX_GAP_OF_NUMBER * found[min(numbered)].size:
        return found
    ends = [end for _, end, _ in numbered.values()]
    kept: list[Row] = []
    for place, row in enumerate(found):
        if place in numbered:
            _, _, start = numbered[place]
            kept.append(row_of([glyph for glyph in row.glyphs if glyph.x0 >= start.x0], row.rules))
        elif not (row.text.isdigit() and any(abs(row.x1 - end) < 1 for end in ends)):
            kept.append(row)
    return kept


def _line_number(row: Row) -> tuple[int, float, Glyph] | None:
    """The number before a line of typewriter text, its right end, and where that text begins."""
    visible = [glyph for glyph in row.glyphs if not glyph.text.isspace()]
    start = next((place for place, glyph in enumerate(visible) if glyph.font.monospaced), 0)
    text, code = "".join(glyph.text for glyph in visible[:start]), visible[start:]
    if not re.fullmatch(r"[0-9]{1,4}", text) or not all(glyph.font.monospaced for glyph in code):
        return None
    end = visible[start - 1].x1
    return (int(text), end, code[0]) if code[0].x0 - end > 0.3 * code[0].size else None


def _with_limits(found: list[tuple[list[Glyph], list[Rule]]]) -> list[tuple[list[Glyph], list[Rule]]]:
    """Rows, with those put to their neighbour that are only the small limits of a sum or of `max`."""
    kept: list[tuple[list[Glyph], list[Rule]]] = []
    waiting: tuple[list[Glyph], list[Rule]] | None = None
    for group in found:
        if waiting is not None:
            if _is_limit(waiting[0], group[0]):
                group = (waiting[0] + group[0], waiting[1] + group[1])
            else:
                kept.append(waiting)
            waiting = None
        if kept and _is_limit(group[0], kept[-1][0]):
            kept[-1][0].extend(group[0])
            kept[-1][1].extend(group[1])
        elif len(group[0]) < 24:
            waiting = group
        else:
            kept.append(group)
    if waiting is not None:
        kept.append(waiting)
    return kept


def _is_limit(small: list[Glyph], large: list[Glyph]) -> bool:
    """Whether a few small glyphs stand close above or below something in the row beside them."""
    few = [glyph for glyph in small if not glyph.text.isspace()]
    near = [glyph for glyph in large if not glyph.text.isspace()]
    if not few or not near or len(few) > 16:
        return False
    size = max(glyph.size for glyph in near)
    if max(glyph.size for glyph in few) > 0.85 * size or any(glyph.font.monospaced for glyph in few):
        return False
    x0, x1 = min(glyph.x0 for glyph in few), max(glyph.x1 for glyph in few)
    touching = [glyph for glyph in near if glyph.x0 < x1 and glyph.x1 > x0 and glyph.size > 0.85 * size]
    if not touching or x0 < min(g.x0 for g in near) - size or x1 > max(g.x1 for g in near) + size:
        return False
    gap = max(
        min(core(g)[0] for g in few) - max(core(g)[1] for g in touching),
        min(core(g)[0] for g in touching) - max(core(g)[1] for g in few),
    )
    return gap < 0.5 * size


def _untangled(glyphs: list[Glyph], rules: list[Rule]) -> list[tuple[list[Glyph], list[Rule]]]:
    """Lines of words that something tall ties together, each with what is nearest to it."""
    baseline = glyphs[0].y
    if all(abs(glyph.y - baseline) < 5 for glyph in glyphs):
        return [(glyphs, rules)]
    lines = _baselines(glyphs)
    if len(lines) < 2:
        return [(glyphs, rules)]
    parts: list[tuple[list[Glyph], list[Rule]]] = [([], []) for _ in lines]

    def nearest(y: float) -> int:
        return min(range(len(lines)), key=lambda i: abs(lines[i] - y))

    for glyph in glyphs:
        parts[nearest(_middle(glyph))][0].append(glyph)
    for rule in rules:
        root = next((glyph for glyph in glyphs if is_bar_of(rule, glyph)), None)
        parts[nearest(rule.y + 2.5 if root is None else _middle(root))][1].append(rule)
    return [part for part in parts if any(not glyph.text.isspace() for glyph in part[0])]


def _baselines(glyphs: Sequence[Glyph]) -> list[float]:
    """Those of lines of words, and of what else must be a line beside one, from the top."""
    size = _common_size([glyph for glyph in glyphs if glyph.text.isalpha()])
    brace = brace_of_cases(glyphs)
    letters: dict[float, list[Glyph]] = {}
    for glyph in glyphs:
        if glyph.text.isalpha() and glyph.size > 0.85 * size and (brace is None or glyph.x0 < brace.x1):
            letters.setdefault(round(glyph.y, 1), []).append(glyph)
    of_words = {y: sum(not glyph.font.is_math for glyph in found) for y, found in letters.items()}
    lines: list[float] = []
    for y in sorted(y for y, count in of_words.items() if count >= _MIN_LETTERS):
        if not lines or y - lines[-1] > 5:
            lines.append(y)
        elif of_words[y] > of_words[lines[-1]]:
            lines[-1] = y
    if lines:
        # What has fewer is a line when no part of a fraction or matrix stands so far from the others.
        has_rows = any(glyph.height * glyph.size > _MIN_HEIGHT_OF_CASES * size for glyph in glyphs)
        width = max(glyph.x1 for glyph in glyphs) - min(glyph.x0 for glyph in glyphs)
        for y, found in sorted(letters.items()):
            extent = max(glyph.x1 for glyph in found) - min(glyph.x0 for glyph in found)
            is_wide = len(found) > 4 and extent > 0.25 * width and not has_rows
            if (of_words[y] > 1 or is_wide) and all(abs(y - line) > 1.05 * size for line in lines):
                lines.append(y)
    return sorted(lines)


def brace_of_cases(glyphs: Sequence[Glyph]) -> Glyph | None:
    """The leftmost brace, or its first piece, when it is tall and has lines of few words to its right."""
    pieces = sorted((g for g in glyphs if g.height and g.text in "{⎧⎨⎩⎪"), key=lambda piece: piece.x0)
    near = [piece for piece in pieces if piece.x0 - pieces[0].x0 < 0.3 * piece.size]
    if not near or max(p.bottom for p in near) - min(p.top for p in near) < _MIN_HEIGHT_OF_CASES * near[0].size:
        return None
    words = Counter(round(g.y) for g in glyphs if g.x0 > near[0].x1 and g.text.isalpha() and not g.font.is_math)
    return near[0] if max(words.values(), default=0) <= _MAX_LETTERS_OF_CASE else None


def _common_size(glyphs: Sequence[Glyph]) -> float:
    """The largest that is no exception: scripts may outnumber what they stand at, a large initial or brace may not."""
    weight = Counter([glyph.size for glyph in glyphs if not glyph.height])
    largest = max(weight, default=glyphs[0].size if glyphs else 0.0)
    return max((size for size, count in weight.items() if count >= 0.15 * len(glyphs)), default=largest)


def _middle(glyph: Glyph) -> float:
    """The baseline of what stands beside it."""
    return (glyph.top + glyph.bottom) / 2 + 0.25 * glyph.size if glyph.height else glyph.y


def is_bar_of(rule: Rule, root: Glyph) -> bool:
    """Whether a rule begins where a root's sign ends."""
    return root.text == "√" and abs(root.x1 - rule.x0) < 0.3 * root.size and abs(root.top - rule.y) < root.size


def row_of(glyphs: list[Glyph], rules: list[Rule]) -> Row:
    """One row of these glyphs."""
    visible = [glyph for glyph in glyphs if not glyph.text.isspace()]
    size = _common_size(visible)
    if min([glyph.size for glyph in visible]) < 0.99 * size and any(glyph.font.is_math for glyph in visible):
        # On web pages formulas are larger than the words around them.
        words = [glyph for glyph in visible if glyph.text.isalpha() and not glyph.font.is_math]
        if 4 * len(words) > len(visible) and (size_of_words := _common_size(words)) > 0.8 * size:
            size = size_of_words
    ideographs = [glyph for glyph in visible if IDEOGRAPHIC.match(glyph.text)]
    if 3 * len(ideographs) > sum(glyph.text.isalpha() and not glyph.font.is_math for glyph in visible):
        # Latin words and formulas may be set larger beside them.
        size = _common_size(ideographs)
    lines = Counter([round(glyph.y, 1) for glyph in visible if abs(glyph.size - size) < 0.5 and not glyph.height])
    y = max(lines, key=lambda y: lines[y]) if lines else visible[0].y
    if not any("\u0590" <= glyph.text <= "\u08ff" for glyph in visible):
        glyphs = _spaced(_with_long_arrows(_once(sorted(glyphs, key=lambda glyph: glyph.x0))))
        visible = [glyph for glyph in glyphs if not glyph.text.isspace()]
    typed = visible[2:] if visible[0].font.is_math and [g.text for g in visible[:2]] == [",", "→"] else visible
    typed = [glyph for glyph in typed if glyph.text not in ARROWS]
    num_code = sum([glyph.font.monospaced for glyph in typed])
    num_bold = sum([glyph.font.bold for glyph in visible])
    return Row(
        glyphs, rules, min([glyph.x0 for glyph in visible]), max([glyph.x1 for glyph in visible]), y,
        min([glyph.top for glyph in visible]), max([glyph.bottom for glyph in visible]), size,
        bool(typed) and num_code >= 0.9 * len(typed) and typed[0].font.monospaced, num_bold >= 0.9 * len(visible),
        _text(glyphs),
    )  # fmt: skip


def _text(glyphs: Sequence[Glyph]) -> str:
    text = "".join([glyph.text for glyph in glyphs]).strip()
    if text[:1] in _BULLETS and len(glyphs) > 1 and glyphs[1].x0 - glyphs[0].x1 > 0.2 * glyphs[0].size:
        return f"{text[0]} {text[1:]}"
    return text


def _once(glyphs: list[Glyph]) -> list[Glyph]:
    """Without what is printed twice at one place, as some files make letters bold, and blanks that scripts fill."""
    kept: list[Glyph] = []
    for glyph in glyphs:
        last = kept[-1] if kept else None
        if last is not None and glyph.x0 < last.x0 + 0.4 * (last.x1 - last.x0):
            if last.text == " " and last.font.is_math and abs(glyph.y - last.y) > 0.1 * glyph.size:
                # A script, where the formula's own line has a gap.
                kept[-1] = glyph
                continue
            if glyph.text == last.text and abs(glyph.y - last.y) < 0.1 * glyph.size and not glyph.height:
                continue
        kept.append(glyph)
    return kept


def _with_long_arrows(glyphs: list[Glyph]) -> list[Glyph]:
    """With arrows that TeX draws as two signs over each other, as that of `\\implies`, as one."""
    kept: list[Glyph] = []
    for glyph in glyphs:
        last = kept[-1] if kept else glyph
        arrow = _LONG_ARROWS.get(last.text + glyph.text)
        if arrow and glyph.x0 < last.x1 and abs(glyph.y - last.y) < 0.1 * glyph.size:
            kept[-1] = Glyph(arrow, last.x0, glyph.x1, glyph.y, glyph.size, max(last, glyph, key=_is_arrow).font)
        else:
            kept.append(glyph)
    return kept


def _is_arrow(glyph: Glyph) -> bool:
    return glyph.text in "⇐⇒←→"


def _spaced(glyphs: list[Glyph]) -> list[Glyph]:
    """With a blank where words of a tightly set line stand only a little further apart than letters."""
    narrow = [
        i
        for i, (a, b) in enumerate(itertools.pairwise(glyphs), 1)
        if 0.12 * b.size < b.x0 - a.x1 < 0.35 * b.size
        and a.size == b.size
        and a.text.isalnum()
        and b.text.isalnum()
        and not (a.font.is_math or b.font.is_math or b.font.monospaced)
    ]
    if not narrow or len(narrow) > 0.3 * len(glyphs):
        return glyphs
    result = list(glyphs)
    for i in reversed(narrow):
        a = glyphs[i - 1]
        result.insert(i, Glyph(" ", a.x1, a.x1, a.y, a.size, a.font))
    return result
