"""The comparators by name and version, and how one is asked for: `tokens`, `tokens@1`, `float:abs=1e-9,rel=0`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mimo_sandbox import rules


@dataclass(frozen=True)
class Comparator:
    """A rule that says whether an answer is the expected one: pure, total, and of bounded cost."""

    name: str
    """As `comparator` takes it, tolerances included."""

    version: int
    """Rises when a verdict changes."""

    doc: str
    """One line: what it accepts."""

    text: Callable[[bytes, bytes], bool]
    """Expected and printed text, of a program that reads stdin."""

    values: Callable[[str, str], bool]
    """Expected and returned value as JSON, of a function that was called."""

    def __call__(self, expected: bytes, output: bytes) -> bool:
        return self.text(expected, output)


def comparator(spec: str) -> Comparator:
    """The comparator that `spec` names: a name of `COMPARATORS`, then `@version` to pin it, then `:tolerances`.

    Only `float` has tolerances: `float:1e-9` sets both; of `abs` and `rel` in `float:abs=1e-9`, one that is not named
    is 0. A number is close enough if either says so.

    Raises:
        ValueError: the name or the version is unknown, or the tolerances are malformed.
    """
    match = _SPEC.fullmatch(spec)
    if match is None or match["name"] not in COMPARATORS:
        raise ValueError(
            f"comparator {spec[:100]!r}: expected one of {', '.join(COMPARATORS)}; if wanted with a version "
            "(tokens@1), and float with tolerances (float:1e-9 or float:abs=1e-6,rel=1e-9)."
        )
    found = COMPARATORS[match["name"]]
    if match["version"] not in (None, str(found.version)):
        raise ValueError(
            f"comparator {spec[:100]!r}: this is version {found.version} of {found.name}. "
            f"Ask for {found.name}@{found.version}, or install the mimo-sandbox that has the other."
        )
    if match["options"] is None:
        return found
    if found.name != "float":
        raise ValueError(f"comparator {spec[:100]!r}: {found.name} takes no options; only float does (float:1e-9).")
    absolute, relative = _tolerances(spec, match["options"])
    return _float(f"float:abs={absolute!r},rel={relative!r}", absolute, relative)


_SPEC = re.compile(r"(?P<name>[a-z]+)(@(?P<version>[0-9]+))?(:(?P<options>.*))?", re.DOTALL)


def _tolerances(spec: str, options: str) -> tuple[float, float]:
    """Absolute and relative."""
    named = [option.split("=", 1) if "=" in option else ["abs,rel", option] for option in options.split(",")]
    try:
        found = {kind: float(number) for kind, number in named}
    except ValueError:
        found = {}
    known = len(found) == len(named) and set(found) in ({"abs,rel"}, {"abs"}, {"rel"}, {"abs", "rel"})
    # A relative tolerance of 1 takes 0 for any number.
    if not known or not all(0 <= found[kind] < (math.inf if kind == "abs" else 1) for kind in found):
        raise ValueError(
            f"comparator {spec[:100]!r}: expected float:1e-9 (both tolerances) or float:abs=1e-6,rel=1e-9, "
            "each 0 or more, and below 1 but for the absolute one alone."
        )
    both = found.get("abs,rel", 0.0)
    return found.get("abs", both), found.get("rel", both)


def _float(name: str, absolute: float, relative: float) -> Comparator:
    return Comparator(
        name,
        1,
        f"as tokens, but two numbers are the same within {absolute:g} absolute or {relative:g} relative",
        partial(rules.floats, absolute=absolute, relative=relative),
        partial(rules.float_values, absolute=absolute, relative=relative),
    )


COMPARATORS: dict[str, Comparator] = {
    rule.name: rule
    for rule in (
        Comparator("exact", 1, "the same bytes; the same JSON value", rules.exact, rules.same_values),
        Comparator(
            "tokens",
            1,
            "the same words in the same order, white space does not count; the same JSON value",
            rules.tokens,
            rules.same_values,
        ),
        _float("float", 1e-6, 1e-6),
        Comparator(
            "livecodebench",
            1,
            "LiveCodeBench's: the same stripped lines, or the same decimal numbers in them; values equal as in Python",
            rules.livecodebench,
            rules.livecodebench_values,
        ),
        Comparator(
            "apps",
            1,
            "APPS's harness, unsafe for rewards: takes lines and words in any order and number, and numbers roughly",
            rules.apps,
            rules.apps_values,
        ),
        Comparator(
            "evalplus",
            1,
            "EvalPlus's: values equal as in Python, or floats within 1e-6 absolute and 1e-7 relative added",
            rules.evalplus,
            rules.evalplus_values,
        ),
    )
}
"""By name, at their present version and with their default options."""
