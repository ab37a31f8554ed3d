"""What a training command reads from its TOML recipe."""

from __future__ import annotations

from typing import Literal

from mimo_data import Mixture
from mimo_train.schedule import LR_BOUNDS, Batch, MTPWeight, Record, Schedule, check_numbers

DType = Literal["float32", "bfloat16"]


class Optimizer(Record, frozen=True, kw_only=True):
    """AdamW (§2.3). Norm weights and biases do not decay; the paper does not say which parameters do."""

    beta1: float = 0.9
    """Decay of the gradient's mean (§2.3)."""

    beta2: float = 0.95
    """Decay of the gradient's square (§2.3)."""

    epsilon: float = 1e-8
    """Added to the root of the second moment; not in the report."""

    weight_decay: float = 0.1
    """Decoupled decay of matrices (§2.3)."""

    clip_norm: float = 1.0
    """Largest norm of the whole gradient (§2.3)."""

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError("beta1 and beta2 must lie in [0, 1)")
        check_numbers(self, epsilon=(1e-20, 1.0), weight_decay=(0, 100), clip_norm=(1e-9, 1e9))


class Distributed(Record, frozen=True, kw_only=True):
    """Several processes, started by torchrun, that share each step's sequences through DeepSpeed."""

    zero_stage: Literal[1, 2, 3]
    """What is in parts: 1 AdamW's moments, 2 also gradients, 3 also weights."""


class PretrainRecipe(Record, frozen=True, kw_only=True):
    """One stage of pre-training (§2.3)."""

    rope_theta: float
    """RoPE base; written into the checkpoint."""

    schedule: Schedule
    batch: Batch
    mixture: Mixture
    """Sources and their shares by tokens (§2.1)."""

    mtp: MTPWeight
    optimizer: Optimizer = Optimizer()

    continue_optimizer: bool = False
    """Start from AdamW's moments in the checkpoint's `state/`, so that stages are one run; else from zero."""

    save_every_steps: int = 1000
    """Steps between two training states, which are what a killed run resumes from."""

    dtype: DType = "float32"
    """Of the matrix products; weights and moments stay float32."""

    distributed: Distributed | None = None
    """One process when absent."""

    def __post_init__(self) -> None:
        check_numbers(self, rope_theta=(1, 10**12))
        _check(self.save_every_steps, self.schedule, self.batch)


class SFTRecipe(Record, frozen=True, kw_only=True):
    """Supervised fine-tuning on prompts and responses (§3.1)."""

    lr: float
    """Constant learning rate."""

    num_epochs: int
    """Passes over the samples."""

    batch: Batch
    """Samples are packed to `sequence_length`; there is no batch warm-up."""

    mtp: MTPWeight
    optimizer: Optimizer = Optimizer()

    max_responses_per_prompt: int = 8
    """Further responses to the same prompt are dropped (§3.1)."""

    seed: int = 0
    """Of the order of samples."""

    save_every_steps: int = 1000
    """Steps between two training states."""

    dtype: DType = "float32"
    """Of the matrix products; weights and moments stay float32."""

    distributed: Distributed | None = None
    """One process when absent."""

    def __post_init__(self) -> None:
        _check(self.save_every_steps)
        check_numbers(
            self,
            lr=LR_BOUNDS,
            num_epochs=(1, 10**6),
            max_responses_per_prompt=(1, 10**9),
            seed=(0, 2**32 - 1),  # what NumPy's RandomState takes
        )
        if self.batch.warmup_tokens:
            raise ValueError("fine-tuning has no batch warm-up: remove batch.warmup_tokens")


class MTPRecipe(Record, frozen=True, kw_only=True):
    """Tuning of the copied MTP layers, everything else frozen (§2.2)."""

    num_layers: int
    """MTP layers in the result; a checkpoint with one layer has it copied first."""

    schedule: Schedule
    batch: Batch
    mixture: Mixture
    optimizer: Optimizer = Optimizer()

    save_every_steps: int = 1000
    """Steps between two training states."""

    dtype: DType = "float32"
    """Of the matrix products; weights and moments stay float32."""

    distributed: Distributed | None = None
    """One process when absent."""

    def __post_init__(self) -> None:
        _check(self.save_every_steps, self.schedule, self.batch)
        if self.num_layers < 2:
            raise ValueError("num_layers must be at least 2: the first layer is not tuned")


def _check(save_every_steps: int, schedule: Schedule | None = None, batch: Batch | None = None) -> None:
    if save_every_steps < 1:
        raise ValueError("save_every_steps must be at least 1")
    if schedule is not None and batch is not None and schedule.total_tokens < batch.sequence_length:
        raise ValueError("the schedule is shorter than one sequence: lengths are in tokens")
