"""Formulas as browsers, Word and Typst set them: fonts of mathematics that draw one character in several heights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mimo_data.pdf import extract_pdf

pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

Glyph = tuple[str, float, float, float, str, int, int]
"""Font, size, x, baseline from the top, character, and its bottom and top in thousandths of the size."""


def web_page(glyphs: Sequence[Glyph], drawn: str = "") -> bytes:
    """A page with these glyphs, each half its size wide, in fonts written as Chrome writes OpenType fonts.

    Args:
        drawn: more of the page's content.
    """
    codes = {glyph: number for number, glyph in enumerate(dict.fromkeys((g[0], *g[4:]) for g in glyphs), 1)}
    names = list(dict.fromkeys(glyph[0] for glyph in glyphs))
    stream = drawn + "\n".join(
        f"BT /F{names.index(font)} {size} Tf 1 0 0 1 {x} {800 - y} Tm <{codes[font, *kind]:02x}> Tj ET"
        for font, size, x, y, *kind in glyphs
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
    ]
    fonts = []
    for number, name in enumerate(names):
        own = {code: kind for (font, *kind), code in codes.items() if font == name}
        procs = []
        for code, (_, bottom, top) in own.items():
            box = f"500 0 0 {bottom} 500 {top} d1 0 {bottom} 500 {top - bottom} re f"
            objects.append(f"<< /Length {len(box)} >>\nstream\n{box}\nendstream")
            procs.append(f"/g{code} {len(objects)} 0 R")
        chars = "\n".join(f"<{code:02x}> <{char.encode('utf-16-be').hex()}>" for code, (char, *_) in own.items())
        cmap = (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
            f"1 begincodespacerange <00> <ff> endcodespacerange\n{len(own)} beginbfchar\n{chars}\n"
            "endbfchar endcmap end end"
        )
        objects.append(f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream")
        objects.append(f"<< /Type /FontDescriptor /FontName /AAAAAA+{name} /Flags 4 >>")
        differences = " ".join(f"{code} /g{code}" for code in own)
        objects.append(
            "<< /Type /Font /Subtype /Type3 /FontMatrix [.001 0 0 .001 0 0] /FontBBox [0 -3000 1000 3000]"
            f" /FirstChar 0 /LastChar 255 /Widths [{' '.join(['500'] * 256)}] /CharProcs << {' '.join(procs)} >>"
            f" /Encoding << /Type /Encoding /Differences [{differences}] >> /Resources << >>"
            f" /ToUnicode {len(objects) - 1} 0 R /FontDescriptor {len(objects)} 0 R >>"
        )
        fonts.append(f"/F{number} {len(objects)} 0 R")
    objects[2] = (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        f" /Resources << /Font << {' '.join(fonts)} >> >> >>"
    )
    body = "".join(f"{number} 0 obj\n{source}\nendobj\n" for number, source in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n".encode("latin-1")


def line(font: str, size: float, x: float, y: float, text: str) -> list[Glyph]:
    """Characters of the usual height side by side."""
    return [
        (font, size, x + 0.5 * size * number, y, char, -200, 700) for number, char in enumerate(text) if char != " "
    ]


PROSE = [
    glyph
    for number in range(4)
    for glyph in line(
        "Georgia", 10, 72, 100 + 12 * number, "Some words of the usual length stand on each of these lines here."
    )
]


def display(glyphs: Sequence[Glyph], drawn: str = "") -> str:
    """What a page gives after its prose."""
    return extract_pdf(web_page([*PROSE, *glyphs], drawn)).partition("here.\n\n")[2]


def rule(x0: float, x1: float, y: float) -> str:
    return f"{x0} {800 - y - 0.2} {x1 - x0} 0.4 re f\n"


MATH = "LatinModernMath-Regular"


def test_brackets_higher_than_a_line_are_left_and_right_and_a_root_reaches_below_its_bar():
    glyphs = [
        (MATH, 10, 250, 200, "(", -700, 1200), *line(MATH, 10, 256, 193, "𝑎"), *line(MATH, 10, 256, 207, "𝑏"),
        (MATH, 10, 262, 200, ")", -700, 1200), *line(MATH, 10, 270, 200, "="),
        (MATH, 10, 278, 192, "√", -1000, 40), *line(MATH, 10, 284, 200, "𝑥"),
    ]  # fmt: skip
    drawn = rule(255.5, 261.5, 197.5) + rule(283, 290, 191.8)
    assert display(glyphs, drawn) == "$$\n\\left(\\frac{a}{b}\\right)=\\sqrt{x}\n$$"


def test_a_brace_with_lines_to_its_right_makes_cases_and_upright_letters_words():
    glyphs = [
        *line(MATH, 10, 200, 200, "𝑦="), (MATH, 10, 212, 200, "{", -1250, 1750),
        *line(MATH, 10, 220, 192, "𝑥"), *line(MATH, 10, 240, 192, "if"), *line(MATH, 10, 253, 192, "𝑥>0"),
        *line(MATH, 10, 220, 208, "0"), *line(MATH, 10, 240, 208, "otherwise"),
    ]  # fmt: skip
    assert display(glyphs) == ("$$\ny=\\begin{cases}\nx & \\text{if }x>0 \\\\\n0 & \\text{otherwise}\n\\end{cases}\n$$")


def test_cases_in_a_line_of_text_are_one_formula():
    glyphs = [
        *line("Georgia", 10, 72, 200, "take"), *line(MATH, 10, 97, 200, "𝑦="), (MATH, 10, 109, 200, "{", -1250, 1750),
        *line(MATH, 10, 117, 190, "𝑎, 𝑡>1"), *line(MATH, 10, 117, 200, "𝑏, 𝑡=1"), *line(MATH, 10, 117, 210, "𝑐, 𝑡<1"),
        *line("Georgia", 10, 160, 200, "for any number"),
    ]  # fmt: skip
    assert "take $y=\\begin{cases} a, & t>1 \\\\ b, & t=1 \\\\ c, & t<1 \\end{cases}$ for any number" in display(glyphs)


def test_limits_wider_than_an_integral_stand_below_and_above_it():
    glyphs = [
        *line(MATH, 10, 250, 200, "𝑦="), (MATH, 10, 270, 200, "∫", -900, 1350), *line(MATH, 7, 265.5, 216, "𝑡−3"),
        *line(MATH, 7, 270, 184, "∞"), *line(MATH, 10, 280, 200, "𝑥"),
    ]  # fmt: skip
    assert display(glyphs) == "$$\ny=\\int_{t-3}^{\\infty}x\n$$"


def test_a_line_with_a_larger_formula_is_no_heading():
    words = line("Georgia", 10, 72, 200, "whose value is")
    assert display(
        [*words, *line("KaTeX_Math-Italic", 12.1, 145, 200, "x"), *line("Georgia", 10, 155, 200, "here")]
    ) == ("whose value is $x$ here")


def test_a_root_that_katex_draws_as_one_clipped_path_is_a_root():
    glyphs = [
        *line("KaTeX_Math-Italic", 12, 250, 200, "y"), *line("KaTeX_Main-Regular", 12, 259, 200, "="),
        *line("KaTeX_Math-Italic", 12, 280, 200, "x"),
    ]  # fmt: skip
    path = f"q 269 {800 - 203} 18 14 re W n 270 {800 - 189} m 270 {800 - 202} l {270 + 4800} {800 - 189} l f Q\n"
    assert display(glyphs, path) == "$$\ny=\\sqrt{x}\n$$"


def test_fonts_of_katex_say_which_alphabet_a_letter_is_of():
    glyphs = [
        *line("KaTeX_Caligraphic-Regular", 10, 250, 200, "O"), *line("KaTeX_Main-Regular", 10, 258, 200, "="),
        *line("KaTeX_AMS-Regular", 10, 266, 200, "R"), *line("KaTeX_Main-Regular", 10, 274, 200, "="),
        *line("KaTeX_Main-Bold", 10, 282, 200, "x"),
    ]  # fmt: skip
    assert display(glyphs) == "$$\n\\mathcal{O}=\\mathbb{R}=\\mathbf{x}\n$$"
