"""Duplicates by address, by exact text and by MinHash (§2.1), over all documents at once.

Every rule is a property of two texts alone, and the kept copy is the smallest by a total order, so the
result does not depend on the order of the documents, and a second pass finds nothing. Near-duplicates
that share a chain of pairs count as one group: the ends of a chain may be less similar than the threshold.

Recall is that of banding: with 14 bands of 8 rows a pair of Jaccard 0.8 is found with probability 0.92,
0.9 with more than 0.999. Pairs that banding proposes are checked with the estimate from the whole
sketch, whose standard error is at most 0.05 at 112 permutations. Sketches are held in memory: about
1 kB a document.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from numpy.typing import NDArray

from mimo_data.documents import Document
from mimo_data.run import DataError, Record

# Operators count as words: without them, formulas and programs on the same numbers look alike.
_WORD = re.compile(r"\w+|[+\-*/=<>^\\|&%~]")
_TRACKING = re.compile(r"utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|ref_src|igshid|_ga|spm")
_INDEX = re.compile(r"/(?:index|default)\.(?:html?|php|aspx?)$")
_BLOCK_SHINGLES = 256
_SEED = 0x4D694D6F


class DeduplicateRecipe(Record, frozen=True):
    """How alike two documents must be to count as one."""

    shingle_words: int = 5
    """Words of a shingle. Not in the report."""
    num_bands: int = 14
    """Not in the report; 14 bands of 8 rows are the common setting for web text."""
    rows_per_band: int = 8
    """Permutations in a band; num_bands · rows_per_band in all. Not in the report."""
    threshold: float = 0.75
    """Estimated Jaccard similarity of shingles from which two texts are duplicates. Not in the report."""

    def __post_init__(self) -> None:
        if min(self.shingle_words, self.num_bands, self.rows_per_band) < 1 or not 0 < self.threshold <= 1:
            raise ValueError("shingle_words, num_bands and rows_per_band are at least 1, threshold is in (0, 1]")


def deduplicate(documents: Iterable[Document], recipe: DeduplicateRecipe | None = None) -> Iterator[tuple[str, str]]:
    """Pairs (dropped id, kept id), sorted, one for each document that repeats another.

    Of a group of duplicates the longest text is kept; of equally long ones, the smallest id.

    Raises:
        DataError: two documents have the same id.
    """
    for dropped, kept, _ in find_duplicates(documents, recipe or DeduplicateRecipe()):
        yield dropped, kept


def find_duplicates(documents: Iterable[Document], recipe: DeduplicateRecipe) -> list[tuple[str, str, str]]:
    """Triples (dropped id, kept id, reason), sorted; reasons are `same_url`, `same_text` and `near_duplicate`.

    The reason is the strongest rule by which the dropped document repeats any other.
    """
    sketcher = _Sketcher(recipe)
    ids: list[str] = []
    lengths: list[int] = []
    first_with: dict[tuple[str, bytes], int] = {}
    sketches: list[NDArray[np.uint64]] = []
    groups = _Groups()
    reasons: dict[int, set[str]] = {}

    def join(a: int, b: int, reason: str) -> None:
        groups.join(a, b)
        for member in (a, b):
            reasons.setdefault(member, set()).add(reason)

    for index, document in enumerate(documents):
        ids.append(document.id)
        lengths.append(len(document.text))
        words = _WORD.findall(document.text.lower())
        text = " ".join(document.text.split())
        keys = [("same_text", hashlib.sha256(text.encode()).digest()[:16])]
        address = normalise_url(document.url)
        if address:
            keys.append(("same_url", hashlib.sha256(address.encode()).digest()[:16]))
        for key in keys:
            twin = first_with.setdefault(key, index)
            if twin != index:
                join(twin, index, key[0])
        sketches.append(sketcher.sketch(words))
    if len(set(ids)) < len(ids):
        repeated = next(name for number, name in enumerate(sorted(ids)) if sorted(ids)[number + 1] == name)
        raise DataError(f"{repeated}: two documents have this id. Give every document its own, or name each file once.")
    for a, b in _similar_pairs(sketches, recipe):
        join(a, b, "near_duplicate")

    members: dict[int, list[int]] = {}
    for index in range(len(ids)):
        members.setdefault(groups.root(index), []).append(index)
    found = []
    for group in members.values():
        kept = min(group, key=lambda index: (-lengths[index], ids[index]))
        for index in group:
            if index != kept:
                reason = next(code for code in ("same_url", "same_text", "near_duplicate") if code in reasons[index])
                found.append((ids[index], ids[kept], reason))
    return sorted(found)


def normalise_url(url: str) -> str:
    """One spelling for addresses of one page: host in lower case, no scheme, `www.`, fragment or tracking keys."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").removeprefix("www.")
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:
        return ""
    if not host:
        return ""
    query = sorted(pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0]))
    path = _INDEX.sub("/", parts.path).rstrip("/")
    return host + port + path + (f"?{urlencode(query)}" if query else "")


class _Sketcher:
    """MinHash of a text's word shingles under fixed permutations."""

    def __init__(self, recipe: DeduplicateRecipe) -> None:
        self._shingle_words = recipe.shingle_words
        generator = np.random.RandomState(_SEED)
        size = recipe.num_bands * recipe.rows_per_band
        high, low = (generator.randint(0, 1 << 32, size=(size, 2), dtype=np.uint64) for _ in range(2))
        constants = (high << np.uint64(32)) | low
        self._factors, self._offsets = constants[:, 0] | np.uint64(1), constants[:, 1]
        places = generator.randint(0, 1 << 32, size=(recipe.shingle_words, 2), dtype=np.uint64)
        self._places = (places[:, 0] << np.uint64(32)) | places[:, 1] | np.uint64(1)
        self._hashes: dict[str, int] = {}

    def sketch(self, words: list[str]) -> NDArray[np.uint64]:
        """uint64 [permutations]; empty for a text without words, which is like no other."""
        if not words:
            return np.empty(0, dtype=np.uint64)
        if len(self._hashes) > 1_000_000:
            self._hashes.clear()
        cache = self._hashes
        for word in set(words) - cache.keys():
            cache[word] = zlib.crc32(word.encode())
        hashes = np.array([cache[word] for word in words], dtype=np.uint64)
        span = min(self._shingle_words, len(hashes))
        shingles = np.zeros(len(hashes) - span + 1, dtype=np.uint64)
        for offset in range(span):
            shingles = _mix(shingles + hashes[offset : offset + len(shingles)] * self._places[offset])
        shingles = np.unique(shingles)
        smallest = np.full(len(self._factors), np.iinfo(np.uint64).max, dtype=np.uint64)
        # In blocks that stay in the cache; a permutation is a multiplication modulo 2^64, its high bits compared.
        for start in range(0, len(shingles), _BLOCK_SHINGLES):
            block = shingles[start : start + _BLOCK_SHINGLES]
            permuted = block[:, None] * self._factors[None, :]
            permuted += self._offsets[None, :]
            np.minimum(smallest, permuted.min(axis=0), out=smallest)
        return smallest


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spreads every input bit over the word (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _similar_pairs(sketches: list[NDArray[np.uint64]], recipe: DeduplicateRecipe) -> Iterator[tuple[int, int]]:
    """Pairs that share a band and whose whole sketches agree in at least `threshold` of the permutations."""
    first_with: dict[bytes, int] = {}
    for index, sketch in enumerate(sketches):
        if len(sketch):
            twin = first_with.setdefault(sketch.tobytes(), index)
            if twin != index:
                yield twin, index
    # One of each sketch from here on, or a thousand copies would be half a million pairs.
    occupied = sorted(first_with.values())
    seen: set[tuple[int, int]] = set()
    for band in range(recipe.num_bands):
        rows = slice(band * recipe.rows_per_band, (band + 1) * recipe.rows_per_band)
        buckets: dict[bytes, list[int]] = {}
        for index in occupied:
            buckets.setdefault(sketches[index][rows].tobytes(), []).append(index)
        for bucket in buckets.values():
            for number, b in enumerate(bucket):
                for a in bucket[:number]:
                    if (a, b) not in seen:
                        seen.add((a, b))
                        if np.mean(sketches[a] == sketches[b]) >= recipe.threshold:
                            yield a, b


class _Groups:
    """Union-find over document numbers."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, index: int) -> int:
        while (parent := self._parents.get(index, index)) != index:
            self._parents[index] = self._parents.get(parent, parent)
            index = parent
        return index

    def join(self, a: int, b: int) -> None:
        self._parents[self.root(a)] = self.root(b)
