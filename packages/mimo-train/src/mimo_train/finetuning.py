"""Supervised fine-tuning: prompts and responses in, a checkpoint out (§3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from mimo_train.checkpoint import load_checkpoint, stop_token_of
from mimo_train.errors import TrainError
from mimo_train.loss import TokenBatch, backward_batch
from mimo_train.metrics import StepLog, StepMetrics
from mimo_train.packing import TokenSample, pack
from mimo_train.position import Position
from mimo_train.processes import is_leader, open_run
from mimo_train.recipes import SFTRecipe
from mimo_train.samples import encode_samples, read_samples
from mimo_train.zero import open_trainer


def sft(recipe: SFTRecipe, out: Path, *, model: Path, samples: Path) -> None:
    """Trains every parameter of `model` on the responses of `samples`; `out` becomes a checkpoint.

    Samples are packed into rows once; each epoch draws the rows in a new order, and its last step takes what
    is left. `drops.jsonl` names the samples that were dropped and why.

    Raises:
        DataError: an input is missing, or `out` was made from something else.
        TrainError: a line of `samples` is not a sample, two share an id, none is left, the training state is broken, or
            training diverged.
    """
    inputs = {"model": model, "samples": samples}
    with open_run(out, command="sft", recipe=recipe, inputs=inputs) as run:
        if run.complete:
            print(f"{out}: complete, reused")
            return
        read = read_samples(samples)
        network, tokenizer = load_checkpoint(model, recipe.batch.sequence_length)
        num_layers = network.config.num_nextn_predict_layers
        stop_token = stop_token_of(network)
        kept, drops = encode_samples(
            read,
            tokenizer,
            stop_token=stop_token,
            max_tokens=recipe.batch.sequence_length,
            max_responses_per_prompt=recipe.max_responses_per_prompt,
        )
        if is_leader():
            (run.folder / "drops.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(drops))
        if not kept:
            raise TrainError(
                f"{samples}: every sample is longer than {recipe.batch.sequence_length} tokens. "
                "Raise batch.sequence_length."
            )
        rows = EpochRows(kept, recipe, pad_token=stop_token)
        trainer = open_trainer(network, recipe)
        state = run.folder / "state"
        at = Position.restore(trainer.load_state(state))
        metrics = run.folder / "metrics.jsonl"
        with StepLog(metrics, step=at.step, tokens=at.tokens, total_tokens=rows.num_tokens) as log:
            while at.tokens < rows.num_tokens:
                mtp_weight = recipe.mtp.after(at.tokens)
                batch, at = rows.read(at, trainer.device)
                losses = backward_batch(
                    trainer,
                    batch,
                    weights=[1.0] + [mtp_weight / num_layers] * num_layers,
                    micro_sequences=recipe.batch.micro_sequences,
                    bfloat16=recipe.dtype == "bfloat16",
                )
                grad_norm = trainer.step(recipe.lr)
                log.write(
                    StepMetrics(
                        step=at.step,
                        tokens=at.tokens,
                        num_targets=losses.num_targets,
                        loss=losses.main,
                        mtp_losses=losses.mtp,
                        mtp_weight=mtp_weight,
                        lr=recipe.lr,
                        grad_norm=grad_norm,
                        batch_sequences=len(batch.tokens),
                        seconds=log.step_seconds(),
                    )
                )
                if at.step % recipe.save_every_steps == 0:
                    trainer.save_state(state, at.extra())
        trainer.save_state(state, at.extra())
        trainer.save_checkpoint(network, tokenizer, run.folder)
        run.finish(
            num_steps=at.step,
            num_tokens=at.tokens,
            num_samples=len(read),
            num_dropped=len(drops),
            num_rows=rows.num_rows,
        )


class EpochRows:
    """Packed rows, drawn in a new order each epoch, in steps of the batch's size."""

    def __init__(self, samples: Sequence[TokenSample], recipe: SFTRecipe, *, pad_token: int) -> None:
        self._batch = recipe.batch
        self._seed = recipe.seed
        # Shuffled first: samples of one length would else share rows with their neighbours in the file.
        order = np.random.RandomState(recipe.seed).permutation(len(samples))
        self._rows = pack([samples[i] for i in order], recipe.batch.sequence_length, pad_token=pad_token)
        self.num_rows = len(self._rows)
        self.num_tokens = recipe.num_epochs * self.num_rows * recipe.batch.sequence_length

    def read(self, position: Position, device: torch.device) -> tuple[TokenBatch, Position]:
        """The batch of the step that begins at `position`, and the position after it.

        The last step of an epoch takes what is left of it, however little.
        """
        epoch, first = divmod(position.num_sequences, self.num_rows)
        order = np.random.RandomState((self._seed, 1 + epoch)).permutation(self.num_rows)
        rows = [self._rows[i] for i in order[first : first + self._batch.num_sequences]]
        batch = TokenBatch(
            torch.from_numpy(np.stack([row.tokens for row in rows])).to(device),
            torch.from_numpy(np.stack([row.document_ids for row in rows])).to(device),
            torch.from_numpy(np.stack([row.trained for row in rows])).to(device),
        )
        num_sequences = position.num_sequences + len(rows)
        tokens = num_sequences * self._batch.sequence_length
        return batch, Position(step=position.step + 1, num_sequences=num_sequences, tokens=tokens)
