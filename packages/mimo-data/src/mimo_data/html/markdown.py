"""A page's elements as Markdown: the renderer below `extract_html`.

Nothing is escaped: what stands between formula delimiters and in fences is the author's, to the letter.
Links keep their text only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG, delimit

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
_RAW_DISPLAY = re.compile(r"\\\[|\$\$|\\begin\{")
_MAX_DEPTH = 400


def render(root: html.HtmlElement, *, rendered_math: bool, escape_dollars: bool) -> str:
    """Markdown of everything below `root`.

    Args:
        rendered_math: see `delimit`.
        escape_dollars: formulas are marked, so that a lone `$` in the text is a dollar and written `\\$`.
    """
    writer = _Writer(rendered_math, escape_dollars)
    writer.visit(root, 0)
    return writer.finish()


class _Writer:
    """Collects blocks; inline pieces gather until the next block boundary."""

    def __init__(self, rendered_math: bool, escape_dollars: bool) -> None:
        self._rendered_math = rendered_math
        self._escape_dollars = escape_dollars
        self._blocks: list[str] = []
        self._inline: list[str] = []

    def visit(self, element: html.HtmlElement, depth: int) -> None:
        tag = element.tag
        if depth > _MAX_DEPTH:
            self._inline.append(" ".join(element.itertext()))
            return
        if tag == CODE_TAG:
            self._code(element)
        elif tag == FORMULA_TAG:
            self._formula(element)
        elif tag in _SKIPPED:
            return
        elif tag == "br":
            self._inline.append("\n")
        elif tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            self._heading(element, depth)
        elif tag in ("ul", "ol"):
            self._list(element, depth)
        elif tag == "blockquote":
            self._nested(element, depth, "> ", "> ")
        elif tag == "table":
            self._table(element, depth)
        elif tag in ("code", "tt", "kbd", "samp") and element.find(f".//{CODE_TAG}") is None:
            self._inline_code(element)
        elif tag in ("sup", "sub"):
            self._script(element, depth)
        elif tag in ("strong", "b"):
            self._emphasis(element, depth, "**")
        elif tag in ("em", "i"):
            self._emphasis(element, depth, "*")
        elif tag in _BLOCKS:
            self._flush()
            self._children(element, depth)
            self._flush()
        else:
            self._children(element, depth)

    def finish(self) -> str:
        self._flush()
        return "\n\n".join(block for block in self._blocks if block.strip())

    def _children(self, element: html.HtmlElement, depth: int) -> None:
        self._text(element.text)
        for child in element:
            if isinstance(child.tag, str):
                self.visit(child, depth + 1)
            self._text(child.tail)

    def _text(self, text: str | None) -> None:
        if not text:
            return
        if self._escape_dollars and text.count("$") == 1:
            text = text.replace("$", r"\$")
        if _RAW_DISPLAY.search(text):
            # The author's line breaks inside a formula stay: `\\\\` ends a row there.
            text = re.sub(r"\s*\n\s*", "\n", text)
            self._inline.append(re.sub(r"[ \t\r\f\xa0]+", " ", text))
        else:
            self._inline.append(re.sub(r"[ \t\r\n\f\xa0]+", " ", text))

    def _flush(self) -> None:
        text = _squeeze("".join(self._inline))
        self._inline.clear()
        if text:
            self._blocks.append(delimit(text, rendered=self._rendered_math))

    def _inner(self, children: Iterable[html.HtmlElement] | html.HtmlElement, depth: int) -> _Writer:
        writer = _Writer(self._rendered_math, self._escape_dollars)
        if isinstance(children, html.HtmlElement):
            writer._children(children, depth)
        else:
            for child in children:
                writer.visit(child, depth + 1)
        return writer

    def _code(self, element: html.HtmlElement) -> None:
        text = element.get("text") or ""
        if not text.strip():
            return
        self._flush()
        longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        self._blocks.append(f"{fence}{element.get('language') or ''}\n{text}\n{fence}")

    def _formula(self, element: html.HtmlElement) -> None:
        latex = element.get("latex")
        if not latex:
            return
        if element.get("display"):
            self._flush()
            self._blocks.append(f"$$\n{latex}\n$$")
        else:
            one_line = re.sub(r"\s*\n\s*", " ", latex)
            self._inline.append(f"${one_line}$")

    def _heading(self, element: html.HtmlElement, depth: int) -> None:
        self._flush()
        text = self._inner(element, depth).finish().replace("\n\n", " ").replace("\n", " ")
        text = text.strip(" ¶#").removesuffix("[edit]").strip()
        if text:
            self._blocks.append(f"{'#' * int(element.tag[1])} {text}")

    def _list(self, element: html.HtmlElement, depth: int) -> None:
        self._flush()
        number = int(element.get("start") or 1) if (element.get("start") or "1").isdigit() else 1
        items: list[str] = []
        for child in element:
            if not isinstance(child.tag, str):
                continue
            text = (self._inner(child, depth + 1) if child.tag == "li" else self._inner([child], depth)).finish()
            if not text.strip():
                continue
            marker = f"{number}. " if element.tag == "ol" else "- "
            number += 1
            items.append(marker + _indent(text, " " * len(marker)))
        if items:
            self._blocks.append(("\n\n" if any("\n\n" in item for item in items) else "\n").join(items))

    def _nested(self, element: html.HtmlElement, depth: int, first: str, rest: str) -> None:
        self._flush()
        text = self._inner(element, depth).finish()
        if text:
            # Forums lay posts out in `blockquote`; and a fence is only exact without marks in front.
            quoted = text if "```" in text else first + text.replace("\n", f"\n{rest}")
            self._blocks.append(quoted)

    def _table(self, element: html.HtmlElement, depth: int) -> None:
        self._flush()
        rows = [row for row in element.iter("tr") if next(row.iterancestors("table")) is element]
        cells = [[cell for cell in row if cell.tag in ("td", "th")] for row in rows]
        width = max((len(row) for row in cells), default=0)
        if width < 2 or len(rows) < 2 or element.get("role") == "presentation" or element.find(".//table") is not None:
            self._loose_table(element, depth)
            return
        texts = [[self._inner(cell, depth + 2).finish() for cell in row] for row in cells]
        if any("```" in text or text.count("\n\n") > 2 or len(text) > 600 for row in texts for text in row):
            self._loose_table(element, depth)
            return
        flat = [
            [
                re.sub(r"\s*\n\s*", " ", text).replace("|", r"\|")
                if "$" not in text
                else re.sub(r"\s*\n\s*", " ", text)
                for text in row
            ]
            for row in texts
        ]
        flat = [row + [""] * (width - len(row)) for row in flat if any(row)]
        if not flat:
            return
        caption = element.find("caption")
        if caption is not None:
            self._children(caption, depth)
            self._flush()
        lines = ["| " + " | ".join(row) + " |" for row in flat]
        lines.insert(1, "|" + " --- |" * width)
        self._blocks.append("\n".join(lines))

    def _loose_table(self, element: html.HtmlElement, depth: int) -> None:
        """A table that only lays out the page: its cells one after the other."""
        self._children(element, depth)
        self._flush()

    def _inline_code(self, element: html.HtmlElement) -> None:
        text = re.sub(r"\s+", " ", "".join(element.itertext())).strip()
        if text:
            fence = "``" if "`" in text else "`"
            self._inline.append(f"{fence}{text}{fence}")

    def _script(self, element: html.HtmlElement, depth: int) -> None:
        text = self._inner(element, depth).finish()
        classes = element.get("class") or ""
        link = element.find(".//a")
        if not text or "reference" in classes or "footnote" in classes:
            return
        if link is not None and re.fullmatch(r"\[?[\w\s]{1,8}\]?", text) and (link.get("href") or "").startswith("#"):
            return
        raised = element.tag == "sup"
        table = _SUPERSCRIPT if raised else _SUBSCRIPT
        if all(ord(letter) in table for letter in text):
            self._inline.append(text.translate(table))
        elif raised and text.lower() in ("st", "nd", "rd", "th", "tm", "®", "™", "o", "a"):
            self._inline.append(text)
        else:
            self._inline.append(("^" if raised else "_") + (text if len(text) == 1 else f"({text})"))

    def _emphasis(self, element: html.HtmlElement, depth: int, mark: str) -> None:
        if any(
            child.tag in _BLOCKS or child.tag in (CODE_TAG, "br") for child in element.iter() if child is not element
        ):
            self._children(element, depth)
            return
        outer, self._inline = self._inline, []
        self._children(element, depth)
        text = "".join(self._inline)
        self._inline = outer
        body = text.strip()
        # Raw delimiters in the text may span this element: a mark inside a formula would change it.
        if not body or re.search(r"\\[()\[\]]|\$", body) or not re.search(r"\w", body):
            self._inline.append(text)
            return
        lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        self._inline.append(f"{lead}{mark}{body}{mark}{trail}")


def _squeeze(text: str) -> str:
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", text)).strip()


def _indent(text: str, prefix: str) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(prefix + line if line else line for line in rest)])
