"""Formulas of which a page keeps only the rendering: what MathJax and KaTeX drew, back to MathML.

MathJax 3 names each element after its MathML (CHTML by its tag, SVG by `data-mml-node`), MathJax 2's CHTML by its
class; KaTeX's HTML is read from its boxes. A formula drawn as bare paths, and MathJax 2's older HTML-CSS, whose
scripts are told apart by pixels only, are lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lxml import etree

from mimo_data.html.mathml import elements, local_name, mathml_to_latex

_MAX_DEPTH = 150
_TOKENS = frozenset(["mi", "mn", "mo", "mtext", "ms"])
_CODE = re.compile(r"mjx-c([0-9A-F]{2,5})\b")


def chtml_to_latex(container: etree._Element) -> str:
    """LaTeX of an `mjx-container` that MathJax 3 rendered to CHTML without assistive MathML."""
    root = next((element for element in container.iter() if local_name(element) == "mjx-math"), None)
    return "" if root is None else mathml_to_latex(_from_chtml(root, 0))


def svg_to_latex(container: etree._Element) -> str:
    """LaTeX of an `mjx-container` that MathJax 3 rendered to SVG without assistive MathML."""
    root = next((element for element in container.iter() if element.get("data-mml-node") == "math"), None)
    return "" if root is None else mathml_to_latex(_from_svg(root, 0))


def mathjax2_to_latex(element: etree._Element) -> str:
    """LaTeX of an `.mjx-chtml` element, which MathJax 2 rendered to CHTML."""
    root = next((child for child in element.iter() if "mjx-math" in _classes(child)), None)
    return "" if root is None else mathml_to_latex(_row("math", [_from_mathjax2(root, 0)]))


def _classes(element: etree._Element) -> list[str]:
    names = element.get("class") or ""
    # KaTeX 0.17 gives its plainest names a prefix.
    return [name.removeprefix("katex-") for name in names.split()]


def _row(tag: str, children: Iterable[etree._Element]) -> etree._Element:
    row = etree.Element(tag)
    row.extend(children)
    return row


def _one(children: list[etree._Element]) -> etree._Element:
    return children[0] if len(children) == 1 else _row("mrow", children)


def _text_element(tag: str, text: str) -> etree._Element:
    element = etree.Element(tag)
    element.text = text
    return element


# What the pieces of a tall or wide sign begin with, each renderer's own among them.
_PIECES = {
    "⎛": "(", "⎝": "(", "⎜": "(", "⎞": ")", "⎠": ")", "⎟": ")", "⎡": "[", "⎣": "[", "⎢": "[", "⎤": "]", "⎦": "]",
    "⎥": "]", "⎧": "{", "⎨": "{", "⎩": "{", "⎪": "{", "⎫": "}", "⎬": "}", "⎭": "}", "∣": "|", "|": "|", "∥": "∥",
    "¯": "¯", "–": "–", "\ue150": "⏞", "\ue152": "⏟",
}  # fmt: skip


_ARROW = re.compile(r"[-−–]*([→←↔])[-−–]*")


def _whole(text: str) -> str:
    """The sign that is drawn in pieces, or that stands for one that looks like it."""
    if arrow := _ARROW.fullmatch(text):
        return arrow[1]
    if text == "∥":
        return "‖"
    return _PIECES.get(text[0], text) if len(text) > 1 else text


# MathJax 3, CHTML

_CHTML_LAYOUT = frozenset([
    "mjx-script", "mjx-frac", "mjx-num", "mjx-dbox", "mjx-dtable", "mjx-row", "mjx-den", "mjx-sqrt", "mjx-box",
    "mjx-base", "mjx-over", "mjx-under", "mjx-root", "mjx-itable", "mjx-table", "mjx-texatom", "mjx-texclass",
])  # fmt: skip
_CHTML_EMPTY = frozenset([
    "mjx-nstrut", "mjx-dstrut", "mjx-line", "mjx-surd", "mjx-spacer", "mjx-strut", "mjx-assistive-mml", "mjx-tstrut",
    "mjx-labels", "mjx-speech",
])  # fmt: skip
_CHTML_ARGUMENTS = frozenset([
    "mjx-num", "mjx-den", "mjx-base", "mjx-over", "mjx-under", "mjx-root", "mjx-texatom",
])  # fmt: skip
_CHTML_GLYPHS = frozenset(["mjx-c", "mjx-stretchy-v", "mjx-stretchy-h"])


def _from_chtml(element: etree._Element, depth: int) -> etree._Element:
    tag = local_name(element).removeprefix("mjx-")
    result = etree.Element(tag)
    for name in ("mathvariant", "columnalign", "linethickness"):
        if element.get(name):
            result.set(name, element.get(name))
    if tag in _TOKENS or depth > _MAX_DEPTH:
        glyphs = [child for child in element.iter() if local_name(child) in _CHTML_GLYPHS]
        result.text = _whole("".join(map(_chtml_glyph, glyphs)))
        if any("TEX-C" in _classes(glyph) for glyph in glyphs):
            result.set("mathvariant", "script")
        elif tag == "mi" and "mjx-n" in _classes(element):
            result.set("mathvariant", "normal")
        return result
    if tag == "mspace":
        result.set("width", _style(element, "width"))
    elif tag == "mfrac" and element.find("*[@atop='true']") is not None:
        result.set("linethickness", "0")
    elif tag == "mtable" and not element.get("columnalign"):
        row = next((row for row in element.iter() if local_name(row) == "mjx-mtr"), None)
        cells = () if row is None else elements(row)
        result.set("columnalign", " ".join(_style(cell, "text-align") or "center" for cell in cells))
    parts = _chtml_parts(element, depth)
    scripted = any(local_name(child) == "mjx-script" for child in element)
    # CHTML draws from the top: a superscript before its subscript, an over-script before its base.
    if tag in ("msubsup", "munderover") and len(parts) == 3 and scripted:
        parts[1], parts[2] = parts[2], parts[1]
    elif tag == "munderover" and len(parts) == 2 and parts[1].tag == "munder":
        parts = [*parts[1], parts[0]]
    elif tag in ("mover", "mroot") and len(parts) == 2 and not scripted:
        parts.reverse()
    result.extend(parts)
    return result


def _chtml_parts(element: etree._Element, depth: int) -> list[etree._Element]:
    """The children in MathML, found below the boxes that only lay them out."""
    found: list[etree._Element] = []
    for child in elements(element):
        name = local_name(child)
        if name in _CHTML_EMPTY:
            continue
        if name in _CHTML_LAYOUT and depth < _MAX_DEPTH:
            inner = _chtml_parts(child, depth + 1)
            # A numerator or a base of several pieces is one argument.
            found += [_one(inner)] if name in _CHTML_ARGUMENTS and len(inner) != 1 else inner
        else:
            found.append(_from_chtml(child, depth + 1))
    return found


def _style(element: etree._Element, name: str) -> str:
    """A property's value, "" where the element's own style does not have it."""
    found = re.search(rf"(?:^|;)\s*{name}:\s*([^;]+)", element.get("style") or "")
    return found[1].strip() if found else ""


def _chtml_glyph(element: etree._Element) -> str:
    if element.text:
        return str(element.text)
    code = _CODE.search(element.get("class") or "")
    return chr(int(code[1], 16)) if code else ""


# MathJax 3, SVG

_SVG_CODE = re.compile(r"[-/]([0-9A-F]{2,5})$")
_HEIGHT = re.compile(r"translate\(\s*-?[\d.]+\s*,\s*(-?[\d.]+)")


def _from_svg(element: etree._Element, depth: int) -> etree._Element:
    tag = (element.get("data-mml-node") or "mrow").lower()
    result = etree.Element("mrow" if tag == "texatom" or not tag.isalpha() else tag)
    if tag in _TOKENS or depth > _MAX_DEPTH:
        glyphs = list(element.iter("use", "path", "text"))
        result.text = _whole("".join(map(_svg_glyph, glyphs)))
        fonts = [_reference(glyph).rpartition("-")[0] for glyph in glyphs]
        if result.text == "∣" and not fonts[0].endswith("TEX-N"):
            result.text = "|"
        if any(font.endswith("TEX-C") for font in fonts):
            result.set("mathvariant", "script")
        elif tag == "mi" and fonts and all(font.endswith("TEX-N") for font in fonts):
            result.set("mathvariant", "normal")
        return result
    if tag == "mfrac" and element.find("rect") is None:
        result.set("linethickness", "0")
    named = list(_named_nodes(element, depth))
    parts = [_from_svg(child, depth + 1) for child in named]
    if tag in ("msqrt", "mroot"):
        parts = [part for part in parts if part.text != "√"]
    if tag in ("msubsup", "munderover") and len(parts) == 3 and _height(named[1]) > _height(named[2]):
        parts[1], parts[2] = parts[2], parts[1]
    result.extend(parts)
    return result


def _named_nodes(element: etree._Element, depth: int) -> Iterable[etree._Element]:
    """The nearest elements below that stand for MathML ones."""
    for child in elements(element):
        if child.get("data-mml-node"):
            yield child
        elif depth < _MAX_DEPTH:
            yield from _named_nodes(child, depth + 1)


def _svg_glyph(element: etree._Element) -> str:
    if element.tag == "text":
        return element.text or ""
    code = element.get("data-c") or ""
    if not code:
        found = _SVG_CODE.search(_reference(element))
        code = found[1] if found else ""
    return chr(int(code, 16)) if re.fullmatch(r"[0-9A-Fa-f]{2,5}", code) else ""


def _reference(glyph: etree._Element) -> str:
    """Such as `#MJX-1-TEX-I-1D465`."""
    return glyph.get("xlink:href") or glyph.get("href") or ""


def _height(element: etree._Element) -> float:
    found = _HEIGHT.search(element.get("transform") or "")
    return float(found[1]) if found else 0.0


# MathJax 2, CHTML

_ROLES = {
    "mjx-base": "base", "mjx-op": "base", "mjx-sub": "below", "mjx-under": "below", "mjx-sup": "above",
    "mjx-over": "above", "mjx-numerator": "above", "mjx-denominator": "below", "mjx-root": "above",
}  # fmt: skip
_SCRIPTED = {"mjx-msubsup": "msubsup", "mjx-msub": "msubsup", "mjx-msup": "msubsup", "mjx-munderover": "munderover",
             "mjx-munder": "munderover", "mjx-mover": "munderover"}  # fmt: skip


_MATHJAX2_VARIANTS = {
    "MJXc-TeX-cal-R": "script", "MJXc-TeX-script-R": "script", "MJXc-TeX-ams-R": "double-struck",
    "MJXc-TeX-frak-R": "fraktur", "MJXc-TeX-sans-R": "sans-serif", "MJXc-TeX-type-R": "monospace",
    "MJXc-TeX-main-B": "bold", "MJXc-TeX-math-BI": "bold-italic", "MJXc-TeX-main-R": "normal",
}  # fmt: skip


def _from_mathjax2(element: etree._Element, depth: int) -> etree._Element:
    kind = next((name for name in _classes(element) if name.startswith("mjx-m")), "")
    if kind.removeprefix("mjx-") in _TOKENS or depth > _MAX_DEPTH:
        token = _text_element(kind.removeprefix("mjx-") or "mi", _whole("".join(element.itertext())))
        fonts = {name for child in element.iter("span") for name in _classes(child) if name.startswith("MJXc-TeX-")}
        variant = next((_MATHJAX2_VARIANTS[font] for font in fonts if font in _MATHJAX2_VARIANTS), "")
        if variant and token.tag in ("mi", "mn"):
            token.set("mathvariant", variant)
        return token
    if kind == "mjx-mspace":
        space = etree.Element("mspace")
        space.set("width", _style(element, "width"))
        return space
    if kind in _SCRIPTED or kind in ("mjx-mfrac", "mjx-mroot"):
        roles: dict[str, etree._Element] = {}
        _collect_roles(element, roles, depth)
        if kind == "mjx-mfrac":
            fraction = _row("mfrac", [roles.get(role, etree.Element("mrow")) for role in ("above", "below")])
            if not any("mjx-line" in _classes(child) for child in element.iter("span")):
                fraction.set("linethickness", "0")
            return fraction
        if kind == "mjx-mroot":
            boxes = [child for child in elements(element) if "mjx-root" not in _classes(child)]
            radicand = _one([_from_mathjax2(box, depth + 1) for box in boxes])
            return _row("mroot", [radicand, roles.get("above", etree.Element("mrow"))])
        base = roles.get("base", etree.Element("mrow"))
        return _scripted(_SCRIPTED[kind], base, roles.get("below"), roles.get("above"))
    parts = [
        _from_mathjax2(child, depth + 1)
        for child in elements(element)
        if not {"mjx-surd", "mjx-line"} & {*_classes(child)}
    ]
    tag = {"mjx-msqrt": "msqrt", "mjx-mtable": "mtable", "mjx-mtr": "mtr", "mjx-mtd": "mtd"}.get(kind)
    if tag == "mtable":
        parts = [row for part in parts for row in _own_rows(part)]
    elif tag is None:
        return _one(parts)
    return _row(tag, parts)


def _own_rows(part: etree._Element) -> Iterable[etree._Element]:
    """The rows of a table, not those of a table in one of its cells."""
    if part.tag == "mtr":
        yield part
    else:
        for child in part:
            yield from _own_rows(child)


def _collect_roles(element: etree._Element, roles: dict[str, etree._Element], depth: int) -> None:
    for child in elements(element):
        role = next((_ROLES[name] for name in _classes(child) if name in _ROLES), None)
        if role is not None:
            roles.setdefault(role, _one([_from_mathjax2(inner, depth + 1) for inner in elements(child)]))
        elif depth < _MAX_DEPTH:
            _collect_roles(child, roles, depth + 1)


def _scripted(
    kind: str, base: etree._Element, below: etree._Element | None, above: etree._Element | None
) -> etree._Element:
    under, over = ("munder", "mover") if kind == "munderover" else ("msub", "msup")
    if below is None or above is None:
        script = above if below is None else below
        return base if script is None else _row(over if below is None else under, [base, script])
    return _row(kind, [base, below, above])


# KaTeX

_KATEX_EMPTY = frozenset([
    "strut", "pstrut", "vlist-s", "nulldelimiter", "frac-line", "hide-tail", "overline-line", "underline-line",
    "arraycolsep", "mathml", "fix",
])  # fmt: skip
_KATEX_VARIANTS = {
    "mathbf": "bold", "boldsymbol": "bold-italic", "mathbb": "double-struck", "mathcal": "script", "mathscr": "script",
    "mathfrak": "fraktur", "mathsf": "sans-serif", "mathtt": "monospace", "mathrm": "normal",
}  # fmt: skip
# The name of the usual italics in one version and another.
_KATEX_ITALICS = frozenset(["mathnormal", "mathdefault", "mathit"])
_KATEX_GROUPS = frozenset(["mord", "minner", "mop"])
_KATEX_OPERATORS = frozenset(["mbin", "mrel", "mopen", "mclose", "mpunct"])
# Drawn as one path: told apart by their width in em, or by the size of their box.
_KATEX_DELIMITERS = {"0.875": ("(", ")"), "0.667": ("[", "]"), "0.333": ("|", "|"), "0.556": ("‖", "‖")}
_KATEX_ACCENTS = {
    "471": "→", "1062": "^", "2364": "^", "600": "~", "1033": "~", "2339": "~", "2340": "~", "400000": "→",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z]{2,}")
# The stroke of `\not`, and what it makes of the sign after it.
_STROKE = re.compile(r"\ue020\s*(=)?|(\\in)\s*\u0338")
_STRUCK = {"=": r"\neq ", r"\in": r"\notin ", None: r"\not "}
_LENGTH = re.compile(r"(-?[\d.]+)em")


def katex_to_latex(element: etree._Element) -> str:
    """LaTeX of a `.katex-html` element."""
    latex = mathml_to_latex(_row("math", _katex_parts(element, 0)))
    return _STROKE.sub(lambda stroke: _STRUCK[stroke[1] or stroke[2]], latex)


def _katex_parts(element: etree._Element, depth: int) -> list[etree._Element]:
    """What an element's boxes hold, in order; a script is hung on what stands before it."""
    if (element.text or "").strip() or any((child.tail or "").strip("\u200b\n ") for child in element):
        return _katex_tokens(element)
    if "mop" in _classes(element) and all(len(child) == 0 for child in element):
        # A name whose letters stand in boxes of their own.
        text = "".join(element.itertext())
        if _NAME.fullmatch(text):
            return _katex_tokens(element)
    parts: list[etree._Element] = []
    for child in elements(element):
        names = _classes(child)
        if _KATEX_EMPTY & {*names} or child.tag == "svg":
            continue
        if depth > _MAX_DEPTH:
            parts.append(_text_element("mi", "".join(child.itertext())))
        elif "mspace" in names:
            parts.append(etree.Element("mspace", width=_style(child, "margin-right")))
        elif "msupsub" in names:
            parts.append(_katex_scripts(parts.pop() if parts else etree.Element("mrow"), child, depth))
        else:
            rule = next((_KATEX_RULES[name] for name in names if name in _KATEX_RULES), None)
            inner = _katex_parts(child, depth + 1) if rule is None else [rule(child, depth + 1)]
            # A script after these hangs on all of it.
            parts += [_one(inner)] if len(child) > 1 and _KATEX_GROUPS & {*names} else inner
    return parts


def _katex_tokens(element: etree._Element) -> list[etree._Element]:
    text = "".join(element.itertext()).replace("\u200b", "").strip()
    names = {*_classes(element)}
    if names & _KATEX_ITALICS:
        return [_text_element("mi", letter) for letter in text]
    if "mrel" not in names:
        text = text.replace("∣", "|").replace("∥", "‖")
    token = _text_element("mn" if text.isdigit() else "mo" if names & _KATEX_OPERATORS else "mi", text)
    if variant := next((_KATEX_VARIANTS[name] for name in names if name in _KATEX_VARIANTS), ""):
        token.set("mathvariant", variant)
    parent = element.getparent()
    if "mop" in names or (parent is not None and "mop" in _classes(parent)):
        token.set("data-mjx-texclass", "OP")
    return [token]


class _Box(NamedTuple):
    """One of those that a `vlist` stacks."""

    drop: float
    """How far it hangs below the line, in em."""
    element: etree._Element
    content: etree._Element
    """In MathML."""


def _katex_boxes(element: etree._Element, depth: int, *, with_empty: bool = False) -> list[_Box]:
    """What the first `vlist` inside stacks, from the top; boxes that only draw something are left out."""
    vlist = next((child for child in element.iter("span") if "vlist" in _classes(child)), None)
    boxes = []
    for box in elements(vlist) if vlist is not None else ():
        parts = _katex_parts(box, depth + 1)
        if parts or with_empty:
            struts = (_length(_style(child, "height")) for child in box if "pstrut" in _classes(child))
            boxes.append(_Box(_length(_style(box, "top")) + next(struts, 0.0), box, _one(parts)))
    return sorted(boxes, key=lambda box: box.drop)


def _length(value: str) -> float:
    found = _LENGTH.match(value)
    return float(found[1]) if found else 0.0


def _katex_scripts(base: etree._Element, scripts: etree._Element, depth: int) -> etree._Element:
    boxes = _katex_boxes(scripts, depth)
    if len(boxes) == 2:
        above, below = (box.content for box in boxes)
        return _scripted("msubsup", base, below, above)
    if not boxes:
        return base
    # A list with depth, which is a subscript's.
    vlist = next(child for child in scripts.iter("span") if "vlist-t" in _classes(child))
    is_below = "vlist-t2" in _classes(vlist)
    return _scripted("msubsup", base, *((boxes[0].content, None) if is_below else (None, boxes[0].content)))


def _katex_fraction(element: etree._Element, depth: int) -> etree._Element:
    fraction = _row("mfrac", [box.content for box in _katex_boxes(element, depth)])
    vlist = next((child for child in element.iter("span") if "vlist" in _classes(child)), None)
    if vlist is None or not any("frac-line" in _classes(line) for box in vlist for line in box):
        fraction.set("linethickness", "0")
    return fraction


def _katex_root(element: etree._Element, depth: int) -> etree._Element:
    boxes = _katex_boxes(next((box for box in elements(element) if "vlist-t" in _classes(box)), element), depth)
    radicand = _row("mrow", [box.content for box in boxes])
    index = next((child for child in elements(element) if "root" in _classes(child)), None)
    return _row("msqrt", [radicand]) if index is None else _row("mroot", [radicand, _one(_katex_parts(index, depth))])


def _katex_limits(element: etree._Element, depth: int) -> etree._Element:
    """A sum's limits, or one thing set above or below another: what is limited stays on the line."""
    boxes = _katex_boxes(element, depth)
    if not boxes:
        return etree.Element("mrow")
    base = min(range(len(boxes)), key=lambda number: abs(boxes[number].drop))
    below = boxes[base + 1].content if base + 1 < len(boxes) else None
    above = boxes[base - 1].content if base else None
    return _scripted("munderover", boxes[base].content, below, above)


def _katex_accent(element: etree._Element, depth: int) -> etree._Element:
    vlist = next((child for child in element.iter("span") if "vlist" in _classes(child)), element)
    mark, base = "", []
    for box in elements(vlist):
        if "svg-align" in _classes(box) or any("accent-body" in _classes(child) for child in box):
            drawing = next(box.iter("svg"), None)
            text = "".join(box.itertext()).replace("\u200b", "").strip()
            mark = text or ("" if drawing is None else _KATEX_ACCENTS.get(_box_width(drawing), ""))
        else:
            base += _katex_parts(box, depth + 1)
    return _row("mover", [_one(base), _text_element("mo", mark)]) if mark else _one(base)


def _box_width(drawing: etree._Element) -> str:
    return f"{drawing.get('viewbox') or drawing.get('viewBox') or ''} 0 0 0".split()[2]


def _katex_line(kind: str, mark: str) -> Callable[[etree._Element, int], etree._Element]:
    def rule(element: etree._Element, depth: int) -> etree._Element:
        sign = _text_element("mo", mark)
        sign.set("accent", "false")
        return _row(kind, [_one([box.content for box in _katex_boxes(element, depth)]), sign])

    return rule


def _katex_brace(kind: str, mark: str) -> Callable[[etree._Element, int], etree._Element]:
    """A brace over or under what it spans, or the words over or under the brace."""

    def rule(element: etree._Element, depth: int) -> etree._Element:
        vlist = next((child for child in element.iter("span") if "vlist" in _classes(child)), element)
        boxes = _katex_boxes(element, depth)
        if any("svg-align" in _classes(box) for box in vlist):
            base = _one([box.content for box in boxes])
            # An arrow below or above is not told from a brace by its path.
            return _row(kind, [base, _text_element("mo", mark)])
        if len(boxes) != 2:
            return _one([box.content for box in boxes])
        above, below = (box.content for box in boxes)
        return _row(kind, [above, below] if kind == "munder" else [below, above])

    return rule


def _katex_delimiter(element: etree._Element, depth: int) -> etree._Element:
    """A large one: a letter of a larger font, pieces above each other, or a path of a certain width."""
    text = _whole("".join(element.itertext()).replace("\u200b", "").strip() or " ")
    if not text.strip():
        drawing = next(element.iter("svg"), None)
        pair = (
            _KATEX_DELIMITERS.get((drawing.get("width") or "").removesuffix("em"), ("", ""))
            if drawing is not None
            else ("", "")
        )
        parent = element.getparent()
        text = pair["mclose" in _classes(parent) if parent is not None else 0]
    return _text_element("mo", text.replace("∣", "|").replace("∥", "‖"))


def _katex_table(element: etree._Element, depth: int) -> etree._Element:
    found = [column for column in elements(element) if any(name.startswith("col-align") for name in _classes(column))]
    columns = [_katex_boxes(column, depth, with_empty=True) for column in found]
    height = max(map(len, columns), default=0)
    rows = [
        _row("mtr", [_row("mtd", [column[number].content] if number < len(column) else []) for column in columns])
        for number in range(height)
    ]
    table = _row("mtable", rows)
    sides = {"l": "left", "r": "right", "c": "center"}
    table.set("columnalign", " ".join(sides.get(_classes(column)[0][-1], "center") for column in found))
    return table


def _katex_stroke(element: etree._Element, depth: int) -> etree._Element:
    """What is drawn over the sign before it."""
    text = "".join(element.itertext()).replace("\u200b", "").strip()
    return _text_element("mo", "\u0338" if text == "/" else text)


def _katex_text(element: etree._Element, depth: int) -> etree._Element:
    return _text_element("mtext", "".join(element.itertext()))


_KATEX_RULES: dict[str, Callable[[etree._Element, int], etree._Element]] = {
    "mfrac": _katex_fraction, "sqrt": _katex_root, "op-limits": _katex_limits, "accent": _katex_accent,
    "mtable": _katex_table, "text": _katex_text, "delimsizing": _katex_delimiter, "llap": _katex_stroke,
    "overline": _katex_line("mover", "¯"), "underline": _katex_line("munder", "_"),
    "mover": _katex_brace("mover", "⏞"), "munder": _katex_brace("munder", "⏟"),
}  # fmt: skip
