from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimo_data import extract_html

FILLER = "<p>Some sentences of prose stand around the part that matters, so that the page has content.</p>"


def page(part: str) -> str:
    return extract_html(f"<html><body><article>{FILLER}{part}{FILLER}</article></body></html>")


def part_of(markdown: str) -> str:
    """What stands between the two filler paragraphs."""
    return markdown.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


def test_structure_becomes_markdown():
    markdown = page(
        "<h2>Head</h2><ul><li>one<li>two <b>bold</b><ol><li>in</ol></ul><blockquote><p>said</blockquote>"
        "<table><tr><th>a<th>b<tr><td>1<td>2</table><p><code>x = 1</code> and <em>so</em> <a href='/y'>on</a></p>"
    )
    assert part_of(markdown) == (
        "## Head\n\n- one\n\n- two **bold**\n\n  1. in\n\n> said\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n"
        "`x = 1` and *so* on"
    )


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("means<em> </em>this, <b> <a href='/y'>that</a></b>", "means this, **that**"),
        ("<strong>K</strong><span class='classifier'>array of floats</span>", "**K** : array of floats"),
        ("Runtime<span class='stab portability'><code>rt</code></span>", "Runtime `rt`"),
    ],
    ids=["blanks that are set bold", "Sphinx's types", "rustdoc's marks"],
)
def test_words_stay_apart(written, text):
    assert part_of(page(f"<p>{written}</p>")) == text


def test_furniture_is_left_out():
    markdown = extract_html(
        "<body><header>Site</header><nav><a href=/>Home</a></nav><div class='left-sidebar'>Related pages</div>"
        f"<main>{FILLER * 3}<div class='share-buttons'>Share</div></main><footer>Imprint</footer></body>"
    )
    assert "Some sentences" in markdown
    for furniture in ("Site", "Home", "Related", "Share", "Imprint"):
        assert furniture not in markdown


def test_a_page_whose_text_is_for_browsers_without_scripts_is_read():
    posts = "".join(f"<p>Post {number} with a sentence of its own in the thread.</p>" for number in range(9))
    markdown = extract_html(f"<body><div id=app>Loading</div><noscript>{posts}</noscript></body>")
    assert "Post 8" in markdown


@pytest.mark.parametrize(
    "head", ["<title>T</title>", "<!doctype html><html lang=en><meta charset=utf-8><title>T</title>"]
)
@pytest.mark.parametrize("tag", ["main", "article", "section", "p"])
def test_a_page_may_leave_out_the_tags_of_its_head_and_body(head, tag):
    assert extract_html(f"{head}<{tag}>The first words.</{tag}>") == "The first words."
    assert extract_html(f"{head}<{tag}>The first words.</{tag}><{tag}>And more.") == "The first words.\n\nAnd more."


@pytest.mark.parametrize(
    "markup",
    [
        "<html><head><title>One</title></head></html><body>{0}{0}</body></html>",
        "<html><body><div>{0}<html><body><p>in a frame</p></body></html>{0}</div></body></html>",
        "<html><body>{0}</body>{0}</html>",
    ],
    ids=["behind the head", "behind a page in the page", "behind the body"],
)
def test_a_page_goes_on_behind_the_tag_that_ends_it(markup):
    assert extract_html(markup.format(FILLER)).count("Some sentences of prose") == 2


def test_a_sidebar_that_is_the_page_is_kept():
    assert "Some sentences" in extract_html(f"<body><div class='sidebar'>{FILLER * 5}</div><p>x</p></body>")


@pytest.mark.parametrize("nothing", ["", "  ", "<html></html>", "<!-- only this -->", "\0\0", "<?xml version='1.0'?>"])
def test_a_page_without_content_gives_no_text(nothing):
    assert extract_html(nothing) == ""


def test_deep_nesting_is_survived():
    assert "Some sentences" in extract_html("<div>" * 1500 + FILLER + "</div>" * 1500)


MARKUP = """
<p> </p> <pre> <code> </code> </pre> <table> <tr> <td> </table> <math> <mfrac> <mi> x </math> $ \\( \\[ ``` <br>
<ul> <li> </ul> <div class='line'> <span class='katex'> <script type='math/tex'> </script> <sup> &amp; text
<mjx-container> <mjx-math> <img src='latex.php?latex=%' alt='\\x_{'> <x-formula> <x-code> <h1> <noscript> <svg> <!-- -->
""".split()  # noqa: SIM905 - a list of fifty quoted tags is harder to read


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(MARKUP),
        max_size=30,
    )
)
def test_any_markup_gives_text_and_no_error(pieces):
    assert isinstance(extract_html(" ".join(pieces)), str)


@pytest.mark.parametrize("tag", ["div", "font", "blockquote", "ul><li", "x-post", "math><mrow"])
def test_a_tag_that_every_post_leaves_open_costs_no_text(tag):
    posts = [f"<{tag}><p>Post {number} of the thread, which has a sentence of its own.</p>" for number in range(3000)]
    markdown = extract_html(f"<html><body><script>let x</script>{''.join(posts)}</body></html>")
    assert [f"Post {number} of the thread" in markdown for number in range(3000)] == [True] * 3000
    assert "let x" not in markdown
