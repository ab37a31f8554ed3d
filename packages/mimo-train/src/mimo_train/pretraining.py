"""One stage of pre-training: windows of a mixture in, a checkpoint out (§2.3)."""

from __future__ import annotations

from pathlib import Path

from mimo_train.checkpoint import load_checkpoint, require_tokenizer_of
from mimo_train.loss import backward_batch
from mimo_train.metrics import StepLog, StepMetrics
from mimo_train.position import Position
from mimo_train.processes import open_run
from mimo_train.recipes import PretrainRecipe
from mimo_train.windows import StageWindows
from mimo_train.zero import open_trainer


def pretrain(recipe: PretrainRecipe, out: Path, *, model: Path, shards: Path) -> None:
    """Trains every parameter of `model` for one stage; `out` becomes the next stage's checkpoint.

    The total loss is the main head's mean cross-entropy plus the MTP weight times the mean over MTP layers
    (the paper trains one layer, so it has no such mean).

    Raises:
        DataError: an input is missing or truncated, or `out` was made from something else.
        TrainError: shards and checkpoint disagree about the tokenizer, the shards are too small for the
            schedule, the training state is broken, or training diverged.
    """
    inputs = {"model": model, "shards": shards}
    with open_run(out, command="pretrain", recipe=recipe, inputs=inputs) as run:
        if run.complete:
            print(f"{out}: complete, reused")
            return
        require_tokenizer_of(model, shards)
        windows = StageWindows(recipe.mixture, shards, recipe.batch, recipe.schedule.total_tokens)
        network, tokenizer = load_checkpoint(model, recipe.batch.sequence_length, rope_theta=recipe.rope_theta)
        num_layers = network.config.num_nextn_predict_layers
        trainer = open_trainer(network, recipe)
        if recipe.continue_optimizer:
            trainer.load_moments(model / "state")
        state = run.folder / "state"
        at = Position.restore(trainer.load_state(state))
        metrics = run.folder / "metrics.jsonl"
        with StepLog(metrics, step=at.step, tokens=at.tokens, total_tokens=windows.num_tokens) as log:
            while at.tokens < windows.num_tokens:
                mtp_weight = recipe.mtp.after(at.tokens)
                batch, at = windows.read(at, trainer.device, network)
                losses = backward_batch(
                    trainer,
                    batch,
                    weights=[1.0] + [mtp_weight / num_layers] * num_layers,
                    micro_sequences=recipe.batch.micro_sequences,
                    bfloat16=recipe.dtype == "bfloat16",
                )
                lr = recipe.schedule.lr(at.tokens)
                grad_norm = trainer.step(lr)
                log.write(
                    StepMetrics(
                        step=at.step,
                        tokens=at.tokens,
                        num_targets=losses.num_targets,
                        loss=losses.main,
                        mtp_losses=losses.mtp,
                        mtp_weight=mtp_weight,
                        lr=lr,
                        grad_norm=grad_norm,
                        batch_sequences=len(batch.tokens),
                        tokens_by_source=at.tokens_by_source,
                        seconds=log.step_seconds(),
                    )
                )
                if at.step % recipe.save_every_steps == 0:
                    trainer.save_state(state, at.extra())
        trainer.save_state(state, at.extra())
        trainer.save_checkpoint(network, tokenizer, run.folder)
        run.finish(num_steps=at.step, num_tokens=at.tokens)
