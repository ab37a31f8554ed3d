"""Finds the posts of a thread and rebuilds the page as them: author and date in a line, then the post's own text.

A thread is two or more bodies with forum names (`message-body`, `postbody`, `comment-text`, microdata `text`), whose
surroundings name an author or a date, and which hold most of the page's text. That covers the common forum programs,
question-and-answer sites and comment trees without knowing any by name; a thread without such names is left to the
rules of `content.py`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from lxml import html

from mimo_data.html.codeblocks import CODE_TAG
from mimo_data.html.formulas import FORMULA_TAG

_BODY = re.compile(
    r"[\w-]*(?:post|message|msg|comment|reply|answer|question|topic|usertext|usercontent)s?"
    r"(?:[-_]{0,2}(?:user)?(?:body|contents?|text|message|msg))+(?:[-_]?\d+)?"
    r"|(?:msg|message)[-_]?\d+|bbwrapper|cooked|s-prose|commtext|md|md-div|postmsg|usercontent|markdown-body",
    re.IGNORECASE,
)
# These mean a post's text only inside of something that looks like a post.
_INNER = frozenset(["content", "inner", "message", "text", "body"])
_NOT_BODY = re.compile(
    r"signature|(?:\b|_|ips|bb)quote|editor|preview|composer|placeholder|excerpt|teaser|summary|snippet|line-clamp", re.IGNORECASE
)
_BODY_TAGS = frozenset(["div", "td", "article", "section", "blockquote", "p", "li", "dd", "span"])
_ASIDE = re.compile(r"(?:\b|_)(?:side|side-?bar|related|similar|recommended|trending|popular|suggested)(?:\b|_)|signature", re.IGNORECASE)

_COMMENT = re.compile(r"comment[-_]?(?:text|copy|body)|\bc-comment", re.IGNORECASE)
_USER_NAME = re.compile(r"[\w-]*(?:user|nick|author|poster|screen)[-_]?name|hnuser|ipsusername", re.IGNORECASE)
_AUTHOR = re.compile(r"(?:[\w-]*[-_])?(?:author|user|creator|poster|fn)", re.IGNORECASE)
_NOT_AUTHOR = re.compile(r"(?:post|reply|quote|share|permalink|link|top|member|guest|moderator|admin|profile)s?", re.IGNORECASE)
# A status beside the name; in front of it often its first letter.
_STATUS = re.compile(r"\b(?:offline|online|this user)\b", re.IGNORECASE)
_PROFILE = re.compile(
    r"(?:^|[/?&=._-])(?:user|users|member|members|profile|profiles|u|people|author|memberlist|showuser)[/?=._-]|/[~@]\w",
    re.IGNORECASE,
)
_DATE_NAME = re.compile(r"date|time|posted|timestamp|\bage\b|\bago\b|\bwhen\b", re.IGNORECASE)
_DATE = re.compile(
    r"\b(?:\d{1,2}(?:st|nd|rd|th)?[\s/.-]+(?:\w{3,9}|\d\d?)[\s/.,-]+(?:19|20)\d\d|[A-Z]\w{2,8}\.? \d{1,2},? (?:19|20)\d\d"
    r"|(?:19|20)\d\d[/.-]\d\d[/.-]\d\d|(?:an?|\d+) (?:min|hour|day|week|month|year)\w* ago|(?:yester|to)day)\b"
    r"(?:,?(?: at| \||\s*»|\s*-)? \d\d?:\d\d(?::\d\d)?(?: ?[ap]m\b)?)?",
    re.IGNORECASE,
)
_JOINED = re.compile(r"join|regist|since|last (?:seen|activ|visit|edit)|edited|modified", re.IGNORECASE)
_MAX_NAME_CHARACTERS = 60
# A shorter text without author and date among others that have them is a button or a teaser.
_MIN_UNNAMED_CHARACTERS = 200


class Post(NamedTuple):
    """One post of a thread; author and date are "" where the page does not say."""

    author: str
    date: str
    body: html.HtmlElement


def find_posts(root: html.HtmlElement, text: Callable[[html.HtmlElement], int]) -> list[Post]:
    """The posts of a thread in the order of the page; none when the page is no thread.

    Args:
        text: characters of text below an element.
    """
    bodies = [body for body in _bodies(root, text) if text(body)]
    # Remarks below the posts of a question-and-answer site are not posts.
    answers = [body for body in bodies if not _COMMENT.search(f"{body.get('class')} {body.get('id')}")]
    if len(answers) > 1:
        bodies = answers
    if len(bodies) < 2:
        return []
    posts = [Post(*_author_and_date(body, record), body) for body, record in zip(bodies, _records(bodies), strict=True)]
    named = [post for post in posts if post.author or post.date]
    if 2 * len(named) < len(posts) or len(named) < 2:
        return []
    return [post for post in posts if post.author or post.date or text(post.body) > _MIN_UNNAMED_CHARACTERS]


class _Candidate:
    """An element with the name of a post's body, and those next inside of it."""

    def __init__(self, element: html.HtmlElement) -> None:
        self.element = element
        self.inner: list[_Candidate] = []
        self.signature = re.sub(r"\d+", "", f"{element.tag} {element.get('class') or ''}")


def _bodies(root: html.HtmlElement, text: Callable[[html.HtmlElement], int]) -> list[html.HtmlElement]:
    """Elements named like a post's body; of nested ones the innermost that hold most of the text."""
    outermost: list[_Candidate] = []
    candidates: list[_Candidate] = []
    stack = [(root, outermost)]
    while stack:
        element, siblings = stack.pop()
        if not isinstance(element.tag, str) or element.tag in ("nav", "footer", CODE_TAG, FORMULA_TAG):
            continue
        classes = element.get("class") or ""
        if element.tag in _BODY_TAGS and _is_body(element, inside=siblings is not outermost):
            candidate = _Candidate(element)
            candidates.append(candidate)
            siblings.append(candidate)
            siblings = candidate.inner
        elif _ASIDE.search(classes) or "hidden" in classes.split():
            continue
        stack.extend((child, siblings) for child in reversed(element))

    # Posts of one layout are treated alike, so that a short post with much around it keeps its own text only.
    own: dict[str, int] = defaultdict(int)
    inside: dict[str, int] = defaultdict(int)
    for candidate in candidates:
        if candidate.inner:
            own[candidate.signature] += text(candidate.element)
            inside[candidate.signature] += sum(text(inner.element) for inner in candidate.inner)
    bodies = []
    pending = outermost[::-1]
    while pending:
        candidate = pending.pop()
        if candidate.inner and inside[candidate.signature] >= 0.5 * own[candidate.signature]:
            pending.extend(reversed(candidate.inner))
        else:
            bodies.append(candidate.element)
    return bodies


def _is_body(element: html.HtmlElement, *, inside: bool) -> bool:
    classes = element.get("class") or ""
    if element.tag != "span":
        if element.get("itemprop") in ("text", "articleBody", "commentText"):
            return True
        if _is_body_name(element.get("component") or element.get("data-role") or ""):
            return True
    return _is_body_name(classes, inside) or _is_body_name(element.get("id") or "")


@lru_cache(maxsize=1 << 16)
def _is_body_name(names: str, inside: bool = False) -> bool:
    if not names or _NOT_BODY.search(names):
        return False
    return any(_BODY.fullmatch(name.replace("/", "-")) or (inside and name in _INNER) for name in names.split())


def _records(bodies: list[html.HtmlElement]) -> list[html.HtmlElement]:
    """Of each body, the largest element that holds no other one."""
    owner: dict[html.HtmlElement, int] = {}
    shared: set[html.HtmlElement] = set()
    for number, body in enumerate(bodies):
        element = body
        while element is not None:
            if owner.setdefault(element, number) != number:
                shared.add(element)
                break
            element = element.getparent()
    # Everything above a shared element is shared too.
    records = []
    for body in bodies:
        record = body
        while (parent := record.getparent()) is not None and parent not in shared:
            record = parent
        records.append(record)
        shared.update(record.iterancestors())
    return records


def _author_and_date(body: html.HtmlElement, record: html.HtmlElement) -> tuple[str, str]:
    """Looked for around the body, nearest first."""
    author = date = ""
    element = body
    while element is not record and not (author and date):
        parent = element.getparent()
        around = [below for child in parent if child is not element for below in child.iter() if _is_element(below)]
        author = author or _author(parent, around)
        date = date or _date(around)
        element = parent
    return author, date


def _is_element(element: html.HtmlElement) -> bool:
    return isinstance(element.tag, str)


def _author(parent: html.HtmlElement, around: list[html.HtmlElement]) -> str:
    named = (parent.get("data-author") or parent.get("data-username") or "").strip()
    if named:
        return named
    for element in around:
        if element.get("itemprop") in ("author", "creator"):
            named = next((below for below in element.iter() if below.get("itemprop") == "name"), None)
            found = "" if named is None else _name(named) or (named.get("content") or "").strip()
            if found := found or _person(element):
                return found
    for pattern in (_USER_NAME, _AUTHOR):
        for element in around:
            if any(pattern.fullmatch(name) for name in (element.get("class") or "").split()):
                if found := _person(element):
                    return found
    for element in around:
        if element.tag == "a" and _PROFILE.search(element.get("href") or "") and (found := _name(element)):
            return found
    return ""


def _person(element: html.HtmlElement) -> str:
    """The first name in an element: a link's, what is set bold, or all of it."""
    return next(filter(None, map(_name, element.iter("a", "b", "strong"))), "") or _name(element)


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
    parent = element.getparent()
    return f"{element.text or ''} {'' if parent is None else parent.text or ''}"


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


def _name(element: html.HtmlElement) -> str:
    """The text of an element when it can be a person's name."""
    name = re.sub(r"^(?:by|from|posted by|asked by|answered by):?\s+", "", _line(element), flags=re.IGNORECASE).strip(" :·»|-,")
    is_name = re.search(r"[^\W\d_]", name) and not _DATE.search(name) and not _NOT_AUTHOR.fullmatch(name) and not _STATUS.search(name)
    return name if is_name else ""
