"""What is not worth training on is dropped: by its tag, by a few loose measures, by other people's rules if asked for.

The report tags with small language models because rules drop mathematics and code (§2.1). The measures here are
therefore few and loose, and look at prose only: formulas and fenced code are never counted against a page. The usual
rules, which do count them, are in `heuristics.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mimo_data.documents import Document
from mimo_data.heuristics import RuleSet, findings
from mimo_data.run import DataError, Record
from mimo_data.settings import MOST_COUNT, check_numbers

_FENCE = re.compile(r"^[ \t>]*(`{3,})[^\n]*\n.*?^[ \t>]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_DISPLAY = re.compile(r"\$\$.+?\$\$", re.DOTALL)
_INLINE = re.compile(r"\$[^$\n]+\$")
# ASCII's letters are counted as bytes, a hundred times as fast as characters.
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())
_SPACES = bytes(code for code in range(128) if chr(code).isspace())
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

    min_quality: int = 1
    """Least value of the tag `quality`; less is `low_quality`. A document without the tag is not judged by it."""
    heuristics: tuple[RuleSet, ...] = ()
    """Sets of the usual rules to apply besides, whose names are the reasons; `tag-report` counts their harm."""

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("min_text_share", "max_link_share", "max_repeated_share"), (0, 1))
        check_numbers(self, min_characters=(0, MOST_COUNT), **shares)


def why_dropped(document: Document, recipe: FilterRecipe) -> tuple[str, str] | None:
    """Reason code and measure if the document is to be dropped, else None.

    Raises:
        DataError: its tag `quality` is not a number.
    """
    quality = document.tags.get("quality")
    if quality is not None and _level(document, quality) < recipe.min_quality:
        return "low_quality", f"quality {quality}"
    for finding in findings(document.text, recipe.heuristics):
        return finding.rule, f"{finding.value:.3g}"
    num_characters = _alphanumeric(document.text)
    if num_characters < recipe.min_characters:
        return "too_short", f"{num_characters} letters and digits"
    prose = _prose(document.text)
    dense = _dense(prose)
    # A page of little else than formulas and code has no prose to judge.
    if dense < recipe.min_characters:
        return None
    has_address = "://" in prose or "www." in prose
    share = sum(map(len, _ADDRESS.findall(prose))) / dense if has_address else 0.0
    if share > recipe.max_link_share:
        return "links", f"{share:.2f} of the prose"
    share = _alphanumeric(prose) / dense
    if share < recipe.min_text_share:
        return "not_text", f"{share:.2f} letters and digits"
    share = _repeated(prose) / dense
    if share > recipe.max_repeated_share:
        return "repeated_lines", f"{share:.2f} of the prose"
    return None


def _level(document: Document, quality: str) -> int:
    try:
        return int(quality)
    except ValueError:
        raise DataError(
            f"{document.id}: the tag quality is {quality!r}, which is no level. Tag with `mimo-data tag`."
        ) from None


def _prose(text: str) -> str:
    """The text without code and formulas."""
    if "```" in text:
        text = _FENCE.sub(" ", text)
    return _INLINE.sub(" ", _DISPLAY.sub(" ", text)) if "$" in text else text


def _alphanumeric(text: str) -> int:
    return _count(text, _NOT_ALPHANUMERIC, str.isalnum)


def _dense(text: str) -> int:
    return _count(text, _SPACES, lambda letter: not letter.isspace())


def _count(text: str, left_out: bytes, counts: Callable[[str], bool]) -> int:
    """How many characters are not left out, of those of ASCII, and count, of the others."""
    plain = text.encode("ascii", "ignore")
    count = len(plain.translate(None, left_out))
    if len(plain) < len(text):
        count += sum(map(counts, "".join(_BEYOND_ASCII.findall(text))))
    return count


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
