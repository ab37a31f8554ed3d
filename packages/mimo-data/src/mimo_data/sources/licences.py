"""The licence of a file: by the SPDX identifier in its head, or the licence texts of its folder and those above.

Covers the licences of `licences.toml`, whole or as a notice, and SPDX expressions in heads and manifests. It reads no
prose: a README that says how a project is licensed is not evidence, and a text with changes of its own counts as the
licence that it was made from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

import msgspec

from mimo_data.run import Record

UNKNOWN = ""
MANIFESTS = ("package.json", "composer.json", "Cargo.toml", "pyproject.toml")
MAX_LICENCE_BYTES = 200_000
_HEAD_CHARACTERS = 4000
_NAME = re.compile(
    r"(?:un)?licen[cs]es?\b.*|copying(?:\b.*|3)|(?:mit|apache|bsd|gpl|lgpl)[-_]licen[cs]e\b.*", re.IGNORECASE
)
_CODE = re.compile(r"\.(?:py|js|ts|go|rs|java|c|h|cpp|cs|rb|php|html?|json|ya?ml|toml|xml|png|svg)$", re.IGNORECASE)
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+\-() \t]+)")
_STATED = re.compile(r"""^\s*"?license"?\s*[:=]\s*(?:\{\s*text\s*=\s*)?["']([A-Za-z0-9.+\-()/ ]+)["']""", re.MULTILINE)
_NOT_WORDS = re.compile(r"[^a-z0-9]+")


class _Licence(Record, frozen=True):
    permissive: bool
    phrases: list[list[str]]


def holds_licence(path: str) -> bool:
    """Whether a file of this name, below a repository's folder, is a licence's text or a manifest that names one."""
    folder, _, name = path.rpartition("/")
    if name in MANIFESTS:
        return True
    return bool(_NAME.fullmatch(name) and not _CODE.search(name)) or folder.rpartition("/")[2] == "LICENSES"


def licence_of_text(name: str, text: str) -> str:
    """The SPDX identifier, or expression, of a licence file or manifest; `UNKNOWN` if it is none that we know."""
    if name in MANIFESTS:
        stated = _STATED.search(text)
        return stated[1].strip() if stated else UNKNOWN
    normal = " " + _NOT_WORDS.sub(" ", text.lower()).strip() + " "
    best, most = UNKNOWN, 0
    for identifier, licence in _table().items():
        for phrases in licence.phrases:
            if len(phrases) > most and all(f" {phrase} " in normal for phrase in phrases):
                best, most = identifier, len(phrases)
    return best


def licence_of_head(text: str) -> str:
    """The SPDX expression in a file's first lines; `UNKNOWN` without one."""
    found = _SPDX.search(text, 0, _HEAD_CHARACTERS)
    return found[1].strip(" \t-") if found else UNKNOWN


def joined(identifiers: Sequence[str]) -> str:
    """One expression for the licences of several files, all of which hold."""
    distinct = sorted({identifier for identifier in identifiers if identifier})
    if len(distinct) == 1:
        return distinct[0]
    return " AND ".join(f"({identifier})" if " OR " in identifier else identifier for identifier in distinct)


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression leaves a permissive choice; one with an unknown licence in it does not."""
    tokens = re.findall(r"\(|\)|[A-Za-z0-9.+\-]+", expression.replace("/", " OR "))
    try:
        value, rest = _any_of(tokens)
    except (IndexError, RecursionError):
        return False
    return value and not rest


def _any_of(tokens: list[str]) -> tuple[bool, list[str]]:
    value, tokens = _all_of(tokens)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _all_of(tokens[1:])
        value = value or other
    return value, tokens


def _all_of(tokens: list[str]) -> tuple[bool, list[str]]:
    value, tokens = _one(tokens)
    while tokens and tokens[0].upper() in ("AND", "WITH"):
        # An exception only ever permits more.
        other, rest = _one(tokens[1:])
        value, tokens = value and (other or tokens[0].upper() == "WITH"), rest
    return value, tokens


def _one(tokens: list[str]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        value, rest = _any_of(tokens[1:])
        return value, rest[1:]
    licence = _by_lower_case().get(tokens[0].lower())
    return licence is not None and licence.permissive, tokens[1:]


@cache
def _table() -> dict[str, _Licence]:
    text = (resources.files("mimo_data.sources") / "licences.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, _Licence])


@cache
def _by_lower_case() -> dict[str, _Licence]:
    return {identifier.lower(): licence for identifier, licence in _table().items()}
