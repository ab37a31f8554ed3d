"""The loop of §3.3: draw, write, grade, drop what teaches nothing, update, repeat."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from mimo_model import load_model, load_tokenizer
from mimo_rl.errors import RLError
from mimo_rl.pool import EasyPool
from mimo_rl.problems import CuratedProblem, judgeable, read_curated
from mimo_rl.progress import Progress
from mimo_rl.recipe import Record, RLRecipe
from mimo_rl.records import MetricsLog, step_metrics, write_rollouts
from mimo_rl.rollout import RolloutWorker, require_fit
from mimo_rl.sampling import SampledBatch, sample_batch
from mimo_rl.update import update_policy
from mimo_train import Run, Trainer


class Position(Record, frozen=True, kw_only=True):
    """What a resumed run needs beside weights and moments."""

    step: int = 0
    """Steps done."""

    policy_version: int = 0
    """Gradient updates done."""

    easy_pool: tuple[str, ...] = ()


def train(recipe: RLRecipe, out: Path, *, model: Path, problems: Sequence[Path]) -> bool:
    """Trains the checkpoint in `model` on the problems; `out` becomes a checkpoint with metrics and rollouts.

    The MTP layers stay as they are (§2.2). Killed at any moment and called again, it goes on from the last
    saved state and ends with the same weights, to the last bit, as an uninterrupted run on the same
    machine.

    Returns:
        False when `out` was already made from the same recipe and inputs, and was left as it is.

    Raises:
        RLError: a problem has no prompt or cannot be judged, the model does not fit the recipe, or the first step
            finds no group to learn from.
        SandboxUnavailable: programs cannot be run here; no reward stands in for a verdict.
    """
    inputs = {"model": model, **{f"problems {n}": path for n, path in enumerate(problems)}}
    with Run.open(out, package="mimo-rl", command="train", recipe=recipe, inputs=inputs, resumable=True) as run:
        if run.complete:
            return False
        problem_of = {problem.id: problem for problem in read_curated(problems)}
        _require_whole(problem_of.values())
        policy, tokenizer = load_model(model, dtype="float32"), load_tokenizer(model)
        longest = max(budget.sequence_length for budget in recipe.budget)
        require_fit(policy.config, model, recipe.generation, longest)
        num_ids = max(tokenizer.get_vocab().values()) + 1
        policy.model.mtp_layers.requires_grad_(False)
        trainer = Trainer(policy, recipe.optimizer)
        pool = EasyPool(list(problem_of), probability=recipe.sampling.easy_probability)

        position = msgspec.convert(trainer.load_state(run.folder / "state"), Position)
        pool.restore(position.easy_pool)
        version = position.policy_version
        log = MetricsLog(run.folder / "metrics.jsonl", num_steps=position.step)

        needs_judge = any(problem.kind == "code" for problem in problem_of.values())
        with (
            RolloutWorker(
                policy, tokenizer, generation=recipe.generation, judge=recipe.judge if needs_judge else None
            ) as worker,
            Progress("rl", num_steps=recipe.num_steps, first_step=position.step + 1) as progress,
        ):
            for step in range(position.step + 1, recipe.num_steps + 1):
                rollout = partial(
                    worker.rollout,
                    num_responses=recipe.batch.num_responses,
                    sequence_length=recipe.sequence_length(step),
                    seed=f"{recipe.seed}/{step}",
                    policy_version=version,
                )
                batch = sample_batch(problem_of, pool, recipe, rollout, step=step)
                if step == 1 and not batch.kept:
                    raise RLError(_nothing_to_learn(batch))
                write_rollouts(run.folder / "rollouts", batch, step=step)
                start_s = time.monotonic()
                update = update_policy(trainer, policy, batch.kept, recipe, num_ids=num_ids, step=step)
                version += update.num_updates
                update_s = time.monotonic() - start_s
                metrics = step_metrics(batch, update, recipe, step=step, easy_pool_size=len(pool), update_s=update_s)
                log.write(metrics)
                progress.show(step, f"reward {metrics.reward_mean:.3f}  length {metrics.response_length_mean:.1f}")
                if step % recipe.save_every_steps == 0 or step == recipe.num_steps:
                    position = Position(step=step, policy_version=version, easy_pool=tuple(pool.state()))
                    trainer.save_state(run.folder / "state", msgspec.to_builtins(position))
        trainer.save_checkpoint(policy, tokenizer, run.folder)
        run.finish(num_steps=recipe.num_steps, num_problems=len(problem_of), num_updates=version)
        return True


def _require_whole(problems: Iterable[CuratedProblem]) -> None:
    for problem in problems:
        if not problem.prompt.strip():
            raise RLError(f"problem {problem.id}: its prompt is empty. `mimo-rl curate` drops such problems.")
        if not judgeable(problem):
            wanted = "tests" if problem.kind == "code" else "an answer"
            raise RLError(
                f"problem {problem.id}: without {wanted}, nothing can judge it. `mimo-rl curate` drops such problems."
            )


def _nothing_to_learn(batch: SampledBatch) -> str:
    rates = [rewarded.group.pass_rate for rewarded in batch.generated]
    return (
        f"in the first step, all {len(rates)} groups had equal rewards (mean pass rate "
        f"{sum(rates) / len(rates):.2f}), so there is nothing to learn from. Take easier problems where the "
        "rate is near 0 and harder ones where it is near 1 (`mimo-rl curate`), raise sequence_length if responses "
        "are cut, or raise sampling.max_rounds."
    )
