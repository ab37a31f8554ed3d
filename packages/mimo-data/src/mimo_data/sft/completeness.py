r"""Whether a response breaks off (§3.1 drops incomplete responses; by what measure, the report does not say).

Found: a `<think>` that is not closed or has no answer after it; a fence, `\begin{…}`, `$$`, `\[`, `\(`, `\boxed{` or
back-tick that is not closed; a table row that is not whole; an empty list item; an end in a comma, a colon, an opening
bracket or a word that ends no sentence; a last sentence without its end where the response's others have one.

Not found: a cut that falls exactly at the end of a sentence, a formula or a list item; a word that is cut short in a
response of one short line. Reasoning is not looked at: thoughts may break off, only the answer may not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_THINK, _END_THINK = "<think>", "</think>"
_FENCE_LINE = re.compile(r"^[ \t>]*(`{3,}|~{3,})[ \t]*([^\n]*)$")
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_BEGIN = re.compile(r"\\(begin|end)\s*\{([^{}]*)\}")
_ESCAPED = re.compile(r"\\[\\{}$]")
_EMPTY_ITEM = re.compile(r"^\s*(?:\d+[.)]|[-+•–]|\*)\s*$")
_ITEM = re.compile(r"^\s*(?:\d+[.)、]|[-*+•–]|[a-zA-Z][.)])\s+\S")
_HEADING = re.compile(r"^#{1,6}\s+.*[^\W\d_]{2,}")
# With the vowel signs of Indian scripts, which are no letters.
_WORD = re.compile(r"(?:[^\W\d_][\u0300-\u036f\u0900-\u0dff]*){2,}")
# Characters of scripts without spaces: two of them count as a word.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff]")
_SENTENCE_END = re.compile(r"[.!?…](?=[\s\"'”’)\]*_$]|$)|[。！？؟।]")
_FORMULA = re.compile(r"\$[^$\n]+\$")
# A formula that is a statement of its own, or ends as one.
_RESULT = re.compile(r"\\boxed|=|\\(?:approx|equiv|le|ge|in)\b|[.!?]\s*$")
_BLOCK = re.compile(r"\[(/?)(asy|code|quote)\]")
_ENDS = frozenset(".!?…。！？．｡؟।۔")
_OPENS = frozenset(",:，：、；—([{（【《“‘「『=+\\&<×·")
# What may stand before a last number, letter or formula without a full stop.
_ANSWER = re.compile(
    r"\banswers?\b|\bresult\b|\btotal\b|\b(?:thus|hence|therefore|so)\b|答案|结果|答[:：]|[故选]|[:：=]|####",
    re.IGNORECASE,
)
# Nothing that is whole ends in one of these without a full stop.
_OPEN_WORDS_TEXT = (
    "the a an of and or but nor from into onto than which whose because although while whereas since if when where we "
    "they she its their our your my every such thus hence therefore let as at der die das und oder mit von zu ist sind "
    "el la los las un una con que es son le les des et ou avec qui est sont"
)
_OPEN_WORDS = frozenset(_OPEN_WORDS_TEXT.split())
_MIN_WORDS = 3
"""A last sentence of fewer words may be a name or a number."""
_LONE_WORDS = 10
"""So long a sentence has an end, even if it is the response's only one."""


def why_incomplete(response: str) -> str:
    """What shows that the response breaks off; "" if nothing does."""
    if response.count(_THINK) > response.count(_END_THINK):
        return "<think> is not closed"
    answer = response.rpartition(_END_THINK)[2].strip()
    if not answer:
        return "no answer"
    prose, ends_in_code, is_open = _without_fences(answer)
    if is_open:
        return "a fence is not closed"
    if found := _open_formula(prose):
        return found
    if ends_in_code:
        return ""
    return _open_end(prose)


def _without_fences(text: str) -> tuple[str, bool, bool]:
    """The text with fenced code out; whether it ends in code; whether a fence stays open."""
    kept: list[str] = []
    fence = ""
    in_last_line = False
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        in_last_line = number == len(lines)
        found = _FENCE_LINE.match(line)
        if not fence:
            if found and "`" not in found[2]:
                # A bare fence in the last line closes an outer one that holds fences itself.
                if in_last_line and not found[2]:
                    return "\n".join(kept), True, False
                fence = found[1]
                kept.append("")
            else:
                kept.append(line)
        elif found and found[1].startswith(fence) and not found[2].strip():
            fence = ""
            if in_last_line:
                return "\n".join(kept), True, False
    return "\n".join(kept), False, bool(fence)


def _open_formula(prose: str) -> str:
    """A piece of LaTeX or a code span that is begun and not ended."""
    text = _CODE_SPAN.sub(" ", prose)
    _, tick, rest = text.rpartition("\n\n")[2].rpartition("`")
    # In print, `this' is a quotation.
    if tick and "'" not in rest:
        return "` is not closed"
    blocks = [bool(closing) for closing, _ in _BLOCK.findall(text)]
    if blocks.count(False) > blocks.count(True):
        return "a block in brackets is not closed"
    open_names: list[str] = []
    for kind, name in _BEGIN.findall(text):
        if kind == "begin":
            open_names.append(name)
        elif name in open_names:
            open_names.remove(name)
    if open_names:
        return f"\\begin{{{open_names[-1]}}} is not ended"
    # Braces are counted by their own kind: `\{` is a sign, `\\` a line break.
    bare = _ESCAPED.sub("  ", text)
    place = bare.rfind("\\boxed{")
    if place >= 0 and _is_open(bare[place + len("\\boxed") :]):
        return "\\boxed{ is not closed"
    if bare.count("$$") % 2:
        return "$$ is not closed"
    for left, right in (("\\[", "\\]"), ("\\(", "\\)")):
        if bare.count(left) > bare.count(right):
            return f"{left} is not closed"
    last = bare.rpartition("\n\n")[2].replace("$$", "")
    # A dollar may be money; what follows an open formula's looks like one.
    if last.count("$") % 2 and re.match(r"[^\d<\s][^\n]*[\\^_{=]|\\", last.rpartition("$")[2]):
        return "$ is not closed"
    return ""


def _is_open(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return False
    return True


def _open_end(prose: str) -> str:
    """An end that is none, by the last line and by how the others end."""
    lines = [line.strip() for line in prose.split("\n") if line.strip()]
    if not lines:
        return ""
    line = lines[-1]
    if _EMPTY_ITEM.match(line):
        return "a list item is empty"
    if line.startswith("|"):
        rows = [other for other in lines if other.startswith("|")]
        return "a table row is cut" if line.count("|") < rows[0].count("|") else ""
    if _HEADING.match(line):
        return "ends in a heading"
    end = line.rstrip("*_~ ")
    if not end:
        return ""
    last = end[-1]
    if last in _OPENS:
        return f"ends in {last}"
    bare = _FORMULA.sub(" ", _CODE_SPAN.sub(" ", line))
    if sum(map(bare.count, "([（【《")) > sum(map(bare.count, ")]）】》")):
        return "a bracket is not closed"
    # A vowel sign of an Indian script is a mark, and no letter.
    is_word = last.isalnum() or unicodedata.category(last).startswith("M")
    if last in _ENDS or not (is_word or last in "-/;%$"):
        return ""
    if last in "-/":
        return f"ends in {last}" if end[:-1].strip("-/") else ""
    return _open_sentence(lines, end)


def _open_sentence(lines: list[str], end: str) -> str:
    """Whether the last line, which ends in a letter, a digit or a formula, is a sentence that wants an end."""
    ends_in_formula = end.endswith("$")
    if ends_in_formula and _RESULT.search(end.rstrip("$").rpartition("$")[2]):
        return ""
    end = _FORMULA.sub(" ", end).rstrip() if ends_in_formula else end
    *before, sentence = _SENTENCE_END.split(end)
    words = _WORD.findall(sentence)
    last_word = words[-1].lower() if words and end.endswith(words[-1]) else ""
    if last_word in _OPEN_WORDS and len(words) >= 2 and not ends_in_formula:
        return f"ends in “{last_word}”"
    ends_in_value = ends_in_formula or end[-1:].isdigit() or bool(re.search(r"[\W_][A-Z]$", end))
    if ends_in_value and _ANSWER.search(sentence):
        return ""
    num_words = _num_words(sentence)
    if num_words >= (_LONE_WORDS if not before else _MIN_WORDS):
        return "the last sentence has no end"
    is_item = bool(_ITEM.match(lines[-1]))
    alike = list(_ends_of([other for other in lines[:-1] if bool(_ITEM.match(other)) == is_item]))
    if sum(alike) * 2 > len(alike) and (is_item or num_words >= _MIN_WORDS - bool(_UNSPACED.search(sentence))):
        return "the last list item has no end" if is_item else "the last sentence has no end"
    return ""


def _num_words(text: str) -> int:
    spaced = sum(1 for word in _WORD.findall(text) if not _UNSPACED.search(word))
    return spaced + len(_UNSPACED.findall(text)) // 2


def _ends_of(lines: list[str]) -> Iterator[bool]:
    """For each line of several words, whether it ends as a sentence does."""
    for line in lines:
        end = line.rstrip("*_~ \"'”’)")
        if end and not _HEADING.match(line) and not line.startswith("|") and _num_words(line) > 1:
            yield end[-1] in _ENDS
