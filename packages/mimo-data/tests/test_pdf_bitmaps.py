"""Papers of dvips: each font is bitmaps of a printer's points, without a name, its characters at TeX's places."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files

import pytest

from mimo_data.pdf import extract_pdf, read_pages
from mimo_data.pdf.bitmaps import find_bitmaps

pytest.importorskip("pymupdf", reason="needs the extra mimo-data[pdf]")

_METRICS = tomllib.loads((files("mimo_data.pdf") / "computer_modern.toml").read_text())
_DPI = 300
Word = tuple[str, float, float, float, str]
"""Font, size, x, baseline from the top, and the characters as codes of that font."""


def _name(code: int) -> str:
    """A character's name as a new Ghostscript gives it: itself."""
    plain = chr(code).isalnum()
    return chr(code) if plain else f"#{code:02X}"


def printed(
    words: Sequence[Word],
    rules: Sequence[tuple[float, float, float]] = (),
    *,
    name: Callable[[int], str] = _name,
    place: Callable[[int], int] = int,
) -> bytes:
    """A page with these words, each font with the characters that it needs.

    Args:
        rules: (x0, x1, y from the top), 0.48 points thick, each an image of one point.
        name: of a character, by its place in TeX's font.
        place: where the file's font has it.
    """
    fonts = sorted({word[:2] for word in words})
    scale = 72 / _DPI
    parts = []
    used: dict[tuple[str, float], set[int]] = {font: set() for font in fonts}
    for font, size, x, y, text in words:
        used[font, size].update(map(ord, text))
        code = "".join(f"{place(ord(letter)):02x}" for letter in text)
        parts.append(f"BT /F{fonts.index((font, size))} 1 Tf 1 0 0 1 {x / scale} {(800 - y) / scale} Tm <{code}> Tj ET")
    parts += [
        f"q {(x1 - x0) / scale} 0 0 2 {x0 / scale} {(800 - y) / scale} cm BI /W 1 /H 1 /IM true ID\n0\nEI Q"
        for x0, x1, y in rules
    ]
    stream = f"{scale} 0 0 {scale} 0 0 cm\n" + "\n".join(parts)
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << "
        + " ".join(f"/F{number} {6 + number} 0 R" for number in range(len(fonts)))
        + " >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        "<< /Length 22 >>\nstream\n9 0 0 0 9 9 d1 0 0 9 9 re f\nendstream",
    ]
    for font, size in fonts:
        by_place = {place(code): code for code in used[font, size]}
        widths = [
            round(_METRICS[font][by_place[at]] * size / 1000 / scale) if at in by_place else 0 for at in range(256)
        ]
        names = " ".join(f"{at} /{name(code)}" for at, code in sorted(by_place.items()))
        drawn = " ".join(f"/{name(code)} 5 0 R" for code in by_place.values())
        objects.append(
            "<< /Type /Font /Subtype /Type3 /FontMatrix [1 0 0 -1 0 0] /FontBBox [0 0 1 -1]"
            f" /FirstChar 0 /LastChar 255 /Widths [{' '.join(map(str, widths))}]"
            f" /Encoding << /Type /Encoding /Differences [{names}] >> /CharProcs << {drawn} >> >>"
        )
    body = "".join(f"{number} 0 obj\n{source}\nendobj\n" for number, source in enumerate(objects, 1))
    return f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size {len(objects) + 1} >>\n".encode("latin-1")


def line(y: float, text: str, *, font: str = "CMR10", size: float = 10.0, x: float = 72.0) -> list[Word]:
    """A line's words, with their kerning: a file of dvips moves before a letter of its own accord."""
    words = []
    for word in text.split(" "):
        for part in word.split("|"):
            words.append((font, size, x, y, part))
            x += sum(_METRICS[font][ord(letter)] for letter in part) * size / 1000 + 0.03 * size
        x += 0.3 * size
    return words


def prose() -> list[Word]:
    said = "Some w|ords of the usual length stand on eac|h of these lines, 1234 here"
    return [word for number in range(4) for word in line(100 + 12 * number, said)]


PROSE = prose()
SAID = " ".join(["Some words of the usual length stand on each of these lines, 1234 here"] * 4)


def test_words_are_whole_and_lines_one_paragraph():
    assert extract_pdf(printed(PROSE)) == SAID


def test_characters_named_by_their_numbers_are_read_by_them():
    """As Distiller does, at places of its own."""
    assert extract_pdf(printed(PROSE, name=str, place=lambda code: (code * 7) % 256)) == SAID


def test_ligatures_and_quotation_marks_stand_at_their_places_in_tex_s_fonts():
    page = printed([*PROSE, *line(160, "\\The e\x0bect of the \x0crst \x0dow: e\x0ecient|\" {| quote|'|s end")])
    assert extract_pdf(page).endswith("“The effect of the first flow: efficient” – quote’s end")


def test_a_character_that_shares_a_digit_s_name_is_told_by_its_width():
    """MuPDF takes the name `8` for the number of a capital Phi."""
    assert extract_pdf(printed([*PROSE, *line(160, "The \x08 of 18 words")])).endswith("The $\\Phi$ of 18 words")


def test_accents_are_of_the_letter_that_they_stand_over():
    accents = [("CMR10", 10.0, 72.0, 160.0, "\x7f"), ("CMR10", 10.0, 72.0, 160.0, "o")]
    assert extract_pdf(printed([*PROSE, *accents, *line(160, "ther words", x=77)])).endswith("öther words")


def test_the_sizes_of_fonts_make_headings():
    page = printed([*line(80, "1 Introduction", font="CMBX10", size=14.4), *PROSE])
    assert extract_pdf(page) == f"## 1 Introduction\n\n{SAID}"


def test_letters_and_symbols_of_mathematics_are_formulas():
    display = [
        *line(170, "x", font="CMMI10", x=250),
        *line(170, "2", font="CMSY10", x=258),
        *line(170, "B", font="CMMI10", x=268),
        *line(171.5, "i", font="CMMI7", size=7, x=275.5),
    ]
    more = [*line(190, "the variable", x=72), *line(190, "abcdefkmnvxy", font="CMMI10", x=130)]
    text = extract_pdf(printed([*PROSE, *display, *more, *line(202, "rst ij", font="CMMI7", size=7)]))
    assert "$$\nx\\in B_i\n$$" in text


def test_rules_that_are_images_are_bars_of_fractions():
    words = [
        *line(180, "x", font="CMMI10", x=272),
        *line(180, "=", x=280),
        *line(173, "a", font="CMMI10", x=292.2),
        *line(187, "b", font="CMMI10", x=292.8),
        *line(220, "efghkmnxy", font="CMMI10", x=130),
    ]
    assert "$$\nx=\\frac{a}{b}\n$$" in extract_pdf(printed([*PROSE, *words], [(291, 298.7, 177.8)]))


def test_a_sum_alone_in_its_font_is_one():
    words = [*line(160, "X", font="CMEX10", x=250), *line(170, "x", font="CMMI10", x=266)]
    more = line(190, "abcdefkmnvy", font="CMMI10", x=130)
    assert "\\sum x" in extract_pdf(printed([*PROSE, *words, *more]))


def test_typewriter_text_is_code():
    code = [word for y, text in ((160, "int main"), (172, "return 0;")) for word in line(y, text, font="CMTT10")]
    assert extract_pdf(printed([*PROSE, *code])) == f"{SAID}\n\n```\nint main\nreturn 0;\n```"


def test_fonts_of_other_letters_have_their_sizes(monkeypatch):
    """What is no font of TeX's has whole words, too."""
    widths = [round(width * (0.85 if code % 2 else 1.1)) for code, width in enumerate(_METRICS["CMR10"])]
    monkeypatch.setitem(_METRICS, "CMR10", widths)
    assert extract_pdf(printed(prose())) == SAID


def test_a_font_of_no_size_is_none_that_is_known():
    assert find_bitmaps("", {97: 500.0, 98: 556.0}, 0.0).name == "CMR10"
    assert find_bitmaps("", {97: 500.0, 98: 900.0}, 0.0).name == ""


def test_characters_numbered_as_they_come_are_no_text():
    """An old Ghostscript calls a file's first character a0, its second a1 …, and nothing says which they are."""
    order = sorted({ord(letter) for *_, text in PROSE for letter in text})
    page = printed(PROSE, name=lambda code: f"a{order.index(code)}", place=order.index)
    assert extract_pdf(page) == ""
    assert [found.routing.reason for found in read_pages(page)] == ["garbled"]
    assert extract_pdf(page, vision=lambda image: "seen") == "seen"
