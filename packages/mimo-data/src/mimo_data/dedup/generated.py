"""Text made up for measuring: words about as frequent as words are, and documents that copy one another.

The same numbers give the same text. Nobody should read it, and no language has its words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mimo_data.documents import Document

_VOCABULARY = 50_000
_MEAN_WORD_BYTES = 7.0


def sample_documents(
    num_bytes: int, document_bytes: float, copies: float, *, first: int = 0, num_originals: int | None = None
) -> Iterator[Document]:
    """Generated documents of random words, about as frequent as words are, until there are so many bytes of text.

    Args:
        document_bytes: mean size.
        copies: share that repeats an original: a third each by address, by text and nearly.
        first: number of the first document; a document depends on its number alone.
        num_originals: copies are of documents with a smaller number than this, so that any part of a corpus may hold
            them; None for the documents up to the copy itself.
    """
    vocabulary = _vocabulary()
    mean_words = document_bytes / _MEAN_WORD_BYTES
    number = first
    while num_bytes > 0:
        generator = np.random.default_rng((1, number))
        kind = generator.random()
        source = number
        if kind < copies and number:
            source = int(generator.integers(0, num_originals or number))
        words = _words(source, mean_words, vocabulary)
        url = f"https://www.site{number % 997}.example/page/{number}"
        if source != number:
            if kind < copies / 3:
                url = f"http://site{source % 997}.example/page/{source}/?utm_source=feed"
                words = _words(number, mean_words, vocabulary)
            elif kind >= copies * 2 / 3:
                places = generator.integers(0, len(words), size=1 + len(words) // 100)
                for place in places.tolist():
                    words[place] = vocabulary[(place * 31 + number) % _VOCABULARY]
        text = " ".join(words)
        num_bytes -= len(text)
        yield Document(id=f"{number:012d}", text=text, source="web", url=url)
        number += 1


def _words(number: int, mean_words: float, vocabulary: list[str]) -> list[str]:
    generator = np.random.default_rng((2, number))
    # A few long documents hold much of the text, as on the web.
    count = max(8, int(generator.lognormal(math.log(mean_words) - 0.5, 1.0)))
    # Uniform in the logarithm of the rank: Zipf's law.
    ranks = np.exp(generator.random(count) * math.log(_VOCABULARY)).astype(np.int64) - 1
    return [vocabulary[rank] for rank in ranks.tolist()]


def _vocabulary() -> list[str]:
    generator = np.random.default_rng(0)
    syllables = [consonant + vowel for consonant in "bdfghklmnprstvz" for vowel in "aeiou"]
    words: dict[str, None] = {}
    while len(words) < _VOCABULARY:
        chosen = generator.integers(0, len(syllables), size=int(generator.integers(1, 5)))
        words.setdefault("".join(syllables[place] for place in chosen.tolist()))
    return list(words)
