from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires, version

from lxml import html

from mimo_data import extract_html
from mimo_data.html.secondopinion import second_opinion

SENTENCES = "The section says what its heading promises, at some length, and then gives an example of it. " * 4
CODE = "for step in range(3):\n\n    print(step)"
CHAPTERS = "".join(
    f"<div class='trending'><h2>Chapter {number}</h2><p>{SENTENCES}</p>"
    f"<p>Here <script type='math/tex'>a_{number} * b_{number} < c</script> holds.</p><pre>{CODE}</pre></div>"
    for number in range(6)
)
# Every chapter has a name that the own rules take for furniture: they keep the greeting only.
UNSURE = (
    f"<html><body><nav><a href='/'>Home</a></nav><main><p>{SENTENCES}</p>{CHAPTERS}</main>"
    "<footer><p>All rights reserved.</p></footer></body></html>"
)


def test_the_version_is_pinned():
    assert "trafilatura==2.3.1" in (requires("mimo-data") or [])
    assert version("trafilatura") == "2.3.1"


def test_a_page_that_the_own_rules_took_apart_is_whole_with_its_formulas_and_code():
    markdown = extract_html(UNSURE)
    for number in range(6):
        assert f"## Chapter {number}\n\n{SENTENCES.strip()}" in markdown
        assert f"Here $a_{number} * b_{number} < c$ holds.\n\n```\n{CODE}\n```" in markdown
    assert "Home" not in markdown
    assert "rights" not in markdown


def test_the_own_choice_stands_when_the_second_opinion_has_no_more():
    about = "".join(f"<footer><p>Notice {number}. {SENTENCES}</p></footer>" for number in range(3))
    markdown = extract_html(f"<body><main><h1>Title</h1><p>{SENTENCES}</p></main>{about}</body>")
    assert markdown == f"# Title\n\n{SENTENCES.strip()}"


def test_what_the_own_rules_keep_stands_however_much_there_is_besides_when_it_is_more_than_a_notice():
    others = f"<div class='related'>{f'<h2>Chapter</h2><p>{SENTENCES}</p>' * 9}</div>"
    markdown = extract_html(f"<body><main><h1>Title</h1><p>{SENTENCES * 3}</p></main>{others}</body>")
    assert markdown == f"# Title\n\n{(SENTENCES * 3).strip()}"


def test_a_short_main_part_with_the_title_stands_when_there_is_little_besides():
    menu = "<div><p>Select the version and the theme that you like, and then go on.</p></div>"
    main = "<main><h1>connect</h1><p>suspend fun connect(block: Block)</p></main>"
    assert extract_html(f"<html><body>{menu}{main}</body>") == "# connect\n\nsuspend fun connect(block: Block)"


def test_only_what_trafilatura_leaves_out_goes():
    page = (
        f"<body><nav><a href='/'>Home</a></nav>"
        f"<div>{SENTENCES}<ul><li>{SENTENCES}</li></ul>{SENTENCES}qz99zq</div></body>"
    )
    found = second_opinion(html.document_fromstring(page).find("body"))
    assert found is not None
    assert "Home" not in found.text_content()
    assert found.text_content().count("The section says") == 12


def test_a_page_without_text_has_no_second_opinion():
    assert second_opinion(html.document_fromstring("<body><div></div></body>").find("body")) is None


def test_deep_nesting_is_survived_there_too():
    deep = "<div>" * 1500 + CHAPTERS + "</div>" * 1500
    assert "Chapter 1" in extract_html(f"<body><main><p>{SENTENCES}</p></main>{deep}</body>")


def test_trafilatura_is_not_even_loaded_for_a_page_that_is_sure():
    program = f"""
import sys
from mimo_data import extract_html
assert extract_html("<body><nav><a href='/'>Home</a></nav><article><p>{SENTENCES}</p></article></body>")
print("trafilatura" in sys.modules)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"
