"""A page's elements as Markdown: the renderer below `extract_html`.

Nothing is escaped but a dollar that is none of mathematics, on a page that has some: what stands between formula
delimiters and in fences is the author's, to the letter. Links keep their text only.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lxml import etree

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.delimiters import DOLLAR, EMPHASIS, IN_TEXT, PROTECTED, SPLIT_EMPHASIS, Notation, write_formulas
from mimo_data.html.formulas import FORMULA_TAG

_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup",
    "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "ul", "html", "caption", "legend", "mjx-block",
])  # fmt: skip
_SKIPPED = frozenset([
    "script", "style", "template", "svg", "iframe", "object", "select", "input", "head", "canvas",
    "audio", "video", "map", "link", "meta",
])  # fmt: skip
_SUPERSCRIPT = str.maketrans("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")
_SUBSCRIPT = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_RAW_DISPLAY = re.compile(r"\\\[|\$\$|\\begin\{|\\\([^()]*%")
_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")
_SPACES_OF_A_LINE = re.compile(r"[ \t\r\f\xa0]+")
_AROUND_LINE_END = re.compile(r"\s*\n\s*")
_ODD_SPACE = re.compile(r"[\t\r\n\f\xa0]|  ")
_DISPLAY = re.compile(r"\$\$([^$]+)\$\$")
_RAW_DELIMITER = re.compile(r"\\[()\[\]]|\$")
# What Sphinx's and rustdoc's style sheets set between a name and its type or mark.
_WRITTEN_BEFORE = {"classifier": " : ", **dict.fromkeys(("stab portability", "stab unstable", "stab deprecated"), " ")}
# Docusaurus' is an invisible space. Languages may end in one of these.
_LINK_TO_HEADING = re.compile(r"(?:[\s¶§\u200b]|(?<!\b[CFJ])#)+\Z")
_FORGED = str.maketrans("", "", DOLLAR + PROTECTED + EMPHASIS + SPLIT_EMPHASIS)
_ANY_FORGED = re.compile(f"[{DOLLAR}{PROTECTED}{EMPHASIS}{SPLIT_EMPHASIS}]")
# A list, a quotation or a table counts for more than one level: each takes several calls.
_MAX_DEPTH = 240


def render(root: etree._Element, notation: Notation) -> str:
    """Markdown of everything below `root`, whose code and formulas are marked."""
    page = _Page(notation)
    writer = _Writer(page)
    writer.visit(root, 0)
    # Only where there is mathematics can a dollar be taken for one of its delimiters.
    return writer.finish().replace(DOLLAR, r"\$" if page.has_formulas else "$")


class _Page:
    """What the writers of a page's parts share."""

    def __init__(self, notation: Notation) -> None:
        self.notation = notation
        self.has_formulas = notation.wrapped


class _Writer:
    """Collects blocks; inline pieces gather until the next block boundary."""

    # Each cell of a table has one.
    __slots__ = ("_blocks", "_inline", "_page", "_protected")

    def __init__(self, page: _Page) -> None:
        self._page = page
        self._blocks: list[str] = []
        self._inline: list[str] = []
        self._protected: list[str] = []

    def visit(self, element: etree._Element, depth: int) -> None:
        if depth > _MAX_DEPTH:
            self._text(" ".join(element.itertext()))
            return
        rule = _RULES.get(element.tag)
        if rule is None:
            self._children(element, depth)
        else:
            rule(self, element, depth)

    def finish(self) -> str:
        self._flush()
        return "\n\n".join(self._blocks)

    def _children(self, element: etree._Element, depth: int) -> None:
        if element.text:
            self._text(element.text)
        for child in element:
            if isinstance(child.tag, str):
                self.visit(child, depth + 1)
            if child.tail:
                self._text(child.tail)

    def _text(self, text: str) -> None:
        if text.isspace():
            if self._inline:
                self._inline.append("\n" if self._inline[-1] == "\n" else " ")
            return
        if _ANY_FORGED.search(text):
            text = text.translate(_FORGED)
        if ("\\" in text or "$$" in text) and _RAW_DISPLAY.search(text):
            # The author's line breaks inside a formula stay: `\\\\` ends a row there, `%` a line.
            text = _AROUND_LINE_END.sub("\n", text)
            self._inline.append(_SPACES_OF_A_LINE.sub(" ", text))
        else:
            self._inline.append(_SPACES.sub(" ", text) if _ODD_SPACE.search(text) else text)

    def _protect(self, piece: str) -> None:
        """An inline piece that stays as it is."""
        self._protected.append(piece)
        self._inline.append(PROTECTED)

    def _flush(self) -> None:
        if not self._inline:
            return
        text = _squeeze("".join(self._inline))
        self._inline.clear()
        protected, self._protected = self._protected, []
        if not text:
            return
        text = write_formulas(text, self._page.notation).translate(IN_TEXT)
        if "$" in text:
            self._page.has_formulas = True
            if text.startswith("$$") and text.endswith("$$") and text.count("$$") == 2 and "\n" not in text:
                text = f"$$\n{text[2:-2]}\n$$"
        if protected:
            first, *rest = text.split(PROTECTED)
            text = first + "".join(piece + after for piece, after in zip(protected, rest, strict=True))
        if text.strip():
            self._blocks.append(text)

    def _block(self, element: etree._Element, depth: int) -> None:
        self._flush()
        self._children(element, depth)
        self._flush()

    def _skip(self, element: etree._Element, depth: int) -> None:
        return

    def _line_end(self, element: etree._Element, depth: int) -> None:
        self._inline.append("\n")

    def _inner(self, element: etree._Element, depth: int) -> list[str]:
        """The blocks of an element's children."""
        text = element.text
        if (not text or text.isspace()) and not len(element):
            return []
        writer = _Writer(self._page)
        writer._children(element, depth + 2)
        writer._flush()
        return writer._blocks

    def _whole(self, element: etree._Element, depth: int) -> str:
        """The Markdown of an element itself."""
        writer = _Writer(self._page)
        writer.visit(element, depth + 2)
        return writer.finish()

    def _code(self, element: etree._Element, depth: int) -> None:
        text = element.get("text") or ""
        if not text.strip():
            return
        self._flush()
        longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        self._blocks.append(f"{fence}{element.get('language') or ''}\n{text}\n{fence}")

    def _formula(self, element: etree._Element, depth: int) -> None:
        latex = element.get("latex")
        if not latex:
            return
        self._page.has_formulas = True
        if element.get("display"):
            self._flush()
            self._blocks.append(f"$$\n{latex}\n$$")
        else:
            self._protect(f"${_AROUND_LINE_END.sub(' ', latex)}$")

    def _heading(self, element: etree._Element, depth: int) -> None:
        self._flush()
        blocks = self._inner(element, depth)
        # A heading that was never closed holds what follows it.
        held = len(blocks) if element.find(f".//{CODE_TAG}") is None else 1
        text = " ".join(blocks[:held])
        if text.startswith("```"):
            held, text = 0, ""
        text = _LINK_TO_HEADING.sub("", text.replace("\n", " ").lstrip(" ¶#")).removesuffix("[edit]").strip()
        if text:
            self._blocks.append(f"{'#' * int(element.tag[1])} {text}")
        self._blocks += blocks[held:]

    def _list(self, element: etree._Element, depth: int) -> None:
        self._flush()
        start = element.get("start") or ""
        number = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 1
        ordered = element.tag == "ol"
        items: list[str] = []
        for child in element:
            if not isinstance(child.tag, str):
                continue
            text = "\n\n".join(self._inner(child, depth)) if child.tag == "li" else self._whole(child, depth)
            if not text.strip():
                continue
            marker = f"{number}. " if ordered else "- "
            if "\t" in text:
                # Code with tabs keeps its columns behind a whole tab stop.
                marker = marker.ljust(-len(marker) // 4 * -4)
            number += 1
            # A fence stands on a line of its own, for readers that look at line starts.
            first = marker.rstrip() + "\n" + " " * len(marker) if text.startswith("```") else marker
            items.append(first + _indent(text, " " * len(marker)))
        if items:
            self._blocks.append(("\n\n" if any("\n\n" in item for item in items) else "\n").join(items))

    def _quote(self, element: etree._Element, depth: int) -> None:
        self._flush()
        text = "\n\n".join(self._inner(element, depth))
        if text:
            if "$$" in text:
                text = _DISPLAY.sub(_on_one_line, text)
            # Forums lay posts out in `blockquote`; and a fence is only exact without marks in front.
            self._blocks.append(text if "```" in text else "> " + text.replace("\n", "\n> "))

    def _table(self, element: etree._Element, depth: int) -> None:
        self._flush()
        cells = _own_cells(element)
        width = max((len(row) for row in cells), default=0)
        if width < 2 or len(cells) < 2 or element.get("role") == "presentation" or element.find(".//table") is not None:
            self._block(element, depth)
            return
        texts = [["\n\n".join(self._inner(cell, depth + 1)) for cell in row] for row in cells]
        if any("```" in text or text.count("\n\n") > 2 or len(text) > 600 for row in texts for text in row):
            self._block(element, depth)
            return
        # Doxygen's first row is the heading over a list of members.
        if texts[0][0].startswith("#") and not any(texts[0][1:]):
            self._blocks.append(texts.pop(0)[0])
        rows = [[_cell(text) for text in row] + [""] * (width - len(row)) for row in texts if any(row)]
        if not rows:
            return
        caption = element.find("caption")
        if caption is not None:
            self._block(caption, depth)
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.insert(1, "|" + " --- |" * width)
        self._blocks.append("\n".join(lines))

    def _inline_code(self, element: etree._Element, depth: int) -> None:
        if len(element) and next(element.iter(CODE_TAG, FORMULA_TAG), None) is not None:
            self._children(element, depth)
            return
        whole = "".join(element.itertext())
        text = " ".join(whole.split())
        if text:
            fence = "``" if "`" in text else "`"
            self._protect(f"{fence}{text.translate(_FORGED)}{fence}")
        elif whole:
            self._inline.append(" ")

    def _script(self, element: etree._Element, depth: int) -> None:
        text = "\n\n".join(self._inner(element, depth))
        names = element.get("class") or ""
        if not text or "reference" in names or "footnote" in names:
            return
        link = element.find(".//a")
        if link is not None and re.fullmatch(r"\[?[\w\s]{1,8}\]?", text) and (link.get("href") or "").startswith("#"):
            return
        raised = element.tag == "sup"
        table = _SUPERSCRIPT if raised else _SUBSCRIPT
        if all(ord(letter) in table for letter in text):
            self._inline.append(text.translate(table))
        elif raised and text.lower() in ("st", "nd", "rd", "th", "tm", "®", "™", "o", "a"):
            self._inline.append(text)
        else:
            self._protect(("^" if raised else "_") + (text if len(text) == 1 else f"({text})"))

    def _span(self, element: etree._Element, depth: int) -> None:
        if (before := _WRITTEN_BEFORE.get(element.get("class") or "")) and self._inline:
            self._inline.append(before)
        if element.get("class") == "eqno":
            # Sphinx's number of the formula that follows; empty, it is written by a style sheet.
            if any(map(str.isalnum, "".join(element.itertext()))):
                self._block(element, depth)
            return
        self._children(element, depth)

    def _bold(self, element: etree._Element, depth: int) -> None:
        self._emphasis(element, depth, "**")

    def _italic(self, element: etree._Element, depth: int) -> None:
        self._emphasis(element, depth, EMPHASIS)

    def _emphasis(self, element: etree._Element, depth: int, mark: str) -> None:
        if len(element) and next(element.iter(*_BLOCKS, CODE_TAG, "br"), None) is not None:
            self._children(element, depth)
            return
        # Not empty: a blank that begins the element counts, as what stands before it may have none.
        outer, self._inline = self._inline, [""]
        self._children(element, depth)
        text = "".join(self._inline)
        self._inline = outer
        body = text.strip()
        if not body or not re.search(r"\w", body):
            self._inline.append(text)
            return
        # Raw delimiters in the text may span this element: a mark inside a formula would change it.
        if _RAW_DELIMITER.search(body):
            mark = SPLIT_EMPHASIS if mark == EMPHASIS else ""
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        self._inline.append(f"{lead}{mark}{body}{mark}{trail}")


def _on_one_line(formula: re.Match[str]) -> str:
    """A formula without line ends, where each line would get a mark in front; a comment needs its line end."""
    latex = formula[1].strip()
    return formula[0] if "%" in latex else f"$${_AROUND_LINE_END.sub(' ', latex)}$$"


def _own_cells(table: etree._Element) -> list[list[etree._Element]]:
    """The cells of each row that is the table's own."""
    rows = [
        row
        for part in (table, *(child for child in table if child.tag in ("thead", "tbody", "tfoot")))
        for row in part
        if row.tag == "tr"
    ]
    return [[cell for cell in row if cell.tag in ("td", "th")] for row in rows]


def _cell(text: str) -> str:
    """A cell's text on one line; a bar inside a formula stays, as it is part of it."""
    if "\n" in text:
        text = _AROUND_LINE_END.sub(" ", text)
    return text.replace("|", r"\|") if "|" in text and "$" not in text else text


def _squeeze(text: str) -> str:
    """Text without spaces at its line ends or in a row, and without more than one empty line."""
    if "\n" in text:
        text = re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]*\n[ \t]*", "\n", text))
    return (re.sub(r" {2,}", " ", text) if "  " in text else text).strip()


def _indent(text: str, prefix: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(prefix + line if line else line for line in rest)])


_RULES: dict[object, Callable[[_Writer, etree._Element, int], None]] = {
    **dict.fromkeys(_BLOCKS, _Writer._block),
    **dict.fromkeys(_SKIPPED, _Writer._skip),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), _Writer._heading),
    **dict.fromkeys(("ul", "ol"), _Writer._list),
    **dict.fromkeys(("code", "tt", "kbd", "samp"), _Writer._inline_code),
    **dict.fromkeys(("sup", "sub"), _Writer._script),
    **dict.fromkeys(("strong", "b"), _Writer._bold),
    **dict.fromkeys(("em", "i"), _Writer._italic),
    CODE_TAG: _Writer._code,
    FORMULA_TAG: _Writer._formula,
    "span": _Writer._span,
    "br": _Writer._line_end,
    "blockquote": _Writer._quote,
    "table": _Writer._table,
}
