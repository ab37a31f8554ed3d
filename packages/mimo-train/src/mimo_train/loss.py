"""Cross-entropy of the main head and of the MTP layers over packed documents (§2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

if TYPE_CHECKING:
    from mimo_train.trainer import Trainer

# Where logits are never held: float32 ones of one head are 18.5 GiB at 32,768 tokens and 151,680 words. On a CPU, where
# models are small, they are: a run there repeats to the bit what it was before there was another way.
_DEVICES_WITHOUT_LOGITS = frozenset({"cuda"})

IGNORED = -100
"""Target of a position that no loss counts (PyTorch's default `ignore_index`)."""


@dataclass(frozen=True)
class TokenBatch:
    """The sequences of one step. N = T + 1: the last token is only ever predicted."""

    tokens: Tensor
    """int64 [B, N]."""

    document_ids: Tensor
    """int64 [B, N]; attention, positions and targets stay within runs of one id."""

    trained: Tensor | None = None
    """bool [B, N]: which tokens count as targets; all when absent (fine-tuning counts responses only)."""

    def rows(self, start: int, stop: int) -> TokenBatch:
        """Sequences `start` to `stop`."""
        trained_BN = None if self.trained is None else self.trained[start:stop]
        return TokenBatch(self.tokens[start:stop], self.document_ids[start:stop], trained_BN)


@dataclass(frozen=True)
class HeadLosses:
    """Mean cross-entropy of each head over one step; None for a head that had nothing to predict."""

    main: float | None
    mtp: tuple[float | None, ...]
    """One per MTP layer."""

    num_targets: int
    """Tokens that the main head was asked for."""


def next_token_targets(batch: TokenBatch, num_ahead: int) -> Tensor:
    """What each position has to predict: x_{i + num_ahead}, or `IGNORED`.

    Ignored are positions whose target lies in another document or beyond the sequence, and targets that are
    not trained on. The token after a document's end-of-text is another document's, so nothing predicts it.

    Args:
        num_ahead: 1 for the main head, k + 1 for MTP layer k (k = 1, 2, 3).

    Returns:
        int64 [B, T].
    """
    counted_BN = batch.document_ids[:, num_ahead:] == batch.document_ids[:, :-num_ahead]
    if batch.trained is not None:
        counted_BN = counted_BN & batch.trained[:, num_ahead:]
    targets_BN = batch.tokens[:, num_ahead:].where(counted_BN, IGNORED)
    return F.pad(targets_BN, (0, num_ahead - 1), value=IGNORED)[:, : batch.tokens.shape[1] - 1]


def summed_cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Sum over the counted positions of -log p(target), in float32."""
    logits = logits_BTV.flatten(0, 1).float()
    return F.cross_entropy(logits, targets_BT.flatten(), ignore_index=IGNORED, reduction="sum")


def backward_batch(
    trainer: Trainer,
    batch: TokenBatch,
    *,
    weights: Sequence[float],
    micro_sequences: int | None,
    bfloat16: bool,
) -> HeadLosses:
    """Adds the gradient of Σ_heads weight · (mean cross-entropy of the head over the whole batch).

    The mean is over all counted tokens of the step, so the gradient is the same however many sequences pass
    through the model at a time, and however many processes share the batch, which each gets whole.

    Args:
        weights: of the main head, then of each MTP layer.
    """
    num_heads = len(weights)
    targets = [next_token_targets(batch, k + 1) for k in range(num_heads)]
    counts = [int((targets_BT != IGNORED).sum()) for targets_BT in targets]
    sums = torch.zeros(num_heads, device=trainer.device)
    if trainer.num_ranks > 1:
        batch, targets = _share(batch, targets, trainer.rank, trainer.num_ranks)
    num_sequences = len(batch.tokens)
    stride = micro_sequences or num_sequences
    for start in range(0, num_sequences, stride):
        rows = batch.rows(start, start + stride)
        rows_targets = [targets_BT[start : start + stride] for targets_BT in targets]
        losses = _head_losses(trainer, rows, rows_targets, bfloat16=bfloat16)
        terms = [w * s / n for w, s, n in zip(weights, losses, counts, strict=True) if w > 0 and n > 0]
        if terms:
            trainer.backward(torch.stack(terms).sum())
        sums += torch.stack(losses).detach()
    means = [s / n if n > 0 else None for s, n in zip(trainer.sum_over_ranks(sums).tolist(), counts, strict=True)]
    return HeadLosses(means[0], tuple(means[1:]), counts[0])


def _head_losses(trainer: Trainer, rows: TokenBatch, targets: list[Tensor], *, bfloat16: bool) -> list[Tensor]:
    """The summed loss of each head over these sequences."""
    inputs = {"input_ids": rows.tokens[:, :-1], "document_ids": rows.document_ids[:, :-1]}
    with torch.autocast(trainer.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        if trainer.device.type in _DEVICES_WITHOUT_LOGITS:
            output = trainer.model(**inputs, num_mtp_layers=len(targets) - 1, targets=targets)
            return [losses_BT.sum() for losses_BT in output.head_losses]
        output = trainer.model(**inputs, num_mtp_layers=len(targets) - 1)
    logits = [output.logits, *output.mtp_logits]
    return [
        summed_cross_entropy(logits_BTV, targets_BT) for logits_BTV, targets_BT in zip(logits, targets, strict=True)
    ]


def _share(batch: TokenBatch, targets: list[Tensor], rank: int, num_ranks: int) -> tuple[TokenBatch, list[Tensor]]:
    """One process's sequences and targets, as many as the others': all must take part in each exchange.

    Where the batch cannot be divided, its last sequence fills up, with nothing to predict.
    """
    num_sequences = len(batch.tokens)
    num_own = -(-num_sequences // num_ranks)
    own = torch.arange(rank * num_own, (rank + 1) * num_own, device=batch.tokens.device)
    rows = own.clamp(max=num_sequences - 1)
    shared = TokenBatch(batch.tokens[rows], batch.document_ids[rows])
    filler = (own >= num_sequences).unsqueeze(1)
    return shared, [targets_BT[rows].masked_fill(filler, IGNORED) for targets_BT in targets]
