"""A text as canonical words: the same for every way to write it that decontamination sees through.

A word is a run of letters, a single digit, or a single Han, kana, Hangul or Greek character, all in small letters
without accents. Punctuation, brackets, layout, Markdown, HTML tags and link targets vanish, and LaTeX commands that are
no letters. Digits stand alone so that `\\dfrac12`, `\\frac{1}{2}` and 1/2 are the same two. What vanished between two
words is kept where it decides what a formula says, as a mask of operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mimo_data.decontaminate import signs

if TYPE_CHECKING:
    from collections.abc import Callable

# Kinds of words.
LONG, SINGLE, DIGIT, ALONE = range(4)


@dataclass(frozen=True)
class Words:
    """The words of one text, in order."""

    hashes: NDArray[np.uint64]
    """Words are compared by these alone: of a million different ones, two agree once in 10^7 such sets."""
    starts: NDArray[np.int64]
    """First byte in the text's UTF-8."""
    ends: NDArray[np.int64]
    """The byte after the last."""
    marks: NDArray[np.uint16]
    """Operators before the word, `NEW_LINE` and `GLUED`; one entry more than words, for what follows the last."""
    kinds: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.hashes)


def read_words(data: bytes) -> Words:
    """The words of a text in UTF-8."""
    tables = _tables()
    source = np.frombuffer(data, np.uint8)
    # Prose has a word every five bytes; a text of digits alone takes the second turn.
    for room in (len(data) // 3 + 16, len(data) + 16):
        hashes, starts = np.empty(room, np.uint64), np.empty(room, np.int64)
        ends, marks, kinds = np.empty(room, np.int64), np.empty(room, np.uint16), np.empty(room, np.uint8)
        count = _scanner()(source, *tables, hashes, starts, ends, marks, kinds)
        if count >= 0:
            break
    return Words(hashes[:count], starts[:count], ends[:count], marks[: count + 1], kinds[:count])


def hash_word(word: str) -> int:
    """The hash that `read_words` gives to a word of small letters."""
    return int(read_words(word.encode()).hashes[0])


@cache
def _tables() -> tuple[NDArray[Any], ...]:
    tables = signs.sign_tables()
    return (tables.kinds, tables.folded, tables.operators, *tables.commands, *tables.entities, *tables.tags)


@cache
def _scanner() -> Callable[..., int]:
    """The compiled scanner. numba takes a second to load, and compiles once a machine."""
    from mimo_data.decontaminate.scanner import scan

    compiled: Callable[..., int] = scan
    return compiled
