"""What the learning rate, the batch and the MTP weight are after a number of tokens (§2.3).

Training length is counted in tokens of the stage, never in steps, so that a schedule means the same at
every batch size. A run of several stages is one `Schedule` after another: each counts from zero.
"""

from __future__ import annotations

import math

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every recipe and record of this package: immutable, and strict about unknown keys."""


def check_numbers(settings: Record, **bounds: tuple[float, float]) -> None:
    """Checks fields that hold numbers, or None, against their least and greatest value.

    Raises:
        ValueError: a number lies outside of its bounds, or is not a number (nan).
    """
    for key, (least, most) in bounds.items():
        value = getattr(settings, key)
        # Not `value < least or value > most`, which nan would pass.
        if value is not None and not least <= value <= most:
            raise ValueError(f"{key} is {value}, but must lie between {least:_} and {most:_}")


LR_BOUNDS = (1e-12, 1.0)
"""Of a learning rate that trains: AdamW moves each weight by about as much in a step."""


class Schedule(Record, frozen=True, kw_only=True):
    """Learning rate of one stage: linear from zero, constant, cosine; any of the three may be empty."""

    peak_lr: float
    """Rate after the warm-up and through the constant part."""

    final_lr: float | None = None
    """Rate at the end of the cosine; given exactly when there is a cosine."""

    warmup_tokens: int = 0
    """Tokens over which the rate rises linearly from zero."""

    constant_tokens: int = 0
    """Tokens at the peak rate."""

    cosine_tokens: int = 0
    """Tokens over which the rate falls to the final one along half a cosine."""

    def __post_init__(self) -> None:
        check_numbers(self, peak_lr=LR_BOUNDS, final_lr=(0.0, LR_BOUNDS[1]))
        if min(self.warmup_tokens, self.constant_tokens, self.cosine_tokens) < 0:
            raise ValueError("warmup_tokens, constant_tokens and cosine_tokens must not be negative")
        if (self.cosine_tokens > 0) != (self.final_lr is not None):
            raise ValueError("final_lr belongs to a cosine: give it together with cosine_tokens, or neither")
        if self.total_tokens == 0:
            raise ValueError("the schedule is empty: give warmup_tokens, constant_tokens or cosine_tokens")

    @property
    def total_tokens(self) -> int:
        """Length of the stage."""
        return self.warmup_tokens + self.constant_tokens + self.cosine_tokens

    def lr(self, tokens: int) -> float:
        """Rate once `tokens` of this stage have been seen; the last rate holds for ever after.

        A step uses the count that includes its own tokens, so the first step already moves and the last one
        ends on `final_lr`. The paper does not say where within a step it reads its schedule.
        """
        if tokens < self.warmup_tokens:
            return self.peak_lr * tokens / self.warmup_tokens
        past_constant = tokens - self.warmup_tokens - self.constant_tokens
        if self.final_lr is None or past_constant <= 0:
            return self.peak_lr
        fraction = min(1.0, past_constant / self.cosine_tokens)
        return self.final_lr + (self.peak_lr - self.final_lr) * (1 + math.cos(math.pi * fraction)) / 2


class Batch(Record, frozen=True, kw_only=True):
    """How many sequences of what length go into one step."""

    sequence_length: int
    """Tokens in a sequence."""

    num_sequences: int
    """Sequences in a step, after the warm-up."""

    initial_sequences: int | None = None
    """Sequences in the very first step; given exactly when there is a warm-up."""

    warmup_tokens: int = 0
    """Tokens over which the number of sequences grows linearly."""

    micro_sequences: int | None = None
    """Sequences that pass through the model at a time; all of a step when absent. It changes memory use, and
    the result by rounding only."""

    def __post_init__(self) -> None:
        if self.sequence_length < 1 or self.num_sequences < 1 or self.warmup_tokens < 0:
            raise ValueError("sequence_length and num_sequences must be at least 1, warmup_tokens at least 0")
        if (self.warmup_tokens > 0) != (self.initial_sequences is not None):
            raise ValueError("initial_sequences belongs to a batch warm-up: give it with warmup_tokens, or neither")
        if self.initial_sequences is not None and not 1 <= self.initial_sequences <= self.num_sequences:
            raise ValueError("initial_sequences must lie between 1 and num_sequences")
        if self.micro_sequences is not None and self.micro_sequences < 1:
            raise ValueError("micro_sequences must be at least 1")

    @property
    def step_tokens(self) -> int:
        """Tokens in a step, after the warm-up."""
        return self.sequence_length * self.num_sequences

    def sequences_after(self, tokens: int) -> int:
        """Sequences in the step that begins when `tokens` of this stage have been seen; rounded down."""
        if self.initial_sequences is None or tokens >= self.warmup_tokens:
            return self.num_sequences
        growth = (self.num_sequences - self.initial_sequences) * tokens // self.warmup_tokens
        return self.initial_sequences + growth


class MTPWeight(Record, frozen=True, kw_only=True):
    """Weight of the MTP loss in the total (§2.3: 0.3 for the first 10.3T tokens, then 0.1)."""

    weight: float
    """Weight from the start of the stage."""

    later_weight: float | None = None
    """Weight from `switch_tokens` on; given exactly when the weight changes within the stage."""

    switch_tokens: int | None = None
    """Tokens of this stage after which `later_weight` holds."""

    def __post_init__(self) -> None:
        if (self.later_weight is None) != (self.switch_tokens is None):
            raise ValueError("later_weight and switch_tokens belong together: give both, or neither")
        check_numbers(self, weight=(0, 100), later_weight=(0, 100))

    def after(self, tokens: int) -> float:
        """Weight in the step that begins when `tokens` of this stage have been seen."""
        if self.later_weight is None or self.switch_tokens is None or tokens < self.switch_tokens:
            return self.weight
        return self.later_weight
