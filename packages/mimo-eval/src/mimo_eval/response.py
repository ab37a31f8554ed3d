"""Reading a response: where the reasoning ends, and which part of the rest is the answer."""

from __future__ import annotations

import re

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)")
_LETTERS = r"[A-Z](?:[ ,]*(?:and[ ]+)?[A-Z])*"
_ANSWER_IS = re.compile(
    rf"(?i:answer|option|choice|答案|选)(?:[\s:*]|是|为|：|(?i:\bis\b))*[\(\[（]?(?!I[ '’]+[a-z])({_LETTERS})\b"
)
_ANSWER_PHRASE = re.compile(r"(?i)\banswer(?:\s+is\b|\s*:)")
_LETTER_ALONE = re.compile(rf"[\(\[（*\s]*({_LETTERS})[\)\]）*\s]*(?:[.:：。、)]|$)")


def final_text(response: str) -> str:
    """The part of a response that holds its answer: what follows the last `</think>`.

    A response without think tags counts whole; one whose last `<think>` is still open has no answer yet: ''.
    """
    close = response.rfind("</think>")
    if close < 0 and "<think>" not in response:
        return response
    if close < 0 or response.find("<think>", close) >= 0:
        return ""
    return response[close + len("</think>") :]


def last_boxed(text: str) -> str | None:
    r"""Contents of the last complete `\boxed{…}` or `\fbox{…}`; None when there is none.

    Braces are matched with `\{` and `\}` set aside; a box that never closes is passed over for an earlier one.
    """
    starts = list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))
    limit = len(text)
    for match in reversed(starts):
        # A box is scanned to the start of the next one's scan at most once: nested boxes stay linear.
        depth, i = 1, match.end()
        while i < limit and depth:
            if text[i] == "\\":
                i += 1
            elif text[i] == "{":
                depth += 1
            elif text[i] == "}":
                depth -= 1
            i += 1
        if depth == 0:
            return text[match.end() : i - 1].strip()
        limit = min(limit, match.start())
    return None


def program(text: str) -> str:
    """The last closed fenced code block; else what follows an open fence; else the whole text, as a completion."""
    block, fence, lines = None, "", list[str]()
    for line in text.split("\n"):
        match = _FENCE.fullmatch(line)
        if not fence and match:
            fence, lines = match.group(1), []
        elif fence and match and match.group(1).startswith(fence) and not match.group(2).strip():
            block, fence = "\n".join(lines) + "\n", ""
        elif fence:
            lines.append(line)
    if block is None and fence:
        return "\n".join(lines)
    return text if block is None else block


def choice_letters(text: str) -> str:
    r"""Chosen letters, sorted (`B`, `AD`); '' when the text commits to none.

    In this order: the last `\boxed{…}`, the last phrase such as "the answer is (B)", a text or last line that is
    nothing but letters or starts with one ("B. because").
    """
    boxed = last_boxed(text)
    if boxed is not None:
        text = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", boxed)
    elif phrases := _ANSWER_IS.findall(text):
        return _sorted_letters(phrases[-1])
    lines = [line for line in text.strip().split("\n") if line.strip()]
    for line in (lines[-1:] + lines[:1]) if lines else []:
        if match := _LETTER_ALONE.match(line.strip()):
            return _sorted_letters(match.group(1))
    return ""


def short_answer(text: str) -> str:
    r"""Words that answer an open question: the last `\boxed{…}`, else what follows the last "answer is" or "answer:" on
    its line, else the first line.
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    phrases = list(_ANSWER_PHRASE.finditer(text))
    rest = text[phrases[-1].end() :] if phrases else text
    return rest.strip().split("\n", 1)[0].strip().removesuffix(".")


def _sorted_letters(text: str) -> str:
    return "".join(sorted(set(re.sub(r"and|[^A-Z]", "", text))))
