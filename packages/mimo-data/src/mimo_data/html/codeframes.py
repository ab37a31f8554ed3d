"""What stands around a code block and says nothing of its own: numbers beside it, its language or "Code:" above it, and
copies of the listing that a script made.
"""

from __future__ import annotations

import json
import re

from lxml import etree

from mimo_data.html.codetext import names_gutter

_LABEL = re.compile(
    r"(?:source |python |php |html )?(?:code|quellcode|代码|代碼)(?: snippet)?\s*[:：]?"
    r"|(?:in|out)\s*\[[\d\s*]*\]\s*:?",
    re.IGNORECASE,
)
_BUTTON = re.compile(
    r"[\[(]?\s*(?:select(?: all)?|copy(?: code)?|expand|collapse|download|复制代码|复制)\s*[\])]?", re.IGNORECASE
)
# What forum programs and notebooks call the line above a block.
_LABEL_NAMES = frozenset([
    "bbCodeBlock-title", "bbcode_description", "codeheader", "codehead", "input_prompt", "output_prompt",
    "jp-InputPrompt", "jp-OutputPrompt",
])  # fmt: skip
_MAX_LABEL_CHARACTERS = 60
_MAX_LEVELS = 5


def tidy_frames(root: etree._Element) -> None:
    """Takes the numbers, languages and copies away that would stand as text beside the code blocks below `root`."""
    # SyntaxHighlighter 1 reads its listings there.
    for area in list(root.iter("textarea")):
        if area.get("name") == "code":
            area.tag = "pre"
    # Distill's articles.
    for code in root.iter("d-code", "dt-code"):
        code.tag = "code" if code.get("block") is None else "pre"
    # HeVeA's listings: its style sheet keeps the spaces.
    for table in root.iter("table"):
        if table.get("class") == "lstframe":
            etree.strip_tags(table, "tbody", "tr", "td")
            table.tag = "pre"
    for span in list(root.iter("span")):
        names = span.get("class")
        if names == "cnblogs_code_collapse" or (names in ("lang", "language-name") and _is_frame(span.getparent())):
            span.drop_tree()
        # MediaWiki's highlighter inside a line.
        elif names and names.startswith("mw-geshi"):
            span.tag = "code"
    for element in list(root.iter("div", "ul")):
        names = element.get("class")
        if not names:
            continue
        if names.startswith("enlighter-default"):
            _keep_source(element)
        elif names == "redoc-json":
            _print_tree(element)
        elif names == "CodeMirror-measure" or (
            names_gutter(names) and re.fullmatch(r"[\s\d.]+", "".join(element.itertext()))
        ):
            element.drop_tree()
    for pre in root.iter("pre"):
        _end_lines(pre)


def _end_lines(pre: etree._Element) -> None:
    """WeChat's listings have a `code` for each line, and nothing between them."""
    if len(pre) < 2 or (pre.text or "").strip() or any(line.tag != "code" for line in pre):
        return
    if any(line.tail for line in pre[:-1]):
        return
    for line in pre:
        # An empty one holds a `br`.
        if not "".join(line.itertext()).strip():
            line.clear()
        line.tail = "\n"


def _print_tree(box: etree._Element) -> None:
    """Redoc's samples are lists in lists, whose style sheet indents them."""
    try:
        sample = json.loads("".join(box.itertext()))
    except (ValueError, RecursionError):
        return
    tail = box.tail
    box.clear()
    box.tag, box.text, box.tail = "pre", json.dumps(sample, indent=2, ensure_ascii=False), tail
    box.set("class", "language-json")


def _is_frame(element: etree._Element | None) -> bool:
    """Of a block below a label with its language: VitePress's and MDN's."""
    return element is not None and (element.get("class") or "").startswith(("language-", "example-header"))


def _keep_source(drawing: etree._Element) -> None:
    """Enlighter draws a listing beside its source, which it hides; and puts a copy of the source into the drawing."""
    beside = (drawing.getprevious(), drawing.getnext())
    if any("EnlighterJSRAW" in (near.get("class") or "") for near in beside if near is not None):
        drawing.drop_tree()
        return
    copy = drawing.find(".//pre[@class='enlighter-raw']")
    if copy is not None:
        copy.tail = drawing.tail
        drawing.getparent().replace(drawing, copy)


def is_count(element: etree._Element) -> bool:
    """Whether an element holds consecutive numbers, one a line: those of the lines beside it."""
    numbers = "".join(element.itertext()).split()
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        return False
    first = int(numbers[0])
    return [int(number) for number in numbers] == list(range(first, first + len(numbers)))


def remove_label(block: etree._Element) -> None:
    """Removes what stands right above a code block and only says that there is one, or its language, or which cell of a
    notebook."""
    element = block
    for _ in range(_MAX_LEVELS):
        before, parent = element.getprevious(), element.getparent()
        if before is not None:
            if not (before.tail or "").strip() and _is_label(before, block.get("language") or ""):
                before.drop_tree()
            return
        if parent is None or (parent.text or "").strip():
            return
        element = parent


def _is_label(element: etree._Element, language: str) -> bool:
    text = ""
    for piece in element.itertext():
        text += piece
        if len(text) > _MAX_LABEL_CHARACTERS:
            return False
    if not _LABEL_NAMES.isdisjoint((element.get("class") or "").split()):
        return True
    text = _BUTTON.sub("", text).strip()
    # The bar that Butterfly and others set above a listing.
    if language and text.lower() == language:
        return element.tag in ("p", "div", "span")
    return _LABEL.fullmatch(text) is not None
