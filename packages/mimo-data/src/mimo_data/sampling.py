"""One source as a mixture reads it: its documents less or more than once by their tags, in a new order each epoch.

A document of factor f stands floor(f·(e+1) + u) - floor(f·e + u) times in epoch e, where u is a number between 0 and 1
that its id and the seed decide. That is f times on average for any f, over documents and over epochs: of four
documents of factor 1/4 an epoch has one, and after four epochs each has been read once.

Shards are read in a new order each epoch, and the documents of a shard too. Documents of different shards do not mix
closer than that, so that memory is that of two shards' documents, whatever the source's size.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mimo_data.run import Record
from mimo_data.settings import check_numbers
from mimo_data.shards import Shard, Source

# Factors and draws are whole numbers of 2^-32: the copies are exact, on every machine.
_UNIT_BITS = 32
_MAX_FACTOR = 1000


class SamplingRule(Record, frozen=True):
    """Which documents are read how often in an epoch (§2.1: by domain and by scores)."""

    tag: str
    """One of tokenize.tags, such as `domain` or `quality`."""
    values: tuple[str, ...]
    """The rule is for documents whose tag is one of these; "" for those without it."""
    factor: float
    """Below 1 drops some of them, above 1 repeats them."""

    def __post_init__(self) -> None:
        check_numbers(self, factor=(0, _MAX_FACTOR))
        if not self.values:
            raise ValueError(f"the sampling rule for {self.tag} has no values, so it is for no document")


class SampledSource:
    """One source's epochs laid end to end without end."""

    def __init__(self, source: Source, rules: tuple[SamplingRule, ...], seed: int) -> None:
        self._shards = source.shards
        self._name = source.manifest.source
        self._seed = seed
        self._factors = [
            np.array([_factor(entry.tags, rules) for entry in shard.entry.classes], np.uint64) for shard in self._shards
        ]
        # Where every factor is whole, an epoch is like the other, and its size stands in the manifest.
        self._whole = all(not (factors & np.uint64((1 << _UNIT_BITS) - 1)).any() for factors in self._factors)
        self._sizes: list[list[int]] = []
        self._open_shard = lru_cache(maxsize=2)(self._shuffle)
        self._epoch_shards = lru_cache(maxsize=4)(self._order)
        self.available_tokens = source.manifest.num_tokens

    def num_tokens(self, num_epochs: float) -> int:
        """In so many epochs; a part of one counts as that part of its tokens."""
        whole = math.floor(num_epochs)
        total = sum(sum(self._sizes_of(epoch)) for epoch in range(whole)) if not self._whole else 0
        if self._whole:
            return math.floor(num_epochs * sum(self._sizes_of(0)))
        return total + math.floor((num_epochs - whole) * sum(self._sizes_of(whole)))

    def num_epochs(self, num_tokens: int) -> float:
        """That the first so many tokens take."""
        epoch, offset = self._epoch_at(num_tokens)
        return epoch + offset / max(1, sum(self._sizes_of(epoch)))

    def values_of(self, tag: str) -> set[str]:
        """The values of a tag that documents have, "" among them if some have none."""
        return {entry.tags.get(tag, "") for shard in self._shards for entry in shard.entry.classes}

    def shares_of(self, tag: str) -> dict[str, float]:
        """Share of an epoch's tokens by the value of a tag, on average over epochs."""
        tokens: dict[str, float] = {}
        for shard, factors in zip(self._shards, self._factors, strict=True):
            for entry, factor in zip(shard.entry.classes, factors.tolist(), strict=True):
                value = entry.tags.get(tag, "")
                tokens[value] = tokens.get(value, 0.0) + entry.num_tokens * factor
        total = sum(tokens.values())
        return {value: count / total for value, count in sorted(tokens.items())} if total else {}

    def read(self, position: int, count: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """`count` tokens from a position of the endless stream, and the documents that they belong to."""
        tokens = np.empty(count, dtype=np.uint32)
        document_ids = np.empty(count, dtype=np.int32)
        filled = document_id = 0
        while filled < count:
            epoch, offset = self._epoch_at(position + filled)
            order, starts = self._epoch_shards(epoch)
            place = bisect_right(starts, offset) - 1
            number = order[place]
            documents, ends = self._open_shard(epoch, number)
            offset -= starts[place]
            slot = int(np.searchsorted(ends, offset, side="right"))
            document = int(documents[slot])
            take = min(count - filled, int(ends[slot]) - offset)
            shard = self._shards[number]
            start = int(shard.document_ends[document]) - (int(ends[slot]) - offset)
            tokens[filled : filled + take] = shard.tokens[start : start + take]
            document_ids[filled : filled + take] = document_id
            filled += take
            document_id += 1
        return tokens, document_ids

    def _epoch_at(self, position: int) -> tuple[int, int]:
        """The epoch at a position, and the position in it."""
        if self._whole:
            return divmod(position, sum(self._sizes_of(0)))
        epoch = 0
        while position >= (size := sum(self._sizes_of(epoch))):
            position -= size
            epoch += 1
        return epoch, position

    def _sizes_of(self, epoch: int) -> list[int]:
        """Tokens of each shard in an epoch."""
        if self._whole:
            epoch = 0
        while len(self._sizes) <= epoch:
            self._sizes.append(
                [self._size(shard, number, len(self._sizes)) for number, shard in enumerate(self._shards)]
            )
        return self._sizes[epoch]

    def _size(self, shard: Shard, number: int, epoch: int) -> int:
        if self._whole:
            factors = (self._factors[number] >> np.uint64(_UNIT_BITS)).tolist()
            return sum(entry.num_tokens * factor for entry, factor in zip(shard.entry.classes, factors, strict=True))
        return int((self._copies(number, epoch) * _lengths(shard)).sum())

    def _copies(self, number: int, epoch: int) -> NDArray[np.int64]:
        """How often each document of a shard stands in an epoch."""
        shard, factors = self._shards[number], self._factors[number][self._shards[number].document_classes]
        unit = np.uint64(_UNIT_BITS)
        draws = _mixed(np.asarray(shard.document_keys) ^ np.uint64(self._seed % (1 << 64))) >> unit
        before = (factors * np.uint64(epoch) + draws) >> unit
        return ((factors * np.uint64(epoch + 1) + draws) >> unit).astype(np.int64) - before.astype(np.int64)

    def _order(self, epoch: int) -> tuple[list[int], list[int]]:
        """The shards in this epoch's order, and the position at which each begins; empty ones are left out."""
        sizes = self._sizes_of(epoch)
        order = [number for number in self._random(epoch, "shards").permutation(len(sizes)).tolist() if sizes[number]]
        return order, [0, *accumulate(sizes[number] for number in order)][:-1]

    def _shuffle(self, epoch: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A shard's documents in this epoch's order, and the position after each of them."""
        shard = self._shards[number]
        documents = np.repeat(np.arange(len(shard.document_ends)), self._copies(number, epoch))
        documents = documents[self._random(epoch, shard.entry.name).permutation(len(documents))]
        return documents, np.cumsum(_lengths(shard)[documents])

    def _random(self, epoch: int, what: str) -> np.random.RandomState:
        digest = hashlib.sha256(f"{self._seed}:{self._name}:{epoch}:{what}".encode()).digest()
        # RandomState is frozen by numpy's policy: the order is the same under every version.
        return np.random.RandomState(np.frombuffer(digest, dtype="<u4"))


def _factor(tags: dict[str, str], rules: tuple[SamplingRule, ...]) -> int:
    """The factors of all rules that are for a document of these tags, as one whole number of units."""
    factor = math.prod(rule.factor for rule in rules if tags.get(rule.tag, "") in rule.values)
    return round(min(factor, _MAX_FACTOR) * (1 << _UNIT_BITS))


def _lengths(shard: Shard) -> NDArray[np.int64]:
    """Tokens of each document, its end of text included."""
    return np.diff(np.asarray(shard.document_ends, dtype=np.int64), prepend=0)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit numbers in which every bit depends on every other (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
