from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mimo_data.dedup.words import hash_text, split_words

MASK = (1 << 64) - 1
# Letters that change in length, by context or by title case; marks; digits and scripts of every kind.
LETTERS = st.sampled_from(
    "aAbZ09_ .,\n-+é\u0301ÉßẞİıΣσςǅǆŉﬁΑΩаЯאب١२一丁ひらカﾊ々ไทยລາວကខ្មែ한국\U0001d400\U00010400𠀀😀\ud800٠"
)
TEXTS = st.text(LETTERS, max_size=60) | st.text(max_size=60)


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def word_hash(word: str) -> int:
    value = 0xCBF29CE484222325
    for letter in word:
        value = (value ^ ord(letter)) * 0x100000001B3 & MASK
    return mixed(value)


def plain_shingles(text: str, shingle_words: int) -> list[int]:
    """The upper 48 bits of the shingles' hashes, word by word."""
    hashes = [word_hash(word) for word in split_words(text)]
    found = []
    for start in range(max(1, len(hashes) - shingle_words + 1) if hashes else 0):
        total = 0
        for value in hashes[start : start + shingle_words]:
            total = (total * 0x9E3779B97F4A7C15 + value) & MASK
        found.append(mixed(total) >> 16)
    return found


@settings(max_examples=400)
@given(text=TEXTS, shingle_words=st.integers(1, 6))
@example(text="ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ. Σ", shingle_words=1)
@example(text="İstanbul DİYARBAKIR", shingle_words=1)
@example(text="STRASSE Straße ẞ", shingle_words=1)
def test_the_kernel_finds_the_words_that_python_finds(text, shingle_words):
    found = hash_text(text, shingle_words)
    assert found.num_words == len(split_words(text))
    assert (found.shingles >> np.uint64(16)).tolist() == plain_shingles(text, shingle_words)


@settings(max_examples=400)
@given(
    text=st.text(st.characters(max_codepoint=0x0DFF) | LETTERS.filter(lambda letter: ord(letter) < 0x0E00), max_size=60)
)
def test_in_scripts_with_spaces_a_word_is_what_the_lower_case_holds_of_word_characters(text):
    assert split_words(text) == re.findall(r"\w+", text.lower())


def test_every_character_is_classed_as_python_classes_it():
    for start in range(0, 0x110000, 64):
        text = " ".join(map(chr, range(start, start + 64)))
        assert hash_text(text, 1).num_words == len(split_words(text)), hex(start)


def test_in_scripts_without_spaces_three_characters_are_a_word():
    assert split_words("深度学习 is 2 much，ひらがなxภาษา") == [
        *("深度学", "习", "is", "2", "much", "ひらが", "な", "x", "ภาษ", "า")
    ]
    assert len(hash_text("深度学习模型的训练和推理都需要数据", 5).shingles) == 2


@pytest.mark.parametrize("text", ["", " \n", "!?", "…"])
def test_a_text_without_words_has_no_shingle(text):
    assert (hash_text(text, 5).num_words, len(hash_text(text, 5).shingles)) == (0, 0)


def test_a_text_shorter_than_a_shingle_is_one_shingle():
    assert len(hash_text("only three words", 5).shingles) == 1


def test_a_huge_text_is_hashed_whole():
    text = "word " * 2_000_000 + "end"
    found = hash_text(text, 5)
    assert found.num_words == 2_000_001
    assert len(np.unique(found.shingles)) == 2


def test_operators_tell_shingles_apart_between_numbers_and_short_words_only():
    def agree(one: str, other: str) -> bool:
        return hash_text(one, 5).shingles.tolist() == hash_text(other, 5).shingles.tolist()

    assert not agree("1 + 2 = 3", "1 - 2 = 3")
    assert not agree("if x<y: z", "if x>y: z")
    assert agree("- Bread\n- Butter and milk\n", "* Bread * Butter and milk")
    assert agree("a well-known open-source thing", "a well known open source thing")
