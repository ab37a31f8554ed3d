"""Formulas of which a page keeps only the rendering: what MathJax and KaTeX drew, back to MathML.

MathJax 3 names each element after its MathML (CHTML by its tag, SVG by `data-mml-node`), MathJax 2's CHTML by its
class; KaTeX's HTML is read from its boxes. A formula drawn as bare paths, and MathJax 2's older HTML-CSS, whose
scripts are told apart by pixels only, are lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

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


def katex_to_latex(element: etree._Element) -> str:
    """LaTeX of a `.katex-html` element."""
    return mathml_to_latex(_row("math", _katex_parts(element, 0)))


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


# MathJax 3, CHTML

_CHTML_LAYOUT = frozenset([
    "mjx-script", "mjx-frac", "mjx-num", "mjx-dbox", "mjx-dtable", "mjx-row", "mjx-den", "mjx-sqrt", "mjx-box",
    "mjx-base", "mjx-over", "mjx-under", "mjx-root", "mjx-itable", "mjx-table", "mjx-texatom", "mjx-texclass",
])  # fmt: skip
_CHTML_EMPTY = frozenset([
    "mjx-nstrut", "mjx-dstrut", "mjx-line", "mjx-surd", "mjx-spacer", "mjx-strut", "mjx-assistive-mml", "mjx-mspace",
    "mjx-tstrut", "mjx-labels", "mjx-speech",
])  # fmt: skip
_CHTML_ARGUMENTS = frozenset(["mjx-num", "mjx-den", "mjx-base", "mjx-over", "mjx-under", "mjx-root"])


def _from_chtml(element: etree._Element, depth: int) -> etree._Element:
    tag = local_name(element).removeprefix("mjx-")
    result = etree.Element(tag)
    for name in ("mathvariant", "columnalign", "linethickness"):
        if element.get(name):
            result.set(name, element.get(name))
    if tag in _TOKENS or depth > _MAX_DEPTH:
        result.text = "".join(_chtml_glyph(child) for child in element.iter() if local_name(child) == "mjx-c")
        return result
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
            found += [_one(inner)] if name in _CHTML_ARGUMENTS and len(inner) > 1 else inner
        else:
            found.append(_from_chtml(child, depth + 1))
    return found


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
        result.text = "".join(_svg_glyph(child) for child in element.iter("use", "path", "text"))
        return result
    named = list(_named_nodes(element, depth))
    parts = [_from_svg(child, depth + 1) for child in named]
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
        found = _SVG_CODE.search(element.get("xlink:href") or element.get("href") or "")
        code = found[1] if found else ""
    return chr(int(code, 16)) if re.fullmatch(r"[0-9A-Fa-f]{2,5}", code) else ""


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


def _from_mathjax2(element: etree._Element, depth: int) -> etree._Element:
    kind = next((name for name in _classes(element) if name.startswith("mjx-m")), "")
    if kind.removeprefix("mjx-") in _TOKENS or depth > _MAX_DEPTH:
        return _text_element(kind.removeprefix("mjx-") or "mi", "".join(element.itertext()))
    if kind in _SCRIPTED or kind in ("mjx-mfrac", "mjx-mroot"):
        roles: dict[str, etree._Element] = {}
        _collect_roles(element, roles, depth)
        if kind == "mjx-mfrac":
            return _row("mfrac", [roles.get(role, etree.Element("mrow")) for role in ("above", "below")])
        base = roles.get("base", etree.Element("mrow"))
        if kind == "mjx-mroot":
            return _row("mroot", [base, roles.get("above", etree.Element("mrow"))])
        return _scripted(_SCRIPTED[kind], base, roles.get("below"), roles.get("above"))
    parts = [
        _from_mathjax2(child, depth + 1)
        for child in elements(element)
        if not {"mjx-surd", "mjx-line"} & {*_classes(child)}
    ]
    tag = {"mjx-msqrt": "msqrt", "mjx-mtable": "mtable", "mjx-mtr": "mtr", "mjx-mtd": "mtd"}.get(kind)
    if tag == "mtable":
        parts = [row for part in parts for row in part.iter("mtr")]
    elif tag is None:
        return _one(parts)
    return _row(tag, parts)


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
    "strut", "pstrut", "mspace", "vlist-s", "nulldelimiter", "frac-line", "hide-tail", "svg-align", "overline-line",
    "underline-line", "arraycolsep", "mathml",
])  # fmt: skip
_KATEX_VARIANTS = {
    "mathbf": "bold", "boldsymbol": "bold-italic", "mathbb": "double-struck", "mathcal": "script", "mathscr": "script",
    "mathfrak": "fraktur", "mathsf": "sans-serif", "mathtt": "monospace",
}  # fmt: skip
_TOP = re.compile(r"top:\s*(-?[\d.]+)em")


def _katex_parts(element: etree._Element, depth: int) -> list[etree._Element]:
    """What an element's boxes hold, in order; a script is hung on what stands before it."""
    parts: list[etree._Element] = []
    text = (element.text or "").strip()
    if text and not len(element):
        return [_katex_token(element, text)]
    if text:
        parts.append(_katex_token(element, "".join(element.itertext()).strip()))
        return parts
    for child in elements(element):
        names = _classes(child)
        if _KATEX_EMPTY & {*names} or child.tag == "svg":
            continue
        if depth > _MAX_DEPTH:
            parts.append(_text_element("mi", "".join(child.itertext())))
        elif "msupsub" in names:
            boxes = _katex_boxes(child, depth)
            base = parts.pop() if parts else etree.Element("mrow")
            has_depth = (
                next(child.iter("span"), None) is not None and child.find(".//*[@class='vlist-t vlist-t2']") is not None
            )
            below = boxes[-1] if len(boxes) == 2 or (boxes and has_depth) else None
            above = boxes[0] if len(boxes) == 2 or (boxes and not has_depth) else None
            parts.append(_scripted("msubsup", base, below, above))
        else:
            rule = next((_KATEX_RULES[name] for name in names if name in _KATEX_RULES), None)
            parts += _katex_parts(child, depth + 1) if rule is None else [rule(child, depth + 1)]
    return parts


def _katex_boxes(element: etree._Element, depth: int) -> list[etree._Element]:
    """The boxes that a `vlist` stacks, from the top."""
    vlist = next((child for child in element.iter("span") if "vlist" in _classes(child)), None)
    if vlist is None:
        return []
    boxes = []
    for box in elements(vlist):
        top = _TOP.search(box.get("style") or "")
        parts = _katex_parts(box, depth + 1)
        if parts:
            boxes.append((float(top[1]) if top else 0.0, _one(parts)))
    return [box for _, box in sorted(boxes, key=lambda item: item[0])]


def _katex_token(element: etree._Element, text: str) -> etree._Element:
    names = _classes(element)
    if "text" in names:
        return _text_element("mtext", text)
    operator = {"mbin", "mrel", "mopen", "mclose", "mpunct"} & {*names}
    token = _text_element("mn" if text.isdigit() else "mo" if operator else "mi", text)
    variant = next((_KATEX_VARIANTS[name] for name in names if name in _KATEX_VARIANTS), "")
    if variant:
        token.set("mathvariant", variant)
    return token


def _katex_fraction(element: etree._Element, depth: int) -> etree._Element:
    return _row("mfrac", _katex_boxes(element, depth))


def _katex_root(element: etree._Element, depth: int) -> etree._Element:
    boxes = _katex_boxes(next((box for box in elements(element) if "vlist-t" in _classes(box)), element), depth)
    return _row("msqrt", boxes)


def _katex_limits(element: etree._Element, depth: int) -> etree._Element:
    boxes = _katex_boxes(element, depth)
    operators = [
        number
        for number, box in enumerate(boxes)
        if re.fullmatch(r"[∑∏∐∫⋃⋂⋁⋀⨁⨂]|lim|max|min|sup|inf", "".join(box.itertext()))
    ]
    base = operators[0] if operators else len(boxes) // 2
    if not boxes:
        return etree.Element("mrow")
    below = boxes[base + 1] if base + 1 < len(boxes) else None
    above = boxes[base - 1] if base else None
    return _scripted("munderover", boxes[base], below, above)


def _katex_accent(element: etree._Element, depth: int) -> etree._Element:
    boxes = _katex_boxes(element, depth)
    return _row("mover", [boxes[-1], boxes[0]]) if len(boxes) == 2 else _row("mrow", boxes)


def _katex_table(element: etree._Element, depth: int) -> etree._Element:
    columns = [
        _katex_boxes(column, depth)
        for column in elements(element)
        if any(name.startswith("col-align") for name in _classes(column))
    ]
    height = max((len(column) for column in columns), default=0)
    rows = [
        _row("mtr", [_row("mtd", [column[number]] if number < len(column) else []) for column in columns])
        for number in range(height)
    ]
    return _row("mtable", rows)


def _katex_text(element: etree._Element, depth: int) -> etree._Element:
    return _text_element("mtext", "".join(element.itertext()))


_KATEX_RULES: dict[str, Callable[[etree._Element, int], etree._Element]] = {
    "mfrac": _katex_fraction, "sqrt": _katex_root, "op-limits": _katex_limits, "accent": _katex_accent,
    "mtable": _katex_table, "text": _katex_text,
}  # fmt: skip
