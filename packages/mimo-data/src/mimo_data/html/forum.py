"""Finds the posts of a thread and rebuilds the page as them: author and date in a line, then the post's own text.

A thread is two or more bodies with forum names (`message-body`, `postbody`, `comment-text`, microdata `text`), whose
surroundings name an author or a date, and which hold most of the page's text. One body is enough, and so is less text,
where the page says that it is a forum's or a poster's profile stands beside it ("Joined: 2003, Posts: 13"). That covers
the common forum programs, question-and-answer sites and comment trees without knowing any by name; a thread without
such names is left to the rules of `content.py`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from enum import Enum, auto
from functools import lru_cache
from itertools import chain, islice, takewhile
from typing import NamedTuple

from lxml import etree, html

from mimo_data.html.names import is_main_part
from mimo_data.html.outline import Outline
from mimo_data.html.quotes import has_raw_formula, remove_repeated_quotes

_BODY = re.compile(
    r"[\w-]*(?:post|message|msg|comment|reply|answer|question|topic|email|usertext|usercontent)s?"
    r"(?:[-_]{0,2}(?:user)?(?:body|contents?|text|message|msg|copy))+(?:[-_]?\d+)?"
    r"|(?:msg|message)[-_]?\d+|bbwrapper|cooked|s-prose|postcolor|searchable|commtext|md|md-div|postmsg|usercontent|markdown-body",
    re.IGNORECASE,
)
# What holds one post, with its author: its text is what is named `content` in it.
_HOLDER = re.compile(r"(?:forum-?)?(?:comment|reply|post-?row)|node-forum", re.IGNORECASE)
# The text of a post in a forum, and elsewhere an article.
_WEAK = frozenset(["post"])
_INNER = frozenset(["content", "inner", "message", "text", "body"])
_NOT_BODY = re.compile(
    r"signature|(?:\b|_|ips|bb)quote|editor|preview|composer|placeholder|excerpt|teaser|summary|snippet|line-clamp",
    re.IGNORECASE,
)
_MICRODATA = frozenset(["itemprop", "component", "data-role"])
_BODY_TAGS = frozenset(["div", "td", "article", "section", "blockquote", "p", "li", "dd", "span"])
# What most elements of a page are.
_NEVER_BODY_TAGS = frozenset([
    "a", "b", "i", "em", "strong", "img", "br", "h1", "h2", "h3", "h4", "tr", "svg", "path", "use", "code", "time",
    "x-formula", "x-code",
])  # fmt: skip
_ASIDE = re.compile(
    r"(?:\b|_)(?:side|side-?bar|related|similar|recommended|trending|popular|suggested|cookies?|consent)(?:\b|_)|signature",
    re.IGNORECASE,
)
_NOTICE = re.compile(r"(?:\b|_)(?:notices?|announcements?|rules|welcome|banner|summary)(?:\b|_)", re.IGNORECASE)

_COMMENT = re.compile(r"comment[-_]?(?:text|copy|body)|\bc-comment", re.IGNORECASE)
_COMMENT_NAME = re.compile(r"comment|reply|respon", re.IGNORECASE)
_USER_NAME = re.compile(r"[\w-]*(?:user|nick|author|poster|screen)[-_]?name|hnuser|ipsusername", re.IGNORECASE)
_AUTHOR = re.compile(r"(?:[\w-]*[-_])?(?:author|user|creator|poster|fn)|name", re.IGNORECASE)
_NOT_AUTHOR = re.compile(
    r"(?:post|reply|quote|share|permalink|link|top|member|guest|moderator|admin|profile|author|op|follow|subscribe|advertisement)s?",
    re.IGNORECASE,
)
# A status beside the name; in front of it often its first letter.
_STATUS = re.compile(r"\b(?:offline|online|this user)\b", re.IGNORECASE)
_PROFILE = re.compile(
    r"(?:^|[/?&=._-])(?:user|users|uid|member|members|profile|profiles|u|people|author|memberlist|showuser)[/?=._-]"
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
# What phpBB writes above a signature.
_SIGNATURE_RULE = re.compile(r"\s*_{17}\s*")
_JOINED = re.compile(r"join|regist|since|last (?:seen|activ|visit|edit)|edited|modified", re.IGNORECASE)
_MAX_NAME_CHARACTERS = 60
# A name is near: what else the page holds is not looked through again and again.
_MAX_ELEMENTS_AROUND = 1000
_MAX_LEVELS_TO_NAME = 4
# From where author and date are found.
_MAX_LEVELS_TO_PROFILE = 4
# A shorter text without author and date among others that have them is a button or a teaser.
_MIN_UNNAMED_CHARACTERS = 200
# Of the text that comments stand below.
_MIN_ARTICLE_CHARACTERS = 300
# A shorter block above the first post is a notice or a menu.
_MIN_LEAD_CHARACTERS = 200


class _Name(Enum):
    BODY = auto()
    WEAK = auto()
    """A post's text only on a page that says that it is a forum's, and when nothing in it has a better name."""
    HOLDER = auto()
    """Not a post's text, but holds one."""
    INNER = auto()
    """A post's text only inside of something that has the name of a body or of a holder."""
    ASIDE = auto()
    """Not a part of the thread, with all in it."""


class Post(NamedTuple):
    """One post of a thread; author and date are "" where the page does not say."""

    author: str
    date: str
    has_profile: bool
    body: html.HtmlElement


def find_posts(outline: Outline, *, is_forum: bool) -> list[Post]:
    """What may be the posts of a thread, in the order of the page.

    Args:
        outline: of the page's body.
        is_forum: the page says so.
    """
    text = outline.text
    bodies = [body for body in _bodies(outline, is_forum=is_forum) if text(body)]
    # Of remarks below the posts of a question-and-answer site only those with mathematics or code are kept.
    answers = {body for body in bodies if not _COMMENT.search(f"{body.get('class')} {body.get('id')}")}
    if len(answers) > 1:
        bodies = [body for body in bodies if body in answers or outline.marked(body) or has_raw_formula(body)]
    posts = [Post(*_poster(body, record), body) for body, record in zip(bodies, _records(bodies), strict=True)]
    named = [post for post in posts if post.author or post.date]
    is_forum = is_forum or any(post.has_profile for post in posts)
    if 2 * len(named) < len(posts) or len(named) < (1 if is_forum else 2):
        return []
    return [post for post in posts if post.author or post.date or text(post.body) > _MIN_UNNAMED_CHARACTERS]


def comments_below_article(outline: Outline, posts: list[Post]) -> list[html.HtmlElement]:
    """What holds the comments, when the posts are those below an article, which may be one of them: no thread.

    Comments with mathematics or code are worth keeping.
    """
    comments = [post.body for post in posts if _is_comment(post.body)]
    others = [post.body for post in posts if not _is_comment(post.body)]
    if not comments or len(others) > 1 or others[:1] not in ([], [posts[0].body]):
        return []
    if any(outline.marked(body) or has_raw_formula(body) for body in comments):
        return []
    article = others[0] if others else _article(outline, _upwards(comments))
    if article is None or outline.good(article) < _MIN_ARTICLE_CHARACTERS:
        return []
    around = _upwards([article])
    if not around.isdisjoint(comments):
        return []
    found: dict[html.HtmlElement, None] = {}
    for element in comments:
        while (parent := element.getparent()) not in around:
            element = parent
        found[element] = None
    return list(found)


def _article(outline: Outline, holders: set[html.HtmlElement]) -> html.HtmlElement | None:
    """The first element that is named as an article's text and holds no post."""
    return next(
        (
            element
            for element in outline.elements[0].iter("div", "section", "article")
            if element not in holders and is_main_part(element)
        ),
        None,
    )


def _is_comment(body: html.HtmlElement) -> bool:
    around = islice(chain([body], body.iterancestors()), _MAX_LEVELS_TO_NAME)
    named = next((element for element in around if _names(element) in (_Name.BODY, _Name.HOLDER)), body)
    return _COMMENT_NAME.search(f"{named.get('class')} {named.get('id')}") is not None


def with_holders(posts: list[Post]) -> set[html.HtmlElement]:
    """The bodies of the posts and everything that they stand in."""
    return _upwards(post.body for post in posts)


def _upwards(elements: Iterable[html.HtmlElement]) -> set[html.HtmlElement]:
    """The elements and everything that they stand in."""
    found: set[html.HtmlElement] = set()
    for element in elements:
        while element is not None and element not in found:
            found.add(element)
            element = element.getparent()
    return found


def is_thread(outline: Outline, posts: list[Post]) -> bool:
    """Whether the posts are the page: no element has more text outside of links beside them, as an article would.

    Only a forum's posts have a profile beside them.

    Args:
        outline: furniture removed.
    """
    holders = with_holders(posts)
    if any(post.has_profile for post in posts):
        return True
    within = sum(outline.text(post.body) for post in posts)
    bodies = {post.body for post in posts}
    return all(
        sum(outline.good(child) for child in holder if child not in holders) < within
        for holder in holders - bodies
        if holder in outline.number
    )


def thread(outline: Outline, posts: list[Post]) -> html.HtmlElement:
    """The posts, each under a line with its author and date, and the page's text above the first."""
    holders = with_holders(posts)
    for post in posts:
        _remove_signature(post.body)
    bodies = {post.body: post for post in posts if _has_text(post.body) or outline.marked(post.body)}
    remove_repeated_quotes(bodies)
    content = html.Element("div")
    # `len` of an element counts its children one by one.
    is_empty = True
    started = False
    stack = [outline.elements[0]]
    while stack:
        element = stack.pop()
        if element in bodies:
            if not is_empty:
                etree.SubElement(content, "p").text = "---"
            content.append(_heading(bodies[element]))
            element.tag = "div"
            started = True
        elif element in holders:
            stack.extend(reversed(element))
            continue
        # Below the first post only formulas and code are kept of what is no post.
        elif _is_aside(element) or not (outline.marked(element) if started else _is_lead(element, outline)):
            continue
        element.tail = None
        content.append(element)
        is_empty = False
    return content


def _has_text(element: html.HtmlElement) -> bool:
    return any(text.strip() for text in element.itertext())


def _remove_signature(body: html.HtmlElement) -> None:
    """Drops what stands below a rule of underscores."""
    for element in body.iter():
        for text, is_tail in ((element.text, False), (element.tail, True)):
            if not text or not _SIGNATURE_RULE.fullmatch(text) or (is_tail and element is body):
                continue
            if is_tail:
                element.tail = None
            else:
                element.text = None
                element[:] = []
            while element is not body:
                for sibling in list(element.itersiblings()):
                    sibling.getparent().remove(sibling)
                element = element.getparent()
            return


def _is_aside(element: html.HtmlElement) -> bool:
    """A signature, a notice to visitors or a column of related threads."""
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    return _ASIDE.search(names) is not None or _NOTICE.search(names) is not None


def _heading(post: Post) -> html.HtmlElement:
    heading = html.Element("p")
    if post.author:
        etree.SubElement(heading, "b").text = post.author
        heading[0].tail = post.date and f", {post.date}"
    else:
        heading.text = post.date
    return heading


def _is_lead(element: html.HtmlElement, outline: Outline) -> bool:
    """A title, or prose long enough to be no notice."""
    good = outline.good(element)
    return element.tag == "h1" or (good > _MIN_LEAD_CHARACTERS and good > 0.6 * outline.text(element))


class _Candidate:
    """An element with the name of a post's body, or of what holds one, and those next inside of it."""

    def __init__(self, element: html.HtmlElement, name: _Name) -> None:
        self.element = element
        self.name = name
        self.inner: list[_Candidate] = []
        self.signature = re.sub(r"\d+", "", f"{element.tag} {element.get('class') or ''}")


def _bodies(outline: Outline, *, is_forum: bool) -> list[html.HtmlElement]:
    """Elements named like a post's body; of nested ones the innermost that hold most of the text."""
    outermost: list[_Candidate] = []
    candidates: list[_Candidate] = []
    # The candidates that the current element stands in, each with the number after its last element.
    around: list[tuple[int, _Candidate]] = []
    number = 1
    while number < len(outline.elements):
        element = outline.elements[number]
        while around and number >= around[-1][0]:
            around.pop()
        name = None if element.tag in _NEVER_BODY_TAGS else _names(element)
        if element.tag in ("nav", "footer") or (name is _Name.ASIDE):
            number = outline.end(number)
            continue
        if name in (_Name.BODY, _Name.HOLDER) or (name is _Name.WEAK and is_forum) or (name is _Name.INNER and around):
            candidate = _Candidate(element, name)
            candidates.append(candidate)
            (around[-1][1].inner if around else outermost).append(candidate)
            around.append((outline.end(number), candidate))
        number += 1

    # Posts of one layout are treated alike, so that a short post with much around it keeps its own text only.
    own: dict[str, int] = defaultdict(int)
    inside: dict[str, int] = defaultdict(int)
    for candidate in candidates:
        if candidate.inner:
            own[candidate.signature] += outline.text(candidate.element)
            inside[candidate.signature] += sum(outline.text(inner.element) for inner in candidate.inner)
    # What holds several spans.
    parents = Counter(candidate.element.getparent() for candidate in outermost if candidate.element.tag == "span")
    spans = {parent for parent, number in parents.items() if number > 1}
    bodies: list[html.HtmlElement] = []
    pending = outermost[::-1]
    while pending:
        candidate = pending.pop()
        if candidate.name is _Name.HOLDER or (candidate.name is _Name.WEAK and candidate.inner):
            better = [inner for inner in candidate.inner if inner.name is not _Name.INNER]
            pending.extend(reversed(better or candidate.inner))
        elif candidate.inner and (
            inside[candidate.signature] >= 0.5 * own[candidate.signature] or _is_profile(_outside(candidate))
        ):
            pending.extend(reversed(candidate.inner))
        elif candidate.element.tag == "span" and (parent := candidate.element.getparent()) in spans:
            # The parts of one post, with quotations between them.
            if parent not in bodies[-1:]:
                bodies.append(parent)
        else:
            bodies.append(candidate.element)
    return bodies


def _outside(candidate: _Candidate) -> list[html.HtmlElement]:
    """The elements in a candidate that stand outside of those inside."""
    inner = {inner.element for inner in candidate.inner}
    found: list[html.HtmlElement] = []
    stack = [candidate.element]
    while stack and len(found) < _MAX_ELEMENTS_AROUND:
        element = stack.pop()
        if element not in inner:
            found.append(element)
            stack.extend(reversed(element))
    return found


def _names(element: html.HtmlElement) -> _Name | None:
    attributes = element.keys()
    if not attributes:
        return None
    by_class = _name(element.get("class") or "")
    if by_class is _Name.ASIDE or element.tag not in _BODY_TAGS:
        return by_class if by_class is _Name.ASIDE else None
    if "id" in attributes and _name(element.get("id")) is _Name.BODY:
        return _Name.BODY
    for attribute in attributes:
        if attribute in _MICRODATA and element.tag != "span":
            value = element.get(attribute)
            if value in ("text", "articleBody", "commentText") or _name(value.replace("/", "-")) is _Name.BODY:
                return _Name.BODY
    return by_class


@lru_cache(maxsize=1 << 16)
def _name(names: str) -> _Name | None:
    """What the words of a class or id say."""
    words = names.split()
    if not _NOT_BODY.search(names):
        if any(_BODY.fullmatch(word) for word in words):
            return _Name.BODY
        if not _INNER.isdisjoint(words):
            return _Name.INNER
        if any(_HOLDER.fullmatch(word) for word in words):
            return _Name.HOLDER
        if not _WEAK.isdisjoint(words):
            return _Name.WEAK
    return _Name.ASIDE if _ASIDE.search(names) or "hidden" in words else None


class _Record(NamedTuple):
    """Where a post's author and date stand."""

    whole: html.HtmlElement
    """The largest element with the post's body and no other one."""
    above: list[html.HtmlElement]
    """Up to the body before, where one element holds both: in replies inside of a reply, in rows of a table."""


def _records(bodies: list[html.HtmlElement]) -> list[_Record]:
    owner: dict[html.HtmlElement, int] = {}
    meetings = []
    for number, body in enumerate(bodies):
        element = body
        while element is not None:
            if owner.setdefault(element, number) != number:
                meetings.append(element)
                break
            element = element.getparent()
    shared = _upwards(meetings)
    records = []
    for body in bodies:
        whole = body
        while (parent := whole.getparent()) is not None and parent not in shared:
            whole = parent
        above = takewhile(lambda sibling: sibling not in owner, whole.itersiblings(preceding=True))
        records.append(_Record(whole, list(islice(above, _MAX_ELEMENTS_AROUND))[::-1]))
    return records


def _poster(body: html.HtmlElement, record: _Record) -> tuple[str, str, bool]:
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
        has_profile = has_profile or _is_profile(around)
        element = parent
        if author and date:
            levels_left = 0 if has_profile else levels_left - 1
    if not (author and date):
        around = _below(record.above)
        author = author or _author(record.whole, around)
        date = date or _date(around)
        has_profile = has_profile or _is_profile(around)
    return author, date, has_profile


def _is_profile(elements: Iterable[html.HtmlElement]) -> bool:
    pieces = (piece for element in elements for piece in (element.text, element.tail) if piece)
    text = " ".join(" ".join(pieces).split())
    return _SINCE.search(text) is not None and _NUM_POSTS.search(text) is not None


def _below(elements: Iterable[html.HtmlElement]) -> list[html.HtmlElement]:
    return list(islice((below for element in elements for below in element.iter()), _MAX_ELEMENTS_AROUND))


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
