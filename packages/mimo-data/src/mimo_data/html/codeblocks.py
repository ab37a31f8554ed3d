"""Finds every code block of a page and leaves one `x-code` element with its exact text and language.

Covers `pre`, block-level `code`, highlighters that write one element or one table row a line, and forum
code boxes; line numbers, copy buttons and toolbars are stripped, `<br>` becomes a line end.
"""

from __future__ import annotations

import re
import textwrap

from lxml import html

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
_LINES_OF_THEIR_OWN = frozenset(["div", "p", "li", "tr", "dd"])
_PROSE = frozenset([
    "p", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote", "pre", "article", "section", "form", "img",
    "iframe",
])  # fmt: skip


def mark_code(root: html.HtmlElement) -> None:
    """Replaces each code block below `root` by `<x-code text=… language=…>`, in place."""
    stack = [root]
    while stack:
        element = stack.pop()
        if not isinstance(element.tag, str):
            continue
        holder = _block(element)
        if holder is None:
            stack.extend(reversed(element))
            continue
        text = _text(holder)
        language = _language(holder, element)
        tail = element.tail
        element.clear()
        element.tail = tail
        element.tag = CODE_TAG
        element.set("text", text)
        element.set("language", language)


def _block(element: html.HtmlElement) -> html.HtmlElement | None:
    """The element that holds the code when `element` is a code block, else None."""
    match element.tag:
        case "pre":
            return None if _is_mixed(element) else _holder_in_pre(element)
        case "code" | "samp" | "tt":
            return _holder_in_code(element)
        case "table":
            return _table_code(element)
        case "div" | "td" | "figure" | "span" | "blockquote":
            if _is_lines_of_code(element) or _is_code_box(element):
                return element
    return None


def _is_mixed(pre: html.HtmlElement) -> bool:
    """Several code blocks with other text between them inside one `pre`."""
    codes = [child for child in pre.iter("code") if child.getparent().tag != "code"]
    texts = ["".join(code.itertext()) for code in codes]
    outside = len("".join(pre.itertext()).strip()) - sum(len(text.strip()) for text in texts)
    return len(codes) > 1 and outside > 2 * len(codes) and any("\n" in text.strip() for text in texts)


def _holder_in_pre(pre: html.HtmlElement) -> html.HtmlElement:
    tables = [table for table in pre.iter("table") if _table_code(table) is not None]
    if len(tables) == 1:
        cell = _table_code(tables[0])
        return pre if cell is None else cell
    editors = pre.xpath(".//*[contains(concat(' ', @class, ' '), ' cm-content ')]")
    if len(editors) == 1:
        return editors[0]
    codes = [child for child in pre.iter("code") if child.getparent().tag != "code"]
    if len(codes) == 1:
        outside = len("".join(pre.itertext()).strip()) - len("".join(codes[0].itertext()).strip())
        return codes[0] if outside < 40 else pre
    return pre


def _holder_in_code(code: html.HtmlElement) -> html.HtmlElement | None:
    inner = list(code.iter("pre"))
    if inner:
        return _holder_in_pre(inner[0]) if len(inner) == 1 else None
    classes = code.get("class") or ""
    if re.search(r"(?:^|\s)(?:block|bbcode_code|code-?block)(?:$|\s)", classes):
        return code
    if (
        next(code.iterancestors("pre"), None) is not None
        or code.find(".//br") is not None
        or "display:block" in (code.get("style") or "").replace(" ", "")
    ):
        return code
    text = "".join(code.itertext()).strip()
    # A line end inside inline code is only a wrapped source line unless the next line is indented.
    return code if text.count("\n") >= 2 and re.search(r"\n[ \t]{2,}\S", text) else None


def _table_code(table: html.HtmlElement) -> html.HtmlElement | None:
    """The table itself when each row is a numbered line, or the cell with the code beside a gutter cell."""
    rows = [row for row in table.iter("tr") if next(row.iterancestors("table")) is table]
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
    numbered = sum(1 for row in rows if any(_is_gutter(cell) for cell in row if cell.tag in ("td", "th")))
    return table if numbered >= 0.8 * len(rows) else None


def _is_gutter(element: html.HtmlElement) -> bool:
    if _GUTTER.search(element.get("class") or "") or element.get("data-line-number"):
        return True
    if element.tag == "td" and element.find("./*[@data-line-number]") is not None and not _visible(element):
        return True
    style = (element.get("style") or "").replace(" ", "")
    return "user-select:none" in style and bool(re.fullmatch(r"[\s\d]*", _visible(element)))


def _visible(element: html.HtmlElement) -> str:
    return "".join(element.itertext()).strip()


def _is_lines_of_code(element: html.HtmlElement) -> bool:
    """Children are lines, and all their text stands in `code` elements."""
    children = [child for child in element if isinstance(child.tag, str)]
    if not children or any(child.tag != "div" for child in children) or (element.text or "").strip():
        return False
    if any(
        (child.tail or "").strip() or (len(child) == 0 and (child.text or "").strip("\xa0 \n\t")) for child in children
    ):
        return False
    codes = list(element.iter("code"))
    if len(codes) < 2 or next(element.iter(*_PROSE), None) is not None:
        return False
    if not _LINE.search(children[0].get("class") or "") and len(children) < 2:
        return False
    inside = sum(len("".join(code.itertext()).strip()) for code in codes)
    whole = len(re.sub(r"\s+", "", "".join(element.itertext())))
    return whole <= sum(len(re.sub(r"\s+", "", "".join(code.itertext()))) for code in codes) and inside > 0


def _is_code_box(element: html.HtmlElement) -> bool:
    if element.tag == "span" or not _CODE_BOX.search(element.get("class") or ""):
        return False
    if next(element.iter(*_PROSE, "code"), None) is not None:
        return False
    text = "".join(element.itertext()).strip()
    return bool(text) and ("\n" in text or element.find(".//br") is not None)


def _text(holder: html.HtmlElement) -> str:
    pieces: list[str] = []
    by_line = sum(
        1
        for child in holder.iter("span")
        if _LINE.search(child.get("class") or "") or child.get("data-line") is not None
    )
    preserved = holder.tag in _PRESERVED and (holder.tag == "pre" or holder.find(".//br") is None)
    preserved |= next(holder.iterancestors("pre"), None) is not None
    _collect(holder, pieces, preserved=preserved, by_line=by_line > 1)
    text = "".join(pieces).replace("\r\n", "\n").replace("\r", "\n").replace("\xa0", " ").replace("\u200b", "")
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    text = re.sub(r"\A\s*\n", "", text).rstrip()
    first = text.split("\n", 1)[0]
    return textwrap.dedent(text) if first[:1].isspace() else text


def _collect(element: html.HtmlElement, pieces: list[str], *, preserved: bool, by_line: bool) -> None:
    text = element.text or ""
    # Outside of `pre` and of `code` without `<br>`, the markup's own line ends are not text.
    preserved |= element.tag in _PRESERVED and element.find(".//br") is None
    pieces.append(text if preserved else _unwrapped(text))
    for child in element:
        if isinstance(child.tag, str) and not _is_furniture(child):
            if child.tag == "br":
                pieces.append("\n")
            else:
                own_line = child.tag in _LINES_OF_THEIR_OWN or (
                    by_line
                    and child.tag == "span"
                    and (child.get("data-line") is not None or bool(_LINE.search(child.get("class") or "")))
                )
                if own_line and pieces and not _ends_line(pieces):
                    pieces.append("\n")
                start = len(pieces)
                _collect(child, pieces, preserved=preserved, by_line=by_line)
                if own_line and (child.tag in _LINES_OF_THEIR_OWN) and not "".join(pieces[start:]).endswith("\n"):
                    pieces.append("\n")
        tail = child.tail or ""
        pieces.append(tail if preserved else _unwrapped(tail))


def _unwrapped(text: str) -> str:
    """Text whose line ends only lay out the page's source."""
    return re.sub(r"[ \t]*\n[ \t\r\n]*", "", text)


def _ends_line(pieces: list[str]) -> bool:
    for piece in reversed(pieces):
        if piece:
            return piece.endswith("\n") or not "".join(pieces).strip()
    return True


def _is_furniture(element: html.HtmlElement) -> bool:
    if element.tag in _SKIPPED or (element.get("aria-hidden") == "true" and element.tag != "span"):
        return True
    classes = element.get("class") or ""
    if classes and _FURNITURE.search(classes) and not _LINE.search(classes) and element.tag != "code":
        return True
    if element.tag == "div" and re.search(r"(?:^|[\s_-])header(?:$|\s)", classes):
        return True
    return _is_gutter(element)


def _language(holder: html.HtmlElement, element: html.HtmlElement) -> str:
    """Named by the holder, its `code` and `pre`, or a wrapper that holds nothing else."""
    candidates = [holder, *holder.iter("code")]
    for between in holder.iterancestors():
        if holder is element or between is element:
            break
        candidates.append(between)
    candidates.append(element)
    wrapper = element.getparent()
    for _ in range(3):
        if wrapper is None or wrapper.tag in ("body", "article", "main") or len(wrapper.findall(".//pre")) > 1:
            break
        candidates.append(wrapper)
        wrapper = wrapper.getparent()
    for candidate in candidates:
        for attribute in ("data-lang", "data-language", "lang"):
            value = (candidate.get(attribute) or "").strip().lower()
            if value in _BARE_LANGUAGES or (
                attribute != "lang" and re.fullmatch(r"[a-z][\w+#.-]*", value) and value not in _NOT_LANGUAGES
            ):
                return value
        classes = candidate.get("class") or ""
        for match in _LANGUAGE.finditer(classes):
            name = match[1].lower().rstrip(";")
            if name not in _NOT_LANGUAGES:
                return name
        if re.search(r"hljs|sourceCode|chroma|hl |prettyprint|highlight", classes):
            for name in classes.lower().split():
                if name.removeprefix("lang-") in _BARE_LANGUAGES:
                    return name.removeprefix("lang-")
    return ""
