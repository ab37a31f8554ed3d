"""Formulas that a page shows as images: of a LaTeX service, whose address holds the source, or with LaTeX as their
text."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

from lxml import etree

_QUERY = ("latex", "tex", "chl", "formula", "eq", "math", "from")
_SERVICES = re.compile(
    r"codecogs\.com|latex\.php|mathtex|mimetex|/math\?formula=|chart\.(?:apis\.)?google|/equation\?tex=|latex2png|texrender|sciweavers"
    r"|/formula/|/render/math|math\.now\.sh|i\.upmath\.me|latexmath|quicklatex|/cgi-bin/(?:math|mime)tex|latex-?render"
)
_OPTIONS = re.compile(
    r"^\s*(?:\\(?:dpi|bg|fg|inline|large|small|tiny|LARGE|Large|huge|normalsize|footnotesize)(?:_\w+|\{[^}]*\})?(?![A-Za-z])\s*)+"
)
_TEX = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|\\[{}|]|[A-Za-z0-9)]\s*[\^=<>]\s*[A-Za-z0-9({\\-]")
_UNMISTAKABLE = re.compile(r"[\^_]\{|\\[A-Za-z]{2,}\b[^\n]*[{}^_]")
_PATH = re.compile(r"[A-Za-z]:\\|\\\\\w")
_NAMES = frozenset(
    [
        "latex",
        "tex",
        "math",
        "texmath",
        "formula",
        "equation",
        "inlineformula",
        "mathtex",
        "ee_img",
        "tex2png",
        "texrender",
        "formulaInl",
        "formulaDsp",
    ]
)
_DISPLAY = frozenset([
    "mwe-math-fallback-image-display", "displaymath", "ee_img", "tex-display", "latex-display", "formulaDsp",
])  # fmt: skip
_DELIMITED = re.compile(r"\\\[.*\\\]|\\\((?:(?!\\\)).)*\\\)|\$\$[^$]+\$\$|\$[^$]+\$", re.DOTALL)
_WORDS_IN_FORMULA = re.compile(r"\\(?:text\w*|mbox|hbox)\s*\{[^{}]*\}|\\\$")
# Between words: the caption of a picture, as Pandoc writes it once more.
_DELIMITER = re.compile(r"\\[()]|\$")


def image_source(element: etree._Element) -> tuple[str, bool] | None:
    """The LaTeX of an image and whether it stands alone; None for other images."""
    source = element.get("data-src") or element.get("src") or ""
    # Canvas tells its source apart from its text.
    told = element.get("data-equation-content")
    if told:
        return told, False
    text = (element.get("alt") or element.get("title") or "").strip()
    names = set((element.get("class") or "").split())
    display = bool(names & _DISPLAY) and "tr_noresize" not in names
    if len(source) < 20_000 and _SERVICES.search(source):
        found = _address_source(source)
        latex = text if text and (text == found or _TEX.search(text)) else found or text
        latex = _OPTIONS.sub("", latex)
        return (latex, display) if latex else None
    if not text:
        return None
    if names & _NAMES or any(name.startswith("mwe-math") for name in names):
        return text, display
    if len(text) > 5_000:
        return None
    bare = _WORDS_IN_FORMULA.sub("", text)
    if _DELIMITED.fullmatch(bare):
        return text, display or text.startswith(("$$", r"\["))
    if _UNMISTAKABLE.search(text) and not _PATH.search(text) and not _DELIMITER.search(bare):
        return text, display or text.startswith((r"\begin", r"\["))
    return None


def _address_source(source: str) -> str:
    """The LaTeX in the address of an image service."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return ""
    # CodeCogs' own way to write two characters.
    query = (parts.query or parts.fragment).replace("&space;", "%20").replace("&plus;", "%2B")
    named = parse_qs(query.replace("+", "%2B"), keep_blank_values=False)
    for name in _QUERY:
        if name in named and (name != "chl" or named.get("cht") == ["tx"]):
            return named[name][0]
    if query and not re.match(r"\w+=", query):
        return unquote(query)
    # The whole rest of the path: a formula may hold slashes.
    for start in ("/formula/", "/svg/", "/png/"):
        if start in parts.path:
            return unquote(parts.path.split(start, 1)[1])
    return ""
