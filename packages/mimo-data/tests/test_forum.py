from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mimo_data import extract_html

QUESTION = "My program stops after the third step and I cannot say why it does so."
ANSWER = "The third step divides by the number of steps left, which is zero by then."
THANKS = "That was it, thank you!"
POSTS = (("ada", "May 3, 2024", QUESTION), ("bob", "May 4, 2024", ANSWER), ("ada", "May 5, 2024", THANKS))
THREAD = "\n\n---\n\n".join(f"**{author}**, {date}\n\n{text}" for author, date, text in POSTS)

LAYOUTS = tomllib.loads((Path(__file__).parent / "forum_layouts.toml").read_text())
XENFORO = LAYOUTS["XenForo 2"]["post"]
VBULLETIN = LAYOUTS["vBulletin 3"]["post"]
INVISION = LAYOUTS["Invision 4"]["post"]
MENU = "<div id='nav'><a href='/'>Index</a> <a href='/forums'>Forums</a> <a href='/help'>Help</a></div>"
FOOT = "<div id='footer'>Powered by <a href='https://example.org'>Software</a>. All times are UTC.</div>"


def page(*posts: str, before: str = "", after: str = "") -> str:
    return extract_html(f"<html><body><div class='wrap'>{before}{''.join(posts)}{after}</div></body></html>")


# Nothing in rows of comments says that one alone is a forum's.
CASES = [(name, num) for name, layout in LAYOUTS.items() for num in (1, 3) if num > 1 or not layout.get("needs_two")]


@pytest.mark.parametrize(("name", "num_posts"), CASES)
def test_posts_come_in_order_under_their_author_and_date_with_nothing_else(name, num_posts):
    layout = LAYOUTS[name]
    posts = [layout["post"].format(author=author, date=date, text=text) for author, date, text in POSTS[:num_posts]]
    markdown = page(*posts, before=MENU + layout.get("before", ""), after=layout.get("after", "") + FOOT)
    assert markdown.split("\n\n---\n\n") == THREAD.split("\n\n---\n\n")[:num_posts]


def test_replies_inside_of_a_reply_are_posts_of_their_own():
    def comment(post: int, inner: str) -> str:
        author, date, text = POSTS[post]
        return (
            f"<div class='comment'><p><a class='author' href='/u/x'>{author}</a> <time>{date}</time></p>"
            f"<div class='usertext-body'>{text}</div><div class='child'>{inner}</div></div>"
        )

    assert page(comment(0, comment(1, comment(2, "")))) == THREAD


def test_what_a_thread_is_about_stands_above_it():
    story = "The story that all of the comments below are about is told at the top of the page. " * 4
    posts = [XENFORO.format(author=author, date=date, text=text * 3) for author, date, text in POSTS]
    markdown = page(*posts, before=f"<h1>Steps</h1><div><p>{story}</p></div><div>Log in to reply</div>")
    assert markdown.startswith(f"# Steps\n\n{story.strip()}\n\n---\n\n**ada**, May 3, 2024")
    assert "Log in" not in markdown


def test_remarks_below_answers_stay_only_with_mathematics_or_code():
    def answer(text: str, *remarks: str) -> str:
        below = "".join(
            f"<li><span class='comment-text'>{remark}</span> <a href='/users/8/x'>eve</a></li>" for remark in remarks
        )
        return (
            f"<div class='answer'><div class='js-post-body' itemprop='text'><p>{text}</p></div>"
            f"<div itemprop='author'><a href='/users/7/x'>ada</a></div><ul class='comments-list'>{below}</ul></div>"
        )

    markdown = page(answer(QUESTION, "Nice one!", r"Or $x_1^2 \to y$."), answer(ANSWER))
    assert r"$x_1^2 \to y$" in markdown
    assert "Nice one" not in markdown


def test_a_post_with_nothing_above_its_signature_is_left_out():
    layout = LAYOUTS["phpBB 2"]
    posts = [layout["post"].format(author=author, date=date, text=text) for author, date, text in POSTS]
    smile = layout["post"].format(author="eve", date="May 6, 2024", text="<img src='smile.gif' alt=':-)'/>")
    assert page(*posts, smile, before=layout["before"], after=layout["after"]) == THREAD


def test_a_post_that_a_quotation_parts_is_one():
    layout = LAYOUTS["phpBB 2"]
    quotation = "</span><table><tr><td><b>ada wrote:</b></td></tr><tr><td class='quote'>{}</td></tr></table>"
    parted = f"{ANSWER}{quotation.format(QUESTION)}<span class='postbody'>{THANKS}"
    posts = [layout["post"].format(author=author, date=date, text=text) for author, date, text in POSTS[:1]]
    posts.append(layout["post"].format(author="bob", date="May 4, 2024", text=parted))
    markdown = page(*posts, before=layout["before"], after=layout["after"])
    assert markdown.split("\n\n---\n\n") == [
        f"**ada**, May 3, 2024\n\n{QUESTION}",
        f"**bob**, May 4, 2024\n\n{ANSWER}\n\n{THANKS}",
    ]


def test_underscores_that_are_no_rule_above_a_signature_stay():
    texts = (f"{QUESTION}<br>_________________________<br>{ANSWER}", THANKS)
    posts = [XENFORO.format(author="ada", date="May 3, 2024", text=text) for text in texts]
    assert ANSWER in page(*posts)


def test_when_a_poster_joined_is_not_the_date_of_the_post():
    layout = XENFORO.replace('<time datetime="2024-05-03T10:00:00">{date}</time>', "")
    markdown = page(*(layout.format(author=author, date=date, text=text) for author, date, text in POSTS))
    assert markdown.startswith(f"**ada**\n\n{QUESTION}")


def test_a_quotation_of_an_earlier_post_goes_and_one_of_another_text_stays():
    repeated = f"<blockquote class='bbCodeBlock--quote'><div>ada said:</div><div>{QUESTION}</div></blockquote>"
    other = f"<blockquote>{THANKS} The manual says it in other words, somewhere else.</blockquote>"
    posts = [XENFORO.format(author="ada", date="May 3, 2024", text=QUESTION)]
    posts += [
        XENFORO.format(author="bob", date="May 4, 2024", text=f"{quote}<p>{ANSWER}</p>") for quote in (repeated, other)
    ]
    markdown = page(*posts)
    assert markdown.count(QUESTION) == 1
    assert "ada said" not in markdown
    assert "> That was it, thank you! The manual says" in markdown
    assert markdown.count(ANSWER) == 2


def test_a_quotation_in_a_table_goes_by_its_title():
    quote = (
        f"Quote:<table><tr><td class='alt2'><div>Originally Posted by ada</div><div>{QUESTION}</div></td></tr></table>"
    )
    texts = (QUESTION, quote + ANSWER)
    markdown = page(*(VBULLETIN.format(author="ada", date="May 3, 2024", text=text) for text in texts))
    assert markdown.count(QUESTION) == 1
    assert ANSWER in markdown


def test_a_quotation_with_a_formula_stays():
    text = f"{QUESTION} It is \\(\\frac{{a}}{{b}}\\)."
    script = "<script src='https://cdn.example/MathJax.js'></script>"
    posts = [
        XENFORO.format(author="ada", date="May 3, 2024", text=body)
        for body in (text, f"<blockquote>{text}</blockquote>{ANSWER}")
    ]
    assert page(*posts, before=script).count(r"$\frac{a}{b}$") == 2


def test_notices_previews_and_signatures_with_code_are_no_part_of_a_thread():
    notice = f"<ul class='notices'><li class='notice'>Welcome. {ANSWER}</li></ul>"
    preview = "<div class='bbCodeBlock--unfurl'><h3>Another site</h3><div>What it says of itself.</div></div>"
    expand = "<div class='bbCodeBlock-expandLink'><a>Click to expand...</a></div>"
    post = XENFORO.format(author="ada", date="May 3, 2024", text=QUESTION * 4 + preview + expand)
    signed = post.replace("Sent from my abacus", "Sent from <pre><code>abacus --version</code></pre>")
    assert page(signed, signed, before=notice) == "\n\n---\n\n".join([f"**ada**, May 3, 2024\n\n{QUESTION * 4}"] * 2)


def test_the_word_author_beside_a_name_is_none():
    layout = INVISION.replace("<h3 class", "<span class='author'>Author</span><h3 class")
    posts = [layout.format(author=author, date=date, text=text) for author, date, text in POSTS]
    assert page(*posts) == THREAD


def test_formulas_and_code_in_posts_stay_exact():
    posts = [
        XENFORO.format(
            author="ada", date="May 3, 2024", text=f"{QUESTION} <script type='math/tex'>a_1 * b < c</script>"
        ),
        XENFORO.format(author="bob", date="May 4, 2024", text=f"{ANSWER}<pre>if x:\n\n    y()</pre>"),
    ]
    markdown = page(*posts)
    assert "$a_1 * b < c$" in markdown
    assert "```\nif x:\n\n    y()\n```" in markdown


def article_with_comments(paragraphs: int, *comments: str, said: str = "", name: str = "entry-content") -> str:
    article = "".join(f"<p>Paragraph {number}. {QUESTION} {ANSWER}</p>" for number in range(paragraphs))
    items = "".join(
        f"<li><b class='author'>{author}</b> <time>{date}</time><div class='comment-body'>{text}</div></li>"
        for (author, date, _), text in zip(POSTS, comments, strict=False)
    )
    holder = f"<div id='comments'><h3>Comments</h3><ol>{items}</ol></div>"
    return page(f"{said}<article><h1>Title</h1><div class='{name}'>{article}</div></article>{holder}")


@pytest.mark.parametrize("length", [1, 100])
def test_an_article_with_comments_is_no_thread_and_loses_them_however_long_they_are(length):
    markdown = article_with_comments(9, "I thank you. " * length, "So do I. " * length)
    assert "Paragraph 8" in markdown
    assert "thank you" not in markdown
    assert "So do I" not in markdown


@pytest.mark.parametrize(
    "said",
    ["<script type='application/ld+json'>{\"@type\": \"BlogPosting\"}</script>",
     "<script type='application/ld+json'>{\"@type\": [ \"NewsArticle\"]}</script>",
     "<div itemscope itemtype='https://schema.org/Recipe'></div>"],
)  # fmt: skip
def test_comments_on_a_page_that_calls_itself_an_article_go_whatever_its_text_is_called(said):
    comments = ("I thank you. " * 200, "So do I. " * 200)
    markdown = article_with_comments(3, *comments, said=said, name="box")
    assert "Paragraph 2" in markdown
    assert "I thank you." not in markdown
    assert "I thank you." in article_with_comments(3, *comments, name="box")


def test_a_part_of_the_article_that_stands_among_the_holders_of_its_comments_stays():
    comments = "".join(
        f"<li><b class='author'>{author}</b> <time>{date}</time><div class='comment-body'>I thank you.</div></li>"
        for author, date, _ in POSTS
    )
    article = "".join(f"<p>Paragraph {number}. {QUESTION} {ANSWER}</p>" for number in range(9))
    steps = "".join(f"<p>Step {number}. {QUESTION} {ANSWER}</p>" for number in range(8))
    said = "<div itemscope itemtype='https://schema.org/Recipe'></div>"
    markdown = page(f"{said}<main><div>{article}</div><div>{steps}<ol>{comments}</ol></div></main>")
    assert "Paragraph 8." in markdown
    assert "Step 7." in markdown
    assert "I thank you." not in markdown


def test_comments_that_hold_what_is_named_like_an_article_are_a_thread():
    posts = "".join(
        f"<div class='comment-body'><b class='author'>{author}</b> <time>{date}</time><div class='comment-text'>"
        f"<div class='entry-content'><p>{text * 20}</p></div></div></div>"
        for author, date, text in POSTS
    )
    markdown = page(posts)
    assert [author in markdown for author, _, _ in POSTS] == [True] * len(POSTS)
    assert markdown.count("\n\n---\n\n") == len(POSTS) - 1


@pytest.mark.parametrize(
    "said",
    ["<script type='application/ld+json'>{\"@type\": \"DiscussionForumPosting\"}</script>",
     "<div itemscope itemtype='https://schema.org/QAPage'></div>"],
)  # fmt: skip
def test_comments_on_a_page_that_calls_itself_a_forum_are_replies(said):
    assert "I thank you." in article_with_comments(2, "I thank you.", "So do I.", said=said)


def test_a_style_sheet_for_a_forum_makes_no_page_one():
    said = "<style>.bbp-reply-content, .bbp-topic-content { margin: 0 }</style>"
    assert "I thank you." not in article_with_comments(4, "I thank you.", "So do I.", said=said)


def test_comments_below_an_article_stay_for_a_formula_among_them():
    markdown = article_with_comments(3, "Should it not be <script type='math/tex'>n^2</script>?", "It should.")
    assert "Should it not be $n^2$?" in markdown
    assert "It should." in markdown


def test_many_posts_take_time_in_proportion():
    posts = [XENFORO.format(author=f"n{number}", date="May 3, 2024", text=f"Post {number}.") for number in range(2000)]
    markdown = page(*posts)
    assert markdown.count("\n\n---\n\n") == 1999
    assert markdown.endswith("**n1999**, May 3, 2024\n\nPost 1999.")
