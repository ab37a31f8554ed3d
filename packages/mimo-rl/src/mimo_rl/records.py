"""What a run leaves beside its checkpoint: `metrics.jsonl` and `rollouts/step-*.jsonl`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mimo_rl.recipe import RLRecipe
from mimo_rl.rollout import Rollout
from mimo_rl.sampling import SampledBatch
from mimo_rl.update import UpdateStatistics


class StepMetrics(UpdateStatistics, frozen=True, kw_only=True):
    """One line of `metrics.jsonl`: what a step generated, and the statistics of its update."""

    step: int
    """Counts from 1."""

    reward_mean: float
    """Of all responses of the step, the dropped groups' too."""

    pass_rate: float
    """Share of right responses, of all."""

    response_length_mean: float
    """Tokens, of all responses."""

    truncated_fraction: float
    """Share of responses that reached the sequence length."""

    sequence_length: int
    """The step's budget for prompt and response."""

    num_rounds: int
    num_generated_groups: int
    num_kept_groups: int
    num_solved_groups: int
    """Groups of right responses only: dropped, and into the easy-data pool."""

    num_failed_groups: int
    """Groups without a right response; dropped where their rewards are equal."""

    easy_pool_size: int
    """After the step."""

    draws_from_easy_pool: int
    drafts_accepted: tuple[float | None, ...]
    """Share of drafted tokens that were accepted, per MTP layer; empty without drafting."""

    lr: float
    rollout_s: float
    """Until the last response of each round was written."""

    reward_s: float
    """After that, until the last response of each round was graded."""

    update_s: float


def step_metrics(
    batch: SampledBatch,
    update: UpdateStatistics,
    recipe: RLRecipe,
    *,
    step: int,
    easy_pool_size: int,
    update_s: float,
) -> StepMetrics:
    """Sums one step up."""
    rollouts = [rollout for rewarded in batch.generated for rollout in rewarded.group.rollouts]
    rewards = [reward for rewarded in batch.generated for reward in rewarded.rewards]
    rates = [rewarded.group.pass_rate for rewarded in batch.generated]
    drafted = [sum(layer) for layer in zip(*(r.num_drafted for r in rollouts), strict=True)]
    accepted = [sum(layer) for layer in zip(*(r.num_accepted for r in rollouts), strict=True)]
    rounds = [
        [rollout for rewarded in batch.generated if rewarded.round == n for rollout in rewarded.group.rollouts]
        for n in range(1 + max(rewarded.round for rewarded in batch.generated))
    ]
    written_s = [max(rollout.generated_s for rollout in of_round) for of_round in rounds]
    graded_s = [max(rollout.graded_s for rollout in of_round) for of_round in rounds]
    return StepMetrics(
        step=step,
        reward_mean=sum(rewards) / len(rewards),
        pass_rate=sum(rates) / len(rates),
        response_length_mean=sum(len(r.tokens) for r in rollouts) / len(rollouts),
        truncated_fraction=sum(r.finish == "length" for r in rollouts) / len(rollouts),
        sequence_length=recipe.sequence_length(step),
        num_rounds=len(rounds),
        num_generated_groups=len(batch.generated),
        num_kept_groups=len(batch.kept),
        num_solved_groups=rates.count(1.0),
        num_failed_groups=rates.count(0.0),
        easy_pool_size=easy_pool_size,
        draws_from_easy_pool=sum(rewarded.from_easy_pool for rewarded in batch.generated),
        drafts_accepted=tuple(a / d if d else None for a, d in zip(accepted, drafted, strict=True)),
        lr=recipe.lr,
        rollout_s=round(sum(written_s), 4),
        reward_s=round(sum(graded_s) - sum(written_s), 4),
        update_s=round(update_s, 4),
        **msgspec.structs.asdict(update),
    )


class RolloutRecord(Rollout, frozen=True, kw_only=True):
    """One line of `rollouts/step-*.jsonl`: a response and what became of it."""

    step: int
    round: int
    """Of the step, from 0."""

    from_easy_pool: bool
    reward: float
    kept: bool
    """Whether the step trained on it."""


class MetricsLog:
    """Appends to `metrics.jsonl`; a resumed run first drops the lines after the step it resumes from."""

    def __init__(self, path: Path, *, num_steps: int) -> None:
        kept = path.read_bytes().splitlines(keepends=True)[:num_steps] if path.exists() else []
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(b"".join(kept))
        temporary.replace(path)
        self._path = path

    def write(self, metrics: StepMetrics) -> None:
        """Adds one line."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(metrics) + b"\n")


def write_rollouts(folder: Path, batch: SampledBatch, *, step: int) -> None:
    """Writes all responses of one step, whole or not at all, in the order of drawing."""
    kept = {rewarded.group.problem.id for rewarded in batch.kept}
    lines = []
    for rewarded in batch.generated:
        for rollout, reward in zip(rewarded.group.rollouts, rewarded.rewards, strict=True):
            record = RolloutRecord(
                **msgspec.structs.asdict(rollout),
                step=step,
                round=rewarded.round,
                from_easy_pool=rewarded.from_easy_pool,
                reward=reward,
                kept=rollout.problem_id in kept,
            )
            lines.append(msgspec.json.encode(record) + b"\n")
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:06d}.jsonl"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(b"".join(lines))
    temporary.replace(path)
