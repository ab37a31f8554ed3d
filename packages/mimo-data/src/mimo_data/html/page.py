"""A web page to Markdown, formulas and code first (§2.1)."""

from __future__ import annotations

import re
from functools import cache

from lxml import etree, html

from mimo_data.html.codeblocks import mark_code
from mimo_data.html.content import main_content, unlinked_text
from mimo_data.html.delimiters import Notation
from mimo_data.html.embedded import embedded_content
from mimo_data.html.formulas import mark_formulas
from mimo_data.html.furniture import remove_silent
from mimo_data.html.markdown import render
from mimo_data.html.secondopinion import second_opinion

_CONTROLS = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\r")
# Never text, and no renderer of formulas keeps its source there: away before anything looks at the page.
_SILENT_AND_PLAIN = ("style", "link", "meta", "iframe", "select", "canvas", "audio", "video", "datalist", "progress")
# The first other one begins the body.
_HEAD_TAGS = frozenset(["base", "link", "meta", "noscript", "object", "script", "style", "template", "title"])

# The parser reads nothing behind the one, and ends the body with the other. Themes have them in the middle: a head
# that is a document of its own, a page in the page.
_END_OF_DOCUMENT = re.compile(rb"</(?:html|body)\s*>", re.IGNORECASE)
# Of libxml2, whatever it is allowed.
_MAX_DEPTH = 2048
_NESTING = [
    (re.compile(rb"</?(?:" + tags + rb")(?:\s[^<>]*)?>", re.IGNORECASE), instead)
    for tags, instead in (
        (rb"font|span|a|abbr|b|big|center|em|i|ins|small|strong|sub|sup|tt|u", b""),
        (
            rb"div|main|section|article|header|footer|nav|aside|details|blockquote|form|fieldset|ul|ol|li|dl|dt|dd|table"
            rb"|tbody|tr|td|th|[a-z]+-[a-z-]+",
            b"<p>",
        ),
        (
            rb"math|semantics|m(?:row|style|padded|fenced|frac|sqrt|root|su[bp]|subsup|under|over|underover|table|tr|td)",
            b"",
        ),
    )
]

# What forums tell search engines of a thread; its replies are not comments below an article.
_FORUM_TYPES = (b"DiscussionForumPosting", b"QAPage")
_FORUM = re.compile(rb"(?:schema\.org/|\"@type\"\s*:\s*\")(?:" + b"|".join(_FORUM_TYPES) + rb")")
# What pages tell search engines and readers of feeds of an article; WordPress's own class of a post's page.
_ARTICLE_TYPES = rb"(?:(?:[A-Z]\w*)?Article|BlogPosting|Recipe|Review)"
_ARTICLE = re.compile(
    rb"schema\.org/" + _ARTICLE_TYPES + rb"\b|\"@type\"\s*:\s*\[?\s*\"" + _ARTICLE_TYPES + rb"\""
    rb"|<body[^>]*\bsingle-post\b"
)
# What only the pages of forum programs hold: phpBB, FluxBB, vBulletin, SMF, XenForo, Invision, NodeBB, Flarum, Vanilla,
# bbPress, Discuz!, Drupal, GitHub, Bugzilla, HyperKitty, Trac, Kunena, Khoros, WoltLab, Launchpad, Art of Problem
# Solving, Tieba, Question2Answer, Reddit, YaBB, Jira, SourceForge.
_FORUM_NAMES = (
    b'="viewtopic.php?', b'="./viewtopic.php?', b"section-viewtopic", b'"punviewtopic"', b'="showthread.php?',
    b'"forumposts"', b"action=profile;u=", b"thread_view", b'"XenForo"', b"ipboard_body",
    b"data-pageController='topic'", b'component="topic"', b'"flarum-content"', b'"MessageList', b'"bbp-reply-content',
    b'"postlist"', b"node-forum", b"timeline-comment", b'"bz_comment', b'"email-body"', b'"trac-change-',
    b'"kmsg', b"lia-message-body", b"wbbPost", b'"boardComment', b"cmty-post", b"j_d_post_content", b"qa-a-item",
    b"usertext-body", b"<shreddit-comment", b"YaBB.pl?", b"twixi-block", b'"display_post"',
)  # fmt: skip
# With less than this share of the page's text, and no more of it, the own rules may have taken a part for the whole: a
# second opinion is asked, and followed when it holds this many times the text. Where they keep more, it is the other
# that is wrong, four times of five: comments, dialogs, other articles (docs/log.md).
_UNSURE_SHARE = 0.4
_UNSURE_CHARACTERS = 400
_MORE_TEXT = 1.5
# A page with less text is one that a script would draw.
_MIN_CHARACTERS = 200
# The slowest shape of page tried, a list of links, takes trafilatura 6 s at this size.
_MAX_SECOND_OPINION_CHARACTERS = 2_000_000


def extract_html(page: str, *, url: str = "") -> str:
    """The main content of a page as Markdown; "" when it has none.

    Formulas are written `$…$` or `$$…$$`, each once, from whatever the page draws them with; code blocks are
    fenced with their language when the page names it. The posts of a thread are set apart by `---`.
    """
    source = page.encode("utf-8", "replace").translate(None, _CONTROLS)
    root = _parse(source)
    if root is None:
        return ""
    # Held until the end: lxml makes the object of an element again whenever the last reference to it is gone.
    elements = list(root.iter())
    body, notation = _marked_body(root, page)
    content, share = main_content(
        body,
        is_forum=cache(lambda: _is_forum(source)),
        is_article=lambda: _ARTICLE.search(source) is not None,
        has_raw_formulas=notation.is_in_text,
    )
    if (
        share < _UNSURE_SHARE
        and len(page) <= _MAX_SECOND_OPINION_CHARACTERS
        and (length := unlinked_text(content)) < _UNSURE_CHARACTERS
    ):
        again = _parse(source)
        other = None if again is None else second_opinion(_marked_body(again, page)[0])
        if other is not None and unlinked_text(other) > _MORE_TEXT * length:
            content = other
    markdown = render(content, notation)
    if len(markdown) < _MIN_CHARACTERS and b"ld+json" in source:
        again = _parse(source)
        told = None if again is None else embedded_content(again)
        if told is not None:
            markdown = max(markdown, render(*_marked_body(told, page)), key=len)
    del elements
    return markdown


def _is_forum(source: bytes) -> bool:
    """Whether the page says that it is a forum's thread; a tenth of the page's time."""
    if any(name in source for name in _FORUM_NAMES):
        return True
    # The names first: the search for what stands before them takes as long again.
    return any(name in source for name in _FORUM_TYPES) and _FORUM.search(source) is not None


def _parse(source: bytes) -> html.HtmlElement | None:
    """The page's tree without comments, or None when there is nothing in it.

    The parser stops at `_MAX_DEPTH`, where pages come that leave a tag open in every post: such a page loses the tags
    that nest, not what comes after.
    """
    root = _tree(source)
    for nesting, instead in _NESTING:
        if root is None or not _ends_deep(root):
            break
        root = _tree(nesting.sub(instead, source))
    return root


def _ends_deep(root: html.HtmlElement) -> bool:
    """Whether the last element is as deep as the parser goes."""
    depth, last = 0, root
    while depth < _MAX_DEPTH - 2 and len(last):
        depth, last = depth + 1, last[-1]
    return depth == _MAX_DEPTH - 2


def _tree(source: bytes) -> html.HtmlElement | None:
    parser = html.HTMLParser(huge_tree=True, remove_pis=True, remove_comments=True, encoding="utf-8")
    # One class for all elements: lxml's own choice by tag is a call to Python for each.
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=html.HtmlElement))
    try:
        root = html.document_fromstring(_END_OF_DOCUMENT.sub(b"", source), parser=parser)
    except (etree.ParserError, ValueError):
        return None
    _end_head(root)
    return root


def _end_head(root: html.HtmlElement) -> None:
    """Moves to the body what the parser, which knows no `main` and no `article`, left in a head that nothing ends."""
    head = root.find("head")
    first = None if head is None else next((child for child in head if child.tag not in _HEAD_TAGS), None)
    if first is None:
        return
    body = root.find("body")
    if body is None:
        body = etree.SubElement(root, "body")
    text, body.text = body.text, None
    moved = [first, *first.itersiblings()]
    body[:0] = moved
    moved[-1].tail = (moved[-1].tail or "") + (text or "")


def _marked_body(root: html.HtmlElement, page: str) -> tuple[html.HtmlElement, Notation]:
    """The page's body with its code and formulas marked, and how it writes the formulas in its text."""
    etree.strip_elements(root, *_SILENT_AND_PLAIN, with_tail=False)
    mark_code(root)
    notation = mark_formulas(root, page)
    found = root.find(".//body")
    body = root if found is None else found
    remove_silent(body)
    return body, notation
