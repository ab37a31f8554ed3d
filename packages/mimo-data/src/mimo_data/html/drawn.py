"""What the readers of drawn formulas share: small MathML to build, and signs that are drawn in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import etree

MAX_DEPTH = 150


def classes(element: etree._Element) -> list[str]:
    names = element.get("class") or ""
    # KaTeX 0.17 gives its plainest names a prefix.
    return [name.removeprefix("katex-") for name in names.split()]


def row(tag: str, children: Iterable[etree._Element]) -> etree._Element:
    row = etree.Element(tag)
    row.extend(children)
    return row


def one(children: list[etree._Element]) -> etree._Element:
    return children[0] if len(children) == 1 else row("mrow", children)


def text_element(tag: str, text: str) -> etree._Element:
    element = etree.Element(tag)
    element.text = text
    return element


# What the pieces of a tall or wide sign begin with, each renderer's own among them.
_PIECES = {
    "⎛": "(", "⎝": "(", "⎜": "(", "⎞": ")", "⎠": ")", "⎟": ")", "⎡": "[", "⎣": "[", "⎢": "[", "⎤": "]", "⎦": "]",
    "⎥": "]", "⎧": "{", "⎨": "{", "⎩": "{", "⎪": "{", "⎫": "}", "⎬": "}", "⎭": "}", "∣": "|", "|": "|", "∥": "‖",
    "¯": "¯", "–": "–", "\ue150": "⏞", "\ue152": "⏟",
}  # fmt: skip
_ARROW = re.compile(r"[-−–]*([→←↔])[-−–]*")


def whole_sign(text: str) -> str:
    """The sign that is drawn in pieces, or that stands for one that looks like it."""
    if arrow := _ARROW.fullmatch(text):
        return arrow[1]
    if text == "∥":
        return "‖"
    return _PIECES.get(text[0], text) if len(text) > 1 else text


def style(element: etree._Element, name: str) -> str:
    """A property's value, "" where the element's own style does not have it."""
    found = re.search(rf"(?:^|;)\s*{name}:\s*([^;]+)", element.get("style") or "")
    return found[1].strip() if found else ""


def scripted(
    kind: str, base: etree._Element, below: etree._Element | None, above: etree._Element | None
) -> etree._Element:
    under, over = ("munder", "mover") if kind == "munderover" else ("msub", "msup")
    if below is None or above is None:
        script = above if below is None else below
        return base if script is None else row(over if below is None else under, [base, script])
    return row(kind, [base, below, above])
