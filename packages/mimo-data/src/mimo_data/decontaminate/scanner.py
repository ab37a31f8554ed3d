"""The compiled loop of `words.py` over a text's bytes. Import it where it is used: it loads numba."""

# numba's decorators have no types, and it compiles plain comparisons and loops best.
# mypy: disable-error-code="untyped-decorator,no-any-return"
# ruff: noqa: SIM109

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mimo_data.decontaminate import signs
from mimo_data.decontaminate.signs import (
    ARGUMENT_SHIFT,
    CHARACTER,
    DROP_ARGUMENT,
    FRACTION,
    GLUED,
    JOINER,
    LETTER,
    LOOSE,
    MODULUS,
    NEW_LINE,
    OPERATOR,
    RAISED_DIGIT,
)

_ALONE_CHARACTER = signs.ALONE
_DIGIT_CHARACTER = signs.DIGIT
# Kinds of words, as in words.py.
_LONG, _SINGLE, _DIGIT, _ALONE = 0, 1, 2, 3

_START = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_CODE_POINT = np.uint64((1 << 21) - 1)
_MODULUS_LETTERS = (109, 111, 100)
_MAX_NAME, _MAX_TAG, _MAX_LINK = 32, 300, 500
_TAB, _LINE, _RETURN, _SPACE = 9, 10, 13, 32
_BANG, _QUOTE, _HASH, _DOLLAR, _AND, _APOSTROPHE, _OPEN, _CLOSE, _STAR, _COMMA, _HYPHEN = (
    ord(c) for c in "!\"#$&'()*,-"
)
_SLASH, _SEMICOLON, _LESS, _GREATER, _CLOSE_SQUARE, _BACKSLASH, _CARET, _UNDERSCORE, _BACKTICK = (
    ord(c) for c in "/;<>]\\^_`"
)
_OPEN_BRACE, _CLOSE_BRACE, _H, _N, _T, _R, _X = (ord(c) for c in "{}hntrx")


@njit(cache=True, inline="always")
def _is_letter(byte: int) -> bool:
    return 97 <= byte <= 122 or 65 <= byte <= 90


@njit(cache=True, inline="always")
def _is_digit(byte: int) -> bool:
    return 48 <= byte <= 57


@njit(cache=True, inline="always")
def _is_space(byte: int) -> bool:
    return byte == _SPACE or byte == _TAB or byte == _LINE or byte == _RETURN


@njit(cache=True)
def _mixed(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def _find(keys: NDArray[Any], values: NDArray[Any], data: NDArray[Any], start: int, end: int) -> int:
    """The value of the name in data[start:end], -1 if it is in no table."""
    key = _START
    for place in range(start, end):
        key = (key ^ np.uint64(data[place])) * _PRIME
    last = np.uint64(len(keys) - 1)
    slot = key & last
    while keys[slot] != 0:
        if keys[slot] == key:
            return int(values[slot])
        slot = (slot + np.uint64(1)) & last
    return -1


@njit(cache=True)
def _decode(data: NDArray[Any], i: int, n: int) -> tuple[int, int]:
    """Code point at i and its bytes; the text is valid UTF-8."""
    byte = int(data[i])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0 and i + 1 < n:
        return (byte & 0x1F) << 6 | (int(data[i + 1]) & 0x3F), 2
    if byte < 0xF0 and i + 2 < n:
        return (byte & 0x0F) << 12 | (int(data[i + 1]) & 0x3F) << 6 | (int(data[i + 2]) & 0x3F), 3
    if i + 3 < n:
        value = (byte & 0x07) << 18 | (int(data[i + 1]) & 0x3F) << 12
        return value | (int(data[i + 2]) & 0x3F) << 6 | (int(data[i + 3]) & 0x3F), 4
    return _SPACE, 1


@njit(cache=True)
def _entity(keys: NDArray[Any], values: NDArray[Any], data: NDArray[Any], i: int, n: int) -> tuple[int, int]:
    """Code point and bytes of the entity at an ampersand; (0, 0) if it is none."""
    end = i + 1
    while end < n and end - i < _MAX_NAME and (_is_letter(data[end]) or _is_digit(data[end]) or data[end] == _HASH):
        end += 1
    if end >= n or data[end] != _SEMICOLON or end == i + 1:
        return 0, 0
    if data[i + 1] != _HASH:
        found = _find(keys, values, data, i + 1, end)
        return (found, end + 1 - i) if found > 0 else (0, 0)
    value, place, base = 0, i + 2, 10
    if place < end and (data[place] | 32) == _X:
        place, base = place + 1, 16
    while place < end and value < 0x110000:
        byte = int(data[place]) | 32
        digit = byte - 48 if byte <= 57 else byte - 87
        if digit < 0 or digit >= base:
            return 0, 0
        value = value * base + digit
        place += 1
    return (value, end + 1 - i) if 0 < value < 0x110000 else (0, 0)


@njit(cache=True)
def _tag(keys: NDArray[Any], values: NDArray[Any], data: NDArray[Any], i: int, n: int) -> tuple[int, int]:
    """Bytes of the HTML tag at a less-than sign, 0 if it is none, and 2 if it begins a line."""
    start = i + 2 if i + 1 < n and data[i + 1] == _SLASH else i + 1
    end = start
    while end < n and end - start < _MAX_NAME and (_is_letter(data[end]) or _is_digit(data[end])):
        end += 1
    if end == start or end >= n or not (data[end] == _GREATER or data[end] == _SLASH or _is_space(data[end])):
        return 0, 0
    found = _find(keys, values, data, start, end)
    if found < 0:
        return 0, 0
    while end < n and end - i < _MAX_TAG and data[end] != _GREATER and data[end] != _LESS:
        end += 1
    return (end + 1 - i, found) if end < n and data[end] == _GREATER else (0, 0)


@njit(cache=True)
def _link(data: NDArray[Any], i: int, n: int) -> int:
    """Bytes of `](target)` at a closing bracket, 0 if it is no link."""
    if i + 2 >= n or data[i + 1] != _OPEN:
        return 0
    first = data[i + 2]
    web = first == _H and i + 6 < n and data[i + 3] == _T and data[i + 4] == _T
    if not (web or first == _SLASH or first == _HASH):
        return 0
    end = i + 2
    while end < n and end - i < _MAX_LINK and data[end] != _CLOSE and not _is_space(data[end]):
        end += 1
    return end + 1 - i if end < n and data[end] == _CLOSE else 0


@njit(cache=True)
def _after_hyphen(data: NDArray[Any], i: int, n: int) -> int:
    """Where a word goes on after the hyphen at i, in its line or the next one; 0 if it does not.

    Whether `real-` at the end of a line begins *real-time* or *realistic* is not to be seen, so both are one word.
    """
    place = i + (2 if data[i] == _BACKSLASH else 1)
    while place < n and (data[place] == _SPACE or data[place] == _RETURN):
        place += 1
    if place < n and data[place] == _LINE:
        while place < n and _is_space(data[place]):
            place += 1
        return place if place < n and 97 <= data[place] <= 122 else 0
    # `sin-x` and `a-b` are formulas.
    whole = place + 1 < n and _is_letter(data[place]) and _is_letter(data[place + 1])
    return place if whole and not _is_space(data[place - 1]) else 0


@njit(cache=True)
def _thousands(data: NDArray[Any], i: int, n: int) -> int:
    """Bytes of a thousands sign at i (`,`, `{,}`, `,\\!`, `\\,`), after which exactly three digits follow; else 0."""
    place = i
    if data[place] == _BACKSLASH:
        if place + 1 >= n or data[place + 1] != _COMMA:
            return 0
        place += 2
    else:
        braced = data[place] == _OPEN_BRACE
        place += 1 if braced else 0
        if place >= n or data[place] != _COMMA:
            return 0
        place += 1
        if braced:
            if place >= n or data[place] != _CLOSE_BRACE:
                return 0
            place += 1
        if place + 1 < n and data[place] == _BACKSLASH and data[place + 1] == _BANG:
            place += 2
    if place + 3 > n or not (_is_digit(data[place]) and _is_digit(data[place + 1]) and _is_digit(data[place + 2])):
        return 0
    return place - i if place + 3 == n or not _is_digit(data[place + 3]) else 0


@njit(cache=True)
def _stays_at_line_start(code_point: int) -> bool:
    """Whether a line is still at its start after this sign: quotations and lists nest."""
    return code_point == _GREATER or code_point == _STAR or code_point == _HYPHEN or code_point == _HASH


@njit(cache=True)
def scan(
    data: NDArray[Any],
    kinds: NDArray[Any],
    folded: NDArray[Any],
    operators: NDArray[Any],
    command_keys: NDArray[Any],
    command_values: NDArray[Any],
    entity_keys: NDArray[Any],
    entity_values: NDArray[Any],
    tag_keys: NDArray[Any],
    tag_values: NDArray[Any],
    hashes: NDArray[Any],
    starts: NDArray[Any],
    ends: NDArray[Any],
    marks: NDArray[Any],
    word_kinds: NDArray[Any],
) -> int:
    """Writes the words of `data` to the last five arrays; their number, -1 if the arrays are too short."""
    n, room = len(data), len(hashes) - 8
    count, i = 0, 0
    mask = NEW_LINE
    at_line_start = True
    letters, word_start, value = 0, 0, _START
    digit_end = -1  # the byte after the last digit, if a digit there goes on with its number
    loose_end = -1  # the same, if the digit is one of `\\frac12`, `x^12` or `a_12`, where a reader has to know
    single_digits = 0  # digits to come that are arguments of their own
    while True:
        code_point, size, special = _SPACE, 1, False
        if i < n:
            byte = int(data[i])
            if byte < 0x80:
                code_point = byte
            else:
                code_point, size = _decode(data, i, n)
            # What is more than the character it looks like.
            if byte == _AND:
                found, length = _entity(entity_keys, entity_values, data, i, n)
                if length:
                    code_point, size, special = found, length, True
            elif letters > 1 and (byte == _HYPHEN or (byte == _BACKSLASH and i + 1 < n and data[i + 1] == _HYPHEN)):
                place = _after_hyphen(data, i, n)
                if place:
                    i = place
                    continue
        kind = kinds[code_point] if code_point < len(kinds) else _ALONE_CHARACTER
        if kind == LETTER:
            if letters == 0:
                word_start, value = i, _START
            packed = folded[code_point]
            while packed:
                value = (value ^ (packed & _CODE_POINT)) * _PRIME
                packed >>= np.uint64(21)
                letters += 1
            i += size
            at_line_start = False
            continue
        if kind == JOINER and i < n:
            i += size
            continue
        if letters and i + 2 < n:
            if code_point == _DOLLAR and _is_letter(data[i + 1]):
                i += 1  # `$n$th`
                continue
            if code_point == _BACKSLASH and _is_letter(data[i + 2]):
                sign = data[i + 1]
                if sign == _APOSTROPHE or sign == _BACKTICK or sign == _CARET or sign == _QUOTE or sign == _CLOSE:
                    i += 2  # `Poincar\\'e`, `\\(n\\)th`
                    continue
        if letters:
            hashes[count], starts[count], ends[count], marks[count] = _mixed(value), word_start, i, mask
            word_kinds[count] = _SINGLE if letters == 1 else _LONG
            count += 1
            letters, mask = 0, 0
        if i >= n:
            break
        if count >= room:
            return -1
        if kind == _DIGIT_CHARACTER or kind == RAISED_DIGIT:
            packed = folded[code_point]
            glued = kind == _DIGIT_CHARACTER and digit_end == i
            while packed:
                if glued:
                    mask |= GLUED
                elif loose_end == i:
                    mask |= LOOSE
                hashes[count] = _mixed((_START ^ (packed & _CODE_POINT)) * _PRIME)
                starts[count], ends[count], marks[count], word_kinds[count] = i, i + size, mask, _DIGIT
                packed >>= np.uint64(21)
                count += 1
                mask, glued = 0, True
            i += size
            digit_end = i if kind == _DIGIT_CHARACTER else -1
            if single_digits:
                single_digits -= 1
                digit_end, loose_end = -1, i
            at_line_start = False
            continue
        if kind == _ALONE_CHARACTER:
            letter = folded[code_point] if code_point < len(folded) else np.uint64(code_point)
            hashes[count], starts[count], ends[count] = _mixed((_START ^ letter) * _PRIME), i, i + size
            marks[count], word_kinds[count] = mask, _ALONE
            count += 1
            mask = 0
            i += size
            at_line_start = False
            continue
        # Signs.
        if not special:
            if digit_end == i and (code_point == _COMMA or code_point == _OPEN_BRACE or code_point == _BACKSLASH):
                length = _thousands(data, i, n)
                if length:
                    i += length
                    digit_end = i
                    continue
            if code_point == _BACKSLASH and i + 1 < n:
                following = int(data[i + 1])
                if not _is_letter(following):
                    # An escaped sign says what it is; an escaped backslash begins a command of its own.
                    if following < 0x80 and following != _BACKSLASH:
                        mask |= operators[following]
                        i += 2 if not _is_digit(following) else 1
                        if (following == _UNDERSCORE or following == _CARET) and i < n and _is_digit(data[i]):
                            single_digits = 1
                        if following == _LINE:
                            mask |= NEW_LINE
                            at_line_start = True
                    else:
                        i += 1
                    continue
                end = i + 1
                while end < n and end - i <= _MAX_NAME and _is_letter(data[end]):
                    end += 1
                found = _find(command_keys, command_values, data, i + 1, end)
                if found < 0:
                    # No command: a word after a backslash, or after the line break of a text inside of a text.
                    if following == _N or following == _T or following == _R:
                        mask |= NEW_LINE
                        i += 2
                    else:
                        i += 1
                    continue
                action, argument = found & 255, found >> ARGUMENT_SHIFT
                at_line_start = False
                if end < n and data[end] == _STAR and action != OPERATOR:
                    end += 1
                if action == CHARACTER or action == MODULUS:
                    word_kind = _LONG
                    if action == CHARACTER:
                        value = (_START ^ np.uint64(argument)) * _PRIME
                        word_kind = _ALONE if kinds[argument] == _ALONE_CHARACTER else _SINGLE
                    else:
                        value = _START
                        for letter_of in _MODULUS_LETTERS:
                            value = (value ^ np.uint64(letter_of)) * _PRIME
                    hashes[count], starts[count], ends[count], marks[count] = _mixed(value), i, end, mask
                    word_kinds[count] = word_kind
                    count += 1
                    mask = 0
                elif action == OPERATOR:
                    mask |= argument
                elif action == DROP_ARGUMENT:
                    # `\begin{array}{rcl}` has two of them.
                    for _ in range(2):
                        if end < n and data[end] == _OPEN_BRACE:
                            place = end
                            while place < n and place - end < _MAX_TAG and data[place] != _CLOSE_BRACE:
                                place += 1
                            if place < n and data[place] == _CLOSE_BRACE:
                                end = place + 1
                elif action == FRACTION:
                    place = end
                    while place < n and data[place] == _SPACE:
                        place += 1
                    if place < n and _is_digit(data[place]):
                        single_digits = 2
                i = end
                continue
            if code_point == _LESS:
                length, found = _tag(tag_keys, tag_values, data, i, n)
                if length:
                    if found == 2:
                        mask |= NEW_LINE
                        at_line_start = True
                    i += length
                    continue
            elif code_point == _CLOSE_SQUARE:
                length = _link(data, i, n)
                if length:
                    i += length
                    continue
            elif code_point == _OPEN_BRACE:
                single_digits = 0
            elif (code_point == _UNDERSCORE or code_point == _CARET) and i + 1 < n and _is_digit(data[i + 1]):
                single_digits = 1
        i += size
        if code_point == _LINE:
            mask |= NEW_LINE
            at_line_start = True
        elif code_point != _SPACE and code_point != _TAB and code_point != _RETURN:
            if code_point < len(operators) and operators[code_point]:
                before = int(data[i - size - 1]) if i > size else _SPACE
                after = int(data[i]) if i < n else _SPACE
                is_mark = at_line_start and code_point < 0x80  # a list, a quotation, a heading
                if code_point == _STAR:
                    # Not emphasis, and not a power.
                    is_mark = before == _STAR or after == _STAR or _is_space(before) != _is_space(after)
                    is_mark = is_mark or at_line_start
                if not is_mark:
                    mask |= operators[code_point]
            at_line_start = at_line_start and _stays_at_line_start(code_point)
    marks[count] = mask | NEW_LINE
    return count
