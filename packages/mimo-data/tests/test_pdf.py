from __future__ import annotations

import sys

import pytest

from mimo_data import extract_pdf
from mimo_data.pdf.prose import join_lines
from mimo_data.run import DataError

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")


def pdf(*pages: list[tuple[float, float, str, str]], **save: object) -> bytes:
    """Pages of (x, y, font, line)."""
    document = pymupdf.open()
    for lines in pages:
        page = document.new_page(width=600, height=800)
        for x, y, font, line in lines:
            page.insert_text((x, y), line, fontname=font, fontsize=16 if font == "hebo" else 10)
    return document.tobytes(**save)


def column(x: float, y: float, lines: list[str], font: str = "helv") -> list[tuple[float, float, str, str]]:
    return [(x, y + 12 * number, font, line) for number, line in enumerate(lines)]


def test_lines_are_joined_and_broken_words_made_whole():
    data = pdf(column(72, 100, ["A paragraph goes over sev-", "eral lines and is joined", "to one."]))
    assert extract_pdf(data) == "A paragraph goes over several lines and is joined to one."


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [("при прибли-", "жения", "при приближения"), ("the KL-", "divergence", "the KL-divergence"), ("a", "b", "a b")],
)
def test_words_broken_at_the_end_of_a_line_are_whole_in_any_alphabet(first, second, joined):
    assert join_lines(first, second) == joined


def test_a_compound_that_stands_in_a_line_elsewhere_keeps_its_hyphen_at_a_line_s_end():
    lines = [
        "A near-perfect model is what the first line of this text is about, a near-",
        "perfect one, and its imple-",
    ]
    text = extract_pdf(pdf(column(72, 100, [*lines, "mentation in a state-of-the-art system."])))
    assert "a near-perfect one, and its implementation in" in text


def test_typewriter_text_is_fenced_with_its_indentation_and_blank_lines():
    lines = ["def f(x):", "    if x:", "", "        return 1", "    return 2"]
    placed = [
        (72 + 6 * (len(line) - len(line.lstrip())), 200 + 12 * n, "cour", line.strip())
        for n, line in enumerate(lines)
        if line
    ]
    data = pdf([*column(72, 100, ["Here is the code of the program."]), *placed])
    assert extract_pdf(data) == "Here is the code of the program.\n\n```\n" + "\n".join(lines) + "\n```"


def test_small_numbers_before_the_lines_of_a_listing_are_left_out():
    document = pymupdf.open()
    page = document.new_page(width=600, height=800)
    lines = ["int f(int x) {", "    x++;", "    x--;", "", "    return x;", "}"]
    for number, line in enumerate(lines):
        page.insert_text((60, 200 + 12 * number), str(number + 1), fontname="helv", fontsize=6)
        indent = 6 * (len(line) - len(line.lstrip()))
        page.insert_text((72 + indent, 200 + 12 * number), line.strip(), fontname="cour", fontsize=10)
    assert extract_pdf(document.tobytes()) == "\n".join(["```", *lines, "```"])


def test_the_left_column_is_read_before_the_right_one():
    left = [f"Left column line {number} with enough words" for number in range(8)]
    right = [f"Right column line {number} with enough words" for number in range(8)]
    data = pdf([line for pair in zip(column(50, 100, left), column(320, 100, right), strict=True) for line in pair])
    text = extract_pdf(data)
    assert text.index("Left column line 7") < text.index("Right column line 0")


def test_large_lines_are_headings():
    data = pdf([(72, 100, "hebo", "Introduction"), *column(72, 140, ["Some text of the usual size, and more of it."])])
    assert extract_pdf(data).startswith("## Introduction\n\nSome text")


def test_page_numbers_and_running_heads_are_left_out():
    pages = [
        [(72, 40, "helv", f"Chapter One {number}"), *column(72, 300, [f"Page {number} has this sentence."])]
        for number in range(7, 11)
    ]
    assert "Chapter" not in extract_pdf(pdf(*pages))


def test_latex_in_the_text_stays():
    assert (
        extract_pdf(pdf(column(72, 100, [r"Let $x_1 \leq \frac{1}{2}$ be given."])))
        == r"Let $x_1 \leq \frac{1}{2}$ be given."
    )


def test_a_page_without_text_gives_none():
    assert extract_pdf(pdf([])) == ""


@pytest.mark.parametrize("data", [b"", b"not a PDF", b"%PDF-1.7\n%%EOF"])
def test_a_damaged_file_says_so(data):
    with pytest.raises(DataError, match="not a readable PDF"):
        extract_pdf(data)


def test_a_file_with_a_password_says_so():
    data = pdf(column(72, 100, ["secret"]), encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="x", owner_pw="y")
    with pytest.raises(DataError, match="password"):
        extract_pdf(data)


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymupdf", None)
    with pytest.raises(DataError, match=r"pip install 'mimo-data\[pdf\]'"):
        extract_pdf(b"")


def test_lines_of_chinese_are_joined_without_blanks():
    data = pdf(column(72, 100, ["数学与代码的页面", "应当完整地保留"], font="china-s"))
    assert extract_pdf(data) == "数学与代码的页面应当完整地保留"


def test_lines_far_apart_throughout_are_one_paragraph():
    data = pdf(
        [
            (72, 100 + 19 * number, "helv", line)
            for number, line in enumerate(["A text set with", "wide leading is", "one text."])
        ]
    )
    assert extract_pdf(data) == "A text set with wide leading is one text."


def test_numbered_lines_of_an_algorithm_are_lines():
    lines = [("1:", 84, "for all nodes of the tree do"), ("2:", 94, "visit the node"), ("3:", 84, "end for")]
    data = pdf([line for n, (number, x, text) in enumerate(lines) for line in (
        (72, 100 + 12 * n, "helv", number), (x, 100 + 12 * n, "helv", text)
    )])  # fmt: skip
    assert extract_pdf(data) == "1: for all nodes of the tree do\n\n2: visit the node\n\n3: end for"


def test_items_whose_marks_stand_apart_without_a_blank_are_items():
    items = ["one item of the list", "another item"]
    marks = [(72, 160 + 14 * number, "symb", "\xb7") for number in range(2)]
    texts = [(86, 160 + 14 * number, "helv", item) for number, item in enumerate(items)]
    data = pdf([*column(72, 100, ["Some words stand above the list of this page."]), *marks, *texts])
    assert extract_pdf(data).endswith("- one item of the list\n\n- another item")


@pytest.mark.parametrize(
    ("place", "font", "character"),
    [
        (0xF061, "ABCDEF+SymbolMT", "α"),
        (0xF0CE, "Symbol", "∈"),
        (0xF0B7, "Symbol", "•"),
        (0xF0E5, "Symbol", "∑"),
        (0xF0FE, "Symbol", "⎭"),
        (0xF0D8, "Wingdings-Regular", "•"),
        (0xF0E0, "Wingdings", "→"),
        (0xF061, "Frutiger", "\uf061"),
    ],
)
def test_private_characters_of_symbol_fonts_are_what_the_font_draws(place, font, character):
    from mimo_data.pdf.fonts import font_of

    assert font_of(font, 0).read(chr(place)) == (character, 0.0)
