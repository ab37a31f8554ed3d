"""Formulas of which a page keeps only what MathJax drew, back to MathML.

MathJax 3 names each element after its MathML (CHTML by its tag, SVG by `data-mml-node`), MathJax 2's CHTML by its
class. A formula drawn as bare paths, and MathJax 2's older HTML-CSS, whose scripts are told apart by pixels only, are
lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import etree

from mimo_data.html.drawn import MAX_DEPTH, classes, one, row, scripted, style, text_element, whole_sign
from mimo_data.html.mathml import elements, local_name, mathml_to_latex

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
    root = next((child for child in element.iter() if "mjx-math" in classes(child)), None)
    return "" if root is None else mathml_to_latex(row("math", [_from_mathjax2(root, 0)]))


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
    if tag in _TOKENS or depth > MAX_DEPTH:
        glyphs = [child for child in element.iter() if local_name(child) in _CHTML_GLYPHS]
        result.text = whole_sign("".join(map(_chtml_glyph, glyphs)))
        if any("TEX-C" in classes(glyph) for glyph in glyphs):
            result.set("mathvariant", "script")
        elif tag == "mi" and "mjx-n" in classes(element):
            result.set("mathvariant", "normal")
        return result
    if tag == "mspace":
        result.set("width", style(element, "width"))
    elif tag == "mfrac" and element.find("*[@atop='true']") is not None:
        result.set("linethickness", "0")
    elif tag == "mtable" and not element.get("columnalign"):
        first = next((child for child in element.iter() if local_name(child) == "mjx-mtr"), None)
        cells = () if first is None else elements(first)
        result.set("columnalign", " ".join(style(cell, "text-align") or "center" for cell in cells))
    parts = _chtml_parts(element, depth)
    has_script = any(local_name(child) == "mjx-script" for child in element)
    # CHTML draws from the top: a superscript before its subscript, an over-script before its base.
    if tag in ("msubsup", "munderover") and len(parts) == 3 and has_script:
        parts[1], parts[2] = parts[2], parts[1]
    elif tag == "munderover" and len(parts) == 2 and parts[1].tag == "munder":
        parts = [*parts[1], parts[0]]
    elif tag in ("mover", "mroot") and len(parts) == 2 and not has_script:
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
        if name in _CHTML_LAYOUT and depth < MAX_DEPTH:
            inner = _chtml_parts(child, depth + 1)
            # A numerator or a base of several pieces is one argument.
            found += [one(inner)] if name in _CHTML_ARGUMENTS and len(inner) != 1 else inner
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
    if tag in _TOKENS or depth > MAX_DEPTH:
        glyphs = list(element.iter("use", "path", "text"))
        result.text = whole_sign("".join(map(_svg_glyph, glyphs)))
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
        elif depth < MAX_DEPTH:
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
    kind = next((name for name in classes(element) if name.startswith("mjx-m")), "")
    if kind.removeprefix("mjx-") in _TOKENS or depth > MAX_DEPTH:
        token = text_element(kind.removeprefix("mjx-") or "mi", whole_sign("".join(element.itertext())))
        fonts = {name for child in element.iter("span") for name in classes(child) if name.startswith("MJXc-TeX-")}
        variant = next((_MATHJAX2_VARIANTS[font] for font in fonts if font in _MATHJAX2_VARIANTS), "")
        if variant and token.tag in ("mi", "mn"):
            token.set("mathvariant", variant)
        return token
    if kind == "mjx-mspace":
        space = etree.Element("mspace")
        space.set("width", style(element, "width"))
        return space
    if kind in _SCRIPTED or kind in ("mjx-mfrac", "mjx-mroot"):
        roles: dict[str, etree._Element] = {}
        _collect_roles(element, roles, depth)
        if kind == "mjx-mfrac":
            fraction = row("mfrac", [roles.get(role, etree.Element("mrow")) for role in ("above", "below")])
            if not any("mjx-line" in classes(child) for child in element.iter("span")):
                fraction.set("linethickness", "0")
            return fraction
        if kind == "mjx-mroot":
            boxes = [child for child in elements(element) if "mjx-root" not in classes(child)]
            radicand = one([_from_mathjax2(box, depth + 1) for box in boxes])
            return row("mroot", [radicand, roles.get("above", etree.Element("mrow"))])
        base = roles.get("base", etree.Element("mrow"))
        return scripted(_SCRIPTED[kind], base, roles.get("below"), roles.get("above"))
    parts = [
        _from_mathjax2(child, depth + 1)
        for child in elements(element)
        if not {"mjx-surd", "mjx-line"} & {*classes(child)}
    ]
    tag = {"mjx-msqrt": "msqrt", "mjx-mtable": "mtable", "mjx-mtr": "mtr", "mjx-mtd": "mtd"}.get(kind)
    if tag == "mtable":
        parts = [row for part in parts for row in _own_rows(part)]
    elif tag is None:
        return one(parts)
    return row(tag, parts)


def _own_rows(part: etree._Element) -> Iterable[etree._Element]:
    """The rows of a table, not those of a table in one of its cells."""
    if part.tag == "mtr":
        yield part
    else:
        for child in part:
            yield from _own_rows(child)


def _collect_roles(element: etree._Element, roles: dict[str, etree._Element], depth: int) -> None:
    for child in elements(element):
        role = next((_ROLES[name] for name in classes(child) if name in _ROLES), None)
        if role is not None:
            roles.setdefault(role, one([_from_mathjax2(inner, depth + 1) for inner in elements(child)]))
        elif depth < MAX_DEPTH:
            _collect_roles(child, roles, depth + 1)
