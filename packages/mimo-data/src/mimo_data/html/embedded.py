"""The text of a page that a script would have to draw: what it tells search engines as JSON-LD (schema.org).

Articles, questions with their answers, and threads. Text in a page's own JSON is not read: it has no known names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from lxml import etree, html

# Of these names of schema.org a record has one at most, and it is the text itself, not a summary.
_TEXTS = ("articleBody", "text")


def embedded_content(root: html.HtmlElement) -> html.HtmlElement | None:
    """An element with the texts in order, each under its author and date where there are several; None without any."""
    records = [
        record
        for script in root.iter("script")
        if script.get("type") == "application/ld+json"
        for record in _records(script.text or "")
    ]
    content = html.Element("div")
    for number, record in enumerate(records):
        if number:
            etree.SubElement(content, "p").text = "---"
        if len(records) > 1 and (heading := ", ".join(filter(None, (_author(record), _date(record))))):
            etree.SubElement(content, "p").text = heading
        content.append(_element(_text(record)))
    return content if records else None


def _records(source: str) -> Iterator[dict[str, object]]:
    """The records of a script that have a text, in order, what is inside of one after it; none when it is broken."""
    try:
        stack: list[object] = [json.loads(source)]
    except (ValueError, RecursionError):
        return
    while stack:
        found = stack.pop()
        if isinstance(found, list):
            stack.extend(reversed(found))
        elif isinstance(found, dict):
            if _text(found):
                yield found
            stack.extend(reversed(found.values()))


def _text(record: dict[str, object]) -> str:
    return next((text.strip() for name in _TEXTS if isinstance(text := record.get(name), str)), "")


def _author(record: dict[str, object]) -> str:
    author = record.get("author")
    if isinstance(author, list):
        author = next(iter(author), None)
    name = author.get("name") if isinstance(author, dict) else author
    return name.strip() if isinstance(name, str) else ""


def _date(record: dict[str, object]) -> str:
    date = record.get("datePublished") or record.get("dateCreated")
    return date[:10] if isinstance(date, str) else ""


def _element(text: str) -> html.HtmlElement:
    """Plain text or HTML as an element."""
    if "</" in text or "<br" in text:
        try:
            return html.fragment_fromstring(text, create_parent="div")
        except (etree.ParserError, ValueError):
            pass
    element = html.Element("div")
    for paragraph in filter(None, map(str.strip, text.split("\n\n"))):
        etree.SubElement(element, "p").text = "".join(filter(_may_stand_in_a_tree, paragraph))
    return element


def _may_stand_in_a_tree(letter: str) -> bool:
    return letter in "\t\n" or letter.isprintable() or letter == "\xa0"
