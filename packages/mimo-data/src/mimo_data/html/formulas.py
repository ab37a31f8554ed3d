"""Finds every formula of a page, whatever drew it, and leaves one `x-formula` element in its place.

One pass in document order over two tables of renderers, by tag and by class: MathJax 2 scripts and previews, MathJax
3 (CHTML, SVG, assistive MathML), KaTeX, Temml, MathML with and without annotation, LaTeXML, Wikipedia, WordPress,
images of LaTeX services or with LaTeX as their text, `data-…` attributes. Raw delimiters in the text are
`delimiters.py`'s part. A page without a renderer's marks is not searched for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from lxml import etree, html

from mimo_data.html.asciimath import asciimath_to_latex
from mimo_data.html.delimiters import Notation
from mimo_data.html.imageformulas import image_source
from mimo_data.html.katex import katex_to_latex
from mimo_data.html.mathjax import chtml_to_latex, mathjax2_to_latex, svg_to_latex
from mimo_data.html.mathml import mathml_to_latex
from mimo_data.latex import is_one_group, join, symbols_to_latex

FORMULA_TAG = "x-formula"


class Formula(NamedTuple):
    """LaTeX without delimiters; empty for something that only repeats a formula and is to be removed."""

    latex: str
    display: bool


_WRAPPERS = frozenset(["arithmatex", "math-container", "tex2jax_process", "mathjax_process"])
_CLASS_TAGS = ("span", "div", "p", "td", "code", "pre")
_COMMAND = re.compile(r"\\[A-Za-z]|[\^_]\{")
_MAX_SHARE_OF_NAMES = 0.2
_NAME = re.compile(r"[A-Za-z]{3}|[A-Za-z]{2}_|_[A-Za-z]{2}")
_LATEX = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|[A-Za-z]_[A-Za-z0-9]\b")
_TEX = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|\\[{}|]|[A-Za-z0-9)]\s*[\^=<>]\s*[A-Za-z0-9({\\-]|^[A-Za-z]$")
_DATA = re.compile(
    r"data-(?:math(?:ml|-content)?|tex(?:-content)?|latex|formula|expr|equation|katex|content-math|original-latex)\b(?!-)"
)


def mark_formulas(root: etree._Element, page: str) -> Notation:
    """Replaces each rendered formula below `root` by `<x-formula latex=… display=…>`, in place.

    Args:
        page: the source that `root` was parsed from: it tells quickly what the page cannot hold.
    """
    has_scripts = any("math/" in (script.get("type") or "") for script in root.iter("script"))
    wrapped = False
    done: set[etree._Element] = set()
    # A wrapper comes before what it wraps, and every class before every tag: what a renderer's class holds is gone
    # when the tags are looked for.
    for element, names in [
        (element, names)
        for element in root.iter(*_CLASS_TAGS)
        if (names := element.get("class")) is not None and _rules_of(names)
    ]:
        if element in done:
            continue
        formula = _by_class(element, _rules_of(names), has_scripts)
        if formula is not None:
            wrapped = wrapped or bool(_WRAPPERS & set(names.split()))
            done.update(element.iterdescendants(*_CLASS_TAGS))
            _mark(element, formula)
    tags = [*_TAG_RULES]
    if ":math" in page:
        tags += {f"{prefix}:math" for prefix in re.findall(r"<(\w{1,10}):math\b", page)}
    done.clear()
    for element in list(root.iter(*tags)):
        if element not in done and (formula := _TAG_RULES.get(element.tag, _math)(element)) is not None:
            if len(element):
                done.update(element.iterdescendants(*tags))
            _mark(element, formula)
    for element in _variables(root):
        _mark(element, Formula(element.text, False))
    if data := sorted(set(_DATA.findall(page))):
        for element in root.xpath("|".join(f".//*[@{name}]" for name in data)):
            formula = next((found for name in data if (found := _attribute(element, name)) is not None), None)
            if formula is not None:
                _mark(element, formula)
    return Notation(page, wrapped=wrapped)


def _mark(element: etree._Element, formula: Formula) -> None:
    tail = element.tail
    element.clear()
    element.tail = tail
    element.tag = FORMULA_TAG
    element.set("latex", _tidy(formula.latex))
    if formula.display:
        element.set("display", "block")


def _by_class(element: etree._Element, rules: tuple[_Rule | None, ...], has_scripts: bool) -> Formula | None:
    if has_scripts and None in rules and _is_before_its_script(element):
        return Formula("", False)
    for rule in rules:
        if rule is not None and (formula := rule(element)) is not None:
            return formula
    return Formula("", False) if has_scripts and None in rules else None


def _is_before_its_script(rendering: etree._Element) -> bool:
    """Whether MathJax 2's script with the source comes next, after the rendering or after what wraps it."""
    element = rendering
    for _ in range(3):
        following = element.getnext()
        if following is not None:
            return following.tag == "script" and "math/" in (following.get("type") or "")
        element = element.getparent()
        if element is None:
            break
    return False


@lru_cache(maxsize=20_000)
def _rules_of(names: str) -> tuple[_Rule | None, ...]:
    """The renderers of a class attribute; None for a part of MathJax 2, which only repeats its script."""
    rules: list[_Rule | None] = [_CLASS_RULES[name] for name in names.split() if name in _CLASS_RULES]
    if any(name.startswith(("MathJax", "MJX")) for name in names.split()):
        rules.append(None)
    return tuple(rules)


def _attribute(element: etree._Element, name: str) -> Formula | None:
    value = element.get(name)
    if not value:
        return None
    names = (element.get("class") or "").split()
    # mdnice, in which articles of WeChat are written.
    kind = element.get("data-formula-type") or ""
    display = (
        element.tag == "div"
        or "block" in kind
        or "display" in names
        or "block" in names
        or element.get("data-display") in ("true", "block")
    )
    if name == "data-mathml":
        source = _parsed_mathml(value)
        return None if source is None else Formula(source, display)
    return Formula(value, display) if kind or _TEX.search(value) else None


def _script(element: etree._Element) -> Formula | None:
    kind = (element.get("type") or "").lower()
    if "math/" not in kind:
        return None
    text = element.text or ""
    display = "display" in kind
    if kind.startswith(("math/tex", "math/latex")):
        return Formula(text, display)
    if kind.startswith("math/mml"):
        source = _parsed_mathml(text)
        return Formula(source or "", display)
    if kind.startswith("math/asciimath"):
        return Formula(asciimath_to_latex(text), display)
    return None


def _parsed_mathml(markup: str) -> str | None:
    """The LaTeX of MathML given as text."""
    markup = re.sub(r"^\s*(?://)?<!\[CDATA\[|(?://)?\]\]>\s*$", "", markup)
    try:
        return _find_mathml(html.fragment_fromstring(markup, create_parent="div"))
    except (etree.ParserError, ValueError):
        return None


def _math(element: etree._Element) -> Formula:
    display = element.get("display") == "block" or element.get("mode") == "display"
    return Formula(_mathml_source(element), display)


def _mathml_source(math: etree._Element) -> str:
    """The LaTeX that a `math` element carries, or else is converted to."""
    for child in math.iter("annotation", "m:annotation", "mml:annotation"):
        if "tex" in (child.get("encoding") or "").lower() and (child.text or "").strip():
            return str(child.text)
    alternative = (math.get("alttext") or math.get("data-latex") or math.get("data-tex") or "").strip()
    # Some renderers speak the formula there, in words.
    if alternative and (_TEX.search(alternative) or not re.search(r"[A-Za-z]{3,}\s+[A-Za-z]{2,}", alternative)):
        return alternative
    return mathml_to_latex(math)


def _find_mathml(element: etree._Element) -> str | None:
    math = next(element.iter("math", "m:math", "mml:math"), None)
    return None if math is None else _mathml_source(math)


def _mathjax3(element: etree._Element) -> Formula:
    # Drawn while the site was made, with MathJax 2's script left in place.
    if not (element.tail or "").strip() and _is_before_its_script(element):
        return Formula("", False)
    display = element.get("display") in ("true", "block")
    source = _find_mathml(element)
    if source is None:
        source = next((child.get("data-latex") for child in element.iter() if child.get("data-latex")), None)
    if source is None:
        source = chtml_to_latex(element) or svg_to_latex(element)
    return Formula(source, display)


def _mathjax2(element: etree._Element) -> Formula | None:
    """A MathJax 2 rendering whose script is gone: its MathML is in an attribute or beside the glyphs."""
    display = _is_display(element, "Display")
    # The frame, or what wraps it alone.
    frames = list(islice(element.iter(etree.Element), 6))
    markup = next((frame.get("data-mathml") for frame in frames if frame.get("data-mathml")), None)
    source = _parsed_mathml(markup) if markup else _find_mathml(element)
    if source is None:
        label = next((frame.get("aria-label") for frame in frames if frame.get("aria-label")), "")
        source = label if _TEX.search(label) else mathjax2_to_latex(element) or None
    return None if source is None else Formula(source, display)


def _is_display(element: etree._Element, name: str) -> bool:
    """Whether the element, a near ancestor or a near child has the class part `name`."""
    around: list[etree._Element | None] = [element, element.getparent(), *element[:1]]
    around.append(None if around[1] is None else around[1].getparent())
    return any(name in (near.get("class") or "") for near in around if near is not None)


def _katex(element: etree._Element) -> Formula | None:
    source = _find_mathml(element) or _pasted_source(element)
    if not source:
        drawn = next((child for child in element.iter("span") if child.get("class") == "katex-html"), None)
        if drawn is None:
            return None
        source = katex_to_latex(drawn)
    display = "katex-display" in (element.get("class") or "")
    if not display:
        parent = element.getparent()
        display = parent is not None and (parent.get("class") or "") in (
            "katex-block",
            "katex-display",
            "katex--display",
            "math-block",
        )
    return Formula(source, display)


def _pasted_source(element: etree._Element) -> str:
    """The LaTeX after the last empty line of a MathML whose tags the site took away, as CSDN does."""
    pasted = next((child for child in element.iter("span") if child.get("class") == "katex-mathml"), None)
    text = "" if pasted is None or len(pasted) else (pasted.text or "").strip()
    return re.split(r"\n\s*\n", text)[-1].strip() if "\n" in text else ""


def _katex_html(element: etree._Element) -> Formula | None:
    """The drawing beside the MathML, or alone."""
    parent = element.getparent()
    if parent is not None and "katex" in (parent.get("class") or ""):
        return Formula("", False)
    return Formula(katex_to_latex(element), False)


def _wikipedia(element: etree._Element) -> Formula | None:
    source = _find_mathml(element)
    if not source:
        source = next((image.get("alt") for image in element.iter("img") if image.get("alt")), None)
    display = any(
        "display" in (child.get("class") or "") or child.get("display") == "block" for child in element.iter()
    )
    return None if source is None else Formula(source, display)


_HTML_STYLES = {"b": r"\mathbf", "strong": r"\mathbf"}


def _html_formula(element: etree._Element) -> Formula | None:
    """Wikipedia's `texhtml`: a formula in letters, `<sup>` and `<sub>`."""
    if len("".join(element.itertext())) > 300 or next(element.iter("table", "math", "script"), None) is not None:
        return None
    return Formula(_plain_html(element, 0), False)


def _plain_html(element: etree._Element, depth: int) -> str:
    parts = [symbols_to_latex(element.text or "")]
    for child in element:
        if isinstance(child.tag, str) and depth < 40:
            inner = _plain_html(child, depth + 1).strip()
            if child.tag in ("sup", "sub") and inner:
                sign = "^" if child.tag == "sup" else "_"
                inner = sign + (inner if len(inner) == 1 else f"{{{inner}}}")
            elif child.tag in _HTML_STYLES and inner:
                inner = f"{_HTML_STYLES[child.tag]}{{{inner}}}"
            elif "sfrac" in (child.get("class") or "").split():
                numbers = [
                    _plain_html(part, depth + 1).strip()
                    for part in child.iter("span")
                    if "num" in (part.get("class") or "") or "den" in (part.get("class") or "")
                ]
                inner = rf"\frac{{{numbers[0]}}}{{{numbers[1]}}}" if len(numbers) == 2 else inner
            if parts[-1].endswith(r"\surd"):
                parts[-1] = parts[-1].removesuffix(r"\surd")
                inner = rf"\sqrt{{{inner}}}"
            parts.append(inner)
        parts.append(symbols_to_latex(child.tail or ""))
    return join(parts)


def _pandoc(element: etree._Element) -> Formula | None:
    """Pandoc's `<span class="math inline">`, Discourse's `<div class="math">`: LaTeX with or without delimiters."""
    drawing = element.getnext() if element.get("data-applied-mathjax") else None
    if drawing is not None and "math-container" in (drawing.get("class") or ""):
        return Formula("", False)
    if element.tag in ("code", "pre"):
        return None
    text = (element.text or "").strip()
    if len(element) or not text or re.match(r"\\[(\[]|\$", text):
        return None
    names = (element.get("class") or "").split()
    if not {"inline", "display"} & set(names) and not _TEX.search(text):
        return None
    return Formula(text, "display" in names or element.tag == "div")


_DELIMITERS = (("$$", "$$", True), (r"\[", r"\]", True), (r"\(", r"\)", False), ("$", "$", False))


def _wrapped(element: etree._Element) -> Formula | None:
    """A wrapper around a formula in its raw delimiters (arithmatex, StackExchange, Rails and wiki plug-ins)."""
    if len(element):
        return None
    text = (element.text or "").strip()
    for start, end, display in _DELIMITERS:
        if text.startswith(start) and text.endswith(end) and len(text) > len(start) + len(end):
            return Formula(text[len(start) : -len(end)], display)
    return None


def _code_math(element: etree._Element) -> Formula | None:
    """Markdown's ```` ```math ```` blocks and `` $`…`$ `` as GitLab, remark and Mathpix leave them for a script."""
    if (source := element.find("latex")) is not None:
        return Formula("".join(source.itertext()), "block" in (element.get("class") or ""))
    if any(child.tag not in ("code", "span") or _rules_of(child.get("class") or "") for child in element):
        return None
    style = element.get("data-math-style") or element.get("class") or ""
    text = "".join(element.itertext())
    return Formula(text, "display" in style or element.tag == "pre") if text.strip() else None


def _raw(element: etree._Element) -> Formula | None:
    """An element of its own for LaTeX: distill's `<d-math block>`, MathLive, WordPress's KaTeX, JATS."""
    text = "" if len(element) else (element.text or "").strip()
    if not text or (element.tag in _CLASS_TAGS and not _TEX.search(text)):
        return None
    display = (
        element.get("block") is not None
        or element.tag.endswith("block")
        or "true" in (element.get("data-display"), element.get("display"))
    )
    return Formula(text, display)


def _substack(element: etree._Element) -> Formula | None:
    try:
        source = json.loads(element.get("data-attrs") or "")["persistentExpression"]
    except (ValueError, KeyError, TypeError):
        return None
    return Formula(str(source), True)


def _quill(element: etree._Element) -> Formula | None:
    source = element.get("data-value")
    return Formula(source, False) if source else None


def _mathquill(element: etree._Element) -> Formula | None:
    """Its LaTeX lies, to be copied, in front of the drawing."""
    source = next((child for child in element.iter("span") if "selectable" in (child.get("class") or "").split()), None)
    return None if source is None or not (source.text or "").strip() else Formula(source.text, False)


def _variables(root: etree._Element) -> list[etree._Element]:
    """The `var` elements of a page that writes LaTeX in them, as AtCoder does; manuals put names of variables there."""
    found = [element for element in root.iter("var") if not len(element) and element.text]
    texts = [element.text for element in found]
    num_names = sum(1 for text in texts if _NAME.search(text) and "\\" not in text)
    most_names = _MAX_SHARE_OF_NAMES * len(texts) if any(map(_COMMAND.search, texts)) else 0
    return found if num_names <= most_names and any(map(_LATEX.search, texts)) else []


# Wiris's way to keep MathML in an attribute.
_WIRIS = str.maketrans("«»¨§", '<>"&')


def _image(element: etree._Element) -> Formula | None:
    markup = element.get("data-mathml")
    if markup:
        source = _parsed_mathml(markup.translate(_WIRIS))
        return Formula(source, False) if source else None
    found = image_source(element)
    return None if found is None else Formula(*found)


def _svg(element: etree._Element) -> Formula | None:
    """What MathJax drew on a server: version 2 keeps the LaTeX as the drawing's title, version 3 its MathML's names."""
    if not len(element):
        return None
    if (element.get("aria-labelledby") or "").startswith("MathJax"):
        title = element.findtext("title")
        return Formula(title, _is_display(element, "isplay")) if title else None
    return Formula(svg_to_latex(element), False) if element.find("./g/g[@data-mml-node='math']") is not None else None


def _repeated(element: etree._Element) -> Formula:
    return Formula("", False)


_Rule = Callable[[etree._Element], Formula | None]
_TAG_RULES: dict[str, _Rule] = {
    "script": _script,
    "math": _math,
    "mjx-container": _mathjax3,
    "img": _image,
    "svg": _svg,
    "mjx-assistive-mml": _repeated,
    **dict.fromkeys(("d-math", "dt-math", "math-field", "tex", "latex", "la-tex", "tex-math"), _raw),
    **dict.fromkeys(("math-inline", "math-block"), _raw),
}
_CLASS_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("katex-display", "katex", "katex-mathml"), _katex),
    "katex-html": _katex_html,
    "mwe-math-element": _wikipedia,
    **dict.fromkeys(("texhtml", "tex-span"), _html_formula),
    **dict.fromkeys(("wp-katex-eq", "katex-eq", "latex", "tex", "mathjax-latex", "math-latex"), _raw),
    **dict.fromkeys(("katex-error", "mathquill-embedded-latex"), _raw),
    "MathJax_Preview": _repeated,
    **dict.fromkeys(("MathJax_Display", "MathJax", "MathJax_SVG_Display", "MathJax_SVG", "MathJax_CHTML"), _mathjax2),
    **dict.fromkeys(("MathJax_MathML", "MJXc-display", "mjx-chtml"), _mathjax2),
    **dict.fromkeys(
        ("arithmatex", "math-container", "tex2jax_process", "mathjax", "mathjax-tex", "math-tex"), _wrapped
    ),
    "ql-formula": _quill,
    "latex-rendered": _substack,
    **dict.fromkeys(("mathquill-rendered-math", "mq-math-mode"), _mathquill),
    "math": _pandoc,
    **dict.fromkeys(("math-inline", "math-block", "math-display", "js-render-math", "language-math"), _code_math),
}


# An entity may give what no attribute may hold.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _tidy(latex: str) -> str:
    """LaTeX without delimiters of its own, comments of CDATA, blank lines, or a row's end without a next row."""
    latex = _FORBIDDEN.sub("", latex.replace("\xa0", " "))
    if not latex.strip("{} \t\n"):
        # Of nothing, as of elements that nest deeper than the parser goes.
        return ""
    if "<" in latex:
        latex = re.sub(r"<br\s*/?>", "\n", latex)
        latex = re.sub(r"^\s*(?:%\s*)?<!\[CDATA\[|(?:%\s*)?\]\]>\s*$", "", latex)
    latex = latex.strip()
    for start, end, _ in _DELIMITERS:
        if latex.startswith(start) and latex.endswith(end) and len(latex) > len(start) + len(end):
            latex = latex[len(start) : -len(end)].strip()
            break
    if latex.startswith(r"{\displaystyle") and latex.endswith("}") and is_one_group(latex):
        # Wikipedia's wrapper says nothing.
        latex = latex[len(r"{\displaystyle") : -1].strip()
    while latex.endswith("\\"):
        # Two end a row, a lone one is a space whose space was stripped; either would escape the delimiter.
        latex = latex.removesuffix("\\").rstrip()
    return re.sub(r"\n\s*\n", "\n", latex) if "\n" in latex else latex
