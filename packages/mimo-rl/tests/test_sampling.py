"""Dynamic sampling: rounds until the batch is full of groups that teach (§3.3)."""

from __future__ import annotations

from collections.abc import Callable

from mimo_eval import Grade
from mimo_rl import EasyPool, RLRecipe
from mimo_rl.problems import CuratedProblem
from mimo_rl.recipe import Batch, Budget, DynamicSampling
from mimo_rl.rollout import Group, Rollout
from mimo_rl.sampling import SampledBatch, sample_batch
from mimo_sandbox import Case

NUM_RESPONSES = 4


def a_recipe(*, num_problems: int = 4, max_rounds: int = 8, oversampling: float = 1.0, seed: int = 0) -> RLRecipe:
    return RLRecipe(
        num_steps=1,
        lr=1e-3,
        clip_low=0.2,
        clip_high=0.28,
        code_reward="soft",
        batch=Batch(num_problems=num_problems, num_responses=NUM_RESPONSES, mini_batch_problems=num_problems),
        budget=(Budget(from_step=1, sequence_length=64),),
        sampling=DynamicSampling(max_rounds=max_rounds, oversampling=oversampling),
        seed=seed,
    )


def a_group(problem: CuratedProblem, num_correct: int, passed: tuple[tuple[bool, ...], ...] = ()) -> Group:
    return Group(
        problem,
        (1, 2, 3),
        tuple(
            Rollout(
                problem_id=problem.id,
                index=index,
                seed=index,
                policy_version=0,
                text="",
                tokens=(4,),
                logprobs=(-1.0,),
                finish="stop",
                num_drafted=(),
                num_accepted=(),
                grade=Grade(
                    correct=index < num_correct,
                    answer="",
                    passed=passed[index] if passed else (),
                    reason="correct" if index < num_correct else "wrong_answer",
                ),
                generated_s=0.0,
                graded_s=0.0,
            )
            for index in range(NUM_RESPONSES)
        ),
    )


def sampled(
    recipe: RLRecipe, num_correct: Callable[[str], int], *, num_problems: int = 40
) -> tuple[SampledBatch, EasyPool]:
    problems = {
        f"p{i:02}": CuratedProblem(id=f"p{i:02}", prompt="?", kind="math", answer="1") for i in range(num_problems)
    }
    pool = EasyPool(list(problems), probability=recipe.sampling.easy_probability)
    batch = sample_batch(
        problems,
        pool,
        recipe,
        lambda drawn: [a_group(problem, num_correct(problem.id)) for problem in drawn],
        step=1,
    )
    return batch, pool


def two_tests() -> CuratedProblem:
    return CuratedProblem(
        id="c",
        prompt="?",
        kind="code",
        tests=tuple(Case(id=str(n), stdin="", expected=str(n)) for n in range(2)),
    )


def test_groups_of_pass_rate_0_and_1_are_dropped_and_the_batch_is_filled_with_others() -> None:
    batch, pool = sampled(a_recipe(), lambda problem_id: int(problem_id[1:]) % 5)
    assert len(batch.kept) == 4
    assert all(0 < rewarded.group.pass_rate < 1 for rewarded in batch.kept)
    assert len(batch.generated) > 4
    solved = {rewarded.group.problem.id for rewarded in batch.generated if rewarded.group.pass_rate == 1}
    assert set(pool.state()) == solved


def test_no_problem_is_generated_twice_in_a_step() -> None:
    batch, _ = sampled(a_recipe(), lambda problem_id: 4 * (problem_id != "p07"))
    ids = [rewarded.group.problem.id for rewarded in batch.generated]
    assert len(ids) == len(set(ids))


def test_kept_groups_are_the_first_in_the_order_of_drawing() -> None:
    batch, _ = sampled(a_recipe(oversampling=3.0), lambda _: 2)
    assert batch.kept == batch.generated[:4]
    assert len(batch.generated) == 12


def test_rounds_end_at_their_cap_or_with_the_problems_and_the_batch_is_what_was_found() -> None:
    batch, _ = sampled(a_recipe(max_rounds=3), lambda _: 0)
    assert (len(batch.generated), batch.kept) == (12, ())
    batch, _ = sampled(a_recipe(max_rounds=100), lambda problem_id: 2 * (problem_id == "p03"), num_problems=10)
    assert len(batch.generated) == 10
    assert [rewarded.group.problem.id for rewarded in batch.kept] == ["p03"]


def test_the_draws_follow_from_seed_and_step() -> None:
    ids = [
        [rewarded.group.problem.id for rewarded in sampled(a_recipe(seed=seed), lambda _: 2)[0].kept]
        for seed in (0, 0, 1)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_partial_code_rewards_teach_although_no_response_is_right() -> None:
    problem = two_tests()
    passed = ((True, False), (False, False), (False, False), (False, False))
    batch = sample_batch(
        {"c": problem},
        EasyPool(["c"], probability=0.1),
        a_recipe(num_problems=1),
        lambda _: [a_group(problem, 0, passed)],
        step=1,
    )
    assert [rewarded.rewards for rewarded in batch.kept] == [(0.5, 0.0, 0.0, 0.0)]
