"""Copies by address, by exact text and by MinHash (§2.1), of documents in memory.

Three rules, one after the other, each over the documents that the one before it has left:

1. `same_url`: the same address in its canonical spelling (`mimo_data.dedup.urls`).
2. `same_text`: the same words and operators in the same order, whatever their case, white space and punctuation.
3. `near_duplicate`: a Jaccard similarity of word shingles of at least the recipe's threshold. MinHash bands find the
   candidates, the exact similarity of their sets of shingles decides. Documents that a chain of such pairs joins are
   one group: its ends may be less alike than the threshold.

Of each group one document is kept, that with the most words (`mimo_data.dedup.groups` has the whole rule). The result
does not depend on the order of the documents, and a second pass finds nothing.

Recall is that of banding: a pair right at the threshold is found with at least the recipe's probability, a pair far
above it almost surely. Where a hash is shared by more than 32 documents not all pairs are tried at once, but the best
document and neighbours in length; what is left of such a crowd is tried again until nothing more is found. Texts of
fewer words than a shingle are alike when all of their words are the same; a text without words is like no other.
Not covered: translations, paraphrases, and a short text inside of a long one.

`mimo_data.dedup.corpus` does the same for a corpus on disk.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from mimo_data.dedup.groups import (
    BANDS,
    EXACT,
    candidate_pairs,
    contracted,
    exact_losses,
    losses_of,
    rank,
    unique_pairs,
)
from mimo_data.dedup.urls import canonical_url
from mimo_data.dedup.words import hash_text
from mimo_data.documents import Document
from mimo_data.run import DataError, Record
from mimo_data.settings import check_numbers

REASONS = ("same_url", "same_text", "near_duplicate")
_SEED = 0x4D694D6F
# A document's bands take eight bytes each, in its sketch and on the way to those like it.
_MAX_BANDS = 1000


class DeduplicateRecipe(Record, frozen=True):
    """How alike two documents must be to count as one."""

    shingle_words: int = 5
    """Words of a shingle. Not in the report."""
    threshold: float = 0.8
    """Jaccard similarity of shingles from which two texts are duplicates. Not in the report."""
    recall: float = 0.99
    """Least probability that a pair right at the threshold is found; it sets the number of bands. Not in the report."""
    rows_per_band: int = 8
    """Permutations in a band: more rows, fewer pairs to verify and more bands to shuffle. Not in the report."""

    def __post_init__(self) -> None:
        check_numbers(
            self, shingle_words=(1, 1000), threshold=(0.05, 1), recall=(0.01, 0.999_999), rows_per_band=(1, 64)
        )
        if self.num_bands > _MAX_BANDS:
            raise ValueError(
                f"threshold {self.threshold}, recall {self.recall} and rows_per_band {self.rows_per_band} take "
                f"{self.num_bands:_} bands, but at most {_MAX_BANDS} are kept: lower rows_per_band, or raise threshold"
            )

    @property
    def num_bands(self) -> int:
        """Bands with which a pair at the threshold is found with probability `recall`."""
        band_found = self.threshold**self.rows_per_band
        return math.ceil(math.log1p(-self.recall) / math.log1p(-band_found)) if band_found < 1 else 1


class Sketcher:
    """What the rules need to know about a document, under one recipe.

    Attributes:
        record: dtype of what `sketch` gives: `rank`, the halves `text` and `check` of the hash of the words, and
            `bands`, all zero for a text without words.
    """

    def __init__(self, recipe: DeduplicateRecipe) -> None:
        self._recipe = recipe
        generator = np.random.RandomState(_SEED)
        size = recipe.num_bands * recipe.rows_per_band
        factors, offsets = generator.randint(0, 1 << 32, size=(2, size), dtype=np.uint64).astype(np.uint32)
        self._factors, self._offsets = factors | np.uint32(1), offsets
        self.record = np.dtype(
            [("rank", "<u8"), ("text", "<u8"), ("check", "<u8"), ("bands", "<u8", (recipe.num_bands,))]
        )

    def sketch(self, document: Document) -> tuple[int, int, int, NDArray[np.uint64]]:
        """The fields of a `record`."""
        from mimo_data.dedup.kernels import sketch_bands

        text = hash_text(document.text, self._recipe.shingle_words)
        key = rank(text.num_words, document.id)
        if not text.num_words:
            digest = hashlib.blake2b(document.text.strip().encode("utf-8", "surrogatepass"), digest_size=16).digest()
            first, second = np.frombuffer(digest, dtype="<u8")
            return key, int(first), int(second), np.zeros(self._recipe.num_bands, dtype=np.uint64)
        bands = sketch_bands(text.shingles, self._factors, self._offsets, self._recipe.rows_per_band)
        return key, text.first, text.second, bands

    def shingles(self, text: str) -> NDArray[np.uint64]:
        """The shingles of a text, sorted, each once."""
        return np.unique(hash_text(text, self._recipe.shingle_words).shingles)


def url_hash(url: str) -> tuple[int, int] | None:
    """128 bits of the canonical address, in halves; None if there is no address to compare."""
    canonical = canonical_url(url)
    if not canonical:
        return None
    first, second = np.frombuffer(hashlib.blake2b(canonical.encode(), digest_size=16).digest(), dtype="<u8")
    return int(first), int(second)


def deduplicate(documents: Iterable[Document], recipe: DeduplicateRecipe | None = None) -> Iterator[tuple[str, str]]:
    """Pairs (dropped id, kept id), sorted, one for each document that repeats another.

    Raises:
        DataError: two documents have the same id.
    """
    for dropped, kept, _ in find_duplicates(documents, recipe or DeduplicateRecipe()):
        yield dropped, kept


def find_duplicates(documents: Iterable[Document], recipe: DeduplicateRecipe) -> list[tuple[str, str, str]]:
    """Triples (dropped id, kept id, reason), sorted; the reason is the first rule that dropped the document.

    The kept id is that of the document that is left in the end, whatever rules lie between the two.
    """
    corpus = _Corpus(list(documents), recipe)
    kept: dict[int, int] = {}
    reasons: dict[int, str] = {}

    def drop(losses: NDArray[np.void], reason: str) -> None:
        for number, other in losses.tolist():
            kept[number] = other
            reasons[number] = reason

    drop(exact_losses(corpus.addresses), "same_url")
    drop(exact_losses(corpus.texts[~np.isin(corpus.texts["number"], list(kept))]), "same_text")
    crowd = corpus.bands
    while len(crowd):
        crowd = crowd[~np.isin(crowd["number"], list(kept))]
        pairs, crowd = candidate_pairs(crowd)
        losses = losses_of(contracted(corpus.verified(unique_pairs(pairs))))
        drop(losses, "near_duplicate")
        if not len(losses):
            break

    found = []
    for number in kept:
        last = number
        while last in kept:
            last = kept[last]
        found.append((corpus.documents[number].id, corpus.documents[last].id, reasons[number]))
    return sorted(found)


def similar_pairs(texts: Sequence[str], recipe: DeduplicateRecipe) -> list[tuple[int, int]]:
    """All pairs (smaller index, larger index), sorted, of texts that `same_text` or `near_duplicate` is about.

    For measuring what the rules find: a thousand copies are half a million pairs.
    """
    corpus = _Corpus([Document(id=str(n), text=text, source="") for n, text in enumerate(texts)], recipe)
    copies: dict[int, list[int]] = {}
    for number, kept in exact_losses(corpus.texts).tolist():
        copies.setdefault(kept, [kept]).append(number)
    repeats = [number for group in copies.values() for number in group[1:]]
    pairs, _ = candidate_pairs(corpus.bands[~np.isin(corpus.bands["number"], repeats)])
    verified = corpus.verified(unique_pairs(pairs))
    found = [pair for group in copies.values() for pair in combinations(group, 2)]
    for a, b in zip(verified["number_a"].tolist(), verified["number_b"].tolist(), strict=True):
        found += product(copies.get(a, [a]), copies.get(b, [b]))
    return sorted((min(pair), max(pair)) for pair in found)


class _Corpus:
    """Documents in memory, numbered from 0, and their records."""

    def __init__(self, documents: Sequence[Document], recipe: DeduplicateRecipe) -> None:
        self.documents = documents
        self._sketcher = Sketcher(recipe)
        self._threshold = recipe.threshold
        self._shingles: dict[int, NDArray[np.uint64]] = {}
        names: set[str] = set()
        for document in documents:
            if document.id in names:
                raise DataError(f"two documents have the id {document.id!r}. Give every document its own.")
            names.add(document.id)
        self._sketches = np.array([self._sketcher.sketch(document) for document in documents], self._sketcher.record)

    @cached_property
    def addresses(self) -> NDArray[np.void]:
        rows = []
        for number, document in enumerate(self.documents):
            halves = url_hash(document.url)
            if halves:
                rows.append((*halves, self._sketches["rank"][number], number))
        return np.array(rows, dtype=EXACT)

    @cached_property
    def texts(self) -> NDArray[np.void]:
        return text_records(self._sketches, np.arange(len(self.documents)))

    @cached_property
    def bands(self) -> NDArray[np.void]:
        return band_records(self._sketches, np.arange(len(self.documents)))

    def verified(self, pairs: NDArray[np.void]) -> NDArray[np.void]:
        """Those of the PAIRS whose exact similarity is at least the threshold."""
        from mimo_data.dedup.kernels import alike

        keep = np.zeros(len(pairs), dtype=bool)
        for place, (a, b) in enumerate(zip(pairs["number_a"].tolist(), pairs["number_b"].tolist(), strict=True)):
            keep[place] = alike(self._set(a), self._set(b), self._threshold)
        verified: NDArray[np.void] = pairs[keep]
        return verified

    def _set(self, number: int) -> NDArray[np.uint64]:
        if number not in self._shingles:
            self._shingles[number] = self._sketcher.shingles(self.documents[number].text)
        return self._shingles[number]


def text_records(sketches: NDArray[np.void], numbers: NDArray[np.integer]) -> NDArray[np.void]:
    """EXACT records of the texts of sketched documents."""
    records = np.empty(len(sketches), dtype=EXACT)
    records["hash"], records["check"] = sketches["text"], sketches["check"]
    records["rank"], records["number"] = sketches["rank"], numbers
    return records


def band_records(sketches: NDArray[np.void], numbers: NDArray[np.integer]) -> NDArray[np.void]:
    """BANDS records of the sketched documents that have words."""
    worded = sketches["bands"].any(axis=1)
    sketches, numbers = sketches[worded], numbers[worded]
    num_bands = sketches["bands"].shape[1]
    records = np.empty(sketches["bands"].size, dtype=BANDS)
    records["hash"] = sketches["bands"].ravel()
    records["rank"] = np.repeat(sketches["rank"], num_bands)
    records["number"] = np.repeat(numbers, num_bands)
    return records
