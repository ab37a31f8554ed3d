"""Tables with lines around their cells, as Word and browsers draw them, and lists' marks that browsers draw."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mimo_data.pdf import extract_pdf

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

PROSE = [
    (72, 100 + 12 * line, "Some words of the usual length stand on each of these lines here.") for line in range(4)
]


def grid_page(
    texts: Sequence[tuple[float, float, str]],
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    without: Sequence[float] = (),
) -> str:
    """What a page gives after its prose: texts (x, baseline, line), and lines at each x and y.

    Args:
        without: of the xs, those that stop at the second y.
    """
    document = pymupdf.open()
    page = document.new_page(width=600, height=800)
    for x, y, text in [*PROSE, *texts]:
        page.insert_text((x, y), text, fontname="helv", fontsize=10)
    for x in xs:
        page.draw_line((x, ys[1] if x in without else ys[0]), (x, ys[-1]), width=0.5)
    for y in ys:
        page.draw_line((xs[0], y), (xs[-1], y), width=0.5)
    return extract_pdf(document.tobytes()).partition("here.\n\n")[2]


def test_lines_of_a_cell_between_rules_are_joined():
    texts = [
        (75, 212, "Name"), (195, 212, "Cost"), (75, 232, "Heap sort, which needs"), (75, 244, "no more memory"),
        (195, 232, "n log n"), (75, 264, "Quick sort"), (195, 264, "n"),
    ]  # fmt: skip
    assert grid_page(texts, [70, 190, 300], [200, 220, 252, 272]) == (
        "| Name | Cost |\n| --- | --- |\n| Heap sort, which needs no more memory | n log n |\n| Quick sort | n |"
    )


def test_lines_with_room_left_are_rows_where_no_rule_is_between():
    texts = [
        (75, 212, "Tag"), (195, 212, "Type"), (75, 232, "000"), (195, 232, "object"), (75, 244, "010"),
        (195, 244, "number"), (75, 256, "100"), (195, 256, "string"),
    ]  # fmt: skip
    assert grid_page(texts, [70, 190, 300], [200, 220, 262]) == (
        "| Tag | Type |\n| --- | --- |\n| 000 | object |\n| 010 | number |\n| 100 | string |"
    )


def test_a_cell_over_two_columns_stands_in_both():
    texts = [
        (75, 212, "Language"), (195, 212, "Score"), (75, 232, "first"), (195, 232, "0.9"), (255, 232, "0.8"),
        (75, 252, "second"), (195, 252, "0.7"), (255, 252, "0.6"),
    ]  # fmt: skip
    assert grid_page(texts, [70, 190, 250, 300], [200, 220, 240, 260], without=[250]).startswith(
        "| Language | Score | Score |\n| --- | --- | --- |\n| first | 0.9 | 0.8 |"
    )


def test_lines_that_frame_a_drawing_are_no_table():
    assert "|" not in grid_page([(75, 212, "0.5"), (195, 332, "time")], [70, 130, 190, 250], [200, 240, 280, 320, 340])


def test_marks_of_lists_that_a_browser_draws_are_bullets():
    document = pymupdf.open()
    page = document.new_page(width=600, height=800)
    lines = [(72, 200, "Use merge sort for linked lists."), (92, 215, "It is stable."), (72, 230, "Use heap sort.")]
    for x, y, text in [*PROSE, *lines]:
        page.insert_text((x, y), text, fontname="helv", fontsize=10)
    for x, y, _ in lines:
        page.draw_circle((x - 9, y - 3), 2, fill=(0, 0, 0), width=0)
    document.set_metadata({"producer": "Skia/PDF m140"})
    assert extract_pdf(document.tobytes()).endswith(
        "here.\n\n- Use merge sort for linked lists.\n\n- It is stable.\n\n- Use heap sort."
    )


def test_a_line_across_a_frame_is_no_bar_of_a_fraction():
    page = pymupdf.open().new_page(width=600, height=800)
    for y, text in ((200, "Java / C / C++"), (212, "char a, b, c, d;")):
        page.insert_text((240 - pymupdf.get_text_length(text, fontsize=10) / 2, y), text, fontsize=10)
    page.draw_line((200, 203), (280, 203), width=0.4)
    for x in (200, 280):
        page.draw_line((x, 190), (x, 220), width=0.4)
    assert extract_pdf(page.parent.tobytes()) == "Java / C / C++ char a, b, c, d;"


def test_squares_below_each_other_before_words_are_bullets():
    page = pymupdf.open().new_page(width=600, height=800)
    lines = ["Use merge sort for linked lists.", "It is stable.", "Use heap sort."]
    for number, text in enumerate(lines):
        page.insert_text((72, 200 + 15 * number), text, fontname="helv", fontsize=10)
        page.draw_rect((60, 194.5 + 15 * number, 64, 198.5 + 15 * number), fill=(0, 0, 1), color=None)
    assert extract_pdf(page.parent.tobytes()) == "\n\n".join(f"- {line}" for line in lines)


def test_a_list_above_a_table_is_no_part_of_it():
    document = pymupdf.open()
    page = document.new_page(width=600, height=800)
    cells = [(72, "mass"), (172, "3.5"), (272, "kg")], [(72, "length"), (172, "2"), (272, "m")]
    items = [(86, 160, "one item of the list"), (86, 174, "another item")]
    rows = [(x, 192 + 14 * number, text) for number, row in enumerate(cells) for x, text in row]
    for x, y, text in [*PROSE, *items, *rows]:
        page.insert_text((x, y), text, fontname="helv", fontsize=10)
    for _, y, _ in items:
        page.insert_text((72, y), "\xb7", fontname="symb", fontsize=10)
    for y in (182, 210):
        page.draw_line((72, y), (330, y), width=0.5)
    markdown = extract_pdf(document.tobytes()).partition("here.\n\n")[2]
    assert (
        markdown
        == "- one item of the list\n\n- another item\n\n| mass | 3.5 | kg |\n| --- | --- | --- |\n| length | 2 | m |"
    )
