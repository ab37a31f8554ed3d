"""Finds every code block of a page and leaves one `x-code` element with its exact text and language.

Covers `pre`, block-level `code`, `code` that is a whole paragraph, highlighters that write one element or one table
row a line (Doxygen and Scribble among them), and forum code boxes. Blocks that only a highlighter tore apart (a
command, its output, the next command) are one again. What a block says is `codetext.py`'s part.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from lxml import etree

from mimo_data.html.codeframes import is_count, remove_label, tidy_frames
from mimo_data.html.codetext import CODE_TAG as CODE_TAG
from mimo_data.html.codetext import (
    block_language,
    block_text,
    is_doxygen,
    is_gutter,
    is_prototype,
    names_line,
    split_language_line,
)
from mimo_data.html.messages import is_message, split_message

_CODE_BOX = re.compile(
    r"(?:^|\s)(?:code|codebox|code-?block|codeblock|phpcode|bbcode_code|bbCodeCode|programlisting|source-?code|syntaxhighlighter|"
    r"codecontent|code-content|cm-content|prettyprint|CodeMirror-code|highlight-source-\S+|fragment|memproto|view-lines|"
    r"dp-highlighter|blockcode|w3-code|example_code|lstlisting|ltx_listing|ace_text-layer)"
    r"(?:$|\s)",
    re.IGNORECASE,
)
_PROSE = frozenset([
    "p", "h1", "h2", "h3", "h4", "ul", "ol", "table", "blockquote", "pre", "article", "section", "form", "img",
    "iframe",
])  # fmt: skip
_BOX_TAGS = ("div", "td", "figure", "blockquote")
_MATHEMATICS = re.compile(r"(?:^|\s)(?:js-render-math|language-math|math-inline|math-display)(?:$|\s)")
_OUTPUT = re.compile(r"(?:^|[\s_-])output(?:$|\s)")
_MAX_CHARACTERS_OF_FRAME = 100
_INDENTED_LINE = re.compile(r"\n[ \t]{2,}\S")


def mark_code(root: etree._Element) -> None:
    """Replaces each code block below `root` by `<x-code text=… language=…>`, in place."""
    tags = ("pre", "code", "samp", "tt", "table", *_BOX_TAGS)
    tidy_frames(root)
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
        if element.tag == "pre" and is_message(element):
            split_message(element)
            continue
        holder = _block(element)
        if holder is None:
            continue
        fragment = _is_fragment(element)
        text = block_text(holder)
        language = block_language(holder, element)
        if element.tag == "code" and not language:
            language, text = split_language_line(text)
        if len(element):
            done.update(element.iterdescendants(*tags))
        tail = element.tail
        element.clear()
        element.tail = tail
        element.tag = CODE_TAG
        element.set("text", text)
        element.set("language", language)
        remove_label(element)
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
    runs: list[list[etree._Element]] = []
    for element in fragments:
        before = element.getprevious()
        if runs and before is runs[-1][-1] and not (before.tail or "").strip():
            runs[-1].append(element)
        else:
            runs.append([element])
    for first, *others in runs:
        if others:
            first.set("text", "\n".join(element.get("text") or "" for element in (first, *others)))
            first.tail = others[-1].tail
            for element in others:
                element.getparent().remove(element)


def _block(element: etree._Element) -> etree._Element | None:
    """The element that holds the code when `element` is a code block, else None."""
    tag = element.tag
    if tag in _BOX_TAGS:
        if _names_box(element.get("class") or ""):
            if _is_code_box(element):
                return element
            if (items := _listed_lines(element)) is not None:
                return items
        return element if _is_lines_of_code(element) else None
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
    if next(pre.iterdescendants("div", "p"), None) is None:
        return False
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
    if len(codes) == 1 and not _has_own_text(pre):
        outside = len("".join(pre.itertext()).strip()) - len("".join(codes[0].itertext()).strip())
        return codes[0] if outside < 40 else pre
    return pre


def _has_own_text(pre: etree._Element) -> bool:
    """Text of the `pre` itself beside a `code` is more of the program, not its language or title."""
    return bool((pre.text or "").strip()) or any((child.tail or "").strip() for child in pre)


def _holder_in_code(code: etree._Element) -> etree._Element | None:
    if len(code):
        inner = list(islice(code.iter("pre"), 2))
        if inner:
            return _holder_in_pre(inner[0]) if len(inner) == 1 else None
    around = next(code.iterancestors("pre"), None)
    if around is not None and _MATHEMATICS.search(around.get("class") or ""):
        return None
    names = code.get("class")
    if names and re.search(r"(?:^|\s)(?:block|bbcode_code|code-?block)(?:$|\s)", names):
        return code
    if (
        around is not None
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
    if table.get("class") == "RktBlk":
        return table
    if len(rows) == 1:
        cells = [cell for cell in rows[0] if cell.tag in ("td", "th")]
        if len(cells) == 2 and (is_gutter(cells[0]) or is_count(cells[0])):
            inner = list(cells[1].iter("pre"))
            if len(inner) == 1:
                return _holder_in_pre(inner[0])
            return cells[1] if is_gutter(cells[0]) else None
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
    return any(is_gutter(cell) for cell in row if cell.tag in ("td", "th"))


def _is_lines_of_code(element: etree._Element) -> bool:
    """Children are lines, and all their text stands in `code` elements."""
    if not len(element) or element[0].tag != "div" or (element.text or "").strip():
        return False
    children = [child for child in element if isinstance(child.tag, str)]
    if len(children) < 2 and not names_line(children[0].get("class") or ""):
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
    if is_doxygen(element) or is_prototype(element):
        return True
    if "fragment" in (element.get("class") or "").split():
        return False
    if "CodeMirror-code" in (element.get("class") or "").split():
        return True
    if next(element.iter(*_PROSE, "code", "math"), None) is not None:
        return False
    text = "".join(element.itertext()).strip()
    if not text:
        return False
    return "\n" in text or element.find(".//br") is not None or _num_lines(element) > 1


def _num_lines(element: etree._Element) -> int:
    return sum(names_line(child.get("class") or "") for child in element)


def _listed_lines(box: etree._Element) -> etree._Element | None:
    """The list in a code box that has an item for each line: SyntaxHighlighter 1 and Discuz."""
    lists = list(islice(box.iter("ol"), 2))
    if len(lists) != 1 or next(box.iter(*(_PROSE - {"ol"}), "code", "math"), None) is not None:
        return None
    outside = len("".join(box.itertext()).strip()) - len("".join(lists[0].itertext()).strip())
    return lists[0] if outside < _MAX_CHARACTERS_OF_FRAME else None


# A page, and one page like the next, has the same few classes a thousand times.
@lru_cache(maxsize=20_000)
def _names_box(names: str) -> bool:
    return _CODE_BOX.search(names) is not None
