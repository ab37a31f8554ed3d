"""Which part of a page is its content: furniture is removed, then the smallest element with the text wins.

Rules by tag, role, class and link density. They are tuned on articles, documentation and forum threads;
a formula or a code block always counts as content.
"""

from __future__ import annotations

import re

from lxml import html

from mimo_data.codeblocks import CODE_TAG
from mimo_data.formulas import FORMULA_TAG

_DROPPED_TAGS = frozenset(
    "script style noscript template svg iframe object button select input textarea nav footer canvas audio video "
    "dialog menu head map datalist progress".split()
)
_DROPPED_ROLES = frozenset(
    "navigation banner contentinfo search complementary dialog alertdialog toolbar menu menubar tablist alert status".split()
)
_FURNITURE = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|menu|submenu|breadcrumbs?|bcrumb|crumbs?|side-?bar|sidenav|footer|foot|masthead|"
    r"cookies?|consent|gdpr|share|sharing|social|sharedaddy|addtoany|related|recommend(?:ed|ations?)?|promo|promotion|"
    r"advert(?:isement|s|ising)?|ads|adsbygoogle|ad-?slot|sponsor(?:ed|s)?|newsletter|subscribe|subscription|signup|sign-up|"
    r"login|log-in|popup|pop-up|modal|overlay|tooltip|dropdown|toolbar|pagination|pager|paging|page-?nav|pagenav|prev-?next|"
    r"toc|table-of-contents|skip-?link|skip-?to|sr-only|screen-reader-text|visually-?hidden|printfooter|catlinks|navbox|"
    r"mw-editsection|noprint|metadata|jump-?link|headerlink|widget|outbrain|taboola|disqus|signature|sig|avatar|user-?info|"
    r"userinfo|author-?box|author-?bio|about-?author|post-?meta|entry-?meta|byline|tags?|tag-?list|taglinks|labels|"
    r"edit-?link|edit-?page|feedback|rating|vote|votes|voting|js-vote-count|hot-network-questions|similar|"
    r"more-?articles|read-?more|read-?next|trending|popular|latest|top-?bar|site-?header|page-?header-?nav|global-?header|"
    r"search-?form|search-?box|searchbox|quick-?links|language-?switcher|lang-?switch|version-?select|banner|cta|paywall|"
    r"announcement|copyright|legal|disclaimer|post-?controls|post-?actions|actions|message-?actionbar|reactions?|"
    r"likes?|permalink|badge|badges|reputation|user-?details|postprofile|poster|memberinfo|thread-?tools|threadtools|"
    r"forum-?jump|quick-?reply|quickreply|js-post-menu|comment-?form|respond|reply-?form)(?:$|[\s_-])",
    re.IGNORECASE,
)
_KEPT = re.compile(
    r"(?:^|[\s_-])(?:content|article|main|body|post-?body|entry|message|admonition|note|callout|warning|tip)(?:$|[\s_-])",
    re.IGNORECASE,
)
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden", re.IGNORECASE)
_MAIN = (
    ".//*[@itemprop='articleBody']",
    ".//main",
    ".//*[@role='main']",
    ".//article",
    ".//*[@id='content' or @id='main-content' or @id='main' or @id='bodyContent' or @id='mw-content-text']",
)
_BLOCK_TAGS = frozenset("div section ul ol table dl p td li aside header form fieldset center span details".split())


class _Measure:
    """Text, linked text and marked parts below each element, in one pass."""

    def __init__(self, root: html.HtmlElement) -> None:
        self._elements = [element for element in root.iter() if isinstance(element.tag, str)]
        self.text: dict[html.HtmlElement, int] = {}
        self.links: dict[html.HtmlElement, int] = {}
        self.num_links: dict[html.HtmlElement, int] = {}
        self.marked: dict[html.HtmlElement, int] = {}
        for element in reversed(self._elements):
            own = _length(element.text)
            links = num_links = 0
            marked = 1 if element.tag in (FORMULA_TAG, CODE_TAG) else 0
            if element.tag == CODE_TAG:
                own = len(element.get("text", ""))
            elif element.tag == FORMULA_TAG:
                own = len(element.get("latex", ""))
            for child in element:
                if isinstance(child.tag, str):
                    own += self.text[child]
                    links += self.links[child]
                    num_links += self.num_links[child]
                    marked += self.marked[child]
                own += _length(child.tail)
            if element.tag == "a":
                links, num_links = own, 1
            self.text[element] = own
            self.links[element] = links
            self.num_links[element] = num_links
            self.marked[element] = marked

    def good(self, element: html.HtmlElement) -> int:
        return self.text[element] - self.links[element]


def _length(text: str | None) -> int:
    return len(" ".join(text.split())) if text else 0


def main_content(root: html.HtmlElement) -> html.HtmlElement:
    """The element that holds the content, its furniture removed (the tree is changed)."""
    body = root.find(".//body")
    if body is None:
        body = root
    _remove_furniture(body)
    measure = _Measure(body)
    found = _named_main(body, measure)
    element = _descend(found, measure)
    _remove_link_lists(element, measure)
    return element


def _remove_furniture(body: html.HtmlElement) -> None:
    measure = _Measure(body)
    whole = max(1, measure.good(body))
    num_marked = measure.marked[body]
    stack = list(reversed(body))
    while stack:
        element = stack.pop()
        if not isinstance(element.tag, str):
            element.getparent().remove(element) if element.tail is None else element.drop_tree()
            continue
        if _is_furniture(element):
            share = measure.good(element) / whole
            holds_marked = num_marked and measure.marked[element] > 0.2 * num_marked
            if element.tag in _DROPPED_TAGS or (share < 0.4 and not holds_marked):
                element.drop_tree()
                continue
        stack.extend(reversed(element))


def _is_furniture(element: html.HtmlElement) -> bool:
    tag = element.tag
    if tag in _DROPPED_TAGS:
        return True
    if tag in (FORMULA_TAG, CODE_TAG, "body", "main", "article"):
        return False
    if (element.get("role") or "") in _DROPPED_ROLES or element.get("hidden") is not None:
        return True
    if element.get("aria-hidden") == "true" or _HIDDEN.search(element.get("style") or ""):
        return True
    if tag == "header":
        return not any(True for _ in element.iterancestors("article", "main"))
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    if tag == "aside":
        return not _KEPT.search(names)
    return bool(names.strip()) and bool(_FURNITURE.search(names)) and not _KEPT.search(names)


def _named_main(body: html.HtmlElement, measure: _Measure) -> html.HtmlElement:
    """The element that the page itself calls its main part, if it holds most of the text."""
    whole = max(1, measure.good(body))
    for path in _MAIN:
        found = [element for element in body.xpath(path) if element in measure.text]
        if len(found) == 1 and measure.good(found[0]) > 0.5 * whole:
            return found[0]
        if len(found) > 1:
            largest = max(found, key=measure.good)
            if measure.good(largest) > 0.7 * whole:
                return largest
    return body


def _descend(element: html.HtmlElement, measure: _Measure) -> html.HtmlElement:
    """The deepest element with nearly all of the text."""
    while True:
        children = [child for child in element if isinstance(child.tag, str)]
        best = max(children, key=measure.good, default=None)
        if (
            best is None
            or best.tag in ("p", CODE_TAG, FORMULA_TAG, "ul", "ol", "tr", "tbody")
            or measure.good(best) < 0.92 * measure.good(element)
        ):
            return element
        element = best


def _remove_link_lists(root: html.HtmlElement, measure: _Measure) -> None:
    """Drops blocks that are mostly links: menus, tables of contents, lists of related pages."""
    stack = list(reversed(root))
    while stack:
        element = stack.pop()
        if not isinstance(element.tag, str) or element not in measure.text:
            continue
        text, links = measure.text[element], measure.links[element]
        if element.tag in _BLOCK_TAGS and not measure.marked[element] and measure.num_links[element]:
            many = measure.num_links[element] >= 3
            if (
                links > (0.6 if many else 0.85) * text
                and text < 3000
                and (many or text < 60)
                and element.tag not in ("p", "span", "li", "td")
            ):
                element.drop_tree()
                continue
        stack.extend(reversed(element))
