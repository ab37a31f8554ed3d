"""Presentation MathML to LaTeX, for pages that carry no LaTeX source.

What has no LaTeX of its own (phantoms, colours, sizes, equation labels) is dropped. Below `_MAX_DEPTH` elements only
the text is kept: no formula is that deep, hostile pages are.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lxml import etree

from mimo_data.latex import FUNCTIONS, is_one_group, join, plain_letter, symbols_to_latex

_MAX_DEPTH = 150

_ACCENTS = {
    "^": r"\hat", "ˆ": r"\hat", "~": r"\tilde", "˜": r"\tilde", "¯": r"\bar", "‾": r"\overline", "_": r"\bar",
    "―": r"\overline", "–": r"\overline", "ˉ": r"\bar",
    "\u0304": r"\bar", "\u0302": r"\hat", "\u0303": r"\tilde", "\u0307": r"\dot", ".": r"\dot",
    "˙": r"\dot", "¨": r"\ddot", "→": r"\vec", "⃗": r"\vec", "⇀": r"\vec", "ˇ": r"\check", "˘": r"\breve",
    "´": r"\acute", "`": r"\grave", "˚": r"\mathring", "⏞": r"\overbrace", "︷": r"\overbrace", "⃛": r"\dddot",
    "…": r"\dddot", "..": r"\ddot", "←": r"\overleftarrow", "↔": r"\overleftrightarrow",
    "⌢": r"\overset{\frown}", "⏜": r"\overset{\frown}",
}  # fmt: skip
_WIDE_ACCENTS = {r"\hat": r"\widehat", r"\tilde": r"\widetilde", r"\bar": r"\overline", r"\vec": r"\overrightarrow"}
_UNDER = {
    "_": r"\underline", "¯": r"\underline", "–": r"\underline",
    "‾": r"\underline", "―": r"\underline", "\u0332": r"\underline",
    "⏟": r"\underbrace", "︸": r"\underbrace", "→": r"\underrightarrow", "←": r"\underleftarrow",
}  # fmt: skip
_LIMITS = re.compile(
    r"\\arg\s*\\(?:max|min)|\\lim\s*\\(?:sup|inf)"
    r"|\\(?:sum|prod|coprod|big(?:cup|cap|vee|wedge|oplus|otimes|sqcup|uplus)|lim|limsup|liminf|max|min|sup|inf|det|gcd|Pr"
    r"|i{1,3}nt|oint|operatorname\*?\{[^{}]*\})"
)
_MATRICES = {
    ("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", (r"\mid", r"\mid"): "vmatrix",
    (r"\|", r"\|"): "Vmatrix", (r"\parallel", r"\parallel"): "Vmatrix", (r"\{", r"\}"): "Bmatrix", (r"\{", ""): "cases",
    (r"\{", "."): "cases",
}  # fmt: skip
_VARIANTS = {
    "bold": r"\mathbf", "double-struck": r"\mathbb", "script": r"\mathcal", "fraktur": r"\mathfrak",
    "bold-italic": r"\boldsymbol", "bold-script": r"\mathcal", "bold-fraktur": r"\mathfrak", "sans-serif": r"\mathsf",
    "bold-sans-serif": r"\mathsf", "monospace": r"\mathtt", "-tex-calligraphic": r"\mathcal",
    "-tex-bold-calligraphic": r"\mathcal",
}  # fmt: skip
_ENCLOSURES = {
    "updiagonalstrike": r"\cancel", "downdiagonalstrike": r"\bcancel",
    "updiagonalstrike downdiagonalstrike": r"\xcancel",
    "horizontalstrike": r"\sout", "radical": r"\sqrt", "top": r"\overline", "bottom": r"\underline",
}  # fmt: skip
# What a script may hang on without braces: one token, one group, or a bracket that closes.
_BASE = re.compile(
    r"\\?[A-Za-z]+|[\])|\d.]+|\\(?:math[a-z]+|vec|bar|hat|tilde|d?dot)\{\w+\}|\\[{}|]|\(.*\)|\[.*\]|\|.*\|"
    r"|\\begin\{(\w+)\}(?:(?!\\begin).)*\\end\{\1\}",
    re.DOTALL,
)
# Lines below a sum.
_COLUMN = re.compile(r"\\begin\{matrix\}((?:(?! & |\\begin|\\end).)*)\\end\{matrix\}", re.DOTALL)
# A name whose letters stand in elements of their own.
_SPELLED = re.compile(r"\\math(rm|tt|sf)\{[A-Za-z]\}(?:\\math\1\{[A-Za-z]\})+")
_LIM_SUP = re.compile(r"\\lim\s*\\(sup|inf)(?![a-z])")
_WORDS = frozenset(["if", "and", "or", "where", "for", "otherwise"])
_RELATION = re.compile(
    r":?=|[<>]|\\(?:[lg]eq|neq|approx|equiv|sim(?:eq)?|cong|to|in|subset(?:eq)?|Rightarrow|iff|implies|propto|ll|gg)(?![a-z])"
)
_MODULUS = re.compile(r"(?:\\quad\s*)?\(\\bmod\s*((?:[^()]|\([^()]*\))*)\)")
_TEXT_ESCAPES = str.maketrans({letter: f"\\{letter}" for letter in "#$%&_{}"})


def mathml_to_latex(math: etree._Element) -> str:
    """LaTeX of a `math` element; empty when nothing in it can be written."""
    latex = _LIM_SUP.sub(r"\\lim\1", _SPELLED.sub(_name, _row(math, 0)))
    return re.sub(r" {2,}", " ", _MODULUS.sub(r"\\pmod{\1}", latex)).strip()


def _name(spelled: re.Match[str]) -> str:
    letters = "".join(re.findall(r"\{(.)\}", spelled[0]))
    if spelled[1] == "rm" and (letters == "mod" or letters in FUNCTIONS):
        return r"\bmod " if letters == "mod" else f"\\{letters} "
    return rf"\math{spelled[1]}{{{letters}}}"


def local_name(element: etree._Element) -> str:
    """The tag without namespace or prefix; empty for comments."""
    name = element.tag if isinstance(element.tag, str) else ""
    return name.rpartition("}")[2].rpartition(":")[2].lower()


def elements(element: etree._Element) -> list[etree._Element]:
    """The children that are elements."""
    return [child for child in element if isinstance(child.tag, str)]


def _row(element: etree._Element, depth: int) -> str:
    """An element's children as one row: delimiters around a table make a matrix, around a stack a binomial."""
    children = elements(element)
    if not children:
        return symbols_to_latex((element.text or "").strip())
    parts: list[str] = []
    position = 0
    while position < len(children):
        child = children[position]
        # MathJax puts a delimiter in a row of its own.
        opening = _only(child)
        latex, used = _fenced(opening, children[position + 1 : position + 3], depth)
        if latex is None:
            latex, used = _latex(child, depth + 1), 1
        parts.append(latex)
        position += used
    return join(parts)


def _fenced(opening: etree._Element, rest: list[etree._Element], depth: int) -> tuple[str | None, int]:
    """A table or a binomial between delimiters, and how many elements it took."""
    if not rest or local_name(opening) != "mo":
        return None, 0
    inner = _only(rest[0])
    name = local_name(inner)
    if name not in ("mtable", "mfrac"):
        return None, 0
    closing = _only(rest[1]) if len(rest) > 1 else None
    has_right = closing is not None and local_name(closing) == "mo"
    left = _token(opening, depth)
    right = _token(closing, depth) if closing is not None and has_right else ""
    if name == "mtable":
        environment = _MATRICES.get((left, right))
        if environment is not None:
            return _table(inner, depth + 1, environment), 3 if has_right else 2
        if left == r"\{" and not (has_right and right in (")", "]", "|")):
            return _table(inner, depth + 1, "cases"), 2
    elif name == "mfrac" and (left, right) == ("(", ")") and _is_stack(inner):
        return _binomial(inner, depth + 1), 3
    return None, 0


def _only(element: etree._Element) -> etree._Element:
    """What a row of one element, or a chain of these, stands for."""
    for _ in range(8):
        if local_name(element) not in ("mrow", "mstyle", "mpadded", "mjx-texatom", "texatom"):
            break
        children = elements(element)
        if len(children) != 1:
            break
        element = children[0]
    return element


def _latex(element: etree._Element, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return symbols_to_latex("".join(element.itertext()))
    rule = _RULES.get(local_name(element))
    return _row(element, depth) if rule is None else rule(element, depth)


def _arguments(element: etree._Element, depth: int, count: int) -> list[str]:
    """The children in LaTeX, filled up with empty ones."""
    arguments = [_latex(child, depth + 1) for child in elements(element)]
    return arguments + [""] * (count - len(arguments))


def _token(element: etree._Element, depth: int) -> str:
    # KaTeX lets what is set over a relation be one.
    if not (element.text or "").strip() and any(local_name(child) in _RULES for child in element):
        return _row(element, depth)
    text = "".join("".join(element.itertext()).split())
    name = local_name(element)
    if text in ("∣", "∥") and (name == "mi" or element.get("fence") == "true"):
        return "|" if text == "∣" else r"\|"
    if text in FUNCTIONS:
        return f"\\{text}"
    if not text:
        return ""
    if text == "mod":
        return r"\bmod"
    if name == "mo" and text in _WORDS:
        return rf"\text{{ {text} }}"
    if name == "mi" and text.isascii() and text.isalpha():
        if len(text) > 1 and _is_operator(element):
            return rf"\operatorname{{{text}}}"
        # A name without a variant is upright by the standard, and by many pages a product.
        if element.get("mathvariant") == "normal":
            return rf"\mathrm{{{text}}}"
    variant = _VARIANTS.get((element.get("mathvariant") or "").strip().lower(), "")
    if not variant or name == "mo":
        return symbols_to_latex(text)
    plain = "".join(plain_letter(letter)[0] for letter in text)
    latex = symbols_to_latex(plain)
    return latex if latex.startswith(variant) else f"{variant}{{{latex}}}"


def _is_operator(name: etree._Element) -> bool:
    """Whether it is said to be applied to what follows."""
    following = name.getnext()
    holder = name.getparent()
    if holder is not None and local_name(holder) in ("msub", "msup", "msubsup") and holder[0] is name:
        following = holder.getnext()
    if following is not None and following.text == "\u2061":
        return True
    return "OP" in (name.get("data-mjx-texclass"), None if holder is None else holder.get("data-mjx-texclass"))


def _text(element: etree._Element, depth: int) -> str:
    text = re.sub(r"\s+", " ", "".join(element.itertext()))
    return rf"\text{{{text.translate(_TEXT_ESCAPES)}}}" if text.strip() else " "


def _space(element: etree._Element, depth: int) -> str:
    width = re.fullmatch(r"\s*(\d*\.?\d+)\s*em\s*", element.get("width") or "")
    ems = float(width[1]) if width else 0.0
    return r"\qquad " if ems >= 2 else r"\quad " if ems >= 1 else " "


def _is_stack(fraction: etree._Element) -> bool:
    return bool(re.fullmatch(r"\s*0(?:\.0*)?\s*(?:[a-z]+|%)?\s*", fraction.get("linethickness") or ""))


def _binomial(fraction: etree._Element, depth: int) -> str:
    above, below = _arguments(fraction, depth, 2)[:2]
    return rf"\binom{{{above}}}{{{below}}}"


def _fraction(element: etree._Element, depth: int) -> str:
    above, below = _arguments(element, depth, 2)[:2]
    return rf"{{{above} \atop {below}}}" if _is_stack(element) else rf"\frac{{{above}}}{{{below}}}"


def _square_root(element: etree._Element, depth: int) -> str:
    return rf"\sqrt{{{_row(element, depth)}}}"


def _root(element: etree._Element, depth: int) -> str:
    radicand, index = _arguments(element, depth, 2)[:2]
    return rf"\sqrt[{index}]{{{radicand}}}" if index else rf"\sqrt{{{radicand}}}"


def _sub(element: etree._Element, depth: int) -> str:
    base, below = _arguments(element, depth, 2)[:2]
    return _scripted(base, below, "")


def _sup(element: etree._Element, depth: int) -> str:
    base, above = _arguments(element, depth, 2)[:2]
    return _scripted(base, "", above)


def _subsup(element: etree._Element, depth: int) -> str:
    base, below, above = _arguments(element, depth, 3)[:3]
    return _scripted(base, below, above)


def _scripted(base: str, below: str, above: str) -> str:
    if len(base) > 1 and not _BASE.fullmatch(base) and not _takes_limits(base):
        base = f"{{{base}}}"
    if _takes_limits(base):
        below = _COLUMN.sub(r"\\substack{\1}", below)
    below = f"_{_group(below)}" if below.strip() else ""
    if above and set(above) == {"'"}:
        return f"{base}{above}{below}"
    return (base or "{}") + below + (f"^{_group(above)}" if above.strip() else "")


def _group(latex: str) -> str:
    return latex if len(latex) == 1 else f"{{{latex}}}"


def _multiscripts(element: etree._Element, depth: int) -> str:
    base, before, after = "", ["", ""], ["", ""]
    children = elements(element)
    target, side = after, 0
    for number, child in enumerate(children):
        name = local_name(child)
        if number == 0:
            base = _latex(child, depth + 1)
        elif name in ("mprescripts", "prescripts"):
            target, side = before, 0
        else:
            target[side] += "" if name == "none" else _latex(child, depth + 1)
            side = 1 - side
    lead = _scripted("", *before) if any(before) else ""
    return lead + _scripted(base, *after)


def _under(element: etree._Element, depth: int) -> str:
    base, mark = _arguments(element, depth, 2)[:2]
    return _stacked(element, base.strip(), mark.strip(), "")


def _over(element: etree._Element, depth: int) -> str:
    base, mark = _arguments(element, depth, 2)[:2]
    return _stacked(element, base.strip(), "", mark.strip())


def _underover(element: etree._Element, depth: int) -> str:
    base, below, above = _arguments(element, depth, 3)[:3]
    return _stacked(element, base.strip(), below.strip(), above.strip())


def _stacked(element: etree._Element, base: str, below: str, above: str) -> str:
    marks = elements(element)
    accent = _ACCENTS.get("".join(marks[-1].itertext()).strip()) if above else None
    command = _UNDER.get("".join(marks[1].itertext()).strip()) if below and len(marks) > 1 else None
    if accent is None and command is None and _takes_limits(base):
        return _scripted(base, below, above)
    if above:
        if accent is None:
            base = rf"\overset{{{above}}}{{{base}}}"
        else:
            base = f"{_wide(accent, base, _only(marks[-1]))}{{{base}}}"
    if below:
        base = rf"\underset{{{below}}}{{{base}}}" if command is None else f"{command}{{{base}}}"
    return base


def _takes_limits(base: str) -> bool:
    """A sum and the like, or one brace over or under all of it."""
    if brace := re.match(r"\\(?:under|over)brace(?=\{)", base):
        return is_one_group(base[brace.end() :])
    return _LIMITS.fullmatch(base) is not None


def _wide(accent: str, base: str, mark: etree._Element) -> str:
    """The accent's command for a base of this width; MathJax says of its mark whether it stretches."""
    if mark.get("stretchy") == "false":
        return accent
    if accent == r"\bar" and mark.get("accent") == "false":
        return r"\overline"
    return _WIDE_ACCENTS.get(accent, accent) if _num_letters(base) > 1 else accent


def _num_letters(latex: str) -> int:
    """The letters and digits that an accent stands over; the command of a style is none of them."""
    plain = re.sub(r"\\[A-Za-z]+", "a", re.sub(r"\\(?:math[a-z]+|boldsymbol)", "", latex))
    return sum(map(str.isalnum, plain))


def _fence(element: etree._Element, depth: int) -> str:
    opening, closing = element.get("open", "("), element.get("close", ")")
    children = elements(element)
    inner = _only(children[0]) if len(children) == 1 else None
    left, right = symbols_to_latex(opening.strip()), symbols_to_latex(closing.strip())
    if inner is not None and local_name(inner) == "mtable" and (left, right) in _MATRICES:
        return _table(inner, depth + 1, _MATRICES[left, right])
    if inner is not None and local_name(inner) == "mfrac" and _is_stack(inner) and (left, right) == ("(", ")"):
        return _binomial(inner, depth + 1)
    separators = "".join((element.get("separators", ",")).split())
    parts: list[str] = []
    for number, child in enumerate(children):
        if number and separators:
            parts.append(symbols_to_latex(separators[min(number, len(separators)) - 1]))
        parts.append(_latex(child, depth + 1))
    return join([rf"\left{left or '.'}", join(parts), rf"\right{right or '.'}"])


def _table(table: etree._Element, depth: int, environment: str = "") -> str:
    cells = [
        [_row(cell, depth + 1).strip() for cell in _cells(row) if local_name(cell) in ("mtd", "td")]
        for row in elements(table)
        if local_name(row) in ("mtr", "mlabeledtr", "tr")
    ]
    rows = [" & ".join(row).rstrip("& ") if any(row) else "" for row in cells]
    body = r" \\ ".join(rows)
    if environment:
        return rf"\begin{{{environment}}}{body}\end{{{environment}}}"
    align = (table.get("columnalign") or "").split()
    if align[:2] == ["right", "left"] or (not align and _are_equations(cells)):
        return rf"\begin{{aligned}}{body}\end{{aligned}}"
    if "solid" in (table.get("columnlines") or "") or "solid" in (table.get("rowlines") or ""):
        width = max((row.count(" & ") + 1 for row in rows), default=1)
        columns = "|".join((align[min(column, len(align) - 1)] if align else "center")[0] for column in range(width))
        return rf"\begin{{array}}{{{columns}}}{body}\end{{array}}"
    return rf"\begin{{matrix}}{body}\end{{matrix}}"


def _cells(row: etree._Element) -> list[etree._Element]:
    return elements(row)[1 if local_name(row) == "mlabeledtr" else 0 :]


def _are_equations(cells: list[list[str]]) -> bool:
    """Whether each row goes on with a relation in its second cell."""
    return bool(cells) and all(len(row) > 1 and _RELATION.match(row[1]) for row in cells)


def _enclosed(element: etree._Element, depth: int) -> str:
    inner = _row(element, depth)
    notation = " ".join((element.get("notation") or "").split())
    if "box" in notation or notation in ("circle", "top bottom left right"):
        return rf"\boxed{{{inner}}}"
    command = _ENCLOSURES.get(notation)
    return inner if command is None else f"{command}{{{inner}}}"


def _styled(element: etree._Element, depth: int) -> str:
    variant = _VARIANTS.get((element.get("mathvariant") or "").strip().lower())
    inner = _row(element, depth)
    return inner if variant is None or not inner.strip() else f"{variant}{{{inner}}}"


def _first(element: etree._Element, depth: int) -> str:
    """Of `semantics` the presentation, of `maction` what is shown."""
    children = elements(element)
    return _latex(children[0], depth + 1) if children else ""


def _nothing(element: etree._Element, depth: int) -> str:
    return ""


_RULES: dict[str, Callable[[etree._Element, int], str]] = {
    "mi": _token, "mn": _token, "mo": _token, "mtext": _text, "ms": _text, "mspace": _space, "mfrac": _fraction,
    "msqrt": _square_root, "mroot": _root, "msub": _sub, "msup": _sup, "msubsup": _subsup, "munder": _under,
    "mover": _over, "munderover": _underover, "mmultiscripts": _multiscripts, "mtable": _table, "mstyle": _styled,
    "mfenced": _fence,
    "menclose": _enclosed, "semantics": _first, "maction": _first, "mphantom": _nothing, "annotation": _nothing,
    "annotation-xml": _nothing, "none": _nothing, "mprescripts": _nothing, "mglyph": _nothing,
    "maligngroup": _nothing, "malignmark": _nothing,
}  # fmt: skip
