"""A row of words to text: inline formulas between dollar signs, inline code between back-ticks.

A formula is found by its fonts (TeX's mathematics fonts), by characters that only mathematics uses, and by
scripts off the baseline; digits, operators, brackets and names of functions beside these belong to it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Sequence
from itertools import pairwise

from mimo_data.latex import FUNCTIONS, join
from mimo_data.pdf.formulas import formula
from mimo_data.pdf.layout import Row
from mimo_data.pdf.symbols import BIG, IDEOGRAPHIC, OPEN, OPERATORS, RELATIONS, is_mathematical
from mimo_data.pdf.textlayer import Glyph

# Labels: m operand of a formula, r its operator, x script, d digit, o operator that prose has too, ( ) brackets,
# f name of a function, comma, e ellipsis, c code, t other text, blank.
_OPERANDS = "mxd)f"
_MAX_THIN_SPACE = 0.2
"""Ems; words are further apart."""
_MAX_SPACE_AT_BRACKET = 0.3
_MAX_SPACE_AT_SUM = 0.4
_MAX_SPACE_AT_FUNCTION = 0.25
_MAX_DIGITS = 12
_MAX_OPERATOR_CHARACTERS = 12
_MAX_LIST_LABELS = 60
_MAX_NAME_LETTERS = 8
_MIN_HEIGHT_OF_ARRAY = 1.7
"""Ems."""
_OPENING = OPEN.keys() | frozenset("|‖⎛⎜⎝⎡⎢⎣⎧⎨⎩⎪")
_OPERATOR_AT_END = re.compile(
    r"([-+=<>,(]|\\(?:leq|geq|neq|in|subset|subseteq|equiv|approx|sim|to|cdot|times|pm|oplus|otimes|cup|cap))\$$"
    r"|(?<=[^$])\$ ?([=<>+])$"
)
# Before a formula: the first of a pair or an interval, `[0, `, and a list up to its ellipsis, `1, 2, …, `.
_PAIR_OR_LIST = re.compile(r"\(d+, ?$|(?:[mdx]+, ?)+e+, ?$")
_END_OF_WORD = re.compile(r"([^\W\d]+)-$")
_WORD = re.compile(r"[^\W\d]+")


def labels_of(row: Row, *, italic_letters: bool) -> str:
    """What each glyph of a row is, one letter each.

    Args:
        italic_letters: single italic letters of text fonts are formulas, as where no mathematics font is used.
    """
    found: list[str] = []
    for glyph in row.glyphs:
        found.append(_label(glyph, row))
    _mark_arrays(row, found)
    _mark_words(row.glyphs, found, italic_letters=italic_letters)
    _mark_joints(row.glyphs, found)
    return "".join(found)


def _label(glyph: Glyph, row: Row) -> str:
    text, font = glyph.text, glyph.font
    if abs(glyph.y - row.y) < 0.05 and not (font.is_math or font.monospaced) and text.isalpha() and text.isascii():
        return "t"
    if text.isspace():
        return " "
    if glyph.height:
        return "m"
    if font.monospaced:
        return "c"
    if glyph.size < 0.88 * row.size and abs(glyph.y - row.y) > 0.08 * row.size:
        return "x"
    if font.is_math and text not in "•§¶▶►▸":
        if text in RELATIONS or text in OPERATORS:
            return "r"
        if text in "([{":
            return "("
        if text in ")]}":
            return ")"
        return "," if text in ",.;:" else "m"
    if is_mathematical(text):
        return "r" if text in RELATIONS or text in OPERATORS else "m"
    if text.isdigit():
        return "d"
    if text in "=+<>/|*":
        return "o"
    if text in "([":
        return "("
    if text in ")]":
        return ")"
    if text in ",;":
        return ","
    return "a" if text in "¯ˆ˜˙¨⃗" else "t"


def _mark_arrays(row: Row, found: list[str]) -> None:
    """All that stands behind a tall bracket as far as there are lines above and below the row's own: one formula."""
    if row.bottom - row.top < _MIN_HEIGHT_OF_ARRAY * row.size:
        return
    tall = [glyph for glyph in row.glyphs if glyph.height > _MIN_HEIGHT_OF_ARRAY and glyph.text in _OPENING]
    if not tall:
        return
    lines = [
        glyph
        for glyph in row.glyphs
        if not glyph.height and glyph.size > 0.88 * row.size and abs(glyph.y - row.y) > 0.3 * row.size
    ]
    start, end = tall[0].x0, max((glyph.x1 for glyph in lines), default=0.0)
    for position, glyph in enumerate(row.glyphs):
        if start < glyph.x0 < end:
            found[position] = "o" if glyph.text.isspace() else "m"


def _mark_words(glyphs: Sequence[Glyph], found: list[str], *, italic_letters: bool) -> None:
    """Names of functions, lone Greek and italic letters, decimal points and accents, told by what is beside them."""
    dots = "".join(glyph.text if glyph.text in " .,…⋯" else "x" for glyph in glyphs)
    for run in re.finditer(r"(?<!\.)\.( ?\.){2}(?![.])(?! \.)", dots):
        # A spaced ellipsis beside a comma or an operator is one of mathematics.
        if re.search(r"[,mxro] ?$", "".join(found[: run.start()])):
            found[run.start() : run.end()] = "e" * (run.end() - run.start())
    for sign in re.finditer("[,…⋯]", dots):
        position = sign.start()
        if sign[0] != ",":
            if re.search(r"[,mxro] ?$", "".join(found[max(0, position - 2) : position])):
                found[position] = "e"
        elif found[position] == "," and glyphs[position].font.is_math and _is_between(found, position):
            # The comma of a list in a formula: one between two formulas is of the text's font.
            found[position] = "e"
    _mark_relations(glyphs, found)
    for blank in re.finditer(r"(?<=[mx]) (?=[(mx])", "".join(found)):
        # TeX sets a thin space before a tall parenthesis and around fractions, browsers a wider one; slanted
        # letters stand apart from what is upright.
        left, right = glyphs[blank.start() - 1], glyphs[blank.end()]
        apart = left.height or right.height or (left.text in "VY" and left.font.is_math)
        most = _MAX_SPACE_AT_BRACKET if apart else _MAX_THIN_SPACE
        if right.x0 - left.x1 < most * max(left.size, right.size):
            found[blank.start()] = "o"
    for run in re.finditer("x{4,}", "".join(found)):
        # Small words beside a line are words; below the letter of a formula they are its script.
        part = glyphs[run.start() : run.end()]
        at_formula = (
            run.start() > 0
            and found[run.start() - 1] in "m)"
            and part[0].x0 - glyphs[run.start() - 1].x1 < 0.15 * part[0].size
        )
        if not at_formula and all(glyph.text.isalpha() and not glyph.font.is_math for glyph in part):
            found[run.start() : run.end()] = "t" * len(part)
    position = 0
    while position < len(glyphs):
        if glyphs[position].text == "." and found[max(0, position - 1) : position + 2] in (
            ["d", ",", "d"],
            ["d", "t", "d"],
        ):
            found[position] = "d"
        if found[position] != "t":
            if found[position] == "a":
                found[position] = "m" if any(c in "mx" for c in found[max(0, position - 2) : position + 3]) else "t"
            position += 1
            continue
        end = position
        while end < len(glyphs) and found[end] == "t" and glyphs[end].text.isalpha():
            end += 1
        word = "".join(glyph.text for glyph in glyphs[position:end])
        if not word:
            position += 1
            continue
        if (
            (word in FUNCTIONS and word not in ("max", "min", "dim", "inf", "sup", "arg", "deg"))
            or (word in FUNCTIONS and end < len(glyphs) and found[end] in "x(")
            or _is_applied(glyphs, found, position, end)
            or _has_subscript(glyphs, found, position, end)
        ):
            found[position:end] = "f" * len(word)
        elif (
            word == "mod"
            and (before := re.search(r"[mxd)] *(?:\( *)?$", "".join(found[:position]))) is not None
            and "".join(found[end:]).lstrip()[:1] in tuple("mxd(")
        ):
            found[position:end] = "rrr"
            # The blank before a parenthesis does not end the formula.
            found[before.start() + 1 : position] = [
                "r" if label == " " else label for label in found[before.start() + 1 : position]
            ]
        elif len(word) == 1 and (
            unicodedata.name(word, "").startswith("GREEK")
            or (italic_letters and glyphs[position].font.italic and not _in_italic_text(glyphs, position))
            or "".join(found[end : end + 1]) == "x"
            or (glyphs[position].font.bold and _touches_formula(found, position))
        ):
            found[position] = "m"
        position = end


def _mark_joints(glyphs: Sequence[Glyph], found: list[str]) -> None:
    """What belongs to a formula's letters: names applied to them, spaces at sums and functions, factorials, bars."""
    for name in re.finditer(r"t{2,}(?=\(m)", "".join(found)):
        # What it is taken of may have become one of a formula's letters just now.
        if _is_applied(glyphs, found, *name.span()) and all(
            glyph.text.isalpha() for glyph in glyphs[name.start() : name.end()]
        ):
            found[name.start() : name.end()] = "f" * len(name[0])
    for blank in re.finditer(r"(?<=[mxd)]) (?=[mdf(])", "".join(found)):
        # TeX puts thin spaces around sums and functions, whose limits may be narrower than they seem, and before `dx`.
        left, right = glyphs[blank.start() - 1], glyphs[blank.end()]
        operator = blank.start() - 1
        while operator and found[operator] == "x":
            operator -= 1
        if glyphs[operator].text in BIG or (found[operator] == "f" and found[blank.start() - 1] == "x"):
            most = _MAX_SPACE_AT_SUM
        elif right.text in BIG or (right.text == "d" and found[blank.end() :][:2] == ["m", "m"]):
            most = _MAX_SPACE_AT_BRACKET
        elif "f" in (found[operator], found[blank.end()]):
            most = _MAX_SPACE_AT_FUNCTION
        else:
            continue
        if right.x0 - left.x1 < most * right.size:
            found[blank.start()] = "o"
    for factorial in re.finditer(r"(?:(?<=m)|(?<=[mx]\))|(?<=[ro]d\)))t", "".join(found)):
        if glyphs[factorial.start()].text == "!" and found[factorial.end() : factorial.end() + 1] != ["t"]:
            found[factorial.start()] = "m"
    bars = [position for position, glyph in enumerate(glyphs) if glyph.text == "|" and found[position] == "o"]
    for left_bar, right_bar in pairwise(bars):
        if found[left_bar + 1] in "mf(" and found[right_bar - 1] in "mx)":
            found[left_bar] = found[right_bar] = "m"


def _is_between(found: Sequence[str], position: int) -> bool:
    """Whether operands stand on both sides, with a blank between or without."""
    before = "".join(found[max(0, position - 2) : position]).rstrip()[-1:]
    after = "".join(found[position + 1 : position + 3]).lstrip()[:1]
    return before in tuple("mxd)e") and after in tuple("mxdf(re…")


def _mark_relations(glyphs: Sequence[Glyph], found: list[str]) -> None:
    """Colons and bars between blanks behind a formula, `f : X → Y`, and `:=`; prose has none before a colon."""
    for position, glyph in enumerate(glyphs):
        if glyph.text not in (":", "|", "∣") or found[position] == "c":
            continue
        following = glyphs[position + 1].text if position + 1 < len(glyphs) else ""
        before = found[max(0, position - 2) : position]
        is_apart = before[1:] == [" "] and before[0] in "mxd)" and following == " "
        if is_apart or (glyph.text == ":" and following == "="):
            found[position] = "o"


def _is_applied(glyphs: Sequence[Glyph], found: Sequence[str], start: int, end: int) -> bool:
    """Whether an upright word is the name of a function: right after it stand a bracket and what it is taken of."""
    while found[end : end + 1] == ["x"] and glyphs[end].y > glyphs[start].y:
        end += 1
    return (
        1 < end - start <= _MAX_NAME_LETTERS
        and found[end : end + 2] == ["(", "m"]
        and glyphs[end].x0 - glyphs[end - 1].x1 < 0.1 * glyphs[end].size
        and not glyphs[start].font.italic
        and glyphs[start].text.isascii()
        and (start == 0 or found[start - 1] != "t")
    )


def _has_subscript(glyphs: Sequence[Glyph], found: Sequence[str], start: int, end: int) -> bool:
    """Whether an upright word has a letter of mathematics as its subscript, as the name of a map may."""
    return (
        1 < end - start <= _MAX_NAME_LETTERS
        and found[end : end + 1] == ["x"]
        and (glyphs[end].font.is_math or is_mathematical(glyphs[end].text))
        and glyphs[end].text.isalpha()
        and glyphs[end].y > glyphs[start].y
        and glyphs[end].x0 - glyphs[end - 1].x1 < 0.1 * glyphs[start].size
        and not glyphs[start].font.italic
        and (start == 0 or found[start - 1] != "t")
    )


def _touches_formula(found: Sequence[str], position: int) -> bool:
    """Whether a formula stands right before or after a letter, as beside a bold one that names a ring."""
    before, after = found[max(0, position - _MAX_DIGITS) : position], found[position + 1 : position + 3]
    return bool(re.search(r"[mr]d*$", "".join(before)) or re.match(r"[mr]|\(m", "".join(after)))


def _in_italic_text(glyphs: Sequence[Glyph], position: int) -> bool:
    """Whether a word of italic letters stands right before or after, so that this one is a word or an initial."""
    for step in (-1, 1):
        near = [
            glyph
            for glyph in [*reversed(glyphs[max(0, position - 6) : position]), *glyphs[position + 1 : position + 7]]
            if (glyph.x0 - glyphs[position].x0) * step > 0 and glyph.text.isalpha()
        ][:2]
        if len(near) == 2 and all(glyph.font.italic for glyph in near) and abs(near[0].x0 - near[1].x0) < near[0].size:
            return True
    return False


def formula_spans(labels: str) -> list[tuple[int, int]]:
    """Where formulas stand among labels."""
    spans: list[tuple[int, int]] = []
    position = 0
    while position < len(labels):
        if labels[position] not in "mxr":
            position += 1
            continue
        start = _reach_left(labels, position, spans[-1][1] if spans else 0)
        opened = labels.count("(", start, position) - labels.count(")", start, position)
        end = _reach_right(labels, position, opened)
        start, end = _trimmed(labels, start, end)
        if start < end and re.search(r"[mxr]", labels[start:end]):
            if spans and start < spans[-1][1]:
                start = spans.pop()[0]
            spans.append((start, end))
        position = max(position + 1, end)
    return spans


def _reach_right(labels: str, position: int, depth: int) -> int:
    while position < len(labels):
        label = labels[position]
        before = labels[position - 1] if position else " "
        if label in "(":
            depth += 1
        elif label == ")":
            if not depth and before == " ":
                return position
            depth -= 1
        elif label == "e" or (label == " " and (labels[position + 1 : position + 2] == "e" or before == "e")):
            pass
        elif label == " ":
            after = labels[position + 1 : position + 2]
            joined = (after in tuple("ro") and after) or (before in "ro(f" and after in tuple("mxdf(ro"))
            if not joined and not (depth > 0 and after in tuple("mdf()")) and not (before == "," and depth > 0):
                return position
        elif label == ",":
            after = labels[position + 1 : position + 3].lstrip()[:1]
            if after == "e" or (after and after in "mdf(" and labels[:position].rstrip().endswith("e")):
                position += 2 if labels[position + 1] == " " else 1
                continue
            if not after or after not in "mxdf(r" or (depth <= 0 and labels[position + 1] == " "):
                return position
        elif label not in "mxrdof":
            return position
        position += 1
    return position


def _reach_left(labels: str, position: int, limit: int) -> int:
    if first := _PAIR_OR_LIST.search(labels, max(limit, position - _MAX_LIST_LABELS), position):
        position = first.start()
    while position > limit:
        label = labels[position - 1]
        here = labels[position]
        if label in "d(fo" or (label == ")" and here in "xro"):
            position -= 1
        elif label == " " and position - 1 > limit:
            before = labels[position - 2]
            if (before in "dfo)mx" and here in "ro") or (before in "of" and here in "mxd(f"):
                position -= 1
            else:
                return position
        elif label == "t" and here == "x":
            return position
        else:
            return position
    return position


def _trimmed(labels: str, start: int, end: int) -> tuple[int, int]:
    """Without blanks and operators at the ends that only prose left there, and without half a pair of brackets."""
    while start < end:
        part = labels[start:end]
        if part[-1] in " ,o" or (part[-1] == "(" and part.count("(") > part.count(")")):
            end -= 1
        elif (
            part[0] in " ,o"
            or (part[0] == ")" and part.count(")") > part.count("("))
            or (part[0] == "(" and part.count("(") > part.count(")"))
        ):
            start += 1
        elif part[-1] == ")" and part.count(")") > part.count("("):
            end -= 1
        else:
            break
    return start, end


def text_of(row: Row, labels: str) -> str:
    """The row as Markdown."""
    glyphs = row.glyphs
    parts: list[str] = []
    position = 0
    for start, end in [*formula_spans(labels), (len(glyphs), len(glyphs))]:
        parts.append(_plain(glyphs[position:start], labels[position:start]))
        parts.append(_math(row, start, end, labels) if start < end else "")
        for border in (start, end):
            if 0 < border < len(glyphs) and glyphs[border].x0 - glyphs[border - 1].x1 > 0.2 * row.size:
                parts.insert(len(parts) - (border == start), " ")
        position = end
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def _math(row: Row, start: int, end: int, labels: str) -> str:
    glyphs = [glyph for glyph in row.glyphs[start:end] if not glyph.text.isspace()]
    x0, x1 = glyphs[0].x0 - 1, max(glyph.x1 for glyph in glyphs) + 1
    rules = [rule for rule in row.rules if x0 <= rule.x0 and rule.x1 <= x1 + 2]
    top, bottom = min(glyph.y for glyph in glyphs), max(glyph.y for glyph in glyphs)
    is_fraction = any(top < rule.y < bottom for rule in rules)
    if not is_fraction and set(labels[start:end]) <= {"x", " "}:
        text = "".join(glyph.text for glyph in glyphs)
        before = labels[start - 1] if start else " "
        raised = glyphs[0].y < row.y
        if raised and text.isdigit() and (before == "t" or start == 0):
            return f"[^{text}]"
        if not re.search(r"[\d∗†‡]", text) or text.isalpha():
            return text
        return f"${'^' if raised else '_'}{{{text}}}$" if text.isascii() else text
    latex = formula(glyphs, rules)
    if start and not row.glyphs[start - 1].text.isspace():
        # An exponent of a word, as of a unit.
        latex = latex.removeprefix("{}")
    return f"${latex}$" if latex.strip() else ""


def _plain(glyphs: Sequence[Glyph], labels: str) -> str:
    parts: list[str] = []
    end: float | None = None
    code = False
    for glyph, label in zip(glyphs, labels, strict=True):
        if (label == "c") != code and label != " ":
            parts.append("`")
            code = label == "c"
            if not code and parts[-2:-1] and parts[-2].isspace():
                parts[-2], parts[-1] = "`", parts[-2]
        if label != " " and end is not None and glyph.x0 - end > 0.2 * glyph.size and parts and not parts[-1].isspace():
            parts.append(" ")
        parts.append(glyph.text)
        end = glyph.x1
    if code:
        tail = parts.pop() if parts[-1].isspace() else ""
        parts += ["`", tail]
    return "".join(parts)


def join_lines(text: str, rest: str, compounds: Container[str] = ()) -> str:
    """Two rows of one paragraph; a word broken at the row's end becomes whole.

    Args:
        compounds: pairs of words that have a hyphen between them elsewhere in the file, in small letters.
    """
    if (word := _END_OF_WORD.search(text)) and (second := _WORD.match(rest)) and rest[:1].islower():
        # No word begins with capitals only: `KL-divergence`.
        is_compound = word[1].isupper() or f"{word[1]}-{second[0]}".lower() in compounds
        return (text if is_compound else text[:-1]) + rest
    # Chinese and Japanese put no blank between words, hence none between lines.
    if IDEOGRAPHIC.match(text[-1:]) and IDEOGRAPHIC.match(rest):
        return text + rest
    if (operator := _OPERATOR_AT_END.search(text, max(0, len(text) - _MAX_OPERATOR_CHARACTERS))) and re.match(
        r"\$[^$]", rest
    ):
        # TeX breaks a formula behind its operators.
        return text[: operator.start()] + join([operator[1] or operator[2], rest[1:]])
    return f"{text} {rest}"
