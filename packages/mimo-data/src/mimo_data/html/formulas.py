"""Finds every formula of a page, whatever drew it, and leaves one `x-formula` element in its place.

One pass in document order over a table of renderers: MathJax 2 scripts and previews, MathJax 3 (CHTML,
SVG, assistive MathML), KaTeX, Temml, MathML with and without annotation, LaTeXML, Wikipedia, WordPress,
images of LaTeX services or with LaTeX as their text, `data-…` attributes. Raw delimiters in the text are
`delimit`'s part. A formula whose source is nowhere in the page (glyphs as paths) is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from lxml import html

from mimo_data.html.mathml import chtml_to_latex, mathml_to_latex

FORMULA_TAG = "x-formula"


class Formula(NamedTuple):
    """LaTeX without delimiters; empty for something that only repeats a formula and is to be removed."""

    latex: str
    display: bool


_WRAPPERS = frozenset(["arithmatex", "math-container"])
_TEX = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|\\[{}|]|[A-Za-z0-9)]\s*[\^=<>]\s*[A-Za-z0-9({\\-]")
_DATA = (
    "data-math",
    "data-tex",
    "data-latex",
    "data-formula",
    "data-expr",
    "data-equation",
    "data-katex",
    "data-content-math",
)
_SERVICE_QUERY = ("latex", "tex", "chl", "formula", "eq", "math")
_SERVICES = re.compile(
    r"codecogs\.com|latex\.php|mathtex|mimetex|chart\.(?:apis\.)?google|/equation\?tex=|latex2png|texrender|sciweavers"
    r"|/formula/|/render/math|math\.now\.sh|i\.upmath\.me|latexmath|quicklatex"
)
_SERVICE_OPTIONS = re.compile(
    r"^\s*(?:\\(?:dpi|bg|fg|inline|large|small|tiny|LARGE|Large|huge)(?:_\w+|\{[^}]*\})?\s*)+"
)


def mark_formulas(root: html.HtmlElement) -> bool:
    """Replaces each rendered formula below `root` by `<x-formula latex=… display=…>`, in place.

    Returns:
        Whether the page wraps its raw formulas in elements, so that a lone `$` is a dollar.
    """
    wraps = False
    has_scripts = any("math/" in (script.get("type") or "") for script in root.iter("script"))
    stack = [root]
    while stack:
        element = stack.pop()
        if not isinstance(element.tag, str):
            continue
        formula = _recognise(element, has_scripts)
        if formula is None:
            stack.extend(reversed(element))
            continue
        wraps |= bool(_WRAPPERS & set((element.get("class") or "").split()))
        tail = element.tail
        element.clear()
        element.tail = tail
        element.tag = FORMULA_TAG
        element.set("latex", _tidy(formula.latex))
        if formula.display:
            element.set("display", "block")
    return wraps


def _recognise(element: html.HtmlElement, has_scripts: bool) -> Formula | None:
    tag = element.tag.rpartition(":")[2].lower()
    rule = _TAG_RULES.get(tag)
    if rule is not None:
        return rule(element)
    classes = (element.get("class") or "").split()
    for name in classes:
        if name in _CLASS_RULES:
            formula = _CLASS_RULES[name](element)
            if formula is not None:
                return formula
    if has_scripts and any(name.startswith(("MathJax", "MJX")) for name in classes):
        return Formula("", False)
    for name in _DATA:
        value = element.get(name)
        if value and _TEX.search(value):
            return Formula(value, tag == "div" or "display" in classes or "block" in classes)
    return None


def _script(element: html.HtmlElement) -> Formula | None:
    kind = (element.get("type") or "").lower()
    text = element.text or ""
    display = "display" in kind
    if kind.startswith(("math/tex", "math/latex")):
        return Formula(text, display)
    if kind.startswith("math/mml"):
        math = html.fragment_fromstring(text, create_parent="div")
        return Formula(_find_mathml(math) or "", display)
    if kind.startswith("math/asciimath"):
        return Formula(text, display)
    return None


def _math(element: html.HtmlElement) -> Formula:
    display = element.get("display") == "block" or element.get("mode") == "display"
    return Formula(_mathml_source(element), display)


def _mathml_source(math: html.HtmlElement) -> str:
    """The LaTeX that a `math` element carries, or else is converted to."""
    for child in math.iter():
        named = isinstance(child.tag, str) and child.tag.rpartition(":")[2] == "annotation"
        if named and "tex" in (child.get("encoding") or "").lower() and (child.text or "").strip():
            return str(child.text)
    alternative = (math.get("alttext") or math.get("data-latex") or "").strip()
    return alternative or mathml_to_latex(math)


def _find_mathml(element: html.HtmlElement) -> str | None:
    for child in element.iter():
        if isinstance(child.tag, str) and child.tag.rpartition(":")[2] == "math":
            return _mathml_source(child)
    return None


def _mathjax3(element: html.HtmlElement) -> Formula:
    display = element.get("display") == "true" or element.get("display") == "block"
    source = _find_mathml(element)
    if source is None:
        marked = element.xpath(".//*[@data-latex]")
        source = marked[0].get("data-latex") if marked else chtml_to_latex(element)
    return Formula(source, display)


def _mathjax2(element: html.HtmlElement) -> Formula | None:
    """A MathJax 2 rendering whose script is gone: its MathML is in an attribute or beside the glyphs."""
    display = "Display" in (element.get("class") or "") or bool(
        element.xpath("ancestor::*[contains(@class, 'Display')]")
    )
    markup = element.get("data-mathml") or next(iter(element.xpath(".//@data-mathml")), None)
    if markup:
        element = html.fragment_fromstring(markup, create_parent="div")
    source = _find_mathml(element)
    return None if source is None else Formula(source, display)


def _katex(element: html.HtmlElement) -> Formula | None:
    source = _find_mathml(element)
    display = "katex-display" in (element.get("class") or "") or bool(
        element.xpath("./ancestor::*[@class='katex-block']")
    )
    return None if source is None else Formula(source, display)


def _wikipedia(element: html.HtmlElement) -> Formula | None:
    source = _find_mathml(element) or next(iter(element.xpath(".//img/@alt")), None)
    display = bool(element.xpath(".//*[contains(@class, 'display') or @display='block']"))
    return None if source is None else Formula(source, display)


def _pandoc(element: html.HtmlElement) -> Formula | None:
    """`<span class="math inline">`: LaTeX with or without delimiters."""
    classes = (element.get("class") or "").split()
    if len(element) or not element.text or not {"inline", "display"} & set(classes):
        return None
    text = element.text.strip()
    return None if re.match(r"\\[(\[]|\$", text) else Formula(text, "display" in classes)


def _wrapped(element: html.HtmlElement) -> Formula | None:
    """A wrapper around a formula in its raw delimiters (arithmatex, StackExchange)."""
    text = (element.text or "").strip()
    if len(element):
        return None
    for start, end, display in (("$$", "$$", True), (r"\[", r"\]", True), (r"\(", r"\)", False), ("$", "$", False)):
        if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end):
            return Formula(text[len(start) : -len(end)], display)
    return None


def _image(element: html.HtmlElement) -> Formula | None:
    source = element.get("data-src") or element.get("src") or ""
    text = (element.get("alt") or element.get("title") or "").strip()
    classes = set((element.get("class") or "").split())
    display = (
        bool(classes & {"mwe-math-fallback-image-display", "displaymath", "ee_img"}) and "tr_noresize" not in classes
    )
    if _SERVICES.search(source):
        found = _service_source(source)
        latex = text if _TEX.search(text) or (text and text == found) else found or text
        return Formula(_SERVICE_OPTIONS.sub("", latex), display) if latex else None
    named = classes & {"latex", "tex", "math", "texmath", "formula", "equation", "inlineformula", "mathtex"} or any(
        name.startswith("mwe-math") for name in classes
    )
    if text and (named or (text.startswith("$") and text.endswith("$") and len(text) > 2)):
        return Formula(text, display)
    if re.search(r"\\[A-Za-z]{2,}\b.*[{}^_]|[\^_]\{", text) and not re.search(r"[A-Za-z]:\\|\\\\\w", text):
        return Formula(text, display or text.startswith(r"\begin"))
    return None


def _service_source(source: str) -> str:
    """The LaTeX in the address of an image service."""
    parts = urlsplit(source)
    query = parts.query or parts.fragment
    named = parse_qs(query.replace("+", "%2B"), keep_blank_values=False)
    for name in _SERVICE_QUERY:
        if name in named and (name != "chl" or named.get("cht") == ["tx"]):
            return named[name][0]
    if query and not re.match(r"\w+=", query):
        return unquote(query)
    return unquote(parts.path.rpartition("/")[2]) if "/formula/" in parts.path else ""


_Rule = Callable[[html.HtmlElement], Formula | None]
_TAG_RULES: dict[str, _Rule] = {
    "script": _script,
    "math": _math,
    "mjx-container": _mathjax3,
    "img": _image,
    "mjx-assistive-mml": lambda element: Formula("", False),
}
_CLASS_RULES: dict[str, _Rule] = {
    "katex-display": _katex,
    "katex": _katex,
    "katex-html": lambda element: Formula("", False),
    "mwe-math-element": _wikipedia,
    "MathJax_Preview": lambda element: Formula("", False),
    "MathJax_Display": _mathjax2,
    "MathJax": _mathjax2,
    "MathJax_SVG": _mathjax2,
    "MathJax_CHTML": _mathjax2,
    "arithmatex": _wrapped,
    "math-container": _wrapped,
    "math": _pandoc,
}


def _tidy(latex: str) -> str:
    """LaTeX without delimiters of its own, comments of CDATA, or blank lines."""
    latex = re.sub(r"<br\s*/?>", "\n", latex.replace("\xa0", " ")).strip()
    latex = re.sub(r"^(?:%\s*)?<!\[CDATA\[|(?:%\s*)?\]\]>$", "", latex).strip()
    for start, end in (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$")):
        if latex.startswith(start) and latex.endswith(end) and len(latex) > len(start) + len(end):
            latex = latex[len(start) : -len(end)].strip()
            break
    return re.sub(r"\n\s*\n", "\n", latex)


_INLINE = re.compile(r"\\\((.+?)\\\)", re.DOTALL)
_DISPLAY = re.compile(r"\\\[(.+?)\\\]", re.DOTALL)
_TAGGED = re.compile(r"\[(i?tex|math|latex)\](.+?)\[/\1\]", re.DOTALL | re.IGNORECASE)
_WORDPRESS = re.compile(r"\$latex\s+([^$]+?)\$")
_GROUP = re.compile(r"\$\\(?:begin|end)group\$")
_MATHS = re.compile(r"[\\^_={}<>+]|^\s*\w{1,2}\s*$|^\s*-?\d")


def delimit(text: str, *, rendered: bool) -> str:
    r"""Text of a block with `\(…\)`, `\[…\]`, `[tex]…[/tex]` and `$latex …$` written as `$…$` or `$$…$$`.

    Args:
        rendered: the page loads MathJax or KaTeX, so that delimiters are sure to mean mathematics.
    """
    if "\\(" in text:
        text = _INLINE.sub(lambda m: f"${m[1].strip()}$" if rendered or _MATHS.search(m[1]) else m[0], text)
    if "\\[" in text:
        text = _DISPLAY.sub(lambda m: f"$${m[1].strip()}$$" if rendered or _MATHS.search(m[1]) else m[0], text)
    if "[/" in text:
        text = _TAGGED.sub(
            lambda m: f"${m[2].strip()}$" if m[1].lower() in ("itex", "latex") else f"$${m[2].strip()}$$", text
        )
    if r"group$" in text:
        text = _GROUP.sub("", text)
    if "$latex" in text:
        text = _WORDPRESS.sub(lambda m: f"${m[1].strip()}$", text)
    return text
