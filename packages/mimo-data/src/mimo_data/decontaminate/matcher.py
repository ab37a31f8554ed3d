"""The compiled search for needles in a text's words. Import it where it is used: it loads numba.

Runs of `seed` words that needles were indexed by are looked up at every word of the text; from each one found, the
needle and the text are followed to both sides for as long as they agree.
"""

# numba's decorators have no types, and it compiles plain comparisons and loops best.
# mypy: disable-error-code="untyped-decorator,no-any-return"
# ruff: noqa: SIM110

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mimo_data.decontaminate.signs import GLUED, LOOSE, MINUS, NEW_LINE, OPERATORS, PLUS, TIMES

# Kinds of words, as in words.py.
_LONG, _DIGIT, _ALONE = 0, 2, 3
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BASE = np.uint64(0x9E3779B97F4A7C15)

# Between two lines of a problem may stand this much that is none of it: running heads, votes, advertisements.
_MAX_FOREIGN_LINES, _MAX_FOREIGN_WORDS = 4, 40
# Between two parts of a problem on one line: other labels, "or", "Answer choices".
_MAX_FOREIGN_LABELS = 3

# What a digit says in a needle; no other word says as much.
DIGIT_BITS = 3.0
# Columns of a match: needle, rule, first and last word of the text.
WHOLE, RUN = 1, 2
# Flags of a needle's words: a line of the prompt begins, or it is an option's label, which pages leave out or change.
LINE, LABEL = 1, 2


@njit(cache=True)
def seed_hash(hashes: NDArray[Any], start: int, length: int) -> np.uint64:
    """Of `length` words from `start`; never 0."""
    value = np.uint64(length)
    for place in range(start, start + length):
        value = (value + hashes[place]) * _BASE
        value ^= value >> np.uint64(29)
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    return (value ^ (value >> np.uint64(27))) | np.uint64(1)


@njit(cache=True)
def seed_hashes(hashes: NDArray[Any], length: int) -> NDArray[Any]:
    count = max(0, len(hashes) - length + 1)
    found = np.empty(count, np.uint64)
    for start in range(count):
        found[start] = seed_hash(hashes, start, length)
    return found


@njit(cache=True)
def choose_seeds(score: NDArray[Any], said: NDArray[Any], block: int, min_said: float) -> NDArray[Any]:
    """Places of the lowest score in each `block` of places, those that say too little left out unless all do."""
    count, best = 0, 0
    chosen = np.empty((len(score) + block - 1) // block, np.int64)
    for start in range(0, len(score), block):
        lowest = start
        for place in range(start, min(len(score), start + block)):
            if score[place] < score[lowest]:
                lowest = place
        if score[lowest] < score[best]:
            best = lowest
        if said[lowest] >= min_said:
            chosen[count] = lowest
            count += 1
    if count == 0:
        chosen[0] = best
        count = 1
    return chosen[:count]


@njit(cache=True)
def build_table(keys: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Open addressing of sorted different keys: slots of keys, and their place in the order."""
    slots, places = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    last = np.uint64(size - 1)
    for place in range(len(keys)):
        slot = (keys[place] >> np.uint64(20)) & last
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & last
        slots[slot] = keys[place]
        places[slot] = place
    return slots, places


@njit(cache=True)
def _agree(word_marks: int, needle_marks: int, before: int, kind: int) -> bool:
    """Whether the signs before a word say the same in text and needle; `before` is the kind of the word before it."""
    if before == _DIGIT and kind == _DIGIT:
        if (word_marks ^ needle_marks) & GLUED and not (word_marks | needle_marks) & LOOSE:
            return False
        ignored = 0
    elif before == _LONG or kind == _LONG:
        return True
    else:
        ignored = TIMES  # 2·x is 2x
    if (word_marks | needle_marks) & NEW_LINE:
        return True
    return ((word_marks ^ needle_marks) & OPERATORS & ~ignored) == 0


@njit(cache=True)
def _begins_line(marks: NDArray[Any], place: int, n: int) -> bool:
    return 0 <= place < n and marks[place] & NEW_LINE != 0


@njit(cache=True)
def _next(
    words: NDArray[Any], marks: NDArray[Any], j: int, needle: NDArray[Any], flags: NDArray[Any], i: int, step: int
) -> tuple[int, int]:
    """Where text and needle go on to agree after they part at j and i, going by `step`; (-1, -1) if nowhere."""
    n, m = len(words), len(needle)
    # The place between two words is before the later of them.
    edge_i = i if step > 0 else i + 1
    at_part = (0 < edge_i < m and flags[edge_i] & LINE != 0) or (0 <= i < m and flags[i] & LABEL != 0)
    for skipped in range(2):
        # A label of the needle may be missing, or be another one.
        target = i + step * skipped
        if skipped and not (0 <= i < m and flags[i] & LABEL):
            break
        if not 0 <= target < m:
            break
        after = target + step
        # Foreign lines are whole ones: text breaks off at the end of a line and goes on at the beginning of one, or
        # behind the label there.
        edge = j if step > 0 else j + 1
        breaks_off = _begins_line(marks, edge, n) or (skipped and step < 0 and _begins_line(marks, j, n))
        lines = 0
        for distance in range(_MAX_FOREIGN_WORDS + 1):
            place = j + step * distance
            if not 0 <= place < n:
                break
            edge = place if step > 0 else place + 1
            if _begins_line(marks, edge, n):
                lines += 1
            if lines > _MAX_FOREIGN_LINES + 1:
                break
            goes_on = _begins_line(marks, edge, n) or (skipped and step > 0 and _begins_line(marks, place - 1, n))
            allowed = breaks_off and goes_on
            allowed = allowed or (at_part and distance <= _MAX_FOREIGN_LABELS) or (skipped and distance == 0)
            if not allowed or words[place] != needle[target]:
                continue
            # One word could agree by chance.
            beyond = place + step
            if not 0 <= after < m or (0 <= beyond < n and words[beyond] == needle[after]) or flags[after] & LABEL:
                return place, target
            if flags[after if step > 0 else target] & LINE:
                return place, target
    return -1, -1


@njit(cache=True)
def _follow(
    words: NDArray[Any],
    marks: NDArray[Any],
    kinds: NDArray[Any],
    j: int,
    needle: NDArray[Any],
    needle_marks: NDArray[Any],
    flags: NDArray[Any],
    i: int,
    step: int,
) -> tuple[int, int, int]:
    """The last words of text and needle that agree from (j, i) on, and how many signs between them do not."""
    n, m = len(words), len(needle)
    differences = 0
    while True:
        next_j, next_i = j + step, i + step
        if not 0 <= next_i < m:
            return j, i, differences
        if 0 <= next_j < n and words[next_j] == needle[next_i]:
            later_j, later_i = max(j, next_j), max(i, next_i)
            if not _agree(marks[later_j], needle_marks[later_i], kinds[later_j - 1], kinds[later_j]):
                differences += 1
            j, i = next_j, next_i
            continue
        found_j, found_i = _next(words, marks, next_j, needle, flags, next_i, step)
        if found_j < 0:
            return j, i, differences
        j, i = found_j, found_i


@njit(cache=True)
def _says_enough(
    needle: NDArray[Any],
    bits: NDArray[Any],
    weights: NDArray[Any],
    phrase: NDArray[Any],
    lo: int,
    hi: int,
    run_weight: int,
    run_bits: float,
    run_words: int,
) -> bool:
    """Whether the needle's words lo … hi are a run long and varied enough, and more than benchmarks' phrases."""
    weight, different = 0, 0.0
    for place in range(lo, hi + 1):
        weight += weights[place]
        new = True
        # Far enough back to see the loop of a program, not so far as to cost.
        for earlier in range(max(lo, place - 64), place):
            if needle[earlier] == needle[place]:
                new = False
                break
        if new:
            # Numbers in a row are everywhere, whatever they are.
            different += bits[place] if bits[place] != DIGIT_BITS else 1.0
    if weight < run_weight or different < run_bits:
        return False
    for place in range(lo, max(lo + 1, hi + 2 - run_words)):
        if not phrase[place]:
            return True
    return False


@njit(cache=True)
def _edges_agree(
    words: NDArray[Any],
    marks: NDArray[Any],
    kinds: NDArray[Any],
    first: int,
    last: int,
    wanted: int,
) -> bool:
    """Whether a whole problem that begins or ends with a number is not a piece of a longer sum.

    `wanted` are the marks before the problem's first word.
    """
    before = marks[first]
    if kinds[first] == _DIGIT:
        if before & GLUED:
            return False
        if first > 0 and kinds[first - 1] != _LONG and not before & NEW_LINE and (before ^ wanted) & OPERATORS:
            return False
    if kinds[last] == _DIGIT and last + 1 < len(words):
        after = marks[last + 1]
        if after & GLUED:
            return False
        if kinds[last + 1] != _LONG and not after & NEW_LINE and after & (PLUS | MINUS | TIMES):
            return False
    return True


@njit(cache=True)
def find_matches(
    words: NDArray[Any],
    marks: NDArray[Any],
    kinds: NDArray[Any],
    lengths: NDArray[Any],
    filter_bits: NDArray[Any],
    slots: NDArray[Any],
    places: NDArray[Any],
    firsts: NDArray[Any],
    posting_needles: NDArray[Any],
    posting_offsets: NDArray[Any],
    needle_ends: NDArray[Any],
    needle_words: NDArray[Any],
    needle_marks: NDArray[Any],
    needle_flags: NDArray[Any],
    needle_bits: NDArray[Any],
    needle_weights: NDArray[Any],
    needle_phrase: NDArray[Any],
    run_weight: int,
    run_bits: float,
    run_words: int,
    found_already: NDArray[Any],
    found: NDArray[Any],
) -> int:
    """Writes the first match of each needle (needle, rule, first word, last word) to `found`, and returns how many.

    `found_already` is one zero a needle, before and after.
    """
    count = 0
    n = len(words)
    filter_last, slot_last = np.uint64(len(filter_bits) * 64 - 1), np.uint64(len(slots) - 1)
    for start in range(n):
        for length in lengths:
            if start + length > n:
                continue
            key = seed_hash(words, start, length)
            bit = key & filter_last
            if not (filter_bits[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1):
                continue
            slot = (key >> np.uint64(20)) & slot_last
            while slots[slot] != 0 and slots[slot] != key:
                slot = (slot + np.uint64(1)) & slot_last
            if slots[slot] == 0:
                continue
            place = places[slot]
            for posting in range(firsts[place], firsts[place + 1]):
                which, offset = posting_needles[posting], posting_offsets[posting]
                if found_already[which]:
                    continue
                begin = needle_ends[which - 1] if which > 0 else 0
                end = needle_ends[which]
                needle, flags = needle_words[begin:end], needle_flags[begin:end]
                own_marks = needle_marks[begin:end]
                last_j, last_i, right = _follow(words, marks, kinds, start, needle, own_marks, flags, offset, 1)
                first_j, first_i, left = _follow(words, marks, kinds, start, needle, own_marks, flags, offset, -1)
                m = end - begin
                head = first_i == 0 or (first_i == 1 and flags[0] & LABEL != 0)
                rule = 0
                # A long problem may have a sign that was lost or changed on the way; a short one is its signs.
                if head and last_i == m - 1 and (left + right) * 8 <= max(0, m - 8):
                    rule = WHOLE if _edges_agree(words, marks, kinds, first_j, last_j, own_marks[first_i]) else 0
                if rule == 0 and _says_enough(
                    needle,
                    needle_bits[begin:end],
                    needle_weights[begin:end],
                    needle_phrase[begin:end],
                    first_i,
                    last_i,
                    run_weight,
                    run_bits,
                    run_words,
                ):
                    rule = RUN
                if rule:
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = which, rule, first_j, last_j
                    count += 1
                    found_already[which] = 1
    for match in range(count):
        found_already[found[match, 0]] = 0
    return count
