"""Glyphs and rules of one formula to LaTeX: what stands where says what it is.

A rule with something above and below is a fraction, one that starts at a root's end is its bar; smaller
glyphs off the baseline are scripts; small ones above and below a sum are its limits; rows between tall
delimiters are a matrix or cases. Covers what TeX and office programs set; commutative diagrams, tensors
with scripts on the left and arrows with text on them come out as their glyphs in a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from mimo_data.latex import join
from mimo_data.pdf.boxes import AXIS, Box, boxes_of
from mimo_data.pdf.formulawords import TEXT, with_words
from mimo_data.pdf.moduli import with_moduli
from mimo_data.pdf.symbols import (
    ACCENTS,
    BIG,
    CLOSE,
    INTEGRALS,
    OPEN,
    OPERATORS,
    RELATIONS,
    UNDER,
    WIDE,
    braced,
    latex_of,
)
from mimo_data.pdf.textlayer import Glyph, Rule

_MAX_DEPTH = 12
_MAX_GLYPHS = 1_500
_MAX_GAP_OF_LIMIT = 0.5
"""Ems."""
# Two letters are a product.
_BOLD_WORD = re.compile(r"(?:\\mathbf\{[A-Za-z]\}){3,}")
_NEGATED = {"=": r"\neq", r"\in": r"\notin", r"\equiv": r"\not\equiv"}


def formula(glyphs: Sequence[Glyph], rules: Sequence[Rule]) -> str:
    """LaTeX of one line of a formula; what is too long to be one comes out as its glyphs in a row."""
    if len(glyphs) > _MAX_GLYPHS:
        return join([latex_of(glyph.text, glyph.font) for glyph in glyphs])
    latex = with_moduli(_row(boxes_of(glyphs), list(rules), 0))
    return _BOLD_WORD.sub(lambda word: rf"\mathbf{{{''.join(re.findall(r'{(.)}', word[0]))}}}", latex)


def _row(boxes: list[Box], rules: list[Rule], depth: int) -> str:
    if not boxes or depth > _MAX_DEPTH:
        return join([box.latex for box in boxes])
    boxes = _arrays(sorted(boxes, key=lambda box: box.x0), rules, depth)
    boxes = _fractions(boxes, rules, depth)
    boxes = _accents(_congruences(boxes))
    boxes = with_words(sorted(boxes, key=lambda box: box.x0))
    boxes = _limits(boxes, depth)
    return _line(sorted(boxes, key=lambda box: box.x0), depth)


def _arrays(boxes: list[Box], rules: list[Rule], depth: int) -> list[Box]:
    """Rows between tall delimiters as matrices and cases; their rules are taken out of `rules`."""
    for number, left in enumerate(boxes):
        least = 1.15 if left.text in OPEN else 1.5
        if not (left.tall and left.text in (*OPEN, "|", "‖") and left.bottom - left.top > least * left.size):
            continue
        right = next(
            (
                box
                for box in boxes[number + 1 :]
                if box.tall
                and box.text in (*CLOSE, "|", "‖")
                and abs(box.top - left.top) + abs(box.bottom - left.bottom) < 0.6 * left.size
            ),
            None,
        )
        if right is None and left.text in "|‖":
            continue
        end = right.x0 if right else float("inf")
        inside = [
            box
            for box in boxes[number + 1 :]
            if box is not right and box.x1 <= end + 1 and left.top - 2 < (box.top + box.bottom) / 2 < left.bottom + 2
        ]
        kept = [rule for rule in rules if left.x1 - 1 < rule.x0 < end and left.top < rule.y < left.bottom]
        rows = _with_limits(_box_rows(inside, kept))
        if len(rows) < 2 or not all(boxes for boxes, _ in rows):
            continue
        for rule in kept:
            rules.remove(rule)
        pair = (left.text, right.text if right else "")
        latex = _binomial(rows, left, right, depth) or _array(rows, pair, depth)
        if not latex:
            rules += kept
            continue
        box = Box(
            latex, left.x0, right.x1 if right else max(box.x1 for box in inside),
            (left.top + left.bottom) / 2 + AXIS * left.size, left.top, left.bottom, left.size, tall=True,
        )  # fmt: skip
        rest = [other for other in boxes if other not in inside and other is not left and other is not right]
        return _arrays(sorted([*rest, box], key=lambda box: box.x0), rules, depth)
    return boxes


def _box_rows(boxes: list[Box], rules: list[Rule]) -> list[tuple[list[Box], list[Rule]]]:
    spans = sorted(
        [
            (box.y - 0.5 * box.size, box.y, box, None) if not box.tall else (box.top, box.bottom, box, None)
            for box in boxes
        ]
        + [(rule.y - rule.reach, rule.y + rule.reach, None, rule) for rule in rules],
        key=lambda span: span[0],
    )
    rows: list[tuple[list[Box], list[Rule]]] = []
    reach = float("-inf")
    for top, bottom, box, rule in spans:
        if top > reach:
            rows.append(([], []))
            reach = bottom
        reach = max(reach, bottom)
        if box is not None:
            rows[-1][0].append(box)
        elif rule is not None:
            rows[-1][1].append(rule)
    return rows


def _with_limits(rows: list[tuple[list[Box], list[Rule]]]) -> list[tuple[list[Box], list[Rule]]]:
    """Rows, those put to their neighbour that are only the limits of a sum in it."""
    kept: list[tuple[list[Box], list[Rule]]] = []
    for row in rows:
        if kept and (_is_limit(row, kept[-1][0]) or _is_limit(kept[-1], row[0])):
            kept[-1] = (kept[-1][0] + row[0], kept[-1][1] + row[1])
        else:
            kept.append(row)
    return kept


def _is_limit(row: tuple[list[Box], list[Rule]], beside: Sequence[Box]) -> bool:
    """Whether a row is small and stands right above or below a sum of the row beside it."""
    boxes, rules = row
    return not rules and any(
        max(big.top - max(box.y for box in boxes), min(box.y - 0.5 * box.size for box in boxes) - big.bottom)
        < _MAX_GAP_OF_LIMIT * big.size
        and all(box.size < 0.85 * big.size and abs(box.middle - big.middle) < 1.5 * big.size for box in boxes)
        for big in beside
        if big.tall and big.text in BIG
    )


def _binomial(rows: list[tuple[list[Box], list[Rule]]], left: Box, right: Box | None, depth: int) -> str:
    """Two rows between parentheses as far apart as a fraction's: TeX sets a vector's closer to each other."""
    if len(rows) != 2 or left.text != "(" or right is None or right.text != ")":
        return ""
    (above, over), (below, under) = rows
    (y_above, size), (y_below, _) = _main_of(above, over), _main_of(below, under)
    if _cuts([*above, *below], 0.6 * size) or not (y_below - y_above > 1.28 * size or size < 0.8 * left.size):
        return ""
    return rf"\binom{{{_row(above, over, depth + 1)}}}{{{_row(below, under, depth + 1)}}}"


def _array(rows: list[tuple[list[Box], list[Rule]]], pair: tuple[str, str], depth: int) -> str:
    size = max(box.size for boxes, _ in rows for box in boxes)
    cuts = _cuts([box for boxes, _ in rows for box in boxes], 0.6 * size) or _common_start(rows, size)
    lines = []
    for boxes, rules in rows:
        cells = []
        for start, end in pairwise([float("-inf"), *cuts, float("inf")]):
            cell = [box for box in boxes if start <= box.middle < end]
            cells.append(_row(cell, [rule for rule in rules if start <= (rule.x0 + rule.x1) / 2 < end], depth + 1))
        lines.append(" & ".join(cells))
    body = " \\\\\n".join(lines)
    if pair == ("{", "") and len(cuts) <= 1:
        return f"\\begin{{cases}}\n{body}\n\\end{{cases}}"
    matrix = {
        ("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", ("‖", "‖"): "Vmatrix",
        ("{", "}"): "Bmatrix",
    }.get(pair)  # fmt: skip
    if matrix:
        return f"\\begin{{{matrix}}}\n{body}\n\\end{{{matrix}}}"
    left, right = OPEN.get(pair[0], pair[0]), CLOSE.get(pair[1], pair[1]) or "."
    return f"\\left{left}\\begin{{array}}{{{'l' * (len(cuts) + 1)}}}\n{body}\n\\end{{array}}\\right{right}"


def _cuts(boxes: list[Box], gap: float) -> list[float]:
    """Where a vertical line of at least `gap` width meets no box."""
    cuts: list[float] = []
    reach = None
    for box in sorted(boxes, key=lambda box: box.x0):
        if reach is not None and box.x0 - reach >= gap:
            cuts.append((box.x0 + reach) / 2)
        reach = box.x1 if reach is None else max(reach, box.x1)
    return cuts


def _common_start(rows: list[tuple[list[Box], list[Rule]]], size: float) -> list[float]:
    """Where a second cell starts at the same place in each row, however narrow the gap before it."""
    common: list[float] | None = None
    for boxes, _ in rows:
        starts = []
        reach = None
        for box in sorted(boxes, key=lambda box: box.x0):
            if reach is not None and box.x0 - reach > 0.22 * size and box.text not in RELATIONS | OPERATORS:
                starts.append(box.x0)
            reach = box.x1 if reach is None else max(reach, box.x1)
        common = starts if common is None else [x for x in common if any(abs(x - start) < 0.6 for start in starts)]
    return [min(common) - 0.1] if common else []


def _fractions(boxes: list[Box], rules: list[Rule], depth: int) -> list[Box]:
    """Fractions, roots, over- and underlines, from the longest rule to the shortest."""
    rest = sorted(rules, key=lambda rule: rule.x0 - rule.x1)
    for number, rule in enumerate(rest):
        root = next(
            (
                box
                for box in boxes
                if box.text == "√"
                and abs(box.x1 - rule.x0) < 0.25 * box.size
                and abs(box.top - rule.y) < 0.5 * box.size
            ),
            None,
        )
        inside = [box for box in boxes if rule.x0 - 1 <= box.middle <= rule.x1 + 1 and box is not root]
        above = [box for box in inside if (box.top + box.bottom) / 2 < rule.y]
        below = [box for box in inside if (box.top + box.bottom) / 2 >= rule.y]
        inner = [other for other in rest[number + 1 :] if rule.x0 - 1 <= other.x0 and other.x1 <= rule.x1 + 1]
        if not inside or any(box.top > rule.y + 40 for box in below):
            continue
        over = [other for other in inner if other.y < rule.y]
        under = [other for other in inner if other.y >= rule.y]
        if root is not None and below:
            index = [
                box
                for box in boxes
                if box.size < 0.8 * root.size
                and root.x0 + 0.1 * root.size < box.x1 < root.x0 + 0.8 * root.size
                and box.y < (root.top + root.bottom) / 2 + 0.1 * root.size
                and box not in inside
                and box is not root
            ]
            option = f"[{_row(index, [], depth + 1)}]" if index else ""
            latex = rf"\sqrt{option}{{{_row(list(below), under, depth + 1)}}}"
            used = [*below, root, *index]
            y, size = _main_of(below, under)
        elif above and below:
            latex = rf"\frac{{{_row(list(above), over, depth + 1)}}}{{{_row(list(below), under, depth + 1)}}}"
            used, inner_size = inside, max(box.size for box in inside)
            outside = max((box.size for box in boxes if box not in inside), default=inner_size)
            size = inner_size if inner_size > 0.9 * outside else inner_size / 0.7
            y = rule.y + AXIS * size
        elif below and min(box.top for box in below) - rule.y < 0.4 * below[0].size:
            latex = rf"\overline{{{_row(list(below), under, depth + 1)}}}"
            used = below
            y, size = _main_of(below, under)
        elif above and rule.y - max(box.y for box in above) < 0.5 * above[0].size:
            latex = rf"\underline{{{_row(list(above), over, depth + 1)}}}"
            used = above
            y, size = _main_of(above, over)
        else:
            continue
        taken = set(map(id, used))
        box = Box(
            latex, min(rule.x0, *(box.x0 for box in used)), max(rule.x1, *(box.x1 for box in used)), y,
            min(box.top for box in used), max(box.bottom for box in used), size,
        )  # fmt: skip
        boxes = [*(other for other in boxes if id(other) not in taken), box]
        # Rules inside this one are done; they are shorter, so they come later.
        for other in inner:
            other_box = other.x0, other.y
            rest[rest.index(other)] = Rule(-9.0, other_box[1], -9.0, other_box[1])
    return boxes


def _main_of(boxes: Sequence[Box], rules: Sequence[Rule]) -> tuple[float, float]:
    """As `_main`, where the longest of the rules may be the bar of a fraction that is still to be built."""
    y, size = _main(boxes)
    longest = max(rules, key=lambda rule: rule.x1 - rule.x0, default=None)
    if longest is not None and any(box.y < longest.y and longest.x0 < box.middle < longest.x1 for box in boxes):
        y = longest.y + AXIS * size
    return y, size


def _main(boxes: Sequence[Box]) -> tuple[float, float]:
    """Baseline and size of the largest boxes."""
    # TeX sets tall delimiters from one size of font, also in scripts; a matrix seldom stands in one.
    sizes = [box.size for box in boxes if not box.tall or box.latex.startswith(r"\begin")]
    size = max(sizes, default=max(box.size for box in boxes))
    big = next((box for box in boxes if box.tall and box.text in BIG and size < 0.85 * box.size), None)
    if big is not None:
        ys = sorted(box.y for box in boxes if not box.tall)
        if max((after - before for before, after in pairwise(ys)), default=0.0) > 0.5 * big.size:
            # Nothing but a sum and its limits.
            return (big.top + big.bottom) / 2 + AXIS * big.size, big.size
    lines: dict[int, list[Box]] = {}
    large = [box for box in boxes if box.size > 0.88 * size]
    for box in large:
        lines.setdefault(round(box.y), []).append(box)
    best = max(lines, key=lambda y: (len(lines[y]) + len(lines.get(y + 1, ())) / 2, -min(b.x0 for b in lines[y])))
    ys = sorted(box.y for box in lines[best])
    return ys[len(ys) // 2], size


def _congruences(boxes: list[Box]) -> list[Box]:
    """A tilde over an equals sign, which TeX sets as two, is one sign."""
    for tilde in [box for box in boxes if box.text == "∼"]:
        under = next((b for b in boxes if b.text == "=" and abs(b.middle - tilde.middle) < 0.1 * b.size), None)
        if under is not None:
            under.latex, under.text = r"\cong", "≅"
            boxes = [box for box in boxes if box is not tilde]
    return boxes


def _accents(boxes: list[Box]) -> list[Box]:
    # TeX strikes the sign of an element out with a slash.
    marks = [
        box
        for box in boxes
        if box.text in ACCENTS or box.text == "̸" or (box.text == "/" and _is_within_relation(box, boxes))
    ]
    for mark in marks:
        others = [
            box
            for box in boxes
            if box is not mark
            and box.text not in ACCENTS
            and box.x0 - 0.15 * mark.size <= mark.middle <= box.x1 + 0.2 * mark.size
            and box.size > 0.85 * mark.size
            and -0.2 * mark.size < box.y - mark.y < 1.2 * mark.size
        ]
        if mark.text in "̸/":
            after = [box for box in boxes if box is not mark and -0.3 * mark.size < box.x0 - mark.x0 < 0.9 * mark.size]
            if after:
                base = min(after, key=lambda box: abs(box.x0 - mark.x0))
                base.latex = _NEGATED.get(base.latex, rf"\not{base.latex}")
                base.text = "≠"
                boxes.remove(mark)
            continue
        if not others:
            continue
        base = min(others, key=lambda box: abs(box.middle - mark.middle))
        command = ACCENTS[mark.text]
        if mark.x1 - mark.x0 > 0.7 * mark.size:
            command = WIDE.get(command, command)
        single = len(base.latex) == 1 or (base.latex.startswith("\\") and base.latex[1:].isalpha())
        if single:
            base.latex = join([command, base.latex]) if base.latex[0] == "\\" else f"{command} {base.latex}"
        else:
            base.latex = f"{command}{{{base.latex}}}"
        base.text, base.word = "", False
        base.top = min(base.top, mark.top)
        boxes.remove(mark)
    return boxes


def _is_within_relation(slash: Box, boxes: Sequence[Box]) -> bool:
    return any(box.x0 - 1 < slash.x0 and slash.x1 < box.x1 + 1 for box in boxes if box.text in RELATIONS)


def _limits(boxes: list[Box], depth: int) -> list[Box]:
    """Small boxes right above and below a sum, a limit or a brace become its scripts."""
    operators = [box for box in boxes if box.text in BIG or box.text in UNDER or (box.text and box.text in "⏞⏟")]
    middles = [operator.middle for operator in operators]
    for number, operator in enumerate(operators):
        tall = operator.text in BIG
        top = operator.top if tall else operator.y - 0.75 * operator.size
        bottom = operator.bottom if tall else operator.y + 0.1 * operator.size
        small = [
            box
            for box in boxes
            if box is not operator
            and box.size < 0.85 * operator.size
            and not (box.tall and box.size > 0.85 * operator.size)
        ]
        others = middles[:number] + middles[number + 1 :]
        below = [box for box in small if box.y - 0.45 * box.size > bottom - 0.12 * operator.size]
        above = [box for box in small if box.y < top + 0.15 * operator.size]
        below, above = (_chain(operator, others, near) for near in (below, above))
        if operator.text in INTEGRALS and min((b.x0 for b in [*below, *above]), default=0.0) >= operator.x0 - 0.5:
            # Its limits stand on the right, as scripts do.
            continue
        if not below and not above:
            continue
        latex = operator.latex
        if below:
            latex += "_" + braced(_row(list(below), [], depth + 1))
        if above:
            latex += "^" + braced(_row(list(above), [], depth + 1))
        operator.latex, operator.text = latex, "∑"
        operator.x0 = min(operator.x0, *(box.x0 for box in [*below, *above]))
        operator.x1 = max(operator.x1, *(box.x1 for box in [*below, *above]))
        taken = set(map(id, [*below, *above]))
        boxes = [box for box in boxes if id(box) not in taken]
    return boxes


def _chain(operator: Box, others: Sequence[float], boxes: list[Box]) -> list[Box]:
    """Boxes that hang together and touch the operator's width, those nearer to one of the others' middles aside."""
    chains: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: box.x0):
        if chains and box.x0 - max(b.x1 for b in chains[-1]) < 0.4 * operator.size:
            chains[-1].append(box)
        else:
            chains.append([box])
    chain = next((c for c in chains if min(b.x0 for b in c) < operator.x1 and max(b.x1 for b in c) > operator.x0), [])
    start, end = min((box.x0 for box in chain), default=0.0), max((box.x1 for box in chain), default=0.0)
    rivals = [middle for middle in others if start < middle < end]
    return [
        box for box in chain if all(abs(box.middle - operator.middle) <= abs(box.middle - rival) for rival in rivals)
    ]


def _line(boxes: list[Box], depth: int) -> str:
    """Boxes from left to right; those off the baseline are scripts of the one before."""
    if not boxes:
        return ""
    main, size = _main(boxes)
    parts: list[str] = []
    base: Box | None = None
    scripts: list[Box] = []
    end = boxes[0].x0
    boxes_on = 0

    def flush() -> None:
        nonlocal scripts
        if base is not None or scripts:
            parts.append(_scripted(base, scripts, main, size, depth))
        scripts = []

    for box in boxes:
        rise = main - box.y
        small = box.size < 0.88 * size
        off = not (box.tall and not small) and (abs(rise) > (0.08 if small else 0.3) * size)
        if box.text in ("′", "'", "’", "″") and base is not None:
            off = True
        if scripts and box.size < 0.85 * max(script.size for script in scripts):
            # A superscript of a subscript may stand on the formula's own baseline.
            off = True
        if off and (base is not None or boxes_on == 0):
            scripts.append(box)
            end = max(end, box.x1)
            continue
        flush()
        gap = box.x0 - end
        if boxes_on and gap > 0.75 * size:
            parts.append(r"\qquad" if gap > 1.75 * size else r"\quad")
        elif gap > 0.2 * size and base is not None and not {base.text, box.text} & (RELATIONS | OPERATORS):
            # LaTeX drops the blanks around words.
            if parts[-1].startswith(TEXT) and parts[-1].endswith("}"):
                parts[-1] = f"{parts[-1][:-1]} }}"
            elif box.latex.startswith(TEXT):
                box.latex = f"{TEXT} {box.latex.removeprefix(TEXT)}"
        base = box
        boxes_on += 1
        end = box.x1
    flush()
    return _fenced(parts)


def _fenced(parts: list[str]) -> str:
    """Tall delimiters in pairs get \\left and \\right; alone they stay as they are."""
    stack: list[int] = []
    for number, part in enumerate(parts):
        if part.startswith("\x01"):
            stack.append(number)
        elif part.startswith("\x02") and stack:
            start = stack.pop()
            parts[start] = "\\left" + parts[start][1:]
            parts[number] = "\\right" + part[1:]
        elif part.startswith("\x03"):
            if stack and parts[stack[-1]].startswith("\x03"):
                start = stack.pop()
                parts[start] = "\\left" + parts[start][1:]
                parts[number] = "\\right" + part[1:]
            else:
                stack.append(number)
    return join([part.lstrip("\x01\x02\x03") for part in parts])


def _scripted(base: Box | None, scripts: list[Box], main: float, size: float, depth: int) -> str:
    latex = base.latex if base else "{}"
    if base and base.tall and base.text in OPEN:
        latex = "\x01" + latex
    elif base and base.tall and base.text in CLOSE:
        latex = "\x02" + latex
    elif base and base.tall and base.text in ("|", "‖", "⏐"):
        latex = "\x03" + latex
    if not scripts:
        return latex
    primes = [box for box in scripts if box.text in ("′", "'", "’", "″")]
    rest = [box for box in scripts if box not in primes]
    middle = main - AXIS * size
    upper = [box for box in rest if _center(box) < middle and main - box.y > 0.05 * size]
    lower = [box for box in rest if box not in upper]
    if primes and base is None:
        latex = ""
    if base and (" " in latex.strip() or len(latex) > 1) and not _simple(latex):
        latex = f"{{{latex}}}" if not latex.startswith(("\x01", "\x02", "\x03")) else latex
    raised = "'" * sum(2 if box.text == "″" else 1 for box in primes)
    if upper and raised:
        raised = "^{" + r"\prime" * len(raised) + _row(upper, [], depth + 1) + "}"
        upper = []
    if lower:
        latex += "_" + braced(_row(lower, [], depth + 1))
    latex += raised
    if upper:
        latex += "^" + braced(_row(upper, [], depth + 1))
    return latex


def _center(box: Box) -> float:
    return (box.top + box.bottom) / 2 if box.tall else box.y - 0.25 * box.size


def _simple(latex: str) -> bool:
    """Whether a script may follow without braces."""
    if latex[0] in "\x01\x02\x03" or latex.startswith(
        (r"\sum", r"\prod", r"\int", r"\big", r"\lim", r"\begin", r"\frac", r"\sqrt")
    ):
        return True
    return latex.startswith("\\") or latex.isdigit()


def relation_positions(glyphs: Sequence[Glyph], rules: Sequence[Rule]) -> list[float]:
    """Left ends of the relations on a formula's baseline."""
    boxes = [
        box
        for box in boxes_of(glyphs)
        if not any(rule.x0 - 1 < box.middle < rule.x1 + 1 for rule in rules) and not box.tall
    ]
    if not boxes:
        return []
    main, size = _main(boxes)
    if rules:
        # A formula that is hardly more than a fraction has little else on its baseline.
        longest = max(rules, key=lambda rule: rule.x1 - rule.x0)
        near = [box.y for box in boxes if abs(box.y - longest.y - AXIS * size) < 0.1 * size]
        main = near[0] if near else main
    return [
        box.x0 for box in boxes if box.text in RELATIONS and abs(box.y - main) < 0.15 * size and box.size > 0.88 * size
    ]
