"""What of a document the student reads: a few windows, and batches of windows of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mimo_data.tag.passages import cut

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
