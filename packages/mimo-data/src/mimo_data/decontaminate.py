"""Removes documents that contain a problem of an evaluation benchmark (§3.1 for the n-gram; §2.1, §3.2).

A problem is found by any run of `ngram_words` words that it shares with a document. A problem too short
to have one is found as a whole, signs included. Case, spacing and punctuation (for the runs of words) do
not matter; a paraphrase, a translation or other names for its variables are not found.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mimo_data.documents import Document
from mimo_data.run import DataError, Record

# The front door loads this module, and `mimo-data --help` must not wait for numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_SIGN = re.compile(r"\w+|[^\w\s]")
# Window hashes are sums of token hashes times powers of this number modulo 2^64; odd, hence invertible.
_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


class DecontaminateRecipe(Record, frozen=True):
    """How much of a problem a document may share."""

    ngram_words: int = 16
    """Words of a shared run that give a document away: 16 (§3.1, for SFT queries)."""
    min_prompt_signs: int = 8
    """Prompts with fewer words and signs than this are too common to search for. Not in the report."""

    def __post_init__(self) -> None:
        if self.ngram_words < 2 or self.min_prompt_signs < 1:
            raise ValueError("ngram_words is at least 2 and min_prompt_signs at least 1")


class BenchmarkPrompt(msgspec.Struct, frozen=True):
    """What decontamination reads of a problem file's line; other keys are ignored."""

    id: str
    prompt: str


def read_prompts(path: Path) -> Iterator[BenchmarkPrompt]:
    """The problems of a `.jsonl` file with at least `id` and `prompt`.

    Raises:
        DataError: the file is missing, empty, or a line has no id or prompt.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such problem file. Write one with `mimo-eval problems`.")
    decoder = msgspec.json.Decoder(BenchmarkPrompt)
    empty = True
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise DataError(
                        f"{path}: line {number} is not a problem: {error}. It needs `id` and `prompt`."
                    ) from None
                empty = False
    if empty:
        raise DataError(f"{path}: holds no problem. Write it again with `mimo-eval problems`.")


def decontaminate(
    documents: Iterable[Document], prompts: Iterable[BenchmarkPrompt], recipe: DecontaminateRecipe | None = None
) -> Iterator[tuple[str, str]]:
    """Pairs (id of a document that contains a problem, id of the first such problem), in document order."""
    index = ProblemIndex(prompts, recipe or DecontaminateRecipe())
    for document in documents:
        problem = index.find(document.text)
        if problem:
            yield document.id, problem


class ProblemIndex:
    """The runs of words of many problems, to look up in texts.

    Attributes:
        num_too_short: prompts under `min_prompt_signs`, which are not searched for.
    """

    def __init__(self, prompts: Iterable[BenchmarkPrompt], recipe: DecontaminateRecipe) -> None:
        self._runs = _RunTable(_WORD)
        self._wholes = _RunTable(_SIGN)
        self.num_too_short = 0
        for prompt in prompts:
            words = _tokens(_WORD, prompt.prompt)
            if len(words) >= recipe.ngram_words:
                for start in range(len(words) - recipe.ngram_words + 1):
                    self._runs.add(words[start : start + recipe.ngram_words], prompt.id)
                continue
            signs = _tokens(_SIGN, prompt.prompt)
            if len(signs) >= recipe.min_prompt_signs:
                self._wholes.add(signs, prompt.id)
            else:
                self.num_too_short += 1
        self._runs.freeze()
        self._wholes.freeze()

    def find(self, text: str) -> str:
        """The id of a problem in the text, "" if there is none; the smallest id of several."""
        return min(filter(None, (self._runs.find(text), self._wholes.find(text))), default="")


class _RunTable:
    """Token runs of several lengths, found in a text by one rolling hash a length and then compared exactly."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._problems: dict[tuple[str, ...], str] = {}
        self._hashes: dict[int, NDArray[np.uint64]] = {}

    def add(self, run: list[str], problem: str) -> None:
        key = tuple(run)
        self._problems[key] = min(problem, self._problems.get(key, problem))

    def freeze(self) -> None:
        """Sorts the hashes; call once all runs are added."""
        import numpy as np

        by_length: dict[int, list[int]] = {}
        for run in self._problems:
            value = sum(zlib.crc32(token.encode()) * pow(_BASE, place, 1 << 64) for place, token in enumerate(run))
            by_length.setdefault(len(run), []).append(value & _MASK)
        self._hashes = {length: np.unique(np.array(values, np.uint64)) for length, values in by_length.items()}

    def find(self, text: str) -> str:
        if not self._hashes:
            return ""
        import numpy as np

        tokens = _tokens(self._pattern, text)
        hashes = np.array([zlib.crc32(token.encode()) for token in tokens], dtype=np.uint64)
        sums, inverses = _prefix_sums(hashes)
        found = set()
        for length, wanted in self._hashes.items():
            if length > len(tokens):
                continue
            windows = (sums[length:] - sums[:-length]) * inverses[: len(sums) - length]
            places = np.minimum(np.searchsorted(wanted, windows), len(wanted) - 1)
            for start in np.flatnonzero(wanted[places] == windows):
                problem = self._problems.get(tuple(tokens[start : start + length]))
                if problem is not None:
                    found.add(problem)
        return min(found, default="")


def _prefix_sums(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Sums of hash·base^i before each token, and base^-i, both modulo 2^64."""
    import numpy as np

    count = len(hashes)
    powers = np.full(count, _BASE, dtype=np.uint64)
    inverses = np.full(count + 1, pow(_BASE, -1, 1 << 64), dtype=np.uint64)
    powers[:1] = inverses[:1] = 1
    powers, inverses = np.cumprod(powers), np.cumprod(inverses)
    sums = np.zeros(count + 1, dtype=np.uint64)
    np.cumsum(hashes * powers, out=sums[1:])
    return sums, inverses


def _tokens(pattern: re.Pattern[str], text: str) -> list[str]:
    return pattern.findall(text.lower())
