"""The inner loops of deduplication, compiled: hashing words, sketching, comparing sets, joining pairs.

Only what needs them imports this module: numba takes a third of a second to load, and compiling takes seconds the
first time. Compiled code is kept beside this file, or in the user's cache where that folder cannot be written; where
neither can, each process compiles for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

_FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ROLL = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_LOW_16, _CODE_POINT = np.uint64(0xFFFF), np.uint32(0xFFFFFF)
_BLOCK_SHINGLES = 512
_OPERAND_LETTERS = 3


class TextHashes(NamedTuple):
    """What the kernel reads off a text."""

    first: int
    """Half of the hash of all words and operators in their order."""
    second: int
    """The other half."""
    num_words: int
    shingles: NDArray[np.uint64]
    """In the order of the text, with repetitions; of a text shorter than a shingle, one of all its words."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in machine code that is kept on disk, where there is a place to keep it."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True)(function)
    except RuntimeError:  # numba: "no locator available"
        made = numba.njit(function)
    return made


@_compiled
def _mixed(value: np.uint64) -> np.uint64:
    """Spreads every input bit over the word (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


@_compiled
def _hash_words(text, table, shingle_words):  # type: ignore[no-untyped-def]
    power = _ONE
    for _ in range(shingle_words):
        power *= _ROLL
    recent_words = np.zeros(shingle_words, dtype=np.uint64)
    recent_signs = np.zeros(shingle_words, dtype=np.uint64)
    shingles = np.empty(min(len(text) // 2 + 1, 1024), dtype=np.uint64)
    num_shingles = num_words = place = 0
    first = second = words = signs = np.uint64(0)
    word, sign = _FNV_BASIS, np.uint64(0)
    # Signs count between operands: short words, and numbers. Elsewhere they are hyphens, bullets and rules.
    length, first_letter, after_operand = 0, np.uint32(0), True
    position, size = 0, len(text)
    while position <= size:
        # The quick way through an ASCII word; everything else takes the turns below.
        while position < size and text[position] < 0x80:
            entry = table[text[position]]
            if entry >> np.uint32(24) != 1:
                break
            word = (word ^ np.uint64(entry & _CODE_POINT)) * _FNV_PRIME
            if length == 0:
                first_letter = entry & _CODE_POINT
            length += 1
            position += 1
        if position == size:
            # A last separator ends a last word.
            entry = np.uint32(10)
            position += 1
        else:
            code = np.uint32(text[position])
            if code < 0x80:
                position += 1
            elif code < 0xE0:
                code = (code & np.uint32(0x1F)) << np.uint32(6) | np.uint32(text[position + 1] & 0x3F)
                position += 2
            elif code < 0xF0:
                code = (
                    (code & np.uint32(0x0F)) << np.uint32(12)
                    | np.uint32(text[position + 1] & 0x3F) << np.uint32(6)
                    | np.uint32(text[position + 2] & 0x3F)
                )
                position += 3
            else:
                code = (
                    (code & np.uint32(0x07)) << np.uint32(18)
                    | np.uint32(text[position + 1] & 0x3F) << np.uint32(12)
                    | np.uint32(text[position + 2] & 0x3F) << np.uint32(6)
                    | np.uint32(text[position + 3] & 0x3F)
                )
                position += 4
            entry = table[code]
        kind = entry >> np.uint32(24)
        if kind == 1:
            word = (word ^ np.uint64(entry & _CODE_POINT)) * _FNV_PRIME
            length += 1
            continue
        # Twice for a character that is a word of its own: the word before it ends, then it does.
        for turn in range(2 if kind == 2 else 1):
            if turn:
                word = (word ^ np.uint64(entry & _CODE_POINT)) * _FNV_PRIME
                length = 1
            if length:
                operand = length <= _OPERAND_LETTERS or 48 <= first_letter <= 57
                if not (operand and after_operand):
                    sign = np.uint64(0)
                after_operand = bool(operand)
                length, first_letter = 0, np.uint32(0)
                word = _mixed(word)
                words = words * _ROLL + word - recent_words[place] * power
                signs = signs * _ROLL + sign - recent_signs[place] * power
                recent_words[place], recent_signs[place] = word, sign
                place += 1
                if place == shingle_words:
                    place = 0
                num_words += 1
                unit = word + sign * _MIX_2
                first = _mixed(first + unit)
                second = ((second << np.uint64(23) | second >> np.uint64(41)) ^ unit) * _MIX_1
                if num_words >= shingle_words:
                    if num_shingles == len(shingles):
                        larger = np.empty(2 * num_shingles, dtype=np.uint64)
                        larger[:num_shingles] = shingles
                        shingles = larger
                    shingles[num_shingles] = _mixed(words) & ~_LOW_16 | _mixed(signs) >> np.uint64(48)
                    num_shingles += 1
                word, sign = _FNV_BASIS, np.uint64(0)
        if kind == 3:
            sign = (sign + np.uint64(entry & _CODE_POINT)) * _FNV_PRIME
    if not after_operand:
        sign = np.uint64(0)
    if 0 < num_words < shingle_words:
        shingles[0] = _mixed(words) & ~_LOW_16 | _mixed(signs) >> np.uint64(48)
        num_shingles = 1
    return _mixed(first + sign), _mixed(second ^ sign), num_words, shingles[:num_shingles].copy()


def hash_words(text: NDArray[np.uint8], table: NDArray[np.uint32], shingle_words: int) -> TextHashes:
    """One pass over UTF-8 bytes; `mimo_data.dedup.words` says what it finds."""
    return TextHashes(*_hash_words(text, table, shingle_words))


@_compiled
def _sketch_bands(shingles, factors, offsets, rows_per_band):  # type: ignore[no-untyped-def]
    reduced = np.empty(_BLOCK_SHINGLES, dtype=np.uint32)
    smallest = np.full(len(factors), np.uint32(0xFFFFFFFF), dtype=np.uint32)
    for start in range(0, len(shingles), _BLOCK_SHINGLES):
        size = min(_BLOCK_SHINGLES, len(shingles) - start)
        for i in range(size):
            reduced[i] = np.uint32(shingles[start + i] >> np.uint64(32))
        for j in range(len(factors)):
            factor, offset, least = factors[j], offsets[j], smallest[j]
            for i in range(size):
                # A permutation of the 32-bit numbers; its high bits decide.
                least = min(least, np.uint32(reduced[i] * factor + offset))
            smallest[j] = least
    bands = np.empty(len(factors) // rows_per_band, dtype=np.uint64)
    for band in range(len(bands)):
        value = np.uint64(band)
        for row in range(rows_per_band):
            value = _mixed(value * _ROLL + np.uint64(smallest[band * rows_per_band + row]))
        bands[band] = value
    return bands


def sketch_bands(
    shingles: NDArray[np.uint64], factors: NDArray[np.uint32], offsets: NDArray[np.uint32], rows_per_band: int
) -> NDArray[np.uint64]:
    """uint64 [bands]: a hash of each band of a text's MinHash.

    Args:
        shingles: uint64 [shingles], at least one.
        factors: uint32 [permutations], odd.
        offsets: uint32 [permutations].
    """
    made: NDArray[np.uint64] = _sketch_bands(shingles, factors, offsets, rows_per_band)
    return made


@_compiled
def _alike(a, b, threshold):  # type: ignore[no-untyped-def]
    i = j = shared = agreeing = num_a = num_b = 0
    while i < len(a) or j < len(b):
        words_a = a[i] & ~_LOW_16 if i < len(a) else _LOW_16
        words_b = b[j] & ~_LOW_16 if j < len(b) else _LOW_16
        if words_a == words_b:
            agrees = False
            words = words_a
            num_a += 1
            num_b += 1
            shared += 1
            while i < len(a) and j < len(b) and a[i] & ~_LOW_16 == words and b[j] & ~_LOW_16 == words:
                if a[i] == b[j]:
                    agrees = True
                    break
                if a[i] < b[j]:
                    i += 1
                else:
                    j += 1
            agreeing += agrees
            while i < len(a) and a[i] & ~_LOW_16 == words:
                i += 1
            while j < len(b) and b[j] & ~_LOW_16 == words:
                j += 1
        elif j == len(b) or (i < len(a) and words_a < words_b):
            num_a += 1
            while i < len(a) and a[i] & ~_LOW_16 == words_a:
                i += 1
        else:
            num_b += 1
            while j < len(b) and b[j] & ~_LOW_16 == words_b:
                j += 1
    if num_a == 0 or num_b == 0:
        return False
    return shared / (num_a + num_b - shared) >= threshold and 2 * agreeing >= shared


def alike(a: NDArray[np.uint64], b: NDArray[np.uint64], threshold: float) -> bool:
    """Whether two texts share enough shingles, and at least half of these with the same operators.

    Args:
        a: uint64, the shingles of one text, sorted, each once.
        b: of the other.
        threshold: least Jaccard similarity of the words of the shingles.
    """
    return bool(_alike(a, b, threshold))


@_compiled
def _first_of_components(num_nodes, a, b):  # type: ignore[no-untyped-def]
    parents = np.arange(num_nodes)
    for pair in range(len(a)):
        x, y = a[pair], b[pair]
        while parents[x] != x:
            parents[x] = parents[parents[x]]
            x = parents[x]
        while parents[y] != y:
            parents[y] = parents[parents[y]]
            y = parents[y]
        if x < y:
            parents[y] = x
        else:
            parents[x] = y
    # A parent is never larger than its child.
    for node in range(num_nodes):
        parents[node] = parents[parents[node]]
    return parents


def first_of_components(num_nodes: int, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [nodes]: the smallest node that each is joined to by pairs, itself if none (union-find)."""
    made: NDArray[np.int64] = _first_of_components(num_nodes, a, b)
    return made
