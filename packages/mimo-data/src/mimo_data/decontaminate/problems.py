"""Benchmark problems, what a document may share with them, and the report of what it does.

A problem is found by any run of `ngram_words` words that it shares with a document, and whatever its length
as a whole, also without its options. Seen through: case, accents, punctuation, line breaks and up to four foreign
lines between two of a problem's, Markdown, HTML tags and entities, ways to write one formula (`words.py`). Not
found: a paraphrase, a translation, other names for its variables, other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from mimo_data.documents import Document
from mimo_data.jsonlines import read_json_lines
from mimo_data.run import DataError, Record
from mimo_data.settings import check_numbers


class DecontaminateRecipe(Record, frozen=True):
    """How much of a problem a document may share."""

    ngram_words: int = 16
    """Words of a shared run that give a document away: 16 (§3.1, for SFT queries). One of few different words, as the
    counts and loop headers of programs are, has to be longer: until it says as much as eight plain words."""
    min_prompt_bits: float = 12.0
    """Prompts that say less than this are too common to search for: 5 a word, 2 a word such as *the*, 3 a digit and
    2 an operator, so that `What is 7*8?` has 15. Not in the report."""

    def __post_init__(self) -> None:
        check_numbers(self, ngram_words=(5, 1000), min_prompt_bits=(1, 1000))


class BenchmarkPrompt(msgspec.Struct, frozen=True):
    """What decontamination reads of a problem file's line; other keys are ignored."""

    id: str
    """The name that hits are reported by."""
    prompt: str
    """The question as the benchmark asks it."""


class Hit(Record, frozen=True):
    """One line of `hits.jsonl`: a document and a problem that it contains."""

    document: str
    """Its id."""
    problem: str
    """Its id."""
    rule: Literal["whole", "question", "ngram"]
    """`whole` prompt, its `question` without the options, or a run of `ngram_words` words."""
    start: int
    """Place of the matching words in the document's text, in characters."""
    end: int
    """The place after the last of them."""
    text: str
    """The matching words as they stand there, at most 400 characters."""


def read_prompts(path: Path) -> Iterator[BenchmarkPrompt]:
    """The problems of a `.jsonl` file with at least `id` and `prompt`.

    Raises:
        DataError: the file is missing, empty, or a line has no id or prompt.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such problem file. Write one with `mimo-eval problems`.")
    empty = True
    for prompt, _ in read_json_lines(path, BenchmarkPrompt, wanted="a problem, with `id` and `prompt`"):
        yield prompt
        empty = False
    if empty:
        raise DataError(f"{path}: holds no problem. Write it again with `mimo-eval problems`.")


def decontaminate(
    documents: Iterable[Document], prompts: Iterable[BenchmarkPrompt], recipe: DecontaminateRecipe | None = None
) -> Iterator[tuple[str, str]]:
    """Pairs (id of a document that contains a problem, smallest id of its problems), in document order."""
    from mimo_data.decontaminate.index import ProblemIndex

    index = ProblemIndex(prompts, recipe or DecontaminateRecipe())
    for document in documents:
        hits = index.find(document)
        if hits:
            yield document.id, hits[0].problem
