"""Plain measures that drop what is hardly text: a stand-in until documents are tagged by a model (§2.1).

The report tags with small language models because such rules drop mathematics and code. These are
therefore few and loose, and look at prose only: formulas and fenced code are never counted against a page.
"""

from __future__ import annotations

import re

from mimo_data.documents import Document
from mimo_data.run import Record

_FENCE = re.compile(r"^[ \t>]*(`{3,})[^\n]*\n.*?^[ \t>]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_DISPLAY = re.compile(r"\$\$.+?\$\$", re.DOTALL)
_INLINE = re.compile(r"\$[^$\n]+\$")
_ADDRESS = re.compile(r"https?://\S+|www\.\S+")


class FilterRecipe(Record, frozen=True):
    """Bounds of each measure; none of them is in the report."""

    min_characters: int = 200
    """Letters and digits of the whole text, formulas and code included; fewer is `too_short`."""
    min_text_share: float = 0.5
    """Share of letters and digits among the characters of prose that are not spaces; less is `not_text`."""
    max_link_share: float = 0.3
    """Share of the prose's characters in addresses; more is `links`."""
    max_repeated_share: float = 0.5
    """Share of the prose's characters in lines that repeat an earlier line; more is `repeated_lines`."""

    def __post_init__(self) -> None:
        shares = (self.min_text_share, self.max_link_share, self.max_repeated_share)
        if self.min_characters < 0 or not all(0 <= share <= 1 for share in shares):
            raise ValueError("min_characters is at least 0 and every share lies in [0, 1]")


def why_dropped(document: Document, recipe: FilterRecipe) -> tuple[str, str] | None:
    """Reason code and measure if the document is to be dropped, else None."""
    num_characters = _alphanumeric(document.text)
    if num_characters < recipe.min_characters:
        return "too_short", f"{num_characters} letters and digits"
    prose = _INLINE.sub(" ", _DISPLAY.sub(" ", _FENCE.sub(" ", document.text)))
    dense = len("".join(prose.split()))
    # A page of little else than formulas and code has no prose to judge.
    if dense < recipe.min_characters:
        return None
    share = sum(map(len, _ADDRESS.findall(prose))) / dense
    if share > recipe.max_link_share:
        return "links", f"{share:.2f} of the prose"
    share = _alphanumeric(prose) / dense
    if share < recipe.min_text_share:
        return "not_text", f"{share:.2f} letters and digits"
    share = _repeated(prose) / dense
    if share > recipe.max_repeated_share:
        return "repeated_lines", f"{share:.2f} of the prose"
    return None


def _alphanumeric(text: str) -> int:
    return sum(map(str.isalnum, text))


def _repeated(prose: str) -> int:
    """Characters, spaces aside, in lines that have occurred before."""
    seen: set[str] = set()
    repeated = 0
    for line in prose.split("\n"):
        dense = "".join(line.split())
        if dense in seen:
            repeated += len(dense)
        seen.add(dense)
    return repeated
