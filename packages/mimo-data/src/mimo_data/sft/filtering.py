"""The three filters of fine-tuning samples (§3.1), over files in the format of `mimo-train sft`.

| reason | detail | what it means |
| --- | --- | --- |
| `contains_problem` | the problem's id | the query shares a run of words with a benchmark problem |
| `mixed_languages` | where | see `languages.py` |
| `incomplete` | what is open | see `completeness.py` |
| `repeated_response` | the kept sample's id | the same response to the same query, spacing aside |
| `max_responses` | | the query has enough others |

Of the responses to one query those are kept whose ids come first in an order by hash: neither their place in the file
nor their length matters, and a second pass drops nothing. Queries are one if they agree in all but case and spacing.

Lines that are kept are kept byte by byte: the format is mimo-train's, and here only the three fields are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mimo_data.decontaminate.index import ProblemIndex
from mimo_data.documents import Document, Drop
from mimo_data.jsonlines import read_json_lines
from mimo_data.run import DataError, Record
from mimo_data.settings import MOST_COUNT, check_numbers
from mimo_data.sft.completeness import why_incomplete
from mimo_data.sft.languages import why_mixed

STEP = "filter-sft"


class FilterSFTRecipe(Record, frozen=True):
    """What a sample must be; the benchmarks' share is set by the table `decontaminate`."""

    max_responses_per_query: int = 8
    """8 (§3.1)."""

    def __post_init__(self) -> None:
        check_numbers(self, max_responses_per_query=(1, MOST_COUNT))


class QueryResponse(msgspec.Struct, frozen=True):
    """What the filters read of a sample; other keys are mimo-train's."""

    id: str
    prompt: str
    response: str


def read_lines(paths: Iterable[Path]) -> Iterator[tuple[QueryResponse, bytes]]:
    """Samples of `.jsonl` files, each with its line as it stands.

    Raises:
        DataError: a file is missing, a line is no sample, or two have the same id.
    """
    seen: set[bytes] = set()
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file of samples. A line holds the strings id, prompt and response.")
        for sample, line in read_json_lines(path, QueryResponse, wanted="a sample, with id, prompt and response"):
            key = _digest(sample.id)
            if key in seen:
                raise DataError(f"{path}: the id {sample.id!r} is there twice. Make the ids unique.")
            seen.add(key)
            yield sample, line


def why_dropped(sample: QueryResponse, index: ProblemIndex) -> tuple[str, str] | None:
    """Reason and detail if the sample is to be dropped for what it is, whatever the others are."""
    if hits := index.find(Document(id=sample.id, text=sample.prompt, source="sft")):
        return "contains_problem", hits[0].problem
    if found := why_mixed(sample.prompt, sample.response):
        return "mixed_languages", found
    if found := why_incomplete(sample.response):
        return "incomplete", found
    return None


class Responses:
    """The responses to each query so far, of which the first by hash of their ids are kept; some 200 bytes each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_query: dict[bytes, dict[bytes, tuple[bytes, str]]] = {}
        self._repeats: list[tuple[str, bytes, bytes]] = []

    def add(self, sample: QueryResponse) -> None:
        """Takes a sample into the choice."""
        query = _digest(" ".join(sample.prompt.split()).casefold())
        response = _digest(" ".join(sample.response.split()))
        known = self._by_query.setdefault(query, {})
        ranked = (_digest(sample.id), sample.id)
        kept = min(ranked, known.get(response, ranked))
        if response in known:
            self._repeats.append((max(ranked, known[response])[1], query, response))
        known[response] = kept

    def drops(self) -> dict[str, Drop]:
        """The samples that are not chosen, by id."""
        found = {
            name: Drop(id=name, step=STEP, reason="repeated_response", detail=self._by_query[query][response][1])
            for name, query, response in self._repeats
        }
        for responses in self._by_query.values():
            for _, name in sorted(responses.values())[self._most :]:
                found[name] = Drop(id=name, step=STEP, reason="max_responses")
        return found


def filter_samples(
    paths: list[Path], index: ProblemIndex, recipe: FilterSFTRecipe
) -> Iterator[tuple[QueryResponse, bytes] | Drop]:
    """Every sample with its line, or why it is dropped, in the order of the files, which are read twice."""
    drops: dict[str, Drop] = {}
    responses = Responses(recipe.max_responses_per_query)
    for sample, _ in read_lines(paths):
        found = why_dropped(sample, index)
        if found:
            drops[sample.id] = Drop(id=sample.id, step=STEP, reason=found[0], detail=found[1])
        else:
            responses.add(sample)
    drops |= responses.drops()
    for sample, line in read_lines(paths):
        yield drops.get(sample.id) or (sample, line)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:12]
