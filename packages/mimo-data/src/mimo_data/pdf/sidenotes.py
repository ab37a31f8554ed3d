"""Notes in the margin beside the text, in smaller letters: they belong to no line of it."""

from __future__ import annotations

from collections.abc import Sequence

from mimo_data.pdf.textlayer import Piece

_SMALL = 0.93
"""Times the size of the text."""
_MIN_LINES = 5
"""Of text that end where the margin begins."""
_MIN_GAP, _MAX_STEP = 0.3, 1.6
"""Ems between text and note, and between the lines of a note."""
_MIN_LETTERS = 12
_MAX_WIDTH = 0.5
"""Times the text's."""


def split_off_notes(pieces: Sequence[Piece], body_size: float) -> tuple[list[Piece], list[list[Piece]]]:
    """The pieces of a page without its notes, and those of each note, from top to bottom."""
    text = [piece for piece in pieces if piece.size > _SMALL * body_size]
    small = [piece for piece in pieces if piece.size <= _SMALL * body_size]
    if not small or len(text) < _MIN_LINES:
        return list(pieces), []
    left, right = min(piece.x0 for piece in text), max(piece.x1 for piece in text)
    gap = _MIN_GAP * body_size
    beside = [piece for piece in small if piece.x0 > right + gap or piece.x1 < left - gap]
    inner = [piece for piece in small if not (piece.x0 > right + gap or piece.x1 < left - gap)]
    is_edge = sum(right - piece.x1 < 2 for piece in text) >= _MIN_LINES
    # A table or a figure is wider than the text.
    is_row = any(abs(piece.y1 - other.y1) < 0.3 * piece.size for piece in beside for other in inner)
    # A column of references is as wide.
    is_wide = any(piece.x1 - piece.x0 > _MAX_WIDTH * (right - left) for piece in beside)
    if not beside or not is_edge or is_row or is_wide:
        return list(pieces), []
    notes: list[list[Piece]] = []
    for piece in sorted(beside, key=lambda piece: (piece.x0 > right, piece.y1)):
        last = notes[-1][-1] if notes else None
        if last and 0 <= piece.y1 - last.y1 < _MAX_STEP * piece.size and (last.x0 > right) == (piece.x0 > right):
            notes[-1].append(piece)
        else:
            notes.append([piece])
    notes = [note for note in notes if sum(letter.isalpha() for p in note for letter in p.text) >= _MIN_LETTERS]
    taken = {id(piece) for note in notes for piece in note}
    return [piece for piece in pieces if id(piece) not in taken], notes
