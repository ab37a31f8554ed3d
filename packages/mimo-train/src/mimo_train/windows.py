"""The windows of one stage, step by step (§2.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mimo_data import Mixture
from mimo_model import MiMoForCausalLM
from mimo_train.errors import TrainError
from mimo_train.loss import TokenBatch
from mimo_train.position import Position
from mimo_train.schedule import Batch


class StageWindows:
    """The first `total_tokens` tokens of a mixture's stream, in steps of the batch's size.

    Raises:
        DataError: a shard is missing or truncated.
        TrainError: some source would be repeated more often than the mixture allows.
    """

    def __init__(self, mixture: Mixture, shards: Path, batch: Batch, total_tokens: int) -> None:
        self._stream = mixture.stream(shards, batch.sequence_length)
        self._shards = shards
        self._batch = batch
        self._num_sequences = total_tokens // batch.sequence_length
        if len(self._stream) < self._num_sequences:
            raise TrainError(
                f"{shards}: gives {len(self._stream) * batch.sequence_length:,} tokens of this mixture in "
                f"{mixture.max_epochs:g} epochs, but the schedule needs {total_tokens:,}. "
                "Add text, change the weights, raise mixture.max_epochs or shorten the schedule."
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of the stage, in whole sequences."""
        return self._num_sequences * self._batch.sequence_length

    def read(self, position: Position, device: torch.device, network: MiMoForCausalLM) -> tuple[TokenBatch, Position]:
        """The batch of the step that begins at `position`, and the position after it.

        The last step takes what is left, however little.

        Raises:
            TrainError: a token is not in the network's vocabulary.
        """
        first = position.num_sequences
        last = min(first + self._batch.sequences_after(position.tokens), self._num_sequences)
        windows = [self._stream[index] for index in range(first, last)]
        tokens_BN = np.stack([window.tokens for window in windows]).astype(np.int64)
        document_ids_BN = np.stack([window.document_ids for window in windows]).astype(np.int64)
        vocab_size = network.config.vocab_size
        if tokens_BN.max() >= vocab_size:
            raise TrainError(
                f"{self._shards}: holds token id {tokens_BN.max()}, but {network.config.name_or_path}/config.json has "
                f"vocab_size {vocab_size}: run `mimo-data tokenize` with this checkpoint's tokenizer."
            )
        tokens_by_source = dict(position.tokens_by_source)
        for window in windows:
            tokens_by_source[window.source] = tokens_by_source.get(window.source, 0) + self._batch.sequence_length
        batch = TokenBatch(torch.from_numpy(tokens_BN).to(device), torch.from_numpy(document_ids_BN).to(device))
        tokens = last * self._batch.sequence_length
        after = Position(step=position.step + 1, num_sequences=last, tokens=tokens, tokens_by_source=tokens_by_source)
        return batch, after
