"""The state of the running requests, as tensors that a round reads and writes.

Shapes: S slots, C places of a slot, M MTP layers that may draft, D hidden. Row b of the first B rows is a running
request, whose keys and values are in slot b of the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mimo_model.model import MiMoForCausalLM

RUNNING, STOP, LENGTH = 0, 1, 2
"""What `Rows.report` says of a request after a round."""

FINISH, NUM_NEW, NUM_ACCEPTED, FIRST_TOKEN = range(4)
"""Columns of `Rows.report`."""


@dataclass
class Rows:
    """Slots of requests; every tensor's first dimension is S."""

    tokens: Tensor
    """int64 [S, C]: prompt, then what was generated, then the drafts of the round."""

    num_tokens: Tensor
    """int64 [S]: prompt and accepted tokens, x_0 … x_n; the main cache holds all but x_n."""

    max_tokens: Tensor
    """int64 [S]: where the request's length limit ends it, prompt included."""

    hidden: Tensor
    """[S, C, D]: h_i of every position before n, for the MTP layers; C is 0 where none drafts."""

    filled: Tensor
    """int64 [S, M]: so many entries of layer k's cache stand on the request's true tokens."""

    report: Tensor
    """int64 [S, 3 + M + 1]: finish, how many new tokens count, how many drafts were accepted, then the tokens."""

    logprobs: Tensor
    """float32 [S, M + 1]: of the new tokens."""

    seed: Tensor
    temperature: Tensor
    """float32 [S]; 0 for greedy."""

    top_p: Tensor
    top_k: Tensor

    @classmethod
    def empty(cls, model: MiMoForCausalLM, max_drafts: int, device: torch.device) -> Rows:
        """No slots yet."""

        def integers(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.int64, device=device)

        def floats(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float32, device=device)

        return cls(
            tokens=integers(0, 0),
            num_tokens=integers(0),
            max_tokens=integers(0),
            hidden=floats(0, 0, model.config.hidden_size).to(model.lm_head.weight.dtype),
            filled=integers(0, max_drafts),
            report=integers(0, FIRST_TOKEN + max_drafts + 1),
            logprobs=floats(0, max_drafts + 1),
            seed=integers(0),
            temperature=floats(0),
            top_p=floats(0),
            top_k=integers(0),
        )

    def reserve(self, num_slots: int, num_places: int) -> None:
        """Grows to that many slots and places; what was there stays."""
        for field in fields(self):
            old: Tensor = getattr(self, field.name)
            shape = [num_slots, *old.shape[1:]]
            if field.name == "tokens" or (field.name == "hidden" and self.filled.shape[1]):
                shape[1] = num_places
            # Slots that hold no request take part in recorded rounds: as two tokens, the least that a round starts
            # from, at their limit.
            new = old.new_full(shape, 2 if field.name in ("num_tokens", "max_tokens") else 0)
            new[tuple(slice(size) for size in old.shape)] = old
            setattr(self, field.name, new)

    def release(self, start: int, stop: int) -> None:
        """Leaves something harmless in rows that hold no request any more."""
        self.num_tokens[start:stop] = 2
        self.max_tokens[start:stop] = 2
        self.filled[start:stop] = 0

    def move(self, target: list[int], source: list[int]) -> None:
        """Overwrites the target rows with the source rows."""
        for field in fields(self):
            tensor: Tensor = getattr(self, field.name)
            tensor[target] = tensor[source]
