"""Tuning of the copied MTP layers for faster decoding (§2.2)."""

from __future__ import annotations

from pathlib import Path

from mimo_model import replicate_mtp
from mimo_train.checkpoint import load_checkpoint, require_tokenizer_of
from mimo_train.errors import TrainError
from mimo_train.loss import backward_batch
from mimo_train.metrics import StepLog, StepMetrics
from mimo_train.position import Position
from mimo_train.processes import open_run
from mimo_train.recipes import MTPRecipe
from mimo_train.windows import StageWindows
from mimo_train.zero import open_trainer


def tune_mtp(recipe: MTPRecipe, out: Path, *, model: Path, shards: Path) -> None:
    """Trains the second and later MTP layers of `model`, all else frozen; `out` becomes a checkpoint (§2.2).

    A checkpoint with one MTP layer gets copies of it first; one that has the wanted number already has its
    later layers tuned further. The loss is the mean of the tuned layers' cross-entropies.

    Raises:
        DataError: an input is missing or truncated, or `out` was made from something else.
        TrainError: the checkpoint has another number of MTP layers, shards and checkpoint disagree about the
            tokenizer, the shards are too small for the schedule, the training state is broken, or training
            diverged.
    """
    inputs = {"model": model, "shards": shards}
    with open_run(out, command="tune-mtp", recipe=recipe, inputs=inputs) as run:
        if run.complete:
            print(f"{out}: complete, reused")
            return
        require_tokenizer_of(model, shards)
        windows = StageWindows(recipe.mixture, shards, recipe.batch, recipe.schedule.total_tokens)
        network, tokenizer = load_checkpoint(model, recipe.batch.sequence_length)
        num_layers = network.config.num_nextn_predict_layers
        if num_layers == 1:
            network = replicate_mtp(network, recipe.num_layers)
        elif num_layers != recipe.num_layers:
            raise TrainError(
                f"{model}: has {num_layers} MTP layers, but the recipe asks for {recipe.num_layers}. "
                f"Take a checkpoint with one, or set num_layers={num_layers}."
            )
        network.requires_grad_(False)
        network.model.mtp_layers[1:].requires_grad_(True)
        trainer = open_trainer(network, recipe)
        state = run.folder / "state"
        at = Position.restore(trainer.load_state(state))
        metrics = run.folder / "metrics.jsonl"
        with StepLog(metrics, step=at.step, tokens=at.tokens, total_tokens=windows.num_tokens) as log:
            while at.tokens < windows.num_tokens:
                batch, at = windows.read(at, trainer.device, network)
                losses = backward_batch(
                    trainer,
                    batch,
                    weights=[0.0, 0.0] + [1 / (recipe.num_layers - 1)] * (recipe.num_layers - 1),
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
                        mtp_weight=1.0,
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
