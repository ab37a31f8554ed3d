r"""Formulas that stand in a page's text between delimiters.

`\(…\)`, `\[…\]`, `$…$`, `$$…$$`, environments, `[tex]…[/tex]`, `$latex …$`, for AsciiMath back-ticks, and what else the
page tells MathJax to look for, as Physics Forums' `##…##`.

One scan from left to right: an opening delimiter without a closing one is looked for once, so that a million of them
cost no more than a million characters. What decides whether two dollars enclose mathematics is what stands between
them.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache

from mimo_data.html.asciimath import asciimath_to_latex
from mimo_data.latex import without_split

PROTECTED = "\x02"
"""Stands in a text for one piece that must stay as it is."""

DOLLAR = "\x01"
"""A dollar that is none of the delimiters."""

EMPHASIS = "\x03"
"""A mark of emphasis; in a formula an underscore or a star, which Markdown took for one: `$a<em>i, b</em>i$`."""

SPLIT_EMPHASIS = "\x04"
"""The same around text that holds delimiters, where a mark may stand in a formula: `$a<em>i$, $b</em>i$`."""

IN_TEXT = str.maketrans({EMPHASIS: "*", SPLIT_EMPHASIS: None})
_EMPHASIZED = re.compile("(\\w?)[\x03\x04]([^\x03\x04]*)(?:[\x03\x04](?=(.?)))?", re.DOTALL)
_SUBSCRIPT = re.compile(r"[\w{\\]")

_ENGINES = ("MathJax", "mathjax", "katex", "KaTeX", "math/tex")
_ASCIIMATH = (
    "ASCIIMathML", "asciimath2jax", "input/asciimath", "AM_HTMLorMML", "AM_CHTML", "AM_SVG", "-AM_", "config=AM_",
)  # fmt: skip


class Notation:
    """How a page writes the formulas in its text, as far as its source tells; looked up when a text asks."""

    def __init__(self, page: str, *, wrapped: bool) -> None:
        self._page = page
        self.wrapped = wrapped
        """Raw formulas stand in elements of their own, so that a lone `$` is a dollar."""

    @cached_property
    def rendered(self) -> bool:
        """It loads MathJax or KaTeX, so that delimiters are sure to mean mathematics."""
        return any(name in self._page for name in _ENGINES)

    def is_in_text(self) -> bool:
        """Whether formulas stand in its text, not only in elements that say so."""
        return self.rendered and any(formula.search(self._page) for formula in _RAW_FORMULAS)

    @cached_property
    def asciimath(self) -> str:
        """What encloses AsciiMath: back-ticks, Asciidoctor's escaped dollars, or "" for nothing."""
        if not any(name in self._page for name in _ASCIIMATH):
            return ""
        return r"\$" if r'"\\$", "\\$"' in self._page else "`"

    @cached_property
    def own(self) -> dict[str, tuple[str, bool]]:
        """The closing delimiter of each opening one that only this page's MathJax settings name, and if it displays."""
        if "inlineMath" not in self._page and "displayMath" not in self._page:
            return {}
        return {
            opening: (closing, setting[1] == "display")
            for setting in _SETTING.finditer(self._page)
            for opening, closing in _PAIR.findall(setting[2].replace("\\\\", "\\"))
            if len(opening) > 1 and not _SIGN.match(opening)
        }


_ENVIRONMENTS = (
    r"(?:equation|align|aligned|gather|gathered|multline|eqnarray|displaymath|math|cases|array|split|alignat|flalign"
    r"|[pbvBV]?matrix|CD|dcases|subequations)\*?"
)
_SIGN = re.compile(
    r"\\\(|\\\[|\\begin\{("
    + _ENVIRONMENTS
    + r")\}|\\\$|\$latex\s|\${6}|\$\$\$?|\$|\[(tex|itex|math|latex|imath|mathjax)\]|(?<!\\)`",
    re.IGNORECASE,
)
_PAIR = re.compile(r"""\[\s*["']([^"'\n]{1,20})["']\s*,\s*["']([^"'\n]{1,20})["']\s*\]""")
_SETTING = re.compile(rf"""(inline|display)Math["']?\s*[:=]\s*\[((?:\s*{_PAIR.pattern}\s*,?)+)""")
_ANY_SIGN = re.compile(r"[$`]|\\[(\[b]|\[/")
_CLOSING_DOLLAR = re.compile(r"(?<!\\)\$")
_CLOSING_ASCIIMATH = {"`": re.compile(r"(?<!\\)`"), "\\$": re.compile(r"\\\$")}
_WORDPRESS_OPTIONS = re.compile(r"(?:&(?:s|bg|fg)=[\w-]+)+\s*$")
# Not in a script's list of delimiters. Each begins with letters of its own, which are looked for many times as fast.
_RAW_FORMULAS = (
    re.compile(r"\\\((?<!\\\\\()(?:[^'\"\\)]|\\[A-Za-z])"),
    re.compile(r"\\\[(?<!\\\\\[)(?:[^'\"\\\]]|\\[A-Za-z])"),
    re.compile(r"\\begin\{(?:equation|align|gather|eqnarray|multline)"),
    re.compile(r"\$[^$'\"<>]{0,200}(?:\\[A-Za-z]|[\^_]\{?\w)[^$'\"<>]{0,200}\$"),
)
_ROUND = re.compile(r"((?<!\\)\\[()])")
_GROUPS = re.compile(r"\$\\(?:begin|end)group\$")
# Signs that only mathematics has, and what may look like it in any text.
_STRONG = re.compile(r"\\[A-Za-z]|\\[{},;|]|[\^_=<>≤≥≠∈→±×]|\{.*\}", re.DOTALL)
_MATHS = re.compile(r"[\\^_={}<>+]|^\s*\w{1,2}\s*$|^\s*-?\d")
_TEXT_COMMAND = re.compile(
    r"\\(?:text\w*|mbox|hbox|mathrm|operatorname\*?|mathbf|mathit|color|begin|end|label|tag|ref)\s*\{[^{}]*\}|\\[A-Za-z]+"
)
_PROSE = re.compile(r"[A-Za-z]{3,}[,;]?\s+[A-Za-z]{2,}[,;.]?\s|[a-z]{3,}\s+[a-z]{3,}")
_AMOUNT = re.compile(
    r"\d[\d,.]*(?:\s*[-–—]+\s*$|\s*(?:k|K|m|M|bn|B|USD|million|billion|thousand|per|a|an|or|and|to|for|in|on|the)\b|\s+[a-z]{2})"
)
_PLAIN = re.compile(r"[\w\s,.()\[\]|+\-*/'’!:;−–]+")


def write_formulas(text: str, notation: Notation) -> str:
    """A block's text with each raw formula written `$…$` or `$$…$$`, and each other dollar as `DOLLAR`.

    Args:
        text: may hold `PROTECTED`, which no formula spans.
    """
    own = tuple(notation.own)
    any_sign, any_opening = _signs(own) if own else (_ANY_SIGN, _SIGN)
    if not any_sign.search(text):
        return text
    if "group$" in text:
        text = _GROUPS.sub("", text)
    if "$\\(" in text or "\\)$" in text:
        text = _as_in_the_source(text)
    pieces: list[str] = []
    unclosed: set[str] = set()
    position = 0
    while (sign := any_opening.search(text, position)) is not None:
        pieces.append(text[position : sign.start()])
        written, position = _formula(text, sign, notation, unclosed)
        pieces.append(written)
    pieces.append(text[position:])
    return "".join(pieces)


def _as_in_the_source(text: str) -> str:
    r"""`$$…$$` inside of a paragraph, which MyST (Jupyter Book) reads as dollars beside a formula, `$\(…\)$`.

    To the paragraph's end it takes formulas for text and text for formulas.
    """
    pieces = _ROUND.split(text)
    # Text and formulas in turn, between delimiters that open and close in turn.
    source = "$".join(pieces[::2])
    num_formulas = len(pieces) // 4
    is_paired = pieces[1::2] == ["\\(", "\\)"] * num_formulas and not any("$" in formula for formula in pieces[2::4])
    return source if is_paired and source.count("$") % 2 == 0 else text


@lru_cache
def _signs(own: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """`_ANY_SIGN` and `_SIGN` with a page's own opening delimiters before the others."""
    openings = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))
    return (
        re.compile(f"{openings}|{_ANY_SIGN.pattern}"),
        re.compile(f"(?-i:{openings})|{_SIGN.pattern}", re.IGNORECASE),
    )


def _formula(text: str, sign: re.Match[str], notation: Notation, unclosed: set[str]) -> tuple[str, int]:
    """What to write for the formula that `sign` opens, or for the sign alone, and where to go on."""
    opening, start = sign[0], sign.end()
    if opening in ("\\$", "`"):
        return _asciimath(text, start, opening, unclosed) if notation.asciimath == opening else (opening, start)
    if opening == "$" or opening[:6].lower() == "$latex":
        return _dollars(text, sign, notation)
    lower = opening.lower()
    own = notation.own.get(opening)
    if own is not None:
        closing = own[0]
    elif lower.startswith("\\begin"):
        closing = f"\\end{{{sign[1]}}}"
    elif lower.startswith("["):
        closing = f"[/{sign[2]}]"
    else:
        # Codeforces takes three dollars for a formula in a line, six for one that stands alone.
        closing = {"\\(": "\\)", "\\[": "\\]"}.get(opening, opening)
    end = -1 if closing in unclosed else text.find(closing, start)
    if end < 0:
        unclosed.add(closing)
        return opening.replace("$", DOLLAR), start
    content = text[start:end].strip()
    after = end + len(closing)
    if not content or PROTECTED in content:
        return opening.replace("$", DOLLAR), start
    is_mathematical = notation.rendered or _MATHS.search(content.translate(IN_TEXT)) is not None
    content = _EMPHASIZED.sub(_as_written, content)
    if own is not None:
        return (_display(content, text[start:end]) if own[1] else _inline(content)), after
    if lower.startswith("\\begin"):
        return f"$${_EMPHASIZED.sub(_as_written, text[sign.start() : after])}$$", after
    if lower.startswith("["):
        return (_inline(content) if lower in ("[itex]", "[latex]", "[imath]") else f"$${content}$$"), after
    if not is_mathematical:
        return opening.replace("$", DOLLAR), start
    if opening in ("\\(", "$$$"):
        return _inline(content), after
    return _display(without_split(content), text[start:end]), after


def _as_written(marked: re.Match[str]) -> str:
    """A formula's part in marks of emphasis as its author wrote it: `a_{i}+b_{i}`, `n*m*k`, `n*(m+1)*k`."""
    before, inside, following = marked.groups()
    # Behind a letter an underscore is none for Markdown.
    is_lowered = inside.startswith("{") or (not before and _SUBSCRIPT.match(inside) is not None)
    if following is None:
        # At its end the other mark is around what follows the formula.
        sign = "_" if is_lowered else "*" if inside else ""
        return before + sign + inside
    sign = "_" if is_lowered and _SUBSCRIPT.match(following) and not inside.isalnum() else "*"
    return before + sign + inside + sign


def _display(content: str, raw: str) -> str:
    content = content.replace("’", "'")
    return f"$$\n{content}\n$$" if "\n" in raw.strip(" ") else f"$${content}$$"


def _inline(content: str) -> str:
    """A formula on one line: a comment would swallow what the line end kept from it."""
    # WordPress and Hugo make quotation marks of primes.
    content = content.replace("’", "'")
    if "\n" in content:
        content = re.sub(r"(?m)(?<!\\)%.*$", "", content) if "%" in content else content
        content = re.sub(r"\s*\n\s*", " ", content).strip()
    return f"${content}$"


def _dollars(text: str, sign: re.Match[str], notation: Notation) -> tuple[str, int]:
    start = sign.end()
    closing = _CLOSING_DOLLAR.search(text, start)
    if closing is None:
        return DOLLAR + sign[0][1:], start
    content = text[start : closing.start()]
    following = text[closing.end() : closing.end() + 1]
    if sign[0] != "$":
        content = _EMPHASIZED.sub(_as_written, content)
        return _inline(_WORDPRESS_OPTIONS.sub("", content).strip()), closing.end()
    if is_mathematics(content.translate(IN_TEXT), following, rendered=notation.rendered):
        return _inline(_EMPHASIZED.sub(_as_written, content).strip()), closing.end()
    return DOLLAR, start


def is_mathematics(content: str, following: str, *, rendered: bool) -> bool:
    """Whether two dollars enclose a formula, not the text between two prices.

    Args:
        content: what stands between them.
        following: the character after the second.
        rendered: see `Notation`.
    """
    body = content.strip()
    if not body or PROTECTED in content or "\n\n" in content or len(body) > 5000:
        return False
    if _AMOUNT.match(body) and (following.isdigit() or content[-1:].isspace() or not rendered):
        return False
    if following.isdigit() and body[0].isdigit():
        return False
    words = _TEXT_COMMAND.sub(" ", body) if "\\" in body else body
    if _STRONG.search(body):
        return rendered or not _PROSE.search(words + " ")
    if content != body and not (rendered and len(body) <= 3):
        return False
    if not any(letter.isspace() for letter in body):
        return rendered or len(body) <= 3 or bool(re.fullmatch(r"-?[\d.,]+|\w{1,3}[(\[].*[)\]]|\w+[+\-*/]\w+", body))
    return bool(_PLAIN.fullmatch(body)) and not re.search(r"[^\W\d_]{3,}", body)


def _asciimath(text: str, start: int, sign: str, unclosed: set[str]) -> tuple[str, int]:
    closing = None if sign in unclosed else _CLOSING_ASCIIMATH[sign].search(text, start)
    if closing is None:
        unclosed.add(sign)
        return sign, start
    content = text[start : closing.start()]
    if PROTECTED in content:
        return sign, start
    latex = asciimath_to_latex(content)
    return (f"${latex}$" if latex else " "), closing.end()
