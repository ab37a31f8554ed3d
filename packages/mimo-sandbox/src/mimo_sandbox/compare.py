"""Whether an output is the expected one: named rules, pure, linear in the size of both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

_TOLERANCE = 1e-6
"""Absolute or relative, whichever is kinder."""


def exact(expected: bytes, output: bytes) -> bool:
    """Byte for byte."""
    return expected == output


def tokens(expected: bytes, output: bytes) -> bool:
    """The same words in the same order; ASCII white space separates and does not count."""
    return expected.split() == output.split()


def floats(expected: bytes, output: bytes) -> bool:
    """As `tokens`, but two finite decimal numbers are the same when within 1e-6, absolute or relative."""
    left, right = expected.split(), output.split()
    return len(left) == len(right) and all(map(_close_words, left, right))


def json_values(expected: str, output: str, *, tolerant: bool) -> bool:
    """The same JSON value: key order does not count, `1` is `1.0` but not `true`.

    Args:
        tolerant: numbers as in `floats`.
    """
    try:
        return _same(json.loads(expected), json.loads(output), tolerant)
    except (ValueError, RecursionError):
        return False


COMPARATORS: dict[str, Callable[[bytes, bytes], bool]] = {"exact": exact, "tokens": tokens, "float": floats}
"""By the name that `judge` takes. Cases with arguments are compared as JSON values; `float` makes that tolerant."""


def _close_words(left: bytes, right: bytes) -> bool:
    if left == right:
        return True
    # float() of a long digit string takes quadratic time in no CPython, but a number longer than this is no float.
    if max(len(left), len(right)) > 400 or b"_" in left + right:
        return False
    try:
        return _close(float(left), float(right))
    except ValueError:
        return False


def _close(left: float, right: float) -> bool:
    return (
        math.isfinite(left)
        and math.isfinite(right)
        and math.isclose(left, right, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    )


def _same(left: object, right: object, tolerant: bool) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key], tolerant) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b, tolerant) for a, b in zip(left, right, strict=True))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if tolerant and isinstance(left, int | float) and isinstance(right, int | float):
        try:
            return left == right or _close(float(left), float(right))
        except OverflowError:
            return False
    return left == right
