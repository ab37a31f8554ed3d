"""What of a document the student reads: a few windows, and batches of windows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

# A window of text is cut this long before it is tokenized: mathematics and code have about three characters a token.
_CHARACTERS_PER_TOKEN = 3


Windows = list[list[int]]
"""Token ids of the windows of one document."""


class Batch(NamedTuple):
    """Windows padded to one length."""

    input_ids: Tensor
    """int64 [B, T]"""
    attention_mask: Tensor
    """int64 [B, T], one where there is a token."""
    owners: Tensor
    """int64 [B], the document of each window."""


def cut(text: str, num_windows: int, window_characters: int) -> list[str]:
    """A short text whole; of a long one, windows at even distances: its head, its tail, and the middle between them.

    The work for a document is bounded however long it is. What lies between the windows is not read.
    """
    surplus = len(text) - window_characters
    if surplus <= 0:
        return [text]
    if num_windows == 1:
        return [text[:window_characters]]
    count = min(num_windows, -(-len(text) // window_characters))
    starts = [surplus * number // (count - 1) for number in range(count)]
    return [text[start : start + window_characters] for start in starts]


def tokenize(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, num_windows: int, window_tokens: int
) -> list[Windows]:
    """The windows of each text, at most `window_tokens` long each."""
    parts = [cut(text, num_windows, window_tokens * _CHARACTERS_PER_TOKEN) for text in texts]
    flat = [window for windows in parts for window in windows]
    encoded = tokenizer(flat, truncation=True, max_length=window_tokens, return_attention_mask=False)["input_ids"]
    # An empty document is one padding token, so that it has a prediction, too.
    remaining = iter([list(ids) or [int(tokenizer.pad_token_id)] for ids in encoded])
    return [[next(remaining) for _ in windows] for windows in parts]


def batches(documents: Sequence[Windows], *, batch_tokens: int, pad_id: int) -> Iterator[Batch]:
    """All windows, shortest first, in batches of at most `batch_tokens` with padding; a longer one is alone."""
    windows = [(len(ids), owner, ids) for owner, document in enumerate(documents) for ids in document]
    chosen: list[tuple[int, int, list[int]]] = []
    for window in sorted(windows):
        if chosen and window[0] * (len(chosen) + 1) > batch_tokens:
            yield _pad(chosen, pad_id)
            chosen = []
        chosen.append(window)
    if chosen:
        yield _pad(chosen, pad_id)


def _pad(chosen: list[tuple[int, int, list[int]]], pad_id: int) -> Batch:
    longest = chosen[-1][0]
    return Batch(
        torch.tensor([ids + [pad_id] * (longest - length) for length, _, ids in chosen]),
        torch.tensor([[1] * length + [0] * (longest - length) for length, _, _ in chosen]),
        torch.tensor([owner for _, owner, _ in chosen]),
    )
