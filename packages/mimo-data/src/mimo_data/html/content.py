"""Which part of a page is its content: furniture is removed, then the smallest element with the text wins.

A thread is rebuilt from its posts instead (`forum.py`). A formula or a code block always counts as content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG
from mimo_data.html.forum import comments_below_article, find_posts, is_thread, thread, with_holders
from mimo_data.html.furniture import remove_furniture
from mimo_data.html.leads import remove_led_away
from mimo_data.html.names import says_section
from mimo_data.html.outline import HEADING_TAGS, Outline

# From the attributes to their elements: asking each element for its attributes takes twenty times as long.
_WITH_ITEMPROP, _WITH_ROLE, _WITH_ID = (etree.XPath(f"descendant::*/@{name}/..") for name in ("itemprop", "role", "id"))
_MAIN_IDS = frozenset(["content", "main-content", "main", "bodyContent", "mw-content-text"])
# Of the page's text, for one element of its kind and for the largest of several; and of the formulas and code.
_MIN_SHARE_OF_THE_ONLY = 0.3
_MIN_SHARE_OF_THE_LARGEST = 0.7
_MIN_SHARE_OF_MARKED = 0.5
# May be a list of links.
_LIST_TAGS = frozenset([
    "div", "section", "ul", "ol", "table", "dl", "aside", "header", "form", "fieldset", "center", "details",
])  # fmt: skip
_NOT_ENTERED = ("p", CODE_TAG, FORMULA_TAG, "ul", "ol", "dd", "tr", "tbody")
# Between a title and the longest part of what it stands above. On a page without formulas and code, above what is no
# section of a text, these may also say who wrote it.
_TEXT_TAGS = frozenset(["p", "ul", "ol", "dl", "table", "blockquote", "section", CODE_TAG, FORMULA_TAG])
# Less than this around the main part is no text that the page forgot to put into it.
_MIN_CHARACTERS_OF_A_TEXT = 1000
# A shorter paragraph above the content is a notice.
_MIN_LEAD_CHARACTERS = 80
_MAX_LEVELS = 3
# A list of links with less than this share of the prose on one of its sides is a menu, or leads to related pages.
_MIN_PROSE_AROUND = 0.1
# Beside any other part; Scaladoc's description stands in front of its members.
_ALWAYS_TEXT = re.compile(r"footnotes|fullcommenttop")
# Titles of lists of links that belong to the text.
_OF_THE_TEXT = re.compile(
    r"[\W\d]*(?:(?:normative |informative )?references?|see also|external links|further reading|bibliography|"
    r"literature|sources|resources|exercises|.{0,20}(?:problems|tasks|contests)|"
    r"(?:参考|參考|引用|引文)(?:资料|資料|文献|文獻|链接|連結|文章)?)\W*",
    re.IGNORECASE,
)
_ENDS_IN_COLON = re.compile(r"[:：]\s*$")
_LETTER = re.compile(r"[^\W\d_]")


def main_content(
    body: html.HtmlElement,
    *,
    is_forum: Callable[[], bool],
    is_article: Callable[[], bool],
    has_raw_formulas: Callable[[], bool],
) -> tuple[html.HtmlElement, float]:
    """The element that holds the content, its furniture removed (the tree is changed), and how sure that is.

    Args:
        body: without what is never text, see `remove_silent`.
        is_forum: whether the page says so: what looks like comments below an article are replies. Asked only when
            something has the name of a post.
        is_article: whether the page says so: comments on it are not a thread, whatever names they have. Asked only when
            all posts have names of comments.
        has_raw_formulas: whether formulas stand in the text between delimiters. Asked only when neither formulas nor
            code are marked.

    Returns:
        The element, and its share of the page's text outside of links: a small one means that the rules took
        a part for the whole. A page without text has share 1.
    """
    outline = Outline(body, has_raw_formulas=has_raw_formulas)
    posts = find_posts(outline, is_forum=is_forum)
    if posts and not is_forum() and (comments := comments_below_article(outline, posts, is_article=is_article)):
        for element in comments:
            element.drop_tree()
        outline, posts = Outline(body, has_raw_formulas=has_raw_formulas), []
    whole = remove_furniture(outline, with_holders(posts))
    if posts and (is_forum() or is_thread(outline, posts)):
        return thread(outline, posts), 1.0
    remove_led_away(outline)
    main = _named_main(outline)
    parts = [*_lead(main, outline), *_descend(main, outline)]
    if not outline.is_plain:
        parts = [*_title_elsewhere(parts, body), *parts]
    kept = sum(outline.good(part) - _remove_link_lists(part, outline) for part in parts)
    is_all = main.tag != "body" and main.find(".//h1") is not None and whole - kept < _MIN_CHARACTERS_OF_A_TEXT
    return _joined(parts), 1.0 if is_all or not whole else kept / whole


def unlinked_text(element: html.HtmlElement) -> int:
    """Characters of text, formulas and code outside of links."""
    return Outline(element).good(element)


def _named_main(outline: Outline) -> html.HtmlElement:
    """The element that the page itself calls its main part, if it holds enough of the text."""
    body = outline.elements[0]
    whole = max(1, outline.good(body))
    for found in _called_main(body):
        largest = max(found, key=outline.good, default=body)
        share = _MIN_SHARE_OF_THE_ONLY if len(found) == 1 else _MIN_SHARE_OF_THE_LARGEST
        if (
            found
            and outline.good(largest) > share * whole
            and outline.marked(largest) >= max(share, _MIN_SHARE_OF_MARKED) * outline.marked(body)
        ):
            return largest
    return body


def _called_main(body: html.HtmlElement) -> Iterator[list[html.HtmlElement]]:
    yield [element for element in _WITH_ITEMPROP(body) if element.get("itemprop") == "articleBody"]
    yield list(body.iter("main"))
    yield [element for element in _WITH_ROLE(body) if element.get("role") == "main"]
    yield list(body.iter("article"))
    yield [element for element in _WITH_ID(body) if element.get("id") in _MAIN_IDS]


def _descend(element: html.HtmlElement, outline: Outline) -> list[html.HtmlElement]:
    """The deepest element with nearly all of the text, after the title and the prose that stand above it."""
    above: list[html.HtmlElement] = []
    while True:
        children = list(element)
        best = max(children, key=outline.good, default=None)
        if (
            best is None
            or best.tag in _NOT_ENTERED
            or outline.good(best) < 0.92 * outline.good(element)
            or outline.marked(best) < outline.marked(element)
            or _is_part_of_a_text(best, children, outline)
        ):
            return [*above, element]
        above += _above(best, outline)
        element = best


def _is_part_of_a_text(part: html.HtmlElement, siblings: list[html.HtmlElement], outline: Outline) -> bool:
    """The longest of a text's sections, as Sphinx and Pandoc mark them, or its text without the footnotes."""
    is_section = _is_section(part)
    return any(
        sibling is not part
        and (_ALWAYS_TEXT.search(sibling.get("class") or "") or (is_section and _is_section(sibling)))
        and outline.good(sibling) > 0
        for sibling in siblings
    )


def _is_section(element: html.HtmlElement) -> bool:
    names = element.get("class") or ""
    is_named = (element.tag == "section" or "section" in names.split()) and element.get("id")
    if not is_named and not says_section(names):
        return False
    # Below its further names, and in RDoc in a header.
    first = next((child for child in element if child.tag != "span"), None)
    if first is not None and first.tag == "header":
        first = next(iter(first), None)
    return first is not None and first.tag in HEADING_TAGS


def _above(element: html.HtmlElement, outline: Outline) -> list[html.HtmlElement]:
    """The title and the prose that stand above an element in its parent; some pages begin with a lower heading."""
    titles = ("h1",) if outline.elements[0].find(".//h1") is not None else ("h2", "h3", "h4")
    above: list[html.HtmlElement] = []
    is_text_below_title = _is_section(element) or not outline.is_plain
    is_titled = is_titled_in_box = False
    for sibling in reversed(list(element.itersiblings(preceding=True))):
        # Dartdoc's title stands in a box of its own above what declares and describes a method.
        is_below = is_titled or (is_titled_in_box and sibling.tag == "section")
        is_text = is_below and is_text_below_title and sibling.tag in _TEXT_TAGS and outline.text(sibling)
        if sibling.tag in titles or is_text or (sibling.tag == "header" and not outline.is_plain):
            above.append(sibling)
            is_titled = True
        else:
            parts = [
                part for part in _lines(sibling) if part.tag in titles or outline.good(part) > _MIN_LEAD_CHARACTERS
            ]
            is_titled_in_box |= any(part.tag in titles for part in parts)
            above += parts
    return above


def _title_elsewhere(parts: list[html.HtmlElement], body: html.HtmlElement) -> list[html.HtmlElement]:
    """The heading outside of the content that the page's title begins with, where the content has none of its level."""
    if any(next(part.iter("h1"), None) is not None for part in parts):
        return []
    named = " ".join((body.getroottree().findtext(".//title") or "").split())
    for heading in body.iter("h1"):
        text = " ".join("".join(heading.itertext()).split())
        if text and named.startswith(text):
            return [heading]
    return []


def _lines(element: html.HtmlElement) -> Iterator[html.HtmlElement]:
    """Titles and paragraphs, and what has text of its own in place of one."""
    return (part for part in element.iter("h1", "h2", "p", "div") if part.tag != "div" or (part.text or "").strip())


def _lead(main: html.HtmlElement, outline: Outline) -> list[html.HtmlElement]:
    """The title and the prose above the main part, where it is only the text of an article."""
    above: list[html.HtmlElement] = []
    element = main
    for _ in range(_MAX_LEVELS):
        parent = element.getparent()
        if parent is None or parent.tag in ("body", "html") or element.tag in ("main", "body"):
            break
        # JSDoc's text begins in a `header` beside its `article`.
        if element.tag == "article" and parent.tag != "section":
            break
        above = [*_above(element, outline), *above]
        element = parent
    return above


def _joined(parts: list[html.HtmlElement]) -> html.HtmlElement:
    if len(parts) == 1:
        return parts[0]
    content = html.Element("div")
    for part in parts:
        part.tail = None
        content.append(part)
    return content


def _remove_link_lists(root: html.HtmlElement, outline: Outline) -> int:
    """Drops blocks that are mostly links: menus, tables of contents, lists of related pages.

    One with prose before and after it, or with a title of its own, is a part of the text, unless it leads around the
    page itself.

    Returns:
        The characters outside of links that went with them.
    """
    lists = []
    stack = list(reversed(root))
    before = 0
    while stack:
        element = stack.pop()
        if len(element) == 0 or "footnotes" in (element.get("class") or ""):
            before += outline.good(element)
        elif _is_link_list(element, outline):
            lists.append((element, before))
            before += outline.good(element)
        else:
            before += len((element.text or "").strip())
            stack.extend(reversed(element))
    whole = max(1, before)
    dropped = 0
    for element, before in lists:
        after = whole - before
        is_of_the_text = min(before, after) >= _MIN_PROSE_AROUND * whole or _is_titled(element, outline)
        if not is_of_the_text or _leads_around(element):
            dropped += outline.good(element)
            element.drop_tree()
    return dropped


def _is_titled(element: html.HtmlElement, outline: Outline) -> bool:
    """Below a title of its own that says which works or tasks it lists; among formulas and code, below any.

    A title is a heading, or a paragraph that ends in a colon.
    """
    before = next(iter(element), None) if element.tag == "section" else None
    if element.tag in ("ul", "ol", "dl"):
        before = element.getprevious()
    if before is None:
        return False
    # MediaWiki's headings stand in a box of their own.
    heading = next((part for part in (before, *before) if part.tag in HEADING_TAGS), None)
    if heading is None and before.tag == "p" and not outline.links(before):
        heading = before if _ENDS_IN_COLON.search(before.text_content()) else None
    if heading is None or 2 * outline.text(heading) < outline.text(before):
        return False
    return not outline.is_plain or _OF_THE_TEXT.fullmatch(" ".join(heading.text_content().split())) is not None


def _is_link_list(element: html.HtmlElement, outline: Outline) -> bool:
    if element.tag not in _LIST_TAGS:
        return False
    text, links, num_links = outline.text(element), outline.links(element), outline.num_links(element)
    if outline.marked(element) or not num_links or text >= 3000 or element.find(".//h1") is not None:
        return False
    if num_links < 3:
        return links > 0.85 * text and text < 60
    return links > 0.6 * text and not _is_list_of_phrases(element)


def _is_list_of_phrases(element: html.HtmlElement) -> bool:
    """Lines that begin in words of their own, with links in them: "2 cups of sugar", a list of references."""
    lines = [line for line in element.iter("li") if line.find(".//li") is None]
    begun = sum(_LETTER.search(_before_link(line)) is not None for line in lines)
    return bool(lines) and 2 * begun > len(lines)


def _before_link(line: html.HtmlElement) -> str:
    """The text of a line before its first link."""
    pieces = []
    for event, element in etree.iterwalk(line, events=("start", "end")):
        if event == "start" and element.tag == "a":
            break
        pieces.append((element.text if event == "start" else element is not line and element.tail) or "")
    return "".join(pieces)


def _leads_around(element: html.HtmlElement) -> bool:
    """Most links go to places on the same page."""
    addresses = [link.get("href") or "" for link in element.iter("a")]
    return bool(2 * sum(address.startswith("#") for address in addresses) >= len(addresses))
