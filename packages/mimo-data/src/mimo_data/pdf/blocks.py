"""Rows of one column to Markdown blocks: headings, paragraphs, lists, code, tables and displayed formulas."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import reduce

from mimo_data.pdf import code
from mimo_data.pdf.formulas import formula, relation_positions
from mimo_data.pdf.grids import Grid, grid_tables
from mimo_data.pdf.layout import Row, brace_of_cases, row_of
from mimo_data.pdf.prose import join_lines, labels_of, text_of
from mimo_data.pdf.symbols import LIST_MARKS, OPERATORS
from mimo_data.pdf.tables import find_tables
from mimo_data.pdf.textlayer import Glyph, Rule

SENTENCE_END = re.compile(r"[.!?:;»”\"')\]}。！？：；」』）】]\s*$")
_BULLET = re.compile(rf"^[{LIST_MARKS}*–—-]\s+(?=\S)|^•")
# No cell of a table, unlike a dash or a mark before other signs.
_LIST_ITEM = re.compile(rf"^[{LIST_MARKS}]\s*\w")
_ITEM = re.compile(r"^(?:\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]|\[\d{1,3}\])\s+\S|^\d{1,2}:\s*[^\d\s:/]")
_NUMBERED = re.compile(r"^(?:(?:Chapter|Section|Appendix|Part)\s+)?(?:\d{1,2}|[A-Z])((?:\.\d{1,2})*)\.?\s+\S")
_TAG = re.compile(r"\(([A-Z]?\.?\d+(?:[.\-–]\d+)*[a-z]?'?|\*+)\)$")
_CAPTION = re.compile(r"(?:fig(?:ure|\.)?|table|tab\.|algorithm|listing|scheme)\s*\d", re.IGNORECASE)
_LEADERS = re.compile(r"(?:\.\s?){5,}\s*\w*$")
_MIN_GAP_OF_ENTRY = 3
"""Ems."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of Markdown; `kind` is "heading", "text", "code", "table", "display", "note" or "caption"."""

    kind: str
    text: str
    indent: float = 0.0
    """Of code, in characters from the page's margin: its text begins at its own left edge."""


@dataclass(slots=True)
class _Marked:
    """A row with what it is."""

    row: Row
    labels: str
    display: bool
    tag: str
    """The number of a displayed formula, without brackets."""


def column_blocks(
    rows: Sequence[Row],
    rules: Sequence[Rule],
    grids: Sequence[Grid],
    body_size: float,
    margin: float,
    *,
    italic_letters: bool,
    compounds: Container[str],
) -> list[Block]:
    """Blocks of one column.

    Args:
        rules: horizontal ones longer than a word, of tables and separators.
        body_size: of most text of the file, in points.
        margin: where the page's text begins, in points.
        italic_letters: see `labels_of`.
        compounds: see `join_lines`.
    """
    marked = _marked(rows, italic_letters=italic_letters)

    def row_text(row: Row) -> str:
        return text_of(row, labels_of(row, italic_letters=italic_letters))

    def cell_text(glyphs: list[Glyph]) -> str:
        return row_text(row_of(glyphs, []))

    framed = grid_tables(rows, grids, row_text)
    may_be = [
        not (item.display or item.row.code or _LIST_ITEM.match(item.row.text))
        and all(not start <= number < end for start, end, _ in framed)
        for number, item in enumerate(marked)
    ]
    tables = {start: (end, text) for start, end, text in framed + find_tables(rows, rules, may_be, cell_text)}
    pitches = _pitches(rows)
    left, right = _edges(rows)
    shown = [item.row for item in marked]
    blocks: list[Block] = []
    position = 0
    while position < len(marked):
        if position in tables:
            position, text = tables[position]
            blocks.append(Block("table", text))
            continue
        item = marked[position]
        end = position + 1
        if item.row.code and code.is_title(item.row, marked[end].row if end < len(marked) else None):
            pass
        elif item.row.code:
            end = code.listing_end(shown, position)
            group = shown[position:end]
            text = code.fenced(group)
            blocks.append(Block("code" if "\n" in text else "text", text, code.indent(group, margin)))
        elif item.display:
            while end < len(marked) and marked[end].display and _same_display(marked[end - 1], marked[end]):
                end += 1
            blocks += _displays(marked[position:end])
        elif _is_entry(item.row):
            pass
        elif level := _heading_level(marked, position, body_size):
            while (
                end < len(marked)
                and end not in tables
                and not marked[end].row.code
                and abs(marked[end].row.size - item.row.size) < 0.5
                and marked[end].row.bold == item.row.bold
                and marked[end].row.y - marked[end - 1].row.y < 1.5 * item.row.size
                and _heading_level(marked, end, body_size) == level
            ):
                end += 1
            text = _joined(marked[position:end], compounds)
            blocks.append(Block("heading", f"{'#' * level} {text}"))
        else:
            while (
                end < len(marked)
                and end not in tables
                and _same_paragraph(marked, end, pitches, left, right, body_size)
            ):
                end += 1
            kind = "note" if _is_note(item, body_size) else "caption" if _CAPTION.match(item.row.text) else "text"
            text = _paragraph(marked[position:end], compounds)
            if kind == "note":
                text = re.sub(r"^(\[\^\w+\]) ?", r"\1: ", text)
            blocks.append(Block(kind, text))
        position = end
    return [block for block in blocks if block.text.strip()]


def _marked(rows: Sequence[Row], *, italic_letters: bool) -> list[_Marked]:
    left, right = _edges(rows)
    for last, row in itertools.pairwise(rows):
        if row.code and not last.code and _ends_sentence(last, row, right):
            row.code = False
    marked = []
    for row in rows:
        labels = "" if row.code else labels_of(row, italic_letters=italic_letters)
        tag, body = "", row
        display = False
        if not row.code:
            tag, body = _tagged(row, right)
            labels_body = labels if body is row else labels_of(body, italic_letters=italic_letters)
            display = _is_display(body, labels_body, left, right)
            if display:
                row, labels = body, labels_body
            else:
                tag = ""
        marked.append(_Marked(row, labels, display, tag))
    return marked


def _ends_sentence(last: Row, row: Row, right: float) -> bool:
    """Whether a row of typewriter text is the end of the paragraph above."""
    return (
        last.x1 > right - 2 * last.size
        and abs(row.x0 - last.x0) < 1
        and row.y - last.y < 1.5 * last.size
        and row.text.endswith((".", ",", ":", ";", ")"))
        and not SENTENCE_END.search(last.text)
        and " " not in row.text
    )


def _edges(rows: Sequence[Row]) -> tuple[float, float]:
    """Where most lines of text start and end."""
    text = [row for row in rows if not row.code and len(row.glyphs) > 20] or list(rows)
    starts, ends = sorted(row.x0 for row in text), sorted(row.x1 for row in text)
    return starts[len(starts) // 4], ends[len(ends) * 3 // 4]


def _pitches(rows: Sequence[Row]) -> dict[int, float]:
    """Distance of lines of a paragraph, in points, by the size of their text (rounded)."""
    steps: dict[int, list[float]] = {}
    for a, b in itertools.pairwise(rows):
        if not a.code and abs(a.size - b.size) < 0.5 and 0.8 * a.size < b.y - a.y < 2.5 * a.size:
            steps.setdefault(round(a.size), []).append(b.y - a.y)
    return {size: sorted(found)[len(found) // 3] for size, found in steps.items()}


def _tagged(row: Row, right: float) -> tuple[str, Row]:
    """The number at a row's end (or start) that names a displayed formula, and the row without it."""
    visible = [glyph for glyph in row.glyphs if not glyph.text.isspace()]
    for order in (1, -1):
        glyphs = visible if order == 1 else visible[::-1]
        least = (0.45 if order == 1 and row.x1 > right - 2 else 1.2) * row.size
        ends = range(len(glyphs) - 1, max(0, len(glyphs) - 14), -1)
        cut = next((i for i in ends if _distance(glyphs[i - 1], glyphs[i]) > least), 0)
        part = glyphs[cut:] if order == 1 else glyphs[cut:][::-1]
        found = _TAG.fullmatch("".join(glyph.text for glyph in part)) if cut else None
        if found:
            rest = set(map(id, part))
            return found[1], row_of([glyph for glyph in row.glyphs if id(glyph) not in rest], row.rules)
    return "", row


def _distance(a: Glyph, b: Glyph) -> float:
    return max(b.x0 - a.x1, a.x0 - b.x1)


def _is_display(row: Row, labels: str, left: float, right: float) -> bool:
    """Whether a row is a formula on a line of its own."""
    num_math = sum(label in "mxr" for label in labels)
    if not num_math or len(labels.replace(" ", "")) < 2 or not re.search("[mro]", labels):
        return False
    brace = brace_of_cases(row.glyphs)
    before = labels if brace is None else labels[: row.glyphs.index(brace)]
    words = re.findall(r"t{3,}|c{3,}", before)
    num_text = sum(map(len, words))
    num_all = len(labels.replace(" ", ""))
    if num_text > 0.4 * num_all or (num_text > 12 and num_text > num_math):
        return False
    indent = row.x0 - left
    relation = any(label in "ro" for label in labels)
    if not relation and not row.rules and num_math < 3:
        return False
    if _BULLET.match(row.text) or _ITEM.match(row.text):
        return False
    centred = abs((row.x0 + row.x1) / 2 - (left + right) / 2) < 0.06 * (right - left)
    if indent < 1.2 * row.size:
        return row.x1 > left + 0.8 * (right - left) and not num_text and centred
    # What begins with a word is a sentence in an indented paragraph.
    return centred or not labels.startswith("ttt")


def _same_display(last: _Marked, item: _Marked) -> bool:
    return item.row.top - last.row.bottom < 2.2 * item.row.size


def _displays(items: Sequence[_Marked]) -> list[Block]:
    """Formulas below each other: aligned at a relation where they have one in common, else one by one."""
    groups: list[list[_Marked]] = []
    for item in items:
        if groups and _anchor([*groups[-1], item]) is not None:
            groups[-1].append(item)
        else:
            groups.append([item])
    blocks = []
    for group in groups:
        anchor = _anchor(group) if len(group) > 1 else None
        if anchor is None:
            blocks += [Block("display", _display(item)) for item in group]
            continue
        blocks.append(Block("display", _aligned(group, anchor)))
    return blocks


def _aligned(group: Sequence[_Marked], anchor: float) -> str:
    """Formulas below each other with the same relation at the same place; conditions on the right make a column."""
    starts, gap = _conditions(group, anchor)
    lines = []
    for item, start in zip(group, starts, strict=True):
        before = _part(item.row, float("-inf"), anchor - 1.5)
        after = _part(item.row, anchor - 1.5, start)
        condition = rf" \quad & {_part(item.row, start, float('inf'))}" if start < float("inf") else ""
        tag = rf" \tag{{{item.tag}}}" if item.tag else ""
        lines.append(f"{before} &{after}{condition}{tag}".strip())
    tight = starts[0] < float("inf") and gap < 1.7
    name = ("alignat" if tight else "align") + ("" if any(item.tag for item in group) else "*")
    body = " \\\\\n".join(lines)
    return f"$$\n\\begin{{{name}}}{'{2}' if tight else ''}\n{body}\n\\end{{{name}}}\n$$"


def _part(row: Row, start: float, end: float) -> str:
    return formula(
        [glyph for glyph in row.glyphs if start <= glyph.x0 < end],
        [rule for rule in row.rules if start <= rule.x0 < end],
    )


def _conditions(group: Sequence[_Marked], anchor: float) -> tuple[list[float], float]:
    """Where each formula's last part starts, if all end at one place after a wide gap; and the least gap, in ems."""
    none = [float("inf")] * len(group)
    starts: list[float] = []
    gaps: list[float] = []
    for item in group:
        row, reach, found = item.row, None, None
        for glyph in row.glyphs:
            if glyph.text.isspace() or glyph.x0 < anchor:
                continue
            if reach is not None and glyph.x0 - reach > 0.9 * row.size:
                found = (glyph.x0 - 0.1, (glyph.x0 - reach) / row.size)
            reach = glyph.x1 if reach is None else max(reach, glyph.x1)
        if found is None:
            return none, 0.0
        starts.append(found[0])
        gaps.append(found[1])
    ends = [item.row.x1 for item in group]
    return (starts, min(gaps)) if max(ends) - min(ends) < 4 else (none, 0.0)


def _anchor(items: Sequence[_Marked]) -> float | None:
    """The leftmost place where each formula has a relation; what stands wholly to the right of it goes on with one."""
    common: list[float] | None = None
    for item in items:
        places = relation_positions(item.row.glyphs, item.row.rules)
        if common and item.row.x0 > min(common) + 0.3 * item.row.size and item.row.text[:1] in OPERATORS:
            common = [min(common)]
            continue
        common = places if common is None else [x for x in common if any(abs(x - place) < 1.5 for place in places)]
    return min(common) if common else None


def _display(item: _Marked) -> str:
    latex = formula(item.row.glyphs, item.row.rules)
    tag = rf" \tag{{{item.tag}}}" if item.tag else ""
    return f"$$\n{latex}{tag}\n$$" if latex.strip() else ""


def _is_entry(row: Row) -> bool:
    """Whether a row is one of a table of contents: leaders, or in bold a page's number far from the words."""
    if _LEADERS.search(row.text):
        return True
    shown = [glyph for glyph in row.glyphs if not glyph.text.isspace()]
    pages = [
        after for before, after in itertools.pairwise(shown) if after.x0 - before.x1 > _MIN_GAP_OF_ENTRY * row.size
    ]
    return row.bold and len(pages) == 1 and all(glyph.text.isdigit() for glyph in shown[shown.index(pages[0]) :])


def _heading_level(marked: Sequence[_Marked], position: int, body_size: float) -> int:
    """2 for a heading of the first order (1 for one much larger than the text) and so on; 0 for no heading."""
    row = marked[position].row
    text = row.text
    if marked[position].display or row.code or len(text) > 160 or not re.search(r"[^\W\d]{2}", text):
        return 0
    numbered = _NUMBERED.match(text)
    large = row.size > 1.12 * body_size
    if not large and not row.bold:
        return 0
    if not large:
        before = marked[position - 1].row if position else None
        after = marked[position + 1].row if position + 1 < len(marked) else None
        apart = before is None or row.top - before.bottom > 0.35 * row.size or before.bold or before.size > row.size
        if len(text) > 100 or not apart or (text.endswith((".", ",")) and not numbered):
            return 0
        if row.size < 0.95 * body_size or (after is not None and after.bold and len(after.text) > 60 and not numbered):
            return 0
        if not numbered and (len(text) > 60 or text.endswith(":")):
            return 0
    if numbered:
        return min(6, 2 + numbered[1].count("."))
    return 1 if row.size > 1.6 * body_size else 2 if large else 3


def _same_paragraph(
    marked: Sequence[_Marked], position: int, pitches: dict[int, float], left: float, right: float, body_size: float
) -> bool:
    """Whether the row at `position` goes on with the paragraph of the row before it."""
    last, row = marked[position - 1].row, marked[position].row
    if row.code or marked[position].display or abs(last.size - row.size) > 0.12 * last.size:
        return False
    if _heading_level(marked, position, body_size) or _is_entry(row):
        return False
    if _is_note(marked[position], body_size):
        return False
    step = row.y - last.y
    if step > 1.45 * max(pitches.get(round(row.size), 0.0), last.size) or step < -0.5 * last.size:
        return False
    if _BULLET.match(row.text) or (_ITEM.match(row.text) and row.x0 < last.x0 + 0.5 * row.size):
        return False
    ended = bool(SENTENCE_END.search(last.text))
    indented = 0.8 * row.size < row.x0 - last.x0 < 5 * row.size
    if (
        indented
        and ended
        and not _BULLET.match(last.text)
        and not _ITEM.match(last.text)
        and row.x0 - left < 4 * row.size
    ):
        return False
    return not (ended and last.x1 < right - 0.2 * (right - left) and row.x0 <= left + 2 * row.size)


def _is_note(item: _Marked, body_size: float) -> bool:
    """Whether a row starts a footnote: small, with a raised number."""
    return item.labels.lstrip()[:1] == "x" and item.row.size < 0.95 * body_size and item.row.text[:1].isdigit()


def _joined(items: Sequence[_Marked], compounds: Container[str]) -> str:
    texts = (text_of(item.row, item.labels) for item in items)
    return reduce(lambda text, rest: join_lines(text, rest, compounds), texts)


def _paragraph(items: Sequence[_Marked], compounds: Container[str]) -> str:
    text = _joined(items, compounds)
    text = re.sub(r"\$ ?\$(?=[\w\\])|`(\s*)`", lambda m: m[1] or "" if m[0].startswith("`") else m[0], text)
    bullet = _BULLET.match(text)
    if bullet:
        text = "- " + text[bullet.end() :].lstrip()
    elif text.startswith("#"):
        text = "\\" + text
    return re.sub(r"[ \t\xa0]+", " ", text).strip()
