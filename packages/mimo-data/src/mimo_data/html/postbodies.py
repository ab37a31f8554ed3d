"""Which elements of a page hold the text of a post, by the names that forum programs and comment sections give them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from itertools import chain, islice

from lxml import html

from mimo_data.html.outline import Outline
from mimo_data.html.posters import MAX_ELEMENTS_AROUND, is_profile

_BODY = re.compile(
    r"[\w-]*(?:post|message|msg|comment|reply|answer|question|topic|email|usertext|usercontent)s?"
    r"(?:[-_]{0,2}(?:user)?(?:body|contents?|text|message|msg|copy))+(?:[-_]?\d+)?"
    r"|(?:msg|message)[-_]?\d+|bbwrapper|cooked|s-prose|postcolor|searchable|commtext|md|md-div|postmsg|usercontent|markdown-body|"
    r"kmsg|action-body|markdown_content|ttypography|richcontent-inner",
    re.IGNORECASE,
)
# What holds one post, with its author: its text is what is named `content` in it.
_HOLDER = re.compile(r"(?:forum-?)?(?:comment|reply|post-?row)|node-forum", re.IGNORECASE)
# The text of a post in a forum, and elsewhere an article.
_WEAK = frozenset(["post"])
_INNER = frozenset(["content", "inner", "message", "text", "body"])
_NOT_BODY = re.compile(
    r"kreplymessage|signature|(?:\b|_|ips|bb)quote|editor|preview|composer|placeholder|excerpt|teaser|summary|snippet|line-clamp",
    re.IGNORECASE,
)
_MICRODATA = frozenset(["itemprop", "component", "data-role"])
_BODY_TAGS = frozenset(["div", "td", "article", "section", "blockquote", "p", "li", "dd", "span"])
# What most elements of a page are.
_NEVER_BODY_TAGS = frozenset([
    "a", "b", "i", "em", "strong", "img", "br", "h1", "h2", "h3", "h4", "tr", "svg", "path", "use", "code", "time",
    "x-formula", "x-code",
])  # fmt: skip
_SKIPPED_TAGS = frozenset(["nav", "footer"])
_ASIDE = re.compile(
    r"(?:\b|_)(?:side|side-?bar|related|similar|recommended|trending|popular|suggested|cookies?|consent)(?:\b|_)|signature",
    re.IGNORECASE,
)
_NOTICE = re.compile(r"(?:\b|_)(?:notices?|announcements?|rules|welcome|banner|summary)(?:\b|_)", re.IGNORECASE)
_COMMENT_NAME = re.compile(r"comment|reply|respon", re.IGNORECASE)
_MAX_LEVELS_TO_NAME = 4
# Of posts of one layout, to see whether a profile stands in them.
_MAX_EXAMPLES = 4


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


class _Candidate:
    """An element with the name of a post's body, or of what holds one, and those next inside of it."""

    def __init__(self, element: html.HtmlElement, name: _Name) -> None:
        self.element = element
        self.name = name
        self.inner: list[_Candidate] = []
        self.signature = re.sub(r"\d+", "", f"{element.tag} {element.get('class') or ''}")


def find_bodies(outline: Outline, *, is_forum: Callable[[], bool]) -> list[html.HtmlElement]:
    """Elements named like a post's body; of nested ones the innermost that hold most of the text."""
    outermost: list[_Candidate] = []
    candidates: list[_Candidate] = []
    # The candidates that the current element stands in, each with the number after its last element.
    around: list[tuple[int, _Candidate]] = []
    elements, size = outline.elements, len(outline.elements)
    number = 1
    while number < size:
        element = elements[number]
        tag = element.tag
        name = None if tag in _NEVER_BODY_TAGS else _names(element)
        if name is _Name.ASIDE or tag in _SKIPPED_TAGS:
            number = outline.end(number)
            continue
        if name is None:
            number += 1
            continue
        while around and number >= around[-1][0]:
            around.pop()
        if (
            name in (_Name.BODY, _Name.HOLDER)
            or (name is _Name.WEAK and is_forum())
            or (name is _Name.INNER and around)
        ):
            candidate = _Candidate(element, name)
            candidates.append(candidate)
            (around[-1][1].inner if around else outermost).append(candidate)
            around.append((outline.end(number), candidate))
        number += 1

    # Posts of one layout are treated alike, so that a short post with much around it keeps its own text only.
    own: dict[str, int] = defaultdict(int)
    inside: dict[str, int] = defaultdict(int)
    alike: dict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.inner:
            own[candidate.signature] += outline.text(candidate.element)
            inside[candidate.signature] += sum(outline.text(inner.element) for inner in candidate.inner)
            alike[candidate.signature].append(candidate)
    entered = {
        signature
        for signature, examples in alike.items()
        if inside[signature] >= 0.5 * own[signature]
        or any(is_profile(_outside(example)) for example in examples[:_MAX_EXAMPLES])
    }
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
        elif candidate.inner and candidate.signature in entered:
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
    while stack and len(found) < MAX_ELEMENTS_AROUND:
        element = stack.pop()
        if element not in inner:
            found.append(element)
            stack.extend(reversed(element))
    return found


def _names(element: html.HtmlElement) -> _Name | None:
    attributes = element.keys()
    if not attributes:
        return None
    by_class = _name(element.get("class")) if "class" in attributes else None
    if by_class is _Name.ASIDE or element.tag not in _BODY_TAGS:
        return by_class if by_class is _Name.ASIDE else None
    if "id" in attributes and _name(element.get("id")) is _Name.BODY:
        return _Name.BODY
    if not _MICRODATA.isdisjoint(attributes) and element.tag != "span":
        for value in map(element.get, _MICRODATA.intersection(attributes)):
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


def is_comment(body: html.HtmlElement) -> bool:
    """Whether a body, or what holds it, is named as a comment or a reply."""
    around = islice(chain([body], body.iterancestors()), _MAX_LEVELS_TO_NAME)
    named = next((element for element in around if _names(element) in (_Name.BODY, _Name.HOLDER)), body)
    return _COMMENT_NAME.search(f"{named.get('class')} {named.get('id')}") is not None


def is_aside(element: html.HtmlElement) -> bool:
    """A signature, a notice to visitors or a column of related threads."""
    names = f"{element.get('class') or ''} {element.get('id') or ''}"
    return _ASIDE.search(names) is not None or _NOTICE.search(names) is not None
