"""Seeds: the texts, problems and queries that synthetic data grows from, and the choice among them by tags (§2.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mimo_data.documents import Document, read_documents
from mimo_data.jsonlines import read_json_lines
from mimo_data.run import DataError, Record
from mimo_data.settings import MOST_COUNT, check_number, check_numbers

_BLANK = re.compile(r"\n[ \t]*\n")
_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})", re.MULTILINE)


class Seed(Record, frozen=True):
    """One text to ask about."""

    id: str
    text: str
    """A document's text, or a problem's or query's prompt."""
    tags: dict[str, str]
    problem: bytes
    """The line of the problem file as it stands, for the checker; empty for a document."""


class SelectRecipe(Record, frozen=True):
    """Which seeds are asked about; a seed that lacks a tag named here is not."""

    values: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """By tag, the values that will do: `domain = ["mathematics", "code", "science"]`."""
    at_least: dict[str, float] = msgspec.field(default_factory=dict)
    """By tag that holds a number, the least: `reasoning_depth = 2`."""
    max_seeds: int | None = None
    """Of those that the tags leave, this many, drawn by their ids: the same ones whatever their order."""

    def __post_init__(self) -> None:
        check_numbers(self, max_seeds=(1, MOST_COUNT))
        for tag, least in self.at_least.items():
            check_number(f"at_least.{tag}", least, -MOST_COUNT, MOST_COUNT)


class _ProblemLine(msgspec.Struct, frozen=True):
    """What is read of a line of a problem or query file; other keys are the checker's."""

    id: str
    prompt: str
    tags: dict[str, str] = msgspec.field(default_factory=dict)


def read_seeds(paths: Iterable[Path]) -> Iterator[Seed]:
    """Seeds in the order of the files: documents, or `.jsonl` lines with at least `id` and `prompt`.

    Raises:
        DataError: a file is missing or damaged.
    """
    for path in paths:
        yield from _read_problems(path) if path.suffix == ".jsonl" else _read_documents(path)


def _read_documents(path: Path) -> Iterator[Seed]:
    for document in read_documents(path):
        yield Seed(id=document.id, text=document.text, tags=document.tags, problem=b"")


def _read_problems(path: Path) -> Iterator[Seed]:
    if not path.is_file():
        raise DataError(f"{path}: no such file of problems or queries.")
    for found, line in read_json_lines(path, _ProblemLine, wanted="a problem or query, with `id` and `prompt`"):
        yield Seed(id=found.id, text=found.prompt, tags=found.tags, problem=line.strip())


def why_not_selected(seed: Seed, recipe: SelectRecipe) -> str:
    """What about the seed's tags keeps it from being asked about; "" if nothing does."""
    if not seed.text.strip():
        return "no text"
    for tag, values in recipe.values.items():
        if seed.tags.get(tag) not in values:
            return f"{tag} = {seed.tags[tag]}" if tag in seed.tags else f"no tag {tag}"
    for tag, least in recipe.at_least.items():
        try:
            if not float(seed.tags[tag]) >= least:
                return f"{tag} = {seed.tags[tag]}"
        except KeyError:
            return f"no tag {tag}"
        except ValueError:
            return f"{tag} = {seed.tags[tag]} is no number"
    return ""


def draw(ids: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the ids, the same whatever their order, and a superset of what a smaller count gives."""
    return set(sorted(ids, key=lambda name: (hashlib.sha256(f"{seed}\n{name}".encode()).digest(), name))[:count])


def passages(text: str, max_characters: int) -> list[str]:
    """The text in parts of at most `max_characters`, cut between paragraphs, never within fenced code or a formula.

    A paragraph that is longer by itself is left out; so the list may be empty.
    """
    parts: list[str] = []
    current = ""
    for block in _blocks(text):
        joined = f"{current}\n\n{block}" if current else block
        if len(joined) <= max_characters:
            current = joined
            continue
        if current:
            parts.append(current)
        current = block if len(block) <= max_characters else ""
    return [*parts, current] if current else parts


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; a fence or a display formula with blank lines in it is one with them."""
    waiting = ""
    for block in _BLANK.split(text.strip()):
        waiting = f"{waiting}\n\n{block}" if waiting else block
        if len(_FENCE.findall(waiting)) % 2 == 0 and waiting.count("$$") % 2 == 0:
            yield waiting.strip("\n")
            waiting = ""
    if waiting:
        yield waiting.strip("\n")


def as_document(seed: Seed) -> Document:
    """The seed as what deduplication reads."""
    return Document(id=seed.id, text=seed.text, source="seed")
