"""A mixture of sources by tokens, and the endless-looking stream of training windows that it defines.

The stream has no state: window i is a function of the shards, the mixture and i alone, so training
resumes anywhere, and several readers agree without talking.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mimo_data.run import DataError, Record
from mimo_data.shards import Shard, open_shards

# Weights are compared as whole numbers of this unit, so that the order of sources is exact at any length.
_WEIGHT_UNIT = 1 << 40


class Mixture(Record, frozen=True):
    """How much of each source one stage of pre-training reads (§2.1)."""

    weights: dict[str, float]
    """Share of the tokens by source; the shares sum to 1."""
    max_epochs: float
    """How often a source may be repeated; the stream ends before any source exceeds it."""
    seed: int
    """Of the order of documents within each source and epoch."""

    def __post_init__(self) -> None:
        total = math.fsum(self.weights.values())
        if any(not 0 <= weight <= 1 for weight in self.weights.values()) or abs(total - 1) > 1e-6:
            raise ValueError(f"mixture weights must lie in [0, 1] and sum to 1; they sum to {total:.6g}")
        if self.max_epochs <= 0:
            raise ValueError(f"max_epochs must be positive, not {self.max_epochs}")

    def stream(self, folder: Path, sequence_length: int) -> TokenStream:
        """The training windows of this mixture over the shards in `folder`.

        Raises:
            DataError: a weighted source has no shard, or too few tokens for a single window.
        """
        return TokenStream(self, folder, sequence_length)


@dataclass(frozen=True)
class Window:
    """One training sequence: T inputs and, shifted by one, T targets."""

    tokens: NDArray[np.uint32]
    """[T+1]; the last token of a source's window is the first of its next one."""
    document_ids: NDArray[np.int32]
    """[T+1]; counts documents from 0 within the window, an end-of-text token belonging to its document."""
    source: str


class TokenStream:
    """Random access to the windows of a mixture.

    Window i belongs to one source. The k-th window of a source of weight w has its ideal place at
    (k + 1/2) / w; windows are read in the order of these places. At every prefix of n windows each source
    has had n·w windows, give or take half the number of sources.
    """

    def __init__(self, mixture: Mixture, folder: Path, sequence_length: int) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length must be at least 1, not {sequence_length}")
        shards = open_shards(folder)
        self._length = sequence_length
        self._names = sorted(name for name, weight in mixture.weights.items() if weight > 0)
        missing = [name for name in self._names if name not in shards.sources]
        if missing:
            raise DataError(
                f"{folder}: no shard for {', '.join(missing)} of the mixture; it has {', '.join(shards.sources)}. "
                "Change the weights, or tokenize that source too."
            )
        self._sources = [_SourceStream(shards.sources[name], name, mixture.seed) for name in self._names]
        self._weights = [max(1, round(mixture.weights[name] * _WEIGHT_UNIT)) for name in self._names]
        self._total = sum(self._weights)
        product = math.prod(self._weights)
        self._strides = [product // weight for weight in self._weights]
        capacities = [
            max(0, math.floor(mixture.max_epochs * source.num_tokens) - 1) // sequence_length
            for source in self._sources
        ]
        for name, source, capacity in zip(self._names, self._sources, capacities, strict=True):
            if capacity == 0:
                raise DataError(
                    f"{folder / name}: {source.num_tokens} tokens are too few for one window of {sequence_length} "
                    f"at max_epochs = {mixture.max_epochs}. Add text, lower sequence_length or raise max_epochs."
                )
        self._num_windows = min(self._rank(s, capacity) for s, capacity in enumerate(capacities))

    def __len__(self) -> int:
        """Windows before some source would exceed its epochs."""
        return self._num_windows

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < self._num_windows:
            raise IndexError(f"window {index} of a stream of {self._num_windows}")
        s, k = self._locate(index)
        tokens, document_ids = self._sources[s].read(k * self._length, self._length + 1)
        return Window(tokens, document_ids, self._names[s])

    def __iter__(self) -> Iterator[Window]:
        for index in range(self._num_windows):
            yield self[index]

    def _place(self, s: int, k: int) -> tuple[int, int]:
        return (2 * k + 1) * self._strides[s], s

    def _rank(self, s: int, k: int) -> int:
        """How many windows come before the k-th one of source s."""
        place, _ = self._place(s, k)
        rank = 0
        for r, stride in enumerate(self._strides):
            # Windows j of source r with (2j + 1)·stride < place; equal places go to the earlier source.
            below = place if r < s else place - 1
            rank += (below // stride + 1) // 2
        return rank

    def _locate(self, index: int) -> tuple[int, int]:
        """Source s and number k such that `_rank(s, k) == index`."""
        # A point that surely lies before window `index`, from where the sources are merged step by step.
        start = max(0, index - len(self._names))
        counts = [(2 * start * weight + self._total) // (2 * self._total) for weight in self._weights]
        while True:
            s = min(range(len(counts)), key=lambda r: self._place(r, counts[r]))
            if sum(counts) == index:
                return s, counts[s]
            counts[s] += 1


class _SourceStream:
    """One source's documents, shuffled anew each epoch and laid end to end without end."""

    def __init__(self, shard: Shard, name: str, seed: int) -> None:
        self._tokens = shard.tokens
        self._ends = shard.document_ends
        self._name = name
        self._seed = seed
        self.num_tokens = len(shard.tokens)
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def read(self, position: int, count: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
        """`count` tokens from a position of the endless stream, and the documents that they belong to."""
        tokens = np.empty(count, dtype=np.uint32)
        document_ids = np.empty(count, dtype=np.int32)
        filled = document_id = 0
        while filled < count:
            epoch, offset = divmod(position + filled, self.num_tokens)
            order, ends = self._epoch(epoch)
            slot = int(np.searchsorted(ends, offset, side="right"))
            document = int(order[slot])
            take = min(count - filled, int(ends[slot]) - offset)
            start = int(self._ends[document]) - (int(ends[slot]) - offset)
            tokens[filled : filled + take] = self._tokens[start : start + take]
            document_ids[filled : filled + take] = document_id
            filled += take
            document_id += 1
        return tokens, document_ids

    def _shuffle(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Documents in this epoch's order, and the position after each of them."""
        digest = hashlib.sha256(f"{self._seed}:{self._name}:{epoch}".encode()).digest()
        # RandomState is frozen by numpy's policy: the order is the same under every version.
        order = np.random.RandomState(np.frombuffer(digest, dtype="<u4")).permutation(len(self._ends))
        lengths = np.diff(np.asarray(self._ends, dtype=np.int64), prepend=0)
        return order, np.cumsum(lengths[order])
