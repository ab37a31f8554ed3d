"""PDF files to Markdown, page by page (§2.1): reading order, headings, tables, code and formulas.

Pages are read twice: once for what repeats on them (heads, the size of the text), once for their content.
What the text layer cannot give is named by a page's routing; a function that sees may be handed those pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from mimo_data.pdf.blocks import SENTENCE_END, Block, column_blocks
from mimo_data.pdf.figures import without_figures
from mimo_data.pdf.furniture import Survey, lone_margins, ruled_margins, survey
from mimo_data.pdf.grids import find_grids, with_grids_whole
from mimo_data.pdf.layout import columns, is_bar_of, rows
from mimo_data.pdf.prose import join_lines
from mimo_data.pdf.routing import VISION_SCORE, Routing, routing
from mimo_data.pdf.sidenotes import split_off_notes
from mimo_data.pdf.symbols import IDEOGRAPHIC
from mimo_data.pdf.textlayer import Glyph, Layer, Line, Piece, Reader, Rule, open_pdf

_REFERENCES = re.compile(
    r"#*\s*(?:[\dA-Z]{1,2}\.?\s+)?(?:references(?: and notes)?|bibliography|literature cited|works cited)\s*[.:]?\s*$",
    re.IGNORECASE,
)
# Points; bars of fractions side by side are seldom alike to the point, and shorter.
_MIN_RULE_OF_HEAD = 30
_MIN_RULE_OF_NOTES = 40
_ASIDE = ("note", "caption")


@dataclass(frozen=True)
class Page:
    """What one page gave."""

    number: int
    """From 1."""
    text: str
    """Markdown; "" when there is none."""
    routing: Routing


def extract_pdf(data: bytes, *, vision: Callable[[bytes], str] | None = None) -> str:
    """The text of a PDF file as Markdown; "" when it has no text layer.

    Args:
        vision: gets a page's picture (PNG) and gives its Markdown; called for the pages whose routing
            score is `VISION_SCORE` or more. What it raises goes to the caller.

    Raises:
        PdfError: the file is damaged, needs a password, or has a page that draws text without end.
        DataError: PyMuPDF is not installed.
    """
    blocks: list[Block] = []
    pages = (page for page, _ in _read(data, vision))
    for page, following in pairwise(chain(pages, [[]])):
        if not _is_shown_again(page, following):
            _append(blocks, page)
    return "\n\n".join(block.text for block in _without_references(blocks))


def read_pages(data: bytes, *, vision: Callable[[bytes], str] | None = None) -> list[Page]:
    """Each page by itself, its references kept; see `extract_pdf` for `vision` and errors."""
    return [
        Page(number, "\n\n".join(block.text for block in blocks), found)
        for number, (blocks, found) in enumerate(_read(data, vision), 1)
    ]


def _read(data: bytes, vision: Callable[[bytes], str] | None) -> Iterator[tuple[list[Block], Routing]]:
    with open_pdf(data) as reader:
        seen = survey(reader.lines(number) for number in range(reader.num_pages))
        for number in range(reader.num_pages):
            yield _page(reader, number, seen, vision)


def _page(
    reader: Reader, number: int, seen: Survey, vision: Callable[[bytes], str] | None
) -> tuple[list[Block], Routing]:
    layer = reader.layer(number)
    margin = min((piece.x0 for piece in layer.pieces), default=0.0)
    _drop_furniture(layer, number, seen)
    layer.pieces = without_figures(layer)
    short, long = _rules(layer)
    italic_letters = not any(g.font.is_math for piece in layer.pieces for g in piece.glyphs)
    blocks: list[Block] = []
    grids = find_grids(layer.rows, layer.posts, layer.pieces)
    main, notes = split_off_notes(layer.pieces, seen.body_size)
    for column in [*columns(with_grids_whole(main, grids), layer.width), *notes]:
        x0, x1 = min(piece.x0 for piece in column), max(piece.x1 for piece in column)
        top, bottom = min(piece.y0 for piece in column) - 12, max(piece.y1 for piece in column) + 12
        near = [
            [rule for rule in rules if rule.x1 > x0 - 5 and rule.x0 < x1 + 5 and top < rule.y < bottom]
            for rules in (short, long)
        ]
        bars = [rule for rule in near[0] if not _is_of_frame(rule, layer.posts)]
        own = rows(column, _fraction_bars(bars, column))
        found = column_blocks(
            own, near[1], grids, seen.body_size, margin, italic_letters=italic_letters, compounds=seen.compounds
        )
        # The text goes on behind a note.
        blocks += [replace(block, kind="note") for block in found] if column in notes else found
    text = " ".join(block.text for block in blocks)
    route = routing(layer, text)
    if 2 * text.count("\ufffd") > len("".join(text.split())):
        blocks = []
    if vision is not None and route.score >= VISION_SCORE:
        text = vision(reader.image(number)).strip()
        blocks = [Block("vision", text)] if text else []
    return blocks, route


def _drop_furniture(layer: Layer, number: int, seen: Survey) -> None:
    lines = [
        Line(p.text, p.x0, p.y0, p.x1, p.y1, p.size, all(g.font.monospaced for g in p.glyphs)) for p in layer.pieces
    ]
    lone = lone_margins(lines, layer.height, seen.body_size) | ruled_margins(lines, layer.rows, layer.height)
    layer.pieces = [
        piece
        for index, (piece, line) in enumerate(zip(layer.pieces, lines, strict=True))
        if index not in lone and not seen.is_furniture(line, layer.height, number)
    ]


def _rules(layer: Layer) -> tuple[list[Rule], list[Rule]]:
    """Rules that may be of formulas, and those long enough to be of tables; pieces of one line are one."""
    joined: list[Rule] = []
    for rule in sorted(layer.rows, key=lambda rule: (round(rule.y), rule.x0)):
        last = joined[-1] if joined else None
        if last and abs(last.y - rule.y) < 1 and last.x0 - 0.5 < rule.x0 < last.x1 + 1.5:
            last.x1 = max(last.x1, rule.x1)
        else:
            joined.append(Rule(rule.x0, rule.y0, rule.x1, rule.y1))
    return [r for r in joined if r.x1 - r.x0 < 0.6 * layer.width], [r for r in joined if r.x1 - r.x0 > 40]


def _is_of_frame(rule: Rule, posts: Sequence[Rule]) -> bool:
    """Whether both ends of a rule stand at vertical ones."""
    return all(
        any(abs(post.x0 - end) < 2 and post.y0 - 2 < rule.y < post.y1 + 2 for post in posts)
        for end in (rule.x0, rule.x1)
    )


def _fraction_bars(rules: list[Rule], column: list[Piece]) -> list[Rule]:
    """Rules that cover something right below them: bars of fractions and roots, no frames and separators."""
    kept: list[Rule] = []
    bare: list[Rule] = []
    for rule in rules:
        above, below = _beside(rule, column)
        if not (above and below):
            bare.append(rule)
        if below and _is_bar(rule, above, below, rules, column) and not _divides_lines(rule, column):
            kept.append(rule)
    return [rule for rule in kept if not _is_of_heads(rule, rules, bare)]


def _beside(rule: Rule, column: Sequence[Piece]) -> tuple[list[float], list[float]]:
    """The ends of the glyphs right above and right below a rule, which comes to reach as far as these do."""
    above: list[float] = []
    under: list[tuple[Glyph, bool]] = []
    near = [p for p in column if p.x1 > rule.x0 and p.x0 < rule.x1 and p.y0 - 15 < rule.y < p.y1 + 25]
    size = max((glyph.size for piece in near for glyph in piece.glyphs), default=0.0)
    for piece in near:
        for glyph in piece.glyphs:
            if glyph.font.monospaced or glyph.text.isspace():
                continue
            if not rule.x0 - 1 < (glyph.x0 + glyph.x1) / 2 < rule.x1 + 1:
                continue
            if rule.y - 0.1 * glyph.size < glyph.y < rule.y + 1.6 * glyph.size or (
                glyph.height and rule.y - 1 < glyph.top < rule.y + glyph.size
            ):
                under.append((glyph, piece.x1 - piece.x0 > 4 * (rule.x1 - rule.x0)))
                rule.reach = max(rule.reach, 0.5 * glyph.size)
            # Exponents are small and stand high.
            elif rule.y - max(glyph.size, 0.9 * size) < glyph.bottom < rule.y + 0.2 * glyph.size:
                above += [glyph.x0, glyph.x1]
    # The next line of text may come near, too.
    lowest = min((glyph.y + 0.75 * glyph.size for glyph, _ in under if not glyph.height), default=0.0)
    of_rule = [glyph for glyph, of_line in under if glyph.height or glyph.y < lowest or not of_line]
    return above, [end for glyph in of_rule for end in (glyph.x0, glyph.x1)]


def _divides_lines(rule: Rule, column: Sequence[Piece]) -> bool:
    """Whether a line above and a smaller one below begin where it does and reach beyond it: a rule of footnotes."""
    if rule.x1 - rule.x0 < _MIN_RULE_OF_NOTES:
        return False
    lines = [p for p in column if abs(p.x0 - rule.x0) < 1 and rule.x1 < p.x1 - p.size]
    above = [p.size for p in lines if -1.5 * p.size < p.y1 - rule.y < 0.5 * p.size]
    below = [p.size for p in lines if 0.5 * p.size < p.y1 - rule.y < 2.5 * p.size]
    return bool(above and below) and max(below) < 0.95 * max(above)


def _is_of_heads(rule: Rule, rules: Sequence[Rule], bare: Sequence[Rule]) -> bool:
    """One of several alike over the columns of a table, some of which have nothing on one side."""
    length = rule.x1 - rule.x0
    alike = [r for r in rules if abs(r.y - rule.y) < 0.5 and abs(r.x1 - r.x0 - length) < 1]
    return length > _MIN_RULE_OF_HEAD and len(alike) > 2 and any(other in bare for other in alike)


def _is_bar(rule: Rule, above: list[float], below: list[float], rules: Sequence[Rule], column: Sequence[Piece]) -> bool:
    """Whether a rule is of a formula, from the ends of what is right above and below it; tables have rules too."""
    centred = _is_centred(rule, below) and (not above or _is_centred(rule, above))
    if sum(abs(other.y - rule.y) < 0.5 for other in rules) > 2 and not centred:
        return False
    width = rule.x1 - rule.x0
    if width < 60:
        return max(below) - min(below) > 0.3 * width or (bool(above) and centred)
    return (bool(above) and centred) or any(is_bar_of(rule, glyph) for piece in column for glyph in piece.glyphs)


def _is_centred(rule: Rule, ends: list[float]) -> bool:
    return bool(ends) and abs(min(ends) + max(ends) - rule.x0 - rule.x1) < 4


def _is_shown_again(page: Sequence[Block], following: Sequence[Block]) -> bool:
    """Whether the next page has all that a page has, as slides have that show one item after the other."""
    rest = iter(following)
    return all(any(block.text.startswith(old.text) for block in rest) for old in page)


def _append(blocks: list[Block], page: list[Block]) -> None:
    """Adds a page; a paragraph or listing that the page before broke off goes on, whatever footnotes are between."""
    last = next((i for i in range(len(blocks) - 1, -1, -1) if blocks[i].kind not in _ASIDE), None)
    first = next((i for i, block in enumerate(page) if block.kind not in _ASIDE), None)
    if last is not None and first is not None:
        old, new = blocks[last], page[first]
        if old.kind == new.kind == "code":
            blocks[last] = _joined(old, new)
            page = page[:first] + page[first + 1 :]
        elif old.kind == new.kind == "text" and _continues(old.text, new.text):
            blocks[last] = Block("text", join_lines(old.text, new.text))
            page = page[:first] + page[first + 1 :]
    blocks += page


def _joined(old: Block, new: Block) -> Block:
    """A listing that a page broke, its parts as far from the margin as they stand."""
    shift = round(new.indent - old.indent)
    lines = [
        " " * max(0, moved) + line if line else line
        for block, moved in ((old, -shift), (new, shift))
        for line in block.text.split("\n")[1:-1]
    ]
    fence = max(block.text.partition("\n")[0] for block in (old, new))
    return Block("code", "\n".join([fence, *lines, fence]), min(old.indent, new.indent))


def _without_references(blocks: list[Block]) -> list[Block]:
    """Without what follows a heading "References", to the next heading; a list of works is no text."""
    kept: list[Block] = []
    dropping = False
    for number, block in enumerate(blocks):
        if block.kind == "heading" or _REFERENCES.match(block.text):
            dropping = bool(_REFERENCES.match(block.text)) and number > 0.2 * len(blocks)
        if not dropping:
            kept.append(block)
    return kept


def _continues(last: str, first: str) -> bool:
    """Whether a page's first paragraph goes on with the one that the page before broke off."""
    is_chinese = bool(IDEOGRAPHIC.match(last[-1:]) and IDEOGRAPHIC.match(first))
    return not SENTENCE_END.search(last) and (is_chinese or first[:1].islower() or last.endswith(("-", ",")))
