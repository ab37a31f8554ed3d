"""PDF to Markdown through the text layer: reading order, paragraphs, headings and code.

The only module that uses PyMuPDF, whose licence is the AGPL: hence the extra `pdf`. Covers one- and
two-column pages; formulas come out as the characters that the fonts give (LaTeX that stands in the text
stays as it is), tables as their cells' text, and a scanned page without a text layer gives nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mimo_data.run import DataError

_MONOSPACED = re.compile(
    r"mono|courier|consol|typewriter|cmtt|cmsltt|cmitt|menlo|inconsolata|fira ?code|txtt|pcr[rbo]|code", re.IGNORECASE
)
_MONOSPACED_FLAG = 8
_NUMBER = re.compile(r"(?:page\s+)?[\divxlc]+(?:\s+of\s+\d+)?", re.IGNORECASE)
_EDGE_NUMBER = re.compile(r"^(\d{1,4})\s+\D|\D\s+(\d{1,4})$")
# What typewriter fonts name quotes, and what the author typed.
_TYPEWRITER = str.maketrans("’‘“”−", '\'`""-')
_END = re.compile(r"[.!?:;»”\"')\]}]\s*$")


class PdfError(DataError):
    """A file that is not a readable PDF.

    Attributes:
        reason: `broken` or `encrypted`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class _Line:
    """One line of a page; coordinates in points from the top left."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    code: bool
    advance: float
    """Mean width of a character."""
    block: int


def extract_pdf(data: bytes) -> str:
    """The text of a PDF file as Markdown; "" when it has no text layer.

    Raises:
        PdfError: the file is damaged or needs a password.
        DataError: PyMuPDF is not installed.
    """
    try:
        import pymupdf
    except ImportError:
        raise DataError("reading PDF needs PyMuPDF. Run `pip install 'mimo-data[pdf]'`.") from None
    pymupdf.TOOLS.mupdf_display_errors(False)  # type: ignore[no-untyped-call]
    pymupdf.TOOLS.mupdf_display_warnings(False)  # type: ignore[no-untyped-call]
    try:
        with pymupdf.open(stream=data, filetype="pdf") as document:  # type: ignore[no-untyped-call]
            if document.needs_pass:
                raise PdfError("encrypted", "the PDF needs a password. Decrypt it, or leave it out.")
            flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP
            pages = [
                (_lines(page.get_text("dict", flags=flags)), page.rect.width, page.rect.height) for page in document
            ]
    except PdfError:
        raise
    except Exception as error:  # MuPDF's errors have no common base but RuntimeError and ValueError
        raise PdfError("broken", f"not a readable PDF: {error}. Get the file again.") from None
    heads = _running_heads(pages)
    first_number = _first_page_number(pages)
    body_size = _body_size([line for lines, _, _ in pages for line in lines])
    blocks: list[str] = []
    for index, (lines, width, height) in enumerate(pages):
        number = None if first_number is None else first_number + index
        kept = [line for line in lines if not _is_margin(line, height, heads, number)]
        page_blocks = _page_blocks(_reading_order(kept, width), body_size)
        if blocks and page_blocks and blocks[-1].endswith("\n```") and page_blocks[0].startswith("```\n"):
            blocks[-1] = blocks[-1].removesuffix("```") + page_blocks.pop(0).removeprefix("```\n")
        elif blocks and page_blocks and _continues(blocks[-1], page_blocks[0]):
            blocks[-1] = _join(blocks[-1], page_blocks.pop(0))
        blocks += page_blocks
    return "\n\n".join(blocks)


def _lines(page: dict[str, object]) -> list[_Line]:
    """Horizontal lines of a page; pieces of one line that the file writes apart are one."""
    found: list[_Line] = []
    blocks = page["blocks"]
    assert isinstance(blocks, list)
    for number, block in enumerate(blocks):
        for line in block.get("lines", ()):
            spans = [span for span in line["spans"] if span["text"]]
            text = "".join(span["text"] for span in spans)
            if not text.strip() or abs(line["dir"][0]) < 0.9:
                continue
            visible = [span for span in spans if span["text"].strip()]
            num_code = sum(len(span["text"].strip()) for span in visible if _is_monospaced(span))
            num_all = sum(len(span["text"].strip()) for span in visible)
            largest = max(visible, key=lambda span: len(span["text"]))
            x0, y0, x1, y1 = line["bbox"]
            lead = len(text) - len(text.lstrip())
            advance = (x1 - x0) / max(1, len(text.rstrip()))
            piece = _Line(
                text.strip(),
                x0 + lead * advance,
                y0,
                x1,
                y1,
                largest["size"],
                num_code >= 0.9 * num_all,
                advance,
                number,
            )
            last = found[-1] if found else None
            if last and last.block == number and _same_line(last, piece):
                found[-1] = _merge(last, piece)
            else:
                found.append(piece)
    return found


def _is_monospaced(span: dict[str, object]) -> bool:
    flags = span["flags"]
    assert isinstance(flags, int)
    return bool(flags & _MONOSPACED_FLAG) or bool(_MONOSPACED.search(str(span["font"])))


def _same_line(a: _Line, b: _Line) -> bool:
    overlap = min(a.y1, b.y1) - max(a.y0, b.y0)
    # A wide gap in prose is the space between columns.
    near = b.x0 - a.x1 < 2 * a.size or (a.code and b.code)
    return near and overlap > 0.5 * min(a.y1 - a.y0, b.y1 - b.y0) and b.x0 >= a.x1 - 1


def _merge(a: _Line, b: _Line) -> _Line:
    gap = b.x0 - a.x1
    code = a.code and b.code
    spaces = " " * max(1, round(gap / a.advance)) if code else (" " if gap > 0.15 * a.size else "")
    return _Line(
        a.text + spaces + b.text,
        a.x0,
        min(a.y0, b.y0),
        b.x1,
        max(a.y1, b.y1),
        max(a.size, b.size),
        code,
        a.advance,
        a.block,
    )


def _body_size(lines: Sequence[_Line]) -> float:
    sizes: Counter[float] = Counter()
    for line in lines:
        if not line.code:
            sizes[round(line.size * 2) / 2] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 10.0


def _running_heads(pages: Sequence[tuple[list[_Line], float, float]]) -> set[str]:
    """Texts that stand in the margin of three pages or more, numbers aside."""
    seen: Counter[str] = Counter()
    for lines, _, height in pages:
        seen.update({_without_numbers(line.text) for line in lines if _in_margin(line, height)})
    return {text for text, count in seen.items() if count >= 3}


def _in_margin(line: _Line, height: float) -> bool:
    return line.y1 < 0.1 * height or line.y0 > 0.9 * height


def _without_numbers(text: str) -> str:
    return re.sub(r"[\d\s]+", "", text)


def _first_page_number(pages: Sequence[tuple[list[_Line], float, float]]) -> int | None:
    """The number printed on the first page, told from three heads or more that count up with the pages."""
    offsets = Counter(
        number - index
        for index, (lines, _, height) in enumerate(pages)
        for number in {_edge_number(line.text) for line in lines if _in_margin(line, height)} - {None}
        if number is not None
    )
    common = offsets.most_common(1)
    return common[0][0] if common and common[0][1] >= 3 else None


def _edge_number(text: str) -> int | None:
    found = _EDGE_NUMBER.search(text) if len(text) < 120 else None
    return int(found[1] or found[2]) if found else None


def _is_margin(line: _Line, height: float, heads: set[str], page_number: int | None) -> bool:
    if not _in_margin(line, height):
        return False
    if page_number is not None and _edge_number(line.text) == page_number:
        return True
    return bool(_NUMBER.fullmatch(line.text.strip("-–— |"))) or _without_numbers(line.text) in heads


def _reading_order(lines: list[_Line], width: float) -> list[_Line]:
    """Top to bottom; where a page has two columns, the left one of each band before the right one."""
    middle = width / 2
    left = [line for line in lines if line.x1 < middle + 0.02 * width]
    right = [line for line in lines if line.x0 > middle - 0.02 * width]
    wide = len(lines) - len(left) - len(right)
    # Beside each other, not one after the other: a list of short lines is no column.
    beside = sum(1 for a in right if any(a.y0 < b.y1 and b.y0 < a.y1 for b in left))
    narrow = [line for line in left + right if line.x1 - line.x0 > 0.25 * width]
    if (
        len(right) < 5
        or len(left) < 5
        or wide > 0.4 * len(lines)
        or beside < 0.5 * len(right)
        or len(narrow) < 0.3 * len(lines)
    ):
        return lines
    ordered: list[_Line] = []
    band: list[_Line] = []
    for line in sorted(lines, key=lambda line: (line.y0, line.x0)):
        if line.x1 < middle + 0.02 * width or line.x0 > middle - 0.02 * width:
            band.append(line)
        else:
            ordered += _columns(band, middle, width)
            band = []
            ordered.append(line)
    return ordered + _columns(band, middle, width)


def _columns(band: list[_Line], middle: float, width: float) -> list[_Line]:
    in_left = [line for line in band if line.x1 < middle + 0.02 * width]
    in_right = [line for line in band if line.x1 >= middle + 0.02 * width]
    return in_left + in_right


def _page_blocks(lines: list[_Line], body_size: float) -> list[str]:
    """Paragraphs, headings and fenced code, from lines in reading order."""
    blocks: list[str] = []
    group: list[_Line] = []
    for line in lines:
        if group and not _belongs(group[-1], line):
            blocks.append(_block(group, body_size))
            group = []
        group.append(line)
    if group:
        blocks.append(_block(group, body_size))
    return [block for block in blocks if block]


def _belongs(last: _Line, line: _Line) -> bool:
    """Whether a line goes on where the last one stopped."""
    if last.code != line.code:
        return False
    gap = line.y0 - last.y1
    height = last.y1 - last.y0
    if last.code:
        return -0.5 * height < gap < 2.5 * height
    if abs(last.size - line.size) > 0.12 * last.size:
        return False
    if line.block != last.block and (gap > 0.6 * height or gap < -height):
        return False
    # A first line that is indented starts a paragraph, if the one before it ended one.
    indented = 0.8 * line.size < line.x0 - last.x0 < 5 * line.size
    return not (indented and _END.search(last.text) and gap > -0.5 * height)


def _block(group: list[_Line], body_size: float) -> str:
    if group[0].code:
        return _code(group)
    text = group[0].text
    for line in group[1:]:
        text = _join(text, line.text)
    text = re.sub(r"[ \t\xa0]+", " ", text).strip()
    if group[0].size > 1.12 * body_size and len(text) < 150 and re.search(r"[^\W\d]", text):
        return f"{'#' if group[0].size > 1.6 * body_size else '##'} {text}"
    return text


def _code(group: list[_Line]) -> str:
    """A fenced block; indentation and blank lines are measured from positions."""
    if len(group) == 1 and len(group[0].text) < 3:
        return group[0].text
    left = min(line.x0 for line in group)
    advance = sorted(line.advance for line in group)[len(group) // 2]
    steps = sorted(b.y0 - a.y0 for a, b in pairwise(group) if b.y0 - a.y0 > 1)
    pitch = steps[len(steps) // 2] if steps else 1.0
    rows: list[str] = []
    for number, line in enumerate(group):
        if number:
            rows += [""] * max(0, round((line.y0 - group[number - 1].y0) / pitch) - 1)
        rows.append(" " * round((line.x0 - left) / advance) + line.text.translate(_TYPEWRITER))
    return "```\n" + "\n".join(rows) + "\n```"


def _join(text: str, rest: str) -> str:
    """Two pieces of one paragraph; a word broken at the line's end becomes whole."""
    if re.search(r"[^\W\d_]-$", text) and re.match(r"[a-zß-ÿ]", rest):
        return text[:-1] + rest
    if text.endswith("\xad"):
        return text[:-1] + rest
    return f"{text} {rest}"


def _continues(last: str, first: str) -> bool:
    """Whether a page's first block goes on with the paragraph that the page before broke off."""
    if last.startswith(("#", "```")) or first.startswith(("#", "```")):
        return False
    return not _END.search(last) and first[:1].islower()
