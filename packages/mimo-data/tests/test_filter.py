from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimo_data import Document
from mimo_data.filter import FilterRecipe, _alphanumeric, _dense, why_dropped
from mimo_data.run import DataError

PROSE = "The derivative of a sum is the sum of the derivatives, and the same holds for integrals. "


def reason(text: str) -> str | None:
    found = why_dropped(Document(id="a", text=text, source="web"), FilterRecipe())
    return found and found[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Page not found.", "too_short"),
        (PROSE + "https://example.org/a/very/long/address/of/a/page " * 5, "links"),
        (PROSE * 3 + "*** --- === ### " * 60, "not_text"),
        ("Buy now and save on all of our products today\n" * 12, "repeated_lines"),
    ],
)
def test_each_measure_has_its_reason(text, code):
    assert reason(text) == code


def test_plain_prose_is_kept():
    assert reason(PROSE * 4) is None


def test_a_page_of_formulas_is_kept():
    assert reason("Identities:\n\n" + r"$$\sum_{i=1}^{n} x_i^2 = \|x\|^2$$" * 30) is None


def test_a_page_of_code_is_kept():
    assert reason("```python\n" + "x[i] = {};  // ++\n" * 200 + "```") is None


def test_a_tag_of_too_low_quality_drops_a_document_and_no_tag_does_not():
    junk = Document(id="a", text=PROSE * 4, source="web", tags={"quality": "0"})
    assert why_dropped(junk, FilterRecipe()) == ("low_quality", "quality 0")
    assert why_dropped(junk, FilterRecipe(min_quality=0)) is None


def test_a_quality_that_is_no_level_is_an_error():
    with pytest.raises(DataError, match="mimo-data tag"):
        why_dropped(Document(id="a", text=PROSE, source="web", tags={"quality": "good"}), FilterRecipe())


def test_the_usual_rules_are_applied_if_asked_for():
    page = Document(id="a", text=PROSE * 4 + "It is {x} here.", source="web")
    assert why_dropped(page, FilterRecipe(heuristics=("c4",))) == ("c4_curly_bracket", "1")


@given(st.text())
def test_characters_are_counted_as_unicode_counts_them(text):
    assert _alphanumeric(text) == sum(map(str.isalnum, text))
    assert _dense(text) == sum(map(len, text.split()))
