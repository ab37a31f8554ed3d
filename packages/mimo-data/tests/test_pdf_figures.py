from __future__ import annotations

import pytest

from mimo_data.pdf import extract_pdf

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

LINE = "Some words of the usual length stand on each line of this paragraph here"
CAPTION = "Figure 1: The loss of three models over steps."


class Page:
    """A page of two paragraphs with room for a figure between."""

    def __init__(self, last: str = "") -> None:
        self.document = pymupdf.open()
        self.page = self.document.new_page(width=600, height=800)
        for number in range(4):
            self.write(72, 100 + 12 * number, LINE)
        self.write(72, 148, last)
        for number in range(4):
            self.write(72, 420 + 12 * number, LINE)

    def write(self, x: float, y: float, text: str, font: str = "helv", size: float = 10) -> None:
        self.page.insert_text((x, y), text, fontname=font, fontsize=size)

    def plot(self, left: float = 150, top: float = 180) -> None:
        """Axes with numbers, two curves and their names; its title and its numbers stand outside."""
        for number in range(5):
            self.page.draw_circle((left + 20 + 40 * number, top + 150 - 20 * number), 3)
        self.page.draw_line((left, top + 180), (left + 200, top + 180))
        self.page.draw_line((left, top), (left, top + 180))
        self.page.draw_polyline([(left, top + 170), (left + 90, top + 60), (left + 200, top + 10)])
        self.write(left + 70, top - 5, "Training loss", size=8)
        for number in range(5):
            self.write(left - 20, top + 180 - 40 * number, f"0.{number}", size=8)
            self.write(left + 40 * number, top + 192, f"{number}000", size=8)
        self.write(left + 110, top + 60, "small", size=8)
        self.write(left + 60, top + 20, "large model", size=8)

    def read(self) -> list[str]:
        return extract_pdf(self.document.tobytes()).split("\n\n")


PARAGRAPH = " ".join([LINE] * 4)


def test_what_stands_in_a_figure_is_left_out_and_its_caption_stays():
    page = Page()
    page.plot()
    page.write(180, 392, CAPTION)
    assert page.read() == [PARAGRAPH, CAPTION, PARAGRAPH]


def test_figures_of_several_drawings_are_whole_and_parts_keep_their_captions():
    page = Page()
    page.plot(left=100)
    page.plot(left=340)
    page.write(170, 378, "(a) Loss")
    page.write(410, 378, "(b) Reward")
    page.write(180, 398, CAPTION)
    assert page.read() == [PARAGRAPH, "(a) Loss (b) Reward", CAPTION, PARAGRAPH]


def test_the_end_of_a_paragraph_right_above_a_figure_stays():
    page = Page(last="and ends here.")
    page.plot(top=158)
    page.write(180, 372, CAPTION)
    assert page.read() == [f"{PARAGRAPH} and ends here.", CAPTION, PARAGRAPH]


def test_a_heading_right_above_a_figure_stays():
    page = Page()
    page.write(72, 178, "Additional Figures", font="hebo", size=12)
    page.plot(top=190)
    page.write(180, 396, CAPTION)
    assert page.read() == [PARAGRAPH, "## Additional Figures", CAPTION, PARAGRAPH]


def test_a_drawing_without_a_caption_keeps_its_words():
    page = Page()
    page.plot()
    assert "large model" in "\n".join(page.read())


def test_a_figure_of_sentences_or_of_code_is_text():
    for font, text in (
        ("helv", "You are a helpful assistant who solves hard problems."),
        ("cour", "def f(x): return x"),
    ):
        page = Page()
        for number in range(6):
            page.page.draw_rect((100, 180 + 30 * number, 500, 206 + 30 * number))
            page.write(110, 196 + 30 * number, text, font=font)
            page.write(110, 204 + 30 * number, "x = 1", font=font, size=6)
        page.write(180, 385, CAPTION)
        assert "\n".join(page.read()).count(text) == 6


def test_a_table_above_a_figure_stays():
    page = Page()
    for number, row in enumerate(("Model Steps Loss", "small 1000 0.4", "large 2000 0.2")):
        for column, cell in enumerate(row.split()):
            page.write(200 + 80 * column, 170 + 14 * number, cell)
    for y in (160, 174, 204):
        page.page.draw_line((195, y), (420, y))
    page.plot(top=220)
    page.write(180, 412, "Figure 2: Loss.")
    text = "\n".join(page.read())
    assert "| small | 1000 | 0.4 |" in text
    assert "large model" not in text


def test_a_number_of_a_formula_in_the_column_beside_a_figure_stays():
    page = pymupdf.open().new_page(width=600, height=800)
    sheet = Page.__new__(Page)
    sheet.document, sheet.page = page.parent, page
    for number in range(40):
        if number not in (8, 9, 10):
            sheet.write(40, 100 + 12 * number, "Words of the left column here stand close")
        if number > 24:
            sheet.write(330, 100 + 12 * number, "Words of the right column here stand close")
    sheet.write(90, 208, "y = f(x) + 1")
    sheet.write(260, 208, "(7)")
    sheet.plot(left=340, top=120)
    sheet.write(340, 340, "Figure 1: The loss.")
    text = "\n".join(sheet.read())
    assert "(7)" in text
    assert "large model" not in text
