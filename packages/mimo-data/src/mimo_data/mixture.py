"""A mixture of sources by tokens, and the endless-looking stream of training windows that it defines.

The stream has no state: window i is a function of the shards, the mixture and i alone, so training
resumes anywhere, and several readers agree without talking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from mimo_data.run import DataError, Record
from mimo_data.sampling import SampledSource, SamplingRule
from mimo_data.settings import check_number, check_numbers
from mimo_data.shards import open_shards

# Weights are compared as whole numbers of this unit, so that the order of sources is exact at any length.
_WEIGHT_UNIT = 1 << 40
_EPOCHS = (1e-6, 10_000)


class Mixture(Record, frozen=True):
    """How much of each source one stage of pre-training reads, and how often which of its documents (§2.1)."""

    weights: dict[str, float]
    """Share of the tokens by source; the shares sum to 1."""
    max_epochs: float
    """How often a source may be repeated; the stream ends before any source exceeds it."""
    seed: int
    """Of the order of documents within each source and epoch, and of which are drawn."""
    max_epochs_of: dict[str, float] = msgspec.field(default_factory=dict)
    """The same for single sources, where it differs."""
    sampling: tuple[SamplingRule, ...] = ()
    """Which documents an epoch holds less or more than once; the factors of all rules that fit one multiply."""

    def __post_init__(self) -> None:
        for source, weight in self.weights.items():
            check_number(f"weights.{source}", weight, 0, 1)
        total = math.fsum(self.weights.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the mixture's weights sum to {total:.6g}: change them to sum to 1")
        check_numbers(self, max_epochs=_EPOCHS)
        for source, epochs in self.max_epochs_of.items():
            check_number(f"max_epochs_of.{source}", epochs, *_EPOCHS)
        unknown = self.max_epochs_of.keys() - self.weights.keys()
        if unknown:
            raise ValueError(f"max_epochs_of names {', '.join(sorted(unknown))}, which weights does not")

    def epochs_of(self, source: str) -> float:
        """How often this source may be repeated."""
        return self.max_epochs_of.get(source, self.max_epochs)

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


@dataclass(frozen=True)
class Share:
    """What one source gives to the first windows of a stream."""

    source: str
    weight: float
    """The share that was asked for."""
    num_tokens: int
    num_epochs: float
    """Of the source as it is sampled."""
    max_epochs: float
    available_tokens: int
    """In its shards, each document once."""
    epoch_tokens: int
    """In its first epoch, as it is sampled."""


class TokenStream:
    """Random access to the windows of a mixture.

    Window i belongs to one source. The k-th window of a source of weight w has its ideal place at
    (k + 1/2) / w; windows are read in the order of these places. At every prefix of n windows each source
    has had n·w windows, give or take half the number of sources.

    Attributes:
        bound: the source whose epochs end the stream.
    """

    def __init__(self, mixture: Mixture, folder: Path, sequence_length: int) -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length must be at least 1, not {sequence_length}")
        shards = open_shards(folder)
        self._mixture = mixture
        self._length = sequence_length
        self._names = sorted(name for name, weight in mixture.weights.items() if weight > 0)
        missing = [name for name in self._names if name not in shards.sources]
        if missing:
            raise DataError(
                f"{folder}: no shard for {', '.join(missing)} of the mixture; it has {', '.join(shards.sources)}. "
                "Change the weights, or tokenize that source too."
            )
        self._sources = [SampledSource(shards.sources[name], mixture.sampling, mixture.seed) for name in self._names]
        self._weights = [max(1, round(mixture.weights[name] * _WEIGHT_UNIT)) for name in self._names]
        self._total = sum(self._weights)
        product = math.prod(self._weights)
        self._strides = [product // weight for weight in self._weights]
        capacities = []
        for name, source in zip(self._names, self._sources, strict=True):
            num_tokens = source.num_tokens(mixture.epochs_of(name))
            capacities.append(max(0, num_tokens - 1) // sequence_length)
            if capacities[-1] == 0:
                raise DataError(
                    f"{folder / name}: {num_tokens} tokens in {mixture.epochs_of(name):g} epochs are too few for one "
                    f"window of {sequence_length}. Add text, lower sequence_length or raise max_epochs or sampling."
                )
        ranks = [self._rank(s, capacity) for s, capacity in enumerate(capacities)]
        self._num_windows = min(ranks)
        self.bound = self._names[ranks.index(self._num_windows)]

    def __len__(self) -> int:
        """Windows before some source would exceed its epochs."""
        return self._num_windows

    def __getitem__(self, index: int) -> Window:
        if not 0 <= index < self._num_windows:
            raise IndexError(f"window {index} of a stream of {self._num_windows}")
        s, counts = self._locate(index)
        tokens, document_ids = self._sources[s].read(counts[s] * self._length, self._length + 1)
        return Window(tokens, document_ids, self._names[s])

    def __iter__(self) -> Iterator[Window]:
        for index in range(self._num_windows):
            yield self[index]

    def shares(self, num_windows: int) -> list[Share]:
        """What each source gives to the first windows, however many the stream has."""
        if num_windows < 1:
            raise ValueError(f"num_windows must be at least 1, not {num_windows}")
        s, counts = self._locate(num_windows - 1)
        counts[s] += 1
        return [
            Share(
                source=name,
                weight=self._mixture.weights[name],
                num_tokens=count * self._length,
                num_epochs=source.num_epochs(count * self._length),
                max_epochs=self._mixture.epochs_of(name),
                available_tokens=source.available_tokens,
                epoch_tokens=source.num_tokens(1),
            )
            for name, source, count in zip(self._names, self._sources, counts, strict=True)
        ]

    def shares_of(self, tag: str) -> dict[str, float]:
        """Share of the stream's tokens by the value of a tag, "" for documents without it."""
        shares: dict[str, float] = {}
        for name, source in zip(self._names, self._sources, strict=True):
            for value, share in source.shares_of(tag).items():
                shares[value] = shares.get(value, 0.0) + self._mixture.weights[name] * share
        return dict(sorted(shares.items()))

    def values_of(self, tag: str) -> set[str]:
        """The values of a tag that documents of the sources have, "" among them if some have none."""
        return set().union(*(source.values_of(tag) for source in self._sources))

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

    def _locate(self, index: int) -> tuple[int, list[int]]:
        """Source s and the windows that each source has had, such that `_rank(s, counts[s]) == index`."""
        # A point that surely lies before window `index`, from where the sources are merged step by step.
        start = max(0, index - len(self._names))
        counts = [(2 * start * weight + self._total) // (2 * self._total) for weight in self._weights]
        while True:
            s = min(range(len(counts)), key=lambda r: self._place(r, counts[r]))
            if sum(counts) == index:
                return s, counts
            counts[s] += 1
