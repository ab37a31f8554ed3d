"""Which part of a page is its content: furniture is removed, then the smallest element with the text wins.

Rules by tag, role, class and link density. They are tuned on articles, documentation and forum threads;
a formula or a code block always counts as content.
"""

from __future__ import annotations

import re
from collections.abc import Set

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG
from mimo_data.html.forum import Post, find_posts

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
    r"outbrain|taboola|disqus|author-?box|author-?bio|about-?author|byline|tag-?list|taglinks|edit-?link|edit-?page|"
    r"feedback|similar|more-?articles|read-?next|trending|popular|site-?header|global-?header|search-?form|search-?box|"
    r"quick-?links|language-?switcher|version-?select|paywall|thread-?tools|threadtools|forum-?jump|quick-?reply|"
    r"quickreply|comment-?form|reply-?form|post-?controls|post-?actions|comments|comment-?list|comment-?area|doc-?comments)(?:$|[_-])",
    re.IGNORECASE,
)
# Dialogs of consent services: on a short page they are most of the text.
_CONSENT = re.compile(r"\b(?:onetrust|ot-sdk|cybotcookiebot|usercentrics|didomi|qc-cmp2?|truste|iubenda|fc-consent)", re.IGNORECASE)
# A whole class or id: these words are also parts of innocent names.
_FURNITURE_NAME = re.compile(
    r"foot|metadata|widget|signature|sig|avatar|user-?info|userinfo|post-?meta|entry-?meta|tags?|labels|rating|votes?|voting|"
    r"js-vote-count|hot-network-questions|latest|top-?bar|banner|cta|announcement|copyright|legal|disclaimer|actions|"
    r"message-?actionbar|reactions?|likes?|permalink|badges?|reputation|user-?details|postprofile|poster|memberinfo|"
    r"js-post-menu|respond|overlay|jump-?link|ad|hidden",
    re.IGNORECASE,
)
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
_MAIN = (
    ".//*[@itemprop='articleBody']",
    ".//main",
    ".//*[@role='main']",
    ".//article",
    ".//*[@id='content' or @id='main-content' or @id='main' or @id='bodyContent' or @id='mw-content-text']",
)
_TITLED_TAGS = frozenset(["section", "h1", "h2", "h3", "h4", "h5", "h6", "a", "span"])
_BLOCK_TAGS = frozenset([
    "div", "section", "ul", "ol", "table", "dl", "p", "td", "li", "aside", "header", "form", "fieldset", "center",
    "span", "details",
])  # fmt: skip


# A shorter paragraph above the content is a notice.
_MIN_LEAD_PARAGRAPH = 80
# A list of links with less than this share of the prose on one of its sides is a menu, or leads to related pages.
_MIN_PROSE_AROUND = 0.1
# A shorter block above the first post is a notice or a menu.
_MIN_LEAD_CHARACTERS = 200


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

    def add(self, element: html.HtmlElement) -> None:
        """Takes up a new element whose children are measured."""
        for sums in (self.text, self.links, self.num_links, self.marked):
            sums[element] = sum(sums[child] for child in element)

    def good(self, element: html.HtmlElement) -> int:
        return self.text[element] - self.links[element]


def _length(text: str | None) -> int:
    return len(" ".join(text.split())) if text else 0


def main_content(body: html.HtmlElement) -> tuple[html.HtmlElement, float]:
    """The element that holds the content, its furniture removed (the tree is changed), and how sure that is.

    Args:
        body: without what is never text, see `remove_silent`.

    Returns:
        The element, and its share of the page's text outside of links: a small one means that the rules took
        a part for the whole. A page without text has share 1.
    """
    measure = _Measure(body)
    posts = find_posts(body, measure.text.__getitem__)
    bodies = {post.body for post in posts}
    holders = bodies.union(*(post.body.iterancestors() for post in posts))
    whole = _remove_furniture(body, measure, holders)
    measure = _Measure(body)
    if posts and _largest_rest(body, bodies, holders, measure) < sum(measure.text[post] for post in bodies):
        return _thread(body, posts, holders, measure), 1.0
    found = _named_main(body, measure)
    element = _descend(found, measure)
    kept = measure.good(element) - _remove_link_lists(element, measure)
    return element, kept / whole if whole else 1.0


def unlinked_text(element: html.HtmlElement) -> int:
    """Characters of text, formulas and code outside of links."""
    return _Measure(element).good(element)


def remove_silent(body: html.HtmlElement) -> None:
    """Removes scripts, controls, embedded media and comments."""
    for element in list(body.iter()):
        if element is body or (isinstance(element.tag, str) and element.tag not in _DROPPED_TAGS):
            continue
        # A button that was never closed swallows the page.
        if element.tag != "button" or len("".join(element.itertext())) < 1000:
            element.drop_tree()


def _largest_rest(
    body: html.HtmlElement, bodies: Set[html.HtmlElement], holders: Set[html.HtmlElement], measure: _Measure
) -> int:
    """The most text outside of links that one element has beside posts: an article with comments is no thread."""
    largest = 0
    for holder in holders - bodies:
        if holder in measure.text:
            rest = (child for child in holder if child not in holders and child in measure.text)
            largest = max(largest, sum(map(measure.good, rest)))
    return largest


def _thread(
    body: html.HtmlElement, posts: list[Post], holders: Set[html.HtmlElement], measure: _Measure
) -> html.HtmlElement:
    """The posts, each under a line with its author and date, and the page's text above the first."""
    bodies = {post.body: post for post in posts}
    thread = html.Element("div")
    started = False
    stack = [body]
    while stack:
        element = stack.pop()
        if element in bodies:
            if len(thread):
                etree.SubElement(thread, "p").text = "---"
            heading = etree.SubElement(thread, "p")
            post = bodies[element]
            etree.SubElement(heading, "b").text = post.author
            heading[0].tail = f", {post.date}" if post.author and post.date else post.date
            element.tag = "div"
            element.tail = None
            thread.append(element)
            started = True
        elif element in holders:
            stack.extend(reversed(element))
        elif isinstance(element.tag, str):
            good = measure.good(element)
            if measure.marked[element] if started else element.tag == "h1" or (
                good > _MIN_LEAD_CHARACTERS and good > 0.6 * measure.text[element]
            ):
                element.tail = None
                thread.append(element)
    return thread


def _remove_furniture(
    body: html.HtmlElement, measure: _Measure, protected: Set[html.HtmlElement]
) -> int:
    """Removes what is not content by name; never what holds a large part of the text or of the formulas and code.

    Returns:
        The characters outside of links that the page had.
    """
    whole = measure.good(body)
    num_marked = measure.marked[body]
    stack = list(reversed(body))
    while stack:
        element = stack.pop()
        if element not in protected and _is_furniture(element):
            holds_marked = num_marked and (
                measure.marked[element] > 0.2 * num_marked
                or (_SOFT.search(element.get("class") or "") and element.find(f".//{CODE_TAG}") is not None)
            )
            limit = 0.99 if _CONSENT.search(f"{element.get('class') or ''} {element.get('id') or ''}") else 0.4
            if measure.good(element) < limit * max(1, whole) and not holds_marked:
                element.drop_tree()
                continue
        stack.extend(reversed(element))
    return whole


def _is_furniture(element: html.HtmlElement) -> bool:
    tag = element.tag
    if tag in ("noscript", "nav", "footer"):
        return True
    if tag in (FORMULA_TAG, CODE_TAG, "main", "article"):
        return False
    if (element.get("role") or "") in _DROPPED_ROLES:
        return True
    # A tab that is not on top is hidden, and is text all the same.
    if (element.get("role") or "") == "tabpanel":
        return False
    if "hidden" in element.attrib or "popover" in element.attrib:
        return True
    if element.get("aria-hidden") == "true" or _HIDDEN.search(element.get("style") or ""):
        return True
    if tag == "header":
        return next(element.iterancestors("article", "main"), None) is None
    names = element.get("class") or ""
    # There the id is made from the words of the title.
    if tag not in _TITLED_TAGS and "section" not in names.split():
        names += " " + (element.get("id") or "")
    if tag == "aside":
        return not _KEPT.search(names)
    if "-" in tag and _FURNITURE_PART.search(tag):
        return True
    return not _KEPT.search(names) and any(
        _FURNITURE_NAME.fullmatch(name) or (_FURNITURE_PART.search(name) and not _STATE.match(name))
        for name in names.split()
    )


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
    """The deepest element with nearly all of the text, with the title and the prose that stand above it."""
    above: list[html.HtmlElement] = []
    while True:
        children = [child for child in element if isinstance(child.tag, str)]
        best = max(children, key=measure.good, default=None)
        if (
            best is None
            or best.tag in ("p", CODE_TAG, FORMULA_TAG, "ul", "ol", "tr", "tbody")
            or measure.good(best) < 0.92 * measure.good(element)
        ):
            break
        above += _above(children[: children.index(best)], measure)
        element = best
    if not above:
        return element
    content = html.Element("div")
    for part in (*above, element):
        part.tail = None
        content.append(part)
    measure.add(content)
    return content


def _above(elements: list[html.HtmlElement], measure: _Measure) -> list[html.HtmlElement]:
    """What belongs to the content in the elements above it: its title and paragraphs."""
    return [
        part
        for element in elements
        for part in element.iter("h1", "p")
        if part.tag == "h1" or measure.good(part) > _MIN_LEAD_PARAGRAPH
    ]


def _remove_link_lists(root: html.HtmlElement, measure: _Measure) -> int:
    """Drops blocks that are mostly links: menus, tables of contents, lists of related pages.

    One with prose before and after it is a part of the text, unless it leads around the page itself.

    Returns:
        The characters outside of links that went with them.
    """
    lists = []
    stack = list(reversed(root))
    before = 0
    while stack:
        element = stack.pop()
        if not isinstance(element.tag, str) or element not in measure.text:
            continue
        if _is_link_list(element, measure):
            lists.append((element, before))
            before += measure.good(element)
        elif len(element) == 0:
            before += measure.good(element)
        else:
            before += _length(element.text)
            stack.extend(reversed(element))
    whole = max(1, before)
    dropped = 0
    for element, before in lists:
        after = whole - before
        if min(before, after) < _MIN_PROSE_AROUND * whole or _leads_around(element):
            dropped += measure.good(element)
            element.drop_tree()
    return dropped


def _is_link_list(element: html.HtmlElement, measure: _Measure) -> bool:
    if element.tag not in _BLOCK_TAGS or element.tag in ("p", "span", "li", "td"):
        return False
    text, links, num_links = measure.text[element], measure.links[element], measure.num_links[element]
    if measure.marked[element] or not num_links or text >= 3000:
        return False
    return links > 0.6 * text if num_links >= 3 else links > 0.85 * text and text < 60


def _leads_around(element: html.HtmlElement) -> bool:
    """Most links go to places on the same page."""
    addresses = [link.get("href") or "" for link in element.iter("a")]
    return 2 * sum(address.startswith("#") for address in addresses) >= len(addresses)
