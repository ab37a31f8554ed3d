"""The needles of many problems, and the search for them in documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mimo_data.decontaminate.problems import BenchmarkPrompt, DecontaminateRecipe, Hit, read_prompts
from mimo_data.decontaminate.signs import NEW_LINE, OPERATORS
from mimo_data.decontaminate.words import ALONE, DIGIT, LONG, SINGLE, Words, hash_word, read_words
from mimo_data.run import DataError

if TYPE_CHECKING:
    from types import ModuleType

    from mimo_data.documents import Document

# What a word says, in bits. Far less than its rarity: words of one sentence go together.
_COMMON_BITS, _WORD_BITS, _SINGLE_BITS, _DIGIT_BITS, _ALONE_BITS, _OPERATOR_BITS = 2.0, 5.0, 2.0, 3.0, 4.0, 2.0
# A question without its options is one sentence of a benchmark, and sooner one of somebody else's.
_MIN_QUESTION_BITS = 14.0
# A run says as much as eight plain words would, which numbers alone cannot.
_MIN_RUN_BITS = 32.0
# 16 words are about 26 Han characters.
_WORD_WEIGHT, _ALONE_WEIGHT = 8, 5
# Prompts that begin alike and go on differently share a task's wording, not a question.
_MAX_SAME_QUESTIONS = 2
_MIN_PHRASE_NEIGHBOURS = 3
_MAX_POSTINGS = 64
_SHORT_SEED, _LONG_SEED = 3, 5
_MIN_SEED_BITS = 8.0

# A long text is searched in pieces, so that its words need little memory; the overlap holds any problem.
_PIECE_CHARACTERS, _OVERLAP_CHARACTERS = 4_000_000, 100_000
_MAX_EXCERPT_CHARACTERS = 400

_COMMON_WORDS = """a about after all also an and answer any are as at be been before best both but by can choose correct
    could did do does each false find following for from given had has have he her his how i if in into is it its many
    may more most much must name new no not number of on one only or other our out over question she should so some
    statement such s t than that the their them then there these they this those to true two under up use value was we
    were what when where which who whom whose why will with would write you your
    的 是 一 在 有 下 列 中 和 不 了 以 为 哪"""


@dataclass(frozen=True)
class _Needle:
    problem: str
    rule: Literal["whole", "question"]
    words: Words
    flags: NDArray[np.uint8]
    bits: NDArray[np.float64]
    weights: NDArray[np.int64]
    ends_sentence: NDArray[np.bool_]
    """Whether a stop or a question mark follows the word."""


class ProblemIndex:
    """Finds the problems of benchmarks in documents.

    Attributes:
        num_searched: problems that are searched for.
        too_short: ids of problems whose prompts say less than `min_prompt_bits`, which are not searched for.
    """

    def __init__(self, prompts: Iterable[BenchmarkPrompt], recipe: DecontaminateRecipe) -> None:
        self.too_short: list[str] = []
        self._recipe = recipe
        self._run_weight = recipe.ngram_words * _WORD_WEIGHT
        wholes = []
        for prompt in prompts:
            needle = _needle(prompt)
            if len(needle.words) < _SHORT_SEED or _bits_said(needle) < recipe.min_prompt_bits:
                self.too_short.append(prompt.id)
            else:
                wholes.append(needle)
        self.num_searched = len(wholes)
        self._needles = wholes + self._questions(wholes)
        self._arrays = self._pack(len(wholes)) if self._needles else ()

    @classmethod
    def of_files(cls, paths: Iterable[Path], recipe: DecontaminateRecipe) -> ProblemIndex:
        """The index of problem files.

        Raises:
            DataError: as `read_prompts` does, or none of the problems can be searched for.
        """
        files = list(paths)
        index = cls(chain.from_iterable(read_prompts(path) for path in files), recipe)
        if not index.num_searched:
            raise DataError(
                f"{', '.join(map(str, files))}: none of {len(index.too_short)} problems can be searched for: each says "
                f"less than min_prompt_bits = {recipe.min_prompt_bits:g}. See that `prompt` holds the question."
            )
        return index

    def find(self, document: Document) -> list[Hit]:
        """Every problem that the document contains, by id, each at its first place."""
        text, hits = document.text, dict[str, Hit]()
        step = _PIECE_CHARACTERS - _OVERLAP_CHARACTERS
        for start in range(0, max(1, len(text) - _OVERLAP_CHARACTERS), step):
            for hit in self._find_in(document.id, text[start : start + _PIECE_CHARACTERS], start):
                known = hits.get(hit.problem)
                if known is None or _RANK[hit.rule] < _RANK[known.rule]:
                    hits[hit.problem] = hit
        return [hits[problem] for problem in sorted(hits)]

    def _find_in(self, document: str, text: str, offset: int) -> list[Hit]:
        if not self._needles:
            return []
        data = text.encode(errors="replace")
        words = read_words(data)
        run = (self._run_weight, _MIN_RUN_BITS, self._recipe.ngram_words)
        count = _matcher().find_matches(words.hashes, words.marks, words.kinds, *self._arrays, *run, *self._results)
        hits = []
        for which, rule, first, last in self._results[1][:count].tolist():
            needle = self._needles[which]
            start = len(data[: words.starts[first]].decode(errors="replace"))
            end = start + len(data[words.starts[first] : words.ends[last]].decode(errors="replace"))
            hits.append(
                Hit(
                    document=document,
                    problem=needle.problem,
                    rule="ngram" if rule == _matcher().RUN else needle.rule,
                    start=offset + start,
                    end=offset + end,
                    text=text[start : min(end, start + _MAX_EXCERPT_CHARACTERS)],
                )
            )
        return hits

    def _questions(self, wholes: list[_Needle]) -> list[_Needle]:
        """What stands before a prompt's options or second line, where it says enough and is asked in one way only."""
        found: dict[bytes, list[_Needle]] = {}
        continuations: dict[bytes, set[bytes]] = {}
        for whole in wholes:
            labels = np.flatnonzero(whole.flags & _matcher().LABEL)
            lines = np.flatnonzero(whole.flags[1:] & _matcher().LINE) + 1
            cut = int(labels[0]) if len(labels) else int(lines[0]) if len(lines) else 0
            # The first line of a program is no question.
            if cut < _SHORT_SEED or not (len(labels) or whole.ends_sentence[cut - 1]):
                continue
            key = whole.words.hashes[:cut].tobytes()
            words = Words(*(getattr(whole.words, name)[: cut + (name == "marks")] for name in Words.__annotations__))
            needle = _Needle(
                whole.problem,
                "question",
                words,
                whole.flags[:cut],
                whole.bits[:cut],
                whole.weights[:cut],
                whole.ends_sentence[:cut],
            )
            continuations.setdefault(key, set()).add(whole.words.hashes[cut:].tobytes())
            # What is a run by itself is found without this, and in pieces too.
            said = needle.bits[words.kinds != DIGIT].sum()
            if said >= _MIN_QUESTION_BITS and needle.weights.sum() < 2 * self._run_weight:
                found.setdefault(key, []).append(needle)
        return [
            needle
            for key, needles in found.items()
            if len(continuations[key]) <= _MAX_SAME_QUESTIONS
            for needle in needles
        ]

    def _pack(self, num_wholes: int) -> tuple[NDArray[Any], ...]:
        """The needles end to end, and the table of the seeds that they are found by."""
        needles = self._needles
        ends = np.cumsum([len(needle.words) for needle in needles])
        words = np.concatenate([needle.words.hashes for needle in needles])
        marks = np.concatenate([needle.words.marks[:-1] for needle in needles])
        flags = np.concatenate([needle.flags for needle in needles])
        bits = np.concatenate([needle.bits for needle in needles])
        weights = np.concatenate([needle.weights for needle in needles])
        phrase = self._phrases(needles[:num_wholes], len(words))
        keys, which, offsets = self._seeds()
        order = np.lexsort((offsets, which, keys))
        unique, firsts, counts = np.unique(keys[order], return_index=True, return_counts=True)
        kept = np.arange(len(order)) - np.repeat(firsts, counts) < _MAX_POSTINGS
        firsts = np.concatenate([[0], np.cumsum(np.minimum(counts, _MAX_POSTINGS))])
        slots, places = _matcher().build_table(unique, 1 << (2 * len(unique)).bit_length())
        # Most words of a text are no seed's beginning: this says so from the processor's own cache.
        filter_bits = np.zeros(1 << max(6, (16 * len(unique)).bit_length() - 6), np.uint64)
        bit = unique & np.uint64(64 * len(filter_bits) - 1)
        np.bitwise_or.at(filter_bits, bit >> np.uint64(6), np.uint64(1) << (bit & np.uint64(63)))
        lengths = np.array([_SHORT_SEED, _LONG_SEED], np.int64)
        self._results = (np.zeros(len(needles), np.uint8), np.empty((len(needles), 4), np.int64))
        seeds = (filter_bits, slots, places, firsts, which[order][kept], offsets[order][kept])
        return (lengths, *seeds, ends, words, marks, flags, bits, weights, phrase)

    def _seeds(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """Hashes of the runs of words that needles are found by: needle and place of each.

        Of every few runs that begin one after another the rarest is taken, so that a needle is found from a piece of
        it: from 4 in a row of at most 12, from 6 of at most 40, and from 8 of more.
        """
        matcher = _matcher()
        plans = []
        for which, needle in enumerate(self._needles):
            count = len(needle.words)
            length = _SHORT_SEED if count <= 12 else _LONG_SEED
            block = 2 if count <= 40 else 4
            plans.append((which, length, block, matcher.seed_hashes(needle.words.hashes, length)))
        _, inverse, counts = np.unique(
            np.concatenate([plan[3] for plan in plans]), return_inverse=True, return_counts=True
        )
        frequency = counts[inverse]
        keys, needles, offsets, position = [], [], [], 0
        for which, length, block, hashes in plans:
            own = frequency[position : position + len(hashes)]
            position += len(hashes)
            sums = np.concatenate([[0.0], np.cumsum(self._needles[which].bits)])
            said = sums[length:] - sums[:-length]
            # Rare among the problems, then rare by itself.
            places = matcher.choose_seeds(own * 64 - said, said, block, _MIN_SEED_BITS)
            keys.append(hashes[places])
            needles.append(np.full(len(places), which))
            offsets.append(places)
        return np.concatenate(keys), np.concatenate(needles), np.concatenate(offsets)

    def _phrases(self, wholes: list[_Needle], num_words: int) -> NDArray[np.bool_]:
        """Where a run of `ngram_words` begins that many problems have, and as many words before and after it differ.

        Problems about one passage, and copies of one problem, agree on one side at least. What agrees on neither is how
        a benchmark speaks (`m/n where m and n are relatively prime positive integers`), and every page about its
        subject speaks so too.
        """
        length = self._recipe.ngram_words
        phrase = np.zeros(num_words, np.bool_)
        windows, lefts, rights, places, position = [], [], [], [], 0
        for number, needle in enumerate(wholes):
            hashes = needle.words.hashes
            found = _matcher().seed_hashes(hashes, length)
            if len(found):
                # What lies beyond a prompt differs from everything else.
                beyond = np.full(length, number, np.uint64)
                windows.append(found)
                lefts.append(np.concatenate([beyond, hashes])[: len(found)])
                rights.append(np.concatenate([hashes, beyond])[2 * length - 1 :])
                places.append(np.arange(position, position + len(found)))
            position += len(hashes)
        if windows:
            every, place = np.concatenate(windows), np.concatenate(places)
            _, inverse = np.unique(every, return_inverse=True)
            several = np.minimum(
                _num_different(inverse, np.concatenate(lefts)), _num_different(inverse, np.concatenate(rights))
            )
            phrase[place] = several[inverse] >= _MIN_PHRASE_NEIGHBOURS
        return phrase


_STOPS = tuple(sign.encode() for sign in ".?!。？！")
_RANK = {"whole": 0, "question": 1, "ngram": 2}


def _needle(prompt: BenchmarkPrompt) -> _Needle:
    matcher = _matcher()
    data = prompt.prompt.encode(errors="replace")
    words = read_words(data)
    lines = (words.marks[:-1] & NEW_LINE) != 0
    if len(lines):
        lines[0] = True
    short = (words.kinds == SINGLE) | (words.kinds == DIGIT)
    behind = [data[end : end + 3] for end in words.ends.tolist()]
    following = np.array([signs[:1] in (b".", b")", b":") for signs in behind], np.bool_)
    ends_sentence = np.array([signs.lstrip(b"\"')$*_ ").startswith(_STOPS) for signs in behind], np.bool_)
    flags = np.where(lines, matcher.LINE, 0) | np.where(lines & short & following, matcher.LABEL, 0)
    bits = np.choose(words.kinds, (_WORD_BITS, _SINGLE_BITS, _DIGIT_BITS, _ALONE_BITS))
    common = _common_hashes()
    bits[common[np.searchsorted(common, words.hashes) % len(common)] == words.hashes] = _COMMON_BITS
    weights = np.where(words.kinds == ALONE, _ALONE_WEIGHT, _WORD_WEIGHT)
    return _Needle(prompt.id, "whole", words, flags.astype(np.uint8), bits, weights, ends_sentence)


def _bits_said(needle: _Needle) -> float:
    """What a needle says as a whole, the operators between its numbers and letters included."""
    words = needle.words
    short = words.kinds != LONG
    between = short[1:] & short[:-1] & ((words.marks[1 : len(words)] & OPERATORS) != 0)
    return float(needle.bits.sum() + _OPERATOR_BITS * between.sum())


def _num_different(groups: NDArray[np.int64], values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many different values each group has."""
    order = np.lexsort((values, groups))
    groups, values = groups[order], values[order]
    new = np.ones(len(groups), np.bool_)
    new[1:] = (groups[1:] != groups[:-1]) | (values[1:] != values[:-1])
    return np.bincount(groups[new])


@cache
def _common_hashes() -> NDArray[np.uint64]:
    return np.unique(np.array([hash_word(word) for word in _COMMON_WORDS.split()], np.uint64))


def _matcher() -> ModuleType:
    """The compiled module, loaded when it is needed."""
    from mimo_data.decontaminate import matcher

    return matcher
