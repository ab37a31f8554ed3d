"""Finds the posts of a thread and rebuilds the page as them: author and date in a line, then the post's own text.

A thread is two or more bodies with forum names (`message-body`, `postbody`, `comment-text`, microdata `text`), whose
surroundings name an author or a date, and which hold most of the page's text. One body is enough, and so is less text,
where the page says that it is a forum's or a poster's profile stands beside it ("Joined: 2003, Posts: 13"). That covers
the common forum programs, question-and-answer sites and comment trees without knowing any by name; a thread without
such names is left to the rules of `content.py`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from lxml import etree, html

from mimo_data.html.names import is_main_part
from mimo_data.html.outline import Outline, upwards
from mimo_data.html.postbodies import find_bodies, is_aside, is_comment
from mimo_data.html.posters import poster, records
from mimo_data.html.quotes import has_raw_formula, remove_repeated_quotes

_COMMENT = re.compile(r"comment[-_]?(?:text|copy|body)|\bc-comment", re.IGNORECASE)
# What phpBB writes above a signature.
_SIGNATURE_RULE = re.compile(r"\s*_{17}\s*")
# A shorter text without author and date among others that have them is a button or a teaser.
_MIN_UNNAMED_CHARACTERS = 200
# Of the text that comments stand below.
_MIN_ARTICLE_CHARACTERS = 300
# A form, and who wrote each of them.
_MAX_CHARACTERS_BESIDE_COMMENTS = 1000
_MAX_SHARE_BESIDE_COMMENTS = 0.25
# A shorter block above the first post is a notice or a menu.
_MIN_LEAD_CHARACTERS = 200


class Post(NamedTuple):
    """One post of a thread; author and date are "" where the page does not say."""

    author: str
    date: str
    has_profile: bool
    body: html.HtmlElement


def find_posts(outline: Outline, *, is_forum: Callable[[], bool]) -> list[Post]:
    """What may be the posts of a thread, in the order of the page.

    Args:
        outline: of the page's body.
        is_forum: whether the page says so.
    """
    text = outline.text
    bodies = [body for body in find_bodies(outline, is_forum=is_forum) if text(body)]
    # Of remarks below the posts of a question-and-answer site only those with mathematics or code are kept.
    answers = {body for body in bodies if not _COMMENT.search(f"{body.get('class')} {body.get('id')}")}
    if len(answers) > 1:
        bodies = [body for body in bodies if body in answers or outline.marked(body) or has_raw_formula(body)]
    posts = [Post(*poster(body, record), body) for body, record in zip(bodies, records(bodies), strict=True)]
    named = [post for post in posts if post.author or post.date]
    if 2 * len(named) < len(posts) or not named:
        return []
    if len(named) == 1 and not is_forum() and not any(post.has_profile for post in posts):
        return []
    return [post for post in posts if post.author or post.date or text(post.body) > _MIN_UNNAMED_CHARACTERS]


def comments_below_article(
    outline: Outline, posts: list[Post], *, is_article: Callable[[], bool]
) -> list[html.HtmlElement]:
    """What holds the comments, when the posts are those below an article, which may be one of them: no thread.

    Comments with mathematics or code are worth keeping.

    Args:
        outline: of the page's body.
        posts: of `find_posts`.
        is_article: whether the page says so; then the text need not have a name.
    """
    comments = [post.body for post in posts if is_comment(post.body)]
    others = [post.body for post in posts if not is_comment(post.body)]
    if not comments or len(others) > 1 or (others and others[0] is not posts[0].body):
        return []
    if any(outline.marked(body) or has_raw_formula(body) for body in comments):
        return []
    holders = upwards(comments)
    article = others[0] if others else _article(outline, holders)
    if article is None and is_article():
        article = _longest_above(outline, holders, comments[0])
    if article is None or outline.good(article) < _MIN_ARTICLE_CHARACTERS:
        return []
    around = upwards([article])
    if not around.isdisjoint(comments):
        return []
    written: dict[html.HtmlElement, int] = defaultdict(int)
    for comment in comments:
        for element in (comment, *comment.iterancestors()):
            written[element] += outline.good(comment)
    found: dict[html.HtmlElement, None] = {}
    for element in comments:
        while (parent := element.getparent()) not in around and _is_of_comments(parent, written[parent], outline):
            element = parent
        found[element] = None
    return list(found)


def _is_of_comments(element: html.HtmlElement, written: int, outline: Outline) -> bool:
    """Whether it holds little besides comments of so much text: a part of the article may stand among their holders."""
    return outline.good(element) - written <= max(_MAX_CHARACTERS_BESIDE_COMMENTS, _MAX_SHARE_BESIDE_COMMENTS * written)


def _article(outline: Outline, holders: set[html.HtmlElement]) -> html.HtmlElement | None:
    """The first element that is named as an article's text and holds no post."""
    return next(
        (
            element
            for element in outline.elements[0].iter("div", "section", "article")
            if element not in holders and is_main_part(element)
        ),
        None,
    )


def _longest_above(
    outline: Outline, holders: set[html.HtmlElement], comment: html.HtmlElement
) -> html.HtmlElement | None:
    """The element with the most text outside of links that stands before the first comment."""
    above = [
        sibling
        for element in (comment, *comment.iterancestors())
        if element is not outline.elements[0]
        for sibling in element.itersiblings(preceding=True)
        if sibling in outline.number and sibling not in holders
    ]
    return max(above, key=outline.good, default=None)


def with_holders(posts: list[Post]) -> set[html.HtmlElement]:
    """The bodies of the posts and everything that they stand in."""
    return upwards(post.body for post in posts)


def is_thread(outline: Outline, posts: list[Post]) -> bool:
    """Whether the posts are the page: no element has more text outside of links beside them, as an article would.

    Only a forum's posts have a profile beside them.

    Args:
        outline: furniture removed.
    """
    if any(post.has_profile for post in posts):
        return True
    holders = with_holders(posts)
    within = sum(outline.text(post.body) for post in posts)
    bodies = {post.body for post in posts}
    return all(
        sum(outline.good(child) for child in holder if child not in holders) < within
        for holder in holders - bodies
        if holder in outline.number
    )


def thread(outline: Outline, posts: list[Post]) -> html.HtmlElement:
    """The posts, each under a line with its author and date, and the page's text above the first."""
    holders = with_holders(posts)
    for post in posts:
        _remove_signature(post.body)
    bodies = {post.body: post for post in posts if _has_text(post.body) or outline.marked(post.body)}
    remove_repeated_quotes(bodies)
    content = html.Element("div")
    # `len` of an element counts its children one by one.
    is_empty = True
    started = False
    stack = [outline.elements[0]]
    while stack:
        element = stack.pop()
        if element in bodies:
            if not is_empty:
                etree.SubElement(content, "p").text = "---"
            content.append(_heading(bodies[element]))
            element.tag = "div"
            started = True
        elif element in holders:
            stack.extend(reversed(element))
            continue
        # Below the first post only formulas and code are kept of what is no post.
        elif is_aside(element) or not (outline.marked(element) if started else _is_lead(element, outline)):
            continue
        element.tail = None
        content.append(element)
        is_empty = False
    return content


def _has_text(element: html.HtmlElement) -> bool:
    return any(text.strip() for text in element.itertext())


def _remove_signature(body: html.HtmlElement) -> None:
    """Drops what stands below a rule of underscores."""
    for element in body.iter():
        for text, is_tail in ((element.text, False), (element.tail, True)):
            if not text or not _SIGNATURE_RULE.fullmatch(text) or (is_tail and element is body):
                continue
            if is_tail:
                element.tail = None
            else:
                element.text = None
                element[:] = []
            while element is not body:
                for sibling in list(element.itersiblings()):
                    sibling.getparent().remove(sibling)
                element = element.getparent()
            return


def _heading(post: Post) -> html.HtmlElement:
    heading = html.Element("p")
    if post.author:
        etree.SubElement(heading, "b").text = post.author
        heading[0].tail = post.date and f", {post.date}"
    else:
        heading.text = post.date
    return heading


def _is_lead(element: html.HtmlElement, outline: Outline) -> bool:
    """A title, or prose long enough to be no notice."""
    good = outline.good(element)
    return element.tag == "h1" or (good > _MIN_LEAD_CHARACTERS and good > 0.6 * outline.text(element))
