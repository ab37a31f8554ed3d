"""What `mimo-rl train` and `mimo-rl curate` read from their TOML recipes."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import msgspec

from mimo_train import Optimizer


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of this package's records and recipes: immutable, and strict about unknown keys."""


MOST_COUNT = 1_000_000_000
"""Of whatever is counted: a key that stands for more is a slip of the pen."""

MOST_SEED = 2**63 - 1


def check_numbers(settings: Record, **bounds: tuple[float, float]) -> None:
    """Checks fields that hold numbers against their least and greatest value.

    Raises:
        ValueError: a number lies outside of its bounds, or is not a number (nan).
    """
    for key, (least, most) in bounds.items():
        value = getattr(settings, key)
        # Not `value < least or value > most`, which nan would pass.
        if not least <= value <= most:
            raise ValueError(f"{key} is {value}, but must lie between {least:_} and {most:_}")


class Batch(Record, frozen=True, kw_only=True):
    """How many problems and responses make a step (§3.3.3)."""

    num_problems: int
    """Groups that a step trains on: the report's batch size, which it does not say is counted in problems."""

    num_responses: int
    """Responses in a group, the G of Eq. 1."""

    mini_batch_problems: int
    """Groups per gradient update. Equal to `num_problems`, the step is on-policy (§3.6)."""

    def __post_init__(self) -> None:
        check_numbers(
            self, num_problems=(1, MOST_COUNT), num_responses=(2, MOST_COUNT), mini_batch_problems=(1, MOST_COUNT)
        )
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

    def __post_init__(self) -> None:
        check_numbers(self, from_step=(1, MOST_COUNT), sequence_length=(2, MOST_COUNT))


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
        check_numbers(self, temperature=(0.01, 100), num_drafts=(0, 100), max_batch_size=(1, 1_000_000))


class DynamicSampling(Record, frozen=True, kw_only=True):
    """Drawing problems until the batch is full of groups that teach something (§3.3)."""

    easy_probability: float = 0.1
    """Probability that a draw comes from the easy-data pool: the report's α (§3.3.2)."""

    oversampling: float = 1.0
    """Problems drawn in a round for each group that is still missing; not in the report."""

    max_rounds: int = 8
    """Rounds after which a step trains on the groups that it has; not in the report."""

    def __post_init__(self) -> None:
        check_numbers(self, easy_probability=(0, 1), oversampling=(1, 1000), max_rounds=(1, 1_000_000))


class Judge(Record, frozen=True, kw_only=True):
    """Limits of one test of a code problem, and how many run at a time; none is in the report."""

    num_workers: int = 2
    cpu_s: float = 5.0
    wall_s: float = 15.0
    """A backstop for programs that wait."""

    memory_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        check_numbers(
            self,
            num_workers=(1, 10_000),
            cpu_s=(0.01, 3_600),
            wall_s=(0.01, 36_000),
            memory_bytes=(2**20, 2**40),
        )


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
        check_numbers(
            self,
            num_steps=(1, MOST_COUNT),
            lr=(1e-12, 1.0),
            clip_low=(1e-6, 1 - 1e-6),
            clip_high=(1e-6, 1000),
            micro_batch_tokens=(1, MOST_COUNT),
            seed=(0, MOST_SEED),
            save_every_steps=(1, MOST_COUNT),
        )
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
        check_numbers(
            self,
            sequence_length=(2, MOST_COUNT),
            num_rollouts=(1, MOST_COUNT),
            max_pass_rate=(1e-6, 1),
            seed=(0, MOST_SEED),
        )
        if not all(0 <= cut <= 1 for cut in self.level_cuts) or any(a <= b for a, b in pairwise(self.level_cuts)):
            raise ValueError(f"level_cuts are {self.level_cuts}, but must fall and lie in [0, 1], such as [0.7, 0.3]")
