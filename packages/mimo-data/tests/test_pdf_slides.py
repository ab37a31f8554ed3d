"""Slides, and pages in Chinese, whose letters are set in sizes of their own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mimo_data.pdf import extract_pdf

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

Line = tuple[float, float, float, str]
"""Left, baseline, size and text."""


def read(*pages: Sequence[Line], height: float = 800, font: str = "helv") -> str:
    document = pymupdf.open()
    for lines in pages:
        page = document.new_page(width=600, height=height)
        for x, y, size, text in lines:
            page.insert_text((x, y), text, fontname=font, fontsize=size)
    return extract_pdf(document.tobytes())


def test_the_title_of_slides_that_go_on_stays():
    pages = [
        [(40, 40, 18, title), (60, 200, 11, f"The slide says {thing} and no more.")]
        for title, things in (("Sorting", "one two three"), ("Searching", "four five six"))
        for thing in things.split()
    ]
    assert read(*pages, height=400).count("Sorting") == 3


def test_a_slide_that_the_next_one_shows_again_is_left_out():
    items = ["Merge sort is stable.", "Heap sort is not.", "Quick sort is fast."]
    pages = [[(60, 150 + 40 * n, 11, item) for n, item in enumerate(items[: end + 1])] for end in range(3)]
    assert read(*pages, height=400).split("\n\n") == items


def test_chinese_text_is_no_heading_beside_more_of_small_latin_letters():
    chinese = [(72, 100 + 20 * n, 12, "我们考虑一个函数的极限并且证明它存在而且唯一") for n in range(3)]
    latin = [(72, 200 + 12 * n, 10, "for every natural number n the value of f") for n in range(3)]
    assert "#" not in read([*chinese, *latin], font="china-s")


def test_chinese_with_larger_latin_words_is_no_heading():
    lines = [(72, 100 + 20 * n, 11, "我们考虑一个函数的极限并且证明它存在而且唯一") for n in range(4)]
    mixed = [(72, 180, 11, "这是一个关于"), (140, 180, 14, "Minecraft"), (215, 180, 11, "的问题和它的解答")]
    assert "#" not in read([*lines, *mixed], font="china-s")


def test_an_indented_line_after_a_chinese_full_stop_begins_a_paragraph():
    texts = [
        "第一段从这里开始，一直写到最后为止，",
        "然后到此结束，和上面的一行差不多长。",
        "第二段从这里开始，一直写到最后为止，",
    ]
    lines = [(72 + 22 * (n % 2 == 0), 100 + 16 * n, 11, text) for n, text in enumerate([*texts, "也到此结束。"])]
    assert read(lines, font="china-s").count("\n\n") == 1


def test_a_chinese_paragraph_goes_on_on_the_next_page():
    text = read([(72, 400, 11, "这一段从第一页开始并且")], [(72, 400, 11, "在第二页结束。")], font="china-s")
    assert text == "这一段从第一页开始并且在第二页结束。"
