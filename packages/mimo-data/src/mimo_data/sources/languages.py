"""The language that a file is in, by its name, its first line, and a look inside where a name's ending is shared."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import PurePosixPath

import msgspec

from mimo_data.run import Record

_SHEBANG = re.compile(rb"#!\s*(?:\S*/)?env\s+(?:-S\s+)?(?:\w+=\S*\s+)*(?:\S*/)?([\w+-]+)|#!\s*(?:\S*/)?([\w+-]+)")
_LOOK_CHARACTERS = 20_000


class _Language(Record, frozen=True):
    endings: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    interpreters: tuple[str, ...] = ()
    prose: bool = False


class _Table(Record, frozen=True):
    """`languages.toml`."""

    languages: dict[str, _Language]
    shared: dict[str, list[tuple[str, str]]]

    def by(self, field: str) -> dict[str, str]:
        return {key: name for name, language in self.languages.items() for key in getattr(language, field)}


def language_of(path: str, head: bytes) -> str:
    """The language of a file; "" if its name and first line tell none.

    Args:
        head: the beginning of the file, or all of it; with b"", the name alone decides.
    """
    name = PurePosixPath(path).name
    if name in _names():
        return _names()[name]
    ending = PurePosixPath(name).suffix.lower()
    found = _endings().get(ending, "")
    for language, pattern in _shared().get(ending, []):
        if pattern.search(head[:_LOOK_CHARACTERS].decode("utf-8", "replace")):
            return language
    if not ending and (shebang := _SHEBANG.match(head)):
        interpreter = (shebang[1] or shebang[2]).decode("ascii", "replace").rstrip("0123456789.-")
        return _interpreters().get(interpreter, "")
    return found


def is_prose(language: str) -> bool:
    """Whether a paragraph may be one line in this language."""
    found = _table().languages.get(language)
    return found is not None and found.prose


def language_names() -> list[str]:
    """All names that `language_of` gives."""
    shared = {language for rules in _table().shared.values() for language, _ in rules if language}
    return sorted(shared | _table().languages.keys())


@cache
def _table() -> _Table:
    text = (resources.files("mimo_data.sources") / "languages.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), _Table)


@cache
def _endings() -> dict[str, str]:
    return _table().by("endings")


@cache
def _names() -> dict[str, str]:
    return _table().by("names")


@cache
def _interpreters() -> dict[str, str]:
    return _table().by("interpreters")


@cache
def _shared() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    return {
        ending: [(language, re.compile(pattern)) for language, pattern in rules]
        for ending, rules in _table().shared.items()
    }
