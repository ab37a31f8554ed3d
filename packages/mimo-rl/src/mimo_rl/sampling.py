"""Dynamic sampling, plainly: rounds of rollouts until a batch is full of groups that teach (§3.3)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mimo_rl.pool import EasyPool
from mimo_rl.problems import CuratedProblem, reward
from mimo_rl.recipe import RLRecipe
from mimo_rl.rollout import Group


@dataclass(frozen=True)
class RewardedGroup:
    """A group with what each of its responses is paid."""

    group: Group
    rewards: tuple[float, ...]
    round: int
    """Round of the step that it was generated in, from 0."""

    from_easy_pool: bool

    @property
    def teaches(self) -> bool:
        """Whether its advantages are not all zero.

        The report drops pass rates 0 and 1, which is the same thing where rewards are 0 and 1. Under the
        rewards by test difficulty a group without one right response can still teach, and is what they were
        made for.
        """
        return len(set(self.rewards)) > 1


@dataclass(frozen=True)
class SampledBatch:
    """What one step generated, and the part of it that the step trains on."""

    generated: tuple[RewardedGroup, ...]
    kept: tuple[RewardedGroup, ...]


def sample_batch(
    problems: Mapping[str, CuratedProblem],
    pool: EasyPool,
    recipe: RLRecipe,
    rollout: Callable[[list[CuratedProblem]], list[Group]],
    *,
    step: int,
) -> SampledBatch:
    """Draws problems, has responses written, and drops groups that teach nothing, until the batch is full.

    The draws of a round follow from the recipe's seed, the step, the round and the pool. A problem is drawn
    at most once a step. Kept groups are the first in the order of drawing, never of finishing, which would
    prefer short responses. After `max_rounds`, or without problems left, the batch is what was found,
    perhaps nothing.

    Args:
        pool: takes in how each group went.
        rollout: writes and grades one group for each problem, in their order.
    """
    generated: list[RewardedGroup] = []
    kept: list[RewardedGroup] = []
    for round_ in range(recipe.sampling.max_rounds):
        num_missing = recipe.batch.num_problems - len(kept)
        drawn = pool.draw(
            max(0, math.ceil(num_missing * recipe.sampling.oversampling)),
            random.Random(f"{recipe.seed}/{step}/{round_}"),
            exclude={rewarded.group.problem.id for rewarded in generated},
        )
        if not drawn:
            break
        for group in rollout([problems[problem_id] for problem_id in drawn]):
            rewarded = RewardedGroup(
                group=group,
                rewards=tuple(reward(group.problem, r.grade, code_reward=recipe.code_reward) for r in group.rollouts),
                round=round_,
                from_easy_pool=group.problem.id in pool,
            )
            pool.update(group.problem.id, solved_in_all=group.pass_rate == 1.0)
            generated.append(rewarded)
            if rewarded.teaches and len(kept) < recipe.batch.num_problems:
                kept.append(rewarded)
    return SampledBatch(tuple(generated), tuple(kept))
