"""The text of a response while it grows: whole characters, stop strings, and reasoning between `<think>` tags.

All of it takes the response piece by piece, and gives the same whatever the pieces are.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase

THINK, END_THINK = "<think>", "</think>"
"""What stands around reasoning in MiMo's responses; the opening one may be the end of the prompt."""


class TextStream:
    """Text of a growing response: holds back an unfinished character, and any tail that may begin a stop string.

    All that `push` and `finish` return, joined, is `tokenizer.decode` of all tokens (without cleaning up spaces), cut
    before the stop string that is complete first; of several that end at one place, before the longest.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str] = (), *, skip_special_tokens: bool = True
    ) -> None:
        """
        Args:
            tokenizer: a byte-level one, as MiMo's is.
            stop: none of them empty.
        """
        self.stopped = False
        """A stop string was met: the text ends before it, and later tokens are ignored."""
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = _Finder(stop)

    def push(self, tokens: Sequence[int]) -> str:
        """Newly certain text; "" when nothing is certain yet."""
        data = (token_bytes(self._tokenizer, token, self._skip_special_tokens) for token in tokens)
        return self._find(self._characters.decode(b"".join(data)))

    def finish(self) -> str:
        """What was held back, at the end of the response."""
        text = self._find(self._characters.decode(b"", final=True))
        return text if self.stopped else text + self._stop.finish()

    def _find(self, text: str) -> str:
        if self.stopped:
            return ""
        certain, rest = self._stop.push(text)
        self.stopped = rest is not None
        return certain


class ReasoningStream:
    """Parts a growing response into reasoning and answer.

    Reasoning is what follows `<think>`, up to `</think>` or the end; everything else is answer, later tags too. Blank
    space around the reasoning, tags included, is dropped.
    """

    def __init__(self, *, opened: bool = False) -> None:
        """
        Args:
            opened: the prompt ends with `<think>`, so the response begins with reasoning.
        """
        self.found = opened
        """There is reasoning, be it empty."""
        self._tag: _Finder | None = _Finder((END_THINK if opened else THINK,))
        self._is_inside = opened
        self._is_start = True  # of the current part: blank space there is not yet certain
        self._blanks = ""

    def push(self, text: str) -> tuple[str, str]:
        """Newly certain reasoning and answer."""
        reasoning = answer = ""
        rest: str | None = text
        while rest is not None:
            is_inside = self._is_inside
            certain, rest = self._tag.push(rest) if self._tag else (rest, None)
            certain = self._trim(certain)
            if is_inside:
                reasoning += certain
            else:
                answer += certain
            if rest is not None:
                self._enter(is_inside=not is_inside)
        return reasoning, answer

    def finish(self) -> tuple[str, str]:
        """What was held back, at the end of the response."""
        held = self._trim(self._tag.finish()) if self._tag else ""
        if self._is_inside:
            return held, ""
        # Blank space alone is the answer of a response without reasoning.
        return "", held if self.found else self._blanks + held

    def _enter(self, *, is_inside: bool) -> None:
        self.found = True
        self._tag = _Finder((END_THINK,)) if is_inside else None
        self._is_inside = is_inside
        self._is_start, self._blanks = True, ""

    def _trim(self, text: str) -> str:
        """The part of the text that is certain not to be blank space beside a tag."""
        text, self._blanks = self._blanks + text, ""
        if self._is_start:
            stripped = text.lstrip()
            if not stripped:
                self._blanks = text
                return ""
            self._is_start = False
            if self.found:
                text = stripped
        if self._is_inside:
            stripped = text.rstrip()
            self._blanks = text[len(stripped) :]
            text = stripped
        return text


def split_reasoning(text: str, *, opened: bool = False) -> tuple[str | None, str]:
    """The reasoning and the answer of a whole response; None where it has no reasoning.

    Args:
        opened: the prompt ends with `<think>`. A text that closes before it opens shows that itself; this is for
            reasoning that never ended.
    """
    end = text.find(END_THINK)
    opened = opened or (end >= 0 and THINK not in text[:end])
    stream = ReasoningStream(opened=opened)
    parts = [stream.push(text), stream.finish()]
    reasoning, answer = ("".join(part) for part in zip(*parts, strict=True))
    return (reasoning if stream.found else None), answer


def opens_reasoning(prompt: str) -> bool:
    """Whether the response to a prompt, in the words of its template, begins with reasoning."""
    return prompt.rstrip().endswith(THINK)


def token_bytes(tokenizer: PreTrainedTokenizerBase, token: int, skip_special_tokens: bool) -> bytes:
    """The UTF-8 that a token adds to the text; it may be a part of a character."""
    known = _TOKEN_BYTES.setdefault(tokenizer, {})
    key = (token, skip_special_tokens)
    if key not in known:
        text = tokenizer.decode([token], skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        spelling = tokenizer.convert_ids_to_tokens(token) if "\ufffd" in text else ""
        is_part = spelling and all(letter in _BYTES for letter in spelling)
        known[key] = bytes(_BYTES[letter] for letter in spelling) if is_part else text.encode()
    return known[key]


def _byte_alphabet() -> dict[str, int]:
    """The byte that each letter of byte-level tokens stands for (GPT-2's alphabet).

    Printable Latin-1 stands for itself; the other bytes, in order, have the letters from U+0100 on.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    printable = {letter: ord(letter) for letter in alphabet if ord(letter) < 256}
    others = sorted(set(range(256)) - set(printable.values()))
    return printable | dict(zip(sorted(set(alphabet) - set(printable)), others, strict=True))


_BYTES = _byte_alphabet()
# What decoding one token gave, remembered: asking the tokenizer takes longer than all the rest.
_TOKEN_BYTES: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[int, bool], bytes]] = WeakKeyDictionary()


class _Finder:
    """Finds the first of some strings in growing text, in time linear in the text (Knuth–Morris–Pratt)."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._patterns = [_Pattern(string) for string in strings]
        self._held = ""

    def push(self, text: str) -> tuple[str, str | None]:
        """The text now certain to lie before any of the strings, and what follows the one found, or None."""
        if not self._patterns:
            return text, None
        buffer, start = self._held + text, len(self._held)
        for place, letter in enumerate(text, start=start):
            found = max((pattern.length for pattern in self._patterns if pattern.advance(letter)), default=0)
            if found:
                end = place + 1
                return buffer[: end - found], buffer[end:]
        num_certain = len(buffer) - max(pattern.num_matched for pattern in self._patterns)
        self._held = buffer[num_certain:]
        return buffer[:num_certain], None

    def finish(self) -> str:
        held, self._held = self._held, ""
        return held


class _Pattern:
    def __init__(self, text: str) -> None:
        self.length = len(text)
        self.num_matched = 0
        """How many of its first letters the text so far ends with."""
        self._text = text
        # Of each prefix, the longest proper prefix that it also ends with.
        self._borders = [0] * len(text)
        for place in range(1, len(text)):
            border = self._borders[place - 1]
            while border and text[border] != text[place]:
                border = self._borders[border - 1]
            self._borders[place] = border + (text[border] == text[place])

    def advance(self, letter: str) -> bool:
        """Whether this letter completes it."""
        matched = self.num_matched
        while matched and self._text[matched] != letter:
            matched = self._borders[matched - 1]
        self.num_matched = matched + (self._text[matched] == letter)
        return self.num_matched == self.length
