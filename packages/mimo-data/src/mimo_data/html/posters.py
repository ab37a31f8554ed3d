"""Who wrote a post of a thread, and when: what stands around the post's text says it, the nearest first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice, takewhile
from typing import NamedTuple

from lxml import html

from mimo_data.html.outline import upwards

_USER_NAME = re.compile(r"[\w-]*(?:user|nick|author|poster|screen)[-_]?name|hnuser|ipsusername", re.IGNORECASE)
_AUTHOR = re.compile(r"(?:[\w-]*[-_])?(?:author|user|creator|poster|fn)|name", re.IGNORECASE)
_NOT_AUTHOR = re.compile(
    r"(?:post|reply|quote|share|permalink|link|top|member|guest|moderator|admin|profile|author|op|follow|subscribe|advertisement)s?",
    re.IGNORECASE,
)
# A status beside the name; in front of it often its first letter.
_STATUS = re.compile(r"\b(?:offline|online|this user)\b", re.IGNORECASE)
_PROFILE = re.compile(
    r"(?:^|[/?&=._-])(?:user|users|uid|member|members|profile|profiles|u|people|author|memberlist|showuser|viewprofile)[/?=._-]"
    r"|/[~@]\w|\baction=profile\b",
    re.IGNORECASE,
)
_DATE_NAME = re.compile(r"date|time|posted|timestamp|\bage\b|\bago\b|\bwhen\b", re.IGNORECASE)
_DATE = re.compile(
    r"\b(?:\d{1,2}(?:st|nd|rd|th)?[\s/.-]+(?:\w{3,9}|\d\d?)[\s/.,-]+(?:19|20)\d\d"
    r"|[A-Z]\w{2,8}\.? \d{1,2},? (?:19|20)\d\d"
    r"|(?:19|20)\d\d[/.-]\d\d[/.-]\d\d|(?:an?|\d+) (?:min|hour|day|week|month|year)\w* ago|(?:yester|to)day)"
    r"(?:\b|(?=T\d))"
    r"(?:,?(?: at| \||\s*»|\s*-)? \d\d?:\d\d(?::\d\d)?(?: ?[ap]m\b)?)?",
    re.IGNORECASE,
)
# What a forum tells of a poster: since when there, and with how many posts.
_SINCE = re.compile(
    r"\bjoin(?:ed|\s+date)\b|\bregist|\bmember since\b|\binscri|\bbeigetreten|\bдата регистрации|注册|登録",
    re.IGNORECASE,
)
_NUM_POSTS = re.compile(
    r"\b(?:posts|messages|beiträge|mensajes|сообщени[йяе]|messaggi|berichten|mensagens)\W{0,3}\d"
    r"|\d\W{0,3}\b(?:posts|messages|beiträge)\b",
    re.IGNORECASE,
)
_JOINED = re.compile(r"join|regist|since|last (?:seen|activ|visit|edit)|edited|modified", re.IGNORECASE)
_MAX_NAME_CHARACTERS = 60
# A name is near: what else the page holds is not looked through again and again.
MAX_ELEMENTS_AROUND = 1000
# From where author and date are found.
_MAX_LEVELS_TO_PROFILE = 4


class Record(NamedTuple):
    """Where a post's author and date stand."""

    whole: html.HtmlElement
    """The largest element with the post's body and no other one."""
    above: list[html.HtmlElement]
    """Up to the body before, where one element holds both: in replies inside of a reply, in rows of a table."""


def records(bodies: list[html.HtmlElement]) -> list[Record]:
    """For each body, in the order of the page."""
    owner: dict[html.HtmlElement, int] = {}
    meetings = []
    for number, body in enumerate(bodies):
        element = body
        while element is not None:
            if owner.setdefault(element, number) != number:
                meetings.append(element)
                break
            element = element.getparent()
    shared = upwards(meetings)
    found = []
    for body in bodies:
        whole = body
        while (parent := whole.getparent()) is not None and parent not in shared:
            whole = parent
        above = takewhile(lambda sibling: sibling not in owner, whole.itersiblings(preceding=True))
        found.append(Record(whole, list(islice(above, MAX_ELEMENTS_AROUND))[::-1]))
    return found


def poster(body: html.HtmlElement, record: Record) -> tuple[str, str, bool]:
    """Author and date, and whether a profile stands beside the body; looked for around it, nearest first."""
    author = date = ""
    has_profile = False
    element = body
    levels_left = _MAX_LEVELS_TO_PROFILE
    while element is not record.whole and levels_left:
        parent = element.getparent()
        around = _below(child for child in parent if child is not element)
        author = author or _author(parent, around)
        date = date or _date(around)
        has_profile = has_profile or is_profile(around)
        element = parent
        if author and date:
            levels_left = 0 if has_profile else levels_left - 1
    if not (author and date):
        around = _below(record.above)
        author = author or _author(record.whole, around)
        date = date or _date(around)
        has_profile = has_profile or is_profile(around)
    return author, date, has_profile


def is_profile(elements: Iterable[html.HtmlElement]) -> bool:
    """Whether the text of the elements says since when somebody is a member, and with how many posts."""
    pieces = (piece for element in elements for piece in (element.text, element.tail) if piece)
    text = " ".join(" ".join(pieces).split())
    return _SINCE.search(text) is not None and _NUM_POSTS.search(text) is not None


def _below(elements: Iterable[html.HtmlElement]) -> list[html.HtmlElement]:
    return list(islice((below for element in elements for below in element.iter()), MAX_ELEMENTS_AROUND))


def _author(parent: html.HtmlElement, around: list[html.HtmlElement]) -> str:
    named = (parent.get("data-author") or parent.get("data-username") or "").strip()
    if named:
        return named
    for element in around:
        if element.get("itemprop") in ("author", "creator"):
            named = next((below for below in element.iter() if below.get("itemprop") == "name"), None)
            found = "" if named is None else _person_name(named) or (named.get("content") or "").strip()
            if found := found or _person(element):
                return found
    for pattern in (_USER_NAME, _AUTHOR):
        for element in around:
            named = any(pattern.fullmatch(name) for name in (element.get("class") or "").split())
            if named and (found := _person(element)):
                return found
    for element in around:
        if element.tag == "a" and _PROFILE.search(element.get("href") or "") and (found := _person_name(element)):
            return found
    return ""


def _person(element: html.HtmlElement) -> str:
    """The first name in an element: a link's, what is set bold, or all of it."""
    return next(filter(None, map(_person_name, element.iter("a", "b", "strong"))), "") or _person_name(element)


def _date(around: list[html.HtmlElement]) -> str:
    for element in around:
        if element.tag == "time" or element.get("itemprop") in ("datePublished", "dateCreated"):
            text = _line(element)
            if _DATE.search(text):
                return _clean_date(text)
            stated = element.get("datetime") or element.get("content") or ""
            if found := stated[:10] or text:
                return found
    for element in around:
        text = _line(element) if _DATE_NAME.search(element.get("class") or "") else ""
        if re.search(r"\d", text) and not _JOINED.search(text):
            return _clean_date(text)
    for element in around:
        for text in (element.text, element.tail):
            if text and len(text) < 100 and (match := _DATE.search(text)) and not _JOINED.search(_label(element)):
                return match[0]
    return ""


def _clean_date(text: str) -> str:
    text = re.sub(r"^(?:(?:posted|asked|answered|replied|commented|on|at):?\s+)+", "", text, flags=re.IGNORECASE)
    match = _DATE.search(text)
    return match[0] if match else text.strip(" ·|»,-:")


def _label(element: html.HtmlElement) -> str:
    """What stands beside a date and says what it is the date of."""
    parent, before = element.getparent(), element.getprevious()
    named = "" if before is None or before.tag != "dt" else before.text
    return f"{element.text or ''} {'' if parent is None else parent.text or ''} {named or ''}"


def _line(element: html.HtmlElement) -> str:
    """The text of an element that is one short line, else "".

    A long one is not read to its end.
    """
    pieces: list[str] = []
    length = 0
    for piece in element.itertext():
        words = piece.split()
        pieces += words
        length += sum(map(len, words)) + len(words)
        if length > _MAX_NAME_CHARACTERS:
            return ""
    return " ".join(pieces)


def _person_name(element: html.HtmlElement) -> str:
    """The text of an element when it can be a person's name."""
    name = re.sub(r"^(?:by|from|posted by|asked by|answered by):?\s+", "", _line(element), flags=re.IGNORECASE).strip(
        " :·»|-,"
    )
    is_name = (
        re.search(r"[^\W\d_]", name)
        and not _DATE.search(name)
        and not _NOT_AUTHOR.fullmatch(name)
        and not _STATUS.search(name)
    )
    return name if is_name else ""
