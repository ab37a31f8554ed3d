"""What `mimo-rl train` and `mimo-rl curate` read from their TOML recipes."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import msgspec

from mimo_train import Optimizer


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of this package's records and recipes: immutable, and strict about unknown keys."""


class Batch(Record, frozen=True, kw_only=True):
    """How many problems and responses make a step (§3.3.3)."""

    num_problems: int
    """Groups that a step trains on: the report's batch size, which it does not say is counted in problems."""

    num_responses: int
    """Responses in a group, the G of Eq. 1."""

    mini_batch_problems: int
    """Groups per gradient update. Equal to `num_problems`, the step is on-policy (§3.6)."""

    def __post_init__(self) -> None:
        if self.num_problems < 1 or self.num_responses < 2:
            raise ValueError("num_problems must be at least 1 and num_responses at least 2")
        if self.num_problems % self.mini_batch_problems:
            raise ValueError(
                f"num_problems {self.num_problems} is not a multiple of mini_batch_problems {self.mini_batch_problems}"
            )


class Budget(Record, frozen=True, kw_only=True):
    """The longest sequence from one step on (§3.3.3; growing in §3.6)."""

    from_step: int
    """First step, counted from 1."""

    sequence_length: int
    """Tokens of prompt and response together."""


class Generation(Record, frozen=True, kw_only=True):
    """How responses are sampled."""

    temperature: float = 1.0
    """§3.3.3."""

    top_p: float = 1.0
    """§3.3.3."""

    num_drafts: int = 0
    """MTP layers that draft; drafting changes the speed and not the distribution."""

    max_batch_size: int = 256
    """Responses that are decoded together."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must be positive and top_p in (0, 1]: RL learns from differing responses")


class DynamicSampling(Record, frozen=True, kw_only=True):
    """Drawing problems until the batch is full of groups that teach something (§3.3)."""

    easy_probability: float = 0.1
    """Probability that a draw comes from the easy-data pool: the report's α (§3.3.2)."""

    oversampling: float = 1.0
    """Problems drawn in a round for each group that is still missing; not in the report."""

    max_rounds: int = 8
    """Rounds after which a step trains on the groups that it has; not in the report."""

    def __post_init__(self) -> None:
        if not 0 <= self.easy_probability <= 1 or self.oversampling < 1 or self.max_rounds < 1:
            raise ValueError("easy_probability must lie in [0, 1]; oversampling and max_rounds are at least 1")


class Judge(Record, frozen=True, kw_only=True):
    """Limits of one test of a code problem, and how many run at a time; none is in the report."""

    num_workers: int = 2
    cpu_s: float = 5.0
    wall_s: float = 15.0
    """A backstop for programs that wait."""

    memory_bytes: int = 512 * 2**20


class RLRecipe(Record, frozen=True, kw_only=True):
    """Reinforcement learning with verifiable rewards (§3.3)."""

    num_steps: int
    """Rounds of rollout and update."""

    lr: float
    """Constant learning rate (§3.3.3)."""

    clip_low: float
    """ε_low of Eq. 1."""

    clip_high: float
    """ε_high of Eq. 1, above ε_low: clip-higher."""

    code_reward: Literal["strict", "soft"]
    """How the levels of a code problem's tests are paid (§3.3.1). Problems without levels have one: strict
    then means all or nothing."""

    batch: Batch
    budget: tuple[Budget, ...]
    generation: Generation = Generation()
    sampling: DynamicSampling = DynamicSampling()
    optimizer: Optimizer = Optimizer()
    judge: Judge = Judge()

    micro_batch_tokens: int = 16_384
    """Padded tokens of one forward and backward pass: memory only, the update is the same."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the update's matrix products; weights, moments and generation stay float32."""

    seed: int = 0
    """Of the draws of problems and of every response."""

    save_every_steps: int = 10
    """Steps between two training states, which are what a killed run resumes from."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.lr <= 0 or self.micro_batch_tokens < 1 or self.save_every_steps < 1:
            raise ValueError("num_steps, lr, micro_batch_tokens and save_every_steps must be positive")
        if not 0 < self.clip_low < 1 or self.clip_high <= 0:
            raise ValueError("clip_low must lie in (0, 1) and clip_high be positive")
        if not self.budget or self.budget[0].from_step != 1:
            raise ValueError("the first [[budget]] must have from_step = 1")
        if any(a.from_step >= b.from_step for a, b in pairwise(self.budget)):
            raise ValueError("each [[budget]] must start at a later step than the one before")

    def sequence_length(self, step: int) -> int:
        """Longest sequence of a step, counted from 1."""
        return next(b.sequence_length for b in reversed(self.budget) if b.from_step <= step)


class CurateRecipe(Record, frozen=True, kw_only=True):
    """Choosing problems to train on by how often models solve them (§3.2)."""

    sequence_length: int
    """Tokens of prompt and response together."""

    num_rollouts: int = 16
    """Responses per problem and model (§3.2)."""

    max_pass_rate: float = 0.9
    """Mathematics problems solved more often by the first model are dropped (§3.2)."""

    level_cuts: tuple[float, ...] = (0.7, 0.3)
    """Pass rates between the difficulty levels of tests; see `difficulty_levels`."""

    generation: Generation = Generation()
    judge: Judge = Judge()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_rollouts < 1 or not 0 < self.max_pass_rate <= 1:
            raise ValueError("num_rollouts must be at least 1 and max_pass_rate in (0, 1]")
