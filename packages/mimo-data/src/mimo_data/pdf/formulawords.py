"""Upright letters of a formula: names of functions, and words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mimo_data.latex import FUNCTIONS
from mimo_data.pdf.boxes import Box

TEXT = r"\text{"
"""What begins a word."""


def with_words(boxes: list[Box]) -> list[Box]:
    """Upright letters side by side become names of functions and words; three dots an ellipsis."""
    done: list[Box] = []
    words: list[Box] = []
    for box in boxes:
        # Limits below a name stand between its letters when ordered from left to right.
        last = next(
            (
                w
                for w in reversed(words[-8:])
                if abs(w.y - box.y) < 0.1 * box.size and abs(w.size - box.size) < 0.1 * box.size
            ),
            None,
        )
        gap = box.x0 - last.x1 if last else 0.0
        if (
            last
            and (box.word or box.text in tuple("-–’'"))
            and -0.2 * box.size < gap < 0.6 * box.size
            and not any(
                last.x1 - 0.5 < other.x0 < box.x0 and abs(other.y - box.y) < 0.1 * box.size
                for other in done
                if other is not last
            )
        ):
            last.latex += (" " if gap > 0.2 * box.size else "") + box.latex
            last.x1 = box.x1
            continue
        done.append(box)
        if box.word:
            words.append(box)
    for number, box in enumerate(done):
        if box.word and len(box.latex) > 1:
            box.text, box.latex = box.latex, _named(box.latex, applied=_is_applied(box, done[number + 1 :]))
        elif box.roman:
            box.latex = rf"\mathrm{{{box.latex}}}"
        # Rows are built of boxes that were parts of other rows; a word is read once.
        box.word = box.roman = False
    result: list[Box] = []
    for box in done:
        result.append(box)
        three = result[-3:]
        if (
            len(three) == 3
            and all(b.text == box.text and abs(b.y - box.y) < 1 for b in three)
            and box.text in (".", "·", "⋅")
        ) and three[2].x0 - three[0].x1 < 1.5 * box.size:
            del result[-2:]
            result[-1].x1 = box.x1
            result[-1].latex = r"\ldots" if box.text == "." else r"\cdots"
            result[-1].text = "…"
    return result


def _is_applied(word: Box, after: Sequence[Box]) -> bool:
    """Whether a bracket follows, after a subscript perhaps: the word is the name of a function."""
    end = word.x1
    for box in after:
        if box.x0 - end > 0.1 * word.size:
            return False
        if box.text in ("(", "["):
            return True
        if box.size > 0.85 * word.size or box.y < word.y:
            return False
        end = box.x1
    return False


def _named(word: str, *, applied: bool) -> str:
    if word in FUNCTIONS:
        return f"\\{word}"
    if applied and word.isalpha():
        return rf"\operatorname{{{word}}}"
    if all(part in FUNCTIONS for part in word.split()):
        return " ".join(f"\\{part}" for part in word.split())
    if repeated := re.fullmatch("(ln|log)\\1+", word):
        return f"\\{repeated[1]}" * (len(word) // len(repeated[1]))
    return f"{TEXT}{word}}}"
