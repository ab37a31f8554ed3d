"""What a code block says, to the letter, and in which language.

Line numbers, copy buttons and titles are left out; `<br>`, an element a line and a table row a line become line ends.
"""

from __future__ import annotations

import re
import textwrap
from functools import lru_cache
from itertools import islice

from lxml import etree

CODE_TAG = "x-code"

_GUTTER = re.compile(
    r"(?:^|[\s_-])(?:line-?no|lineno|linenos|linenumbers?|line-?numbers?(?:-rows)?|linenum|lineNum|lines-num|line-num|"
    r"gutter(?:-wrapper)?|hljs-ln-numbers|hljs-ln-line-number|blob-num|rouge-gutter|crayon-nums?|code-line-number|line_numbers|(?<!hljs-)ln|lnt|"
    r"react-syntax-highlighter-line-number|FileContents-lineNum|number-line|linenr|ltx_tag_listingline|pre-numbering)(?=$|\s|_)",
    re.IGNORECASE,
)
_FURNITURE = re.compile(
    r"(?:^|[\s_-])(?:copy|clipboard|toolbar|code__?-?header|code-?block-?header|hover-info|copy-?btn|copybutton|tooltip|"
    r"code-lang|lang-label|language-label|code-?title|run-?button|fold(?!open)|sr-only|visually-hidden|prompt-copy|ttc\b)",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"(?:^|[\s_-])(?:line|code-line|cl|hljs-ln-line|cm-line|CodeMirror-line|view-line|token-line|ltx_listingline)(?:$|\s)"
)
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language|lang|highlight-source|highlight|hl|source|brush|sourceCode|src|data\stype|ltx_lst_language)"
    r"[-:_ ]+(?!highlight-|language-|lang-|source-|src-|hl-)([A-Za-z][\w+#.-]*)",
    re.IGNORECASE,
)
# Confluence.
_BRUSH = re.compile(r"\bbrush: *([\w+#-]+)")
_NOT_LANGUAGES = frozenset([
    "none", "nohighlight", "plain", "plaintext", "text", "txt", "highlight", "wrap", "wrapper", "hljs", "default",
    "code", "block", "line", "lines", "table", "notranslate", "js-highlight", "toolbar", "inverse", "undefined",
    "auto", "null", "tab-size",
])  # fmt: skip
_BARE_LANGUAGES = frozenset([
    "bash", "c", "clojure", "cpp", "cs", "csharp", "css", "dart", "diff", "elixir", "erlang", "go", "groovy",
    "haskell", "html", "http", "ini", "java", "javascript", "js", "json", "jsx", "julia", "kotlin", "latex",
    "lean", "lisp", "lua", "makefile", "markdown", "matlab", "objectivec", "ocaml", "perl", "php", "powershell",
    "prolog", "python", "py", "r", "ruby", "rust", "scala", "scheme", "sh", "shell", "sql", "swift", "tex",
    "toml", "ts", "tsx", "typescript", "vb", "verilog", "xml", "yaml",
])  # fmt: skip
# After three back-ticks also these.
_FENCE_LANGUAGES = _BARE_LANGUAGES | {
    "c#", "c++", "f#", "yml", "console", "dockerfile", "golang", "zsh", "python3", "bat", "vue", "graphql", "proto",
}  # fmt: skip
_SKIPPED = frozenset(["button", "style", "script", "svg", "select", "textarea", "noscript", "template"])
_PRESERVED = frozenset(["pre", "code", "samp", "tt"])
_COLOURS = frozenset(["span", "code", "a", "b", "i", "em", "strong", "font", "var", "u", "mark", "tt", "kbd"])
_LINES_OF_THEIR_OWN = frozenset(["div", "p", "li", "tr", "dd", "pre"])
_SPACE_IN_PARENTHESES = re.compile(r"(?<=\() | (?=[),])")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def block_text(holder: etree._Element) -> str:
    """The code in `holder`, its lines and indentation as a browser shows them."""
    if is_prototype(holder):
        return _prototype(holder)
    preserved = holder.tag in _PRESERVED and (holder.tag == "pre" or holder.find(".//br") is None)
    preserved = preserved or next(holder.iterancestors("pre"), None) is not None
    if preserved and all(map(_is_plain, holder.iterdescendants())):
        text = etree.tostring(holder, method="text", encoding="unicode", with_tail=False)
    else:
        lines = sum(1 for child in holder.iter("span") if _is_line(child))
        text = _Collector(by_line=lines > 1, keeps_spaces=_keeps_spaces(holder)).collect(holder, preserved)
    text = _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\u200b", ""))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    text = re.sub(r"\A\s*\n", "", text).rstrip()
    return textwrap.dedent(text) if text[:1].isspace() else text


def _is_plain(element: etree._Element) -> bool:
    """Whether an element adds nothing to its text: most highlighters only colour."""
    if element.tag not in _COLOURS:
        return False
    names = element.get("class")
    if names is not None and not _names_colour(names):
        return False
    return len(element.keys()) == (names is not None) or (
        element.get("style") is None
        and element.get("data-line") is None
        and element.get("data-line-number") is None
        and element.get("aria-hidden") is None
    )


def _keeps_spaces(holder: etree._Element) -> bool:
    """Doxygen's and Crayon's elements, which a style sheet shows as `pre`."""
    return is_doxygen(holder) or holder.find(".//*[@class='crayon-pre']") is not None


def is_doxygen(element: etree._Element) -> bool:
    """A listing of Doxygen's: `div`s whose style keeps the spaces; slides are called `fragment` too."""
    return "fragment" in (element.get("class") or "").split() and element.find(".//div[@class='line']") is not None


def is_prototype(element: etree._Element) -> bool:
    """How a function is declared, in Doxygen's table of its parameters."""
    return element.get("class") == "memproto" and element.find(".//table[@class='memname']") is not None


def _prototype(element: etree._Element) -> str:
    template = map(_one_line, element.iterfind(".//div[@class='memtemplate']"))
    declared = " ".join(map(_one_line, element.iterfind(".//table[@class='memname']//td")))
    return "\n".join([*template, _SPACE_IN_PARENTHESES.sub("", " ".join(declared.split()))])


def _one_line(element: etree._Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _is_line(element: etree._Element) -> bool:
    return element.get("data-line") is not None or names_line(element.get("class") or "")


def is_gutter(element: etree._Element) -> bool:
    """Whether an element holds line numbers."""
    names = element.get("class")
    if (names and names_gutter(names)) or element.get("data-line-number"):
        return True
    if element.tag == "td" and element.find("./*[@data-line-number]") is not None and not _visible(element):
        return True
    style = element.get("style")
    return (
        bool(style and "user-select" in style)
        and "user-select:none" in str(style).replace(" ", "")
        and bool(re.fullmatch(r"[\s\d]*", _visible(element)))
    )


def _visible(element: etree._Element) -> str:
    return "".join(element.itertext()).strip()


# A page, and one page like the next, has the same few classes a thousand times.


@lru_cache(maxsize=20_000)
def _names_colour(names: str) -> bool:
    return not (names_line(names) or _names_furniture(names) or names_gutter(names) or names == "conum")


@lru_cache(maxsize=20_000)
def names_line(names: str) -> bool:
    """Whether a class attribute names a line of code."""
    return _LINE.search(names) is not None


@lru_cache(maxsize=20_000)
def names_gutter(names: str) -> bool:
    """Whether a class attribute names line numbers."""
    return _GUTTER.search(names) is not None


@lru_cache(maxsize=20_000)
def _names_furniture(names: str) -> bool:
    return _FURNITURE.search(names) is not None


class _Collector:
    """Gathers a block's text; a stack instead of recursion, because hostile pages nest without end."""

    def __init__(self, *, by_line: bool, keeps_spaces: bool) -> None:
        self._by_line = by_line
        self._keeps_spaces = keeps_spaces
        self._pieces: list[str] = []
        self._last = ""

    def collect(self, holder: etree._Element, preserved: bool) -> str:
        # Where spaces are written as `&nbsp;`, a browser shows a run of plain ones as one.
        self._collapse = not preserved and not self._keeps_spaces and "\xa0" in "".join(holder.itertext())
        # Each entry is an element to enter, or one that was entered and is to be left.
        stack: list[tuple[etree._Element, bool, bool]] = []
        self._enter(holder, preserved, stack)
        while stack:
            element, preserved, leaving = stack.pop()
            if leaving:
                if element.tag in _LINES_OF_THEIR_OWN and self._last != "\n":
                    self._add("\n")
                self._add_text(element.tail, preserved)
            elif not isinstance(element.tag, str) or _is_furniture(element) or self._is_number_in_teal(element):
                self._add_text(element.tail, preserved)
            elif element.tag == "br":
                self._add("\n")
                self._add_text(element.tail, preserved)
            else:
                own = element.tag in _LINES_OF_THEIR_OWN
                if (own or (self._by_line and element.tag == "span" and _is_line(element))) and self._last not in (
                    "",
                    "\n",
                    "\r",
                ):
                    self._add("\n")
                if own:
                    # An empty line of its own is a line nevertheless.
                    self._last = self._last and "\r"
                stack.append((element, preserved, True))
                self._enter(element, preserved, stack)
        return "".join(self._pieces)

    def _is_number_in_teal(self, element: etree._Element) -> bool:
        """A line's number in the listings of cnblogs, told by nothing but its colour and place."""
        return (
            self._last in ("", "\n", "\r")
            and "#008080" in (element.get("style") or "")
            and _visible(element).isdecimal()
        )

    def _enter(self, element: etree._Element, preserved: bool, stack: list[tuple[etree._Element, bool, bool]]) -> None:
        # Outside of `pre` and of `code` without `<br>`, the markup's own line ends are not text.
        if not preserved and element.tag in _PRESERVED and element.find(".//br") is None:
            preserved = True
        self._add_text(element.text, preserved)
        stack.extend((child, preserved, False) for child in reversed(element))

    def _add_text(self, text: str | None, preserved: bool) -> None:
        if text and not preserved:
            text = _MARKUP_LINE_END.sub("", text)
            if self._collapse:
                text = re.sub(r"[ \t]{2,}", " ", text)
        if text:
            self._add(text)

    def _add(self, text: str) -> None:
        self._pieces.append(text)
        # Nothing but white space so far is no line to end.
        if self._last or not text.isspace():
            self._last = text[-1]


# The line ends that only lay out the page's source.
_MARKUP_LINE_END = re.compile(r"[ \t]*\n[ \t\r\n]*")


def _is_furniture(element: etree._Element) -> bool:
    tag = element.tag
    if tag in _SKIPPED or _is_callout(element) or (tag != "span" and element.get("aria-hidden") == "true"):
        return True
    names = element.get("class")
    if names:
        if tag != "code" and _names_furniture(names) and not names_line(names):
            return True
        if tag == "div" and re.search(r"(?:^|[\s_-])header(?:$|\s)", names):
            return True
    return is_gutter(element)


def _is_callout(element: etree._Element) -> bool:
    """Asciidoctor's number of a note on the line, written again for those without its icons."""
    before = element.getprevious() if element.tag == "b" else None
    return before is not None and before.get("class") == "conum"


_HIGHLIGHTER = re.compile(r"hljs|sourceCode|chroma|hl |prettyprint|highlight")
_LANGUAGE_ATTRIBUTES = (
    "data-lang",
    "data-language",
    "data-code-language",
    "data-enlighter-language",
    "language",
    "lang",
)


def block_language(holder: etree._Element, element: etree._Element) -> str:
    """Named by the holder, its `code` and `pre`, or a wrapper that holds nothing else."""
    candidates = [holder, *holder.iter("code")]
    for between in holder.iterancestors():
        if holder is element or between is element:
            break
        candidates.append(between)
    candidates.append(element)
    num_own = max(1, sum(1 for _ in element.iter("pre", CODE_TAG)))
    wrapper = element.getparent()
    for _ in range(3):
        if wrapper is None or wrapper.tag in ("body", "article", "main"):
            break
        if len(list(islice(wrapper.iter("pre", CODE_TAG), num_own + 1))) > num_own:
            break
        candidates.append(wrapper)
        wrapper = wrapper.getparent()
    return next((name for candidate in candidates if (name := _own_language(candidate))), "")


def split_language_line(text: str) -> tuple[str, str]:
    """The language and the code of a fence that Python-Markdown took for code in a line; the first line is one."""
    first, _, rest = text.partition("\n")
    name = first.strip().lower()
    return (name, textwrap.dedent(rest)) if rest.strip() and name in _FENCE_LANGUAGES else ("", text)


def _own_language(element: etree._Element) -> str:
    for attribute in _LANGUAGE_ATTRIBUTES:
        value = (element.get(attribute) or "").strip().lower()
        if not value:
            continue
        if value in _BARE_LANGUAGES or (
            attribute != "lang" and re.fullmatch(r"[a-z][\w+#.-]*", value) and value not in _NOT_LANGUAGES
        ):
            return value
    if match := _BRUSH.search(element.get("data-syntaxhighlighter-params") or ""):
        return match[1].lower()
    names: str = element.get("class") or ""
    if names == "RktBlk":
        return "racket"
    for match in _LANGUAGE.finditer(names):
        name = match[1].lower().rstrip(";")
        if name not in _NOT_LANGUAGES:
            return "python" if re.fullmatch(r"ipython\d", name) else name
    # Sphinx's sessions of a Python interpreter.
    if "doctest" in names.split():
        return "pycon"
    if element.tag in ("pre", "code") or _HIGHLIGHTER.search(names):
        for name in names.lower().split():
            if name.removeprefix("lang-") in _BARE_LANGUAGES:
                return name.removeprefix("lang-")
    return ""
