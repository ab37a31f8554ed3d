"""Formulas of which a page keeps only the boxes that KaTeX drew, back to MathML."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from lxml import etree

from mimo_data.html.drawn import MAX_DEPTH, classes, one, row, scripted, style, text_element, whole_sign
from mimo_data.html.mathml import elements, mathml_to_latex

_EMPTY = frozenset([
    "strut", "pstrut", "vlist-s", "nulldelimiter", "frac-line", "hide-tail", "overline-line", "underline-line",
    "arraycolsep", "mathml", "fix",
])  # fmt: skip
_VARIANTS = {
    "mathbf": "bold", "boldsymbol": "bold-italic", "mathbb": "double-struck", "mathcal": "script", "mathscr": "script",
    "mathfrak": "fraktur", "mathsf": "sans-serif", "mathtt": "monospace", "mathrm": "normal",
}  # fmt: skip
# The name of the usual italics in one version and another.
_ITALICS = frozenset(["mathnormal", "mathdefault", "mathit"])
_GROUPS = frozenset(["mord", "minner", "mop"])
_OPERATORS = frozenset(["mbin", "mrel", "mopen", "mclose", "mpunct"])
# Drawn as one path: told apart by their width in em, or by the size of their box.
_DELIMITERS = {"0.875": ("(", ")"), "0.667": ("[", "]"), "0.333": ("|", "|"), "0.556": ("‖", "‖")}
_ACCENTS = {
    "471": "→", "1062": "^", "2364": "^", "600": "~", "1033": "~", "2339": "~", "2340": "~", "400000": "→",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z]{2,}")
# The stroke of `\not`, and what it makes of the sign after it.
_STROKE = re.compile(r"\ue020\s*(=)?|(\\in)\s*\u0338")
_STRUCK = {"=": r"\neq ", r"\in": r"\notin ", None: r"\not "}
_LENGTH = re.compile(r"(-?[\d.]+)em")


def katex_to_latex(element: etree._Element) -> str:
    """LaTeX of a `.katex-html` element."""
    latex = mathml_to_latex(row("math", _parts(element, 0)))
    return _STROKE.sub(lambda stroke: _STRUCK[stroke[1] or stroke[2]], latex)


def _parts(element: etree._Element, depth: int) -> list[etree._Element]:
    """What an element's boxes hold, in order; a script is hung on what stands before it."""
    if (element.text or "").strip() or any((child.tail or "").strip("\u200b\n ") for child in element):
        return _tokens(element)
    if "mop" in classes(element) and all(len(child) == 0 for child in element):
        # A name whose letters stand in boxes of their own.
        text = "".join(element.itertext())
        if _NAME.fullmatch(text):
            return _tokens(element)
    parts: list[etree._Element] = []
    for child in elements(element):
        names = classes(child)
        if _EMPTY & {*names} or child.tag == "svg":
            continue
        if depth > MAX_DEPTH:
            parts.append(text_element("mi", "".join(child.itertext())))
        elif "mspace" in names:
            parts.append(etree.Element("mspace", width=style(child, "margin-right")))
        elif "msupsub" in names:
            parts.append(_scripts(parts.pop() if parts else etree.Element("mrow"), child, depth))
        else:
            rule = next((_RULES[name] for name in names if name in _RULES), None)
            inner = _parts(child, depth + 1) if rule is None else [rule(child, depth + 1)]
            # A script after these hangs on all of it.
            parts += [one(inner)] if len(child) > 1 and _GROUPS & {*names} else inner
    return parts


def _tokens(element: etree._Element) -> list[etree._Element]:
    text = _written(element)
    names = {*classes(element)}
    if names & _ITALICS:
        return [text_element("mi", letter) for letter in text]
    if "mrel" not in names:
        text = text.replace("∣", "|").replace("∥", "‖")
    token = text_element("mn" if text.isdigit() else "mo" if names & _OPERATORS else "mi", text)
    if variant := next((_VARIANTS[name] for name in names if name in _VARIANTS), ""):
        token.set("mathvariant", variant)
    parent = element.getparent()
    if "mop" in names or (parent is not None and "mop" in classes(parent)):
        token.set("data-mjx-texclass", "OP")
    return [token]


class _Box(NamedTuple):
    """One of those that a `vlist` stacks."""

    drop: float
    """How far it hangs below the line, in em."""
    content: etree._Element
    """In MathML."""


def _stacked(element: etree._Element) -> list[etree._Element]:
    """The boxes of the first `vlist` inside, as the page has them."""
    vlist = next((child for child in element.iter("span") if "vlist" in classes(child)), None)
    return [] if vlist is None else elements(vlist)


def _written(element: etree._Element) -> str:
    return "".join(element.itertext()).replace("\u200b", "").strip()


def _boxes(element: etree._Element, depth: int, *, with_empty: bool = False) -> list[_Box]:
    """What the first `vlist` inside stacks, from the top; boxes that only draw something are left out."""
    boxes = []
    for box in _stacked(element):
        parts = _parts(box, depth + 1)
        if parts or with_empty:
            struts = (_length(style(child, "height")) for child in box if "pstrut" in classes(child))
            boxes.append(_Box(_length(style(box, "top")) + next(struts, 0.0), one(parts)))
    return sorted(boxes, key=lambda box: box.drop)


def _length(value: str) -> float:
    found = _LENGTH.match(value)
    return float(found[1]) if found else 0.0


def _scripts(base: etree._Element, scripts: etree._Element, depth: int) -> etree._Element:
    boxes = _boxes(scripts, depth)
    if len(boxes) == 2:
        above, below = (box.content for box in boxes)
        return scripted("msubsup", base, below, above)
    if not boxes:
        return base
    # A list with depth, which is a subscript's.
    vlist = next(child for child in scripts.iter("span") if "vlist-t" in classes(child))
    is_below = "vlist-t2" in classes(vlist)
    return scripted("msubsup", base, *((boxes[0].content, None) if is_below else (None, boxes[0].content)))


def _fraction(element: etree._Element, depth: int) -> etree._Element:
    fraction = row("mfrac", [box.content for box in _boxes(element, depth)])
    if not any("frac-line" in classes(line) for box in _stacked(element) for line in box):
        fraction.set("linethickness", "0")
    return fraction


def _root(element: etree._Element, depth: int) -> etree._Element:
    boxes = _boxes(next((box for box in elements(element) if "vlist-t" in classes(box)), element), depth)
    radicand = row("mrow", [box.content for box in boxes])
    index = next((child for child in elements(element) if "root" in classes(child)), None)
    return row("msqrt", [radicand]) if index is None else row("mroot", [radicand, one(_parts(index, depth))])


def _limits(element: etree._Element, depth: int) -> etree._Element:
    """A sum's limits, or one thing set above or below another: what is limited stays on the line."""
    boxes = _boxes(element, depth)
    if not boxes:
        return etree.Element("mrow")
    base = min(range(len(boxes)), key=lambda number: abs(boxes[number].drop))
    below = boxes[base + 1].content if base + 1 < len(boxes) else None
    above = boxes[base - 1].content if base else None
    return scripted("munderover", boxes[base].content, below, above)


def _accent(element: etree._Element, depth: int) -> etree._Element:
    mark, base = "", []
    for box in _stacked(element) or elements(element):
        if "svg-align" in classes(box) or any("accent-body" in classes(child) for child in box):
            drawing = next(box.iter("svg"), None)
            text = _written(box)
            mark = text or ("" if drawing is None else _ACCENTS.get(_box_width(drawing), ""))
        else:
            base += _parts(box, depth + 1)
    return row("mover", [one(base), text_element("mo", mark)]) if mark else one(base)


def _box_width(drawing: etree._Element) -> str:
    return f"{drawing.get('viewbox') or drawing.get('viewBox') or ''} 0 0 0".split()[2]


def _line(kind: str, mark: str) -> Callable[[etree._Element, int], etree._Element]:
    def rule(element: etree._Element, depth: int) -> etree._Element:
        sign = text_element("mo", mark)
        sign.set("accent", "false")
        return row(kind, [one([box.content for box in _boxes(element, depth)]), sign])

    return rule


def _brace(kind: str, mark: str) -> Callable[[etree._Element, int], etree._Element]:
    """A brace over or under what it spans, or the words over or under the brace."""

    def rule(element: etree._Element, depth: int) -> etree._Element:
        boxes = _boxes(element, depth)
        if any("svg-align" in classes(box) for box in _stacked(element) or elements(element)):
            base = one([box.content for box in boxes])
            # An arrow below or above is not told from a brace by its path.
            return row(kind, [base, text_element("mo", mark)])
        if len(boxes) != 2:
            return one([box.content for box in boxes])
        above, below = (box.content for box in boxes)
        return row(kind, [above, below] if kind == "munder" else [below, above])

    return rule


def _delimiter(element: etree._Element, depth: int) -> etree._Element:
    """A large one: a letter of a larger font, pieces above each other, or a path of a certain width."""
    text = whole_sign(_written(element) or " ")
    if not text.strip():
        widths = ((drawing.get("width") or "").removesuffix("em") for drawing in element.iter("svg"))
        opening, closing = _DELIMITERS.get(next(widths, ""), ("", ""))
        parent = element.getparent()
        text = closing if parent is not None and "mclose" in classes(parent) else opening
    return text_element("mo", text.replace("∣", "|").replace("∥", "‖"))


def _table(element: etree._Element, depth: int) -> etree._Element:
    found = [column for column in elements(element) if any(name.startswith("col-align") for name in classes(column))]
    columns = [_boxes(column, depth, with_empty=True) for column in found]
    height = max(map(len, columns), default=0)
    rows = [
        row("mtr", [row("mtd", [column[number].content] if number < len(column) else []) for column in columns])
        for number in range(height)
    ]
    table = row("mtable", rows)
    sides = {"l": "left", "r": "right", "c": "center"}
    table.set("columnalign", " ".join(sides.get(classes(column)[0][-1], "center") for column in found))
    return table


def _stroke(element: etree._Element, depth: int) -> etree._Element:
    """What is drawn over the sign before it."""
    text = _written(element)
    return text_element("mo", "\u0338" if text == "/" else text)


def _text(element: etree._Element, depth: int) -> etree._Element:
    return text_element("mtext", "".join(element.itertext()))


_RULES: dict[str, Callable[[etree._Element, int], etree._Element]] = {
    "mfrac": _fraction, "sqrt": _root, "op-limits": _limits, "accent": _accent,
    "mtable": _table, "text": _text, "delimsizing": _delimiter, "llap": _stroke,
    "overline": _line("mover", "¯"), "underline": _line("munder", "_"),
    "mover": _brace("mover", "⏞"), "munder": _brace("munder", "⏟"),
}  # fmt: skip
