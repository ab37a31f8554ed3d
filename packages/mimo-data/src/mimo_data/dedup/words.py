"""Words of a text, and 64-bit hashes of its word shingles.

A word is a run of `\\w` in the lower-cased text, in the sense of Python's `re` and `str.lower`. Scripts that are
written without spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) would give whole sentences that way; there,
each character is a word. `split_words` is this definition; the kernel does the same thing in one pass over the
bytes, and a property compares the two.

A shingle's hash has two parts. The upper 48 bits are of its words and say whether two texts share it. The lower 16
are of the operators between its short words and numbers: without them, formulas on the same numbers look alike. Two
different shingles of one pair of documents have the same hash with a probability of 2^-48 for each two of them: one
in ten million for two texts of five thousand words.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mimo_data.dedup.kernels import TextHashes

OPERATORS = "+-*/=<>^\\|&%"

# Blocks of Unicode whose letters stand without spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # iteration marks, kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|(?!\W)[{_UNSPACED}]")
# The lower case of all other letters is one character that depends on nothing around it.
_UNUSUAL_CASE = ("\u0130", "\u03a3")  # İ becomes two characters; Σ is ς at the end of a word, else σ

SEPARATOR, WORD, SINGLE, OPERATOR = range(4)
_NUM_CODE_POINTS = 0x110000
_CLASS_SHIFT = 24


def split_words(text: str) -> list[str]:
    """The words of a text, in order."""
    return _WORD.findall(text.lower())


@cache
def code_point_table() -> NDArray[np.uint32]:
    """uint32 [code points]: the code point in lower case, and the class of that in the upper eight bits."""
    everything = "".join(map(chr, range(_NUM_CODE_POINTS)))
    plain = everything
    for letter in _UNUSUAL_CASE:
        plain = plain.replace(letter, " ")
    table = np.frombuffer(plain.lower().encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32)
    classes = np.full(_NUM_CODE_POINTS, SEPARATOR, dtype=np.uint32)
    for match in re.finditer(rf"([^\W{_UNSPACED}]+)|((?:(?!\W)[{_UNSPACED}])+)", everything):
        classes[match.start() : match.end()] = WORD if match[1] else SINGLE
    classes[[ord(sign) for sign in OPERATORS]] = OPERATOR
    return table | (classes[table] << np.uint32(_CLASS_SHIFT))


def text_bytes(text: str) -> NDArray[np.uint8]:
    """UTF-8 of a text whose letters the table can put in lower case one by one."""
    if not text.isascii() and any(letter in text for letter in _UNUSUAL_CASE):
        text = text.lower()
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)


def hash_text(text: str, shingle_words: int) -> TextHashes:
    """The hashes of a text's words, and of its shingles of `shingle_words` words."""
    from mimo_data.dedup.kernels import hash_words

    return hash_words(text_bytes(text), code_point_table(), shingle_words)
