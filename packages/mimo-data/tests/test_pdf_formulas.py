"""Formulas as TeX sets them: glyphs of Computer Modern fonts at their places, on hand-written pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from mimo_data.pdf import extract_pdf

pymupdf = pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

Glyphs = tuple[str, float, float, float, str]
"""Font, size, x, baseline from the top, and the characters as codes of that font."""

_ENCODINGS = {
    "CMR10": "175 /macron",
    "CMMI10": "11 /alpha 12 /beta 25 /pi 30 /phi 39 /phi1 59 /comma",
    "CMSY10": "0 /minus 24 /similar 41 /arrowdblright 48 /prime 49 /infinity 50 /element 112 /radical 114 /nabla"
    " 161 /arrowright",
    "CMEX10": "",
    "CMTT10": "",
    "CMBX10": "",
}
_TAKEN = {"CMR10": "R", "CMMI10": "I", "CMSY10": "S", "CMEX10": "E", "CMTT10": "T", "CMBX10": "B"}


def tex_page(
    glyphs: Sequence[Glyphs],
    rules: Sequence[tuple[float, float, float]] = (),
    *,
    extension: str = "",
    letters: str = "",
    is_bitmap: bool = False,
) -> bytes:
    """A page with these glyphs, each half its size wide, and rules of (x0, x1, y), 0.4 points thick.

    Args:
        extension: what its ToUnicode says of CMEX10, in lines of `<code> <character>`; "" for none.
        letters: what its ToUnicode says of CMMI10, instead.
        is_bitmap: rules are bitmaps of one pixel, as Ghostscript makes those of dvips.
    """
    described, named = ("CMMI10", letters) if letters else ("CMEX10", extension)
    parts = []
    for font, size, x, y, text in glyphs:
        code = "".join(f"{ord(letter):02x}" for letter in text)
        parts.append(f"BT /{_TAKEN[font]} {size} Tf 1 0 0 1 {x} {800 - y} Tm <{code}> Tj ET")
    for x0, x1, y in rules:
        bitmap = f"q {x1 - x0} 0 0 0.4 {x0} {800 - y - 0.2} cm BI /W 1 /H 1 /BPC 1 /IM true ID \0 EI Q"
        parts.append(bitmap if is_bitmap else f"{x0} {800 - y - 0.2} {x1 - x0} 0.4 re f")
    stream = "\n".join(parts)
    widths = " ".join(["500"] * 256)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << "
        + " ".join(f"/{short} {5 + number} 0 R" for number, short in enumerate(_TAKEN.values()))
        + " >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        *(
            f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /FirstChar 0 /LastChar 255 /Widths [{widths}]"
            f" /Encoding << /Type /Encoding /Differences [{_ENCODINGS[name]}] >>"
            f"{f' /ToUnicode {5 + len(_TAKEN)} 0 R' if named and name == described else ''} >>"
            for name in _TAKEN
        ),
    ]
    if named:
        cmap = (
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
            "1 begincodespacerange <00> <ff> endcodespacerange\n"
            f"{len(named.splitlines())} beginbfchar\n{named}\nendbfchar endcmap end end"
        )
        objects.append(f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream")
    body = "".join(f"{number} 0 obj\n{source}\nendobj\n" for number, source in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n".encode("latin-1")


PROSE = [
    ("CMR10", 10, 72, 100 + 12 * line, "Some words of the usual length stand on each of these lines here.")
    for line in range(4)
]


def display(glyphs: Sequence[Glyphs], rules: Sequence[tuple[float, float, float]] = (), **unicode: Any) -> str:
    """What a page gives after its prose."""
    text = extract_pdf(tex_page([*PROSE, *glyphs], rules, **unicode))
    return text.partition("here.\n\n")[2]


def test_smaller_glyphs_off_the_baseline_are_scripts():
    found = display([
        ("CMMI10", 10, 200, 180, "x"), ("CMR10", 7, 205, 176, "2"), ("CMR10", 10, 212, 180, "="),
        ("CMMI10", 10, 220, 180, "y"), ("CMMI10", 7, 225, 181.5, "i"),
        ("CMSY10", 7, 229, 176, "\x00"), ("CMR10", 7, 232.5, 176, "1"),
    ])  # fmt: skip
    assert found == "$$\nx^2=y_i^{-1}\n$$"


@pytest.mark.parametrize("is_bitmap", [False, True])
def test_a_rule_with_something_above_and_below_is_a_fraction(is_bitmap):
    found = display(
        [
            ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 190, 180, "="),
            ("CMMI10", 10, 203, 173, "a"), ("CMR10", 10, 208, 173, "+"), ("CMR10", 10, 213, 173, "1"),
            ("CMMI10", 10, 208, 187, "b"),
        ],
        [(202, 219, 177.5)],
        is_bitmap=is_bitmap,
    )  # fmt: skip
    assert found == "$$\ny=\\frac{a+1}{b}\n$$"


def test_limits_between_tall_brackets_are_no_rows_of_a_matrix():
    found = display([
        ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 162, " "),
        ("CMMI10", 7, 208, 166.5, "n"), ("CMEX10", 10, 205, 170, "X"),
        ("CMMI10", 7, 204, 191, "i"), ("CMR10", 7, 207.5, 191, "=1"), ("CMMI10", 10, 217, 180, "b"),
        ("CMEX10", 10, 223, 162, "!"),
    ])  # fmt: skip
    assert found == "$$\na=\\left(\\sum_{i=1}^nb\\right)\n$$"


def test_an_arrow_of_two_signs_over_each_other_is_one():
    found = display([
        ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 190, 180, "="), ("CMSY10", 10, 193.5, 180, ")"),
        ("CMMI10", 10, 204, 180, "b"),
    ])  # fmt: skip
    assert found == "$$\na\\implies b\n$$"


def test_macos_names_characters_by_their_places_in_tex_s_fonts():
    line = [("CMMI10", 10, 180, 180, "x"), ("CMSY10", 10, 188, 180, "!"), ("CMMI10", 10, 196, 180, "\x19")]
    data = tex_page([*PROSE, *line], letters="<19> <21E1>\n<78> <0078>")
    document = pymupdf.open(stream=data)
    document.set_metadata({"producer": "macOS Version 14.1 Quartz PDFContext"})
    assert extract_pdf(document.tobytes()).endswith("$$\nx\\to\\pi\n$$")


def test_a_fraction_may_stand_in_a_fraction():
    found = display(
        [
            ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 190, 180, "="), ("CMMI10", 10, 207, 167, "a"),
            ("CMR10", 7, 208, 173.5, "2"), ("CMMI10", 10, 207, 187, "c"),
        ],
        [(202, 217, 177.5), (205.5, 213, 168.5)],
    )  # fmt: skip
    assert found == "$$\ny=\\frac{\\frac{a}{2}}{c}\n$$"


def test_a_root_covers_what_its_bar_covers():
    found = display(
        [
            ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 190, 180, "="), ("CMSY10", 10, 200, 172, "p"),
            ("CMMI10", 10, 205, 180, "x"), ("CMR10", 10, 212, 180, "+"), ("CMR10", 10, 219, 180, "1"),
        ],
        [(205, 224, 171.8)],
    )  # fmt: skip
    assert found == "$$\ny=\\sqrt{x+1}\n$$"


def test_a_root_over_a_letter_beside_other_fractions_keeps_the_bar_between():
    found = display(
        [
            ("CMMI10", 10, 184, 173, "ab"), ("CMMI10", 10, 187, 187, "c"), ("CMR10", 10, 199, 180, "="),
            ("CMSY10", 10, 207, 165, "p"), ("CMMI10", 10, 212, 173, "d"), ("CMMI10", 7, 217, 174.5, "i"),
            ("CMMI10", 10, 211.5, 187, "e"), ("CMMI10", 10, 227, 173, "fg"), ("CMMI10", 10, 229.5, 187, "h"),
        ],
        [(184, 194, 177.5), (207, 220.5, 177.5), (212, 220.5, 164.8), (227, 237, 177.5)],
    )  # fmt: skip
    assert found == "$$\n\\frac{ab}{c}=\\frac{\\sqrt{d_i}}{e}\\frac{fg}{h}\n$$"


def test_exponents_count_where_a_fraction_is_told_by_its_middle():
    found = display(
        [
            ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 188, 180, "="), ("CMMI10", 10, 200, 173, "abc"),
            ("CMSY10", 10, 216, 173, "\x00"), ("CMMI10", 10, 222, 173, "d"), ("CMR10", 7, 227, 169, "1010"),
            ("CMMI10", 10, 218, 187, "n"),
        ],
        [(200, 241, 177.5)],
    )  # fmt: skip
    assert found == "$$\ny=\\frac{abc-d^{1010}}{n}\n$$"


def test_a_sum_in_a_line_has_its_limits_and_what_it_is_of():
    found = display([
        ("CMR10", 10, 72, 180, "The"), ("CMR10", 10, 90, 180, "value"), ("CMR10", 10, 118, 180, "is"),
        ("CMEX10", 10, 131, 172.5, "P"), ("CMMI10", 7, 136, 175, "n"), ("CMSY10", 7, 139.5, 175, "\x00"),
        ("CMR10", 7, 143, 175, "1"), ("CMMI10", 7, 136, 183.5, "i"), ("CMR10", 7, 139.5, 183.5, "=0"),
        ("CMMI10", 10, 148.5, 180, "x"), ("CMMI10", 7, 153.5, 181.5, "i"), ("CMR10", 10, 160, 180, "everywhere."),
    ])  # fmt: skip
    assert found == r"The value is $\sum_{i=0}^{n-1}x_i$ everywhere."


def test_a_bold_letter_at_a_formula_belongs_to_it():
    found = display([
        ("CMR10", 10, 72, 180, "An"), ("CMR10", 10, 86, 180, "element"), ("CMR10", 10, 125, 180, "of"),
        ("CMR10", 10, 139, 180, "("), ("CMBX10", 10, 144, 180, "Z"), ("CMMI10", 10, 149, 180, "/n"),
        ("CMBX10", 10, 159, 180, "Z"), ("CMR10", 10, 164, 180, ")["), ("CMMI10", 10, 174, 180, "x"),
        ("CMR10", 10, 179, 180, "]"), ("CMR10", 10, 188, 180, "over"), ("CMBX10", 10, 212, 180, "Q"),
        ("CMR10", 10, 217, 180, "("), ("CMMI10", 10, 222, 180, "i"), ("CMR10", 10, 227, 180, ")."),
    ])  # fmt: skip
    assert found == r"An element of $(\mathbf{Z}/n\mathbf{Z})[x]$ over $\mathbf{Q}(i)$."


def test_bold_letters_side_by_side_are_a_word_if_more_than_two():
    found = display([
        ("CMMI10", 10, 172, 180, "abcdefgh"), ("CMR10", 10, 215, 180, "="), ("CMBX10", 10, 222, 180, "Av"),
        ("CMR10", 10, 234, 180, "+"), ("CMBX10", 10, 241, 180, "abs"), ("CMMI10", 10, 258, 180, "xyz"),
    ])  # fmt: skip
    assert found == "$$\nabcdefgh=\\mathbf{A}\\mathbf{v}+\\mathbf{abs}xyz\n$$"


def line(*words: tuple[float, str]) -> list[Glyphs]:
    """Words at their places in a line: what stands between @s is italic, between #s bold, and ^ and _ lead a script."""
    glyphs: list[Glyphs] = []
    for x, word in words:
        font, end = "CMR10", x
        for part in re.findall(r"[@#]|[\^_].|[^@#^_]+", word):
            if part in "@#":
                font = {"@": "CMMI10", "#": "CMBX10"}[part] if font == "CMR10" else "CMR10"
                continue
            script = part[0] in "^_"
            size, text = (7, part[1:]) if script else (10, part)
            glyphs.append((font, size, end, {"^": 176, "_": 181.5}.get(part[0], 180), text))
            end += len(text) * size / 2
    return glyphs


@pytest.mark.parametrize(
    ("words", "text"),
    [
        # Slanted letters stand apart from their exponents and from what they are applied to.
        ([(72, "where"), (102, "@f@"), (108.2, "^2"), (116, "is")], "where $f^2$ is"),
        ([(72, "where"), (102, "@V@"), (109.2, "(@x@)"), (129, "is")], "where $V(x)$ is"),
        ([(72, "where"), (102, "@ae@"), (114, "exp(@x@)"), (154, "is")], r"where $ae\exp(x)$ is"),
        ([(72, "where"), (102, "log_2"), (122.7, "@y@"), (132, "is")], r"where $\log_2y$ is"),
        ([(72, "where"), (102, "deg_X"), (123.7, "@P@"), (133, "is")], r"where $\deg_{\mathrm{X}}P$ is"),
        ([(72, "where"), (102, "@f@(@x@)"), (124.4, "@dx@"), (140, "is")], "where $f(x)dx$ is"),
        ([(72, "where"), (102, "@x@^n"), (111.7, "^m"), (122, "is")], r"where $x^{\text{nm}}$ is"),
        ([(72, "where"), (102, "@n@!"), (117, "is")], "where $n!$ is"),
        ([(72, "where"), (102, "(@n@+1)!"), (137, "is"), (150, "so!")], "where $(n+1)!$ is so!"),
        ([(72, "where"), (102, "|@a@|"), (122, "is")], "where $|a|$ is"),
        ([(72, "where"), (102, "[0,"), (121, "@n@)"), (137, "is")], "where $[0,n)$ is"),
        (
            [(72, "where"), (102, "1,"), (115, "2,"), (128, "...,"), (153, "@n@"), (163, "is")],
            r"where $1,2,\ldots,n$ is",
        ),
        (
            [(72, "where"), (102, "Gal(#Q#(@i@)@/@#Q#)"), (172, "is")],
            r"where $\operatorname{Gal}(\mathbf{Q}(i)/\mathbf{Q})$ is",
        ),
    ],
)
def test_a_formula_in_a_line_is_whole(words, text):
    assert display(line(*words)).replace(", ", ",") == text


def test_names_of_functions_side_by_side_are_two():
    assert display(line((200, "@abcdefghi@="), (251, "lnln@n@"))) == "$$\nabcdefghi=\\ln\\ln n\n$$"


def test_an_exponent_of_a_unit_stands_at_the_unit():
    minus = ("CMSY10", 7, 112, 176, "\x00")
    assert (
        display([*line((72, "where"), (102, "kg")), minus, *line((115.5, "^1@x@"), (130, "is"))])
        == "where kg$^{-1}x$ is"
    )


def test_a_formula_goes_on_behind_an_operator_at_the_end_of_a_line():
    rest = [(font, size, x, y + 12, text) for font, size, x, y, text in line((72, "@b@"), (80, "is"), (94, "one."))]
    found = display([*line((72, "A sum of two letters that stand on two lines of words as"), (360, "@a@+")), *rest])
    assert found.endswith("two lines of words as $a+b$ is one.")


@pytest.mark.parametrize(("unicode", "latex"), [("", r"\phi"), ("<1E> <03D5>", r"\phi"), ("<27> <03D5>", r"\varphi")])
def test_a_font_of_letters_may_name_its_two_phis_as_adobe_or_as_unicode(unicode, latex):
    letter = "\x27" if "27" in unicode else "\x1e"
    glyphs = [("CMMI10", 10, 200, 180, letter), ("CMR10", 10, 210, 180, "="), ("CMMI10", 10, 220, 180, "x")]
    assert display(glyphs, letters=unicode) == f"$$\n{latex}=x\n$$"


# As newtx's files name the glyphs of their extension font.
NEWTX = "<41> <F8EE>\n<42> <F8EF>\n<43> <F8F0>\n<44> <F8F9>\n<45> <F8FA>\n<46> <F8FB>\n<47> <2211>\n<CD> <00CD>"


def test_pieces_of_a_bracket_that_reach_to_the_next_line_are_of_the_first():
    pieces = [
        ("CMEX10", 10, x, 165 + 6 * number, piece)
        for x, stack in ((180, "ABBBC"), (230, "DEEEF"))
        for number, piece in enumerate(stack)
    ]
    glyphs = [
        *pieces[:5], ("CMMI10", 10, 188, 173, "abcd"), ("CMMI10", 10, 188, 187, "efgh"), ("CMMI10", 10, 214, 180, "ij"),
        *pieces[5:], ("CMR10", 10, 72, 209, "Words that stand close below a bracket of several pieces, two of them."),
    ]  # fmt: skip
    found = display(glyphs, [(188, 208, 177.5)], extension=NEWTX)
    assert found == (
        "$$\n\\left[\\frac{abcd}{efgh}ij\\right]\n$$\n\n"
        "Words that stand close below a bracket of several pieces, two of them."
    )


def test_what_a_named_extension_font_leaves_unnamed_is_read_by_its_code():
    found = display(
        [
            ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 186, 180, "="), ("CMEX10", 10, 194, 168, "\x12"),
            ("CMMI10", 10, 200, 180, "b"), ("CMEX10", 10, 206, 174, "\xcd"), ("CMMI10", 7, 211, 182, "i"),
            ("CMMI10", 10, 216, 180, "c"), ("CMEX10", 10, 222, 168, "\x13"),
        ],
        extension=NEWTX,
    )  # fmt: skip
    assert found == "$$\na=\\left(b\\sum_ic\\right)\n$$"


def test_numbers_of_two_heights_in_a_plot_are_no_display():
    assert "$$" not in display([("CMR10", 7, 300, 176, "12.5"), ("CMR10", 10, 318, 180, "45")])


def test_code_with_a_formula_behind_it_is_no_display():
    found = display([
        ("CMTT10", 10, 100, 180, "Mod(x + y, x2)"), ("CMR10", 10, 176, 180, "in"),
        ("CMMI10", 10, 190, 180, "y"), ("CMSY10", 10, 196, 180, "2"), ("CMMI10", 10, 203, 180, "A"),
    ])  # fmt: skip
    assert found == r"`Mod(x + y, x2)` in $y\in A$"


def test_small_glyphs_above_and_below_a_sum_are_its_limits():
    found = display([
        ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 200, 170, "X"),
        ("CMMI10", 7, 196, 192, "i"), ("CMR10", 7, 199.5, 192, "="), ("CMR10", 7, 203, 192, "0"),
        ("CMMI10", 7, 200.5, 167.5, "n"), ("CMMI10", 10, 209, 180, "x"), ("CMMI10", 7, 214, 181.5, "i"),
    ])  # fmt: skip
    assert found == "$$\ny=\\sum_{i=0}^nx_i\n$$"


def test_limits_belong_to_the_nearest_of_sums_side_by_side():
    found = display([
        ("CMEX10", 10, 200, 170, "X"), ("CMMI10", 7, 197, 192, "i"),
        ("CMR10", 7, 201, 192, "=0"), ("CMMI10", 7, 203, 167.5, "m"),
        ("CMEX10", 10, 212, 170, "X"), ("CMMI10", 7, 210, 192, "j"),
        ("CMR10", 7, 214, 192, "=0"), ("CMMI10", 7, 215, 167.5, "n"),
        ("CMMI10", 10, 224, 180, "a"),
    ])  # fmt: skip
    assert found == "$$\n\\sum_{i=0}^m\\sum_{j=0}^na\n$$"


def test_a_superscript_of_a_subscript_may_stand_on_the_baseline():
    found = display([
        ("CMMI10", 10, 190, 180, "F"), ("CMMI10", 7, 196, 181.5, "p"), ("CMMI10", 5, 200, 179.5, "n"),
        ("CMR10", 10, 208, 180, "="), ("CMMI10", 10, 218, 180, "G"),
    ])  # fmt: skip
    assert found == "$$\nF_{p^n}=G\n$$"


def test_a_root_between_lines_of_words_keeps_its_bar():
    glyphs = [
        ("CMR10", 10, 72, 168, "Words above reach down to the bar"),
        ("CMR10", 10, 72, 180, "where"), ("CMSY10", 10, 102, 171.6, "p"), ("CMMI10", 10, 107, 180, "x"),
        ("CMR10", 10, 116, 180, "is"), ("CMR10", 10, 130, 180, "what"), ("CMR10", 10, 155, 180, "was"),
        ("CMR10", 10, 175, 180, "meant"),
    ]  # fmt: skip
    assert r"$\sqrt{x}$ is what was meant" in display(glyphs, [(107, 112.2, 171.5)])


def test_fractions_in_a_line_keep_their_bars_beside_the_next_line():
    glyphs = [("CMR10", 10, 72, 180, "that"), ("CMMI10", 10, 97, 180, "x"), ("CMR10", 10, 105, 180, "=")]
    for number in range(3):
        x = 113 + 20 * number
        glyphs += [("CMR10", 7, x, 176, "10"), ("CMR10", 7, x + 1.8, 183.5, "7"), ("CMMI10", 10, x + 8.6, 180, "y")]
        glyphs += [("CMR10", 10, x + 14.5, 180, "+")] if number < 2 else []
    glyphs += [
        ("CMR10", 10, 180, 180, "as"),
        ("CMR10", 10, 72, 192.5, "Some words of the next line stand below"),
    ]
    rules = [(113 + 20 * number, 120 + 20 * number, 177.5) for number in range(3)]
    assert r"that $x=\frac{10}{7}y+\frac{10}{7}y+\frac{10}{7}y$ as" in display(glyphs, rules)


def test_an_accent_stands_over_its_letter():
    found = display([
        ("CMR10", 10, 200, 180, "\xaf"), ("CMMI10", 10, 200, 180, "u"),
        ("CMR10", 10, 208, 180, "="), ("CMMI10", 10, 216, 180, "\x0b"),
    ])  # fmt: skip
    assert found == "$$\n\\bar u=\\alpha\n$$"


@pytest.mark.parametrize("extension", ["", "<28> <0028>\n<62> <02C6>", "<42> <F8EC>"], ids=["codes", "names", "pieces"])
def test_a_wide_accent_of_the_extension_font_stands_over_its_letter(extension):
    found = display([
        ("CMEX10", 10, 190, 180, "b"), ("CMMI10", 10, 190, 180, "x"), ("CMR10", 10, 198, 180, "="),
        ("CMMI10", 10, 206, 180, "y"),
    ], extension=extension)  # fmt: skip
    assert found == ("$$\n\\hat x=y\n$$" if "02C6" in extension else "$$\n\\widehat x=y\n$$")


@pytest.mark.parametrize("extension", ["", "<12> <0028>\n<13> <0029>"])
def test_tall_delimiters_come_in_pairs_whether_the_file_names_them_or_not(extension):
    found = display(
        [
            ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 166, "\x12"),
            ("CMMI10", 10, 204, 173, "a"), ("CMMI10", 10, 204, 187, "b"), ("CMEX10", 10, 213, 166, "\x13"),
        ],
        [(203, 210, 177.5)],
        extension=extension,
    )  # fmt: skip
    assert found == "$$\ny=\\left(\\frac{a}{b}\\right)\n$$"


def test_rows_between_tall_brackets_are_a_matrix():
    found = display([
        ("CMMI10", 10, 180, 180, "A"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 166, "\x14"),
        ("CMMI10", 10, 204, 174, "a"), ("CMMI10", 10, 219, 174, "b"),
        ("CMMI10", 10, 204, 186, "c"), ("CMMI10", 10, 219, 186, "d"), ("CMEX10", 10, 226, 166, "\x15"),
    ])  # fmt: skip
    assert found == "$$\nA=\\begin{bmatrix}\na & b \\\\\nc & d\n\\end{bmatrix}\n$$"


def test_dots_below_each_other_or_in_a_slant_are_one_sign():
    found = display([
        ("CMEX10", 10, 180, 162, " "),
        ("CMMI10", 10, 190, 168, "a"),
        *(("CMR10", 10, 190, 174 + 4 * n, ".") for n in range(3)),
        *(("CMR10", 10, 204 + 4 * n, 174 + 4 * n, ".") for n in range(3)),
        ("CMMI10", 10, 190, 194, "b"), ("CMMI10", 10, 212, 194, "c"),
        ("CMEX10", 10, 220, 162, "!"),
    ])  # fmt: skip
    assert r"\vdots & \ddots" in found


def test_the_bar_before_an_arrow_makes_a_mapping():
    found = display([
        ("CMMI10", 10, 190, 180, "x"), ("CMSY10", 10, 198, 180, "7"), ("CMSY10", 10, 203, 180, "\xa1"),
        ("CMMI10", 10, 212, 180, "y"),
    ])  # fmt: skip
    assert found == "$$\nx\\mapsto y\n$$"


@pytest.mark.parametrize("point", ["CMMI10", "CMR10"])
def test_a_number_with_a_point_is_whole_at_the_start_of_a_formula(point):
    glyphs = [
        ("CMR10", 10, 72, 180, "about"), ("CMR10", 10, 102, 180, "1"), (point, 10, 107, 180, "."),
        ("CMR10", 10, 112, 180, "65"), ("CMSY10", 10, 125, 180, "\x00"), ("CMMI10", 10, 133, 180, "X"),
        ("CMR10", 10, 143, 180, "as"), ("CMR10", 10, 158, 180, "given"),
    ]  # fmt: skip
    assert display(glyphs) == "about $1.65-X$ as given"


def test_a_matrix_alone_may_have_a_superscript():
    found = display([
        ("CMEX10", 10, 196, 166, "\x12"),
        ("CMMI10", 10, 204, 174, "a"), ("CMMI10", 10, 219, 174, "b"),
        ("CMMI10", 10, 204, 186, "c"), ("CMMI10", 10, 219, 186, "d"), ("CMEX10", 10, 226, 166, "\x13"),
        ("CMSY10", 7, 232, 168, "\x00"), ("CMR10", 7, 236, 168, "1"), ("CMMI10", 10, 242, 180, "x"),
    ])  # fmt: skip
    assert found == "$$\n\\begin{pmatrix}\na & b \\\\\nc & d\n\\end{pmatrix}^{-1}x\n$$"


@pytest.mark.parametrize(
    ("below", "latex"), [(188.5, r"\binom{n}{k}"), (186, "\\begin{pmatrix}\nn \\\\\nk\n\\end{pmatrix}")]
)
def test_two_rows_in_parentheses_are_a_binomial_if_as_far_apart_as_in_a_fraction(below, latex):
    found = display([
        ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 166, "\x12"),
        ("CMMI10", 10, 203, 174, "n"), ("CMMI10", 10, 203, below, "k"), ("CMEX10", 10, 210, 166, "\x13"),
    ])  # fmt: skip
    assert found == f"$$\na={latex}\n$$"


def test_rows_after_a_tall_brace_are_cases():
    found = display([
        ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 166, "\x1a"),
        ("CMR10", 10, 204, 174, "1,"), ("CMMI10", 10, 230, 174, "x"),
        ("CMMI10", 10, 238, 174, "<"), ("CMR10", 10, 246, 174, "0"),
        ("CMR10", 10, 204, 186, "5,"), ("CMMI10", 10, 230, 186, "x"),
        ("CMMI10", 10, 238, 186, ">"), ("CMR10", 10, 246, 186, "0"),
    ])  # fmt: skip
    assert found == "$$\na=\\begin{cases}\n1, & x<0 \\\\\n5, & x>0\n\\end{cases}\n$$"


def test_cases_may_have_words_of_any_length():
    found = display([
        ("CMMI10", 10, 180, 180, "a"), ("CMR10", 10, 188, 180, "="), ("CMEX10", 10, 196, 166, "\x1a"),
        ("CMR10", 10, 204, 174, "1,"), ("CMR10", 10, 220, 174, "if"), ("CMMI10", 10, 233, 174, "x"),
        ("CMMI10", 10, 241, 174, "<"), ("CMR10", 10, 249, 174, "0"),
        ("CMR10", 10, 204, 186, "5,"), ("CMR10", 10, 220, 186, "in all of the other cases"),
    ])  # fmt: skip
    assert found == (
        "$$\na=\\begin{cases}\n1, & \\text{if }x<0 \\\\\n5, & \\text{in all of the other cases}\n\\end{cases}\n$$"
    )


def test_relations_below_each_other_are_aligned_and_numbers_kept_as_tags():
    found = display([
        ("CMMI10", 10, 190, 180, "x"), ("CMR10", 10, 200, 180, "="),
        ("CMR10", 10, 210, 180, "1"), ("CMR10", 10, 370, 180, "(2.1)"),
        ("CMMI10", 10, 183, 196, "y"), ("CMMI10", 10, 190, 196, "z"),
        ("CMR10", 10, 200, 196, "="), ("CMR10", 10, 210, 196, "2"),
        ("CMR10", 10, 370, 196, "(2.2)"),
    ])  # fmt: skip
    assert found == "$$\n\\begin{align}\nx &=1 \\tag{2.1} \\\\\nyz &=2 \\tag{2.2}\n\\end{align}\n$$"


def test_names_of_functions_and_words_are_not_products_of_letters():
    found = display([
        ("CMMI10", 10, 180, 180, "y"), ("CMR10", 10, 188, 180, "="),
        ("CMR10", 10, 196, 180, "sin"), ("CMMI10", 10, 213, 180, "x"),
        ("CMR10", 10, 230, 180, "if"), ("CMMI10", 10, 252, 180, "x"),
        ("CMMI10", 10, 260, 180, ">"), ("CMR10", 10, 268, 180, "0"),
    ])  # fmt: skip
    assert found == "$$\ny=\\sin x\\quad\\text{if}\\quad x>0\n$$"


def test_formulas_in_a_line_of_words_stand_between_dollar_signs():
    glyphs = [
        ("CMR10", 10, 72, 180, "We"), ("CMR10", 10, 87, 180, "take"),
        ("CMMI10", 10, 112, 180, "x"), ("CMMI10", 7, 117, 181.5, "i"),
        ("CMSY10", 10, 125, 180, "2"), ("CMMI10", 10, 133, 180, "X"),
        ("CMR10", 10, 143, 180, "as"), ("CMR10", 10, 158, 180, "given"),
        ("CMR10", 10, 188, 180, "before"), ("CMR10", 10, 223, 180, "it"), ("CMR10", 10, 238, 180, "was."),
    ]  # fmt: skip
    assert display(glyphs) == r"We take $x_i\in X$ as given before it was."


def test_typewriter_text_is_code_and_no_formula():
    assert display([("CMTT10", 10, 200, 180, "x = y_1 + 2")]) == "```\nx = y_1 + 2\n```"


def test_italic_letters_are_formulas_where_no_mathematics_font_is_used():
    import pymupdf

    page = pymupdf.open().new_page(width=600, height=800)
    for line in range(4):
        page.insert_text(
            (72, 100 + 12 * line),
            "Some words of the usual length stand on each line here.",
            fontname="tiro",
            fontsize=10,
        )
    page.insert_text((200, 180), "E", fontname="tiit", fontsize=10)
    page.insert_text((209, 180), "=", fontname="tiro", fontsize=10)
    page.insert_text((218, 180), "m", fontname="tiit", fontsize=10)
    page.insert_text((225.2, 180), "c", fontname="tiit", fontsize=10)
    page.insert_text((229.8, 176), "2", fontname="tiro", fontsize=7)
    assert extract_pdf(page.parent.tobytes()).endswith("$$\nE=mc^2\n$$")


def test_an_upright_word_before_a_bracket_is_the_name_of_a_function():
    brackets = [("CMR10", 10, 228, 180, "("), ("CMMI10", 10, 232, 180, "x"), ("CMR10", 10, 237, 180, ")")]
    applied = [("CMMI10", 10, 200, 180, "y"), ("CMR10", 10, 207, 180, "="), ("CMR10", 10, 215, 180, "l")]
    found = display([*applied, ("CMR10", 10, 219.3, 180, "e"), ("CMR10", 10, 223.6, 180, "n"), *brackets])
    assert found == "$$\ny=\\operatorname{len}(x)\n$$"


def test_congruences_and_moduli_have_their_commands():
    left = [("CMMI10", 10, 200, 180, "a"), ("CMR10", 10, 210, 180, "="), ("CMSY10", 10, 210, 176, "\x18")]
    right = [("CMMI10", 10, 220, 180, "b"), ("CMR10", 10, 235, 180, "("), ("CMR10", 10, 239, 180, "m")]
    right += [("CMR10", 10, 243.5, 180, "o"), ("CMR10", 10, 248, 180, "d"), ("CMMI10", 10, 256, 180, "n")]
    found = display([*left, *right, ("CMR10", 10, 261, 180, ")")])
    assert found == "$$\na\\cong b\\pmod{n}\n$$"


def test_a_remainder_has_its_operator():
    word = [("CMR10", 10, 210 + 4.5 * number, 180, letter) for number, letter in enumerate("mod")]
    after = [("CMMI10", 10, 226, 180, "n"), ("CMR10", 10, 236, 180, "="), ("CMMI10", 10, 244, 180, "b")]
    assert display([("CMMI10", 10, 200, 180, "a"), *word, *after]) == "$$\na\\bmod n=b\n$$"


def test_the_size_that_a_file_names_after_a_large_symbol_is_no_character():
    glyphs = [
        ("CMEX10", 10, 200, 172, "P\x01"), ("CMMI10", 7, 201, 190, "i"), ("CMMI10", 10, 212, 180, "x"),
        ("CMMI10", 7, 217, 181.5, "i"), ("CMR10", 10, 225, 180, "="), ("CMR10", 10, 233, 180, "0"),
    ]  # fmt: skip
    assert display(glyphs, extension="<50> <2211>\n<01> <FE00>") == "$$\n\\sum_ix_i=0\n$$"


def test_a_line_of_a_listing_that_sphinx_broke_is_one_again():
    hook = [("CMMI10", 5, 75, 192, ","), ("CMSY10", 5, 77.5, 192, "\xa1")]
    found = display(
        [("CMTT10", 10, 72, 180, "f(one,"), *hook, ("CMTT10", 10, 82, 192, "two)"), ("CMTT10", 10, 72, 204, "g()")]
    )
    assert found == "```\nf(one,two)\ng()\n```"


def test_an_arrow_of_another_font_in_a_listing_moves_nothing():
    arrow = ("CMSY10", 10, 82, 192, "\xa1")
    found = display(
        [("CMTT10", 10, 72, 180, "f(1)"), arrow, ("CMTT10", 10, 92, 192, "2"), ("CMTT10", 10, 72, 204, "g")]
    )
    assert found == "```\nf(1)\n  → 2\ng\n```"


@pytest.mark.parametrize(
    ("glyphs", "written"),
    [
        (
            [("CMR10", 10, 102, 180, "("), ("CMMI10", 10, 107, 180, "x"), ("CMMI10", 10, 112, 180, ";"),
             ("CMMI10", 10, 119, 180, "y"), ("CMR10", 10, 124, 180, ")")],
            "take $(x,y)$ as",
        ),
        (
            [("CMMI10", 10, 102, 180, "f"), ("CMR10", 10, 110, 180, ":"), ("CMMI10", 10, 118, 180, "X"),
             ("CMSY10", 10, 126, 180, "\xa1"), ("CMMI10", 10, 134, 180, "Y")],
            r"take $f:X\to Y$ as",
        ),
        (
            [("CMMI10", 10, 102, 180, "a"), ("CMR10", 10, 110, 180, "="), ("CMMI10", 10, 118, 180, "b"),
             ("CMR10", 10, 125, 180, "(mod"), ("CMMI10", 10, 147, 180, "n"), ("CMR10", 10, 152, 180, ")")],
            r"take $a=b\pmod{n}$ as",
        ),
        (
            [("CMMI10", 10, 102, 180, "f"), ("CMR10", 10, 110, 180, ":="), ("CMMI10", 10, 123, 180, "X")],
            "take $f:=X$ as",
        ),
            (
                [("CMMI10", 10, 102, 180, "x"), ("CMMI10", 10, 107, 180, ";"), ("CMMI10", 10, 116, 180, "y")],
                "take $x,y$ as",
            ),
        (
            [("CMR10", 10, 102, 180, "(with"), ("CMMI10", 10, 130, 180, "x"), ("CMR10", 10, 135, 180, ","),
             ("CMMI10", 10, 144, 180, "y"), ("CMR10", 10, 149, 180, ")")],
            "take (with $x$, $y$) as",
        ),
    ],
    ids=["a pair", "a mapping", "a modulus", "a definition", "a list", "an aside"],
)  # fmt: skip
def test_what_stands_in_one_pair_of_brackets_or_beside_a_relation_is_one_formula(glyphs, written):
    glyphs = [("CMR10", 10, 72, 180, "take"), *glyphs, ("CMR10", 10, 160, 180, "as"), ("CMR10", 10, 175, 180, "given")]
    assert written in display(glyphs)


def test_a_small_fraction_alone_in_a_line_is_no_script():
    glyphs = [
        ("CMR10", 10, 72, 180, "the"), ("CMR10", 7, 95, 176, "1"), ("CMR10", 7, 95, 184, "2"),
        ("CMR10", 10, 105, 180, "factor"), ("CMR10", 10, 140, 180, "is"), ("CMR10", 10, 155, 180, "dropped"),
    ]  # fmt: skip
    assert r"the $\frac{1}{2}$ factor is dropped" in display(glyphs, [(94.5, 99, 177.5)])


def test_a_slash_within_a_relation_negates_it():
    glyphs = [("CMMI10", 10, 250, 180, "x"), ("CMSY10", 10, 258, 180, "2"), ("CMMI10", 8, 258.5, 180, "/"),
              ("CMMI10", 10, 266, 180, "S")]  # fmt: skip
    assert display(glyphs) == "$$\nx\\notin S\n$$"


def test_a_word_with_a_letter_of_mathematics_below_it_is_a_name():
    glyphs = [("CMR10", 10, 72, 180, "the"), ("CMR10", 10, 92, 180, "map"), ("CMR10", 10, 112, 180, "id"),
              ("CMMI10", 7, 122, 181.5, "X"), ("CMR10", 10, 130, 180, "is")]  # fmt: skip
    assert display(glyphs) == r"the map $\text{id}_X$ is"
