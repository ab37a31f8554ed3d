"""Names of what stands around the content of a page, and its removal: menus, banners, dialogs, comments below articles.

Rules by tag, role, class and id, tuned on articles, documentation and forum threads.
"""

from __future__ import annotations

import re
from collections.abc import Set
from enum import Enum, auto
from functools import lru_cache

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG
from mimo_data.html.outline import Outline

_DROPPED_TAGS = frozenset([
    "script", "style", "template", "svg", "iframe", "object", "button", "select", "input", "textarea", "canvas",
    "audio", "video", "dialog", "menu", "head", "map", "datalist", "progress", "link", "meta",
])  # fmt: skip
_DROPPED_ROLES = frozenset([
    "navigation", "banner", "contentinfo", "search", "complementary", "dialog", "alertdialog", "toolbar", "menu",
    "menubar", "tablist", "alert", "status",
])  # fmt: skip
# One part of a class or id between hyphens or underscores, such as `sidebar` in `left-sidebar`.
_FURNITURE_PART = re.compile(
    r"(?:^|[_-])(?:nav|navbar|navigation|navheader|navfooter|menu|submenu|breadcrumbs?|bcrumb|crumbs?|side-?bar|sidenav|footer|masthead|cookies?|"
    r"consent|gdpr|share|sharing|social|sharedaddy|addtoany|related|recommend(?:ed|ations?)?|promo|promotion|"
    r"advert(?:isement|s|ising)?|ads|adsbygoogle|sponsor(?:ed|s)?|newsletter|subscribe|subscription|signup|sign-up|login|"
    r"log-in|popup|pop-up|modal|tooltip|dropdown|toolbar|pagination|pager|paging|pagenav|toc|table-of-contents|skip-?link|"
    r"skip-?to|sr-only|screen-reader-text|visually-?hidden|printfooter|catlinks|navbox|editsection|noprint|headerlink|"
    r"outbrain|taboola|disqus|byline|tag-?list|taglinks|edit-?link|edit-?page|"
    r"feedback|similar|more-?articles|read-?next|trending|popular|site-?header|global-?header|search-?form|search-?box|"
    r"quick-?links|language-?switcher|version-?select|paywall|thread-?tools|threadtools|forum-?jump|quick-?reply|"
    r"quickreply|comment-?form|reply-?form|post-?controls|post-?actions|comments|comment-?list|comment-?area|doc-?comments|"
    r"expand-?link|shrink-?link|unfurl|(?:ips)?edited|"
    r"(?:entry|post|user|message|comment|author)[-_]{1,2}signature)(?:$|[_-])",
    re.IGNORECASE,
)
# Whose text it is; also as a part of what is named like the text: `entry__author`.
_AUTHOR_BOX = re.compile(
    r"(?:^|[\s_-])(?:about-?(?:the-?)?authors?|(?:post|entry|article|story|blog|resource)[-_]{1,2}authors?|"
    r"authors?[-_]{0,2}(?:box|bio|info|section|details|wrap|container|name|description|card|profile|meta|role|area|block))"
    r"(?:$|[\s_-])",
    re.IGNORECASE,
)
# Dialogs of consent services: on a short page they are most of the text.
_CONSENT = re.compile(
    r"\b(?:onetrust|ot-sdk|cybotcookiebot|usercentrics|didomi|qc-cmp2?|truste|iubenda|fc-consent)", re.IGNORECASE
)
# A whole class or id: these words are also parts of innocent names.
_FURNITURE_NAME = re.compile(
    r"foot|metadata|widget|signature|sig|avatar|user-?info|userinfo|post-?meta|entry-?meta|tags?|labels|rating|votes?|voting|"
    r"js-vote-count|hot-network-questions|latest|top-?bar|banner|cta|announcement|copyright|legal|disclaimer|actions|"
    r"message-?actionbar|reactions?|likes?|permalink|badges?|reputation|user-?details|postprofile|poster|memberinfo|"
    r"js-post-menu|respond|overlay|jump-?link|ad|hidden|notices",
    re.IGNORECASE,
)
# Of a short element: buttons, credits and dates. A long one is a part of the page that has some.
_SMALL_PART = re.compile(
    r"(?:^|[\s_-])(?:btns?|buttons?|cta|credits?|attributions?|disclaimer|copyright|read-?more|more-?link|rating|"
    r"postmetadata|post-?date|publish(?:ed)?(?:-?date)?)(?:$|[\s_-])",
    re.IGNORECASE,
)
_MAX_SMALL_CHARACTERS = 200
_MIN_NOTE_CHARACTERS = 100
_MIN_CHARACTERS_PER_LINK = 100
# Names that forums also give to whole posts: with code inside, it is a post.
_SOFT = re.compile(r"popup|modal|dropdown|actions|overlay|poster|reply", re.IGNORECASE)
_STATE = re.compile(
    r"(?:tag|category|theme|has|no|with|template|post|page|is|js|type|status|format)-|.*[:\[]", re.IGNORECASE
)
_KEPT = re.compile(
    r"(?:^|[\s_-])(?:content|article|main|body|post-?body|entry|message|admonition|note|callout|warning|tip)(?:$|[\s_-])",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden", re.IGNORECASE)
_TELLING = frozenset(["role", "hidden", "popover", "aria-hidden", "style"])
# There the id is made from the words of the title.
_TITLED_TAGS = frozenset(["section", "h1", "h2", "h3", "h4", "h5", "h6", "a", "span"])
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
# A longer button was never closed and swallows the page.
_MAX_BUTTON_CHARACTERS = 1000


class _Named(Enum):
    FURNITURE = auto()
    SMALL_PART = auto()
    """Furniture when it is short."""


def remove_silent(body: html.HtmlElement) -> None:
    """Removes scripts, controls and embedded media."""
    for button in body.iter("button"):
        length = 0
        for piece in button.itertext():
            length += len(piece)
            if length > _MAX_BUTTON_CHARACTERS:
                button.tag = "div"
                break
    etree.strip_elements(body, *_DROPPED_TAGS, with_tail=False)


def remove_furniture(outline: Outline, protected: Set[html.HtmlElement]) -> int:
    """Removes what is not content by name; never what holds a large part of the text or of the formulas and code.

    Args:
        outline: of the page's body; what goes is taken out of it too.
        protected: elements that stay whatever their name.

    Returns:
        The characters outside of links that the page had, without dialogs about consent.
    """
    body = outline.elements[0]
    whole = outline.good(body)
    num_marked = outline.marked(body)
    num_consent_characters = 0
    removed = []
    number = 1
    while number < len(outline.elements):
        element = outline.elements[number]
        if (
            element not in protected
            and _is_furniture(element, outline)
            and _may_go(element, outline, whole, num_marked)
        ):
            removed.append(number)
            if _is_consent(element):
                num_consent_characters += outline.good(element)
            number = outline.end(number)
        else:
            number += 1
    outline.remove(removed)
    return whole - num_consent_characters


def _may_go(element: html.HtmlElement, outline: Outline, whole: int, num_marked: int) -> bool:
    classes = element.get("class") or ""
    if marked := outline.marked(element):
        holds_code = _SOFT.search(classes) and element.find(f".//{CODE_TAG}") is not None
        if marked > 0.2 * num_marked or holds_code:
            return False
    limit = 0.99 if _is_consent(element) else 0.4
    return bool(outline.good(element) < limit * max(1, whole))


def _is_consent(element: html.HtmlElement) -> bool:
    return _CONSENT.search(f"{element.get('class') or ''} {element.get('id') or ''}") is not None


def _is_furniture(element: html.HtmlElement, outline: Outline) -> bool:
    tag = element.tag
    if tag in ("noscript", "nav", "footer"):
        return True
    if tag in (FORMULA_TAG, CODE_TAG, "main", "article"):
        return False
    attributes = element.keys()
    if not _TELLING.isdisjoint(attributes):
        role = element.get("role")
        if role in _DROPPED_ROLES:
            return True
        # A tab that is not on top is hidden, and is text all the same.
        if role == "tabpanel":
            return False
        if "hidden" in attributes or "popover" in attributes or element.get("aria-hidden") == "true":
            return True
        if _HIDDEN.search(element.get("style") or ""):
            return True
    if tag == "header":
        return next(element.iterancestors("article", "main"), None) is None
    names = element.get("class") or "" if "class" in attributes else ""
    if "id" in attributes and tag not in _TITLED_TAGS and "section" not in names.split():
        names = f"{names} {element.get('id')}"
    if tag == "aside":
        if _KEPT.search(names):
            return False
        if not _is_note(element, outline):
            return True
    if "-" in tag and _FURNITURE_PART.search(tag):
        return True
    named = _named(names) if names else None
    return named is _Named.FURNITURE or (named is _Named.SMALL_PART and _is_small(element, outline))


def _is_note(aside: html.HtmlElement, outline: Outline) -> bool:
    """Prose beside the text, not links around it."""
    return (
        outline.num_links(aside) * _MIN_CHARACTERS_PER_LINK <= outline.good(aside)
        and outline.good(aside) > _MIN_NOTE_CHARACTERS
        and next(aside.iterancestors("main", "article"), None) is not None
    )


def _is_small(element: html.HtmlElement, outline: Outline) -> bool:
    # The words of an id may come from the text.
    return (
        _SMALL_PART.search(element.get("class") or "") is not None
        and element.tag not in _HEADINGS
        and outline.text(element) <= _MAX_SMALL_CHARACTERS
        and not outline.marked(element)
    )


@lru_cache(maxsize=1 << 16)
def _named(names: str) -> _Named | None:
    """What the words of a class or id say."""
    if _AUTHOR_BOX.search(names):
        return _Named.FURNITURE
    words = [word for word in names.split() if not _STATE.match(word)]
    if not _KEPT.search(names) and (
        any(map(_FURNITURE_NAME.fullmatch, names.split())) or any(map(_FURNITURE_PART.search, words))
    ):
        return _Named.FURNITURE
    return _Named.SMALL_PART if any(map(_SMALL_PART.search, words)) else None
