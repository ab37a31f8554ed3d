"""Whether an answer is the expected one: ours (`exact`, `tokens`, `floats`) and three that benchmarks publish.

Each rule is a pure function of two byte strings (what a program printed) or of two JSON texts (what a function
returned), gives a verdict on any data, and takes time linear in it (sorting aside). What bounds the cost, in every
rule, and makes an answer wrong that unbounded arithmetic might accept:

- of the words that differ as text, only the first `_MAX_NUMBERS` are compared as numbers;
- JSON of more than `_MAX_PARTS` commas and colons or `_MAX_CONTAINERS` arrays and objects, or nested deeper than
  Python's decoder goes (about a thousand), is compared as text.

The same JSON text is the same value, unless it is blank or says NaN. Integers of any length are compared exactly.

The published rules were read in, and written anew from, `lcb_runner/evaluation/testing_util.py` of LiveCodeBench at
28fef95, `eval/testing_util.py` of hendrycks/apps at 362aedc, and `evalplus/eval/__init__.py` of EvalPlus at 26d6d00.
What differs from them is in each docstring, with one difference common to all: values come as JSON, where a tuple is a
list and every key is a string, so that neither is told from the other.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import chain, zip_longest
from typing import TypeVar

WordT = TypeVar("WordT", bytes, str)

_MAX_NUMBERS = 250_000
_MAX_PARTS, _MAX_CONTAINERS = 500_000, 50_000
_MAX_APPS_CHARACTERS = 500_000
_MAX_INTEGER_CHARACTERS = 400
"""Past every float. `int` takes quadratic time for longer ones, or refuses them."""

_PIECE = 1 << 16
"""Texts are split piece by piece: a list of all the words of a large one needs twenty times its memory."""

_BLOCK_WORDS = 1 << 12
_WHITE_SPACE = re.compile(rb"\s")


def exact(expected: bytes, output: bytes) -> bool:
    """Byte for byte."""
    return expected == output


def tokens(expected: bytes, output: bytes) -> bool:
    """The same words in the same order; ASCII white space separates and does not count."""
    return expected == output or all(left == right for left, right in _paired_words(expected, output))


def floats(expected: bytes, output: bytes, *, absolute: float, relative: float) -> bool:
    """As `tokens`, but two finite decimal numbers are the same when within either tolerance."""
    if expected == output:
        return True
    num_left = _MAX_NUMBERS
    for left, right in _paired_words(expected, output):
        if left == right:
            continue
        if len(left) != len(right):
            return False
        differing = {(one, other) for one, other in zip(left, right, strict=True) if one != other}
        num_left -= len(differing)
        if num_left < 0 or not _close_words(differing, absolute, relative):
            return False
    return True


def same_values(expected: str, output: str) -> bool:
    """The same JSON value: key order does not count, `1` is `1.0` but not `true`."""
    return _compare_values(expected, output, lambda left, right: _same_tree(left, right, operator.eq))


def float_values(expected: str, output: str, *, absolute: float, relative: float) -> bool:
    """As `same_values`, with numbers as in `floats`."""

    def close(left: object, right: object) -> bool:
        if left == right:
            return True
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            return False
        try:
            one, other = float(left), float(right)
        except OverflowError:
            return False
        finite = math.isfinite(one) and math.isfinite(other)
        return finite and math.isclose(one, other, abs_tol=absolute, rel_tol=relative)

    return _compare_values(expected, output, lambda left, right: _same_tree(left, right, close))


def livecodebench(expected: bytes, output: bytes) -> bool:
    """LiveCodeBench's rule for programs: as many lines, each the same when stripped, or the same decimals one by one.

    Decimals are exact: `1.50` is `1.5`, and 50000000000000000 is not its successor. A line with a word that is no
    number must be the same as a whole. Bytes that are not UTF-8 stand for themselves.
    """
    if expected == output:
        return True
    wanted, printed = _text(expected).strip(), _text(output).strip()
    if wanted == printed:
        return True
    if wanted.count("\n") != printed.count("\n"):
        return False
    num_left = _MAX_NUMBERS
    for lefts, rights in zip(_line_blocks(wanted), _line_blocks(printed), strict=True):
        if lefts == rights:
            continue
        stripped = zip(map(str.strip, lefts), map(str.strip, rights), strict=True)
        differing = {(left, right) for left, right in stripped if left != right}
        num_numbers = _num_same_decimals(differing, num_left)
        if num_numbers is None:
            return False
        num_left -= num_numbers
    return True


def livecodebench_values(expected: str, output: str) -> bool:
    """LiveCodeBench's rule for functions: equal as in Python, where `1` is `1.0` and `true`; no tolerance."""
    return _compare_values(expected, output, operator.eq)


def apps(expected: bytes, output: bytes) -> bool:
    """APPS's rule for programs, **unsafe for rewards**: the first of these attempts that succeeds accepts.

    1. The same text, the white space around it, or around every line, aside.
    2. The same lines, empty ones aside.
    3. Every line is one number, and close (1e-8 absolute and 1e-5 relative, added).
    4. The same set of lines, each as a set of words: order and repetition count neither within lines nor among them.
    5. As 4, with every word a number, rounded to three decimals.

    So a wrong permutation, a missing duplicate and 0.0001 for 0 pass: a model that is paid by this rule learns to print
    less than the task asks. Use it to reproduce published figures.

    Texts of more than `_MAX_APPS_CHARACTERS` get the first attempt alone, around the whole text, for bounded cost.
    """
    if expected == output:
        return True
    wanted, printed = _text(expected), _text(output)
    if max(len(wanted), len(printed)) > _MAX_APPS_CHARACTERS:
        return wanted.strip() == printed.strip()
    lines = printed.splitlines()
    if wanted.strip() in ("\n".join(lines).strip(), "\n".join(map(str.strip, lines)).strip()):
        return True
    goal = [line.strip() for line in wanted.split("\n") if line]
    filled = [line for line in lines if line]
    if goal in (lines, filled):
        return True
    return _close_lines(goal, filled) or _same_word_sets(goal, filled)


def apps_values(expected: str, output: str) -> bool:
    """APPS's rule for functions: equal as in Python, to the expected value or to its first element.

    **Unsafe for rewards**: where a list is expected, its first element will do. An object whose keys are all integers,
    expected as the value or as the first element, may also come alone in a list. The original then refuses the rest of
    an expected list; here what is expected passes.
    """

    def rule(left: object, right: object) -> bool:
        if right == left:
            return True
        if _has_integer_keys(left):
            return right == [left]
        if not isinstance(left, list) or not left:
            return False
        return right == left[0] or (_has_integer_keys(left[0]) and right == left[:1])

    return _compare_values(expected, output, rule)


def evalplus(expected: bytes, output: bytes) -> bool:
    """EvalPlus has no rule for programs. This one: the same text, stripped, or `evalplus_values` if both are JSON."""
    if expected == output or expected.strip() == output.strip():
        return True
    return evalplus_values(_text(expected), _text(output))


def evalplus_values(expected: str, output: str) -> bool:
    """EvalPlus's rule: equal as in Python; or close, where a float or a list of nothing but floats is expected.

    Close is 1e-6 absolute and 1e-7 of the expected number, added, for a float or a list of as many numbers.

    Left out: the tolerances and the oracles that single problems bring. The original also keeps its tolerance for the
    later cases of a problem once one of them expected floats, and lets NumPy match `[[0.5]]` with `[0.5]`; here each
    case is judged alone, and a list is no number.
    """

    def rule(left: object, right: object) -> bool:
        if right == left:
            return True
        if isinstance(left, float):
            return isinstance(right, float) and _all_close([left], [right], absolute=1e-6, relative=1e-7)
        if not isinstance(left, list) or not isinstance(right, list) or len(left) != len(right):
            return False
        if not all(isinstance(value, float) for value in left) or not all(map(_is_numpy_number, right)):
            return False
        return _all_close(left, right, absolute=1e-6, relative=1e-7)

    return _compare_values(expected, output, rule)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _paired_words(expected: bytes, output: bytes) -> Iterable[tuple[list[bytes], list[bytes]]]:
    """The words of both, list beside list; of different length only where one text has more words."""
    if len(expected) + len(output) < _PIECE:
        return ((expected.split(), output.split()),)
    return zip_longest(_word_blocks(expected), _word_blocks(output), fillvalue=[])


def _word_blocks(text: bytes) -> Iterator[list[bytes]]:
    def pieces() -> Iterator[list[bytes]]:
        start = 0
        while start < len(text):
            space = _WHITE_SPACE.search(text, start + _PIECE)
            end = space.start() if space else len(text)
            yield text[start:end].split()
            start = end

    return _blocks(pieces())


def _line_blocks(text: str) -> Iterator[list[str]]:
    def pieces() -> Iterator[list[str]]:
        start = 0
        while (end := text.find("\n", start + _PIECE)) >= 0:
            yield text[start:end].split("\n")
            start = end + 1
        yield text[start:].split("\n")

    return _blocks(pieces())


def _blocks(pieces: Iterable[list[WordT]]) -> Iterator[list[WordT]]:
    """The same words, so many to a list that the lists of two texts line up; the last is shorter."""
    waiting: list[WordT] = []
    for piece in pieces:
        waiting += piece
        while len(waiting) >= _BLOCK_WORDS:
            yield waiting[:_BLOCK_WORDS]
            del waiting[:_BLOCK_WORDS]
    if waiting:
        yield waiting


def _close_words(pairs: Collection[tuple[bytes, bytes]], absolute: float, relative: float) -> bool:
    words = list(chain.from_iterable(pairs))
    # Python reads 1_0 as 10, and a longer word than this is no float that anybody printed.
    if b"_" in b" ".join(words) or max(map(len, words), default=0) > 400:
        return False
    try:
        numbers = list(map(float, words))
    except ValueError:
        return False
    close = partial(math.isclose, abs_tol=absolute, rel_tol=relative)
    return all(map(math.isfinite, numbers)) and all(map(close, numbers[::2], numbers[1::2]))


def _all_close(wanted: Sequence[float], found: Sequence[float], *, absolute: float, relative: float) -> bool:
    """As `numpy.allclose(found, wanted)`: infinities are equal to themselves, NaN to nothing."""
    return len(wanted) == len(found) and all(
        b == a or (math.isfinite(a) and abs(b - a) <= absolute + relative * abs(a))
        for a, b in zip(wanted, found, strict=True)
    )


def _num_same_decimals(pairs: Iterable[tuple[str, str]], most: int) -> int | None:
    """How many words the left lines have, if each is the same decimal as its counterpart; None if not, or too many."""
    words: list[str] = []
    others: list[str] = []
    for left, right in pairs:
        left_words = left.split(None, most - len(words))
        right_words = right.split(None, len(left_words))
        if len(left_words) != len(right_words):
            return None
        words += left_words
        others += right_words
        if len(words) > most:
            return None
    try:
        return len(words) if all(map(operator.eq, map(Decimal, words), map(Decimal, others))) else None
    except InvalidOperation:  # Not a number, out of range, or a signalling NaN.
        return None


def _close_lines(goal: list[str], lines: list[str]) -> bool:
    if len(goal) != len(lines):
        return False
    try:
        return _all_close(list(map(float, goal)), list(map(float, lines)), absolute=1e-8, relative=1e-5)
    except ValueError:
        return False


def _same_word_sets(goal: list[str], lines: list[str]) -> bool:
    # As in the original, an expected line of white space is an empty set, which no printed line is.
    wanted = {_word_set(line.split()) for line in set(goal)}
    printed = {_word_set(line.split()) for line in set(lines) if not line.isspace()}
    if wanted == printed:
        return True
    try:
        return _rounded(wanted) == _rounded(printed)
    except ValueError:
        return False


def _word_set(words: Iterable[str]) -> str:
    """The same text for the same set of words.

    Not a frozenset, for its hash can be foreseen if it holds floats: sets of lines made to collide take quadratic time.
    """
    return " ".join(sorted(set(words)))


def _rounded(lines: set[str]) -> set[str]:
    """The lines with rounded numbers for words.

    Raises:
        ValueError: a word is no number, or NaN, which is in no set that equals another.
    """
    numbers = {word: repr(_round(float(word))) for word in set(" ".join(lines).split())}
    return {_word_set(map(numbers.__getitem__, line.split())) for line in lines}


def _round(number: float) -> float:
    if math.isnan(number):
        raise ValueError("NaN")
    # From 2**52 on all floats are whole, and rounding 1e300 takes twenty microseconds. Adding 0.0 makes -0.0 into 0.0.
    return number if abs(number) >= 2**52 else round(number, 3) + 0.0


def _has_integer_keys(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        return all(len(key) <= _MAX_INTEGER_CHARACTERS and (int(key), True)[1] for key in value)
    except ValueError:
        return False


def _is_numpy_number(value: object) -> bool:
    """Whether a NumPy array can hold it as other than an object."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**64)


def _compare_values(expected: str, output: str, rule: Callable[[object, object], bool]) -> bool:
    if expected == output and "NaN" not in output:
        return bool(output) and not output.isspace()
    try:
        return rule(_parsed(expected), _parsed(output))
    except (ValueError, RecursionError):
        return False


def _integer(digits: str) -> int | bytes:
    """The number, or for a long one its digits, as what no other JSON value is: JSON writes an integer in one way."""
    return int(digits) if len(digits) <= _MAX_INTEGER_CHARACTERS else digits.encode()


# One NaN made afresh each time: Python takes a list for equal to another that holds the same NaN.
_DECODER = json.JSONDecoder(parse_constant=float)
_LONG_DECODER = json.JSONDecoder(parse_constant=float, parse_int=_integer)


def _parsed(text: str) -> object:
    """The JSON value.

    Raises:
        ValueError: not JSON, or too many parts.
        RecursionError: too deep.
    """
    if len(text) <= _MAX_INTEGER_CHARACTERS:
        return _DECODER.decode(text)
    if sum(map(text.count, ",:")) > _MAX_PARTS or sum(map(text.count, "[{")) > _MAX_CONTAINERS:
        raise ValueError("too many parts")
    return _LONG_DECODER.decode(text)


def _same_tree(left: object, right: object, same: Callable[[object, object], bool]) -> bool:
    """Whether two JSON values have the same shape, the same booleans, and otherwise leaves that are `same`."""
    pending = [(left, right)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pending.extend((one[key], other[key]) for key in one)
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pending.extend(zip(one, other, strict=True))
        elif isinstance(one, bool) or isinstance(other, bool):
            if one is not other:
                return False
        elif not same(one, other):
            return False
    return True
