"""Removal of what stands around the content of a page: menus, banners, dialogs, captions of photographs, comments.

Rules by tag, role and name (`names.py`).
"""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import chain, islice

from lxml import etree, html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG
from mimo_data.html.names import (
    NOTHING,
    Named,
    is_main_part,
    may_hold_the_text,
    named,
    says_consent,
    says_content,
    says_furniture_tag,
    says_section,
    says_small_part,
)
from mimo_data.html.outline import HEADING_TAGS, Outline
from mimo_data.html.sentences import is_in_a_sentence

_DROPPED_TAGS = frozenset([
    "script", "style", "template", "svg", "iframe", "object", "button", "select", "input", "textarea", "canvas",
    "audio", "video", "dialog", "menu", "head", "map", "datalist", "progress", "link", "meta",
    "title",
])  # fmt: skip
_DROPPED_ROLES = frozenset([
    "navigation", "banner", "contentinfo", "search", "complementary", "dialog", "alertdialog", "toolbar", "menu",
    "menubar", "tablist", "alert", "status",
])  # fmt: skip
_MAX_SMALL_CHARACTERS = 200
_MAX_CAPTION_CHARACTERS = 1000
_MAX_FILING_CHARACTERS = 40
_MIN_NOTE_CHARACTERS = 100
_MIN_CHARACTERS_PER_LINK = 100
# A date in a line with more text is a part of it.
_MAX_CHARACTERS_BESIDE_DATE = 100
_MAX_SHARE_OF_FORM = 0.2
# With this share of the page's text furniture may be misnamed: it goes if as much as an article is left without it.
_MAX_SHARE = 0.4
_MIN_CHARACTERS_LEFT = 1000
_MAX_SHARE_OF_CONSENT = 0.99
_MAX_SHARE_OF_MARKED = 0.2
# Names that forums also give to whole posts: with code inside, it is a post.
_SOFT = re.compile(r"popup|modal|dropdown|actions|overlay|poster|reply", re.IGNORECASE)
# Yilia's, hidden: all tags, and how to install what the site lacks, in code.
_PANELS = etree.XPath("descendant::div[@class='tools-col']")
# Not shown in the line where it stands, a line of its own, or nothing that its author wrote.
_UNSEEN = re.compile(
    r"sr-only|screen-?reader|visually-?hidden|tool-?tip[-_]*(?:text|content|body|inner|box)|headerlink|hidden|popover|noprint|\bnav|"
    r"\bads?\b|advert",
    re.IGNORECASE,
)
# A figure that the text can name belongs to it.
_NUMBERED = re.compile(
    r"\s*(?:fig|tab|listing|scheme|chart|exhibit|algorithm|example|abb|tabelle)\w*\.?\s*\d", re.IGNORECASE
)
_HIDDEN = re.compile(r"display:\s*none|visibility:\s*hidden", re.IGNORECASE)
# How a heading stands to menus elsewhere: `hide-from-toc`, `no_toc`, `ez-toc-section`, `anchorWithStickyNavbar_LWe7`.
_OF_A_HEADING = re.compile(r"(?<!\S)(?!toc[-_]?(?:title|head))\S*(?:toc[-_]|[-_]toc(?!\S)|anchor)\S*", re.IGNORECASE)
_SHOWN = re.compile(r"active|current|select|show|hid(?:e|den)\b|open|visible|^in$|^fade$|first|last|\d", re.IGNORECASE)
# The one that is shown is beside it, or among the first.
_MAX_TABS = 4
# More is what they open: Bootstrap calls its whole accordions so.
_MAX_CHARACTERS_OF_TABS = 500
_TELLING = frozenset(["role", "hidden", "popover", "aria-hidden", "style"])
# There the id is made from the words of the title, or is the name of what is described.
_TITLED_TAGS = frozenset(["section", "h1", "h2", "h3", "h4", "h5", "h6", "a", "span", "dt", "dl"])
# The others are judged by their attributes only.
_JUDGED_TAGS = frozenset(["header", "aside", "figcaption", "form", "time"])
_ASIDES_OF_THE_TEXT = frozenset(["topic", "example"])
_DECLARING_TAGS = HEADING_TAGS | {"dt"}
_TITLES = HEADING_TAGS | {"summary"}
_MAX_TITLE_BLOCK_CHARACTERS = 500
_MAX_SHARE_OF_LINKS = 0.2
# A longer button was never closed and swallows the page.
_MAX_BUTTON_CHARACTERS = 1000


def remove_silent(body: html.HtmlElement) -> None:
    """Removes scripts, controls and embedded media."""
    for panel in _PANELS(body):
        panel.drop_tree()
    for button in body.iter("button"):
        length = 0
        for piece in button.itertext():
            length += len(piece)
            if length > _MAX_BUTTON_CHARACTERS:
                button.tag = "div"
                break
    for row in {label.getparent() for label in body.iterdescendants("label")} - {body}:
        if _is_row_of_controls(row):
            row.drop_tree()
    etree.strip_elements(body, *_DROPPED_TAGS, with_tail=False)


def _is_row_of_controls(row: html.HtmlElement) -> bool:
    """The titles of tabs, away from what they open, or a field with its name; not a line of a checklist or a quiz."""
    if len(row) < 2 or any(child.tag not in ("label", "input") for child in row):
        return False
    kinds = {field.get("type") for field in row.iter("input")}
    return "checkbox" not in kinds and (kinds != {"radio"} or sum(child.tag == "label" for child in row) > 1)


def remove_furniture(outline: Outline, protected: Set[html.HtmlElement]) -> int:
    """Removes what is not content by name; never what holds most of the formulas and code, or may hold the text.

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
        if not outline.text(element):
            number = outline.end(number)
        elif (
            element not in protected
            and _is_furniture(element, outline)
            and _may_go(element, outline, whole, num_marked)
        ):
            removed.append(number)
            if says_consent(_names(element)):
                num_consent_characters += outline.good(element)
            number = outline.end(number)
        else:
            number += 1
    outline.remove(removed)
    return whole - num_consent_characters


def _may_go(element: html.HtmlElement, outline: Outline, whole: int, num_marked: int) -> bool:
    if marked := outline.marked(element):
        holds_code = _SOFT.search(element.get("class") or "") and element.find(f".//{CODE_TAG}") is not None
        if marked > _MAX_SHARE_OF_MARKED * num_marked or holds_code:
            return False
    good = outline.good(element)
    if good < _MAX_SHARE * max(1, whole):
        return True
    names = _names(element)
    if says_consent(names):
        return bool(good < _MAX_SHARE_OF_CONSENT * whole)
    return whole - good > _MIN_CHARACTERS_LEFT and not may_hold_the_text(names) and not _holds_main_part(element)


def _holds_main_part(element: html.HtmlElement) -> bool:
    return any(
        inner.tag in ("h1", "main") or is_main_part(inner)
        for inner in element.iter("h1", "main", "div", "section", "article")
    )


def _names(element: html.HtmlElement) -> str:
    return f"{element.get('class') or ''} {element.get('id') or ''}"


def _is_furniture(element: html.HtmlElement, outline: Outline) -> bool:
    tag = element.tag
    if tag in ("noscript", "nav", "footer"):
        return True
    if tag in (FORMULA_TAG, CODE_TAG, "main", "article"):
        return False
    attributes = element.keys()
    if not attributes and tag not in _JUDGED_TAGS and "-" not in tag:
        return False
    if not _TELLING.isdisjoint(attributes):
        role = element.get("role")
        if role in _DROPPED_ROLES and (role != "tablist" or outline.good(element) <= _MAX_CHARACTERS_OF_TABS):
            return True
        # A tab that is not on top is hidden, and is text all the same.
        if role == "tabpanel":
            return False
        if "hidden" in attributes or "popover" in attributes or element.get("aria-hidden") == "true":
            return True
        if _HIDDEN.search(element.get("style") or ""):
            # One of several that are shown one at a time is judged by its other names.
            return not _is_another_tab(element, outline) or Named.FURNITURE in named(" ".join(sorted(_make(element))))
    if tag == "header":
        return next(element.iterancestors("article", "main"), None) is None and not _is_title_block(element, outline)
    if tag == "section" and element.get("id") == "comments":
        return _holds_comments(element)
    names = element.get("class") or "" if "class" in attributes else ""
    if "id" in attributes and tag not in _TITLED_TAGS and not says_section(names):
        names = f"{names} {element.get('id')}"
    if tag in HEADING_TAGS:
        names = _OF_A_HEADING.sub("", names)
    if tag in ("dl", "dt", "dd") and 2 * outline.links(element) <= outline.text(element):
        # phpDocumentor's tables of contents say what each part does.
        names = names.replace("table-of-contents", "")
    if tag == "details" and 2 * outline.links(element) <= outline.text(element):
        # Sphinx's answers and hints, to be opened by the reader.
        names = names.replace("dropdown", "")
    if tag == "summary" and element.get("aria-label") == "Toggle hidden content":
        # Jupyter Book's "Show code cell source".
        return True
    if tag == "aside":
        # docutils' topics, and examples of the W3C's specifications.
        if says_content(names) or not _ASIDES_OF_THE_TEXT.isdisjoint(names.split()) or _is_titled_box(element):
            return False
        if not _is_note(element, outline):
            return True
    if says_furniture_tag(tag):
        return True
    said = named(names) if names else NOTHING
    if said is NOTHING and tag not in _JUDGED_TAGS:
        return False
    if is_in_a_sentence(element) and not _UNSEEN.search(names):
        return False
    return (
        (Named.FURNITURE in said and not _is_title(element, outline) and not _is_titled_box(element))
        or (Named.SIGNATURE in said and not _is_declaration(element))
        or (Named.TAGS in said and _is_filing(element, outline))
        or (Named.SMALL_PART in said and _is_small(element, outline))
        or ((tag == "figcaption" or Named.CAPTION in said) and _is_caption(element, outline))
        or (Named.TEASER in said and _is_teaser(element, outline))
        or (tag == "form" and _is_form(element, outline))
        or (tag == "time" and _is_date_line(element, outline))
    )


def _is_another_tab(element: html.HtmlElement, outline: Outline) -> bool:
    """Text that is hidden beside one of its make that is not: of several one is shown at a time."""
    names = _make(element)
    if not names or 2 * outline.links(element) > outline.text(element):
        return False
    beside = chain(
        islice(element.itersiblings(preceding=True), _MAX_TABS),
        islice(element.itersiblings(), _MAX_TABS),
        islice(element.getparent(), _MAX_TABS),
    )
    return any(
        sibling.tag == element.tag and not _HIDDEN.search(sibling.get("style") or "") and _make(sibling) == names
        for sibling in beside
    )


def _make(element: html.HtmlElement) -> set[str]:
    """The words of its class, other than those for the one that is shown."""
    return {word for word in (element.get("class") or "").split() if not _SHOWN.search(word)}


def _holds_comments(section: html.HtmlElement) -> bool:
    """Not a section of documentation with the title "Comments"."""
    return any("comment" in (element.get("class") or "").split() for element in section.iter("li", "div", "article"))


def _is_title_block(header: html.HtmlElement, outline: Outline) -> bool:
    """Of the page's text, not of the site: a title in it, no links to speak of, and not at the top of the page."""
    if "preamble" in (header.get("class") or ""):
        return True
    parent = header.getparent()
    titles = ("h1", "h2") if parent is not None and parent.tag == "section" else ("h1",)
    return (
        parent is not None
        and parent.tag != "body"
        and outline.text(header) <= _MAX_TITLE_BLOCK_CHARACTERS
        and outline.links(header) <= _MAX_SHARE_OF_LINKS * outline.text(header)
        and next(header.iter(*titles), None) is not None
        and next(header.iter("nav", "form", "ul", "input"), None) is None
    )


def _is_title(element: html.HtmlElement, outline: Outline) -> bool:
    """What a heading says, in a link back to the table of contents."""
    parent = element.getparent()
    return parent is not None and parent.tag in HEADING_TAGS and 2 * outline.text(element) > outline.text(parent)


def _is_declaration(signature: html.HtmlElement) -> bool:
    """How something is called: a heading, or in one, or the first of an entry; a person's signature ends a post."""
    parent = signature.getparent()
    return (
        signature.tag in _DECLARING_TAGS
        or parent is None
        or parent.tag in _DECLARING_TAGS
        or (signature.getprevious() is None and not (parent.text or "").strip())
    )


def _is_titled_box(element: html.HtmlElement) -> bool:
    """A sidebar of DocBook's or docutils': a box in the text with a title of its own."""
    return any(child.get("class") in ("titlepage", "sidebar-title") for child in islice(element, 2))


def _is_filing(element: html.HtmlElement, outline: Outline) -> bool:
    """Links or a few words, no code."""
    text = outline.text(element)
    return not outline.marked(element) and (2 * outline.links(element) >= text or text <= _MAX_FILING_CHARACTERS)


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
        says_small_part(element.get("class") or "")
        and element.tag not in _TITLES
        and outline.text(element) <= _MAX_SMALL_CHARACTERS
        and not outline.marked(element)
        and next(element.iter("h1", "h2", "h3"), None) is None
    )


def _is_caption(element: html.HtmlElement, outline: Outline) -> bool:
    """Words under a photograph; those on a page with mathematics or code explain a figure."""
    if not outline.is_plain or element.tag in ("caption", "table", "figure"):
        return False
    if "caption" in (element.get("class") or "").split() and not _is_beside_picture(element):
        return False
    holder = next(element.iterancestors("figure", "table"), None)
    if holder is not None and next(holder.iter("table"), None) is not None:
        return False
    return outline.text(element) <= _MAX_CAPTION_CHARACTERS and not _NUMBERED.match("".join(element.itertext()))


def _is_beside_picture(element: html.HtmlElement) -> bool:
    """Documentation calls the titles of tables and lists captions too."""
    return any(
        next(around.iter("img", "picture", "figure", "amp-img"), None) is not None
        for around in islice(element.iterancestors(), 3)
    )


def _is_teaser(element: html.HtmlElement, outline: Outline) -> bool:
    return outline.num_links(element) > 0 and not outline.marked(element) and not is_main_part(element)


def _is_form(element: html.HtmlElement, outline: Outline) -> bool:
    """One to fill in; some sites put the whole page into a form."""
    return not outline.marked(element) and (
        outline.good(element) < _MAX_SHARE_OF_FORM * outline.good(outline.elements[0])
    )


def _is_date_line(element: html.HtmlElement, outline: Outline) -> bool:
    parent = element.getparent()
    return parent is not None and outline.text(parent) - outline.text(element) < _MAX_CHARACTERS_BESIDE_DATE
