"""Which documents are copies of one another, and which copy is kept: functions of arrays, without order or state.

A document is its rank and its number. The rank says which of two copies is kept, the smaller one: that of the text
with more words, since the other has lost some on its way; of equally long ones, that whose id has the smaller digest,
which favours no crawl and no site, and depends on nothing but the two documents. Numbers only say where a document
is; they would decide between two copies of the same length whose digests agree in 36 bits.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

EXACT = np.dtype([("hash", "<u8"), ("check", "<u8"), ("rank", "<u8"), ("number", "<u8")])
"""A document and a hash of 128 bits that its copies share."""
BANDS = np.dtype([("hash", "<u8"), ("rank", "<u8"), ("number", "<u8")])
"""A document and the hash of one band of its sketch."""
PAIRS = np.dtype([("rank_a", "<u8"), ("number_a", "<u8"), ("rank_b", "<u8"), ("number_b", "<u8")])
"""Two documents, of which the first one would be kept."""
LOSSES = np.dtype([("number", "<u8"), ("kept", "<u8")])
"""A dropped document and the copy that was kept instead."""

_WORD_BITS, _DIGEST_BITS = 28, 36
# A band's hash that more documents share is that of a template, or of a page with thousands of near-copies.
_MAX_ALL_PAIRS = 32
_NEIGHBOURS = 8


def rank(num_words: int, name: str) -> int:
    """64 bits; of two documents, that with the smaller rank is kept."""
    longest = (1 << _WORD_BITS) - 1
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    return (longest - min(num_words, longest)) << _DIGEST_BITS | digest >> (64 - _DIGEST_BITS)


def exact_losses(records: NDArray[np.void]) -> NDArray[np.void]:
    """LOSSES: of the documents that share a hash (EXACT), all but the one to keep."""
    records = records[np.lexsort((records["number"], records["rank"], records["check"], records["hash"]))]
    repeats = np.zeros(len(records), dtype=bool)
    repeats[1:] = (records["hash"][1:] == records["hash"][:-1]) & (records["check"][1:] == records["check"][:-1])
    firsts = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(records))))
    losses = np.empty(int(repeats.sum()), dtype=LOSSES)
    losses["number"] = records["number"][repeats]
    losses["kept"] = records["number"][firsts[repeats]]
    return losses


def candidate_pairs(records: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """PAIRS of documents that share a band's hash (BANDS), and the records of which not every pair is among them.

    Of a hash that many documents share, a document is paired with the best of them and with its neighbours in rank,
    which are about as long: a number of pairs that grows with that of documents, not with its square.
    """
    records = records[np.lexsort((records["number"], records["rank"], records["hash"]))]
    hashes = records["hash"]
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(records) else np.empty(0, int)
    sizes = np.diff(starts, append=len(records))
    first = np.repeat(starts, sizes)
    end = first + np.repeat(sizes, sizes)
    crowded = np.repeat(sizes > _MAX_ALL_PAIRS, sizes)
    reach = np.minimum(end, np.arange(len(records)) + np.where(crowded, _NEIGHBOURS, _MAX_ALL_PAIRS) + 1)

    left, right = [], []
    places = np.arange(len(records))
    for distance in range(1, _MAX_ALL_PAIRS):
        places = places[places + distance < reach[places]]
        if not len(places):
            break
        left.append(places)
        right.append(places + distance)
    far = np.flatnonzero(crowded & (np.arange(len(records)) > first + _NEIGHBOURS))
    a, b = np.concatenate([*left, first[far]]), np.concatenate([*right, far])
    pairs = np.empty(len(a), dtype=PAIRS)
    for side, chosen in (("a", a), ("b", b)):
        pairs[f"rank_{side}"], pairs[f"number_{side}"] = records["rank"][chosen], records["number"][chosen]
    return pairs, records[crowded]


def unique_pairs(pairs: NDArray[np.void]) -> NDArray[np.void]:
    """The pairs (PAIRS) in the order of their ranks, each once."""
    pairs = pairs[np.lexsort((pairs["number_b"], pairs["rank_b"], pairs["number_a"], pairs["rank_a"]))]
    repeats = np.zeros(len(pairs), dtype=bool)
    repeats[1:] = pairs[1:] == pairs[:-1]
    unique: NDArray[np.void] = pairs[~repeats]
    return unique


def contracted(pairs: NDArray[np.void]) -> NDArray[np.void]:
    """PAIRS: each document that pairs join to others, with the best document it is joined to."""
    from mimo_data.dedup.kernels import first_of_components

    ranks = np.concatenate([pairs["rank_a"], pairs["rank_b"]])
    numbers = np.concatenate([pairs["number_a"], pairs["number_b"]])
    order = np.lexsort((numbers, ranks))
    ranks, numbers = ranks[order], numbers[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = numbers[1:] != numbers[:-1]
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.cumsum(fresh) - 1
    ranks, numbers = ranks[fresh], numbers[fresh]
    best = first_of_components(len(numbers), places[: len(pairs)], places[len(pairs) :])
    joined = np.flatnonzero(best != np.arange(len(numbers)))
    stars = np.empty(len(joined), dtype=PAIRS)
    stars["rank_a"], stars["number_a"] = ranks[best[joined]], numbers[best[joined]]
    stars["rank_b"], stars["number_b"] = ranks[joined], numbers[joined]
    return stars


def losses_of(stars: NDArray[np.void]) -> NDArray[np.void]:
    """LOSSES of contracted pairs."""
    losses = np.empty(len(stars), dtype=LOSSES)
    losses["number"], losses["kept"] = stars["number_b"], stars["number_a"]
    return losses
