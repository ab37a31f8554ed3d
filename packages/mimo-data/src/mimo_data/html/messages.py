"""Messages that a tracker of bugs or the archive of a mailing list shows in a `pre`, line by line as they were sent.

They are prose with code in it: paragraphs of indented lines and patches are code, the others keep their lines.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

from lxml import etree

from mimo_data.html.codetext import CODE_TAG

_MESSAGE = re.compile(r"(?:^|[\s_-])(?:comment|message|email|mail)[_-](?:text|body|content)(?:$|\s)", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_INDENTED = re.compile(r"(?: {2,}|\t)\s*\S")
_PATCH = re.compile(r"diff --git |Index: |--- \S+.*\n\+\+\+ |@@ -")
_PATCH_LINE = re.compile(
    r"[ +\-@\\]|diff |index |Index: |=+$|(?:new|deleted|old) (?:file )?mode |(?:rename|similarity) |$"
)


def is_message(pre: etree._Element) -> bool:
    """A `pre` that is named as a message's text, or stands below its sender's address as in the archives of Mailman."""
    if _MESSAGE.search(pre.get("class") or ""):
        return True
    parent = pre.getparent()
    if parent is None or parent.tag != "body":
        return False
    return any((link.get("href") or "").startswith("mailto:") for link in pre.itersiblings("a", preceding=True))


def split_message(pre: etree._Element) -> None:
    """Makes a `div` of the `pre`, with a `p` or an `x-code` for each stretch of prose or code."""
    text = "".join(pre.itertext()).replace("\r", "")
    pre[:] = []
    pre.text = None
    pre.tag = "div"
    for is_code, stretch in _stretches(text):
        if is_code:
            etree.SubElement(pre, CODE_TAG, text=textwrap.dedent(stretch), language="")
            continue
        for paragraph in _BLANK_LINES.split(stretch):
            first, *lines = paragraph.split("\n")
            element = etree.SubElement(pre, "p")
            element.text = first
            for line in lines:
                etree.SubElement(element, "br").tail = line


def _stretches(text: str) -> Iterator[tuple[bool, str]]:
    """Prose and code in turn, each with whether it is code."""
    stretch: list[str] = []
    in_code = in_patch = False
    # The lines of a paragraph, or those between two.
    for is_blank, group in groupby(text.split("\n"), key=lambda line: not line.strip()):
        lines = list(group)
        if not is_blank:
            in_patch = bool(_PATCH.match("\n".join(lines[:2]))) or (in_patch and all(map(_PATCH_LINE.match, lines)))
            is_code = in_patch or all(map(_INDENTED.match, lines))
            if is_code is not in_code and stretch:
                yield in_code, "\n".join(stretch).strip("\n")
                stretch = []
            in_code = is_code
        if stretch or not is_blank:
            stretch += lines
    if stretch:
        yield in_code, "\n".join(stretch).strip("\n")
