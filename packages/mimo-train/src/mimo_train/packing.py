"""Prompts and responses as rows of tokens: several samples to a row, each attending only to itself (§3.1)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenSample:
    """One prompt with its response, as tokens."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    """Ends with the token that ends a response."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class PackedRow:
    """Samples end to end, then padding, at least one token of it: N = T + 1."""

    tokens: NDArray[np.int64]
    """[N]"""

    document_ids: NDArray[np.int64]
    """[N]; counts samples from 0; padding is a document of its own, with the next number."""

    trained: NDArray[np.bool_]
    """[N]; true on response tokens, the ending token among them."""

    num_samples: int

    def split(self) -> list[TokenSample]:
        """The samples of the row, in their order."""
        samples = []
        for document_id in range(self.num_samples):
            of_sample = self.document_ids == document_id
            tokens, trained = self.tokens[of_sample].tolist(), self.trained[of_sample]
            num_prompt_tokens = int((~trained).sum())
            samples.append(TokenSample(tuple(tokens[:num_prompt_tokens]), tuple(tokens[num_prompt_tokens:])))
        return samples


def pack(samples: Sequence[TokenSample], sequence_length: int, *, pad_token: int) -> list[PackedRow]:
    """Rows of `sequence_length` + 1 tokens that hold every sample once, whole (§3.1).

    Best fit, longest sample first, which in the worst case needs 11/9 of the fewest rows; the paper does not
    say how it packs. A row takes up to `sequence_length` tokens of samples.

    Raises:
        ValueError: a sample is empty or longer than `sequence_length`.
    """
    rows: list[list[TokenSample]] = []
    free: list[tuple[int, int]] = []  # tokens left in a row and its index, sorted
    for sample in sorted(samples, key=len, reverse=True):
        if not 0 < len(sample) <= sequence_length:
            raise ValueError(f"a sample of {len(sample)} tokens does not go into a row of {sequence_length}")
        fit = bisect_left(free, (len(sample), -1))
        if fit < len(free):
            left, row = free.pop(fit)
            rows[row].append(sample)
        else:
            left, row = sequence_length, len(rows)
            rows.append([sample])
        insort(free, (left - len(sample), row))
    return [_row(row, sequence_length, pad_token) for row in rows]


def _row(samples: Sequence[TokenSample], sequence_length: int, pad_token: int) -> PackedRow:
    tokens_N = np.full(sequence_length + 1, pad_token, dtype=np.int64)
    document_ids_N = np.full(sequence_length + 1, len(samples), dtype=np.int64)
    trained_N = np.zeros(sequence_length + 1, dtype=np.bool_)
    end = 0
    for document_id, sample in enumerate(samples):
        start, end = end, end + len(sample)
        tokens_N[start:end] = sample.prompt + sample.response
        document_ids_N[start:end] = document_id
        trained_N[end - len(sample.response) : end] = True
    return PackedRow(tokens_N, document_ids_N, trained_N, len(samples))
