"""What the class or id of an element says that it is: a sidebar, an advertisement, the caption of a photograph.

Tuned on articles, documentation and forum threads; in words of several languages where sites use them.
"""

from __future__ import annotations

import re
from enum import Flag, auto
from functools import lru_cache

from lxml import html


def _a_part(words: str) -> re.Pattern[str]:
    """Any of these words as a part of a class or id between spaces, hyphens or underscores."""
    return re.compile(rf"(?:^|[\s_-])(?:{words})(?:$|[\s_-])", re.IGNORECASE)


# One part of a class or id between hyphens or underscores, such as `sidebar` in `left-sidebar`.
_FURNITURE_PART = re.compile(
    r"(?:^|[_-])(?<!^no[_-])(?<!^not[_-])(?<![_-]no[_-])(?<![_-]not[_-])(?:(?:left|right|side|top|main|sub|site|page|global)?nav|navbar|navigation|navheader|navfooter|"
    r"menu|submenu|breadcrumbs?|bcrumb|crumbs?|side-?bar(?![_-]?layout)|"
    r"footer|masthead|(?<!the[-_])cookies?|consent|gdpr|sharedaddy|addtoany|sponsor(?:ed|s)?|ads|adsbygoogle|subscribe|subscription|"
    r"signup|sign-up|login|log-in|popup|pop-up|modal|tooltip|dropdown|toolbar|pagination|pager|paging|pagenav|toc|"
    r"table-of-contents|skip-?link|skip-?to|sr-only|screen-reader-text|visually-?hidden|printfooter|catlinks|navbox|"
    r"editsection|noprint|headerlink|disqus|byline|tag-?list|taglinks|edit-?link|edit-?page|feedback|similar|popular|"
    r"site-?header|global-?header|search-?form|search-?box|quick-?links|language-?switcher|version-?select|(?<=[_-])paywall|paywall(?=[_-])|"
    r"thread-?tools|forum-?jump|quick-?reply|comment-?form|reply-?form|post-?controls|post-?actions|comments|"
    r"comment-?list|comment-?area|doc-?comments|no-?comments|entry-?utility|expand-?link|shrink-?link|unfurl|gist-meta|"
    r"helpful|likes-and-labels|additional-resources|quarto-title-meta|(?:source|src)-?link|link-seesrc|git-link|"
    r"(?:entry|post|user|message|comment|author)[-_]{1,2}signature)(?:$|[_-])",
    re.IGNORECASE,
)
# Stronger than a name of content beside it: `article-related`, `content__newsletter`.
_STRONG_PART = re.compile(
    r"(?:^|[_-])(?:related|newsletter|recommend(?:ed|ations?)?|outbrain|taboola|shar(?:e|ing)|social|trending|"
    r"message-?options|jb-print-docs-body|license-box|article-licensing|blog_post_info_block|article_bottom|after-?post|before-?post|footer|advert(?:isement|s|ising)?|promo|promotion|upsell|also-?like|read-?next|more-?(?:from|stories|articles|news))"
    r"(?:$|[_-]|s$|articles|stories|posts|links|content)",
    re.IGNORECASE,
)
# Whose text it is; also as a part of what is named like the text: `entry__author`.
_AUTHOR_BOX = _a_part(
    r"about-?(?:the-?)?authors?|(?:post|entry|article|story|blog|resource)[-_]{1,2}authors?|"
    r"authors?[-_]{0,2}(?:box|bio|info|section|details|wrap|container|name|description|card|profile|meta|role|area|block)"
)
# A whole class or id: these words are also parts of innocent names.
_FURNITURE_NAME = re.compile(
    r"(?:page|site|div|global|main)?[-_]?(?:foot|bottom)(?:[-_]?(?:bar|nav|info|menu|links?|box|copyright))?|metadata|widget|avatar|user-?info|post-?meta|entry-?meta|rating|votes?|voting|"
    r"js-vote-count|hot-network-questions|latest|top-?bar|banner|cta|announcement|copyright|legal|disclaimer|actions|"
    r"message-?actionbar|reactions?|likes?|permalink|badges?|reputation|user-?details|post-copyright|(?-i:post-Desc)|postprofile|poster|memberinfo|"
    r"page-?metadata|book-header|js-post-menu|respond|overlay|jump-?link|ad|hidden|notices",
    re.IGNORECASE,
)
_TAGS = re.compile(r"tags?|labels", re.IGNORECASE)
_SIGNATURE = re.compile(r"signature|sig", re.IGNORECASE)
_CAPTION = _a_part(
    r"(?:fig|image|img|photo|picture|media|video|gallery)?-?caption(?:-?text)?|"
    r"(?:image|img|photo|picture|media)-?(?:credits?|meta|source|author|description|copyright)",
)
_TEASER = _a_part("teasers?")
_SMALL_PART = _a_part(
    r"btns?|buttons?|cta|credits?|attributions?|disclaimer|copyright|read-?more|more-?link|rating|"
    r"post-?metadata|(?:post|article|entry|story|blog)[_-]{0,2}(?:info|meta)(?:[_-](?:box|block|bar|wrap(?:per)?))?|"
    r"(?:post|article|entry|story|news|meta|content-?item)[_-]{0,2}(?:date|time)|time-?stamp|"
    r"(?:ips)?edited|last-?mod(?:ified)?|date-?(?:line|time|published|modified|created)|(?:last-?)?updated(?:-?(?:at|on|date))?|publish(?:ed)?(?:-?date)?"
)
_STATE = re.compile(
    r"(?:tag|category|theme|has|no|with|template|post|page|is|js|type|status|format)-|.*[:\[]", re.IGNORECASE
)
_KEPT = _a_part(
    r"content|article|main|body|post-?body|entry|message|admonition|note|footnotes?|callout|warning|tip|widget blog",
)
# Of a text, as DocBook, AsciiDoc, Texinfo, Org, Pandoc, LaTeXML and RDoc call it; its id is made from its title.
_SECTION = re.compile(
    r"(?:^|\s)(?:(?:sub)*section|chapter|appendix|(?:ref)?sect\d|[a-z]+-level-extent|outline-(?:text-)?\d|level\d|"
    r"ltx_(?:sub)*section|(?:method|constants|attributes?)-(?:section|list))(?:$|\s)",
    re.IGNORECASE,
)
_CONSENT = re.compile(
    r"\b(?:onetrust|ot-sdk|cybotcookiebot|usercentrics|didomi|qc-cmp2?|truste|iubenda|fc-consent|cmplz|borlabs|"
    r"moove[_-]gdpr|dsgvo|cky-|coi-|cc-window|osano|trustarc|termly|cli-modal|clisettings|cookie-?(?:law|notice|consent|banner|bar|settings|policy|info|popup|message))",
    re.IGNORECASE,
)
_MAIN_PART = re.compile(r"(?:^|[\s_-])(?:entry|article|post|story)[-_]?(?:content|body|text)(?:$|[\s_])", re.IGNORECASE)
# Also names of what the text itself stands in.
_AROUND_THE_TEXT = re.compile(r"paywall|read-?more|shar(?:e|ing)|layout|\bads?-", re.IGNORECASE)
# The words of a title: `…-template-the-cookie-rookie-card-by-…`.
_SLUG = re.compile(r"[^\W_]+(?:[-_]+[^\W_]+){7,}")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Named(Flag):
    """What a name says; several at once."""

    FURNITURE = auto()
    SIGNATURE = auto()
    """Below a person's posts; in documentation, how a function is called."""
    TAGS = auto()
    """What a page is filed under; in documentation, parameters and examples."""
    CAPTION = auto()
    """Words under a photograph, or whose it is."""
    TEASER = auto()
    """Of another page; also of the page itself."""
    SMALL_PART = auto()
    """A button, a credit or a date when it is short. A long one is a part of the page that has some."""


NOTHING = Named(0)


@lru_cache(maxsize=1 << 16)
def named(names: str) -> Named:
    """What the words of a class or id say."""
    names = _CAMEL_CASE.sub("-", names)
    words = [word for word in names.split() if not _STATE.match(word) and not _SLUG.fullmatch(word)]
    if (
        _AUTHOR_BOX.search(names)
        or any(map(_STRONG_PART.search, words))
        or (
            not says_content(names)
            and (any(map(_FURNITURE_NAME.fullmatch, names.split())) or any(map(_FURNITURE_PART.search, words)))
        )
    ):
        return Named.FURNITURE
    said = NOTHING
    if not says_content(names):
        if any(map(_SIGNATURE.fullmatch, names.split())):
            said |= Named.SIGNATURE
        if any(map(_TAGS.fullmatch, names.split())):
            said |= Named.TAGS
    if _CAPTION.search(names):
        said |= Named.CAPTION
    if _TEASER.search(names):
        said |= Named.TEASER
    if any(map(_SMALL_PART.search, words)):
        said |= Named.SMALL_PART
    return said


def says_content(names: str) -> bool:
    return _KEPT.search(names) is not None


def says_section(names: str) -> bool:
    return _SECTION.search(names) is not None


def says_small_part(names: str) -> bool:
    return _SMALL_PART.search(names) is not None


def is_main_part(element: html.HtmlElement) -> bool:
    """Whether its class or id is such as `entry-content`, or the page calls it an article's text."""
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    return element.get("itemprop") == "articleBody" or _MAIN_PART.search(names) is not None


def says_consent(names: str) -> bool:
    """A dialog of a consent service: on a short page it is most of the text."""
    return _CONSENT.search(names) is not None


def may_hold_the_text(names: str) -> bool:
    """Names of furniture that sites also give to what the whole text stands in."""
    return _AROUND_THE_TEXT.search(names) is not None


def says_furniture_tag(tag: str) -> bool:
    """A custom element: `site-footer`."""
    return "-" in tag and (_FURNITURE_PART.search(tag) is not None or _STRONG_PART.search(tag) is not None)
