"""Finds every code block of a page and leaves one `x-code` element with its exact text and language.

Covers `pre`, block-level `code`, `code` that is a whole paragraph, highlighters that write one element or one table
row a line, and forum code boxes; line numbers, copy buttons and toolbars are stripped, `<br>` becomes a line end.
Blocks that only a highlighter tore apart (a command, its output, the next command) are one again.
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
    r"gutter|hljs-ln-numbers|hljs-ln-line-number|blob-num|rouge-gutter|crayon-nums?|code-line-number|line_numbers|ln|lnt|"
    r"react-syntax-highlighter-line-number|FileContents-lineNum|number-line)(?=$|\s|_)",
    re.IGNORECASE,
)
_FURNITURE = re.compile(
    r"(?:^|[\s_-])(?:copy|clipboard|toolbar|code__?-?header|code-?block-?header|hover-info|copy-?btn|copybutton|tooltip|"
    r"code-lang|lang-label|language-label|code-?title|run-?button|fold|sr-only|visually-hidden|prompt-copy)",
    re.IGNORECASE,
)
_CODE_BOX = re.compile(
    r"(?:^|\s)(?:code|codebox|code-?block|codeblock|phpcode|bbcode_code|bbCodeCode|programlisting|source-?code|syntaxhighlighter|"
    r"codecontent|code-content|cm-content|prettyprint|CodeMirror-code|highlight-source-\S+)(?:$|\s)",
    re.IGNORECASE,
)
_LINE = re.compile(
    r"(?:^|[\s_-])(?:line|code-line|cl|hljs-ln-line|cm-line|CodeMirror-line|view-line|token-line)(?:$|\s)"
)
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language|lang|highlight-source|highlight|brush|sourceCode|src)[-:_ ]+([A-Za-z][\w+#.-]*)",
    re.IGNORECASE,
)
_NOT_LANGUAGES = frozenset([
    "none", "nohighlight", "plain", "plaintext", "text", "txt", "highlight", "wrap", "wrapper", "hljs", "default",
    "code", "block", "line", "lines", "table", "notranslate", "js-highlight", "toolbar", "inverse", "undefined",
    "auto", "null",
])  # fmt: skip
_BARE_LANGUAGES = frozenset([
    "bash", "c", "clojure", "cpp", "cs", "csharp", "css", "dart", "diff", "elixir", "erlang", "go", "groovy",
    "haskell", "html", "http", "ini", "java", "javascript", "js", "json", "jsx", "julia", "kotlin", "latex",
    "lean", "lisp", "lua", "makefile", "markdown", "matlab", "objectivec", "ocaml", "perl", "php", "powershell",
    "prolog", "python", "py", "r", "ruby", "rust", "scala", "scheme", "sh", "shell", "sql", "swift", "tex",
    "toml", "ts", "tsx", "typescript", "vb", "verilog", "xml", "yaml",
])  # fmt: skip
_SKIPPED = frozenset(["button", "style", "script", "svg", "select", "textarea", "noscript", "template"])
_PRESERVED = frozenset(["pre", "code", "samp", "tt"])
_COLOURS = frozenset(["span", "code", "a", "b", "i", "em", "strong", "font", "var", "u", "mark", "tt", "kbd"])
_LINES_OF_THEIR_OWN = frozenset(["div", "p", "li", "tr", "dd"])
_PROSE = frozenset([
    "p", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote", "pre", "article", "section", "form", "img",
    "iframe",
])  # fmt: skip
_BOX_TAGS = ("div", "td", "figure", "blockquote")
_MATHEMATICS = re.compile(r"(?:^|\s)(?:js-render-math|language-math|math-inline|math-display)(?:$|\s)")
_OUTPUT = re.compile(r"(?:^|[\s_-])output(?:$|\s)")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_INDENTED_LINE = re.compile(r"\n[ \t]{2,}\S")


def mark_code(root: etree._Element) -> None:
    """Replaces each code block below `root` by `<x-code text=… language=…>`, in place."""
    tags = ("pre", "code", "samp", "tt", "table", *_BOX_TAGS)
    candidates = list(root.iter(*tags))
    stacks = _stacks_of_lines(candidates)
    done: set[etree._Element] = set()
    fragments: list[etree._Element] = []
    for element in candidates:
        if element.tag in _BOX_TAGS:
            names = element.get("class")
            if (names is None or not _names_box(names)) and element not in stacks:
                continue
        if element in done:
            continue
        holder = _block(element)
        if holder is None:
            continue
        fragment = _is_fragment(element)
        text = _text(holder)
        language = _language(holder, element)
        if len(element):
            done.update(element.iterdescendants(*tags))
        tail = element.tail
        element.clear()
        element.tail = tail
        element.tag = CODE_TAG
        element.set("text", text)
        element.set("language", language)
        if fragment:
            fragments.append(element)
    _join_fragments(fragments)


def _stacks_of_lines(candidates: list[etree._Element]) -> set[etree._Element]:
    """What may be a stack of `div`s with a line of code in each: the grandparents of `code`, or a bit above."""
    found: set[etree._Element] = set()
    for code in candidates:
        if code.tag != "code":
            continue
        below, element = code, code.getparent()
        for _ in range(6):
            if element is None or (below.tag == "div" and element in found):
                break
            if below.tag == "div" and element.tag in _BOX_TAGS:
                found.add(element)
            if element.tag not in ("div", "span", "code"):
                break
            below, element = element, element.getparent()
    return found


def _is_fragment(element: etree._Element) -> bool:
    """A block that is a `code` by its class, or output below one."""
    names = element.get("class") or ""
    return (element.tag == "code" and "block" in names.split()) or (
        element.tag == "pre" and bool(_OUTPUT.search(names))
    )


def _join_fragments(fragments: list[etree._Element]) -> None:
    """Makes one block of those that stand side by side with nothing between."""
    for element in reversed(fragments):
        before = element.getprevious()
        if before is None or before.tag != CODE_TAG or (before.tail or "").strip() or before not in fragments:
            continue
        upper, lower = before.get("text") or "", element.get("text") or ""
        before.set("text", f"{upper}\n{lower}")
        before.tail = element.tail
        element.getparent().remove(element)


def _block(element: etree._Element) -> etree._Element | None:
    """The element that holds the code when `element` is a code block, else None."""
    tag = element.tag
    if tag in _BOX_TAGS:
        boxed = _names_box(element.get("class") or "") and _is_code_box(element)
        return element if boxed or _is_lines_of_code(element) else None
    if tag == "table":
        return _table_code(element)
    if _MATHEMATICS.search(element.get("class") or ""):
        return None
    if tag == "pre":
        return None if _is_mixed(element) else _holder_in_pre(element)
    return _holder_in_code(element)


def _is_mixed(pre: etree._Element) -> bool:
    """Several code blocks with other text between them inside one `pre`."""
    codes = [child for child in pre.iter("code") if child.getparent().tag != "code"]
    if len(codes) < 2:
        return next(pre.iterdescendants("pre"), None) is not None and next(pre.iterdescendants("p"), None) is not None
    texts = ["".join(code.itertext()) for code in codes]
    outside = len("".join(pre.itertext()).strip()) - sum(len(text.strip()) for text in texts)
    return outside > 2 * len(codes) and any("\n" in text.strip() for text in texts)


def _holder_in_pre(pre: etree._Element) -> etree._Element:
    if not len(pre):
        return pre
    if len(pre) == 1 and pre[0].tag == "code" and not (pre.text or "").strip() and not (pre[0].tail or "").strip():
        inner = pre[0]
        if next(inner.iterdescendants("code", "table", "div"), None) is None:
            return inner
    tables = [cell for table in pre.iter("table") if (cell := _table_code(table)) is not None]
    if len(tables) == 1:
        return tables[0]
    editors = [child for child in pre.iter("div") if "cm-content" in (child.get("class") or "").split()]
    if len(editors) == 1:
        return editors[0]
    codes = [child for child in pre.iter("code") if child.getparent().tag != "code"]
    if len(codes) == 1:
        outside = len("".join(pre.itertext()).strip()) - len("".join(codes[0].itertext()).strip())
        return codes[0] if outside < 40 else pre
    return pre


def _holder_in_code(code: etree._Element) -> etree._Element | None:
    if len(code):
        inner = list(islice(code.iter("pre"), 2))
        if inner:
            return _holder_in_pre(inner[0]) if len(inner) == 1 else None
    names = code.get("class")
    if names and re.search(r"(?:^|\s)(?:block|bbcode_code|code-?block)(?:$|\s)", names):
        return code
    if (
        next(code.iterancestors("pre"), None) is not None
        or (len(code) and code.find(".//br") is not None)
        or "display:block" in (code.get("style") or "").replace(" ", "")
    ):
        return code
    if _is_paragraph(code):
        return code
    if not len(code) and "\n" not in (code.text or ""):
        return None
    text = "".join(code.itertext()).strip()
    # A line end inside inline code is only a wrapped source line unless the next line is indented.
    return code if text.count("\n") >= 2 and _INDENTED_LINE.search(text) else None


def _is_paragraph(code: etree._Element) -> bool:
    """Whether the code is all there is of a paragraph that stands on its own."""
    paragraph = code.getparent()
    if paragraph is None or paragraph.tag != "p" or len(paragraph) != 1:
        return False
    if (paragraph.text or "").strip() or (code.tail or "").strip():
        return False
    around = paragraph.getparent()
    return around is not None and around.tag not in ("li", "td", "th", "dt", "a", "label")


def _table_code(table: etree._Element) -> etree._Element | None:
    """The table itself when each row is a numbered line, or the cell with the code beside a gutter cell."""
    rows = _rows(table)
    if not rows:
        return None
    if len(rows) == 1:
        cells = [cell for cell in rows[0] if cell.tag in ("td", "th")]
        if len(cells) == 2 and _is_gutter(cells[0]):
            inner = list(cells[1].iter("pre"))
            return _holder_in_pre(inner[0]) if len(inner) == 1 else cells[1]
        if len(cells) == 1 and (cells[0].get("class") or "") == "code" and cells[0].find(".//code") is not None:
            return cells[0]
        return None
    # Of an ordinary table two rows are enough to see that it is one.
    if not any(_is_numbered(row) for row in rows[:2]):
        return None
    return table if sum(map(_is_numbered, rows)) >= 0.8 * len(rows) else None


def _rows(table: etree._Element) -> list[etree._Element]:
    """The rows that are the table's own."""
    rows = []
    for part in table:
        if part.tag == "tr":
            rows.append(part)
        elif part.tag in ("thead", "tbody", "tfoot"):
            rows += [row for row in part if row.tag == "tr"]
    return rows


def _is_numbered(row: etree._Element) -> bool:
    return any(_is_gutter(cell) for cell in row if cell.tag in ("td", "th"))


def _is_gutter(element: etree._Element) -> bool:
    names = element.get("class")
    if (names and _names_gutter(names)) or element.get("data-line-number"):
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


def _is_lines_of_code(element: etree._Element) -> bool:
    """Children are lines, and all their text stands in `code` elements."""
    if not len(element) or element[0].tag != "div" or (element.text or "").strip():
        return False
    children = [child for child in element if isinstance(child.tag, str)]
    if len(children) < 2 and not _names_line(children[0].get("class") or ""):
        return False
    for child in children:
        if child.tag != "div" or (child.tail or "").strip():
            return False
        if len(child) == 0 and (child.text or "").strip("\xa0 \n\t"):
            return False
    codes = list(element.iter("code"))
    if len(codes) < 2 or next(element.iter(*_PROSE), None) is not None:
        return False
    inside = sum(len("".join("".join(code.itertext()).split())) for code in codes)
    # A `code` in a `code` counts twice.
    return 0 < inside >= len("".join("".join(element.itertext()).split()))


def _is_code_box(element: etree._Element) -> bool:
    if next(element.iter(*_PROSE, "code"), None) is not None:
        return False
    text = "".join(element.itertext()).strip()
    return bool(text) and ("\n" in text or element.find(".//br") is not None)


def _text(holder: etree._Element) -> str:
    preserved = holder.tag in _PRESERVED and (holder.tag == "pre" or holder.find(".//br") is None)
    preserved = preserved or next(holder.iterancestors("pre"), None) is not None
    if preserved and all(map(_is_plain, holder.iterdescendants())):
        text = "".join(holder.itertext())
    else:
        lines = sum(1 for child in holder.iter("span") if _is_line(child))
        text = _Collector(by_line=lines > 1).collect(holder, preserved)
    text = _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\u200b", ""))
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    text = re.sub(r"\A\s*\n", "", text).rstrip()
    return textwrap.dedent(text) if text[:1].isspace() else text


def _is_plain(element: etree._Element) -> bool:
    """Whether an element adds nothing to its text: most highlighters only colour."""
    if element.tag not in _COLOURS:
        return False
    names = element.get("class")
    if names is not None and (_names_line(names) or _names_furniture(names) or _names_gutter(names)):
        return False
    return (
        element.get("style") is None
        and element.get("data-line") is None
        and element.get("data-line-number") is None
        and element.get("aria-hidden") is None
    )


def _is_line(element: etree._Element) -> bool:
    return element.get("data-line") is not None or _names_line(element.get("class") or "")


# A page, and one page like the next, has the same few classes a thousand times.


@lru_cache(maxsize=20_000)
def _names_box(names: str) -> bool:
    return _CODE_BOX.search(names) is not None


@lru_cache(maxsize=20_000)
def _names_line(names: str) -> bool:
    return _LINE.search(names) is not None


@lru_cache(maxsize=20_000)
def _names_gutter(names: str) -> bool:
    return _GUTTER.search(names) is not None


@lru_cache(maxsize=20_000)
def _names_furniture(names: str) -> bool:
    return _FURNITURE.search(names) is not None


class _Collector:
    """Gathers a block's text; a stack instead of recursion, because hostile pages nest without end."""

    def __init__(self, *, by_line: bool) -> None:
        self._by_line = by_line
        self._pieces: list[str] = []
        self._last = ""

    def collect(self, holder: etree._Element, preserved: bool) -> str:
        # Where spaces are written as `&nbsp;`, a browser shows a run of plain ones as one.
        self._collapse = not preserved and "\xa0" in "".join(holder.itertext())
        # Each entry is an element to enter, or one that was entered and is to be left.
        stack: list[tuple[etree._Element, bool, bool]] = []
        self._enter(holder, preserved, stack)
        while stack:
            element, preserved, leaving = stack.pop()
            if leaving:
                if element.tag in _LINES_OF_THEIR_OWN and self._last != "\n":
                    self._add("\n")
                self._add_text(element.tail, preserved)
            elif not isinstance(element.tag, str) or _is_furniture(element):
                self._add_text(element.tail, preserved)
            elif element.tag == "br":
                self._add("\n")
                self._add_text(element.tail, preserved)
            else:
                own = element.tag in _LINES_OF_THEIR_OWN
                if (own or (self._by_line and element.tag == "span" and _is_line(element))) and self._last not in (
                    "",
                    "\n",
                ):
                    self._add("\n")
                if own:
                    # An empty line of its own is a line nevertheless.
                    self._last = self._last and "\r"
                stack.append((element, preserved, True))
                self._enter(element, preserved, stack)
        return "".join(self._pieces)

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
    if tag in _SKIPPED or (tag != "span" and element.get("aria-hidden") == "true"):
        return True
    names = element.get("class")
    if names:
        if tag != "code" and _names_furniture(names) and not _names_line(names):
            return True
        if tag == "div" and re.search(r"(?:^|[\s_-])header(?:$|\s)", names):
            return True
    return _is_gutter(element)


_HIGHLIGHTER = re.compile(r"hljs|sourceCode|chroma|hl |prettyprint|highlight")
_LANGUAGE_ATTRIBUTES = ("data-lang", "data-language", "data-code-language", "data-enlighter-language", "lang")


def _language(holder: etree._Element, element: etree._Element) -> str:
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


def _own_language(element: etree._Element) -> str:
    for attribute in _LANGUAGE_ATTRIBUTES:
        value = (element.get(attribute) or "").strip().lower()
        if not value:
            continue
        if value in _BARE_LANGUAGES or (
            attribute != "lang" and re.fullmatch(r"[a-z][\w+#.-]*", value) and value not in _NOT_LANGUAGES
        ):
            return value
    names: str = element.get("class") or ""
    for match in _LANGUAGE.finditer(names):
        name = match[1].lower().rstrip(";")
        if name not in _NOT_LANGUAGES:
            return name
    if _HIGHLIGHTER.search(names):
        for name in names.lower().split():
            if name.removeprefix("lang-") in _BARE_LANGUAGES:
                return name.removeprefix("lang-")
    return ""
