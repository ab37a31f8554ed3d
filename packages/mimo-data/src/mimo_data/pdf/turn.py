"""Pages on their side or their head, set upright: places are changed as if the whole page had been turned.

What counts is how most of the text runs. PyMuPDF gives places on the page before the file's own rotation, which need
not be what sets the text upright.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

_UPRIGHT = (1, 0)


@dataclass(frozen=True, slots=True)
class Turn:
    """A quarter turn or two, or none."""

    direction: tuple[int, int]
    """Where most of the text runs to, on the page as given."""
    width: float
    height: float
    """Of the page when its text stands upright."""

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the page as given is then."""
        match self.direction:
            case (0, 1):
                return y, self.height - x
            case (0, -1):
                return self.width - y, x
            case (-1, 0):
                return self.width - x, self.height - y
        return x, y

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Where a rectangle (left, top, right, bottom) is then."""
        if self.direction == _UPRIGHT:
            return box
        (xa, ya), (xb, yb) = self.point(*box[:2]), self.point(*box[2:])
        return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)


def set_upright(content: dict[str, Any]) -> Turn:
    """Turns PyMuPDF's dictionary of a page's text, in place, and says how: what else the page draws turns with it."""
    lines = [line for block in content["blocks"] for line in block.get("lines", ())]
    lengths: Counter[tuple[int, int]] = Counter()
    for line in lines:
        x, y = line["dir"]
        lengths[round(x), round(y)] += sum([len(span.get("text") or span["chars"]) for span in line["spans"]])
    # Letters in a slant run along no side.
    common = max((d for d in lengths if 0 in d), key=lambda d: (lengths[d], d == _UPRIGHT), default=_UPRIGHT)
    width, height = content["width"], content["height"]
    turn = Turn(common, width, height) if common[1] == 0 else Turn(common, height, width)
    if common != _UPRIGHT:
        for line in lines:
            _turn(line, turn)
    return turn


def _turn(line: dict[str, Any], turn: Turn) -> None:
    (x, y), (along, down) = line["dir"], turn.direction
    line["dir"] = (x * along + y * down, y * along - x * down)
    line["bbox"] = turn.box(line["bbox"])
    for span in line["spans"]:
        for char in span.get("chars", ()):
            char["bbox"] = turn.box(char["bbox"])
            char["origin"] = turn.point(*char["origin"])
