"""MathML to LaTeX, for pages that carry no LaTeX source.

Covers presentation MathML and, rewritten to it, the element tree of MathJax 3's CHTML output. What has
no LaTeX of its own (spacing, phantoms, colours) is dropped.
"""

from __future__ import annotations

import re
import unicodedata

from lxml import etree

_SYMBOLS = {
    "−": "-", "∗": "*", "′": "'", "″": "''", "…": r"\ldots", "⋯": r"\cdots", "⋮": r"\vdots", "⋱": r"\ddots",
    "⋅": r"\cdot", "·": r"\cdot", "×": r"\times", "÷": r"\div", "±": r"\pm", "∓": r"\mp", "∘": r"\circ",
    "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "≪": r"\ll", "≫": r"\gg", "≈": r"\approx", "≡": r"\equiv",
    "∼": r"\sim", "≃": r"\simeq", "≅": r"\cong", "∝": r"\propto", "≺": r"\prec", "≻": r"\succ",
    "∈": r"\in", "∉": r"\notin", "∋": r"\ni", "⊂": r"\subset", "⊆": r"\subseteq", "⊃": r"\supset",
    "⊇": r"\supseteq", "∪": r"\cup", "∩": r"\cap", "∖": r"\setminus", "∅": r"\emptyset", "∀": r"\forall",
    "∃": r"\exists", "¬": r"\neg", "∧": r"\wedge", "∨": r"\vee", "⊕": r"\oplus", "⊗": r"\otimes",
    "⊥": r"\perp", "∥": r"\parallel", "∣": r"\mid", "∠": r"\angle", "△": r"\triangle", "∴": r"\therefore",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "⇒": r"\Rightarrow", "⇐": r"\Leftarrow",
    "⇔": r"\Leftrightarrow", "⟹": r"\implies", "⟺": r"\iff", "⟶": r"\longrightarrow", "↦": r"\mapsto",
    "↑": r"\uparrow", "↓": r"\downarrow", "∑": r"\sum", "∏": r"\prod", "∫": r"\int", "∬": r"\iint",
    "∮": r"\oint", "⋃": r"\bigcup", "⋂": r"\bigcap", "∂": r"\partial", "∇": r"\nabla", "∞": r"\infty",
    "ℏ": r"\hbar", "ℓ": r"\ell", "ℜ": r"\Re", "ℑ": r"\Im", "ℵ": r"\aleph", "√": r"\surd",
    "⟨": r"\langle", "⟩": r"\rangle", "〈": r"\langle", "〉": r"\rangle", "⌊": r"\lfloor", "⌋": r"\rfloor",
    "⌈": r"\lceil", "⌉": r"\rceil", "‖": r"\|", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "_": r"\_", "ℝ": r"\mathbb{R}", "ℂ": r"\mathbb{C}", "ℕ": r"\mathbb{N}", "ℤ": r"\mathbb{Z}",
    "ℚ": r"\mathbb{Q}", "ϕ": r"\phi", "φ": r"\varphi", "ϵ": r"\epsilon", "ε": r"\varepsilon",
    "ϑ": r"\vartheta", "ϖ": r"\varpi", "ϱ": r"\varrho", "ς": r"\varsigma", "†": r"\dagger", "★": r"\star",
    "\N{FUNCTION APPLICATION}": "", "\N{INVISIBLE TIMES}": "", "\N{INVISIBLE SEPARATOR}": "",
    "\N{INVISIBLE PLUS}": "", "\N{NO-BREAK SPACE}": " ",
}  # fmt: skip
_SYMBOLS |= {
    unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): "\\"
    + (name if case == "SMALL" else name.capitalize())
    for case, names in (
        ("SMALL", "alpha beta gamma delta zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
                  "upsilon chi psi omega"),
        ("CAPITAL", "gamma delta theta lambda xi pi sigma upsilon phi psi omega"),
    )
    for name in names.split()
}  # fmt: skip
_FUNCTIONS = frozenset([
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "gcd",
    "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "sec", "sin", "sinh", "sup",
    "tan", "tanh", "Pr",
])  # fmt: skip
_ACCENTS = {
    "^": r"\hat", "ˆ": r"\hat", "~": r"\tilde", "˜": r"\tilde", "¯": r"\bar", "‾": r"\overline", "_": r"\bar",
    "˙": r"\dot", "¨": r"\ddot", "→": r"\vec", "⃗": r"\vec", "ˇ": r"\check", "˘": r"\breve",
    "⏞": r"\overbrace", "⏟": r"\underbrace",
}  # fmt: skip
_LIMITS = frozenset({r"\sum", r"\prod", r"\bigcup", r"\bigcap", r"\lim", r"\max", r"\min", r"\sup", r"\inf", r"\int"})
_MATRICES = {("(", ")"): "pmatrix", ("[", "]"): "bmatrix", ("|", "|"): "vmatrix", (r"\|", r"\|"): "Vmatrix"}
_VARIANTS = {
    "bold": r"\mathbf", "double-struck": r"\mathbb", "script": r"\mathcal", "fraktur": r"\mathfrak",
    "bold-italic": r"\boldsymbol", "sans-serif": r"\mathsf", "monospace": r"\mathtt",
}  # fmt: skip
_WORD_END = re.compile(r"\\[A-Za-z]+$")


def mathml_to_latex(math: etree._Element) -> str:
    """LaTeX of a `math` element; empty when nothing in it can be written."""
    return re.sub(r" {2,}", " ", _children(math)).strip()


def chtml_to_latex(container: etree._Element) -> str:
    """LaTeX of an `mjx-container` that MathJax rendered to CHTML without assistive MathML."""
    roots = [element for element in container.iter() if _tag(element) == "mjx-math"]
    return mathml_to_latex(_to_mathml(roots[0])) if roots else ""


def _tag(element: etree._Element) -> str:
    name = element.tag if isinstance(element.tag, str) else ""
    return name.rpartition("}")[2].rpartition(":")[2].lower()


def _join(parts: list[str]) -> str:
    """Parts side by side, with a space where a command would swallow the next letter."""
    text = ""
    for part in parts:
        if not part:
            continue
        if text and _WORD_END.search(text) and part[0].isalpha():
            text += " "
        text += part
    return text


def _elements(element: etree._Element) -> list[etree._Element]:
    return [child for child in element if isinstance(child.tag, str)]


def _children(element: etree._Element) -> str:
    children = _elements(element)
    parts = []
    position = 0
    while position < len(children):
        matrix = _fenced_table(children[position : position + 3])
        if matrix:
            latex, used = matrix
            parts.append(latex)
            position += used
        else:
            parts.append(_latex(children[position]))
            position += 1
    return _join(parts)


def _fenced_table(children: list[etree._Element]) -> tuple[str, int] | None:
    """A table between delimiters, and how many elements it took."""
    if len(children) < 2 or _tag(children[0]) != "mo" or _tag(children[1]) != "mtable":
        return None
    left = _latex(children[0]).strip()
    right = _latex(children[2]).strip() if len(children) > 2 and _tag(children[2]) == "mo" else ""
    if (left, right) in _MATRICES:
        return _table(children[1], _MATRICES[left, right]), 3
    if left == r"\{" and right in ("", r"\}"):
        return _table(children[1], "cases"), 2
    return None


def _latex(element: etree._Element) -> str:
    tag = _tag(element)
    children = _elements(element)
    arguments = [_latex(child) for child in children] if tag in _ARITY else []
    if tag in _ARITY and len(arguments) < _ARITY[tag]:
        return _join(arguments)
    match tag:
        case "mi" | "mn" | "mo":
            return _token(element, tag)
        case "mtext" | "ms":
            text = "".join(element.itertext())
            return rf"\text{{{text}}}" if text.strip() else " "
        case "mspace":
            return " "
        case "mfrac":
            bare = element.get("linethickness") in ("0", "0pt", "0px")
            return rf"\{'binom' if bare else 'frac'}{{{arguments[0]}}}{{{arguments[1]}}}"
        case "msqrt":
            return rf"\sqrt{{{_children(element)}}}"
        case "mroot":
            return rf"\sqrt[{arguments[1]}]{{{arguments[0]}}}"
        case "msub" | "msup" | "msubsup":
            return _scripts(arguments, tag)
        case "munder" | "mover" | "munderover":
            return _stacked(arguments, tag)
        case "mtable":
            return _table(element, "")
        case "mfenced":
            separator = element.get("separators", ",")[:1]
            inside = separator.join(_latex(child) for child in children)
            return rf"\left{element.get('open', '(')}{inside}\right{element.get('close', ')')}"
        case "mphantom" | "annotation" | "annotation-xml" | "none" | "mprescripts":
            return ""
        case "menclose" if "box" in element.get("notation", ""):
            return rf"\boxed{{{_children(element)}}}"
        case _:
            return _children(element)


_ARITY = {
    "mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3,
}  # fmt: skip


def _token(element: etree._Element, tag: str) -> str:
    text = "".join(element.itertext()).strip()
    variant = element.get("mathvariant", "")
    if not variant and len(text) == 1 and "MATHEMATICAL BOLD" in unicodedata.name(text, ""):
        variant = "bold"
    text = "".join(
        unicodedata.normalize("NFKC", letter) if unicodedata.name(letter, "").startswith("MATHEMATICAL") else letter
        for letter in text
    )
    if text in _FUNCTIONS:
        return f"\\{text}"
    latex = _join([_SYMBOLS.get(letter, letter) for letter in text])
    if variant in _VARIANTS and tag != "mo":
        return f"{_VARIANTS[variant]}{{{latex}}}"
    return latex


def _scripts(arguments: list[str], tag: str) -> str:
    base = arguments[0]
    if len(base) > 1 and not re.fullmatch(r"\\?[A-Za-z]+|[\])|\d.]+|\\mathb[bf]\{\w+\}|\\[{}|]|\(.*\)", base):
        base = f"{{{base}}}"
    below = f"_{_group(arguments[1])}" if tag != "msup" else ""
    above = arguments[-1] if tag != "msub" else ""
    if set(above) == {"'"}:
        return f"{base}{above}{below}"
    return base + below + (f"^{_group(above)}" if above else "")


def _group(latex: str) -> str:
    return latex if len(latex) == 1 else f"{{{latex}}}"


def _stacked(arguments: list[str], tag: str) -> str:
    base = arguments[0].strip()
    if base in _LIMITS or base.startswith((r"\underbrace", r"\overbrace")):
        return _scripts([base, *arguments[1:]], {"munder": "msub", "mover": "msup"}.get(tag, "msubsup"))
    mark = arguments[1].strip()
    if tag == "mover":
        accent = _ACCENTS.get({r"\to": "→"}.get(mark, mark))
        return f"{accent}{{{base}}}" if accent else rf"\overset{{{mark}}}{{{base}}}"
    if tag == "munder":
        if mark in ("_", "¯", "‾"):
            return rf"\underline{{{base}}}"
        return rf"\underbrace{{{base}}}" if mark == "⏟" else rf"\underset{{{mark}}}{{{base}}}"
    return rf"\underset{{{mark}}}{{\overset{{{arguments[2]}}}{{{base}}}}}"


def _table(table: etree._Element, environment: str) -> str:
    rows = [
        " & ".join(_children(cell).strip() for cell in _elements(row) if _tag(cell) == "mtd")
        for row in _elements(table)
        if _tag(row) in ("mtr", "mlabeledtr")
    ]
    if not environment:
        environment = "aligned" if table.get("columnalign", "").startswith("right left") else "matrix"
    return rf"\begin{{{environment}}}" + r" \\ ".join(rows) + rf"\end{{{environment}}}"


def _to_mathml(element: etree._Element) -> etree._Element:
    """The MathML that an element of MathJax's CHTML tree was made from."""
    tag = _tag(element).removeprefix("mjx-")
    result = etree.Element(tag)
    for name in ("mathvariant", "columnalign", "linethickness"):
        if element.get(name):
            result.set(name, element.get(name))
    if tag in ("mi", "mn", "mo", "mtext", "ms"):
        result.text = "".join(_glyph(child) for child in element.iter() if _tag(child) == "mjx-c")
        return result
    parts = [_to_mathml(child) for child in _chtml_children(element, tag)]
    scripted = any(_tag(child) == "mjx-script" for child in element)
    # CHTML draws from the top: a superscript before its subscript, an over-script before its base.
    if tag in ("msubsup", "munderover") and len(parts) == 3 and scripted:
        parts[1], parts[2] = parts[2], parts[1]
    elif tag == "munderover" and len(parts) == 2 and parts[1].tag == "munder":
        parts = [*parts[1], parts[0]]
    elif tag == "mover" and len(parts) == 2 and not scripted:
        parts.reverse()
    result.extend(parts)
    return result


_CHTML_LAYOUT = frozenset([
    "mjx-script", "mjx-frac", "mjx-num", "mjx-dbox", "mjx-dtable", "mjx-row", "mjx-den", "mjx-sqrt", "mjx-box",
    "mjx-base", "mjx-over", "mjx-under", "mjx-root", "mjx-itable", "mjx-table", "mjx-texatom", "mjx-texclass",
    "mjx-tstrut",
])  # fmt: skip
_CHTML_EMPTY = frozenset(
    [
        "mjx-nstrut",
        "mjx-dstrut",
        "mjx-line",
        "mjx-surd",
        "mjx-spacer",
        "mjx-strut",
        "mjx-assistive-mml",
        "mjx-mspace",
        "mjx-tstrut",
    ]
)


def _chtml_children(element: etree._Element, tag: str) -> list[etree._Element]:
    """The children that stand for MathML ones, found below the boxes that only lay them out."""
    found: list[etree._Element] = []
    for child in _elements(element):
        name = _tag(child)
        if name in _CHTML_EMPTY:
            continue
        if name in _CHTML_LAYOUT:
            inner = _chtml_children(child, tag)
            # A numerator or a base of several pieces is one argument.
            if name in ("mjx-num", "mjx-den", "mjx-base", "mjx-over", "mjx-under") and len(inner) > 1:
                row = etree.SubElement(element, "mjx-mrow")
                row.extend(inner)
                element.remove(row)
                inner = [row]
            found += inner
        else:
            found.append(child)
    return found


def _glyph(element: etree._Element) -> str:
    if element.text:
        return str(element.text)
    code = re.search(r"mjx-c([0-9A-F]{2,5})\b", element.get("class", ""))
    return chr(int(code[1], 16)) if code else ""
