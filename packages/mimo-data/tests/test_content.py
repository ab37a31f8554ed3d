from __future__ import annotations

import json

import pytest

from mimo_data import extract_html

PROSE = "A paragraph of the text says something at some length, so that nobody takes it for a menu."
TEXT = "".join(f"<p>{number}. {PROSE}</p>" for number in range(6))


def body(markup: str) -> str:
    return extract_html(f"<html><body>{markup}</body></html>")


def test_the_title_and_the_introduction_stay_though_they_stand_outside_of_the_text():
    intro = f"<div class='layout__top'><p>Written on Monday</p><p>In short: {PROSE}</p></div>"
    markdown = body(f"<main><div><h1>Title</h1></div>{intro}<div class='layout__text'>{TEXT * 3}</div></main>")
    assert markdown.startswith(f"# Title\n\nIn short: {PROSE}\n\n0. {PROSE}")
    assert "Monday" not in markdown


def test_a_list_of_links_inside_of_the_text_is_text_and_one_at_its_end_is_not():
    links = "".join(f"<li><a href='/{name}'>{{}} {name}</a></li>" for name in ("one", "two", "three", "four"))
    markdown = body(
        f"<main>{TEXT}<ul>{links.format(*['Step'] * 4)}</ul>{TEXT}<ul>{links.format(*['More'] * 4)}</ul></main>"
    )
    assert "- Step one\n- Step two" in markdown
    assert "More one" not in markdown


def test_a_table_of_contents_goes_wherever_it_stands():
    links = "".join(f"<li><a href='#{number}'>Chapter {number}</a></li>" for number in range(5))
    assert "Chapter" not in body(f"<main>{TEXT}<ul>{links}</ul>{TEXT}</main>")


def test_tabs_that_are_not_on_top_stay():
    top = f"<section role='tabpanel'><p>Linux. {PROSE}</p></section>"
    hidden = f"<section role='tabpanel' hidden><p>macOS. {PROSE}</p></section>"
    markdown = body(f"<main>{TEXT}{top}{hidden}</main>")
    assert "Linux." in markdown
    assert "macOS." in markdown


def test_hidden_elements_go():
    markdown = body(
        f"<main>{TEXT}<div hidden>one</div><div popover>two</div><div style='display: none'>three</div></main>"
    )
    assert not {"one", "two", "three"} & set(markdown.split())


def test_a_section_is_not_furniture_for_the_words_of_its_title():
    assert "Answer them." in body(
        f"<main>{TEXT}<section id='respond-to-review-comments'><h2>Respond</h2><p>Answer them.</p></section></main>"
    )


def test_a_consent_dialog_goes_even_from_a_page_with_less_text():
    dialog = f"<div id='onetrust-consent-sdk'><h2>Your privacy</h2>{TEXT * 4}</div>"
    assert body(f"<main><p>The only sentence. {PROSE}</p></main>{dialog}") == f"The only sentence. {PROSE}"


def test_custom_elements_go_by_their_name():
    assert "licensed" not in body(
        f"<main>{TEXT}<site-content-footer><p>All is licensed.</p></site-content-footer></main>"
    )


@pytest.mark.parametrize("name", ["author__info", "post-authors", "cs-entry__author", "about-the-author"])
def test_what_is_said_of_the_author_goes(name):
    markdown = body(
        f"<main><article>{TEXT}<div class='{name}'><p>Ada writes for us since 1843.</p></div></article></main>"
    )
    assert "0. A paragraph" in markdown
    assert "1843" not in markdown


@pytest.mark.parametrize("name", ["prli-prdt-btns", "cta-container", "c-media__attributions", "txt-disclaimer"])
def test_a_button_or_a_credit_goes_by_its_name_and_a_long_text_of_that_name_stays(name):
    markdown = body(f"<main>{TEXT}<div class='{name}'>Buy one here</div>{TEXT}<div class='{name}'>{TEXT}</div></main>")
    assert "Buy one" not in markdown
    assert markdown.count("0. A paragraph") == 3


def test_a_short_element_is_no_button_for_the_words_of_its_id():
    assert "A note on credits" in body(
        f"<main>{TEXT}<ol><li id='cite_note-credits-3'>A note on credits</li></ol></main>"
    )


def test_an_aside_of_prose_inside_of_the_text_is_a_note_and_one_of_links_or_named_as_a_sidebar_is_not():
    note = f"<aside>A note. {PROSE} {PROSE}</aside>"
    links = f"<aside>See also. {PROSE} {PROSE} <a href='/1'>one</a> <a href='/2'>two</a></aside>"
    sidebar = f"<aside class='sidebar'>News. {PROSE} {PROSE}</aside>"
    markdown = body(f"<main>{TEXT}{note}{links}{sidebar}{TEXT}</main>")
    assert "A note." in markdown
    assert "See also." not in markdown
    assert "News." not in markdown


def test_furniture_that_holds_the_mathematics_of_a_page_stays():
    formula = "<script type='math/tex'>x^2</script>"
    assert "$x^2$" in body(f"<main>{TEXT}</main><div class='sidebar'>{formula} {formula}</div>")


def test_deep_pages_with_many_blocks_take_time_in_proportion():
    blocks = "<div class='sidebar-x'><b>x</b></div>" * 1000
    assert f"5. {PROSE}" in body(f"{'<div>' * 1500}{TEXT * 5}{blocks}")


def told(record: object) -> str:
    """A page that a script would draw, and what it tells search engines."""
    script = f"<script type='application/ld+json'>{json.dumps(record)}</script>"
    return extract_html(f"<html><head>{script}</head><body><div id='app'>Loading…</div></body></html>")


def test_the_text_of_a_page_without_any_is_what_it_tells_search_engines():
    assert (
        told({"@type": "Article", "headline": "H", "articleBody": f"{PROSE}\n\n{PROSE * 3}"})
        == f"{PROSE}\n\n{PROSE * 3}"
    )


def test_a_question_and_its_answers_are_told_in_order():
    answer = {"@type": "Answer", "text": f"<p>{PROSE}</p><pre>x = 1</pre>", "author": {"name": "bob"}}
    question = {"@type": "Question", "text": PROSE * 3, "author": {"name": "ada"}, "datePublished": "2024-05-03T10:00"}
    markdown = told([{"@type": "QAPage", "mainEntity": {**question, "acceptedAnswer": answer}}])
    assert markdown.startswith(f"ada, 2024-05-03\n\n{PROSE * 3}\n\n---\n\nbob\n\n{PROSE}\n\n```\nx = 1\n```")


def test_broken_records_for_search_engines_are_no_text():
    script = "<script type='application/ld+json'>{'articleBody': </script>"
    assert extract_html(f"<body>{script}<p>Loading</p></body>") == "Loading"
    assert (
        extract_html(f"<body><script type='application/ld+json'>{'[' * 99999}</script><p>Loading</p></body>")
        == "Loading"
    )


def test_a_page_with_text_of_its_own_is_not_asked_what_it_tells():
    script = f"<script type='application/ld+json'>{json.dumps({'articleBody': 'Told. ' * 99})}</script>"
    assert "Told" not in body(script + TEXT)
