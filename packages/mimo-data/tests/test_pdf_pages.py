"""Layout, tables, routing and hostile files."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data.pdf import VISION_SCORE, PdfError, extract_pdf, read_pages
from mimo_data.pdf.prose import formula_spans

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

WORDS = "Some words of the usual length stand here on"


def column(page, x: float, y: float, lines: list[str], *, size: float = 10, font: str = "helv") -> None:
    for number, line in enumerate(lines):
        page.insert_text((x, y + 1.2 * size * number), line, fontname=font, fontsize=size)


def blank():
    return pymupdf.open().new_page(width=600, height=800)


def read(page) -> str:
    return extract_pdf(page.parent.tobytes())


def test_notes_in_the_margin_come_behind_the_text():
    page = blank()
    line = "Some words of the usual length that stand on a line here"
    column(page, 60, 100, [line] * 12)
    column(page, 345, 124, ["We come back to", "this question in", "another chapter."], size=8)
    assert read(page) == " ".join([line] * 12) + "\n\nWe come back to this question in another chapter."


def test_a_column_of_small_letters_is_no_note_in_the_margin():
    page = blank()
    line = "Some words of the usual length that stand on a line"
    column(page, 60, 100, [line] * 12)
    column(page, 345, 100, ["References"], size=8, font="hebo")
    column(page, 345, 122, ["An Author, a title of some words, a publisher, 1999"] * 6, size=8)
    assert read(page) == " ".join([line] * 12)


def test_three_columns_are_read_one_after_the_other_below_a_title_over_all():
    page = blank()
    column(page, 60, 90, ["A title that goes over all three of the columns of this page"], size=16, font="hebo")
    names = ("First", "Second", "Third")
    for line in range(9):
        for number, name in enumerate(names):
            column(page, 40 + 180 * number, 140 + 12 * line, [f"{name} column, its line {line}, words"])
    text = read(page)
    places = [text.index(f"{name} column, its line {line}") for name in names for line in range(9)]
    assert text.startswith("## A title") or text.startswith("# A title")
    assert places == sorted(places)


@pytest.mark.parametrize("table_y", [80, 560], ids=["below a table", "above a table"])
def test_columns_are_read_one_after_the_other_beside_a_table_over_both(table_y):
    page = blank()
    for row in range(16):
        for place in range(9):
            column(page, 60 + 55 * place, table_y + 11 * row, [f"{row}.{place}"], size=9)
    column(page, 100, table_y + 190, ["Table 1. What was measured, over both of the columns of this page."])
    text_y = 300 if table_y < 300 else 80
    for line in range(20):
        for x, name in ((50, "First"), (320, "Second")):
            column(page, x, text_y + 12 * line, [f"{name} column, its line {line}, {WORDS[:24]}"])
    text = read(page)
    places = [text.index(f"{name} column, its line {line},") for name in ("First", "Second") for line in range(20)]
    assert places == sorted(places)
    assert "| 3.0 | 3.1 |" in text


def test_rows_of_cards_are_read_row_by_row():
    page = blank()
    for row in range(2):
        for number in range(2):
            column(
                page,
                50 + 280 * number,
                100 + 200 * row,
                [f"Card {row}{number} says {WORDS[:30]} {line}" for line in range(5)],
            )
    text = read(page)
    places = [text.index(f"Card {name} says") for name in ("00", "01", "10", "11")]
    assert places == sorted(places)


@pytest.mark.parametrize("ruled", [True, False])
def test_cells_below_each_other_are_a_table(ruled):
    page = blank()
    column(page, 72, 80, [f"{WORDS} this page, line {n}." for n in range(3)])
    rows = [("Name", "Tokens", "Share"), ("web", "3.71T", "95%"), ("code", "83.0B", "2%"), ("papers", "58.6B", "3%")]
    for number, row in enumerate(rows):
        for place, cell in enumerate(row):
            column(page, 100 + 90 * place, 160 + 14 * number, [cell])
    if ruled:
        for y in (148, 164, 206):
            page.draw_line((95, y), (340, y), width=0.5)
    assert read(page).endswith(
        "| Name | Tokens | Share |\n| --- | --- | --- |\n"
        "| web | 3.71T | 95% |\n| code | 83.0B | 2% |\n| papers | 58.6B | 3% |"
    )


@pytest.mark.parametrize(
    "ends", [[(175, 370)], [(180, 220), (260, 300), (340, 380)]], ids=["one rule", "a rule a column"]
)
def test_a_head_over_several_columns_stands_in_each(ends):
    page = blank()
    for y, row in (
        (160, ("", "2023", "2024", "2025")),
        (174, ("Cost", "1", "2", "3")),
        (188, ("Total", "4", "5", "6")),
    ):
        for place, cell in enumerate(row):
            column(page, 100 + 80 * place, y, [cell])
    column(page, 255, 146, ["Year ended"])
    for x0, x1 in ends:
        page.draw_line((x0, 149), (x1, 149), width=0.5)
    page.draw_line((95, 164), (370, 164), width=0.5)
    assert "|  | Year ended | Year ended | Year ended |" in read(page)


def test_headings_go_by_their_numbers():
    page = blank()
    column(page, 72, 100, ["2 Methods"], size=14, font="hebo")
    column(page, 72, 130, [f"{WORDS} this page, line {n}." for n in range(4)])
    column(page, 72, 200, ["2.1 Data"], size=12, font="hebo")
    column(page, 72, 230, [f"{WORDS} that page, line {n}." for n in range(4)])
    text = read(page)
    assert "## 2 Methods\n\n" in text
    assert "### 2.1 Data\n\n" in text


def test_marks_of_lists_start_items():
    page = blank()
    column(page, 72, 100, ["The parts are these:", "• the first part, which is", "• the second part."])
    assert read(page) == "The parts are these:\n\n- the first part, which is\n\n- the second part."


def test_the_list_of_references_is_left_out():
    page = blank()
    column(page, 72, 100, ["1 Results"], size=14, font="hebo")
    column(page, 72, 130, [f"{WORDS} this page, line {n}." for n in range(6)])
    column(page, 72, 230, ["References"], size=14, font="hebo")
    column(page, 72, 260, ["[1] A. Author. A paper on things. Journal, 2001.", "[2] B. Author. Another one. 2002."])
    column(page, 72, 310, ["A Proofs"], size=14, font="hebo")
    column(page, 72, 340, ["The proof of this follows from the above."])
    text = read(page)
    assert "Author" not in text
    assert text.endswith("## A Proofs\n\nThe proof of this follows from the above.")
    assert "Author" in read_pages(page.parent.tobytes())[0].text


def test_code_goes_on_over_a_page_break_with_a_footnote_between():
    document = pymupdf.open()
    first = document.new_page(width=600, height=800)
    column(first, 72, 100, [f"{WORDS} this page, line {n}." for n in range(6)])
    column(first, 72, 600, ["def f(x):", "    y = x + 1"], font="cour")
    first.insert_text((72, 680), "1", fontsize=6)
    column(first, 76, 683, ["A note on what was said above."], size=8)
    second = document.new_page(width=600, height=800)
    column(second, 96, 110, ["return y"], font="cour")
    column(second, 72, 200, [f"{WORDS} that page, line {n}." for n in range(6)])
    text = extract_pdf(document.tobytes())
    assert "```\ndef f(x):\n    y = x + 1\n    return y\n```" in text
    assert "[^1]: A note on what was said above." in text


def test_text_printed_twice_to_look_bold_is_read_once():
    page = blank()
    for shift in (0, 0.4):
        page.insert_text((72 + shift, 100), "jubilee translated", fontsize=10)
    assert read(page) == "jubilee translated"


def picture(page) -> None:
    image = pymupdf.Pixmap(pymupdf.csGRAY, pymupdf.IRect(0, 0, 60, 80))
    image.clear_with(200)
    page.insert_image(page.rect, pixmap=image)


def test_a_picture_of_a_page_scores_for_a_vision_model_and_text_does_not():
    document = pymupdf.open()
    column(document.new_page(width=600, height=800), 72, 100, [f"{WORDS} this page, line {n}." for n in range(6)])
    picture(document.new_page(width=600, height=800))
    text, scan = read_pages(document.tobytes())
    assert (text.routing.score, text.routing.reason) == (0.0, "")
    assert scan.routing.score >= VISION_SCORE
    assert scan.routing.reason == "scanned"
    assert [page.number for page in (text, scan)] == [1, 2]


def test_recognised_text_below_a_picture_is_kept_and_named():
    page = blank()
    picture(page)
    for n in range(6):
        page.insert_text((72, 100 + 12 * n), f"{WORDS} this page, line {n}.", fontsize=10, render_mode=3)
    found = read_pages(page.parent.tobytes())[0]
    assert found.routing.reason == "recognised"
    assert "usual length" in found.text


def test_glyphs_without_characters_are_garbled():
    page = blank()
    for n in range(12):
        page.insert_text((72, 100 + 14 * n), "Thr qck brwn fx jmps vr th lzy dgs nd rns wll bck hm", fontsize=10)
    assert read_pages(page.parent.tobytes())[0].routing.reason == "garbled"


def test_vision_gets_the_picture_of_the_pages_that_need_it_only():
    document = pymupdf.open()
    column(document.new_page(width=600, height=800), 72, 100, [f"{WORDS} this page, line {n}." for n in range(6)])
    picture(document.new_page(width=600, height=800))
    seen: list[bytes] = []

    def vision(png: bytes) -> str:
        seen.append(png)
        return "# What the model saw\n"

    text = extract_pdf(document.tobytes(), vision=vision)
    assert text.endswith("\n\n# What the model saw")
    assert len(seen) == 1
    assert seen[0].startswith(b"\x89PNG")


RECURSIVE = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 5>>stream
/F Do
endstream endobj
5 0 obj<</Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</F 5 0 R>>>>/Length 5>>stream
/F Do
endstream endobj
trailer<</Root 1 0 R/Size 6>>
"""
NO_PAGE = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj
trailer<</Root 1 0 R/Size 3>>
"""


def test_a_form_that_draws_itself_gives_no_text():
    assert extract_pdf(RECURSIVE) == ""


def test_forms_that_draw_each_other_many_times_are_too_large():
    form = "/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources"
    inner = [f"{form} << /XObject << /F {number} 0 R >> >>" for number in (6, 7, 8)]
    last = f"{form} << /Font << /T 9 0 R >> >>"
    drawn, text = "/F Do " * 16, "BT /T 10 Tf 72 700 Td (word) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /F 5 0 R >> >> >>",
        *(
            f"<< {keys} /Length {len(stream)} >>\nstream\n{stream}\nendstream"
            for keys, stream in [("", drawn), *((keys, drawn) for keys in inner), (last, text)]
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body = "".join(f"{number} 0 obj\n{source}\nendobj\n" for number, source in enumerate(objects, 1))
    data = f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n".encode()
    with pytest.raises(PdfError, match="more than 50000 pieces of text") as error:
        extract_pdf(data)
    assert error.value.reason == "too_large"


def test_a_file_without_a_page_is_broken():
    with pytest.raises(PdfError, match="no page") as error:
        extract_pdf(NO_PAGE)
    assert error.value.reason == "broken"


def test_a_page_of_any_size_is_read():
    document = pymupdf.open()
    page = document.new_page(width=1_000_000, height=1_000_000)
    for n in range(30):
        page.insert_text((30_000 * n + 10, 30_000 * n + 100), f"{WORDS} {n}", fontsize=10)
    assert "usual length" in extract_pdf(document.tobytes())


def test_any_damage_gives_text_or_a_reason():
    page = blank()
    column(page, 72, 100, [f"{WORDS} this page, line {n}." for n in range(30)])
    page.draw_line((72, 90), (300, 90))
    source = page.parent.tobytes(deflate=False)
    generator = random.Random(0)
    for _ in range(60):
        data = bytearray(source[: generator.randrange(200, len(source))] if generator.random() < 0.3 else source)
        for _ in range(generator.choice((3, 30, 300))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        # Any other exception fails the test.
        with contextlib.suppress(PdfError):
            extract_pdf(bytes(data))


@pytest.mark.slow
def test_ten_thousand_pages_are_read():
    kids = " ".join(f"{number} 0 R" for number in range(4, 10_004))
    page = "/Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]"
    font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    stream = "BT /F 10 Tf 72 400 Td (The last page.) Tj ET"
    data = (
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[{kids}]/Count 10000>>endobj\n"
        f"3 0 obj<</Length {len(stream)}>>stream\n{stream}\nendstream endobj\n"
        + "".join(f"{number} 0 obj<<{page}>>endobj\n" for number in range(4, 10_003))
        + f"10003 0 obj<<{page}/Contents 3 0 R/Resources<</Font<</F {font}>>>>>>endobj\n"
        + "trailer<</Root 1 0 R/Size 10004>>\n"
    )
    assert extract_pdf(data.encode()) == "The last page."


@given(st.text(alphabet="mrxdo()f,etc ", max_size=40))
def test_formulas_of_a_line_are_in_order_and_apart(labels):
    spans = formula_spans(labels)
    assert all(0 <= start < end <= len(labels) for start, end in spans)
    assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))


def bitmaps(lines: list[str], widths: dict[str, int]) -> bytes:
    """A page in a font of bitmaps, which has no name; `widths` are in thousandths of its size."""
    letters = [chr(code) for code in range(32, 127)]
    names = {letter: f"c{ord(letter)}" for letter in letters}
    text = "".join(
        f"BT /F1 10 Tf 1 0 0 1 72 {700 - 12 * number} Tm <{line.encode().hex()}> Tj ET\n"
        for number, line in enumerate(lines)
    )
    drawn = "600 0 d0 0 0 500 500 re f"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        " /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        "<< /Type /Font /Subtype /Type3 /Name /F1 /FontBBox [0 0 750 750] /FontMatrix [0.001 0 0 0.001 0 0]"
        f" /FirstChar 32 /LastChar 126 /Widths [{' '.join(str(widths.get(letter, 525)) for letter in letters)}]"
        f" /Encoding << /Type /Encoding /Differences [32 {' '.join('/' + name for name in names.values())}] >>"
        f" /CharProcs << {' '.join(f'/{name} 6 0 R' for name in names.values())} >> /ToUnicode 7 0 R >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
    ]
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        "1 beginbfrange\n<20> <7e> <0020>\nendbfrange endcmap end end"
    )
    objects.append(f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream")
    body = "".join(f"{number} 0 obj\n{source}\nendobj\n" for number, source in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n".encode("latin-1")


def test_a_font_without_a_name_whose_letters_are_of_one_width_is_typewriter():
    lines = ["gap> Size(m);", "  28"]
    assert extract_pdf(bitmaps(lines, {})) == "```\ngap> Size(m);\n  28\n```"
    assert "```" not in extract_pdf(bitmaps(lines, {"i": 280, "m": 830}))


def test_the_word_in_the_middle_of_a_frame_is_no_code():
    page = blank()
    column(page, 72, 100, [f"{WORDS} this page, line {n}." for n in range(6)])
    column(page, 270, 200, ["Example"], font="cour")
    column(page, 72, 212, ["gap> 1+1;", "2"], font="cour")
    text = read(page)
    assert text.endswith("line 5.\n\n```\ngap> 1+1;\n2\n```")


def test_a_term_and_the_listing_below_it_are_two_blocks():
    page = blank()
    column(page, 72, 100, ["kill"], font="cour")
    column(page, 132, 112, ["kill [-s sigspec] pid", "kill -l"], font="cour")
    column(page, 72, 136, ["getopts"], font="cour")
    assert read(page) == "```\nkill\n```\n\n```\nkill [-s sigspec] pid\nkill -l\n```\n\n```\ngetopts\n```"


def test_a_listing_goes_on_after_words_on_its_going_on():
    document = pymupdf.open()
    first = document.new_page(width=600, height=800)
    column(first, 72, 100, [f"{WORDS} this page, line {n}." for n in range(6)])
    column(first, 72, 730, ["for x in y:", "    print(x)"], font="cour")
    column(first, 400, 760, ["(continues on next page)"], size=8)
    second = document.new_page(width=600, height=800)
    column(second, 400, 60, ["(continued from previous page)"], size=8)
    column(second, 96, 84, ["print(y)", "[ 0]"], font="cour")
    column(second, 72, 200, [f"{WORDS} that page, line {n}." for n in range(6)])
    text = extract_pdf(document.tobytes())
    assert "```\nfor x in y:\n    print(x)\n    print(y)\n    [ 0]\n```" in text
    assert "continue" not in text


def test_typewriter_words_at_the_end_of_a_paragraph_are_a_part_of_it():
    page = blank()
    column(page, 72, 100, [f"{WORDS} this page, and on the next one, line {n}" for n in range(4)])
    page.insert_text((72, 148), "create_coloring().", fontname="cour", fontsize=10)
    column(page, 72, 172, ["x = 1"], font="cour")
    text = read(page)
    assert "line 3 `create_coloring().`" in text
    assert text.endswith("```\nx = 1\n```")


def test_a_head_and_a_foot_that_rules_divide_from_the_text_are_no_text():
    page = blank()
    column(page, 72, 50, ["The name of a chapter"])
    page.draw_line((72, 56), (500, 56), width=0.5)
    column(page, 72, 100, [f"{WORDS} this page, and on the next one after it, line {n}." for n in range(6)])
    page.draw_line((72, 740), (500, 740), width=0.5)
    column(page, 72, 752, ["10.4. The name of a section"])
    text = read(page)
    assert "name of" not in text
    assert "line 0." in text


def test_the_first_row_of_a_table_at_the_top_of_a_page_is_no_head():
    page = blank()
    for y in (40, 56, 100):
        page.draw_line((72, y), (400, y), width=0.5)
    for row, cells in enumerate([("Model", "Score"), ("small", "1"), ("large", "2"), ("largest", "3")]):
        for number, cell in enumerate(cells):
            column(page, 72 + 200 * number, 52 + 14 * row, [cell])
    assert "Model" in read(page)


def test_a_letter_set_close_to_a_ligature_stays_behind_it():
    page = blank()
    font = pymupdf.Font("tiro")
    writer = pymupdf.TextWriter(page.rect)
    _, end = writer.append((72, 100), "The ﬁ", font=font, fontsize=10)
    writer.append((end.x - 0.05, 100), "nal value of the series", font=font, fontsize=10)
    writer.write_text(page)
    assert read(page) == "The final value of the series"


def test_cells_that_span_two_rows_stand_in_the_first():
    page = blank()
    for y, row in (
        (160, ("enc", "dec", "language", "simple", "all")),
        (176, ("", "", "OTSL", "0.965", "0.955")),
        (181, ("6", "5", "", "", "")),
        (186, ("", "", "HTML", "0.969", "0.955")),
        (202, ("", "", "OTSL", "0.938", "0.927")),
        (207, ("4", "2", "", "", "")),
        (212, ("", "", "HTML", "0.952", "0.938")),
    ):
        for place, cell in enumerate(row):
            column(page, 100 + 80 * place, y, [cell] if cell else [], size=9)
    assert read(page).splitlines()[2:] == [
        "| 6 | 5 | OTSL | 0.965 | 0.955 |",
        "|  |  | HTML | 0.969 | 0.955 |",
        "| 4 | 2 | OTSL | 0.938 | 0.927 |",
        "|  |  | HTML | 0.952 | 0.938 |",
    ]


@pytest.mark.parametrize(("gap", "kept"), [(30, False), (8, True)], ids=["a page's number", "a heading's"])
def test_a_head_with_the_page_number_is_no_text_even_far_from_the_edge(gap, kept):
    page = blank()
    column(page, 80, 120, ["3"], size=9)
    column(page, 85 + gap, 120, ["Reading pages in their order"], size=9)
    column(page, 80, 150, [f"{WORDS} this page, line {n}." for n in range(12)])
    assert ("Reading pages" in read(page)) is kept


@pytest.mark.parametrize("declared", [True, False], ids=["the file says so", "silently"])
@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_page_on_its_side_is_read_as_if_it_stood_upright(angle, declared):
    upright = blank()
    column(upright, 72, 80, [f"{WORDS} this page, line {n}." for n in range(8)])
    for number, row in enumerate([("Name", "Tokens", "Share"), ("web", "3.71T", "95%"), ("code", "83.0B", "2%")]):
        for place, cell in enumerate(row):
            column(upright, 100 + 90 * place, 260 + 14 * number, [cell])
    for y in (248, 264, 292):
        upright.draw_line((95, y), (340, y), width=0.5)
    expected = read(upright)
    turned = pymupdf.open()
    size = (800, 600) if angle % 180 else (600, 800)
    page = turned.new_page(width=size[0], height=size[1])
    page.show_pdf_page(page.rect, upright.parent, 0, rotate=angle)
    if declared:
        page.set_rotation(angle)
    assert "| web | 3.71T | 95% |" in expected
    assert read(page) == expected


def test_a_first_row_of_a_list_with_numbers_is_no_head():
    page = blank()
    for row in range(14):
        column(page, 80, 100 + 24 * row, [str(row + 3)], size=9)
        column(page, 140, 100 + 24 * row, [f"Name of part {row} and what it is about"], size=9)
    assert "Name of part 0 " in read(page)
