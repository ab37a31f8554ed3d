from __future__ import annotations

import json
import re

import pytest
from lxml import html

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


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("<h2>Practice Problems</h2>", True),
        ("<div><h2>See also</h2><span>[edit]</span></div>", True),
        ("<h2>The archive</h2>", False),
        ("<h2>参考资料</h2>", True),
        ("<p>参考链接：</p>", True),
        ("<p>This is what we read elsewhere:</p>", False),
        ("<p>The other parts.</p><pre>def area(radius):\n    return 3 * radius ** 2</pre><p>Read before:</p>", True),
        ("<h2>Other parts</h2><pre>def area(radius):\n    return 3 * radius ** 2</pre><h2>Twists</h2>", True),
    ],
)
def test_a_list_of_links_at_the_end_is_text_below_a_title_that_says_so_or_among_code(title, kept):
    links = "".join(f"<li><a href='/{name}'>Number {name}</a></li>" for name in ("one", "two", "three", "four"))
    assert ("Number three" in body(f"<main>{TEXT}{TEXT}{title}<ul>{links}</ul></main>")) == kept


@pytest.mark.parametrize("code", ["<pre>x</pre>", ""])
def test_a_section_of_links_that_has_a_title_of_its_own_is_text_like_a_list_below_one(code):
    links = "".join(f"<dt>{name}</dt><dd><a href='/{name}'>The book of {name}</a></dd>" for name in ("A", "B", "C"))
    section = f"<section><h3>6.1. Normative References</h3><dl>{links}</dl></section>"
    assert "The book of B" in body(f"<main>{TEXT}{code}{section}</main>")


@pytest.mark.parametrize(
    "line", ["2 cups of <a href='/{0}'>sugar of the {0} kind</a>", "Key, B. <a href='/{0}'>Why {0}</a>"]
)
def test_a_list_of_phrases_with_links_in_them_is_text_wherever_it_stands(line):
    lines = "".join(f"<li>{line.format(name)}</li>" for name in ("first", "second", "third", "fourth"))
    assert body(f"<main>{TEXT}<ul>{lines}</ul></main>").count("\n- ") == 4


def test_a_table_of_contents_goes_wherever_it_stands():
    links = "".join(f"<li><a href='#{number}'>Chapter {number}</a></li>" for number in range(5))
    assert "Chapter" not in body(f"<main>{TEXT}<ul>{links}</ul>{TEXT}</main>")


def test_tabs_that_are_not_on_top_stay():
    top = f"<section role='tabpanel'><p>Linux. {PROSE}</p></section>"
    hidden = f"<section role='tabpanel' hidden><p>macOS. {PROSE}</p></section>"
    markdown = body(f"<main>{TEXT}{top}{hidden}</main>")
    assert "Linux." in markdown
    assert "macOS." in markdown


@pytest.mark.parametrize(
    "name", ["anchor anchorWithStickyNavbar_LWe7", "hide-from-toc no-link", "no_toc", "toc-ignore", "ez-toc-section"]
)
def test_a_heading_is_no_menu_for_what_it_is_to_one(name):
    assert f"## Setting up\n\n0. {PROSE}" in body(
        f"<main><h1>Title</h1><h2 class='{name}'>Setting up</h2>{TEXT}</main>"
    )


def test_a_table_of_contents_that_says_what_each_part_does_stays():
    entry = (
        "<dt class='table-of-contents__entry'><a href='#b'>buy()</a> : Order</dt><dd>Pays for what is in the cart.</dd>"
    )
    markdown = body(f"<main><h1>Cart</h1><dl class='table-of-contents'>{entry * 3}</dl>{TEXT}</main>")
    assert "Pays for what is in the cart." in markdown


def test_the_title_of_a_table_of_contents_goes():
    assert "Contents" not in body(f"<main><h1>Title</h1><h2 class='toc-title'>Contents</h2>{TEXT}</main>")


@pytest.mark.parametrize("mark", ["#", " #", "¶", "§", "\u200b"])
def test_the_mark_that_links_to_a_heading_goes_and_what_belongs_to_a_name_stays(mark):
    markdown = body(f"<main>{TEXT}<h2>Strings<a href='#s'>{mark}</a></h2><h2>Strings in C#</h2>{TEXT}</main>")
    assert "## Strings\n\n## Strings in C#\n\n" in markdown


def test_the_titles_of_tabs_in_a_row_of_their_own_go():
    tabs = "<input type='radio' id='t1'><input type='radio' id='t2'>"
    row = "<div><label for='t1'>npm</label><label for='t2'>Yarn</label></div>"
    markdown = body(f"<main>{TEXT}<div>{tabs}{row}<p>With npm. {PROSE}</p><p>With Yarn. {PROSE}</p></div></main>")
    assert f"With npm. {PROSE}\n\nWith Yarn. {PROSE}" in markdown
    assert "npmYarn" not in markdown


def test_lines_of_a_checklist_and_answers_to_choose_from_stay_and_fields_of_a_form_go():
    task = "<li><input type='checkbox' id='c{0}'><label for='c{0}'>Task {0}</label></li>"
    answer = "<div><input type='radio' name='q' id='a{0}'><label for='a{0}'>Answer {0}</label></div>"
    row = "<ul><label><input type='checkbox'>One cup</label><label><input type='checkbox'>Two cups</label></ul>"
    field = "<div><label for='m'>Your address</label><input type='email' id='m'></div>"
    markdown = body(
        f"<main>{TEXT}<ul>{task.format(1)}{task.format(2)}</ul>{answer.format(1)}{answer.format(2)}{row}{field}</main>"
    )
    assert "- Task 1\n- Task 2\n\nAnswer 1\n\nAnswer 2\n\n- One cup" in markdown
    assert "Two cups" in markdown
    assert "Your address" not in markdown


def test_words_of_a_title_in_a_class_are_no_names_of_furniture():
    names = ("card-the-cookie-rookie", "template-by-hand-for-every-page-of-our-popular-site-edit", "card-media-edited")
    parts = "".join(f"<div class='wprm-{name}'><p>Part {name}. {PROSE * 3}</p></div>" for name in names)
    markdown = body(f"<main>{TEXT}{parts}<div class='the-cookie-notice cookie-bar'>We use cookies.</div></main>")
    assert [name for name in names if f"Part {name}." not in markdown] == []
    assert "We use cookies." not in markdown


@pytest.mark.parametrize(
    "name", ["not-sidebar", "recipe-template-chic-no-ads", "SidebarLayout_wrapper__XksbE", "read-more", "widget Blog"]
)
def test_a_name_that_only_has_a_word_of_furniture_is_none(name):
    assert f"More. {PROSE}" in body(f"<main>{TEXT * 3}<div class='{name}'><p>More. {PROSE * 3}</p></div></main>")


def test_text_for_subscribers_stays_and_what_offers_a_subscription_goes():
    offer = f"<div class='paywall-banner'><p>Only a pound a week. {PROSE}</p></div>"
    paid = "".join(f"<p class='paywall'>Paid for {number}. {PROSE}</p>" for number in range(4))
    markdown = body(f"<main>{TEXT}{paid}{offer}</main>")
    assert markdown.endswith(f"Paid for 3. {PROSE}")


def test_a_text_that_is_named_as_one_is_no_teaser():
    text = f"<div class='teaser_blog' id='article_content'>{TEXT}<a href='/2'>next</a></div>"
    assert f"5. {PROSE}" in body(f"{text}<div>{f'<p>Elsewhere. {PROSE}</p>' * 12}</div>")


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


@pytest.mark.parametrize("name", ["bottom", "foot", "page-foot", "bottom_links", "global_foot_box"])
def test_the_foot_of_a_site_goes_by_its_name(name):
    below = "<p>Operated by the office for records. Licence 05000248. Best viewed with any browser.</p>"
    markdown = body(
        f"<div id='all'>{TEXT}<div id='{name}'>{below}</div></div><p class='bottom-up'>From below. {PROSE}</p>"
    )
    assert "Licence" not in markdown
    assert "From below." in markdown


def test_custom_elements_go_by_their_name():
    assert "licensed" not in body(
        f"<main>{TEXT}<site-content-footer><p>All is licensed.</p></site-content-footer></main>"
    )


def test_an_accordion_is_no_row_of_tabs():
    row = "<ul role='tablist'><li role='tab'>npm</li><li role='tab'>Yarn</li></ul>"
    panels = f"<div role='tablist'><h4 role='tab'>Why?</h4><div role='tabpanel'>Because. {PROSE * 6}</div></div>"
    markdown = body(f"<main>{TEXT * 3}{row}{panels}</main>")
    assert f"Because. {PROSE}" in markdown
    assert "Yarn" not in markdown


def test_of_several_tabs_all_stay_though_one_is_shown_at_a_time():
    tabs = "".join(
        f"<div class='slide {name} {state}' style='{style}'><p>Slide {name}. {PROSE}</p></div>"
        for name, state, style in (("s-1", "active", ""), ("s-2", "", "display:none"), ("s-3", "last", "display: none"))
    )
    hidden = (
        f"<div style='display:none'><p>No class. {PROSE}</p></div><div class='tip' style='display:none'>Alone.</div>"
        "<div class='modal one'>Sign up.</div><div class='modal two' style='display:none'>Log in.</div>"
    )
    markdown = body(f"<main>{TEXT}<div>{tabs}</div>{hidden}</main>")
    assert [number for number in (1, 2, 3) if f"Slide s-{number}." not in markdown] == []
    assert "No class." not in markdown
    assert "Alone." not in markdown
    assert "Log in." not in markdown


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


def test_the_caption_of_a_photograph_goes_and_what_explains_a_figure_stays():
    photograph = "<figure><img src='a.jpg'><figcaption>Ada at her desk. Photo: B. Bell</figcaption></figure>"
    credit = "<div class='image-credit'>B. Bell for the paper</div>"
    numbered = "<figure><img src='b.png'><figcaption>Figure 2: the loss over time</figcaption></figure>"
    table = "<figure><table><tr><th>n</th></tr><tr><td>1</td></tr></table><figcaption>All numbers</figcaption></figure>"
    markdown = body(f"<main>{TEXT}{photograph}{credit}{numbered}{table}{TEXT}</main>")
    assert "Bell" not in markdown
    assert "Figure 2: the loss over time" in markdown
    assert "All numbers" in markdown
    formula = "<script type='math/tex'>x^2</script>"
    assert "Ada at her desk" in body(f"<main>{TEXT}{formula}{photograph}{TEXT}</main>")


@pytest.mark.parametrize(
    "name",
    ["article-related", "content__newsletter-box", "relatedArticles", "entry-recommendations", "m-teaser"],
)
def test_what_leads_to_other_pages_goes_though_it_is_named_like_the_text(name):
    other = f"<div class='{name}'><h3><a href='/other'>Another page</a></h3><p>{PROSE}</p></div>"
    markdown = body(f"<main><div class='article-content'>{TEXT}</div>{other}</main>")
    assert "Another page" not in markdown
    assert f"5. {PROSE}" in markdown


@pytest.mark.parametrize(
    "heading",
    [
        "Related articles",
        "You may also like",
        "Most read",
        "Mehr zum Thema",
        "À lire aussi",
        "Leggi anche:",
        "Läs också",
        "Artículos relacionados",
        "Читайте также:",
        "Похожие статьи",
        "相关阅读",
        "【推荐阅读】",
        "點擊排行榜",
        "猜你喜欢",
        "関連記事",
        "人気ランキング",
        "あわせて読みたい",
        "관련 기사",
        "많이 본 뉴스",
    ],
)
def test_a_heading_that_leads_away_goes_with_what_it_begins(heading):
    links = f"<ul><li><a href='/1'>Another page</a>: {PROSE}</li></ul>"
    markdown = body(f"<main><div>{TEXT * 2}</div><section><div><h4>{heading}</h4></div>{links}</section></main>")
    assert heading.strip(":") not in markdown
    assert "Another page" not in markdown
    assert f"5. {PROSE}" in markdown


def test_links_below_a_heading_that_leads_away_go_up_to_the_next_prose():
    links = "<p><a href='/1'>Another page</a></p><ul><li><a href='/2'>A second</a></li></ul>"
    line = "<p><b>Read more:</b> <a href='/3'>A third page with a long title</a></p>"
    markdown = body(f"<main>{TEXT}{line}{TEXT}<h3>More stories</h3>{links}<p>Last. {PROSE}</p></main>")
    assert not [word for word in ("Another", "second", "third", "More stories") if word in markdown]
    assert markdown.endswith(f"Last. {PROSE}")


@pytest.mark.parametrize(
    "line",
    ["分享一个关于区间最大值的思路", "上一篇文章我们介绍了线段树的基本操作", "订阅模式", "扫码登录的实现原理",
     "你可能会看到下面的错误", "ランキング学習とは", "前の記事で説明したように", "コメントを入れる方法",
     "データを共有する", "Рекомендуем использовать первый способ", "Поделиться памятью между процессами",
     "이전 글에서 설명한 방법", "Podobne trójkąty", "Compartir memoria entre procesos"],
)  # fmt: skip
def test_words_of_such_headings_in_a_line_of_the_text_lead_nowhere(line):
    assert line in body(f"<main><h1>Title</h1><div><h2>{line}</h2>{TEXT}</div><div><p>{line}</p>{TEXT}</div></main>")


@pytest.mark.parametrize(
    "line",
    [
        "<p>Was this page helpful?</p>",
        "<p>Last modified January 3, 2023: Fix links (8c0f3b4)</p>",
        "<div><a href='/e'>Edit this page</a></div>",
        "<p><a href='/e'>Edit on GitHub</a></p>",
        "<div>[<a href='/s'>View source</a>]</div>",
        "<details><summary>Expand source code</summary><pre>y</pre></details>",
        "<p>Returns both. <a class='docs-sourcelink' href='/s'>source</a></p>",
    ],
)
def test_what_is_said_of_the_page_itself_goes_alone(line):
    markdown = body(f"<main><section>{line}<h1>Title</h1><p>First.</p></section><pre>x</pre>{TEXT}</main>")
    assert "# Title\n\nFirst." in markdown
    among_text = body(f"<main>{TEXT}{line}<pre>x</pre>{TEXT}</main>")
    assert not re.search(r"helpful|modified|Edit|source", markdown + among_text)


def test_buttons_to_share_a_page_go_alone():
    buttons = "<div>Condividi</div><div><a href='https://facebook.com'>Facebook</a></div>"
    markdown = body(
        f"<main><div><div>{buttons}</div><h4>Ingredients</h4><p>Two eggs. {PROSE}</p></div>{TEXT * 2}</main>"
    )
    assert "Condividi" not in markdown
    assert "Two eggs." in markdown


def test_a_page_about_related_things_is_kept():
    markdown = body(
        f"<main><h1>Related articles</h1>{TEXT}<h2>Related rates</h2><p>A derivative. {PROSE}</p><h2>Comments in C</h2>"
        f"{TEXT}</main>"
    )
    assert "# Related articles" in markdown
    assert "## Related rates\n\nA derivative." in markdown
    assert "## Comments in C" in markdown


def test_a_sidebar_with_more_text_than_the_article_goes_and_a_layout_named_after_its_sidebar_stays():
    article = f"<article><h1>Title</h1>{TEXT * 2}</article>"
    sidebar = f"<div class='sidebar'>{TEXT.replace('A paragraph', 'A teaser') * 4}</div>"
    assert "A teaser" not in body(article + sidebar)
    assert f"5. {PROSE}" in body(f"<div class='layout-sidebar'><div>{article}</div></div><div>{TEXT * 2}</div>")


def test_a_date_line_goes_and_a_date_in_a_sentence_stays():
    line = "<div><span>Published</span> <time>May 3, 2024</time></div>"
    sentence = f"<p>On <time>June 4, 1832</time> it was decided. {PROSE}</p>"
    markdown = body(f"<main>{line}{TEXT}{sentence}</main>")
    assert "May 3" not in markdown
    assert "On June 4, 1832 it was decided." in markdown


def test_a_form_goes_and_a_page_inside_of_a_form_stays():
    form = "<form><label>Your name</label><p>All fields are required.</p></form>"
    assert "required" not in body(f"<main>{TEXT}{form}</main>")
    assert f"5. {PROSE}" in body(f"<form id='aspnetForm'><main>{TEXT}</main></form>")


def test_the_one_named_main_part_counts_with_a_third_of_the_text():
    news = "".join(f"<div><p>News {number}. {PROSE} {PROSE}</p></div>" for number in range(5))
    markdown = body(f"<div itemprop='articleBody'>{TEXT}{PROSE}</div>{news}")
    assert f"5. {PROSE}" in markdown
    assert "News" not in markdown


def test_what_stands_above_the_named_text_of_an_article_is_its_lead():
    lead = f"<div class='lead'><h1>Title</h1><p>In short: {PROSE}</p></div>"
    text = f"<div itemprop='articleBody'>{TEXT * 2}</div>"
    markdown = body(f"<article><div>{lead}{text}</div></article><div><p>Elsewhere. {PROSE}</p></div>")
    assert markdown.startswith(f"# Title\n\nIn short: {PROSE}\n\n0. {PROSE}")
    assert "Elsewhere." not in markdown


def test_a_subtitle_and_an_introduction_without_paragraphs_are_a_lead():
    subtitle, intro = f"A subtitle. {PROSE}", f"In short: {PROSE}"
    lead = f"<h1>Title</h1><h2>{subtitle}</h2><div class='facts'>{intro}</div><h2>News</h2><div>By Ada</div>"
    markdown = body(f"<main><div>{lead}<div class='long'>{TEXT * 6}</div></div></main>")
    assert markdown.startswith(f"# Title\n\n## {subtitle}\n\n{intro}\n\n0. {PROSE}")


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


def test_many_hidden_blocks_take_time_in_proportion():
    block = f"<div class='a b c d' style='display: none'>{PROSE}</div>"
    assert body(f"<main>{TEXT}{block * 20_000}</main>").endswith(f"5. {PROSE}")


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


SIGNATURE = "<dt class='sig sig-object py' id='m.f'><span>m.</span><span>f</span>(<em>x</em>)</dt>"


def test_how_a_function_is_called_stays_and_a_person_s_signature_goes():
    methods = "<h4 class='signature'>def map(f): List</h4><p>Applies f.</p>"
    markdown = body(f"<main>{TEXT}<dl class='py function'>{SIGNATURE}<dd><p>Halves x.</p></dd></dl>{methods}</main>")
    assert "m.f(*x*)\n\nHalves x.\n\n#### def map(f): List" in markdown
    assert "abacus" not in body(f"<main>{TEXT}<div class='signature'>Sent from my abacus</div></main>")


@pytest.mark.parametrize(
    "entry",
    [
        "<div><div class='signature' id='pair'>def pair(a, b)</div><p>Puts both together.</p></div>",
        "<h4 class='name' id='pair'>def pair<span class='signature'>(a, b)</span></h4><p>Puts both together.</p>",
    ],
)
def test_a_signature_that_begins_an_entry_or_stands_in_its_title_is_how_something_is_called(entry):
    assert re.search(r"def pair\s?\(a, b\)\n\nPuts both together\.", body(f"<main>{TEXT}{entry}</main>"))


def test_a_page_about_one_function_keeps_how_it_is_called_and_its_first_line():
    markdown = body(f"<main><h1>m.f</h1><dl class='py function'>{SIGNATURE}<dd><p>Halves x.</p>{TEXT}</dd></dl></main>")
    assert markdown.startswith("# m.f\n\nm.f(*x*)\n\nHalves x.\n\n0.")


@pytest.mark.parametrize("title", ["<h1>start method</h1>", "<div><h1>start method</h1></div>"])
def test_what_stands_in_a_section_between_the_title_and_the_code_stays(title):
    source = "<section class='source' id='source'><h2>Implementation</h2><pre>{}</pre></section>"
    lines = "\n".join(f"step({number})" for number in range(60))
    markdown = body(f"<div>{title}<section>void start()</section>{source.format(lines)}</div>")
    assert "# start method\n\nvoid start()\n\n## Implementation" in markdown


def test_a_header_beside_the_article_in_a_section_begins_its_text():
    header = "<header><h2>Blur</h2><div class='class-description'><p>Makes things soft.</p></div></header>"
    page = f"<h1>Class: Blur</h1><section>{header}<article><pre>new Blur()</pre>{TEXT}</article></section>"
    markdown = body(f"<div>{page}</div>")
    assert markdown.startswith("# Class: Blur\n\n## Blur\n\nMakes things soft.")


def test_a_header_called_a_preamble_is_the_title_wherever_it_stands():
    markdown = body(f"<header class='odoc-preamble'><h1>Module Tree</h1></header><div>{TEXT}</div>")
    assert markdown.startswith("# Module Tree\n\n0.")


def test_the_title_that_the_page_names_first_stays_above_its_main_part():
    page = "<html><head><title>Storage - Docs</title></head><body><div><h1>{}</h1></div><main>{}</main></body></html>"
    code = f"{TEXT}<pre>open()</pre>"
    assert extract_html(page.format("Storage", code)).startswith("# Storage\n\n0.")
    assert extract_html(page.format("Docs", code)).startswith("0.")


def test_code_above_the_element_with_most_of_the_text_stays():
    first = "<p>It can be had by:</p><pre>import m</pre>"
    markdown = body(f"<main><h1>m</h1>{first}<div>{TEXT * 5}<pre>m.f()</pre>{'<pre>m.f(1)</pre>' * 20}</div></main>")
    assert "It can be had by:\n\n```\nimport m\n```" in markdown


def test_a_page_whose_title_is_no_first_heading_keeps_it():
    assert body(f"<div><h3>6.5 Frames</h3><div>{TEXT}</div></div>").startswith("### 6.5 Frames\n\n0.")


def test_a_title_that_links_to_what_it_names_stays():
    name = "<h1>Struct <a href='.'>std</a>::<a href='..'>os</a>::<a href='#'>Messages</a></h1><a href='s'>source</a>"
    markdown = body(f"<main><div class='main-heading'>{name}</div>{TEXT}</main>")
    assert markdown.startswith("# Struct std::os::Messages")


def test_a_heading_that_links_back_to_the_table_of_contents_stays():
    link = "<a class='toc-backref' href='#id1' role='doc-backlink'>Handling errors</a>"
    mark = "<a class='headerlink' href='#errors'>Link</a>"
    assert "## Handling errors\n" in body(f"<main>{TEXT}<h2>{link}{mark}</h2>{TEXT}</main>")


def test_footnotes_are_text():
    note = "<aside class='footnote brackets' role='note'><span>[1]</span><p>Except for one thing.</p></aside>"
    markdown = body(f"<main>{TEXT}<aside class='footnote-list brackets'>{note}</aside></main>")
    assert "Except for one thing." in markdown


def test_a_caption_without_a_picture_is_the_title_of_what_follows():
    table = "<table><tr><td>a<td>b<tr><td>c<td>d</table>"
    markdown = body(f"<main>{TEXT}<div class='caption'>Classes that use it</div>{table}{TEXT}</main>")
    assert "Classes that use it" in markdown
    picture = "<div><img src='a.png'><p class='caption'>A sunset</p></div>"
    assert "sunset" not in body(f"<main>{TEXT}{picture}{TEXT}</main>")


def test_a_heading_in_the_first_row_of_a_table_stands_above_it():
    rows = "<tr><td colspan='2'><h2>Members</h2></td></tr><tr><td>int<td>size()</tr><tr><td>bool<td>empty()</tr>"
    markdown = body(f"<main>{TEXT}<table>{rows}</table>{TEXT}</main>")
    assert "## Members\n\n| int | size() |\n| --- | --- |\n| bool | empty() |" in markdown


def test_a_section_named_like_furniture_is_text_and_so_is_a_box_with_a_title():
    section = f"<div class='subsection' id='Menu-selection'><h3>Menu selection</h3>{TEXT}</div>"
    box = "<div class='sidebar'><div class='titlepage'><b>Security</b></div><p>Two rights are relevant.</p></div>"
    note = "<aside class='margin sidebar'><p class='sidebar-title'></p><p>It need not be unique.</p></aside>"
    other = "<div class='sidebar'><p>Our other sites</p></div><aside class='sidebar'><p>Our shop</p></aside>"
    markdown = body(f"<main>{TEXT * 2}{section}{box}{note}{other}</main>")
    assert "It need not be unique." in markdown
    assert "Our shop" not in markdown
    assert "### Menu selection" in markdown
    assert "Two rights are relevant." in markdown
    assert "Our other sites" not in markdown


def test_tags_of_a_method_are_text_and_those_of_a_post_are_not():
    example = "<div class='tags'><p>Examples:</p><pre>clean('a//b') # => 'a/b'</pre></div>"
    parameters = f"<div class='tags'><p>Parameters:</p><ul><li>path (String) — {PROSE}</li></ul></div>"
    post = "<div class='tags'><a href='/t/1'>Travel</a> <a href='/t/2'>Family</a></div>"
    markdown = body(f"<main>{TEXT}{example}{parameters}{post}{TEXT}</main>")
    assert "```\nclean('a//b') # => 'a/b'\n```" in markdown
    assert "- path (String)" in markdown
    assert "Travel" not in markdown


def test_lines_about_an_article_go_and_its_title_among_them_stays():
    info = "<div class='article-info-box'>Ada, updated in May, read 4,711 times</div>"
    titled = "<div class='post-info'><h2>Steps of a sum</h2><span>by Ada</span></div>"
    below = "<div id='blog_post_info_block'>Filed under: sums</div><div class='after-post-widgets'>Buy the course</div>"
    markdown = body(f"<main><h1>Sums</h1>{info}{titled}{TEXT}{below}</main>")
    assert "4,711" not in markdown
    assert "Filed" not in markdown
    assert "course" not in markdown
    assert "## Steps of a sum" in markdown


def test_the_header_of_a_text_is_no_header_of_the_site():
    site = "<header><h1>All about sums</h1></header>"
    own = "<header id='header'><div class='eyebrow'>Guides</div><h1>Steps</h1><p>How to take them.</p></header>"
    feedback = "<div class='was-helpful'>Did this page help you?</div><div class='page-metadata'>By Ada</div>"
    markdown = body(f"{site}<div id='text'><div id='area'>{own}<div class='prose'>{TEXT}</div>{feedback}</div></div>")
    assert "# Steps" in markdown
    assert "All about sums" not in markdown
    assert "Did this page help" not in markdown
    assert "By Ada" not in markdown


def test_an_answer_to_be_opened_is_text_and_a_menu_to_be_opened_is_not():
    answer = (
        f"<details class='sphinx-bs dropdown card'><summary>Show answer</summary><p>It is 42, as {PROSE}</p></details>"
    )
    links = "".join(f"<li><a href='/{name}'>Version {name}</a></li>" for name in ("one", "two", "three", "four"))
    menu = f"<details class='dropdown'><summary>Versions</summary><ul>{links}</ul></details>"
    markdown = body(f"<main>{menu}{TEXT}{answer}{TEXT}</main>")
    assert "Show answer\n\nIt is 42" in markdown
    assert "Version two" not in markdown


def test_the_title_of_an_answer_is_none_of_a_button_by_its_name():
    answer = "<details class='toggle'><summary class='toggle-button'>点击查看题面</summary><p>It is 3.</p></details>"
    assert "点击查看题面\n\nIt is 3." in body(f"<main>{TEXT}{answer}{TEXT}</main>")


def test_what_opens_the_code_of_a_notebook_says_nothing():
    summary = (
        "<summary aria-label='Toggle hidden content'><p>Show code cell source</p><p>Hide code cell source</p></summary>"
    )
    markdown = body(f"<main>{TEXT}<details class='hide above-input'>{summary}<pre>x = 1</pre></details>{TEXT}</main>")
    assert "```\nx = 1\n```" in markdown
    assert "code cell" not in markdown


def test_captions_stay_beside_formulas_that_stand_between_delimiters():
    figure = (
        r"<div class='figure'><img src='a.png'><p class='caption'>A mass <span class='math'>\(m_1\)</span></p></div>"
    )
    engine = "<script src='https://cdn.org/MathJax.js'></script>"
    assert "A mass $m_1$" in body(f"{engine}<main>{TEXT}{figure}{TEXT}</main>")
    # That a site could draw formulas does not make one of its pages mathematics.
    settings = r"<script>MathJax = {tex: {inlineMath: [['$', '$'], ['\\(', '\\)']]}}</script>"
    plain = "<div><img src='a.png'><p class='caption'>A sunset</p></div>"
    assert "sunset" not in body(f"{settings}<main>{TEXT}{plain}{TEXT}</main>")


@pytest.mark.parametrize(
    "kind",
    [
        "<section id={}>",
        "<div class='section' id={}>",
        "<div class='section level2' id={}>",
        "<div class='outline-2' id={}>",
    ],
)
def test_the_longest_section_of_a_text_is_not_all_of_it(kind):
    end = "</section>" if "<section" in kind else "</div>"
    short = (
        f"{kind.format('a')}<span id='x'></span><h2>Units</h2><table><tr><td>Mass<td>kg<tr><td>Time<td>s</table>{end}"
    )
    long = f"{kind.format('b')}<h2>Formulae</h2>{TEXT * 4}{end}"
    assert "## Units\n\n| Mass | kg |" in body(f"<main><article><h1>Title</h1>{short}{long}</article></main>")


def test_what_generators_write_before_the_longest_part_of_a_page_stays():
    members = f"<h3>Members</h3>{TEXT * 5}"
    scaladoc = (
        "<h4 id='signature'>trait Tree extends Api</h4><div class='fullcommenttop'><p>What all trees support.</p></div>"
        f"<div id='template'>{members}</div>"
    )
    rdoc = (
        "<main><section class='constants-list'><header><h3>Constants</h3></header><dl><dt>MAX</dt><dd>Most.</dd></dl>"
        f"</section><section class='method-section' id='m'><header><h3>Methods</h3></header>{TEXT * 5}</section></main>"
    )
    above = "<h1>Deprecated</h1><p>For any of these:</p><ul><li>Unsafe.</li></ul><pre>x</pre>"
    assert "#### trait Tree extends Api\n\nWhat all trees support." in body(scaladoc)
    assert "### Constants\n\nMAX\n\nMost." in body(rdoc)
    sphinx = (
        f"<section id='r'><h1>Notes</h1><p>A release.</p><section id='s'><h2>Closed</h2>{TEXT * 5}</section></section>"
    )
    assert "# Notes\n\nA release.\n\n## Closed" in body(sphinx)
    assert "# Deprecated\n\nFor any of these:\n\n- Unsafe.\n\n```\nx\n```" in body(
        f"<main>{above}<div>{members}</div></main>"
    )


def test_examples_of_a_specification_stay_though_they_are_asides():
    example = "<aside class='example' title='Sizes'><p>Given these:</p><pre>[1, 2]</pre></aside>"
    assert "Given these:\n\n```\n[1, 2]\n```" in body(f"<div>{TEXT}{example}{TEXT}{'<pre>x</pre>' * 9}</div>")


def test_examples_and_references_that_docutils_sets_beside_the_text_stay():
    references = "<ul><li>Key, B. Why fish.</li></ul>"
    topic = f"<aside class='topic'><p class='topic-title'>References:</p>{references}</aside>"
    markdown = body(f"<main>{TEXT}{topic}<aside class='links'><p><a href='/2'>Elsewhere</a></p></aside></main>")
    assert "References:\n\n- Key, B. Why fish." in markdown
    assert "Elsewhere" not in markdown


def test_footnotes_that_are_only_links_stay():
    notes = "".join(f"<li><a href='https://one.org/{n}'>https://one.org/{n}</a></li>" for n in range(4))
    markdown = body(f"<main>{TEXT * 2}<section class='footnotes'><ol>{notes}</ol></section></main>")
    assert "4. https://one.org/3" in markdown


@pytest.mark.parametrize(
    "line",
    [
        "<div class='postDesc'>posted @ <span>2020-01-01 10:00</span> <a href='/a'>Ada</a> 阅读(12) 评论(0)</div>",
        "<div class='ContentItem-time'>编辑于 2020-01-01 10:00</div>",
    ],
    ids=["cnblogs", "Zhihu"],
)
def test_when_a_text_was_written_and_how_often_read_is_not_said_below_it(line):
    assert "2020" not in body(f"<div class='post'>{TEXT}{line}</div>")


@pytest.mark.parametrize("names", ["post-copyright", "license-box my-3", "article-licensing box"])
def test_whose_a_post_is_and_what_one_may_do_with_it_goes(names):
    lines = "".join(f"<div><h6>{title}</h6><p>{'words ' * 15}</p></div>" for title in ("作者", "发布于", "许可协议"))
    assert "words" not in body(f"<main><article>{TEXT}<div class='{names}'>{lines}</div></article></main>")


def test_a_theme_s_hidden_help_goes_with_its_code():
    panel = "<div class='tools-col' q-class='show:isShow'><p>缺失模块。</p><pre>jsonContent:\n  meta: false</pre></div>"
    markdown = body(f"<div class='left-col'>{panel}</div><div class='mid-col'><article>{TEXT}</article></div>")
    assert "jsonContent" not in markdown
    assert f"5. {PROSE}" in markdown


def test_footnotes_stay_below_the_text():
    notes = "<div class='footnotes'><ol><li><p>Before version 2 it was another operator.</p></li></ol></div>"
    assert "another operator" in body(f"<main><div><h1>Title</h1>{TEXT * 4}</div>{notes}</main>")


def test_the_title_for_the_printer_is_not_said_twice():
    printed = "<div class='onlyprint' id='jb-print-docs-body'><h1>Refresher</h1></div>"
    article = f"<article class='bd-article'><section id='r'><h1>2. Refresher</h1>{TEXT}</section></article>"
    assert body(f"<main>{printed}<div>{article}</div></main>").startswith("# 2. Refresher\n\n0.")


@pytest.mark.parametrize(
    "sentence",
    [
        "If <var>group</var> is empty, <var>comment</var> is read from the first line.",
        "Take a <code>SHARE</code> lock before you write.",
        "A template has variables and <strong>tags</strong>, which control it.",
        "Check out the <a href='/ai'>latest news</a> on the matter.",
        "Then press <b class='button'>Return</b> to go on.",
        "A function returns a <span class='sig sig-inline'><a href='#o'>PyObject</a>*</span>.",
        "One or more <a class='glossary-tooltip' href='/c'>containers</a> share a network.",
        "The prime minister, <a class='related' href='/bj'>Boris Johnson</a>, had said so.",
    ],
)
def test_words_of_a_sentence_stay_whatever_they_say_or_are_called(sentence):
    words = "".join(html.fromstring(f"<p>{sentence}</p>").itertext())
    written = body(f"<main>{TEXT}<p>{sentence}</p><pre>x = 1</pre>{TEXT}</main>")
    assert words in written.replace("`", "").replace("**", "")
    assert words in body(f"<main>{TEXT}<p>{sentence}</p>{TEXT}</main>").replace("`", "").replace("**", "")


def test_what_stands_at_the_end_of_a_line_or_is_not_shown_is_no_word_of_it():
    more = "<p>Makes a copy from <code>source</code>. <a href='/clone'>Read more</a></p>"
    unseen = "<p>The cat <span class='sr-only'>opens in a new window</span> sat <span class='ad'>Buy!</span> down.</p>"
    markdown = body(f"<main>{TEXT}{more}{unseen}{TEXT}</main>")
    assert "Makes a copy from `source`.\n" in markdown
    assert "The cat sat down." in markdown


def test_headings_in_a_manual_are_not_those_around_an_article():
    comments = f"<section id='c'><h2>Comments</h2>{TEXT}</section>"
    options = f"<ul><li><b>tags</b>: {PROSE}</li></ul><table><tr><td><b>Comment</b><td>x<tr><td>a<td>b</table>"
    manual = body(f"<main><section id='a'><h2>Syntax</h2><pre>x = 1</pre>{TEXT}</section>{comments}{options}</main>")
    assert "## Comments\n\n0." in manual
    assert "- **tags**:" in manual
    assert "| **Comment** | x |" in manual
    links = "".join(f"<li><a href='/{name}'>Post {name}</a></li>" for name in ("one", "two", "three"))
    assert "Tags" not in body(f"<main>{TEXT}<div><h3>Tags</h3><ul>{links}</ul></div></main>")


def test_an_id_made_from_a_title_is_no_name_of_furniture():
    related = (
        f"<div id='outline-container-related' class='outline-2'><h2 id='related'>Related concepts</h2>{TEXT}</div>"
    )
    other = f"<div id='outline-container-code' class='outline-2'><h2>Code</h2>{TEXT}</div>"
    assert "## Related concepts\n\n0." in body(f"<div id='content'><h1>Sockets</h1>{other}{related}</div>")


def test_a_section_of_comments_goes_and_one_about_comments_stays():
    comment = f"<li class='comment even'><p>I thank you. {PROSE}</p></li>"
    below = f"<main>{TEXT}<section id='comments'><h3>Two thoughts</h3><ol>{comment}</ol></section></main>"
    assert "I thank you." not in body(below)
    about = (
        f"<main>{TEXT}<section id='comments'><h2>Comments in code</h2><p>They begin with a hash.</p></section></main>"
    )
    assert "They begin with a hash." in body(about)


def test_text_of_another_line_is_no_part_of_the_sentence():
    table = "<table><tr><td>a<td>b<tr><td>c<td>d</table>"
    assert "Related" not in body(f"<main>{TEXT * 2}<div>As above.{table}<b>Related</b></div></main>")
    assert "see **tags** below" in body(f"<main>{TEXT * 2}<div>{table}see <b>tags</b> below</div></main>")
